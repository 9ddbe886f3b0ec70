"""The trail is sealed: each entry's digest holds the one before it, so that nobody takes a line out or changes it unseen.

Seals are made a few seconds after the entry, by one function and one caller at a time, because an entry that waited for the one
before it would make a stop wait for a long transaction. Nobody but the owner of the tables may change either table.
"""

import sqlalchemy as sa
from alembic import op

from migrations.walls import JOBS, WEB, wall

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

PAYLOAD = """
CREATE FUNCTION emberpost_audit_payload(e audit_entries) RETURNS bytea LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT convert_to(jsonb_build_array(e.id, e.client_id, e.user_id, e.action, e.object_kind, e.object_id, e.before, e.after, e.address,
                                        (extract(epoch FROM e.at) * 1000000)::bigint)::text, 'UTF8')
$$
"""

# The lock is machine-wide: one sealer at a time. Entries that were written before others and committed after them are sealed later.
SEAL = """
CREATE FUNCTION emberpost_seal_audit(most integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE entry audit_entries; last audit_seals; sealed integer := 0; BEGIN
    PERFORM pg_advisory_xact_lock(964353);
    FOR entry IN
        SELECT a.* FROM audit_entries a
        WHERE a.id > coalesce((SELECT max(entry_id) FROM audit_seals), 0) - 100000
          AND NOT EXISTS (SELECT 1 FROM audit_seals s WHERE s.entry_id = a.id)
        ORDER BY a.id LIMIT most
    LOOP
        SELECT * INTO last FROM audit_seals WHERE chain = coalesce(entry.client_id, 0) ORDER BY number DESC LIMIT 1;
        INSERT INTO audit_seals (entry_id, client_id, chain, number, digest) VALUES (
            entry.id, entry.client_id, coalesce(entry.client_id, 0), coalesce(last.number, 0) + 1,
            sha256(coalesce(last.digest, ''::bytea) || emberpost_audit_payload(entry)));
        sealed := sealed + 1;
    END LOOP;
    RETURN sealed;
END $$
"""
FUNCTIONS = ("emberpost_audit_payload(audit_entries)", "emberpost_seal_audit(integer)")


def upgrade() -> None:
    op.create_table(
        "audit_seals",
        sa.Column("entry_id", sa.BigInteger(), sa.ForeignKey("audit_entries.id"), primary_key=True),
        sa.Column("client_id", sa.BigInteger(), sa.ForeignKey("clients.id"), nullable=True),
        sa.Column("chain", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_at", sa.DateTime(timezone=True), server_default=sa.func.clock_timestamp(), nullable=False),
        sa.UniqueConstraint("chain", "number", name=op.f("uq_audit_seals_chain_number")),
    )
    op.create_index(op.f("ix_audit_seals_client_id"), "audit_seals", ["client_id"])
    wall("audit_seals", web="SELECT", jobs="SELECT", also="client_id IS NULL")
    op.execute(PAYLOAD)
    op.execute(SEAL)
    for function in FUNCTIONS:
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION emberpost_audit_payload(audit_entries) TO {WEB}, {JOBS}")
    op.execute(f"GRANT EXECUTE ON FUNCTION emberpost_seal_audit(integer) TO {JOBS}")


def downgrade() -> None:
    for function in reversed(FUNCTIONS):
        op.execute(f"DROP FUNCTION {function}")
    op.drop_table("audit_seals")
