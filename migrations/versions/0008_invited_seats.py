"""Which client brought a person in: only it may give them a new link before they have set a password."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("memberships", sa.Column("invited", sa.Boolean(), server_default="false", nullable=False))


def downgrade() -> None:
    op.drop_column("memberships", "invited")
