"""Room beside rows that are written again, and an index less.

All counters of a day begin at the same instant: an index by that instant was taken to find one of them, and read all. Rows of tries are
written three times, so their pages keep room for that.

Revision ID: 0017
"""

from __future__ import annotations

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

#: Percent of a page that new rows fill.
ROOM = {"delivery_attempts": 50, "usage_counters": 50, "leads": 85}


def upgrade() -> None:
    op.drop_index(op.f("ix_usage_counters_window_start"), table_name="usage_counters")
    for table, percent in ROOM.items():
        op.execute(f"ALTER TABLE {table} SET (fillfactor = {percent})")


def downgrade() -> None:
    for table in ROOM:
        op.execute(f"ALTER TABLE {table} RESET (fillfactor)")
    op.create_index(op.f("ix_usage_counters_window_start"), "usage_counters", ["window_start"])
