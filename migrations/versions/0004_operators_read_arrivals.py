"""What arrived and could not be understood, for operators: the web role reaches it through two functions only.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

from alembic import op

from migrations.walls import JOBS, USER, WEB

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_OPERATOR = f"EXISTS (SELECT 1 FROM users u WHERE u.id = {USER} AND u.is_operator AND u.disabled_at IS NULL)"

# Arrivals have no client, so no policy can say whose they are: the functions ask who the caller is instead.
LIST = f"""
CREATE FUNCTION emberpost_quarantined(most integer)
RETURNS TABLE (id bigint, source text, account text, error text, attempts integer, size bigint, head bytea, received_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT e.id, e.source, e.account, e.error, e.attempts, octet_length(e.body)::bigint, substring(e.body FROM 1 FOR 2000), e.received_at
    FROM inbound_events e WHERE e.status = 'quarantined' AND {_OPERATOR} ORDER BY e.id DESC LIMIT most
$$
"""
REPLAY = f"""
CREATE FUNCTION emberpost_replay(ids bigint[]) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    WITH back AS (
        UPDATE inbound_events SET status = 'new', attempts = 0, next_try_at = NULL
        WHERE status = 'quarantined' AND {_OPERATOR} AND (ids IS NULL OR id = ANY (ids)) RETURNING 1
    ) SELECT count(*) FROM back
$$
"""
FUNCTIONS = ("emberpost_quarantined(integer)", "emberpost_replay(bigint[])")

def upgrade() -> None:
    op.execute(LIST)
    op.execute(REPLAY)
    for function in FUNCTIONS:
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {function} TO {WEB}, {JOBS}")

def downgrade() -> None:
    for function in FUNCTIONS:
        op.execute(f"DROP FUNCTION {function}")
