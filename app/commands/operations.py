"""Operator verbs for the hour in which the pages are out of reach: stop everything, let it go on, read arrivals again."""

from __future__ import annotations

import click
from flask.cli import with_appcontext

from app.commands.people import in_transaction
from app.core.db import JOBS_ROLE
from app.services.outbox import switches
from app.services.receiving import events


@click.command("stop-all")
@click.option("--reason", default="", help="Shown on the pages to everybody who wonders.")
@with_appcontext
@in_transaction(JOBS_ROLE)
def stop_all(reason: str) -> str:
    """Nothing leaves this installation from now on; what is past its permit still gets its answer."""
    stopped = switches.stop_instance(by=None, reason=reason or "flask stop-all")
    return "Everything is stopped." if stopped else "It was stopped already."


@click.command("release-all")
@with_appcontext
@in_transaction(JOBS_ROLE)
def release_all() -> str:
    """Let what waits leave again, in its order and at the ordinary pace."""
    return "Sending goes on." if switches.release_instance(by=None) else "It was not stopped."


@click.command("replay")
@click.argument("ids", nargs=-1, type=int)
@with_appcontext
@in_transaction(JOBS_ROLE)
def replay(ids: tuple[int, ...]) -> str:
    """Have quarantined arrivals (these, or all) read again by the next sweep."""
    count = events.replay(ids or None)
    return f"{count} {'arrival is' if count == 1 else 'arrivals are'} read again within fifteen seconds."


commands = [stop_all, release_all, replay]
