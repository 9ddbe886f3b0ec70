"""Keys for programs: of one client, for what their maker may do, stored as a hash, ended at once.

A key has to be found before anybody knows whose client it opens, so the web role looks it up through one function.
"""

import sqlalchemy as sa
from alembic import op

from migrations.walls import JOBS, WEB, wall

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

FIND = """
CREATE FUNCTION emberpost_api_key(hash text) RETURNS TABLE (id bigint, client_id bigint, user_id bigint, scope text, prefix text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
#variable_conflict use_column
BEGIN
    UPDATE api_keys SET last_used_at = clock_timestamp()
    WHERE secret_hash = hash AND revoked_at IS NULL AND coalesce(last_used_at, '-infinity') < clock_timestamp() - interval '1 minute';
    RETURN QUERY SELECT k.id, k.client_id, k.user_id, k.scope, k.prefix FROM api_keys k JOIN users u ON u.id = k.user_id
        WHERE k.secret_hash = hash AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp())
          AND u.disabled_at IS NULL;
END $$
"""


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.BigInteger(), sa.Identity(), primary_key=True),
        sa.Column("client_id", sa.BigInteger(), sa.ForeignKey("clients.id"), nullable=False),
        sa.Column("user_id", sa.BigInteger(), sa.ForeignKey("users.id"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("secret_hash", sa.Text(), nullable=False, unique=True),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.clock_timestamp(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("scope IN ('read', 'write')", name=op.f("ck_api_keys_scope")),
    )
    op.create_index(op.f("ix_api_keys_client_id"), "api_keys", ["client_id"])
    op.create_index(op.f("ix_api_keys_user_id"), "api_keys", ["user_id"])
    wall("api_keys", web="SELECT, INSERT, UPDATE", jobs="SELECT")
    op.execute(FIND)
    op.execute("REVOKE ALL ON FUNCTION emberpost_api_key(text) FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION emberpost_api_key(text) TO {WEB}, {JOBS}")


def downgrade() -> None:
    op.execute("DROP FUNCTION emberpost_api_key(text)")
    op.drop_table("api_keys")
