"""The outbox as people see it: messages we are not sure of, messages that failed, and the story of one message."""

from __future__ import annotations

from flask import Blueprint, Response, g, request, url_for
from flask.typing import ResponseReturnValue

from app.blueprints.access import requires, viewer
from app.blueprints.htmx import after_post, page_or_fragment
from app.core.errors import Conflict
from app.domain.permissions import Permission
from app.queries import deliveries as queries
from app.services.outbox import failed as failing
from app.services.outbox import uncertain as deciding
from app.strings import t

blueprint = Blueprint("deliveries", __name__, url_prefix="/c/<slug>/messages")
READ, RESOLVE = Permission.DELIVERIES_READ, Permission.DELIVERIES_RESOLVE


@blueprint.get("/not-sure")
@requires(READ)
def not_sure() -> Response:
    lines, cursor = queries.uncertain(g.client.id, cursor=request.args.get("cursor"))
    return _list("not_sure", lines, cursor)


@blueprint.get("/failed")
@requires(READ)
def failed() -> Response:
    lines, cursor = queries.failed(g.client.id, cursor=request.args.get("cursor"))
    return _list("failed", lines, cursor)


def _list(kind: str, lines: list[queries.DeliveryLine], cursor: str | None) -> Response:
    """``kind``: not_sure or failed; the two pages differ in one column and in what can be done."""
    first = not request.args.get("cursor")
    return page_or_fragment("deliveries/list.html", "list", kind=kind, lines=lines, cursor=cursor, counts=queries.counts(g.client.id), first=first)


@blueprint.get("/<int:delivery_id>")
@requires(READ)
def show(delivery_id: int) -> Response:
    line = queries.delivery(g.client.id, delivery_id)
    return page_or_fragment("deliveries/show.html", "message", line=line, attempts=queries.attempts(g.client.id, delivery_id))


@blueprint.post("/<int:delivery_id>/decide")
@requires(RESOLVE)
def decide(delivery_id: int) -> ResponseReturnValue:
    """A person says what became of an uncertain message."""
    outcome = request.form.get("outcome", "")
    try:
        deciding.resolve(g.client.id, delivery_id, outcome, by=viewer().id)
    except Conflict as refused:
        return after_post(url_for(".not_sure"), toast=refused.message)
    return after_post(url_for(".not_sure"), toast=t(f"deliveries.decided_{outcome}"))


_ACTIONS = {"again": failing.try_again, "skip": failing.skip_step, "suppress": failing.suppress}


@blueprint.post("/<int:delivery_id>/<any(again, skip, suppress):action>")
@requires(RESOLVE)
def act(delivery_id: int, action: str) -> ResponseReturnValue:
    """What to do about a failed message."""
    try:
        _ACTIONS[action](g.client.id, delivery_id, by=viewer().id)
    except Conflict as refused:
        return after_post(url_for(".failed"), toast=refused.message)
    return after_post(url_for(".failed"), toast=t(f"deliveries.done_{action}"))
