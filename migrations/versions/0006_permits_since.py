"""How many permits followed a stop of the whole instance: counts over all clients, for pages that see only one."""

from alembic import op

from migrations.walls import JOBS, WEB

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

FUNCTION = """
CREATE FUNCTION emberpost_permits_since(at timestamptz, dot_within_s integer)
RETURNS TABLE (fresh bigint, old bigint, since bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT count(*) FILTER (WHERE status = 'committing' AND permitted_at >= clock_timestamp() - dot_within_s * interval '1 s'),
           count(*) FILTER (WHERE status = 'committing' AND permitted_at < clock_timestamp() - dot_within_s * interval '1 s'),
           count(*) FILTER (WHERE permitted_at > at)
    FROM deliveries WHERE (status = 'committing' OR permitted_at > at) AND kind NOT IN ('notice', 'digest', 'account')
$$
"""


def upgrade() -> None:
    op.execute(FUNCTION)
    op.execute("REVOKE ALL ON FUNCTION emberpost_permits_since(timestamptz, integer) FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION emberpost_permits_since(timestamptz, integer) TO {WEB}, {JOBS}")


def downgrade() -> None:
    op.execute("DROP FUNCTION emberpost_permits_since(timestamptz, integer)")
