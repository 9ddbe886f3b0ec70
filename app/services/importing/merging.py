"""Merging one batch of clean rows into the leads: copy, create what is new, change what is known; every change is noted.

What is noted per changed lead is ``{field: [before, after]}`` (own fields as ``custom.<name>``): enough to take back exactly what this
import did, and nothing that a person changed since.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text

from app.core.extensions import db
from app.models import LeadImport

PLAIN = ("first_name", "last_name", "company", "title", "linkedin_url", "linkedin_slug", "timezone", "language", "consent_note")
NULLABLE = frozenset({"linkedin_url", "linkedin_slug", "timezone", "language"})
COLUMNS = ("line", "email", "email_key", *PLAIN, "custom")


@dataclass(frozen=True)
class Merged:
    """What a batch did; ``skipped_lines`` are known leads that were to be left alone."""

    created: int
    updated: int
    skipped_lines: list[int]


class _OnlyATrial(Exception):
    """Takes the batch's savepoint back."""


def flat(alias: str) -> str:
    """SQL: all fields of a lead as one JSON object, own fields flattened to ``custom.<name>``."""
    pairs = ", ".join(f"'{name}', {alias}.{name}" for name in PLAIN)
    own = f"SELECT jsonb_object_agg('custom.' || key, value) FROM jsonb_each({alias}.custom)"
    return f"(jsonb_build_object({pairs}) || coalesce(({own}), '{{}}'))"


_TABLE = (
    "CREATE TEMP TABLE IF NOT EXISTS import_rows (line int, email text, email_key text, "
    + ", ".join(f"{name} text" for name in PLAIN)
    + ", custom jsonb) ON COMMIT DROP"
)
_CREATE = text(
    f"WITH fresh AS (INSERT INTO leads (client_id, email, email_key, {', '.join(PLAIN)}, custom, source_import_id,"
    " created_at, updated_at) SELECT :client, r.email, r.email_key, "
    + ", ".join(f"r.{name}" if name in NULLABLE else f"coalesce(r.{name}, '')" for name in PLAIN)
    + ", r.custom, :import, :now, :now FROM import_rows r"
    " WHERE NOT EXISTS (SELECT 1 FROM leads l WHERE l.client_id = :client AND l.email_key = r.email_key)"
    " ORDER BY r.email_key ON CONFLICT (client_id, email_key) DO NOTHING RETURNING id, email_key),"
    " noted AS (INSERT INTO import_changes (import_id, lead_id, client_id, line, before)"
    " SELECT :import, fresh.id, :client, r.line, NULL FROM fresh JOIN import_rows r USING (email_key) RETURNING 1)"
    " SELECT count(*) FROM noted"
)
_KNOWN = (
    "FROM import_rows r JOIN leads l ON l.client_id = :client AND l.email_key = r.email_key"
    " WHERE NOT EXISTS (SELECT 1 FROM import_changes c WHERE c.import_id = :import AND c.lead_id = l.id)"
)
_SKIP = text(f"SELECT r.line {_KNOWN}")
_CHANGE = text(
    f"WITH pair AS MATERIALIZED (SELECT l.id AS lead_id, r.line, {flat('l')} AS was, jsonb_strip_nulls({flat('r')}) AS says {_KNOWN}"
    " ORDER BY l.id FOR UPDATE OF l),"
    " diff AS MATERIALIZED (SELECT lead_id, line, coalesce((SELECT jsonb_object_agg(key, jsonb_build_array(was -> key, value))"
    "   FROM jsonb_each(says) WHERE value IS DISTINCT FROM was -> key AND (NOT :fill OR coalesce(was ->> key, '') = '')), '{}') AS d"
    "   FROM pair),"
    " noted AS (INSERT INTO import_changes (import_id, lead_id, client_id, line, before)"
    "   SELECT :import, lead_id, :client, line, d FROM diff RETURNING 1),"
    " changed AS (UPDATE leads l SET "
    + ", ".join(f"{name} = CASE WHEN jsonb_exists(d, '{name}') THEN d -> '{name}' ->> 1 ELSE l.{name} END" for name in PLAIN)
    + ", custom = l.custom || coalesce((SELECT jsonb_object_agg(substr(key, 8), value -> 1) FROM jsonb_each(d)"
    "   WHERE starts_with(key, 'custom.')), '{}'), updated_at = :now"
    "   FROM diff WHERE l.id = diff.lead_id AND diff.d <> '{}' RETURNING 1)"
    " SELECT count(*) FROM noted"
)


def merge(row: LeadImport, rows: Sequence[tuple[Any, ...]], now: datetime) -> Merged:
    """Merge clean rows (tuples in the order of COLUMNS) for one import; a trial leaves nothing behind."""
    found = Merged(0, 0, [])
    try:
        with db.session.begin_nested():
            _copy(rows)
            found = _merged(row, now)
            if row.dry_run:
                raise _OnlyATrial
    except _OnlyATrial:
        pass
    return found


def _copy(rows: Sequence[tuple[Any, ...]]) -> None:
    db.session.execute(text(_TABLE))
    db.session.execute(text("TRUNCATE import_rows"))
    driver = db.session.connection().connection.driver_connection
    assert driver is not None
    with driver.cursor() as cursor, cursor.copy(f"COPY import_rows ({', '.join(COLUMNS)}) FROM STDIN") as copy:
        for values in rows:
            copy.write_row(values)
    db.session.execute(text("ANALYZE import_rows"))


def _merged(row: LeadImport, now: datetime) -> Merged:
    values = {"client": row.client_id, "import": row.id, "now": now}
    created = int(db.session.execute(_CREATE, values).scalar_one())
    existing = row.options.get("existing", "update")
    if existing == "skip":
        return Merged(created, 0, list(db.session.execute(_SKIP, values).scalars()))
    updated = db.session.execute(_CHANGE, {**values, "fill": existing == "fill"}).scalar_one()
    return Merged(created, int(updated), [])
