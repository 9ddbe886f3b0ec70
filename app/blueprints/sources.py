"""The registry of webhook sources: add, show the address, change secrets, look at a hold. For operators."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, current_app, request, url_for
from flask.typing import ResponseReturnValue

from app.blueprints.access import requires, viewer
from app.blueprints.htmx import after_post, page_or_fragment
from app.core.clock import machine_now
from app.core.errors import Invalid
from app.domain.permissions import Permission
from app.domain.webhook_proof import VERIFIERS
from app.models import WebhookSource
from app.queries import arrivals
from app.services import webhooks
from app.strings import t

blueprint = Blueprint("sources", __name__, url_prefix="/operations/webhooks")


@blueprint.get("/")
@requires(Permission.WEBHOOKS_MANAGE)
def index() -> Response:
    return _index()


def _index(status: int = 200, values: dict[str, str] | None = None, errors: dict[str, Any] | None = None) -> Response:
    _total, figures = arrivals.figures()
    rows = [(source, figures.get(source.id, arrivals.Figures()), _state(source)) for source in webhooks.present()]
    return page_or_fragment(
        "ops/webhooks.html", "list", status=status, rows=rows, values=values or {}, errors=errors or {}, verifiers=list(VERIFIERS),
        default_header=webhooks.DEFAULT_HEADER,
    )  # fmt: skip


def _state(source: WebhookSource) -> str:
    if not webhooks.secrets_of(source.id):
        return "no_secret"
    return "held" if source.held_until is not None else "good"


@blueprint.post("/")
@requires(Permission.WEBHOOKS_MANAGE)
def add() -> ResponseReturnValue:
    values = {name: request.form.get(name, "").strip()[:1_000] for name in ("name", "verifier", "header", "secret")}
    try:
        source, _secret = webhooks.add(values["name"], values["verifier"], header=values["header"], secret=values["secret"], by=viewer().id)
    except Invalid as wrong:
        return _index(422, values, wrong.details)
    return after_post(url_for(".show", source_id=source.id), toast=t("webhooks.added", name=source.name))


@blueprint.get("/<int:source_id>")
@requires(Permission.WEBHOOKS_MANAGE)
def show(source_id: int) -> Response:
    return _show(webhooks.get(source_id))


def _show(source: WebhookSource, status: int = 200, *, secret: str = "", values: dict[str, str] | None = None, errors: Any = None) -> Response:
    _total, figures = arrivals.figures()
    base = current_app.extensions["settings"].public_url.rstrip("/")
    return page_or_fragment(
        "ops/webhook.html", "source", status=status, source=source, figures=figures.get(source.id, arrivals.Figures()), state=_state(source),
        secrets=webhooks.secrets_of(source.id), secret=secret, base=base, values=values or {}, errors=errors or {}, machine_now=machine_now(),
        address=base + url_for("webhooks.receive", token=webhooks.token_of(source)),
    )  # fmt: skip


@blueprint.post("/<int:source_id>/<any(rename, secret, end_old, address, release, remove):action>")
@requires(Permission.WEBHOOKS_MANAGE)
def change(source_id: int, action: str) -> ResponseReturnValue:
    source, by = webhooks.get(source_id), viewer().id
    try:
        toast = _change(source, action, by)
    except Invalid as wrong:
        return _show(source, 422, values={name: value[:1_000] for name, value in request.form.items()}, errors=wrong.details)
    return after_post(url_for(".index") if action == "remove" else url_for(".show", source_id=source_id), toast=toast)


def _change(source: WebhookSource, action: str, by: int) -> str:
    if action == "rename":
        webhooks.rename(source, request.form.get("name", "")[:1_000], by=by)
        return t("webhooks.renamed")
    if action == "secret":
        webhooks.change_secret(source, request.form.get("secret", "")[:1_000], by=by, at_once=request.form.get("at_once") == "1")
        return t("webhooks.secret_changed")
    if action == "end_old":
        return t("webhooks.old_ended", n=webhooks.end_old_secrets(source, by=by))
    if action == "address":
        webhooks.change_address(source, by=by)
        return t("webhooks.address_changed")
    if action == "release":
        webhooks.release(source, by=by)
        return t("webhooks.released")
    webhooks.remove(source, by=by)
    return t("webhooks.removed", name=source.name)


@blueprint.post("/<int:source_id>/reveal")
@requires(Permission.WEBHOOKS_MANAGE)
def reveal(source_id: int) -> ResponseReturnValue:
    """The newest secret on the page of its source, for this answer only."""
    source = webhooks.get(source_id)
    answer = _show(source, secret=webhooks.reveal(source, by=viewer().id))
    answer.headers["Cache-Control"] = "no-store"
    return answer
