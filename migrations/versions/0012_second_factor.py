"""A second factor for logins: sealed secrets, recovery codes as hashes, and logins that wait for their code."""

import sqlalchemy as sa
from alembic import op

from migrations.walls import ALL, grant

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def _moment(name: str) -> sa.Column:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=True)


def _created() -> sa.Column:
    return sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.clock_timestamp(), nullable=False)


def _user() -> sa.Column:
    return sa.Column("user_id", sa.BigInteger(), sa.ForeignKey("users.id"), nullable=False)


def upgrade() -> None:
    op.create_table(
        "second_factors",
        sa.Column("id", sa.BigInteger(), sa.Identity(), primary_key=True),
        _user(),
        sa.Column("totp_secret", sa.Text(), nullable=False),
        sa.Column("last_step", sa.BigInteger(), nullable=True),
        _moment("confirmed_at"),
        _created(),
    )
    confirmed, begun = sa.text("confirmed_at IS NOT NULL"), sa.text("confirmed_at IS NULL")
    op.create_index("uq_second_factors_confirmed", "second_factors", ["user_id"], unique=True, postgresql_where=confirmed)
    op.create_index("uq_second_factors_begun", "second_factors", ["user_id"], unique=True, postgresql_where=begun)
    op.create_table(
        "recovery_codes",
        sa.Column("id", sa.BigInteger(), sa.Identity(), primary_key=True),
        _user(),
        sa.Column("code_hash", sa.Text(), nullable=False),
        _moment("used_at"),
        _created(),
        sa.UniqueConstraint("user_id", "code_hash", name=op.f("uq_recovery_codes_user_id_code_hash")),
    )
    op.create_table(
        "login_attempts",
        sa.Column("id", sa.BigInteger(), sa.Identity(), primary_key=True),
        _user(),
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("wrong", sa.Integer(), server_default="0", nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        _moment("ended_at"),
        _created(),
        sa.UniqueConstraint("token_hash", name=op.f("uq_login_attempts_token_hash")),
    )
    op.create_index(op.f("ix_login_attempts_user_id"), "login_attempts", ["user_id"])
    grant("second_factors", web=ALL, jobs="SELECT, UPDATE")
    for table in ("recovery_codes", "login_attempts"):
        grant(table, web=ALL, jobs="SELECT, DELETE")


def downgrade() -> None:
    op.drop_table("login_attempts")
    op.drop_table("recovery_codes")
    op.drop_table("second_factors")
