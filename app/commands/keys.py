"""``flask keys rotate``: seal every stored secret with the newest key of EMBERPOST_ENCRYPTION_KEYS."""

from __future__ import annotations

import click
from flask.cli import with_appcontext

from app.core.crypto import vault
from app.core.db import JOBS_ROLE, transaction, use_database_role
from app.services import audit, key_rotation


@click.group("keys")
def keys() -> None:
    """The keys that stored secrets are sealed with."""


@keys.command("rotate")
@with_appcontext
def rotate() -> None:
    """Seal again with the newest key, while everything runs. May be interrupted and started again; exit code 1 when rows are left."""
    use_database_role(JOBS_ROLE)
    sealed = 0
    unreadable: list[str] = []
    for column in key_rotation.TABLES:
        after: int | None = 0
        while after is not None:
            with transaction():
                batch = key_rotation.rotate_batch(column, after)
            sealed, after = sealed + batch.sealed, batch.next_id
            unreadable += batch.unreadable
    for name in unreadable:
        click.echo(f"cannot be opened with the configured keys: {name}", err=True)
    with transaction():
        left = key_rotation.old_secrets()
        audit.record("keys.rotate", "instance", 0, after={"key": vault().current_id, "sealed": sealed, "left": left})
    click.echo(f"{sealed} secrets sealed with key {vault().current_id}; {left} are left under older keys.")
    raise SystemExit(1 if left else 0)


commands = [keys]
