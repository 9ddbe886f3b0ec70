"""The four stops as people press them: who may, what it tells every open page, and how far each has come.

The instance and a client are switches; a campaign is paused and a mailbox stopped: all four hold what waits and can be released.
"""

from __future__ import annotations

from collections.abc import Iterable

from app.core.bell import live_after_commit
from app.core.errors import Conflict
from app.services import launch, mailboxes
from app.services.outbox import switches
from app.services.outbox.switches import StopState
from app.strings import t

INSTANCE, CLIENT, CAMPAIGN, SENDER = "instance", "client", "campaign", "sender"


def stop(kind: str, client_id: int, *, by: int, reason: str, tell: Iterable[int]) -> StopState:
    """Stop the instance or one client; pressing twice is the same as once. ``tell``: clients whose open pages must know."""
    if kind == INSTANCE:
        switches.stop_instance(by=by, reason=reason)
    else:
        switches.stop_client(client_id, by=by, reason=reason)
    _tell(tell)
    return state(kind, client_id)


def release(kind: str, client_id: int, *, by: int, tell: Iterable[int]) -> StopState:
    """Let what waits leave again, at the ordinary pace. Raises Conflict while a recovery is needed."""
    if kind == INSTANCE:
        switches.release_instance(by=by)
    else:
        switches.release_client(client_id, by=by)
    _tell(tell)
    return state(kind, client_id)


def stop_one(kind: str, client_id: int, scope_id: int, *, by: int, reason: str) -> StopState:
    """Stop a campaign or a mailbox (``sender``); one that is stopped already stays so. Raises NotFound, Conflict."""
    if not state(kind, scope_id).stopped:
        if kind == CAMPAIGN:
            launch.pause(client_id, scope_id, by=by, reason=reason)
        else:
            mailboxes.stop(mailboxes.find(client_id, scope_id), reason)
    return state(kind, scope_id)


def release_one(kind: str, client_id: int, scope_id: int, *, by: int) -> StopState:
    """Let a campaign or a mailbox send again. Raises NotFound, Conflict for a campaign that was stopped for good."""
    if kind == CAMPAIGN:
        launch.resume(client_id, scope_id, by=by)
    else:
        mailbox = mailboxes.find(client_id, scope_id)
        if mailbox.status != "paused":
            raise Conflict(t("mailboxes.only_held_released", status=mailbox.status))
        mailboxes.resume(mailbox)
    return state(kind, scope_id)


def state(kind: str, scope_id: int) -> StopState:
    """How far the stop has come; the same numbers for pages and programs."""
    return switches.state(kind, 0 if kind == INSTANCE else scope_id)


def _tell(client_ids: Iterable[int]) -> None:
    for client_id in client_ids:
        live_after_commit(client_id, "switches", "counters")
