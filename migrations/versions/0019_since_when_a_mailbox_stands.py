"""Since when a mailbox is as it is, in product time too: a rehearsal's pages show its own clock.

What was written before keeps machine time alone, which outside a rehearsal is the same.

Revision ID: 0019
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("senders", sa.Column("status_product_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("senders", "status_product_at")
