"""Where we may connect to: every outbound connection is vetted here, and made to the vetted address.

The list of what counts as public is ours (IANA's special-purpose registries, written out), because library notions of
"global" have changed between versions. Addresses that carry another one inside (mapped, compatible, 6to4, Teredo,
NAT64) are unwrapped first. If any address behind a name is bad the name is refused: which of them a connection would
take is not ours to guess. The caller connects to the returned address and keeps the name for TLS, so a name that
changes its mind between check and connection changes nothing.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from app.strings import t

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


class Purpose(StrEnum):
    SMTP = "smtp"
    IMAP = "imap"
    HTTPS = "https"
    WEBHOOK = "webhook"
    IMAGE = "image"
    MODEL = "model"


PORTS: dict[Purpose, frozenset[int]] = {
    Purpose.SMTP: frozenset({25, 465, 587}),
    Purpose.IMAP: frozenset({143, 993}),
    Purpose.HTTPS: frozenset({443}),
    Purpose.WEBHOOK: frozenset({443}),
    Purpose.IMAGE: frozenset({443}),
    Purpose.MODEL: frozenset({443}),
}

_V4_SPECIAL = tuple(
    ipaddress.IPv4Network(net)
    for net in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    )
)  # fmt: skip
_V6_PUBLIC = ipaddress.IPv6Network("2000::/3")
_V6_SPECIAL = tuple(
    ipaddress.IPv6Network(net) for net in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_SIX_TO_FOUR = ipaddress.IPv6Network("2002::/16")
_TEREDO = ipaddress.IPv6Network("2001::/32")
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")

_HOST = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)


class TargetRefused(Exception):
    """Not connected. `reason`: bad_host, bad_port, host_unknown or not_allowed; `str()` is a sentence without details."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class AllowTargetsError(ValueError):
    """EMBERPOST_ALLOW_TARGETS cannot be read; the message names the entry and shows a right one."""


@dataclass(frozen=True, slots=True)
class VettedAddress:
    """An address that may be connected to now. `trusted`: an operator named its network explicitly."""

    address: str
    port: int
    name: str
    trusted: bool = False


@dataclass(frozen=True, slots=True)
class AllowedTarget:
    """A network and its port ranges (inclusive); no ranges means every port."""

    network: IPNetwork
    ports: tuple[tuple[int, int], ...] = ()

    def covers(self, address: IPAddress, port: int) -> bool:
        if address.version != self.network.version or address not in self.network:
            return False
        return not self.ports or any(low <= port <= high for low, high in self.ports)


@dataclass(frozen=True, slots=True)
class AllowedTargets:
    """What an operator allows beyond the public Internet's mail ports.

    `only` (a rehearsal): nothing else may be reached, not even public servers. `own`: addresses of this machine that
    are public and still must not be reached.
    """

    targets: tuple[AllowedTarget, ...] = ()
    only: bool = False
    own: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, text: str, *, only: bool = False, own: frozenset[str] = frozenset()) -> AllowedTargets:
        """Read `network[:ports],…`: 10.1.0.0/16, 127.0.0.1:2525, 10.0.0.5:1000-1100+2525, [fd00::5]:993.

        A number or range alone continues the ports of the entry before it. Raises AllowTargetsError.
        """
        targets: list[AllowedTarget] = []
        for entry in (part.strip() for part in text.split(",")):
            if not entry:
                continue
            if targets and targets[-1].ports and re.fullmatch(r"\d+(-\d+)?", entry):
                targets[-1] = AllowedTarget(targets[-1].network, targets[-1].ports + _ports(entry, entry))
                continue
            network, ports = _split(entry)
            spans = _ports(ports, entry) if ports is not None else ()
            targets.extend(AllowedTarget(net, spans) for net in _networks(network, entry))
        return cls(tuple(targets), only=only, own=own)

    @classmethod
    def rehearsal(cls, ports: Sequence[int], host: str = "127.0.0.1") -> AllowedTargets:
        """A rehearsal reaches its own sandbox's ports and nothing else in the world."""
        spans = tuple((port, port) for port in ports)
        return cls((AllowedTarget(ipaddress.ip_network(host), spans),) if spans else (), only=True)

    def covers(self, address: IPAddress, port: int) -> bool:
        # ::1 and 127.0.0.1 are one machine: who allows the one means both, or `localhost` would work by luck.
        twin = ipaddress.IPv4Address("127.0.0.1") if str(address) == "::1" else address
        return any(target.covers(address, port) or target.covers(twin, port) for target in self.targets)


def _split(entry: str) -> tuple[str, str | None]:
    """Network and ports of one entry; an IPv6 network needs [brackets] when ports follow."""
    bracketed = re.fullmatch(r"\[([^\]]+)\](/\d+)?(?::(.*))?", entry)
    if bracketed:
        return bracketed.group(1) + (bracketed.group(2) or ""), bracketed.group(3)
    if entry.count(":") > 1:
        return entry, None
    network, colon, ports = entry.partition(":")
    return network, ports if colon else None


