"""Where a mailbox may point: both of its servers are vetted when it is saved, and again at every connection.

A name that is unknown just now passes here (verifying says so); what is never allowed does not. The sentences are coarse, so
that the form is no scanner of networks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

from app.channels.dns import DnsResolver
from app.core.config import Settings
from app.core.net import AllowedTargets, Purpose, TargetRefused, clean_host, vet
from app.strings import t

#: A form waits for it. A name that does not answer in time counts as unknown just now: verifying asks again, and every connection.
RESOLVE_SECONDS = 0.6
OPEN_TEXT = t("mailboxes.need_tls")
_PLACES = (("smtp", Purpose.SMTP), ("imap", Purpose.IMAP))


class Addresses(Protocol):
    """The part of a Resolver that is needed here."""

    async def addresses(self, host: str) -> Sequence[str]: ...


@dataclass(frozen=True)
class _Told:
    """What was answered once; nothing is asked any more."""

    known: Mapping[str, Sequence[str]]

    async def addresses(self, host: str) -> Sequence[str]:
        return self.known.get(host, ())


@dataclass(frozen=True)
class Targets:
    """What this installation may connect to. ``allow_reserved``: names below .test and .example are addresses here."""

    allow: AllowedTargets
    resolver: Addresses
    allow_reserved: bool

    @classmethod
    def of(cls, settings: Settings) -> Targets:
        allow = AllowedTargets.parse(settings.allow_targets, only=settings.rehearsal)
        return cls(allow, DnsResolver(timeout=RESOLVE_SECONDS), bool(settings.allow_targets) or settings.rehearsal)

    def asked_beforehand(self, lines: Iterable[Mapping[str, Any]]) -> Targets:
        """The same for a form of many lines: all their servers' names are asked at once, so that it waits RESOLVE_SECONDS and not so long a line."""
        names: set[str] = set()
        for values in lines:
            for place, _purpose in _PLACES:
                with suppress(TargetRefused):
                    names.add(clean_host(str(values.get(f"{place}_host", ""))))

        async def ask() -> dict[str, Sequence[str]]:
            return dict(zip(names, await asyncio.gather(*map(self.resolver.addresses, names)), strict=True))

        return replace(self, resolver=_Told(asyncio.run(ask())))

    def faults(self, values: Mapping[str, Any]) -> dict[str, list[str]]:
        """Sentences per field for the servers of ``values`` (``smtp_host``, ``smtp_port``, ``smtp_security``, ``imap_…``).

        Asks the resolver, at most RESOLVE_SECONDS: call it before the first write of a transaction.
        """
        return asyncio.run(self._both(values))

    async def _both(self, values: Mapping[str, Any]) -> dict[str, list[str]]:
        found = await asyncio.gather(*(self._one(values, place, purpose) for place, purpose in _PLACES))
        return {field: [text] for field, text in filter(None, found)}

    async def _one(self, values: Mapping[str, Any], place: str, purpose: Purpose) -> tuple[str, str] | None:
        try:
            vetted = await vet(values[f"{place}_host"], values[f"{place}_port"], purpose, self.allow, self.resolver.addresses)
        except TargetRefused as refused:
            if refused.reason == "host_unknown":
                return None
            return f"{place}_port" if refused.reason == "bad_port" else f"{place}_host", str(refused)
        if values[f"{place}_security"] == "none" and not all(one.trusted for one in vetted):
            return f"{place}_security", OPEN_TEXT
        return None
