"""The next leads of a sender in the order in which they are due: what the sequence tick looks up."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_enrollments_next", "enrollments", ["sender_id", "next_at", "id"], postgresql_where=sa.text("status = 'waiting'")
    )


def downgrade() -> None:
    op.drop_index("ix_enrollments_next", table_name="enrollments")