def _networks(text: str, entry: str) -> list[IPNetwork]:
    if text.lower() == "localhost":
        return [ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128")]
    try:
        return [ipaddress.ip_network(text, strict=False)]
    except ValueError:
        raise AllowTargetsError(
            f"EMBERPOST_ALLOW_TARGETS: {entry!r} does not begin with a network. "
            "Write addresses, not names, for example 10.1.0.0/16 or 127.0.0.1:2525."
        ) from None


def _ports(text: str, entry: str) -> tuple[tuple[int, int], ...]:
    spans = []
    for part in re.split(r"[+|;]", text):
        found = re.fullmatch(r"\s*(\d{1,5})\s*(?:-\s*(\d{1,5})\s*)?", part)
        low = int(found.group(1)) if found else 0
        high = int(found.group(2) or low) if found else 0
        if not 1 <= low <= high <= 65535:
            raise AllowTargetsError(
                f"EMBERPOST_ALLOW_TARGETS: the ports of {entry!r} must be numbers from 1 to 65535, "
                "single, as a range or joined by +, for example 10.0.0.5:25+587 or 10.0.0.5:2000-2100."
            )
        spans.append((low, high))
    return tuple(spans)


def clean_host(host: str) -> str:
    """The host as plain ASCII, or TargetRefused: no user part, port, zone, brackets, or disguised numbers."""
    text = host.strip()
    if not text.isascii():
        try:
            text = text.encode("idna").decode("ascii")
        except UnicodeError:
            raise _bad_host() from None
    text = text.lower()
    if ":" in text or text.replace(".", "").isdigit():
        return str(_literal(text))
    text = text[:-1] if text.endswith(".") else text
    labels = text.split(".")
    # A name whose last label is a number is no name: resolvers read it as an address in octal, hexadecimal or short.
    if len(text) > 253 or not _HOST.fullmatch(text) or _NUMBER.fullmatch(labels[-1]):
        raise _bad_host()
    return text


def _literal(text: str) -> IPAddress:
    try:
        if "%" in text:
            raise ValueError
        return ipaddress.ip_address(text)
    except ValueError:
        raise _bad_host() from None


def _bad_host() -> TargetRefused:
    return TargetRefused("bad_host", t("addresses.server_shape"))


def unwrap(address: IPAddress) -> tuple[IPAddress, ...]:
    """The addresses a packet to this one would really go to: those carried inside, else the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return (address,)
    number = int(address)
    if address in _MAPPED or address in _NAT64:
        return (ipaddress.IPv4Address(number & 0xFFFFFFFF),)
    if address in _COMPATIBLE and number > 1:
        return (ipaddress.IPv4Address(number & 0xFFFFFFFF),)
    if address in _SIX_TO_FOUR:
        return (ipaddress.IPv4Address((number >> 80) & 0xFFFFFFFF),)
    if address in _TEREDO:
        server = ipaddress.IPv4Address((number >> 64) & 0xFFFFFFFF)
        return (server, ipaddress.IPv4Address((number & 0xFFFFFFFF) ^ 0xFFFFFFFF))
    return (address,)


def is_public(address: IPAddress) -> bool:
    """In the public Internet by our own list; carried addresses count as themselves."""
    return all(_plainly_public(inner) for inner in unwrap(address))


def _plainly_public(address: IPAddress) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _V4_SPECIAL)
    return address in _V6_PUBLIC and not any(address in network for network in _V6_SPECIAL)


LookUp = Callable[[str], Awaitable[Sequence[str]]]


async def vet(
    host: str, port: int, purpose: Purpose, allow: AllowedTargets, resolve: LookUp
) -> list[VettedAddress]:
    """All addresses behind `host`, each one allowed for `purpose` at `port`; raises TargetRefused, connects nowhere.

    `resolve(name)` returns addresses as text, and nothing for an unknown name; it is not asked for literals.
    """
    name = clean_host(host)
    if not 1 <= port <= 65535:
        raise TargetRefused("bad_port", t("addresses.port_range"))
    addresses = [_one(name)] if _is_literal(name) else [_one(text) for text in await resolve(name)]
    if not addresses:
        raise TargetRefused("host_unknown", t("addresses.server_unknown"))
    return [_judge(address, port, name, purpose, allow) for address in dict.fromkeys(addresses)]


def _is_literal(name: str) -> bool:
    return ":" in name or name.replace(".", "").isdigit()


def _one(text: str) -> IPAddress:
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        raise _bad_host() from None


def _judge(address: IPAddress, port: int, name: str, purpose: Purpose, allow: AllowedTargets) -> VettedAddress:
    inner = unwrap(address)
    if all(allow.covers(one, port) for one in inner):
        return VettedAddress(str(inner[0]) if len(inner) == 1 else str(address), port, name, trusted=True)
    if allow.only:
        raise TargetRefused("not_allowed", t("addresses.rehearsal_only"))
    if not is_public(address) or any(str(one) in allow.own for one in inner):
        raise TargetRefused("not_allowed", t("addresses.not_allowed"))
    if port not in PORTS[purpose]:
        allowed = ", ".join(str(number) for number in sorted(PORTS[purpose]))
        raise TargetRefused("bad_port", t("addresses.port_not_used", ports=allowed))
    return VettedAddress(str(address), port, name)
