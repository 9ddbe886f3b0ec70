
"""What may be connected to: the spellings people try, the networks that are ours to list, and the operator's word."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.net import AllowedTargets, AllowTargetsError, Purpose, TargetRefused, is_public, vet

#: Names a hostile resolver answers with private addresses; wildcard services and rebinding are of this kind.
NAMES: dict[str, Sequence[str]] = {
    "localhost": ["127.0.0.1", "::1"],
    "localhost.localdomain": ["127.0.0.1"],
    "private.evil.test": ["10.0.0.5"],
    "mixed.evil.test": ["93.184.216.34", "10.0.0.5"],
    "aaaa.evil.test": ["93.184.216.34", "fd00::5"],
    "cname.evil.test": ["192.168.1.1"],
    "metadata.evil.test": ["169.254.169.254"],
    "mapped.evil.test": ["::ffff:10.0.0.5"],
    "linklocal.evil.test": ["fe80::1%eth0"],
    "127.0.0.1.nip.test": ["127.0.0.1"],
    "own.evil.test": ["93.184.216.99"],
    "nothing.evil.test": [],
    "broken.evil.test": ["not-an-address"],
    "public.test": ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"],
}
_LISTED = """
127.0.0.1 127.1 127.0.1 2130706433 0x7f000001 0x7f.1 0x7f.0x0.0x0.0x1 0177.0.0.1 017700000001 0177.1 00127.0.0.1
127.0.0.1. 127.0.0.2 127.255.255.254 0 0.0.0.0 0.0.0.1 00 0x0 0.0 10.0.0.1 10.1 010.0.0.1 012.0.0.1 0xa.0.0.1
167772161 10.255.255.255 172.16.0.1 172.31.255.254 0xac100001 192.168.0.1 192.168.1 3232235521 0300.0250.0.1
169.254.169.254 2852039166 0xa9fea9fe 169.254.43518 169.16689662 0251.0376.0251.0376 100.64.0.1 100.127.255.254
192.0.0.1 192.0.0.170 192.0.2.1 198.18.0.1 198.19.255.255 198.51.100.7 203.0.113.7 224.0.0.1 239.255.255.250
240.0.0.1 255.255.255.255 256.256.256.256 999.1.1.1 1.2.3.4.5 192.88.99.1 192.31.196.1 192.52.193.1 192.175.48.1
:: ::1 0:0:0:0:0:0:0:1 ::0001 [::1] [::] ::2 ::7f00:1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:7f00:1 ::ffff:10.0.0.5
::ffff:a9fe:a9fe ::ffff:0:127.0.0.1 0:0:0:0:0:ffff:7f00:0001 64:ff9b::127.0.0.1 64:ff9b::a9fe:a9fe 64:ff9b::10.0.0.1
64:ff9b:1::1 2002:7f00:1:: 2002:a00:5:: 2002:a9fe:a9fe::1 2002:c0a8:1:: 2001:0:7f00:1::1
2001:0:5db8:d822:0:0:80ff:fffe 2001:db8::1 2001:10::1 2001:20::1 3fff::1 5f00::1 100::1 fc00::1 fd00::1 fd00:ec2::254
fe80::1 fe80::1%eth0 fe80::1%25lo fec0::1 ff02::1 ff0e::1 ::%1 ::1%lo
localhost LOCALHOST localhost. LocalHost. localhost.localdomain user@127.0.0.1 user:pw@localhost public.test@127.0.0.1
127.0.0.1:25 localhost:25 127.0.0.1/ 127.0.0.1#public.test 127.0.0.1?public.test http://127.0.0.1 //127.0.0.1 \\\\127.0.0.1
127。0。0。1 １２７.0.0.1 ①②⑦.⓪.⓪.① 127%2e0%2e0%2e1 ⓛocalhost ｌｏｃａｌｈｏｓｔ %31%32%37.0.0.1 127.0.0.1%00.public.test
private.evil.test mixed.evil.test aaaa.evil.test cname.evil.test metadata.evil.test mapped.evil.test
linklocal.evil.test 127.0.0.1.nip.test own.evil.test nothing.evil.test broken.evil.test PRIVATE.evil.test private.evil.test.
-public.test public..test .public.test public.test.. . .. _ a_b.127 public.0x7f 1.1.1 +127.0.0.1 127.0.0.1,public.test
"""
SPELLINGS = [*_LISTED.split(), "", " ", "public.test 127.0.0.1", "127.0.0.1\tpublic.test", "127.0.0.1\r\nQUIT", "pub\x00lic.test", "a" * 300]
PORT = {Purpose.SMTP: 587, Purpose.IMAP: 993}


async def resolve(name: str) -> Sequence[str]:
    return NAMES.get(name, ())


def vetted(host: str, port: int, purpose: Purpose, allow: AllowedTargets | None = None) -> list[str]:
    found = asyncio.run(vet(host, port, purpose, allow or AllowedTargets(own=frozenset({"93.184.216.99"})), resolve))
    return [target.address for target in found]


def test_there_are_at_least_120_spellings() -> None:
    assert len(set(SPELLINGS)) >= 120


@pytest.mark.parametrize("host", SPELLINGS, ids=[repr(spelling)[:40] for spelling in SPELLINGS])
def test_no_spelling_reaches_inside_for_any_purpose(host: str) -> None:
    for purpose in Purpose:
        with pytest.raises(TargetRefused) as refusal:
            vetted(host, PORT.get(purpose, 443), purpose)
        assert "127.0.0.1" not in str(refusal.value) and "10.0.0.5" not in str(refusal.value)


def test_public_servers_are_reached_at_the_ports_of_their_purpose_only() -> None:
    assert vetted("Public.Test.", 465, Purpose.SMTP) == list(NAMES["public.test"])
    assert vetted("93.184.216.34", 993, Purpose.IMAP) == ["93.184.216.34"]
    for port in (0, 22, 80, 2525, 6379, 65536, -1):
        with pytest.raises(TargetRefused) as refusal:
            vetted("public.test", port, Purpose.SMTP)
        assert refusal.value.reason == "bad_port"
    with pytest.raises(TargetRefused):
        vetted("public.test", 993, Purpose.SMTP)


def test_an_operator_opens_networks_and_ports() -> None:
    allow = AllowedTargets.parse("10.0.0.0/24:2525-2530+1143, 127.0.0.1:1025, [fd00::5]:993, 192.168.1.1")
    assert vetted("private.evil.test", 2526, Purpose.SMTP, allow) == ["10.0.0.5"]
    assert vetted("private.evil.test", 1143, Purpose.IMAP, allow) == ["10.0.0.5"]
    assert vetted("localhost", 1025, Purpose.SMTP, allow) == ["127.0.0.1", "::1"]
    assert vetted("fd00::5", 993, Purpose.IMAP, allow) == ["fd00::5"]
    assert vetted("cname.evil.test", 4711, Purpose.SMTP, allow) == ["192.168.1.1"]
    for host, port in (("private.evil.test", 25), ("localhost", 25), ("10.0.1.1", 2525), ("mixed.evil.test", 2525)):
        with pytest.raises(TargetRefused):
            vetted(host, port, Purpose.SMTP, allow)


def test_mapped_addresses_are_connected_to_as_what_they_are() -> None:
    assert vetted("mapped.evil.test", 587, Purpose.SMTP, AllowedTargets.parse("10.0.0.5:587")) == ["10.0.0.5"]


def test_a_rehearsal_reaches_its_own_ports_and_nothing_else() -> None:
    allow = AllowedTargets.rehearsal([3025, 3143])
    assert vetted("127.0.0.1", 3025, Purpose.SMTP, allow) == ["127.0.0.1"]
    for host, port in (("127.0.0.1", 25), ("public.test", 587), ("127.0.0.2", 3025), ("93.184.216.34", 3025)):
        with pytest.raises(TargetRefused):
            vetted(host, port, Purpose.SMTP, allow)
    with pytest.raises(TargetRefused):
        vetted("127.0.0.1", 3025, Purpose.SMTP, AllowedTargets.rehearsal([]))


@pytest.mark.parametrize(
    "text", ["mailpit:1025", "10.0.0.0/33", "10.0.0.1:0", "10.0.0.1:70000", "10.0.0.1:b", "10.0.0.1:9-5", "1025", "::1:x/"]
)
def test_an_unreadable_setting_names_the_entry_and_shows_a_right_one(text: str) -> None:
    with pytest.raises(AllowTargetsError, match=r"EMBERPOST_ALLOW_TARGETS.*for example"):
        AllowedTargets.parse(text)


def test_the_setting_takes_the_habits_of_people() -> None:
    allow = AllowedTargets.parse(" 127.0.0.0/8:1025, 1143 ,, localhost:2525, ")
    for port in (1025, 1143, 2525):
        assert allow.covers(ipaddress.ip_address("127.0.0.1"), port)
    assert not allow.covers(ipaddress.ip_address("127.0.0.1"), 25)
    assert AllowedTargets.parse("").targets == ()


@given(st.integers(0, 2**32 - 1))
def test_our_list_is_never_wider_than_the_registry(number: int) -> None:
    address = ipaddress.IPv4Address(number)
    if address.is_private or address.is_loopback or address.is_multicast or address.is_reserved or address.is_link_local:
        assert not is_public(address)
        assert not is_public(ipaddress.IPv6Address(f"::ffff:{address}"))
        assert not is_public(ipaddress.IPv6Address((0x2002 << 112) | (number << 80)))
