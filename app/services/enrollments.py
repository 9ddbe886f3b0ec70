"""Leads in campaigns: putting them in, holding, resuming and ending their walk.

Every change locks the enrollments in id order and then touches their deliveries, the order the permit keeps as well. What is
final cancels the deliveries that have not left; what can be freed again keeps the row and only takes it out of the queue.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from app.core import clock
from app.core.bell import DISPATCH, live_after_commit, ring_after_commit
from app.core.errors import Conflict, NotFound
from app.core.extensions import db
from app.domain.reasons import Reason
from app.domain.statuses import ENROLLMENT_ACTIVE, EnrollmentStatus
from app.strings import t

ACTIVE = tuple(sorted(str(status) for status in ENROLLMENT_ACTIVE))


@dataclass(frozen=True)
class Ended:
    """An enrollment that was changed, and where it stood."""

    id: int
    campaign_id: int
    lead_id: int


def locked_active(client_id: int, lead_ids: Iterable[int]) -> list[Ended]:
    """The active enrollments of these leads in every campaign of the client, locked by id."""
    rows = db.session.execute(
        text(
            "SELECT id, campaign_id, lead_id FROM enrollments WHERE client_id = :client AND lead_id = ANY(:leads)"
            " AND status = ANY(:active) ORDER BY id FOR UPDATE"
        ),
        {"client": client_id, "leads": sorted(set(lead_ids)), "active": list(ACTIVE)},
    )
    return [Ended(*row) for row in rows]


def _locked(client_id: int, enrollment_ids: Iterable[int]) -> list[Ended]:
    rows = db.session.execute(
        text(
            "SELECT id, campaign_id, lead_id FROM enrollments WHERE client_id = :client AND id = ANY(:ids)"
            " AND status = ANY(:active) ORDER BY id FOR UPDATE"
        ),
        {"client": client_id, "ids": sorted(set(enrollment_ids)), "active": list(ACTIVE)},
    )
    return [Ended(*row) for row in rows]


def leads_of(client_id: int, email_keys: Iterable[str]) -> list[int]:
    """Ids of the client's leads with these addresses."""
    rows = db.session.execute(
        text("SELECT id FROM leads WHERE client_id = :client AND email_key = ANY(:keys) ORDER BY id"),
        {"client": client_id, "keys": sorted(set(email_keys))},
    )
    return list(rows.scalars())


_END = text(
    "UPDATE enrollments SET status = :status, reason = :reason, ended_at = :now, next_at = NULL, held_until = NULL"
    " WHERE id = ANY(:ids) AND client_id = :client"
)
_CANCEL = text(
    "UPDATE deliveries SET status = 'cancelled', reason = :reason, leased_until = NULL, lease_owner = NULL"
    " WHERE enrollment_id = ANY(:ids) AND client_id = :client AND status IN ('queued', 'leased') RETURNING id"
)
_ENDED_ACTIVITY = text(
    "INSERT INTO activities (client_id, kind, channel, campaign_id, enrollment_id, lead_id, sender_id, meta, at)"
    " SELECT client_id, 'enrollment_ended', 'email', campaign_id, id, lead_id, sender_id,"
    " jsonb_build_object('status', status, 'reason', reason), :now FROM enrollments WHERE id = ANY(:ids)"
)


def end_locked(client_id: int, rows: Sequence[Ended], status: EnrollmentStatus, reason: Reason, now: datetime) -> None:
    """End enrollments this transaction has locked; what has not left for them is cancelled with the reason."""
    ids = [row.id for row in rows]
    if not ids:
        return
    values = {"ids": ids, "client": client_id, "status": str(status), "reason": str(reason), "now": now}
    db.session.execute(_END, values)
    db.session.execute(_CANCEL, {"ids": ids, "client": client_id, "reason": str(reason)})
    db.session.execute(_ENDED_ACTIVITY, {"ids": ids, "now": now})
    _tell(client_id, rows)


def _tell(client_id: int, rows: Sequence[Ended]) -> None:
    live_after_commit(client_id, "counters", *sorted({f"campaign-{row.campaign_id}" for row in rows}))


