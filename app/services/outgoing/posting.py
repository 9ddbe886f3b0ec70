"""The moment on the network: signed with the secrets that are valid now, outside any transaction."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

from app.channels.hooks import Poster, PostFailed
from app.core.clock import machine_now
from app.core.crypto import CannotOpen
from app.domain.outgoing import signed
from app.services.outgoing import endpoints
from app.services.outgoing.calls import Call, Tried

AT_ONCE = 50


def keys_for(calls: Sequence[Call]) -> dict[int, list[str]]:
    """Endpoint → its secrets, the newest first; nothing for one whose secrets do not open. Reads the ledger."""
    found: dict[int, list[str]] = {}
    for endpoint_id, rows in endpoints.secrets_of_many(sorted({call.endpoint_id for call in calls})).items():
        try:
            found[endpoint_id] = [endpoints.opened(row) for row in rows]
        except CannotOpen:
            continue
    return found


async def post_all(poster: Poster, calls: Sequence[Call], keys: Mapping[int, Sequence[str]]) -> list[Tried]:
    """Each call once, AT_ONCE at a time."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(call: Call) -> Tried:
        async with gate:
            return await _post(poster, call, keys.get(call.endpoint_id, ()))

    return list(await asyncio.gather(*(one(call) for call in calls)))


async def _post(poster: Poster, call: Call, secrets: Sequence[str]) -> Tried:
    if not secrets:
        return Tried(call, 0, error="no_secret")
    body = call.body.encode()
    began = time.monotonic()
    try:
        answered = await poster.post(call.url, signed(call.webhook_id, machine_now(), body, secrets), body)
    except PostFailed as failed:
        return Tried(call, _ms_since(began), error=failed.reason)
    error = "redirect" if 300 <= answered.status < 400 else ""
    return Tried(call, _ms_since(began), answered.status, answered.length, error, answered.retry_after)


def _ms_since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
