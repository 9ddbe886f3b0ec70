"""What arrived: filter, look at one with its secrets covered, have one, a selection or all of them worked on again. For operators."""

from __future__ import annotations

from datetime import datetime, timedelta

from flask import Blueprint, Response, request, url_for
from flask.typing import ResponseReturnValue

from app.blueprints.access import requires
from app.blueprints.digits import whole, wholes
from app.blueprints.htmx import after_post, page_or_fragment
from app.core.clock import machine_now
from app.core.errors import NotFound
from app.core.queue import Job, ring_job_after_commit
from app.domain.permissions import Permission
from app.queries import arrivals
from app.services import audit, webhooks
from app.strings import t

blueprint = Blueprint("arrivals", __name__, url_prefix="/operations/arrivals")
PER_PAGE = 100
SINCE_HOURS = (1, 24, 168, 0)


@blueprint.get("/")
@requires(Permission.DEAD_LETTERS_MANAGE)
def index() -> Response:
    status, source_id = _filter(request.args.get("status", "quarantined"), request.args.get("source"))
    before = whole(request.args.get("before"))
    found = arrivals.page([status] if status else None, source_id, before_id=before, limit=PER_PAGE + 1)
    total, _figures = arrivals.figures()
    return page_or_fragment(
        "ops/arrivals.html", "list", lines=found[:PER_PAGE], more=found[PER_PAGE - 1].id if len(found) > PER_PAGE else None, before=before,
        state=status, source_id=source_id, total=total, states=arrivals.STATES, names={one.id: one.name for one in webhooks.present()},
        since_hours=SINCE_HOURS,
    )  # fmt: skip


def _filter(status: str, source: str | None) -> tuple[str, int | None]:
    return (status if status in arrivals.STATES else ""), whole(source)


@blueprint.get("/<int:arrival_id>")
@requires(Permission.DEAD_LETTERS_MANAGE)
def show(arrival_id: int) -> Response:
    found = arrivals.one(arrival_id)
    if found is None:
        raise NotFound
    return page_or_fragment("ops/arrival.html", "arrival", one=found, names={one.id: one.name for one in webhooks.present()})


@blueprint.post("/replay")
@requires(Permission.DEAD_LETTERS_MANAGE)
def replay() -> ResponseReturnValue:
    """Those ticked, or all of the filter that arrived since then. The same road as the first time; what was done is not done again."""
    status, source_id = _filter(request.form.get("status", ""), request.form.get("source"))
    if request.form.get("all"):
        count = arrivals.replay(None, [status] if status else None, source_id, _since(request.form.get("since")))
    else:
        count = arrivals.replay(wholes(request.form.getlist("ids")))
    audit.record("arrival.replay", "inbound event", "all" if request.form.get("all") else ",".join(request.form.getlist("ids")[:20])[:300],
                 after={"count": count, "status": status, "source": source_id})  # fmt: skip
    ring_job_after_commit(Job.INBOUND_ARRIVED)
    return after_post(url_for(".index", status=status or None, source=source_id), toast=t("arrivals.replayed", n=count))


def _since(hours: str | None) -> datetime | None:
    number = whole(hours, 4)
    return machine_now() - timedelta(hours=number) if number else None


@blueprint.post("/let-be")
@requires(Permission.DEAD_LETTERS_MANAGE)
def let_be() -> ResponseReturnValue:
    """Nobody will work on these again."""
    ids = wholes(request.form.getlist("ids"))
    count = arrivals.let_be(ids)
    audit.record("arrival.let_be", "inbound event", ",".join(map(str, ids[:20])), after={"count": count})
    return after_post(url_for(".index"), toast=t("arrivals.let_be_done", n=count))
