"""Filling in servers: presets by domain and by MX, SRV records, else guesses; and the tables behind it."""

from __future__ import annotations

import asyncio

import pytest

from app.channels.autoconfig import Source, Suggestion, suggest
from app.channels.base import MxHost, SrvHost
from app.channels.dns import DnsResolver
from app.channels.imap_folders import _NAMES, Role, role_by_name, with_roles
from app.channels.imap_wire import decode_folder, encode_folder
from app.core.net import PORTS, Purpose
from app.domain.providers import PROVIDERS, provider, provider_of_host
from tests.channels.peers import TableResolver


def ask(email: str, resolver: TableResolver | None = None) -> Suggestion | None:
    return asyncio.run(suggest(email, resolver or TableResolver()))


@pytest.mark.parametrize(
    ("email", "key"),
    [("a@gmail.com", "gmail"), ("a@HOTMAIL.de", "outlook"), ("a@gmx.de", "gmx"), ("a@yandex.ru", "yandex"), ("a@me.com", "icloud")],
)
def test_known_domains_have_presets(email: str, key: str) -> None:
    found = ask(email)
    assert found is not None and found.provider == key and found.source is Source.DOMAIN and found.hint


@pytest.mark.parametrize(
    ("mx", "key"),
    [
        ("aspmx.l.google.com", "google_workspace"),
        ("acme-com.mail.protection.outlook.com", "microsoft365"),
        ("mx2.zoho.eu", "zoho_eu"),
        ("in1-smtp.messagingengine.com", "fastmail"),
        ("mx01.ionos.de", "ionos_de"),
        ("mx1.titan.email", "titan"),
        ("mx1.hostinger.com", "hostinger"),
        ("mx1.mail.ovh.net", "ovh"),
    ],
)
def test_company_domains_are_known_by_their_mx(mx: str, key: str) -> None:
    resolver = TableResolver()
    resolver.mx_rows["acme.test"] = [MxHost(1, mx)]
    found = ask("Sales@Acme.test", resolver)
    assert found is not None and (found.provider, found.source, found.user) == (key, Source.MX, "Sales@acme.test")


def test_srv_records_come_before_guesses() -> None:
    resolver = TableResolver({"imap.acme.test": ["192.0.2.1"]})
    resolver.srv_rows["_submission._tcp.acme.test"] = [SrvHost(0, 1, 587, "out.acme.test")]
    resolver.srv_rows["_imaps._tcp.acme.test"] = [SrvHost(0, 1, 993, "in.acme.test")]
    found = ask("a@acme.test", resolver)
    assert found is not None and found.source is Source.SRV
    assert (found.smtp.host, found.smtp.security, found.imap.host) == ("out.acme.test", "starttls", "in.acme.test")


def test_guesses_take_the_names_that_exist_and_work_offline() -> None:
    found = ask("a@acme.test", TableResolver({"mail.acme.test": ["192.0.2.1"]}))
    assert found is not None and found.source is Source.GUESS
    assert found.smtp.host == found.imap.host == "mail.acme.test"
    offline = ask("a@acme.test")
    assert offline is not None and offline.smtp.host == "smtp.acme.test"
    for text in ("", "a", "a@", "@acme.test", "a@acme", "a b@acme.test"):
        assert ask(text) is None


def test_presets_use_ports_that_may_be_connected_to() -> None:
    assert len({one.key for one in PROVIDERS}) == len(PROVIDERS) >= 40
    for one in PROVIDERS:
        assert provider(one.key) is one and one.hint.startswith("provider.hint.") and one.daily_limit > 0
        if one.key != "proton_bridge":
            assert one.smtp.port in PORTS[Purpose.SMTP] and one.imap.port in PORTS[Purpose.IMAP]
    assert provider_of_host("IMAP.gmx.net.") is provider("gmx")


def test_no_domain_belongs_to_two_providers() -> None:
    domains = [domain for one in PROVIDERS for domain in one.domains]
    assert len(domains) == len(set(domains))


def test_a_resolver_without_network_answers_nothing() -> None:
    async def story() -> None:
        resolver = DnsResolver(timeout=1)
        assert list(await resolver.addresses("no.such.name.invalid")) == []
        assert list(await resolver.mx("no.such.name.invalid")) == []
        assert list(await resolver.txt("..bad..name..")) == []
        assert "127.0.0.1" in await resolver.addresses("localhost")

    asyncio.run(story())


def test_roles_are_known_in_many_languages_and_the_servers_word_wins() -> None:
    for name, role in {
        "Gesendete Elemente": Role.SENT, "Éléments envoyés": Role.SENT, "INBOX/Spam": Role.JUNK, "Отправленные": Role.SENT,
        "已发送": Role.SENT, "迷惑メール": Role.JUNK, "Papelera": Role.TRASH, "Entwürfe": Role.DRAFTS, "Çöp Kutusu": Role.TRASH,
        "보낸편지함": Role.SENT, "المرسل": Role.SENT, "Skräppost": Role.JUNK, "Work": None,
    }.items():  # fmt: skip
        assert role_by_name(name) is role, name
    assert len(_NAMES[Role.SENT].split("|")) > 80
    rows = [("Sent", "Sent", [], "/"), ("Out", "Out", ["\\Sent"], "/"), ("INBOX", "INBOX", [], "/"), ("Junk", "Junk", [], "/"),
            ("Spam", "Spam", [], "/")]  # fmt: skip
    assert [folder.role for folder in with_roles(rows)] == [None, Role.SENT, Role.INBOX, Role.JUNK, None]


@pytest.mark.parametrize("name", ["Entwürfe", "A&B", "送信済み", "plain", "&", "a\U0001f600b", "Отправленные/2026", "~peter/mail/台北"])
def test_folder_names_survive_modified_utf7(name: str) -> None:
    assert decode_folder(encode_folder(name).encode("ascii")) == name


def test_folder_names_of_the_rfc() -> None:
    assert decode_folder(b"~peter/mail/&U,BTFw-/&ZeVnLIqe-") == "~peter/mail/台北/日本語"
    assert encode_folder("Entwürfe") == "Entw&APw-rfe"
    assert decode_folder(b"broken &!!-") == "broken &!!-" and decode_folder("Entwürfe".encode()) == "Entwürfe"
