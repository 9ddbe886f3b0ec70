"""Older mail on request: how far back a mailbox is read beyond the moment of connecting, and how far each folder got."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("mailboxes", sa.Column("older_since", sa.DateTime(timezone=True), nullable=True))
    op.add_column("folder_states", sa.Column("older_since", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("folder_states", "older_since")
    op.drop_column("mailboxes", "older_since")
