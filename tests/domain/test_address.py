from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.address import AddressError, email_key, parse_address, recipient_provider, registrable_domain


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("Ada@Example.COM", "ada@example.com"),
        ("  ada@example.com ", "ada@example.com"),
        ("a.d.a+news@gmail.com", "a.d.a+news@gmail.com"),
        ("J\u006f\u0308rg@M\u00dcNCHEN.de", "j\u00f6rg@xn--mnchen-3ya.de"),
        ("jo@xn--mnchen-3ya.de", "jo@xn--mnchen-3ya.de"),
        ("ada@example.com.", "ada@example.com"),
        ("not an address", "not an address"),
    ],
)
def test_addresses_are_compared_in_one_form(written: str, key: str) -> None:
    assert email_key(written) == key


@pytest.mark.thorough
@given(st.text(max_size=40))
def test_the_key_of_a_key_is_the_key(text: str) -> None:
    assert email_key(email_key(text)) == email_key(text)


@pytest.mark.thorough
@given(st.emails())
def test_an_accepted_address_has_the_key_of_its_text(text: str) -> None:
    try:
        address = parse_address(text, allow_reserved=True)
    except AddressError:
        return
    assert address.key == email_key(text) == email_key(address.email)
    assert address.key.endswith("@" + address.domain)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("ada.example.com", "no @"),
        ("Ada <ada@example.com>", "only the address itself"),
        ("mailto:ada@example.com", "only the address itself"),
        ("ada@localhost", "not a mail address"),
        ("ada@box.local", "not a mail address"),
        ("a..b@example.com", "two periods"),
        ("ada@exa mple.com", "not a mail address"),
        ("ada@example.com\r\nBcc: eve@example.com", "not a mail address"),
        ("ada@example.com, eve@example.com", "not a mail address"),
        ("ada@box.test", "reserved for tests"),
        ("ada@acme.example", "reserved for tests"),
        ("j\u00f6rg@example.com", "most mail servers"),
        ("x" * 65 + "@example.com", "not a mail address"),
    ],
)
def test_what_we_cannot_write_to_is_refused_with_a_sentence(text: str, says: str) -> None:
    with pytest.raises(AddressError, match=says):
        parse_address(text)


def test_a_rehearsal_may_use_the_reserved_names() -> None:
    assert parse_address("Ada@Acme.Test", allow_reserved=True).key == "ada@acme.test"
    assert parse_address("ada@b\u00fccher.example", allow_reserved=True).domain == "xn--bcher-kva.example"


def test_the_local_part_is_kept_as_written_and_the_domain_is_ascii() -> None:
    address = parse_address("Ada.Lovelace@B\u00dcCHER.de")
    assert (address.email, address.key) == ("Ada.Lovelace@xn--bcher-kva.de", "ada.lovelace@xn--bcher-kva.de")


def test_registrable_domains_know_the_public_suffixes() -> None:
    assert registrable_domain("mail.eu.acme.co.uk") == "acme.co.uk"
    assert registrable_domain("ACME.com.") == "acme.com"
    assert registrable_domain("com") == "com"


@pytest.mark.parametrize(
    ("domain", "provider"),
    [
        ("gmail.com", "gmail"),
        ("googlemail.com", "gmail"),
        ("hotmail.co.uk", "microsoft"),
        ("outlook.de", "microsoft"),
        ("yahoo.co.in", "yahoo"),
        ("icloud.com", "apple"),
        ("acme.com", "other"),
        ("notgmail.com", "other"),
    ],
)
def test_the_recipients_provider_is_known_by_name(domain: str, provider: str) -> None:
    assert recipient_provider(domain) == provider


def test_a_hundred_thousand_addresses_take_no_more_than_a_few_seconds() -> None:
    start = time.perf_counter()
    for number in range(10_000):
        parse_address(f"person.{number}@company{number % 500}.com")
    assert time.perf_counter() - start < 1.0
