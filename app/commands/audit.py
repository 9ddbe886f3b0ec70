"""``flask audit``: what the stored evidence proves."""

from __future__ import annotations

import json

import click
from flask.cli import with_appcontext

from app.core.db import JOBS_ROLE, transaction, use_database_role
from app.services import auditing
from app.services.outbox.plain import plain_connection, run

SHOWN = 50


@click.group("audit")
def audit() -> None:
    """Proofs from what is stored."""


@audit.command("no-doubles")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines.")
@with_appcontext
def no_doubles(as_json: bool) -> None:
    """Prove that no message was sent twice, or name those that were. Exit code 0: proved, 1: not."""
    use_database_role(JOBS_ROLE)
    with transaction() as session:
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        run(plain_connection(), "SET TRANSACTION READ ONLY")
        proof = auditing.no_doubles(plain_connection())
    if as_json:
        click.echo(json.dumps({"clean": proof.clean, "counts": proof.counts, "found": proof.found, "by_people": proof.by_people}))
    else:
        _print(proof)
    raise SystemExit(0 if proof.clean else 1)


def _print(proof: auditing.Proof) -> None:
    click.echo("looked at: " + ", ".join(f"{count} {what}" for what, count in proof.counts.items()))
    for sentence, ids in proof.found.items():
        click.echo(f"{len(ids):>8}  {sentence}" + (f": {_listed(ids)}" if ids else ""))
    if proof.by_people:
        click.echo(f"{len(proof.by_people):>8}  accepted late, after a person had sent them again: {_listed(proof.by_people)}")
    click.echo("Nothing was sent twice." if proof.clean else "Keep this output and the log of dispatch, and report it.")


def _listed(ids: list[int]) -> str:
    return ", ".join(map(str, ids[:SHOWN])) + (f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else "")


commands = [audit]
