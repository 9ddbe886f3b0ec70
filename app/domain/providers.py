# ruff: noqa: E501  (a table: one provider per line)
"""Known mail providers: servers, limits and habits, as data. Looked up by the address's domain or by its MX hosts.

Limits are per mailbox and local day as the providers publish them (or cautious where they do not); they are a ceiling
of the provider, not a recommendation. `saves_sent`: mail submitted over SMTP appears in Sent by itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache


class SentCopies(StrEnum):
    """Who puts a sent mail into the Sent folder."""

    PROVIDER = "provider"
    APPEND = "append"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Server:
    """`security` is none, starttls or tls."""

    host: str
    port: int
    security: str


CONNECTIONS = 10  # where a provider publishes none


@dataclass(frozen=True, slots=True)
class Provider:
    """`hint` is a key of the string catalogue; `user_is_address` False: log in with the part before the @.

    `per_minute`: messages a mailbox may submit in a minute (0: not limited); `connections`: IMAP connections of one login.
    """

    key: str
    label: str
    smtp: Server
    imap: Server
    daily_limit: int
    sent_copies: SentCopies
    hint: str
    domains: tuple[str, ...] = ()
    mx: tuple[str, ...] = ()
    user_is_address: bool = True
    per_minute: int = 0
    connections: int = CONNECTIONS

    @property
    def least_gap_s(self) -> int:
        """Seconds between two messages that keep to `per_minute`."""
        return math.ceil(60 / self.per_minute) if self.per_minute else 0


_P, _A = SentCopies.PROVIDER, SentCopies.APPEND
_APP, _PLAIN, _OAUTH, _ENABLE, _BRIDGE = (
    "provider.hint.app_password", "provider.hint.password", "provider.hint.oauth", "provider.hint.enable_imap",
    "provider.hint.bridge",
)  # fmt: skip


def _tls(host: str, port: int) -> Server:
    return Server(host, port, "tls")


def _start(host: str, port: int = 587) -> Server:
    return Server(host, port, "starttls")


def _p(
    key: str, label: str, smtp: Server, imap: Server, limit: int, copies: SentCopies, hint: str, domains: str = "",
    mx: str = "", **more: int | bool,
) -> Provider:  # fmt: skip
    return Provider(key, label, smtp, imap, limit, copies, hint, tuple(domains.split()), tuple(mx.split()), **more)  # type: ignore[arg-type]


# fmt: off
PROVIDERS: tuple[Provider, ...] = (
    _p("gmail", "Gmail", _tls("smtp.gmail.com", 465), _tls("imap.gmail.com", 993), 500, _P, _APP, "gmail.com googlemail.com", connections=15),
    _p("google_workspace", "Google Workspace", _tls("smtp.gmail.com", 465), _tls("imap.gmail.com", 993), 2000, _P, _APP, "", "google.com googlemail.com psmtp.com", connections=15),
    _p("outlook", "Outlook.com", _start("smtp-mail.outlook.com"), _tls("outlook.office365.com", 993), 300, _P, _OAUTH, "outlook.com hotmail.com live.com msn.com outlook.de outlook.fr hotmail.fr hotmail.co.uk hotmail.de hotmail.it live.nl live.fr live.co.uk", "olc.protection.outlook.com", per_minute=30, connections=10),
    _p("microsoft365", "Microsoft 365", _start("smtp.office365.com"), _tls("outlook.office365.com", 993), 10000, _P, _OAUTH, "", "mail.protection.outlook.com mx.microsoft", per_minute=30, connections=10),
    _p("yahoo", "Yahoo Mail", _tls("smtp.mail.yahoo.com", 465), _tls("imap.mail.yahoo.com", 993), 500, _P, _APP, "yahoo.com ymail.com rocketmail.com yahoo.co.uk yahoo.de yahoo.fr yahoo.it yahoo.es yahoo.in yahoo.co.in yahoo.ca yahoo.com.br", "yahoodns.net", connections=5),
    _p("aol", "AOL Mail", _tls("smtp.aol.com", 465), _tls("imap.aol.com", 993), 500, _P, _APP, "aol.com aim.com aol.de aol.co.uk", connections=5),
    _p("icloud", "iCloud Mail", _start("smtp.mail.me.com"), _tls("imap.mail.me.com", 993), 1000, _A, _APP, "icloud.com me.com mac.com", "mail.icloud.com", connections=10),
    _p("zoho", "Zoho Mail", _tls("smtp.zoho.com", 465), _tls("imap.zoho.com", 993), 250, _P, _ENABLE, "zoho.com zohomail.com", "mx.zoho.com mx2.zoho.com mx3.zoho.com zohomail.com"),
    _p("zoho_eu", "Zoho Mail (Europe)", _tls("smtp.zoho.eu", 465), _tls("imap.zoho.eu", 993), 250, _P, _ENABLE, "zoho.eu zohomail.eu", "mx.zoho.eu mx2.zoho.eu mx3.zoho.eu"),
    _p("zoho_in", "Zoho Mail (India)", _tls("smtp.zoho.in", 465), _tls("imap.zoho.in", 993), 250, _P, _ENABLE, "zohomail.in zoho.in", "mx.zoho.in mx2.zoho.in mx3.zoho.in"),
    _p("fastmail", "Fastmail", _tls("smtp.fastmail.com", 465), _tls("imap.fastmail.com", 993), 4000, _A, _APP, "fastmail.com fastmail.fm messagingengine.com", "messagingengine.com"),
    _p("gmx", "GMX", _tls("mail.gmx.net", 465), _tls("imap.gmx.net", 993), 100, _A, _ENABLE, "gmx.de gmx.net gmx.at gmx.ch", "emig.gmx.net mx00.gmx.net mx01.gmx.net"),
    _p("gmx_com", "GMX International", _tls("mail.gmx.com", 465), _tls("imap.gmx.com", 993), 100, _A, _ENABLE, "gmx.com gmx.us gmx.co.uk gmx.fr", "mx00.gmx.com mx01.gmx.com"),
    _p("web_de", "WEB.DE", _start("smtp.web.de"), _tls("imap.web.de", 993), 100, _A, _ENABLE, "web.de email.de", "web.de"),
    _p("mail_com", "mail.com", _start("smtp.mail.com"), _tls("imap.mail.com", 993), 100, _A, _ENABLE, "mail.com email.com usa.com", "mx00.mail.com mx01.mail.com"),
    _p("ionos", "IONOS", _tls("smtp.ionos.com", 465), _tls("imap.ionos.com", 993), 500, _A, _PLAIN, "", "mx00.ionos.com mx01.ionos.com perfora.net 1and1.com"),
    _p("ionos_de", "IONOS Deutschland", _tls("smtp.ionos.de", 465), _tls("imap.ionos.de", 993), 500, _A, _PLAIN, "online.de", "mx00.ionos.de mx01.ionos.de kundenserver.de 1and1.de"),
    _p("ionos_uk", "IONOS UK", _tls("smtp.ionos.co.uk", 465), _tls("imap.ionos.co.uk", 993), 500, _A, _PLAIN, "", "mx00.ionos.co.uk mx01.ionos.co.uk"),
    _p("t_online", "Telekom Mail", _tls("securesmtp.t-online.de", 465), _tls("secureimap.t-online.de", 993), 100, _A, _APP, "t-online.de magenta.de", "t-online.de"),
    _p("yandex", "Yandex", _tls("smtp.yandex.com", 465), _tls("imap.yandex.com", 993), 500, _A, _APP, "yandex.com yandex.ru ya.ru yandex.kz yandex.by", "mx.yandex.net mx.yandex.ru"),
    _p("mail_ru", "Mail.ru", _tls("smtp.mail.ru", 465), _tls("imap.mail.ru", 993), 500, _A, _APP, "mail.ru inbox.ru list.ru bk.ru internet.ru", "mxs.mail.ru emx.mail.ru"),
    _p("rambler", "Rambler", _tls("smtp.rambler.ru", 465), _tls("imap.rambler.ru", 993), 200, _A, _ENABLE, "rambler.ru lenta.ru ro.ru", "rambler.ru"),
    _p("ovh", "OVHcloud", _tls("ssl0.ovh.net", 465), _tls("ssl0.ovh.net", 993), 200, _A, _PLAIN, "", "mail.ovh.net mx1.mail.ovh.net"),
    _p("hostinger", "Hostinger", _tls("smtp.hostinger.com", 465), _tls("imap.hostinger.com", 993), 1000, _A, _PLAIN, "", "mx1.hostinger.com mx2.hostinger.com hostinger.in"),
    _p("titan", "Titan", _tls("smtp.titan.email", 465), _tls("imap.titan.email", 993), 500, _A, _ENABLE, "", "mx1.titan.email mx2.titan.email"),
    _p("godaddy", "GoDaddy Workspace", _tls("smtpout.secureserver.net", 465), _tls("imap.secureserver.net", 993), 250, _A, _PLAIN, "", "secureserver.net"),
    _p("namecheap", "Namecheap Private Email", _tls("mail.privateemail.com", 465), _tls("mail.privateemail.com", 993), 500, _A, _PLAIN, "", "privateemail.com registrar-servers.com"),
    _p("rackspace", "Rackspace Email", _tls("secure.emailsrvr.com", 465), _tls("secure.emailsrvr.com", 993), 1000, _A, _PLAIN, "", "emailsrvr.com"),
    _p("dreamhost", "DreamHost", _tls("smtp.dreamhost.com", 465), _tls("imap.dreamhost.com", 993), 500, _A, _PLAIN, "", "dreamhost.com"),
    _p("bluehost", "Bluehost", _tls("mail.bluehost.com", 465), _tls("mail.bluehost.com", 993), 500, _A, _PLAIN, "", "bluehost.com"),
    _p("gandi", "Gandi", _tls("mail.gandi.net", 465), _tls("mail.gandi.net", 993), 500, _A, _PLAIN, "", "gandi.net"),
    _p("infomaniak", "Infomaniak", _tls("mail.infomaniak.com", 465), _tls("mail.infomaniak.com", 993), 500, _A, _APP, "ik.me", "infomaniak.ch"),
    _p("mailbox_org", "mailbox.org", _tls("smtp.mailbox.org", 465), _tls("imap.mailbox.org", 993), 500, _A, _PLAIN, "mailbox.org", "mailbox.org"),
    _p("posteo", "Posteo", _tls("posteo.de", 465), _tls("posteo.de", 993), 300, _A, _PLAIN, "posteo.de posteo.net", "posteo.de"),
    _p("strato", "STRATO", _tls("smtp.strato.de", 465), _tls("imap.strato.de", 993), 500, _A, _PLAIN, "", "rzone.de"),
    _p("hetzner", "Hetzner", _tls("mail.your-server.de", 465), _tls("mail.your-server.de", 993), 500, _A, _PLAIN, "", "your-server.de"),
    _p("migadu", "Migadu", _tls("smtp.migadu.com", 465), _tls("imap.migadu.com", 993), 500, _A, _PLAIN, "", "migadu.com"),
    _p("runbox", "Runbox", _tls("mail.runbox.com", 465), _tls("mail.runbox.com", 993), 500, _A, _APP, "runbox.com", "runbox.com"),
    _p("purelymail", "Purelymail", _tls("smtp.purelymail.com", 465), _tls("imap.purelymail.com", 993), 500, _A, _APP, "", "purelymail.com"),
    _p("mxroute", "MXroute", _tls("mail.mxroute.com", 465), _tls("mail.mxroute.com", 993), 400, _A, _PLAIN, "", "mxrouting.net mxroute.com"),
    _p("orange_fr", "Orange", _tls("smtp.orange.fr", 465), _tls("imap.orange.fr", 993), 200, _A, _ENABLE, "orange.fr wanadoo.fr", "orange.fr"),
    _p("free_fr", "Free", _tls("smtp.free.fr", 465), _tls("imap.free.fr", 993), 200, _A, _PLAIN, "free.fr", "free.fr", user_is_address=False),
    _p("libero", "Libero Mail", _tls("smtp.libero.it", 465), _tls("imapmail.libero.it", 993), 100, _A, _APP, "libero.it iol.it inwind.it", "libero.it"),
    _p("seznam", "Seznam", _tls("smtp.seznam.cz", 465), _tls("imap.seznam.cz", 993), 200, _P, _ENABLE, "seznam.cz email.cz post.cz", "seznam.cz"),
    _p("wp_pl", "WP Poczta", _tls("smtp.wp.pl", 465), _tls("imap.wp.pl", 993), 200, _A, _ENABLE, "wp.pl", "wp.pl"),
    _p("qq", "QQ Mail", _tls("smtp.qq.com", 465), _tls("imap.qq.com", 993), 200, _A, _ENABLE, "qq.com foxmail.com", "mx1.qq.com mx2.qq.com mx3.qq.com"),
    _p("netease", "NetEase 163", _tls("smtp.163.com", 465), _tls("imap.163.com", 993), 200, _A, _ENABLE, "163.com", "163mx00.mxmail.netease.com netease.com"),
    _p("naver", "Naver Mail", _tls("smtp.naver.com", 465), _tls("imap.naver.com", 993), 200, _A, _ENABLE, "naver.com", "naver.com"),
    _p("rediff", "Rediffmail Pro", _tls("smtp.rediffmailpro.com", 465), _tls("imap.rediffmailpro.com", 993), 200, _A, _PLAIN, "rediffmailpro.com", "rediffmailpro.com"),
    _p("proton_bridge", "Proton Mail Bridge", _start("127.0.0.1", 1025), _start("127.0.0.1", 1143), 1000, _P, _BRIDGE, "proton.me protonmail.com pm.me", "protonmail.ch"),
)
# fmt: on


@lru_cache(maxsize=1)
def _by_domain() -> dict[str, Provider]:
    return {domain: provider for provider in PROVIDERS for domain in provider.domains}


@lru_cache(maxsize=1)
def _by_key() -> dict[str, Provider]:
    return {provider.key: provider for provider in PROVIDERS}


def provider(key: str) -> Provider | None:
    """The provider with this key."""
    return _by_key().get(key)


def provider_of_domain(domain: str) -> Provider | None:
    """The provider whose own domain this is (`gmail.com`); company domains are found by their MX."""
    return _by_domain().get(domain.lower().rstrip("."))


def provider_of_mx(hosts: list[str]) -> Provider | None:
    """The provider whose servers receive this domain's mail; `hosts` in order of preference."""
    for host in hosts:
        name = host.lower().rstrip(".")
        matches = [(len(end), one) for one in PROVIDERS for end in one.mx if name == end or name.endswith("." + end)]
        if matches:
            return max(matches, key=lambda match: match[0])[1]
    return None


def provider_of_host(host: str) -> Provider | None:
    """The provider whose SMTP or IMAP server this is."""
    name = host.lower().rstrip(".")
    known = (one for one in PROVIDERS if name in (one.smtp.host, one.imap.host))
    # A bridge on this machine cannot be told by its host from anything else that runs here.
    return next((one for one in known if name != "127.0.0.1"), None)
