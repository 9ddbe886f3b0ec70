"""``flask doctor``: is this installation fit to send, and what to do where it is not."""

from __future__ import annotations

import json

import click
from flask import current_app
from flask.cli import with_appcontext

from app.core.db import JOBS_ROLE, use_database_role
from app.services.doctor import State, examine

MARKS = {State.GOOD: "good   ", State.WARNING: "warning", State.RED: "RED    "}


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="One JSON array instead of lines.")
@with_appcontext
def doctor(as_json: bool) -> None:
    """Check everything; exit code 0 good, 1 with warnings, 2 with red rows."""
    use_database_role(JOBS_ROLE)
    findings = examine(current_app.extensions["settings"])
    if as_json:
        click.echo(json.dumps([{"name": f.name, "state": f.state, "found": f.found, "fix": f.fix} for f in findings]))
    else:
        for finding in findings:
            click.echo(f"{MARKS[finding.state]}  {finding.name}: {finding.found}" + (f"\n         → {finding.fix}" if finding.fix else ""))
    states = {finding.state for finding in findings}
    raise SystemExit(2 if State.RED in states else 1 if State.WARNING in states else 0)


commands = [doctor]