def stop_for_reply(
    client_id: int,
    lead_ids: Iterable[int],
    *,
    email_keys: Iterable[str] = (),
    campaign_id: int | None = None,
    status: EnrollmentStatus = EnrollmentStatus.REPLIED,
    reason: Reason = Reason.REPLIED,
    now: datetime | None = None,
) -> list[Ended]:
    """The person answered: end their walk in every campaign of the client, on every channel, in this transaction.

    ``email_keys`` adds leads known by address only. The campaign that was answered ends as ``reason``, the others as
    ``replied_elsewhere``. Returns what was ended; deliveries past their permit are no longer ours to stop.
    """
    now = now or clock.now()
    leads = {*lead_ids, *leads_of(client_id, email_keys)}
    rows = locked_active(client_id, leads)
    elsewhere = Reason.REPLIED_ELSEWHERE if reason is Reason.REPLIED and campaign_id is not None else reason
    here = [row for row in rows if campaign_id is None or row.campaign_id == campaign_id]
    end_locked(client_id, here, status, reason, now)
    end_locked(client_id, [row for row in rows if row not in here], status, elsewhere, now)
    return rows


def end(
    client_id: int, enrollment_ids: Iterable[int], status: EnrollmentStatus, reason: Reason, *, now: datetime | None = None
) -> list[Ended]:
    """End these enrollments if they are still active. Returns those that were."""
    rows = _locked(client_id, enrollment_ids)
    end_locked(client_id, rows, status, reason, now or clock.now())
    return rows


_BACK_IN_QUEUE = text(
    "UPDATE deliveries SET status = 'queued', reason = :reason, leased_until = NULL, lease_owner = NULL,"
    # bytes that a permit has seen may be somewhere already: those stay for good
    " mime = CASE WHEN permitted_at IS NULL THEN NULL ELSE mime END,"
    " message_id = CASE WHEN permitted_at IS NULL THEN NULL ELSE message_id END,"
    " rendered_at = CASE WHEN permitted_at IS NULL THEN NULL ELSE rendered_at END"
    " WHERE enrollment_id = ANY(:ids) AND client_id = :client AND status IN ('queued', 'leased')"
)


def hold_locked(
    client_id: int,
    rows: Sequence[Ended],
    reason: Reason,
    *,
    status: EnrollmentStatus = EnrollmentStatus.HELD,
    until: datetime | None = None,
    by: int | None = None,
) -> None:
    """Hold locked enrollments; their waiting delivery keeps its row, without bytes, and goes on when freed."""
    ids = [row.id for row in rows]
    if not ids:
        return
    db.session.execute(
        text(
            "UPDATE enrollments SET status = :status, reason = :reason, held_until = :until, paused_by = :by"
            " WHERE id = ANY(:ids) AND client_id = :client"
        ),
        {"ids": ids, "client": client_id, "status": str(status), "reason": str(reason), "until": until, "by": by},
    )
    db.session.execute(_BACK_IN_QUEUE, {"ids": ids, "client": client_id, "reason": str(reason)})
    _tell(client_id, rows)


def hold_until(client_id: int, enrollment_ids: Iterable[int], until: datetime) -> list[Ended]:
    """Out of office: wait until ``until`` (product time). Does not shorten a longer hold nor touch a person's pause."""
    rows = db.session.execute(
        text(
            "SELECT id, campaign_id, lead_id FROM enrollments WHERE client_id = :client AND id = ANY(:ids)"
            " AND status IN ('waiting', 'in_flight', 'held') AND (held_until IS NULL OR held_until < :until)"
            " AND (status <> 'held' OR held_until IS NOT NULL) ORDER BY id FOR UPDATE"
        ),
        {"client": client_id, "ids": sorted(set(enrollment_ids)), "until": until},
    )
    found = [Ended(*row) for row in rows]
    hold_locked(client_id, found, Reason.OUT_OF_OFFICE_UNTIL, until=until)
    return found


def pause_for_outside(client_id: int, lead_ids: Iterable[int]) -> list[Ended]:
    """One of us wrote to these leads from outside: they wait until a person resumes them."""
    rows = locked_active(client_id, lead_ids)
    hold_locked(client_id, rows, Reason.ANSWERED_ELSEWHERE, status=EnrollmentStatus.PAUSED)
    return rows


