"""What the instance itself is: its migrations."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from sqlalchemy import Connection, text


@cache
def code_head() -> str:
    """The newest migration of this code."""
    from alembic.script import ScriptDirectory

    return str(ScriptDirectory(str(Path(__file__).resolve().parents[2] / "migrations")).get_current_head())


def database_at_head(connection: Connection) -> bool:
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == code_head()
