"""Leads by the domain of their address: a colleague's answer finds its candidates without reading every lead."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_leads_domain", "leads", ["client_id", sa.text("split_part(email_key, '@', 2)")])


def downgrade() -> None:
    op.drop_index("ix_leads_domain", table_name="leads")
