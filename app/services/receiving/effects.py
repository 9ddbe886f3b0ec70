"""What an arrived mail does: stops sequences, holds them, marks bounces, puts addresses on the list. Each effect is idempotent.

The decision (``Match``) was made before; here rows change, always enrollments before deliveries.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import text

from app.core.extensions import db
from app.domain.calendar_settings import CalendarError, parse_calendar
from app.domain.mail_event import below
from app.domain.reasons import Reason
from app.domain.reply_matching import Match, MatchKind
from app.domain.return_dates import held_until
from app.domain.statuses import DeliveryStatus, EnrollmentStatus
from app.domain.verdicts import BounceClass, MailKind, Permanence, ReportedRecipient
from app.domain.working_time import day_start
from app.models import Activity
from app.services import enrollments, suppressions
from app.services.outbox import uncertain
from app.services.receiving.arrivals import Incoming
from app.strings import t

FULL_TIMES, FULL_DAYS = 3, 14
# Failures whose cause is our mailbox, our domain or our words: they never count against the lead.
_OUR_FAULT = frozenset({BounceClass.POLICY, BounceClass.REPUTATION, BounceClass.CONTENT, BounceClass.RATE, BounceClass.TOO_BIG})


class TooEarly(Exception):
    """The report overtook the outcome of the very mail it is about; the same bytes are looked at again in a moment."""


@dataclass(frozen=True)
class Told:
    """Whose mail it is about and when we were told: all that a report's effects need of what brought it. ``at``: product time."""

    client_id: int
    sender_id: int
    at: datetime


def _told(incoming: Incoming) -> Told:
    arrival = incoming.arrival
    return Told(arrival.client_id, arrival.mailbox_id, arrival.received_at)


def apply(incoming: Incoming, match: Match, *, patient: bool = True) -> None:
    """Do what this mail does to sequences, deliveries and the list. Inside the one transaction of the arrival.

    ``patient``: raise TooEarly while the mail it is about has no outcome yet, so that thread and outcome meet in order.
    """
    _wait_for_outcome(match, patient)
    if incoming.arrival.historical and match.delivery_id is None and match.kind in (MatchKind.REPLY, MatchKind.AUTOMATIC):
        return  # written before we wrote to them: it is shown, and answers nothing of ours
    if match.kind is MatchKind.REPLY:
        _answered(incoming, match)
    elif match.kind is MatchKind.UNSUBSCRIBE:
        _wants_out(incoming, match)
    elif match.kind is MatchKind.AUTOMATIC:
        _automatic(incoming, match)
    elif match.kind is MatchKind.AMBIGUOUS:
        _unclear(incoming, match)
    elif match.kind in (MatchKind.BOUNCE, MatchKind.COMPLAINT, MatchKind.DELIVERED):
        report(_told(incoming), match, patient=patient)
    elif incoming.verdict.kind is MailKind.UNSUBSCRIBE_REQUEST:
        _wants_out(incoming, match)  # from an address we do not know: a forwarding, an alias; adding only tightens


def report(told: Told, match: Match, *, patient: bool = True) -> None:
    """What a report about one of our mails does, whether a mail brought it or a service that carried ours.

    Decided by rank, so any order and any number of repeats ends in one state. ``match.kind``: DELIVERED, BOUNCE, COMPLAINT, or
    UNSUBSCRIBE (told by a service; an answer that says so goes through ``apply``). Raises TooEarly as ``apply`` does.
    """
    _wait_for_outcome(match, patient)
    if match.kind is MatchKind.BOUNCE:
        _bounced(told, match)
    elif match.kind is MatchKind.DELIVERED:
        _delivered(match)
    elif match.kind is MatchKind.COMPLAINT:
        _never_again(told, match, "complained", "complaint")
        _raise_status(match, DeliveryStatus.COMPLAINED)
    elif match.kind is MatchKind.UNSUBSCRIBE:
        _never_again(told, match, "unsubscribed", "provider")


def _wait_for_outcome(match: Match, patient: bool) -> None:
    if patient and match.delivery_id is not None and _status_of(match.delivery_id) == "committing":
        raise TooEarly(t("arrivals.too_early", id=match.delivery_id))


def _proven(match: Match, evidence: str) -> None:
    """Whatever answers one of our mails proves that it left: an uncertain one is sent."""
    if match.delivery_id is None:
        return
    if _status_of(match.delivery_id) == "uncertain":
        _lock_for_evidence(match)
        uncertain.arrived(match.delivery_id, evidence)


def _lock_for_evidence(match: Match) -> None:
    """Everybody's order: the sender, then all walks of the lead by id, before the delivery's row."""
    db.session.execute(
        text("SELECT id FROM senders WHERE id = (SELECT sender_id FROM deliveries WHERE id = :id) FOR NO KEY UPDATE"),
        {"id": match.delivery_id},
    )
    db.session.execute(
        text("SELECT id FROM enrollments WHERE lead_id = :lead ORDER BY id FOR UPDATE"), {"lead": match.lead_id}
    )


def _status_of(delivery_id: int) -> str | None:
    return db.session.execute(text("SELECT status FROM deliveries WHERE id = :id"), {"id": delivery_id}).scalar()


