"""Who may hand us events over HTTP, and what an operator sees of everything that arrived.

Arrivals still have no client, so no policy can say whose they are: the web role adds them, and reads them through functions that
ask whether the caller is an operator.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from migrations.walls import ALL, JOBS, USER, WEB, grant

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_OPERATOR = f"EXISTS (SELECT 1 FROM users u WHERE u.id = {USER} AND u.is_operator AND u.disabled_at IS NULL)"
_NOW = sa.text("clock_timestamp()")
_DEAD = sa.text("status IN ('ignored', 'quarantined')")
_PROVIDER = sa.text("source = 'provider'")
_HEAD = "LANGUAGE sql {} SECURITY DEFINER SET search_path = public, pg_temp AS $$"

LIST = f"""
CREATE FUNCTION emberpost_arrivals(states text[], only_source text, only_account text, since timestamptz, before_id bigint, most integer)
RETURNS TABLE (id bigint, source text, account text, kind text, status text, error text, attempts integer, seen integer, size bigint,
  received_at timestamptz, processed_at timestamptz, next_try_at timestamptz)
{_HEAD.format("STABLE")}
    SELECT e.id, e.source, e.account, e.kind, e.status, e.error, e.attempts, e.seen, octet_length(e.body)::bigint, e.received_at,
           e.processed_at, e.next_try_at
    FROM inbound_events e
    WHERE {_OPERATOR} AND (states IS NULL OR e.status = ANY (states)) AND (only_source IS NULL OR e.source = only_source)
      AND (only_account IS NULL OR e.account = only_account) AND (since IS NULL OR e.received_at >= since)
      AND (before_id IS NULL OR e.id < before_id)
    ORDER BY e.id DESC LIMIT most
$$
"""
ONE = f"""
CREATE FUNCTION emberpost_arrival(the_id bigint)
RETURNS TABLE (id bigint, source text, account text, kind text, status text, error text, attempts integer, seen integer, size bigint,
  received_at timestamptz, processed_at timestamptz, next_try_at timestamptz, dedupe_key text, facts jsonb, body_sha256 text,
  code_version text, head bytea)
{_HEAD.format("STABLE")}
    SELECT e.id, e.source, e.account, e.kind, e.status, e.error, e.attempts, e.seen, octet_length(e.body)::bigint, e.received_at,
           e.processed_at, e.next_try_at, e.dedupe_key, e.facts, e.body_sha256, e.code_version, substring(e.body FROM 1 FOR 65536)
    FROM inbound_events e WHERE {_OPERATOR} AND e.id = the_id
$$
"""
COUNTS = f"""
CREATE FUNCTION emberpost_arrival_counts()
RETURNS TABLE (source text, account text, status text, events bigint, repeats bigint, last_at timestamptz)
{_HEAD.format("STABLE")}
    SELECT e.source, e.account, e.status, count(*), sum(e.seen - 1)::bigint, max(e.received_at)
    FROM inbound_events e WHERE {_OPERATOR} GROUP BY e.source, e.account, e.status
$$
"""
REPLAY = f"""
CREATE FUNCTION emberpost_replay_arrivals(ids bigint[], states text[], only_source text, only_account text, since timestamptz)
RETURNS bigint
{_HEAD.format("VOLATILE")}
    WITH back AS (
        UPDATE inbound_events SET status = 'new', attempts = 0, next_try_at = NULL, processed_at = NULL
        WHERE {_OPERATOR} AND status <> 'new' AND octet_length(body) > 0 AND (ids IS NULL OR id = ANY (ids))
          AND (states IS NULL OR status = ANY (states)) AND (only_source IS NULL OR source = only_source)
          AND (only_account IS NULL OR account = only_account) AND (since IS NULL OR received_at >= since) RETURNING 1
    ) SELECT count(*) FROM back
$$
"""
DROP = f"""
CREATE FUNCTION emberpost_let_arrivals_be(ids bigint[]) RETURNS bigint
{_HEAD.format("VOLATILE")}
    WITH dropped AS (
        UPDATE inbound_events SET status = 'ignored', processed_at = clock_timestamp()
        WHERE {_OPERATOR} AND status = 'quarantined' AND id = ANY (ids) RETURNING 1
    ) SELECT count(*) FROM dropped
$$
"""
FUNCTIONS = {
    "emberpost_arrivals(text[], text, text, timestamptz, bigint, integer)": LIST,
    "emberpost_arrival(bigint)": ONE,
    "emberpost_arrival_counts()": COUNTS,
    "emberpost_replay_arrivals(bigint[], text[], text, text, timestamptz)": REPLAY,
    "emberpost_let_arrivals_be(bigint[])": DROP,
}


def upgrade() -> None:
    _tables()
    op.add_column("inbound_events", sa.Column("kind", sa.Text(), server_default="", nullable=False))
    op.add_column("inbound_events", sa.Column("body_sha256", sa.Text(), nullable=True))
    op.add_column("inbound_events", sa.Column("seen", sa.Integer(), server_default="1", nullable=False))
    op.add_column("inbound_events", sa.Column("code_version", sa.Text(), server_default="", nullable=False))
    op.create_index("ix_inbound_events_dead", "inbound_events", ["status", "id"], postgresql_where=_DEAD)
    op.create_index("ix_known_message_ids_provider", "known_message_ids", ["message_id"], postgresql_where=_PROVIDER)
    grant("webhook_sources", web="SELECT, INSERT, UPDATE", jobs="SELECT, INSERT, UPDATE")
    grant("webhook_secrets", web=ALL, jobs=ALL)
    op.execute(f"GRANT SELECT (seen), UPDATE (seen) ON inbound_events TO {WEB}")
    for signature, statement in FUNCTIONS.items():
        op.execute(statement)
        op.execute(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {signature} TO {WEB}, {JOBS}")


def _tables() -> None:
    op.create_table(
        "webhook_sources",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("verifier", sa.Text(), nullable=False),
        sa.Column("header", sa.Text(), server_default="", nullable=False),
        sa.Column("address_nonce", sa.Text(), nullable=False),
        sa.Column("refused", sa.Integer(), server_default="0", nullable=False),
        sa.Column("refused_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("refused_why", sa.Text(), server_default="", nullable=False),
        sa.Column("window_good", sa.Integer(), server_default="0", nullable=False),
        sa.Column("window_bad", sa.Integer(), server_default="0", nullable=False),
        sa.Column("held_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("hold_s", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_by", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=_NOW, nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("verifier IN ('standard_webhooks', 'static_header')", name=op.f("ck_webhook_sources_verifier")),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name=op.f("fk_webhook_sources_created_by_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_sources")),
    )
    op.create_table(
        "webhook_secrets",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("source_id", sa.BigInteger(), nullable=False),
        sa.Column("sealed", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=_NOW, nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["source_id"], ["webhook_sources.id"], name=op.f("fk_webhook_secrets_source_id_webhook_sources")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_secrets")),
    )
    op.create_index(op.f("ix_webhook_secrets_source_id"), "webhook_secrets", ["source_id"])


def downgrade() -> None:
    for signature in FUNCTIONS:
        op.execute(f"DROP FUNCTION {signature}")
    op.execute(f"REVOKE SELECT (seen), UPDATE (seen) ON inbound_events FROM {WEB}")
    op.drop_index("ix_known_message_ids_provider", table_name="known_message_ids")
    op.drop_index("ix_inbound_events_dead", table_name="inbound_events")
    for column in ("code_version", "seen", "body_sha256", "kind"):
        op.drop_column("inbound_events", column)
    op.drop_table("webhook_secrets")
    op.drop_table("webhook_sources")
