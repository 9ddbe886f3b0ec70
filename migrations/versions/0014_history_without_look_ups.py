"""What one message writes asks for fewer parents and enters fewer indexes (decision 0042).

No row these keys pointed to is ever deleted while something may name it; ``check_ledger`` looks for names without an object.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

#: table, column, the parent it names
UNCHECKED = (
    ("activities", "client_id", "clients"),
    ("conversations", "campaign_id", "campaigns"),
    ("conversations", "client_id", "clients"),
    ("conversations", "sender_id", "senders"),
    ("deliveries", "conversation_id", "conversations"),
    ("delivery_attempts", "client_id", "clients"),
    ("delivery_attempts", "delivery_id", "deliveries"),
    ("enrollments", "conversation_id", "conversations"),
    ("enrollments", "last_step_id", "steps"),
    ("enrollments", "next_step_id", "steps"),
    ("known_message_ids", "client_id", "clients"),
    ("known_message_ids", "delivery_id", "deliveries"),
    ("messages", "client_id", "clients"),
    ("messages", "conversation_id", "conversations"),
    ("messages", "delivery_id", "deliveries"),
    ("messages", "sender_id", "senders"),
    ("participants", "client_id", "clients"),
    ("participants", "conversation_id", "conversations"),
)
#: Room on each page, so that a changed row stays where it is and enters no index anew.
ROOM = (("delivery_attempts", 60), ("enrollments", 70), ("conversations", 80), ("leads", 85))


def upgrade() -> None:
    for table, column, _ in UNCHECKED:
        op.drop_constraint(f"fk_{table}_{column}", table, type_="foreignkey")
    # the few rows with a lease are found through ix_deliveries_held_by_us
    op.drop_index("ix_deliveries_leases", table_name="deliveries")
    op.drop_index("ix_deliveries_conversation_id", table_name="deliveries")
    op.create_index(
        "ix_deliveries_conversation_id", "deliveries", ["conversation_id"],
        postgresql_where=sa.text("conversation_id IS NOT NULL"),
    )
    for table, percent in ROOM:
        op.execute(f"ALTER TABLE {table} SET (fillfactor = {percent})")


def downgrade() -> None:
    for table, _ in ROOM:
        op.execute(f"ALTER TABLE {table} RESET (fillfactor)")
    op.drop_index("ix_deliveries_conversation_id", table_name="deliveries")
    op.create_index("ix_deliveries_conversation_id", "deliveries", ["conversation_id"])
    op.create_index(
        "ix_deliveries_leases", "deliveries", ["leased_until"], postgresql_where=sa.text("status IN ('leased', 'committing')")
    )
    for table, column, parent in UNCHECKED:
        op.create_foreign_key(f"fk_{table}_{column}", table, parent, [column], ["id"])
