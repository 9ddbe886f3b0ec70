"""The thread into which a mailbox sorted a message, beside the ids under which it is known; folders that a person chose.

Mailboxes whose provider takes 30 messages a minute keep two seconds between two of them; how it was is not remembered.

Revision ID: 0018
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("known_message_ids", sa.Column("thread_key", sa.Text(), nullable=True))
    op.create_index(
        "ix_known_message_ids_thread", "known_message_ids", ["client_id", "thread_key"],
        postgresql_where=sa.text("thread_key IS NOT NULL"),
    )  # fmt: skip
    for name in ("sent_folder", "junk_folder"):
        op.add_column("mailboxes", sa.Column(name, sa.Text(), server_default="", nullable=False))
    op.execute(
        "UPDATE senders SET min_gap_s = 2 WHERE min_gap_s < 2"
        " AND id IN (SELECT id FROM mailboxes WHERE provider IN ('outlook', 'microsoft365'))"
    )


def downgrade() -> None:
    for name in ("junk_folder", "sent_folder"):
        op.drop_column("mailboxes", name)
    op.drop_index("ix_known_message_ids_thread", table_name="known_message_ids")
    op.drop_column("known_message_ids", "thread_key")
