"""Mail addresses: the one way to compare them, to accept them, and to say whose server is behind them.

`email_key` is total (inbound mail carries anything); `parse_address` is strict (what we would write to).
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

import idna
from email_validator import EmailNotValidError, validate_email
from publicsuffixlist import PublicSuffixList

from app.domain.words import Word
from app.strings import t

#: RFC 2606 names that lead nowhere; a rehearsal or a test network may use the first two.
ALLOWABLE_RESERVED = ("test", "example")

_PLAIN = re.compile(
    r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+(?:[a-z]{2,63})",
    re.IGNORECASE | re.ASCII,
)


class AddressError(ValueError):
    """The text is no address we could write to; `str(error)` is a sentence for a person."""


@dataclass(slots=True)
class Address:
    """An accepted address. `email` is what we write to, `key` what we compare, `domain` is ASCII."""

    email: str
    key: str
    domain: str


class RecipientProvider(Word):
    """Whose consumer servers receive it: they count what a domain sends them."""

    GMAIL = "gmail"
    MICROSOFT = "microsoft"
    YAHOO = "yahoo"
    APPLE = "apple"
    OTHER = "other"


@lru_cache(maxsize=65_536)
def _domain_key(domain: str) -> str:
    domain = unicodedata.normalize("NFC", domain).lower().rstrip(".")
    if domain.isascii():
        return domain
    try:
        return idna.encode(domain, uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        return unicodedata.normalize("NFC", domain)


def email_key(address: str) -> str:
    """The form in which addresses are compared and unique: NFC, lower-case, IDNA domain; dots and plus parts stay.

    Never raises: what is no address gives a key that equals nothing useful.
    """
    if address.isascii():
        address = address.strip().lower()
        return address[:-1] if address.endswith(".") and "@" in address else address
    text = unicodedata.normalize("NFC", address).strip()
    local, at, domain = text.rpartition("@")
    if not at:
        return unicodedata.normalize("NFC", text.lower())
    return unicodedata.normalize("NFC", local.lower()) + "@" + _domain_key(domain)


def parse_address(text: str, allow_reserved: bool = False) -> Address:
    """Accept an address we may write to, or raise `AddressError` with a sentence that says what is wrong.

    `allow_reserved` admits names below .test and .example (private networks and rehearsals).
    """
    text = unicodedata.normalize("NFC", text).strip()
    if not text:
        raise AddressError(t("addresses.empty"))
    if "<" in text or ">" in text or text.lower().startswith("mailto:"):
        raise AddressError(t("addresses.only_itself", address=_shown(text)))
    if text.count("@") == 0:
        raise AddressError(t("addresses.no_at", address=_shown(text)))
    tld = text.rpartition(".")[2].lower()
    if tld in ALLOWABLE_RESERVED and not allow_reserved:
        raise AddressError(t("addresses.reserved", address=_shown(text), ending=tld))
    return _plain(text) or _validated(text)


def _plain(text: str) -> Address | None:
    """The ordinary ASCII address without the full validator: imports read a hundred thousand of them."""
    if len(text) > 254 or not _PLAIN.fullmatch(text) or "xn--" in text.lower():
        return None
    local, _, domain = text.rpartition("@")
    domain = domain.lower()
    if len(local) > 64 or domain.rpartition(".")[2] in _SPECIAL or domain.endswith(_SPECIAL_ENDS):
        return None
    return Address(email=f"{local}@{domain}", key=f"{local.lower()}@{domain}", domain=domain)


_SPECIAL = frozenset({"arpa", "invalid", "local", "localhost", "onion"})
_SPECIAL_ENDS = tuple(f".{name}" for name in sorted(_SPECIAL))


def _validated(text: str) -> Address:
    try:
        found = validate_email(text, check_deliverability=False, test_environment=True, strict=True)
    except EmailNotValidError as error:
        raise AddressError(t("addresses.not_one", address=_shown(text), why=error)) from None
    domain = found.ascii_domain.lower()
    if found.ascii_local_part is None:
        raise AddressError(t("addresses.odd_letters", address=_shown(text)))
    email = f"{found.ascii_local_part}@{domain}"
    return Address(email=email, key=email_key(email), domain=domain)


def _shown(text: str) -> str:
    visible = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:80])
    return f"“{visible}”"


@lru_cache(maxsize=1)
def _public_suffixes() -> PublicSuffixList:
    return PublicSuffixList()


@lru_cache(maxsize=65_536)
def registrable_domain(domain: str) -> str:
    """`mail.acme.co.uk` → `acme.co.uk`; a domain that is itself a public suffix is returned as it is (ASCII, lower)."""
    key = _domain_key(domain)
    found: str | None = _public_suffixes().privatesuffix(key)
    return found or key


_PROVIDERS: dict[str, RecipientProvider] = {
    **dict.fromkeys(("gmail.com", "googlemail.com"), RecipientProvider.GMAIL),
    **dict.fromkeys(("icloud.com", "me.com", "mac.com"), RecipientProvider.APPLE),
    **dict.fromkeys(("aol.com", "ymail.com", "rocketmail.com", "aim.com"), RecipientProvider.YAHOO),
    **dict.fromkeys(("passport.com", "windowslive.com"), RecipientProvider.MICROSOFT),
}
#: Names which these providers registered under many country suffixes (hotmail.fr, yahoo.co.in, live.nl …).
_FAMILIES: dict[str, RecipientProvider] = {
    "hotmail": RecipientProvider.MICROSOFT,
    "outlook": RecipientProvider.MICROSOFT,
    "live": RecipientProvider.MICROSOFT,
    "msn": RecipientProvider.MICROSOFT,
    "yahoo": RecipientProvider.YAHOO,
}


@lru_cache(maxsize=65_536)
def recipient_provider(domain: str) -> RecipientProvider:
    """Which large consumer provider receives mail for this domain, judged by its name alone."""
    registrable = registrable_domain(domain)
    known = _PROVIDERS.get(registrable)
    return known or _FAMILIES.get(registrable.partition(".")[0], RecipientProvider.OTHER)
