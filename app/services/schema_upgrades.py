"""Migrations as an operator sees them: where the database is, what is pending, and running it where the database login may."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.core.db import OWNER_ROLE, outside_transaction
from app.core.errors import Conflict
from app.core.extensions import db
from app.services import audit
from app.strings import t

log = logging.getLogger("emberpost.migrations")
FOLDER = Path(__file__).resolve().parents[2] / "migrations"
ONE_AT_A_TIME = 0x0E_3B_4D  # pg_advisory lock: two bootstraps at once would make the same tables
BY_HAND = t("doctor.migrate_by_hand")


@dataclass(frozen=True)
class Migration:
    revision: str
    what: str


@dataclass(frozen=True)
class MigrationState:
    """``at`` None: the database was never migrated. ``known``: the code knows where the database is (False: the code is older)."""

    at: str | None
    head: str
    pending: tuple[Migration, ...]
    known: bool
    may_bootstrap: bool
    what_to_do: str

    @property
    def at_head(self) -> bool:
        return self.at == self.head


@cache
def scripts() -> ScriptDirectory:
    return ScriptDirectory(str(FOLDER))


def state() -> MigrationState:
    exists = db.session.scalar(text("SELECT to_regclass('alembic_version') IS NOT NULL"))
    at = db.session.scalar(text("SELECT version_num FROM alembic_version")) if exists else None
    head = str(scripts().get_current_head())
    line = list(reversed(list(scripts().walk_revisions())))
    names = [script.revision for script in line]
    known = at is None or at in names
    behind = line[names.index(at) + 1 if at is not None else 0 :] if known else []
    pending = tuple(Migration(script.revision, (script.doc or "").strip()) for script in behind)
    may = _may()
    return MigrationState(str(at) if at is not None else None, head, pending, known, may, _advice(bool(pending), known, may))


def _may() -> bool:
    """Is the login a member of the owner's role (a superuser is of every one)."""
    return bool(db.session.scalar(text("SELECT pg_has_role(session_user, :owner, 'MEMBER')"), {"owner": OWNER_ROLE}))


def _advice(pending: bool, known: bool, may: bool) -> str:
    if not known:
        return t("doctor.database_newer")
    if not pending:
        return ""
    return t("doctor.migrate_by_api") if may else BY_HAND


def bootstrap() -> tuple[Migration, ...]:
    """Run what is pending, each in a transaction of its own; what was run. Raises Conflict with what to do instead.

    Called by an edge outside everything else: the caller's transaction is committed first.
    """
    before = state()
    if not before.known:
        raise Conflict(before.what_to_do, code="migrations_unknown")
    if not before.pending:
        return ()
    if not before.may_bootstrap:
        raise Conflict(t("doctor.may_not_migrate", how=BY_HAND), code="migrations_not_allowed")
    with outside_transaction(), _alone():
        _upgrade()
    db.session.expire_all()
    audit.record("migrations.bootstrap", "instance", 0, before={"at": before.at}, after={"at": before.head})
    return before.pending


@contextmanager
def _alone() -> Iterator[None]:
    with db.engine.connect() as connection:
        if not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": ONE_AT_A_TIME}):
            raise Conflict(t("doctor.being_migrated"), code="migrations_running")
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": ONE_AT_A_TIME})


def config() -> Config:
    """Alembic's own settings; our environment (migrations/env.py) finds the database by the present application."""
    found = Config()
    found.set_main_option("script_location", str(FOLDER))
    return found


def migrate_new() -> None:
    """Migrate the empty database of the present application, outside any transaction. Raises Conflict."""
    _upgrade()


def _upgrade() -> None:
    try:
        command.upgrade(config(), "head")
    except SystemExit as refused:  # the roles are missing and this login may not make them: the statements are in the text
        raise Conflict(str(refused), code="migrations_not_allowed") from None
    except (CommandError, SQLAlchemyError) as error:
        log.error("a migration failed", exc_info=error)
        said = str(getattr(error, "orig", error)).strip().split("\n")[0]
        raise Conflict(t("doctor.migration_failed", said=said, how=BY_HAND), code="migration_failed") from None
