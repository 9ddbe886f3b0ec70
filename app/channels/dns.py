"""Names to facts: addresses by the system's resolver (it knows /etc/hosts and container names), the rest by dnspython.

Every question is time-limited. Offline, MX, SRV and TXT answer nothing; `addresses` answers nothing too, and the
caller reports the host as unknown.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.rdatatype
import dns.resolver

from app.channels.base import MxHost, SrvHost

#: How long addresses are remembered (seconds): hundreds of mailboxes share a handful of servers.
REMEMBERED = 30.0
# The system's resolver cannot be interrupted. In threads of the loop's own an `asyncio.run` would wait for it at its end,
# however short the time limit of the question was.
_ASKING = ThreadPoolExecutor(32, thread_name_prefix="names")


class DnsResolver:
    """Implements `Resolver`. `timeout` is seconds for one question with all its repetitions."""

    def __init__(self, timeout: float = 5.0) -> None:
        self._timeout = timeout
        self._known: dict[str, tuple[float, tuple[str, ...]]] = {}
        self._asker: dns.asyncresolver.Resolver | None = None

    async def addresses(self, host: str) -> Sequence[str]:
        now = time.monotonic()
        known = self._known.get(host)
        if known and now - known[0] < REMEMBERED:
            return known[1]
        try:
            async with asyncio.timeout(self._timeout):
                found = await asyncio.get_running_loop().run_in_executor(_ASKING, _addresses, host)
        except (OSError, TimeoutError, UnicodeError):
            return ()
        answer = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
        if len(self._known) > 10_000:
            self._known.clear()
        self._known[host] = (now, answer)
        return answer

    async def mx(self, domain: str) -> Sequence[MxHost]:
        rows = [MxHost(int(row.preference), _name(row.exchange)) for row in await self._ask(domain, "MX")]
        return sorted((row for row in rows if row.host), key=lambda row: (row.preference, row.host))

    async def srv(self, name: str) -> Sequence[SrvHost]:
        rows = [
            SrvHost(int(row.priority), int(row.weight), int(row.port), _name(row.target))
            for row in await self._ask(name, "SRV")
        ]
        return sorted((row for row in rows if row.host), key=lambda row: (row.priority, -row.weight, row.host))

    async def txt(self, name: str) -> Sequence[str]:
        return [b"".join(row.strings).decode("utf-8", "replace") for row in await self._ask(name, "TXT")]

    async def _ask(self, name: str, kind: str) -> list[dns.rdtypes.ANY.MX.MX]:  # type: ignore[name-defined]
        try:
            if self._asker is None:
                self._asker = dns.asyncresolver.Resolver()
                self._asker.timeout = self._timeout / 2
            async with asyncio.timeout(self._timeout + 1):
                answer = await self._asker.resolve(name, kind, lifetime=self._timeout, raise_on_no_answer=False)
            return list(answer) if answer.rrset is not None else []
        except (dns.exception.DNSException, OSError, TimeoutError, UnicodeError, ValueError):
            return []


def _addresses(host: str) -> list[tuple[Any, ...]]:
    return list(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))


def _name(target: object) -> str:
    """A host name without its final dot; "." (no such service) becomes empty."""
    return str(target).rstrip(".").lower()