def _leads(match: Match) -> list[int]:
    return [match.lead_id] if match.lead_id is not None else []


def _from_keys(incoming: Incoming) -> list[str]:
    return [incoming.msg.from_.key] if incoming.msg.from_ else []


def _answered(incoming: Incoming, match: Match) -> None:
    """A person answered: every campaign of the client with that lead ends, also when a colleague answered in its thread."""
    client_id = incoming.arrival.client_id
    _proven(match, "reply")
    enrollments.stop_for_reply(
        client_id, _leads(match), email_keys=_from_keys(incoming), campaign_id=match.campaign_id or _campaign_of(match),
        now=incoming.arrival.received_at,
    )  # fmt: skip


def _unclear(incoming: Incoming, match: Match) -> None:
    """It may be the answer of any of them: nothing leaves for any until a person has decided (services/receiving/choosing.py)."""
    leads = [one.lead_id for one in match.ambiguous_candidates if one.lead_id is not None]
    enrollments.hold_undecided(incoming.arrival.client_id, leads)


def _campaign_of(match: Match) -> int | None:
    if match.enrollment_id is None:
        return None
    return db.session.execute(text("SELECT campaign_id FROM enrollments WHERE id = :id"), {"id": match.enrollment_id}).scalar()


def _wants_out(incoming: Incoming, match: Match) -> None:
    arrival = incoming.arrival
    _proven(match, "reply")
    people = [incoming.msg.from_.address] if incoming.msg.from_ else []
    for email in dict.fromkeys([*people, *_addresses_of(arrival.client_id, _leads(match))]):
        suppressions.suppress(
            arrival.client_id, email, "unsubscribed", "reply", campaign_id=match.campaign_id, delivery_id=match.delivery_id,
            now=arrival.received_at,
        )  # fmt: skip


def _addresses_of(client_id: int, leads: Iterable[int]) -> list[str]:
    rows = db.session.execute(
        text("SELECT email FROM leads WHERE client_id = :client AND id = ANY(:ids) AND email IS NOT NULL"),
        {"client": client_id, "ids": list(leads)},
    )
    return list(rows.scalars())


def _automatic(incoming: Incoming, match: Match) -> None:
    verdict, arrival = incoming.verdict, incoming.arrival
    _proven(match, "automatic_answer")
    if verdict.kind is MailKind.LEFT_COMPANY:
        note = f"successor: {verdict.successor}" if verdict.successor else ""
        for email in _addresses_of(arrival.client_id, _leads(match)):
            suppressions.suppress(
                arrival.client_id, email, "left_company", "reply", note=note, campaign_id=match.campaign_id,
                delivery_id=match.delivery_id, now=arrival.received_at,
            )  # fmt: skip
    elif verdict.return_date is not None:
        _hold_until_back(arrival.client_id, _leads(match), verdict.return_date, arrival.received_at)


def _hold_until_back(client_id: int, leads: list[int], back: date, now: datetime) -> None:
    """Hold every walk of the lead until a working day after the return, each by its campaign's calendar (``return_dates.held_until``)."""
    rows = db.session.execute(
        text(
            "SELECT e.id, c.id AS campaign, c.timezone, c.windows, c.closed_days, c.weekend, c.holidays_country"
            " FROM enrollments e JOIN campaigns c ON c.id = e.campaign_id WHERE e.client_id = :client AND e.lead_id = ANY(:leads)"
            " AND e.status = ANY(:active) ORDER BY e.id"
        ),
        {"client": client_id, "leads": leads, "active": list(enrollments.ACTIVE)},
    ).all()
    for row in rows:
        until = _until(row, back)
        if until > now:
            enrollments.hold_until(client_id, [row.id], until)


def _until(row: Any, back: date) -> datetime:
    try:
        calendar = parse_calendar(
            {"timezone": row.timezone, "windows": row.windows, "closed_days": row.closed_days, "weekend": row.weekend,
             "holidays_country": row.holidays_country}, seed=str(row.campaign)
        )  # fmt: skip
    except CalendarError:
        return day_start(row.timezone, back) + timedelta(days=1)
    return held_until(calendar, back, row.id)


def _bounced(told: Told, match: Match) -> None:
    """A believed report: the delivery bounced; what that means for the lead depends on why."""
    if match.delivery_id is None:
        return
    if _status_of(match.delivery_id) in ("leased", "committing"):
        raise TooEarly(t("arrivals.too_early", id=match.delivery_id))
    _proven(match, "delivery_report")
    client_id, now = told.client_id, told.at
    worst = _worst(match.recipients)
    why = str(worst.bounce_class) if worst else str(BounceClass.UNKNOWN)
    hard = (worst is not None and worst.suppresses) or _full_too_often(client_id, match.delivery_id, why, now)
    if hard:
        _suppress_bounced(told, match, worst)
    elif worst is not None and worst.permanence is Permanence.PERMANENT and worst.bounce_class not in _OUR_FAULT:
        ended = enrollments.locked_active(client_id, _leads(match))
        enrollments.end_locked(client_id, ended, EnrollmentStatus.BOUNCED, Reason.BOUNCED, now)
    changed = db.session.execute(
        text(
            # a complaint came first: it stays the state, and the bounce's facts are kept beside it
            "UPDATE deliveries SET status = CASE WHEN status = ANY(:below) THEN 'bounced' ELSE status END, reason = 'bounced',"
            " detail = :why, reply_text = coalesce(:said, reply_text) WHERE id = :id"
            " AND (status = ANY(:below) OR status = 'complained' AND reason IS DISTINCT FROM 'bounced') RETURNING id"
        ),
        {"id": match.delivery_id, "why": why, "said": worst.text if worst else None, "below": below(DeliveryStatus.BOUNCED)},
    ).first()
    if changed:
        _note(told, match, "mail_bounced", {"class": why, "hard": hard})


