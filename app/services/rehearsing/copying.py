"""What a campaign needs of its client, copied into the throw-away database: read in one snapshot, without credentials.

Other running campaigns that write through the same senders come along: they use up the same caps and gaps. Messages that are
made out already and have not left are made out anew; what is past its permit is nobody's to rehearse and is held.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import psycopg

from app.core.config import libpq_url
from app.core.db import JOBS_ROLE, OWNER_ROLE
from app.core.errors import Conflict, NotFound
from app.core.extensions import Base
from app.services import schema_upgrades
from app.services.outbox.counters import BULK_READY, CLIENT_HOUR, INSTANCE_HOUR, INSTANCE_MINUTE
from app.strings import t

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Original:
    """The rehearsed campaign as it stands in the original."""

    client_id: int
    campaign_id: int
    name: str
    status: str
    zone: str


@dataclass(frozen=True)
class _Part:
    """Some rows of one table. ``changed``: expressions instead of what the original holds in a column (``t`` is the row)."""

    table: str
    where: str
    changed: Mapping[str, str] = field(default_factory=dict)
    joined: str = ""


_ACTIVE = "('waiting', 'in_flight', 'held', 'paused', 'needs_attention')"
_WALKS = f"SELECT {{}} FROM enrollments e WHERE e.campaign_id = ANY (%(campaigns)s::bigint[]) AND e.status IN {_ACTIVE}"
_LEADS = _WALKS.format("e.lead_id")
_KEYS = f"SELECT l.email_key FROM leads l WHERE l.id IN ({_LEADS})"
_NOBODY = "NULL"
_MADE_OUT = (
    "LEFT JOIN LATERAL (SELECT d.due_at, d.status FROM deliveries d WHERE d.enrollment_id = t.id"
    " AND d.status IN ('queued', 'leased', 'committing', 'uncertain') ORDER BY d.id DESC LIMIT 1) m ON true"
)

_PARTS = (
    _Part("clients", "t.id = %(client)s"),
    _Part(
        "settings",
        "t.key = ANY (%(caps)s::text[]) AND (t.scope_kind = 'instance' OR (t.scope_kind = 'client' AND t.scope_id = %(client)s))",
        {"changed_by": _NOBODY},
    ),
    _Part("senders", "t.id = ANY (%(senders)s::bigint[])"),
    _Part(
        "mailboxes",
        "t.id = ANY (%(senders)s::bigint[])",
        {
            "smtp_secret": "NULL", "imap_secret": "NULL", "oauth_refresh_secret": "NULL", "smtp_user": "''", "imap_user": "''",
            "verify_result": "'{}'::jsonb",
        },
    ),
    _Part(
        "campaigns",
        "t.id = ANY (%(campaigns)s::bigint[])",
        {"created_by": _NOBODY, "status_by": _NOBODY, "status": "CASE t.status WHEN 'paused' THEN 'running' ELSE t.status END"},
    ),
    _Part("steps", "t.campaign_id = ANY (%(campaigns)s::bigint[])"),
    _Part("campaign_senders", "t.campaign_id = ANY (%(campaigns)s::bigint[])"),
    _Part("leads", f"t.id IN ({_LEADS})", {"source_import_id": "NULL"}),
    _Part(
        "conversations",
        f"t.id IN ({_WALKS.format('e.conversation_id')})",
        {"assignee_id": _NOBODY, "lead_id": f"CASE WHEN t.lead_id IN ({_LEADS}) THEN t.lead_id END"},
    ),
    _Part(
        "enrollments",
        f"t.campaign_id = ANY (%(campaigns)s::bigint[]) AND t.status IN {_ACTIVE}",
        {
            "paused_by": _NOBODY,
            "status": "CASE WHEN m.status IN ('committing', 'uncertain') THEN 'held' WHEN t.status = 'in_flight' THEN 'waiting' ELSE t.status END",
            "reason": "CASE m.status WHEN 'committing' THEN 'in_flight' WHEN 'uncertain' THEN 'previous_uncertain' ELSE t.reason END",
            "held_until": "CASE WHEN m.status IN ('committing', 'uncertain') THEN NULL ELSE t.held_until END",
            "next_at": "CASE WHEN m.status IN ('queued', 'leased') THEN m.due_at ELSE t.next_at END",
        },
        _MADE_OUT,
    ),
    _Part("suppressions", f"t.client_id = %(client)s AND t.email_key IN ({_KEYS})", {"created_by": _NOBODY}),
    _Part("global_suppressions", f"t.email_key IN ({_KEYS})", {"created_by": _NOBODY}),
    _Part(
        "usage_counters",
        "t.window_start > %(since)s AND (t.scope_kind IN ('instance', 'domain')"
        " OR (t.scope_kind = 'client' AND t.scope_id = %(client)s::text)"
        " OR (t.scope_kind = 'sender' AND t.scope_id = ANY (%(senders)s::text[]))"
        " OR (t.scope_kind = 'campaign' AND t.scope_id = ANY (%(campaigns)s::text[])))",
    ),
)  # fmt: skip

_SHARING = """
SELECT id FROM campaigns WHERE id = %(campaign)s
UNION SELECT c.id FROM campaigns c JOIN campaign_senders k ON k.campaign_id = c.id
WHERE c.client_id = %(client)s AND c.status = 'running' AND c.deleted_at IS NULL
  AND k.sender_id IN (SELECT sender_id FROM campaign_senders WHERE campaign_id = %(campaign)s)
