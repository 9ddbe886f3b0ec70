"""A permit enters no index: indexes of deliveries hold where a row lies instead of its status (decision 0097).

``shelf`` is written out by PostgreSQL, so the table is written anew once, and nobody reads it meanwhile. Pages that are filled from then on keep
room for three versions of each row, and bytes lie beside it, so that a changed row stays on its page. A Message-ID is looked for where all
of them are.

Revision ID: 0020
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_SHELF = "CASE WHEN status IN ('leased', 'committing') THEN 'held' ELSE status END"
#: name, columns, the status of a partial index before, the shelf after.
_PARTIAL = (
    ("ix_deliveries_due", ["shard", "due_at", "id"], "status = 'queued'", "shelf = 'queued'"),
    ("ix_deliveries_held_by_us", ["sender_id"], "status IN ('leased', 'committing')", "shelf = 'held'"),
    ("ix_deliveries_uncertain", ["client_id", "id"], "status = 'uncertain'", "shelf = 'uncertain'"),
    ("ix_deliveries_failed", ["client_id", "id"], "status = 'failed'", "shelf = 'failed'"),
)
_LISTS = ("client_id", "campaign_id")


def upgrade() -> None:
    # in the order of those who write both: taken later, one of them could be waiting for us while we wait for it
    op.execute("LOCK TABLE known_message_ids, deliveries IN ACCESS EXCLUSIVE MODE")
    for name, *_ in _PARTIAL:
        op.drop_index(name, table_name="deliveries")
    for column in _LISTS:
        op.drop_index(f"ix_deliveries_{column}_status_due_at", table_name="deliveries")
    op.drop_index("ix_deliveries_message_id", table_name="deliveries")
    op.execute("ALTER TABLE deliveries SET (toast_tuple_target = 1024)")
    op.add_column("deliveries", sa.Column("shelf", sa.Text(), sa.Computed(_SHELF, persisted=True), nullable=False))
    op.execute("ALTER TABLE deliveries SET (fillfactor = 30)")  # after the table was written anew: old rows need no room
    op.execute("ALTER TABLE leads SET (fillfactor = 50)")  # all leads of a page are often written to within the same seconds
    for name, columns, _, where in _PARTIAL:
        op.create_index(name, "deliveries", columns, postgresql_where=sa.text(where))
    for column in _LISTS:
        op.create_index(f"ix_deliveries_{column}_shelf_due_at", "deliveries", [column, "shelf", "due_at"])
    op.execute(
        "INSERT INTO known_message_ids (client_id, message_id, source, delivery_id)"
        " SELECT DISTINCT ON (client_id, message_id) client_id, message_id, 'ours', id FROM deliveries WHERE message_id IS NOT NULL"
        " ORDER BY client_id, message_id, id ON CONFLICT (client_id, message_id, source)"
        " DO UPDATE SET delivery_id = excluded.delivery_id WHERE known_message_ids.delivery_id IS NULL"
    )
    op.drop_index("ix_known_message_ids_provider", table_name="known_message_ids")
    op.create_index(
        "ix_known_message_ids_of_ours", "known_message_ids", ["message_id"], postgresql_where=sa.text("source IN ('ours', 'provider')")
    )
    op.execute("ANALYZE deliveries, known_message_ids")  # plans that are made before autovacuum comes would guess


def downgrade() -> None:
    op.drop_index("ix_known_message_ids_of_ours", table_name="known_message_ids")
    op.create_index("ix_known_message_ids_provider", "known_message_ids", ["message_id"], postgresql_where=sa.text("source = 'provider'"))
    for name, *_ in _PARTIAL:
        op.drop_index(name, table_name="deliveries")
    for column in _LISTS:
        op.drop_index(f"ix_deliveries_{column}_shelf_due_at", table_name="deliveries")
    op.drop_column("deliveries", "shelf")
    op.execute("ALTER TABLE deliveries RESET (fillfactor, toast_tuple_target)")
    op.execute("ALTER TABLE leads SET (fillfactor = 85)")
    for name, columns, where, _ in _PARTIAL:
        op.create_index(name, "deliveries", columns, postgresql_where=sa.text(where))
    for column in _LISTS:
        op.create_index(f"ix_deliveries_{column}_status_due_at", "deliveries", [column, "status", "due_at"])
    op.create_index("ix_deliveries_message_id", "deliveries", ["message_id"], postgresql_where=sa.text("message_id IS NOT NULL"))
