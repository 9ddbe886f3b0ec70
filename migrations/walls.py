"""The second wall: roles, grants and row-level security, written once and used by every migration.

Roles are cluster-wide: made under one advisory lock, an existing one is fine. ``emberpost_owner`` owns the tables and migrates;
``emberpost_web`` and ``emberpost_jobs`` own nothing and have no BYPASSRLS. A tenant table lets the web role see and write rows of
``app.client_id`` and read those of ``app.client_ids``; jobs cross clients and have their own policy.
"""

from __future__ import annotations

from typing import Any

from alembic import op
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

OWNER, WEB, JOBS = "emberpost_owner", "emberpost_web", "emberpost_jobs"
_ROLE_LOCK = 0x0E_3B_01

ROLE_STATEMENTS = [
    *(f"CREATE ROLE {role} NOLOGIN NOBYPASSRLS" for role in (OWNER, WEB, JOBS)),
    *(f"GRANT {role} TO CURRENT_USER" for role in (OWNER, WEB, JOBS)),
]

CLIENT = "nullif(current_setting('app.client_id', true), '')::bigint"
CLIENTS = "(string_to_array(nullif(current_setting('app.client_ids', true), ''), ','))::bigint[]"
USER = "nullif(current_setting('app.user_id', true), '')::bigint"


def become_owner(connection: Any) -> None:
    """Make the roles if they are missing, then act as the owner. Raises SystemExit with the statements to run by hand."""
    try:
        connection.execute(text(f"SELECT pg_advisory_lock({_ROLE_LOCK})"))
        present = {
            row[0]
            for row in connection.execute(text("SELECT rolname FROM pg_roles WHERE rolname LIKE 'emberpost\\_%'"))
        }
        for role in (OWNER, WEB, JOBS):
            if role not in present:
                connection.execute(text(f"CREATE ROLE {role} NOLOGIN NOBYPASSRLS"))
            member = connection.execute(text(f"SELECT pg_has_role(current_user, '{role}', 'MEMBER')")).scalar()
            if not member:
                connection.execute(text(f"GRANT {role} TO CURRENT_USER"))
        connection.execute(text(f"GRANT USAGE, CREATE ON SCHEMA public TO {OWNER}"))
        connection.execute(text(f"GRANT USAGE ON SCHEMA public TO {WEB}, {JOBS}"))
        connection.commit()
    except ProgrammingError as error:
        connection.rollback()
        login, database = connection.execute(text("SELECT quote_ident(current_user), current_database()")).one()
        grants = [f"GRANT USAGE, CREATE ON SCHEMA public TO {OWNER}", f"GRANT USAGE ON SCHEMA public TO {WEB}, {JOBS}"]
        statements = ";\n  ".join([*ROLE_STATEMENTS, *grants]).replace("CURRENT_USER", login)
        raise SystemExit(
            f"The database login may not make the roles this product needs ({error.orig}).\n"
            f"Run these statements as a superuser in the database {database}, then start again:\n  {statements};"
        ) from error
    finally:
        connection.execute(text(f"SELECT pg_advisory_unlock({_ROLE_LOCK})"))
        connection.commit()
    connection.execute(text(f"SET ROLE {OWNER}"))
    connection.commit()


def grant(table: str, web: str = "", jobs: str = "") -> None:
    """Grant exactly these privileges."""
    if web:
        op.execute(f"GRANT {web} ON {table} TO {WEB}")
    if jobs:
        op.execute(f"GRANT {jobs} ON {table} TO {JOBS}")


ALL = "SELECT, INSERT, UPDATE, DELETE"
APPEND = "SELECT, INSERT"


def wall(
    table: str, *, column: str = "client_id", web: str = ALL, jobs: str = ALL, also: str = "", also_read: str = ""
) -> None:
    """Row-level security on a tenant table. ``also`` opens further rows for all, ``also_read`` for reading only."""
    extra = f" OR {also}" if also else ""
    extra_read = f" OR {also_read}" if also_read else ""
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(
        f"CREATE POLICY tenant ON {table} TO {WEB} USING ({column} = {CLIENT}{extra}) WITH CHECK ({column} = {CLIENT}{extra})"
    )
    op.execute(
        f"CREATE POLICY tenant_read ON {table} FOR SELECT TO {WEB} USING ({column} = ANY ({CLIENTS}){extra_read})"
    )
    op.execute(f"CREATE POLICY jobs ON {table} TO {JOBS} USING (true) WITH CHECK (true)")
    op.execute(f"CREATE POLICY owner ON {table} TO {OWNER} USING (true) WITH CHECK (true)")
    grant(table, web, jobs)
