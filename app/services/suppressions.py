"""Addresses never to be contacted, and the ways in: a click, an answer, a bounce, a person, a list.

A suppression must win over every permit: it takes the hot lock first, in a short transaction. Adding only ever tightens; taking
away is an admin's act with a reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from app.core import clock
from app.core.bell import live_after_commit
from app.core.db import lock_hot
from app.core.errors import Invalid, NotFound
from app.core.extensions import db
from app.core.tokens import sealed_tokens
from app.domain.address import email_key
from app.domain.reasons import Reason
from app.domain.statuses import EnrollmentStatus
from app.services import audit, enrollments
from app.strings import t

BATCH = 500
PURPOSE = "unsubscribe"

# reason of the suppression → how a lead's walk ends, and why
_ENDS: dict[str, tuple[EnrollmentStatus, Reason]] = {
    "unsubscribed": (EnrollmentStatus.UNSUBSCRIBED, Reason.UNSUBSCRIBED),
    "complained": (EnrollmentStatus.UNSUBSCRIBED, Reason.UNSUBSCRIBED),
    "bounced": (EnrollmentStatus.BOUNCED, Reason.BOUNCED),
    "left_company": (EnrollmentStatus.STOPPED, Reason.SUPPRESSED_CLIENT),
    "manual": (EnrollmentStatus.STOPPED, Reason.SUPPRESSED_CLIENT),
    "import": (EnrollmentStatus.STOPPED, Reason.SUPPRESSED_CLIENT),
}


@dataclass(frozen=True)
class WayOut:
    """What an unsubscribe token says; it needs no row to be understood."""

    client_id: int
    email: str
    delivery_id: int | None = None
    lead_id: int | None = None
    campaign_id: int | None = None


def unsubscribe_token(
    client_id: int, email: str, delivery_id: int | None = None, lead_id: int | None = None, campaign_id: int | None = None
) -> str:
    """An opaque token for one recipient of one message; URL-safe, the same inputs give the same token."""
    payload = {"c": client_id, "e": email, "d": delivery_id, "l": lead_id, "k": campaign_id}
    return sealed_tokens().seal(PURPOSE, {key: value for key, value in payload.items() if value is not None})


def open_unsubscribe_token(token: str) -> WayOut | None:
    """What the token says, or None for anything we did not make."""
    found = sealed_tokens().open(PURPOSE, token) if len(token) <= 2_000 else None
    if found is None or not isinstance(found.get("c"), int) or not isinstance(found.get("e"), str):
        return None
    return WayOut(found["c"], found["e"], found.get("d"), found.get("l"), found.get("k"))


_INSERT = text(
    "INSERT INTO suppressions (client_id, email, email_key, reason, source, note, campaign_id, delivery_id, created_by, at)"
    " SELECT :client, x.email, x.key, :reason, :source, :note, :campaign, :delivery, :by, :now"
    " FROM unnest(cast(:emails AS text[]), cast(:keys AS text[])) AS x(email, key) ORDER BY x.key"
    " ON CONFLICT (client_id, email_key) DO NOTHING RETURNING email_key"
)
# Rows without an enrollment (none today, other channels later) and rows whose walk had ended already.
_CANCEL = text(
    "UPDATE deliveries SET status = 'cancelled', reason = :reason, leased_until = NULL, lease_owner = NULL"
    " WHERE client_id = :client AND email_key = ANY(:keys) AND kind = 'campaign_step' AND status IN ('queued', 'leased')"
)
_ACTIVITY = text(
    "INSERT INTO activities (client_id, kind, channel, campaign_id, lead_id, delivery_id, meta, at)"
    " SELECT :client, :kind, 'email', :campaign, (SELECT id FROM leads WHERE client_id = :client AND email_key = k), :delivery,"
    " jsonb_build_object('source', cast(:source AS text), 'email', k), :now FROM unnest(cast(:keys AS text[])) AS k"
)


def suppress(
    client_id: int,
    email: str,
    reason: str,
    source: str,
    *,
    note: str = "",
    campaign_id: int | None = None,
    delivery_id: int | None = None,
    by: int | None = None,
    now: datetime | None = None,
) -> bool:
    """Never contact ``email`` for this client again: stops every sequence that holds it. False when it was known already.

    Takes the hot lock: call it first in a transaction that does nothing slow. ``reason``: one of suppression.REASONS.
    """
    added = suppress_batch(
        client_id, [email], reason, source, note=note, campaign_id=campaign_id, delivery_id=delivery_id, by=by, now=now
    )
    return bool(added)


def suppress_batch(
    client_id: int,
    emails: Sequence[str],
    reason: str,
    source: str,
    *,
    note: str = "",
    campaign_id: int | None = None,
    delivery_id: int | None = None,
    by: int | None = None,
    now: datetime | None = None,
) -> int:
    """At most BATCH addresses in this transaction. Returns how many were new; known ones stay as they are."""
    if len(emails) > BATCH:
        raise ValueError(f"at most {BATCH} addresses in one transaction")
    wanted = {key: email.strip() for email in emails if (key := email_key(email)) and "@" in key}
    if not wanted:
        return 0
    now = now or clock.now()
    lock_hot()
    facts = {"client": client_id, "campaign": campaign_id, "delivery": delivery_id, "source": source, "now": now}
    keys = sorted(wanted)
    added = list(
        db.session.execute(
            _INSERT, {**facts, "emails": [wanted[key] for key in keys], "keys": keys, "reason": reason, "note": note, "by": by}
        ).scalars()
    )
    _stop(client_id, keys, reason, now)
    if added and reason in ("unsubscribed", "complained"):
        db.session.execute(_ACTIVITY, {**facts, "kind": reason, "keys": added})
    if by is not None and added:
        _trail(client_id, by, "suppression.add", ", ".join(added[:20]), {}, {"count": len(added), "reason": reason, "note": note})
    live_after_commit(client_id, "counters", "leads")
    return len(added)


# Of what machines tell us about one address the strongest stays, whichever came first; a person's entry is never rewritten.
_STRONGER = text(
    "UPDATE suppressions SET reason = :reason, source = :source, note = '', campaign_id = :campaign, delivery_id = :delivery"
    " WHERE client_id = :client AND email_key = :key AND created_by IS NULL AND reason = ANY(:weaker)"
)
_WEAKER = {"bounced": (), "unsubscribed": ("bounced",), "complained": ("bounced", "unsubscribed")}
_OUTRANKED_WALKS = text(
    "WITH walks AS (UPDATE enrollments SET status = 'unsubscribed', reason = 'unsubscribed' WHERE id IN (SELECT e.id FROM enrollments e"
    " JOIN leads l ON l.id = e.lead_id JOIN deliveries d ON d.id = :delivery WHERE e.client_id = :client AND l.email_key = :key"
    " AND e.status = 'bounced' AND e.ended_at >= coalesce(d.sent_at, d.permit_product_at) ORDER BY e.id FOR UPDATE OF e) RETURNING id)"
    " UPDATE deliveries SET reason = 'unsubscribed' WHERE enrollment_id IN (SELECT id FROM walks) AND status = 'cancelled' AND reason = 'bounced'"
)
_ACTIVITY_ONCE = text(
    f"{_ACTIVITY} WHERE NOT EXISTS (SELECT 1 FROM activities a WHERE a.client_id = :client AND a.kind = :kind AND a.delivery_id = :delivery"
    " AND a.lead_id IS NOT DISTINCT FROM (SELECT id FROM leads WHERE client_id = :client AND email_key = k))"
)


def strengthen(
    client_id: int, email: str, reason: str, source: str, *, campaign_id: int | None, delivery_id: int, now: datetime
) -> None:
    """After ``suppress``: where the address was known, the reason of higher rank stays (bounced < unsubscribed < complained).

    What the walks say that this message's bounce ended changes with it, so the order of reports does not matter.
    """
    lock_hot()
    key = email_key(email)
    facts = {"client": client_id, "campaign": campaign_id, "delivery": delivery_id, "source": source, "now": now, "key": key}
    db.session.execute(_STRONGER, {**facts, "reason": reason, "weaker": list(_WEAKER[reason])})
    db.session.execute(_OUTRANKED_WALKS, facts)
    db.session.execute(_ACTIVITY_ONCE, {**facts, "kind": reason, "keys": [key]})


def _stop(client_id: int, keys: Sequence[str], reason: str, now: datetime) -> None:
    status, why = _ENDS[reason]
    rows = enrollments.locked_active(client_id, enrollments.leads_of(client_id, keys))
    enrollments.end_locked(client_id, rows, status, why, now)
    db.session.execute(_CANCEL, {"client": client_id, "keys": list(keys), "reason": str(why)})


def suppress_many(emails: Iterable[str]) -> list[list[str]]:
    """Cut a list into batches, each for one transaction of its own (the caller, an edge, opens them)."""
    listed = list(emails)
    return [listed[start : start + BATCH] for start in range(0, len(listed), BATCH)]


def suppress_globally(email: str, reason: str, *, by: int | None = None) -> bool:
    """Nobody on this instance contacts ``email``: every permit refuses it from now on. False when it was known already."""
    lock_hot()
    return (
        db.session.execute(
            text(
                "INSERT INTO global_suppressions (email, email_key, reason, created_by) VALUES (:email, :key, :reason, :by)"
                " ON CONFLICT (email_key) DO NOTHING RETURNING id"
            ),
            {"email": email.strip(), "key": email_key(email), "reason": reason, "by": by},
        ).first()
        is not None
    )


def unsuppress(client_id: int, email: str, *, reason: str, by: int) -> None:
    """An admin takes an address off the list, with a reason that is kept. Nothing that was stopped starts again."""
    if not reason.strip():
        raise Invalid.field("reason", t("suppressions.say_why"))
    lock_hot()
    row = db.session.execute(
        text("DELETE FROM suppressions WHERE client_id = :client AND email_key = :key RETURNING email, reason, source, note, at"),
        {"client": client_id, "key": email_key(email)},
    ).first()
    if row is None:
        raise NotFound()
    before = {"email": row.email, "reason": row.reason, "source": row.source, "note": row.note, "at": row.at.isoformat()}
    _trail(client_id, by, "suppression.remove", email_key(email), before, {"reason": reason.strip()})
    live_after_commit(client_id, "counters", "leads")


def _trail(client_id: int, by: int, action: str, what: str, before: dict[str, object], after: dict[str, object]) -> None:
    audit.record(action, "suppression", what[:500], client_id=client_id, user_id=by, before=before, after=after)


def unsubscribe(token: str, source: str) -> WayOut | None:
    """Act on a token (inside a transaction with the token's client as scope). None when it is none of ours.

    Works when campaign, lead and message are gone; a lead whose address was corrected since is stopped under both.
    """
    way = open_unsubscribe_token(token)
    if way is None:
        return None
    lock_hot()
    exists = db.session.execute(text("SELECT 1 FROM clients WHERE id = :id"), {"id": way.client_id}).first()
    if exists is None:
        return way
    present = db.session.execute(
        text("SELECT email FROM leads WHERE id = :id AND client_id = :client AND email IS NOT NULL"),
        {"id": way.lead_id, "client": way.client_id},
    ).scalar()
    for email in dict.fromkeys(filter(None, (way.email, present))):
        suppress(way.client_id, email, "unsubscribed", source, campaign_id=way.campaign_id, delivery_id=way.delivery_id)
    return way
