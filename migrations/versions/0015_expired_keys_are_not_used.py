"""A key whose time is over, or whose maker's login is off, is no longer marked as used by whoever still sends it.

Revision ID: 0015
"""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

FIND = """
CREATE OR REPLACE FUNCTION emberpost_api_key(hash text) RETURNS TABLE (id bigint, client_id bigint, user_id bigint, scope text, prefix text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
#variable_conflict use_column
BEGIN
    UPDATE api_keys SET last_used_at = clock_timestamp()
    WHERE secret_hash = hash AND revoked_at IS NULL{living} AND coalesce(last_used_at, '-infinity') < clock_timestamp() - interval '1 minute';
    RETURN QUERY SELECT k.id, k.client_id, k.user_id, k.scope, k.prefix FROM api_keys k JOIN users u ON u.id = k.user_id
        WHERE k.secret_hash = hash AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp())
          AND u.disabled_at IS NULL;
END $$
"""
LIVING = (
    " AND (expires_at IS NULL OR expires_at > clock_timestamp())"
    " AND EXISTS (SELECT 1 FROM users u WHERE u.id = api_keys.user_id AND u.disabled_at IS NULL)"
)


def upgrade() -> None:
    op.execute(FIND.replace("{living}", LIVING))


def downgrade() -> None:
    op.execute(FIND.replace("{living}", ""))