def pause(client_id: int, enrollment_ids: Iterable[int], by: int | None) -> int:
    """A person pauses leads. Returns how many were active."""
    rows = _locked(client_id, enrollment_ids)
    hold_locked(client_id, rows, Reason.LEAD_PAUSED, status=EnrollmentStatus.PAUSED, by=by)
    return len(rows)


def skip(client_id: int, enrollment_ids: Iterable[int]) -> int:
    """A person ends these leads' walk. Returns how many were active."""
    return len(end(client_id, enrollment_ids, EnrollmentStatus.SKIPPED, Reason.SKIPPED))


def take_back_step(client_id: int, step_id: int) -> int:
    """A removed step's messages that have not left are cancelled; their leads wait for what comes after it. Returns how many.

    Locks the walks, then the rows, as the permit does; the caller holds the hot lock and plans the walks anew.
    """
    values = {"client": client_id, "step": step_id}
    of_step = "d.client_id = :client AND d.step_id = :step AND d.shelf IN ('queued', 'held') AND d.status IN ('queued', 'leased')"
    walks = db.session.execute(
        text(f"SELECT e.id FROM enrollments e WHERE e.id IN (SELECT d.enrollment_id FROM deliveries d WHERE {of_step}) ORDER BY e.id FOR UPDATE"), values
    )
    ids = list(walks.scalars())
    if ids:
        cancelled = "status = 'cancelled', reason = :skipped, leased_until = NULL, lease_owner = NULL"
        db.session.execute(text(f"UPDATE deliveries d SET {cancelled} WHERE {of_step}"), {**values, "skipped": str(Reason.SKIPPED)})
        db.session.execute(text("UPDATE enrollments SET status = 'waiting', reason = NULL WHERE id = ANY(:ids) AND status = 'in_flight'"), {"ids": ids})
    return len(ids)


# The candidates of answers that nobody has given to a lead yet. Conversations that wait for a decision are few.
_UNDECIDED = text(
    "SELECT DISTINCT (found.id #>> '{}')::bigint FROM conversations c"
    " JOIN messages m ON m.conversation_id = c.id AND m.client_id = c.client_id"
    " CROSS JOIN LATERAL jsonb_path_query(m.match_candidates, '$[*].lead_id') AS found(id)"
    " WHERE c.client_id = :client AND c.needs_match AND jsonb_typeof(found.id) = 'number'"
)


def undecided_leads(client_id: int, lead_ids: Iterable[int]) -> set[int]:
    """Those of these leads whose answer may lie in the inbox, waiting for a person to say whose it is."""
    wanted = set(lead_ids)
    return wanted & set(db.session.execute(_UNDECIDED, {"client": client_id}).scalars()) if wanted else set()


def hold_undecided(client_id: int, lead_ids: Iterable[int]) -> list[Ended]:
    """An answer may be any of these leads': each waits in every campaign until a person decides. Returns those held now.

    What is held, paused or waiting for a value already stays as it is; freeing it meets the same question (``free_locked``).
    """
    rows = db.session.execute(
        text(
            "SELECT id, campaign_id, lead_id FROM enrollments WHERE client_id = :client AND lead_id = ANY(:leads)"
            " AND (status IN ('waiting', 'in_flight') OR status = 'held' AND reason = 'previous_uncertain') ORDER BY id FOR UPDATE"
        ),
        {"client": client_id, "leads": sorted(set(lead_ids))},
    )
    found = [Ended(*row) for row in rows]
    hold_locked(client_id, found, Reason.DIRECTION_UNKNOWN)
    return found


def free_decided(client_id: int, lead_ids: Iterable[int], now: datetime) -> int:
    """A person decided: these leads go on, but for those that another undecided answer names. Returns how many did."""
    rows = db.session.execute(
        text(
            "SELECT id, campaign_id, lead_id FROM enrollments WHERE client_id = :client AND lead_id = ANY(:leads)"
            " AND status = 'held' AND reason = 'direction_unknown' ORDER BY id FOR UPDATE"
        ),
        {"client": client_id, "leads": sorted(set(lead_ids))},
    )
    return free_locked(client_id, [Ended(*row) for row in rows], now)