"""
_SENDERS = f"""
SELECT sender_id FROM campaign_senders WHERE campaign_id = ANY (%(campaigns)s::bigint[])
UNION {_WALKS.format("e.sender_id")} AND e.sender_id IS NOT NULL
"""


def find(source_url: str, campaign_id: int) -> Original:
    """The campaign, if it can be rehearsed. Raises NotFound, or Conflict for a campaign that is over or a database behind the code."""
    with psycopg.connect(libpq_url(source_url), autocommit=True, connect_timeout=5) as source:
        source.execute(f"SET ROLE {JOBS_ROLE}")
        row = source.execute(
            "SELECT client_id, id, name, status, timezone FROM campaigns WHERE id = %s AND deleted_at IS NULL", (campaign_id,)
        ).fetchone()
        version = source.execute("SELECT version_num FROM alembic_version").fetchone()
    if row is None:
        raise NotFound(t("rehearsals.no_campaign"))
    original = Original(*row)
    if original.status not in ("draft", "running", "paused"):
        raise Conflict(t("rehearsals.nothing_ahead", status=original.status))
    if version is None or version[0] != schema_upgrades.scripts().get_current_head():
        raise Conflict(t("rehearsals.not_at_version"))
    return original


def copy(source_url: str, target_url: str, original: Original, now: datetime) -> None:
    """Fill the migrated database at ``target_url``, from one snapshot."""
    with (
        psycopg.connect(libpq_url(source_url), autocommit=True, connect_timeout=5) as source,
        psycopg.connect(libpq_url(target_url), autocommit=True, connect_timeout=5) as target,
    ):
        source.execute(f"SET ROLE {JOBS_ROLE}")
        target.execute(f"SET ROLE {OWNER_ROLE}")
        with source.transaction(), target.transaction():
            source.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            values = _values(source, original, now)
            for part in _PARTS:
                _copy_part(source, target, part, values)
            target.execute("INSERT INTO instance (id, mode) VALUES (1, 'rehearsal')")
            target.execute(
                "SELECT setval(pg_get_serial_sequence('conversations', 'id'), (SELECT coalesce(max(id), 0) + 1 FROM conversations), false)"
            )


def _values(source: Connection, original: Original, now: datetime) -> dict[str, Any]:
    values: dict[str, Any] = {
        "client": original.client_id, "campaign": original.campaign_id, "since": now - timedelta(days=2),
        "caps": [INSTANCE_MINUTE, INSTANCE_HOUR, CLIENT_HOUR, BULK_READY],
    }  # fmt: skip
    values["campaigns"] = sorted(row[0] for row in source.execute(_SHARING, values))
    values["senders"] = sorted(row[0] for row in source.execute(_SENDERS, values))
    return values


def _copy_part(source: Connection, target: Connection, part: _Part, values: Mapping[str, Any]) -> None:
    table = Base.metadata.tables[part.table]
    columns = [column.name for column in table.columns if column.computed is None]
    chosen = ", ".join(f"{part.changed.get(name, f't.{name}')} AS {name}" for name in columns)
    question = f"COPY (SELECT {chosen} FROM {part.table} t {part.joined} WHERE {part.where}) TO STDOUT"
    listed = ", ".join(columns)
    target.execute(f"ALTER TABLE {part.table} NO FORCE ROW LEVEL SECURITY")  # COPY knows no policies; the owner fills it
    with (
        source.cursor().copy(question, values) as coming,
        target.cursor().copy(f"COPY {part.table} ({listed}) FROM STDIN") as going,
    ):
        for block in coming:
            going.write(block)
