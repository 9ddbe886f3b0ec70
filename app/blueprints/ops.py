"""Operations: the doctor's findings, the schedule, processes, queues, and what arrived and could not be understood."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, request, url_for
from flask.typing import ResponseReturnValue

from app.blueprints.access import requires
from app.blueprints.digits import wholes
from app.blueprints.htmx import after_post, page_or_fragment
from app.core import clock
from app.core.queue import Job, enqueue_after_commit
from app.domain.permissions import Permission
from app.queries import ops
from app.services import audit, doctor, schedule_state
from app.strings import t

blueprint = Blueprint("ops", __name__, url_prefix="/operations")


@blueprint.get("/")
@requires(Permission.OPS_READ)
def index() -> Response:
    return page_or_fragment(
        "ops/index.html", "now", schedule=ops.schedule(), processes=ops.processes(), queues=ops.queue_depths(),
        ledger=ops.ledger(clock.now()), equation=ops.equation(), arrivals=ops.quarantined(), findings=doctor.examine(current_app.extensions["settings"]),
        scheduler=schedule_state.state(),
    )  # fmt: skip


@blueprint.post("/replay")
@requires(Permission.DEAD_LETTERS_MANAGE)
def replay() -> ResponseReturnValue:
    """One arrival, or all of them, is read again by the next sweep."""
    ids = wholes(request.form.getlist("ids"))
    count = ops.replay(ids if ids else None)
    audit.record("arrival.replay", "inbound event", ",".join(map(str, ids[:20])) or "all", after={"count": count})
    enqueue_after_commit(Job.INBOUND_SWEEP)
    return after_post(url_for(".index"), toast=t("ops.replayed", n=count))


@blueprint.post("/schedule/<any(pause, start):action>")
@requires(Permission.OPS_MANAGE)
def turn_schedule(action: str) -> ResponseReturnValue:
    schedule_state.turn(paused=action == "pause")
    return after_post(url_for(".index") + "#schedule-title", toast=t("ops.schedule_paused" if action == "pause" else "ops.schedule_started"))
