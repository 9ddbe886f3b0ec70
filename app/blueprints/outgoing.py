"""Outgoing webhooks as pages: the endpoints of a client, one of them with its log, and one delivery."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import Blueprint, Response, g, request, url_for
from flask.typing import ResponseReturnValue

from app.blueprints.access import load, requires, viewer
from app.blueprints.api.outgoing import STATES, known_addresses, try_now
from app.blueprints.api.pagination import page_of
from app.blueprints.digits import whole
from app.blueprints.htmx import after_post, page_or_fragment
from app.core.clock import machine_now
from app.core.errors import Conflict, Invalid, TooMany
from app.domain.outgoing import EVENTS, succeeded
from app.domain.permissions import Permission
from app.models import OutgoingCall, OutgoingEndpoint
from app.queries import outgoing as queries
from app.services.outgoing import calls, endpoints
from app.strings import t

blueprint = Blueprint("outgoing", __name__, url_prefix="/c/<slug>/settings/webhooks")
MANAGE = Permission.OUTGOING_MANAGE
ON_A_PAGE = 50
SINCE_HOURS = (1, 24, 72, 168, 720)


def _typed() -> dict[str, Any]:
    return {
        "url": request.form.get("url", "").strip(), "description": request.form.get("description", "").strip(),
        "events": request.form.getlist("events"),
    }  # fmt: skip


@blueprint.get("")
@requires(MANAGE)
def index() -> Response:
    return _index()


def _index(status: int = 200, **context: Any) -> Response:
    values = {"url": "", "description": "", "events": list(EVENTS), **context.pop("values", {})}
    return page_or_fragment(
        "settings/outgoing.html", "list", status=status, rows=queries.endpoints(g.client.id), values=values, events=EVENTS,
        **{"errors": {}, **context},
    )  # fmt: skip


@blueprint.post("")
@requires(MANAGE)
def add() -> ResponseReturnValue:
    """The secret is shown in this answer and never again."""
    typed = _typed()
    try:
        endpoint, secret = endpoints.create(g.client.id, typed, known_addresses(), by=viewer().id)
    except Invalid as wrong:
        return _index(422, values=typed, errors=wrong.details)
    except Conflict as full:
        return _index(409, values=typed, errors={"url": [full.message]})
    return _handed(endpoint, secret)


def _handed(endpoint: OutgoingEndpoint, secret: str) -> Response:
    answer = _show(endpoint, secret=secret)
    answer.headers["Cache-Control"] = "no-store"
    return answer


@blueprint.get("/<int:endpoint_id>")
@requires(MANAGE)
def show(endpoint_id: int) -> Response:
    return _show(load(OutgoingEndpoint, endpoint_id))


def _show(endpoint: OutgoingEndpoint, status: int = 200, **context: Any) -> Response:
    wanted = request.args.get("status")
    wanted = wanted if wanted in STATES else None
    found = page_of(
        queries.deliveries(endpoint.id, wanted), {"limit": ON_A_PAGE, "cursor": request.args.get("cursor")}, OutgoingCall.id, scalars=False
    )
    shown = queries.endpoint(g.client.id, endpoint.id)
    values = {"url": shown.url, "description": shown.description, "events": shown.events, **context.pop("values", {})}
    return page_or_fragment(
        "settings/outgoing_endpoint.html", "endpoint", status=status, endpoint=shown, values=values, events=EVENTS, states=STATES, wanted=wanted,
        lines=[queries.line(row) for row in found.items], more=found.next_cursor, first=not request.args.get("cursor"), since_hours=SINCE_HOURS,
        secrets=endpoints.secrets_of(endpoint.id), overlap=endpoints.OVERLAP_HOURS, **{"errors": {}, "secret": "", **context},
    )  # fmt: skip


@blueprint.post("/<int:endpoint_id>")
@requires(MANAGE)
def save(endpoint_id: int) -> ResponseReturnValue:
    endpoint, typed = load(OutgoingEndpoint, endpoint_id), _typed()
    try:
        endpoints.change(endpoint, typed, known_addresses())
    except Invalid as wrong:
        return _show(endpoint, 422, values=typed, errors=wrong.details)
    return after_post(url_for(".show", endpoint_id=endpoint_id), toast=t("outgoing.saved"))


@blueprint.post("/<int:endpoint_id>/<any(on, off, test, end_old, redeliver, remove):action>")
@requires(MANAGE)
def act(endpoint_id: int, action: str) -> ResponseReturnValue:
    endpoint = load(OutgoingEndpoint, endpoint_id)
    try:
        toast = _act(endpoint, action)
    except (Conflict, TooMany) as refused:
        toast = refused.message
    return after_post(url_for(".index") if action == "remove" else url_for(".show", endpoint_id=endpoint_id), toast=toast)


def _act(endpoint: OutgoingEndpoint, action: str) -> str:
    if action in ("on", "off"):
        endpoints.switch(endpoint, action == "on")
        return t(f"outgoing.switched_{action}")
    if action == "test":
        return _told_of_test(try_now(endpoint))
    if action == "end_old":
        return t("outgoing.old_ended", n=endpoints.end_old_secrets(endpoint))
    if action == "redeliver":
        hours = whole(request.form.get("hours"), 4) or SINCE_HOURS[1]
        return t("outgoing.redelivered", n=calls.redeliver_failed(endpoint, machine_now() - timedelta(hours=hours)))
    endpoints.remove(endpoint)
    return t("outgoing.removed")


def _told_of_test(found: queries.Delivery) -> str:
    if succeeded(found.last_status):
        return t("outgoing.test_good", status=found.last_status, ms=found.attempts[-1].ms)
    return t("outgoing.test_bad", why=t(f"outgoing.error_{found.last_error}") if found.last_error else found.last_status)


@blueprint.post("/<int:endpoint_id>/secret")
@requires(MANAGE)
def rotate(endpoint_id: int) -> ResponseReturnValue:
    """A fresh secret, in this answer and never again."""
    endpoint = load(OutgoingEndpoint, endpoint_id)
    try:
        secret = endpoints.rotate_secret(endpoint, 0 if request.form.get("at_once") == "1" else endpoints.OVERLAP_HOURS)
    except Invalid as wrong:
        return _show(endpoint, 422, errors=wrong.details)
    return _handed(endpoint, secret)


@blueprint.get("/deliveries/<int:call_id>")
@requires(MANAGE)
def delivery(call_id: int) -> Response:
    found = queries.delivery(g.client.id, call_id)
    return page_or_fragment(
        "settings/outgoing_delivery.html", "delivery", one=found, endpoint=queries.endpoint(g.client.id, found.endpoint_id)
    )


@blueprint.post("/deliveries/<int:call_id>/redeliver")
@requires(MANAGE)
def redeliver(call_id: int) -> ResponseReturnValue:
    call = load(OutgoingCall, call_id)
    try:
        calls.redeliver(endpoints.get(g.client.id, call.endpoint_id), call.id)
        toast = t("outgoing.redelivered", n=1)
    except Conflict as off:
        toast = off.message
    return after_post(url_for(".delivery", call_id=call_id), toast=toast)