def _worst(recipients: Iterable[ReportedRecipient]) -> ReportedRecipient | None:
    order = {Permanence.PERMANENT: 2, Permanence.UNKNOWN: 1, Permanence.TEMPORARY: 0}
    return max(recipients, key=lambda one: (one.suppresses, order[one.permanence]), default=None)


def _full_too_often(client_id: int, delivery_id: int, why: str, now: datetime) -> bool:
    """A full mailbox passes by; three within fourteen days do not."""
    if why != str(BounceClass.FULL):
        return False
    earlier = db.session.execute(
        text(
            "SELECT count(*) FROM activities a JOIN deliveries d ON d.id = a.delivery_id WHERE a.client_id = :client"
            " AND a.kind = 'mail_bounced' AND a.meta->>'class' = 'full' AND a.at > :since AND d.id <> :id"
            " AND d.email_key = (SELECT email_key FROM deliveries WHERE id = :id)"
        ),
        {"client": client_id, "id": delivery_id, "since": now - timedelta(days=FULL_DAYS)},
    ).scalar()
    return int(earlier or 0) + 1 >= FULL_TIMES


def _suppress_bounced(told: Told, match: Match, worst: ReportedRecipient | None) -> None:
    client_id, now = told.client_id, told.at
    row = db.session.execute(
        text("SELECT to_address, email_key FROM deliveries WHERE id = :id"), {"id": match.delivery_id}
    ).one()
    suppressions.suppress(
        client_id, row.to_address, "bounced", "bounce", note=worst.text[:300] if worst else "", campaign_id=match.campaign_id,
        delivery_id=match.delivery_id, now=now,
    )  # fmt: skip
    db.session.execute(
        text("UPDATE leads SET bounced_at = coalesce(bounced_at, :now), updated_at = clock_timestamp()"
             " WHERE client_id = :client AND email_key = :key"),
        {"now": now, "client": client_id, "key": row.email_key},
    )  # fmt: skip


def _never_again(told: Told, match: Match, reason: str, source: str) -> None:
    """Reported as spam, or left through the service: never again, whatever the address in the report was redacted to."""
    if match.delivery_id is None:
        return
    if _status_of(match.delivery_id) in ("leased", "committing"):
        raise TooEarly(t("arrivals.too_early", id=match.delivery_id))
    _proven(match, source)
    address = db.session.execute(text("SELECT to_address FROM deliveries WHERE id = :id"), {"id": match.delivery_id}).scalar_one()
    facts: dict[str, Any] = {"campaign_id": match.campaign_id, "delivery_id": match.delivery_id, "now": told.at}
    suppressions.suppress(told.client_id, address, reason, source, **facts)
    suppressions.strengthen(told.client_id, address, reason, source, **facts)


def _raise_status(match: Match, status: DeliveryStatus) -> None:
    db.session.execute(
        text("UPDATE deliveries SET status = :status WHERE id = :id AND status = ANY(:below)"),
        {"id": match.delivery_id, "status": str(status), "below": below(status)},
    )


def _delivered(match: Match) -> None:
    if match.delivery_id is None:
        return
    _proven(match, "delivery_report")
    _raise_status(match, DeliveryStatus.DELIVERED)


def note_received(incoming: Incoming, match: Match, message_id: int) -> None:
    """The timeline's line about an answer, human or automatic."""
    if match.kind in (MatchKind.REPLY, MatchKind.UNSUBSCRIBE):
        _note(_told(incoming), match, "message_received", {"rule": str(match.rule)}, message_id)
    elif match.kind is MatchKind.AUTOMATIC:
        _note(_told(incoming), match, "reply_automatic", {"kind": str(incoming.verdict.kind)}, message_id)


def _note(told: Told, match: Match, kind: str, meta: dict[str, Any], message_id: int | None = None) -> None:
    step = None
    if match.delivery_id is not None:
        step = db.session.execute(text("SELECT step_id FROM deliveries WHERE id = :id"), {"id": match.delivery_id}).scalar()
    db.session.add(
        Activity(
            client_id=told.client_id, kind=kind, channel="email", campaign_id=match.campaign_id or _campaign_of(match),
            enrollment_id=match.enrollment_id, step_id=step, lead_id=match.lead_id, sender_id=told.sender_id,
            delivery_id=match.delivery_id, message_id=message_id, meta=meta, at=told.at,
        )
    )  # fmt: skip
