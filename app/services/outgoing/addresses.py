"""Where an endpoint may stand: looked at when it is saved, and again at every connection.

A name that is unknown just now passes here; what is never allowed does not. The sentences are coarse, so that the form is no scanner
of networks.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from app.channels import http
from app.channels.base import Resolver
from app.channels.dns import DnsResolver
from app.core.config import Settings
from app.core.net import AllowedTargets, Purpose, TargetRefused, vet
from app.services.mailbox_targets import RESOLVE_SECONDS
from app.strings import t

LONGEST = 2_000
SHAPE_TEXT = t("outgoing.url_shape")
PLAIN_TEXT = t("outgoing.use_https")


@dataclass(frozen=True)
class Addresses:
    """What this installation may post to."""

    allow: AllowedTargets
    resolver: Resolver

    @classmethod
    def of(cls, settings: Settings) -> Addresses:
        return cls(AllowedTargets.parse(settings.allow_targets, only=settings.rehearsal), DnsResolver(timeout=RESOLVE_SECONDS))

    def fault(self, url: str) -> str | None:
        """A sentence when nothing may be posted there. Asks the resolver: call it before the first write of a transaction."""
        if not 1 <= len(url) <= LONGEST or "#" in url:
            return SHAPE_TEXT
        try:
            at = http.address_of(url)
        except http.BadAddress:
            return SHAPE_TEXT
        return asyncio.run(self._vetted(at))

    async def _vetted(self, at: http.Address) -> str | None:
        try:
            found = await vet(at.name, at.connects_to, Purpose.WEBHOOK, self.allow, self.resolver.addresses)
        except TargetRefused as refused:
            unknown = refused.reason == "host_unknown"
            if unknown:
                return None if at.secure else PLAIN_TEXT
            if refused.reason == "bad_port" and not at.secure:
                return PLAIN_TEXT
            return SHAPE_TEXT if refused.reason == "bad_host" else str(refused)
        return None if at.secure or all(one.trusted for one in found) else PLAIN_TEXT