_FREE = text(
    "WITH freed AS (SELECT f.id, EXISTS (SELECT 1 FROM deliveries d WHERE d.enrollment_id = f.id AND d.status = 'uncertain') AS unsure,"
    " EXISTS (SELECT 1 FROM deliveries d WHERE d.enrollment_id = f.id AND d.status = 'committing') AS flying FROM unnest(cast(:ids AS bigint[])) AS f (id))"
    " UPDATE enrollments e SET reason = CASE WHEN f.unsure THEN 'previous_uncertain' END, detail = '', held_until = NULL,"
    " paused_by = NULL, next_at = coalesce(next_at, :now),"
    " status = CASE WHEN f.unsure THEN 'held' WHEN f.flying THEN 'in_flight' ELSE 'waiting' END"
    " FROM freed f WHERE e.id = f.id AND e.client_id = :client"
)
_FREE_ROWS = text(
    "UPDATE deliveries SET reason = NULL, due_at = greatest(due_at, :now)"
    " WHERE enrollment_id = ANY(:ids) AND client_id = :client AND status = 'queued'"
)


def free_locked(client_id: int, rows: Sequence[Ended], now: datetime) -> int:
    """Let locked enrollments go on; overdue rows keep their order and leave at the ordinary pace. Returns how many did.

    A lead whose answer may lie undecided in the inbox waits for the decision instead.
    """
    unclear = undecided_leads(client_id, [row.lead_id for row in rows])
    hold_locked(client_id, [row for row in rows if row.lead_id in unclear], Reason.DIRECTION_UNKNOWN)
    rows = [row for row in rows if row.lead_id not in unclear]
    ids = [row.id for row in rows]
    if not ids:
        return 0
    db.session.execute(_FREE, {"ids": ids, "client": client_id, "now": now})
    db.session.execute(_FREE_ROWS, {"ids": ids, "client": client_id, "now": now})
    _tell(client_id, rows)
    ring_after_commit(DISPATCH)
    return len(ids)


def resume(client_id: int, enrollment_ids: Iterable[int], *, now: datetime | None = None) -> int:
    """A person lets paused, held or attention-needing leads go on. Returns how many did.

    One that waits for an uncertain message, or for the decision whose answer came, stays held: only those free it.
    """
    rows = db.session.execute(
        text(
            "SELECT id, campaign_id, lead_id FROM enrollments WHERE client_id = :client AND id = ANY(:ids)"
            " AND status IN ('paused', 'held', 'needs_attention') AND reason IS DISTINCT FROM 'previous_uncertain'"
            " ORDER BY id FOR UPDATE"
        ),
        {"client": client_id, "ids": sorted(set(enrollment_ids))},
    )
    return free_locked(client_id, [Ended(*row) for row in rows], now or clock.now())


def release_due_holds(now: datetime | None = None, limit: int = 500) -> int:
    """Free what was held until a time that has come (out of office over), any client. Returns how many."""
    now = now or clock.now()
    rows = db.session.execute(
        text(
            "SELECT client_id, id, campaign_id, lead_id FROM enrollments WHERE status = 'held' AND held_until <= :now"
            " ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED"
        ),
        {"now": now, "limit": limit},
    ).all()
    by_client: dict[int, list[Ended]] = {}
    for client_id, *rest in rows:
        by_client.setdefault(client_id, []).append(Ended(*rest))
    for client_id, found in by_client.items():
        free_locked(client_id, found, now)
    return len(rows)


def only_active_lead(client_id: int, campaign_id: int, lead_id: int) -> int:
    """The enrollment of a lead in a campaign. Raises NotFound, or Conflict when its walk has ended."""
    row = db.session.execute(
        text("SELECT id, status FROM enrollments WHERE client_id = :c AND campaign_id = :k AND lead_id = :l"),
        {"c": client_id, "k": campaign_id, "l": lead_id},
    ).first()
    if row is None:
        raise NotFound()
    if row.status not in ACTIVE:
        raise Conflict(t("campaigns.walk_ended"))
    return int(row.id)


__all__ = [
    "ACTIVE", "Ended", "end", "end_locked", "free_decided", "free_locked", "hold_locked", "hold_undecided", "hold_until", "leads_of",
    "locked_active", "only_active_lead", "pause", "pause_for_outside", "release_due_holds", "resume", "skip", "stop_for_reply",
    "undecided_leads",
]
