"""Leads: making one, changing it, removing those nothing was ever sent to, and acting on many at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert

from app.core import clock
from app.core.bell import live_after_commit
from app.core.errors import Conflict, Invalid
from app.core.extensions import db
from app.domain.column_mapping import CUSTOM_NAME
from app.domain.fingerprint import fingerprint
from app.domain.lead_values import MAX_CUSTOM_FIELDS, BadValue, LeadValues, lead_values
from app.models import Lead
from app.services import audit, enrollments, suppressions
from app.strings import t

FIELDS = ("email", "first_name", "last_name", "company", "title", "linkedin_url", "timezone", "language", "consent_note")
_EMPTY: Mapping[str, Any] = {name: None if name in {"email", "linkedin_url", "timezone", "language"} else "" for name in FIELDS}


def _checked(values: Mapping[str, Any], allow_reserved: bool) -> tuple[dict[str, Any], dict[str, str] | None]:
    """(columns to write, own fields to write or None). Raises Invalid with every field that does not fit."""
    wrong: dict[str, list[str]] = {}
    columns: dict[str, Any] = {}
    for name in FIELDS:
        if name in values:
            found = _one({name: str(values[name] or "")}, allow_reserved, wrong)
            columns[name] = getattr(found, name) or _EMPTY[name]
            if name == "email":
                columns["email_key"] = found.email_key
            if name == "linkedin_url":
                columns["linkedin_slug"] = found.linkedin_slug
    custom = _own_fields(values["custom"], wrong) if values.get("custom") is not None else None
    if wrong:
        raise Invalid(t("fields.do_not_fit"), details=wrong)
    return columns, custom


def _one(given: Mapping[str, str], allow_reserved: bool, wrong: dict[str, list[str]]) -> LeadValues:
    try:
        return lead_values(given, allow_reserved)
    except BadValue as error:
        wrong.setdefault(error.field, []).append(str(error))
        return LeadValues()


def _own_fields(given: Mapping[str, Any], wrong: dict[str, list[str]]) -> dict[str, str]:
    kept: dict[str, str] = {}
    if len(given) > MAX_CUSTOM_FIELDS:
        wrong["custom"] = [t("leads.most_own_fields", limit=MAX_CUSTOM_FIELDS)]
        return kept
    for name, value in given.items():
        if not CUSTOM_NAME.fullmatch(name):
            wrong[f"custom.{name[:60]}"] = [t("leads.own_name_shape")]
        elif value is not None:
            kept |= _one({f"custom.{name}": str(value)}, False, wrong).custom
    return kept


def create_lead(client_id: int, values: Mapping[str, Any], *, allow_reserved: bool, by: int | None) -> Lead:
    """A new lead. Raises Invalid per field, Conflict when the address is already a lead (details: lead_id)."""
    columns, custom = _checked(values, allow_reserved)
    if not columns.get("email"):
        raise Invalid.field("email", t("leads.write_address"))
    now = clock.now()
    statement = insert(Lead).values(client_id=client_id, custom=custom or {}, created_at=now, updated_at=now, **columns)
    new = db.session.scalar(statement.on_conflict_do_nothing(index_elements=["client_id", "email_key"]).returning(Lead.id))
    if new is None:
        raise _taken(client_id, columns["email_key"])
    audit.record("lead.create", "lead", new, client_id=client_id, user_id=by, after={"email": columns["email"]})
    live_after_commit(client_id, "leads")
    return db.session.get_one(Lead, new)


def _taken(client_id: int, email_key: str) -> Conflict:
    known = db.session.scalar(select(Lead.id).where(Lead.client_id == client_id, Lead.email_key == email_key))
    return Conflict(t("leads.known"), code="duplicate_lead", details={"lead_id": known})


def version(lead: Lead) -> str:
    """A print of what ``change_lead`` can change."""
    return fingerprint([*(getattr(lead, name) for name in FIELDS), lead.custom])


def change_lead(lead: Lead, values: Mapping[str, Any], *, allow_reserved: bool, by: int | None, seen: str | None = None) -> Lead:
    """Change the given fields; ``custom`` replaces all own fields. A lead that waited for a missing value goes on.

    Raises Invalid per field, Conflict when another lead has the address, or when the lead's ``version`` is no longer ``seen``.
    """
    if seen is not None:
        db.session.refresh(lead, with_for_update={"key_share": True})
        if version(lead) != seen:
            raise Conflict.meanwhile("lead")
    columns, custom = _checked(values, allow_reserved)
    if "email" in columns and not columns["email"]:
        raise Invalid.field("email", t("leads.need_address"))
    key = columns.get("email_key")
    if key is not None and key != lead.email_key:
        other = db.session.scalar(select(Lead.id).where(Lead.client_id == lead.client_id, Lead.email_key == key))
        if other is not None:
            raise _taken(lead.client_id, key)
        columns["bounced_at"] = None  # another address is another chance
    before = {name: getattr(lead, name) for name in columns if name in FIELDS and getattr(lead, name) != columns[name]}
    for name, value in columns.items():
        setattr(lead, name, value)
    if custom is not None:
        lead.custom = custom
    lead.updated_at = clock.now()
    db.session.flush()
    after = {name: columns[name] for name in before}
    audit.record("lead.update", "lead", lead.id, client_id=lead.client_id, user_id=by, before=before, after=after)
    _go_on(lead)
    live_after_commit(lead.client_id, "leads", f"lead-{lead.id}")
    return lead


def _go_on(lead: Lead) -> None:
    """What waited for a value of this lead is looked at again; if it is still missing, it waits again."""
    waiting = db.session.execute(
        text("SELECT id FROM enrollments WHERE client_id = :c AND lead_id = :l AND status = 'needs_attention'"),
        {"c": lead.client_id, "l": lead.id},
    ).scalars().all()  # fmt: skip
    if waiting:
        enrollments.resume(lead.client_id, waiting)


_TOUCHED = text(
    "SELECT l.id FROM leads l WHERE l.client_id = :client AND l.id = ANY(:ids) AND (l.contacted_at IS NOT NULL"
    " OR EXISTS (SELECT 1 FROM deliveries d WHERE d.lead_id = l.id AND (d.status NOT IN ('queued', 'cancelled') OR d.attempts > 0"
    "   OR d.permitted_at IS NOT NULL OR EXISTS (SELECT 1 FROM delivery_attempts a WHERE a.delivery_id = d.id)))"
    " OR EXISTS (SELECT 1 FROM conversations v WHERE v.client_id = :client AND v.lead_id = l.id)"
    " OR EXISTS (SELECT 1 FROM participants p WHERE p.client_id = :client AND p.lead_id = l.id))"
)


def remove_untouched(client_id: int, lead_ids: Iterable[int]) -> int:
    """Remove leads nothing ever left for and nobody wrote with, together with their walks; how many were removed.

    Locks their enrollments, then their deliveries, as the permit does: what is being sent right now makes its lead stay.
    """
    ids = sorted(set(lead_ids))
    if not ids:
        return 0
    values: dict[str, Any] = {"client": client_id, "ids": ids}
    db.session.execute(text("SELECT id FROM enrollments WHERE client_id = :client AND lead_id = ANY(:ids) ORDER BY id FOR UPDATE"), values)
    db.session.execute(text("SELECT id FROM deliveries WHERE client_id = :client AND lead_id = ANY(:ids) ORDER BY id FOR UPDATE"), values)
    touched = set(db.session.execute(_TOUCHED, values).scalars())
    values["ids"] = [one for one in ids if one not in touched]
    for table in ("deliveries", "enrollments"):
        db.session.execute(text(f"DELETE FROM {table} WHERE client_id = :client AND lead_id = ANY(:ids)"), values)
    gone = db.session.execute(text("DELETE FROM leads WHERE client_id = :client AND id = ANY(:ids) RETURNING id"), values)
    return len(gone.all())


@dataclass(frozen=True)
class Removed:
    """``kept``: leads something was sent to, or who wrote to us; their history stays."""

    removed: int
    kept: int


def remove_leads(client_id: int, lead_ids: Sequence[int], *, by: int | None) -> Removed:
    """Remove leads for good, except those with a history."""
    removed = 0
    for start in range(0, len(lead_ids), 1_000):
        removed += remove_untouched(client_id, lead_ids[start : start + 1_000])
    if removed:
        which = "many" if len(lead_ids) > 1 else lead_ids[0]
        audit.record("lead.remove", "lead", which, client_id=client_id, user_id=by, after={"removed": removed})
    live_after_commit(client_id, "leads", "campaigns", "counters")
    return Removed(removed, len(lead_ids) - removed)


def suppress_leads(client_id: int, lead_ids: Sequence[int], *, by: int | None, note: str = "") -> int:
    """Never write to these people again; how many addresses were not known as such before."""
    emails = db.session.scalars(
        select(Lead.email).where(Lead.client_id == client_id, Lead.id.in_(lead_ids), Lead.email.is_not(None)).order_by(Lead.email_key)
    ).all()
    listed = [email for email in emails if email]
    return suppressions.suppress_batch(client_id, listed, "manual", "person", note=note, by=by) if listed else 0
