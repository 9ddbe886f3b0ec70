"""``flask simulate``: a campaign walks its days ahead in a throw-away database, and nothing leaves."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import click
from flask import current_app
from flask.cli import with_appcontext

from app.core import clock
from app.core.errors import ProductError
from app.services.rehearsing.road import Wish
from app.services.rehearsing.whole import rehearse


@click.command("simulate")
@click.argument("campaign_id", type=int)
@click.option("--days", type=click.IntRange(1, 60), default=60, show_default=True, help="How many days to look ahead at most.")
@click.option("--replies", type=click.IntRange(0, 100), default=0, show_default=True, help="How many in a hundred messages are answered.")
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed: other people answer.")
@click.option("--at", default="", help="When it begins, as 2026-11-30T09:00+01:00; default: now.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@with_appcontext
def simulate(campaign_id: int, days: int, replies: int, seed: int, at: str, as_json: bool) -> None:
    """Let a campaign walk its days ahead in a throw-away database, by the rules that send; nothing leaves and nothing changes."""
    wish = Wish(_moment(at), days=days, replies_percent=replies, seed=seed)
    try:
        found = rehearse(current_app.extensions["settings"], campaign_id, wish)
    except ProductError as refusal:
        fields = [" ".join(sentences) for sentences in refusal.details.values() if isinstance(sentences, list)]
        raise click.ClickException(" ".join([refusal.message, *fields])) from None
    click.echo(json.dumps(found.as_json(), indent=2) if as_json else found.as_text())


def _moment(at: str) -> datetime:
    if not at:
        return clock.now()
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        raise click.BadParameter("write it as 2026-11-30T09:00+01:00", param_hint="--at") from None
    return moment.astimezone(UTC) if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


commands = [simulate]
