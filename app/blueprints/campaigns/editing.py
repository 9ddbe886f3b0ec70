"""The messages of a campaign: the rail, one message with its preview beside it, starters, tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Response, current_app, g, request, url_for
from flask.typing import ResponseReturnValue

from app.blueprints.access import requires, viewer
from app.blueprints.campaigns.frame import DRAFT, READ, blueprint, campaign_page, demand_editable, find, following
from app.blueprints.digits import whole
from app.blueprints.htmx import after_post
from app.blueprints.meanwhile import loaded, stored_now, with_untouched
from app.core.errors import Conflict, Invalid, NotFound, ProductError
from app.core.safe_html import sanitise
from app.domain.permissions import Permission
from app.domain.starter_sequences import STARTER_SEQUENCES
from app.models import Campaign, Step
from app.queries import campaigns as reading
from app.services import campaign_steps as editing
from app.services.preview import Preview, preview
from app.services.test_send import send_test
from app.strings import t

TEXTS = ("subject", "text", "html")
WAIT = ("delay_value", "delay_unit")
WHOLE = 100_000  # characters: who is to overwrite a message reads all of it first
FRAME = "sandbox allow-popups; default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"


@dataclass(frozen=True)
class Asked:
    """An edit that would leave leads out, waiting for a yes. ``action``: where the yes goes; ``after``: behind which step."""

    message: str
    who: tuple[str, ...]
    action: str
    button: str
    after: int | None = None


@blueprint.get("/<int:campaign_id>/steps")
@requires(READ)
def steps(campaign_id: int) -> Response:
    return _editor(find(campaign_id), whole(request.args.get("step")))


def _editor(campaign: Campaign, step_id: int | None, values: Mapping[str, Any] | None = None, **context: Any) -> Response:
    written = reading.steps(g.client.id, campaign.id)
    step = next((one for one in written if one.id == step_id), written[0] if written else None)
    if step is None:
        return campaign_page("campaigns/start_steps.html", "starters", campaign, "steps", starters=STARTER_SEQUENCES, **context)
    stored = _stored(step)
    shown = stored | dict(values or {})
    seen, problem = _preview(campaign.id, step.id, shown if values else None)
    return campaign_page(
        "campaigns/steps.html", "editor", campaign, "steps", steps=written, step=step, number=written.index(step) + 1, values=shown,
        wait_words=wait_words, variables=reading.variables(g.client.id, campaign.id), preview=seen, preview_problem=problem,
        **{"asked": None, "good": "", "was": (request.form.get("was") if values else None) or editing.version(step),
           "loaded": (request.form.get("loaded") if values else None) or loaded(stored), **context},
    )  # fmt: skip


def _overtaken(campaign: Campaign, step_id: int, values: Mapping[str, Any]) -> Response:
    """Who saves second: the words as typed, and below each field what is stored now and says something else."""
    step = next((one for one in reading.steps(g.client.id, campaign.id) if one.id == step_id), None)
    if step is None:
        raise NotFound
    stored = _stored(step)
    values = with_untouched(values, stored, request.form.get("loaded"))
    errors = stored_now(values, {name: stored[name] for name in TEXTS}, WHOLE)
    if stored_now(values, {name: stored[name] for name in WAIT}):
        errors["delay"] = [t("frame.stored_now", value=wait_words(step))]
    errors = {"form": [t("frame.meanwhile")], **errors}
    return _editor(campaign, step_id, values, status=409, errors=errors, was=editing.version(step), loaded=loaded(stored))


def _stored(step: Step) -> dict[str, Any]:
    return {name: getattr(step, name) for name in (*TEXTS, *WAIT)}


def _preview(campaign_id: int, step_id: int, texts: Mapping[str, Any] | None) -> tuple[Preview | None, str]:
    """The message for the lead asked for; a lead that is gone gives way to the first."""
    public_url = current_app.extensions["settings"].public_url
    lead = whole(request.values.get("lead"))
    for wanted in dict.fromkeys((lead, None)):
        try:
            found = preview(g.client.id, campaign_id, step_id=step_id, lead_id=wanted, texts=texts, public_url=public_url)
            return found, ""
        except NotFound:
            continue
        except ProductError as refused:
            return None, refused.message
    return None, ""


def _typed() -> dict[str, Any]:
    return {name: request.form[name] for name in (*TEXTS, *WAIT) if name in request.form}


def _here(campaign_id: int, step_id: int | None = None) -> str:
    return url_for("campaigns.steps", campaign_id=campaign_id, step=step_id, lead=whole(request.form.get("lead")))


@blueprint.post("/<int:campaign_id>/steps/<int:step_id>")
@requires(DRAFT)
def save_step(campaign_id: int, step_id: int) -> ResponseReturnValue:
    campaign, values = find(campaign_id), _typed()
    demand_editable(campaign)
    then = request.form.get("then", "stay")
    if then == "preview":
        return _editor(campaign, step_id, values)
    try:
        editing.edit_step(g.client.id, campaign_id, step_id, values, by=viewer().id, seen=request.form.get("was"))
    except Invalid as wrong:
        return _editor(campaign, step_id, values, status=422, errors=wrong.details)
    except Conflict as refused:
        if refused.code == "changed_meanwhile":
            return _overtaken(campaign, step_id, values)
        return _editor(campaign, step_id, values, status=409, note=refused.message)
    if then == "next":
        return after_post(following(campaign, "steps"))
    return after_post(_here(campaign_id, step_id), toast=t("campaigns.step_saved"))


@blueprint.post("/<int:campaign_id>/steps/<int:step_id>/preview")
@requires(READ)
def preview_step(campaign_id: int, step_id: int) -> Response:
    """The preview alone, of the texts as typed so far."""
    campaign = find(campaign_id)
    seen, problem = _preview(campaign_id, step_id, _typed())
    step = next((one for one in reading.steps(g.client.id, campaign_id) if one.id == step_id), None)
    if step is None:
        raise NotFound
    return campaign_page("campaigns/steps.html", "preview_block", campaign, "steps", steps=[step], step=step, number=1, values=_typed(),
                         variables=[], preview=seen, preview_problem=problem, asked=None, good="", wait_words=wait_words)  # fmt: skip


@blueprint.get("/<int:campaign_id>/steps/<int:step_id>/html")
@requires(READ)
def step_html(campaign_id: int, step_id: int) -> Response:
    """The HTML of the message as a document of its own: no script, no form, nothing loaded from elsewhere."""
    find(campaign_id)
    if step_id not in {step.id for step in reading.steps(g.client.id, campaign_id)}:
        raise NotFound
    seen, _ = _preview(campaign_id, step_id, None)
    body = sanitise(seen.html).html if seen is not None else ""
    style = "<style>body{font:13.5px/1.5 system-ui,sans-serif;margin:12px;color:#1d1b19;background:#fff;overflow-wrap:anywhere}</style>"
    title = t("campaigns.preview")
    answer = Response(f'<!doctype html><html lang="und"><head><meta charset="utf-8"><title>{title}</title>{style}</head><body>{body}</body></html>')
    answer.headers["Content-Security-Policy"] = FRAME
    answer.headers["X-Frame-Options"] = "SAMEORIGIN"
    return answer


@blueprint.post("/<int:campaign_id>/steps/<int:step_id>/test")
@requires(Permission.CAMPAIGNS_TEST)
def test_step(campaign_id: int, step_id: int) -> ResponseReturnValue:
    """The message as typed, to the person who asks."""
    campaign, values = find(campaign_id), _typed()
    public_url = current_app.extensions["settings"].public_url
    try:
        send_test(
            g.client.id, campaign_id, step_id, user_id=viewer().id, lead_id=whole(request.form.get("lead")),
            texts={name: values[name] for name in TEXTS if name in values}, public_url=public_url,
        )  # fmt: skip
    except Invalid as wrong:
        return _editor(campaign, step_id, values, status=422, errors=wrong.details, note=wrong.message)
    except Conflict as refused:
        return _editor(campaign, step_id, values, status=409, note=refused.message)
    return _editor(campaign, step_id, values, good=t("campaigns.test_sent", email=viewer().email))


@blueprint.post("/<int:campaign_id>/steps")
@requires(DRAFT)
def add_step(campaign_id: int) -> ResponseReturnValue:
    """An empty message behind ``after`` (nothing: the first)."""
    campaign = find(campaign_id)
    demand_editable(campaign)
    after, confirmed = whole(request.form.get("after")), request.form.get("confirmed") == "1"
    values = {} if after is not None else {"delay_value": 0}
    try:
        step = editing.add_step(g.client.id, campaign_id, values, after=after, by=viewer().id, confirmed=confirmed)
    except Invalid as wrong:
        return _editor(campaign, after, status=422, note=" ".join(text for texts in wrong.details.values() for text in texts))
    except Conflict as refused:
        asked = _asked(refused, url_for("campaigns.add_step", campaign_id=campaign_id), "campaigns.confirm_add", after)
        return _editor(campaign, after, status=409, asked=asked, note="" if asked else refused.message)
    return after_post(_here(campaign_id, step.id), toast=t("campaigns.step_added"))


def _asked(refused: Conflict, action: str, button: str, after: int | None = None) -> Asked | None:
    """The question a refusal asks, if it only wants to be confirmed."""
    if refused.code != "needs_confirmation":
        return None
    names = tuple(str(one["name"]) for one in refused.details.get("who", ()))
    return Asked(refused.message, names, action, t(button), after)


@blueprint.post("/<int:campaign_id>/steps/<int:step_id>/remove")
@requires(DRAFT)
def remove_step(campaign_id: int, step_id: int) -> ResponseReturnValue:
    campaign = find(campaign_id)
    demand_editable(campaign)
    try:
        editing.delete_step(g.client.id, campaign_id, step_id, by=viewer().id, confirmed=request.form.get("confirmed") == "1")
    except Conflict as refused:
        here = url_for("campaigns.remove_step", campaign_id=campaign_id, step_id=step_id)
        asked = _asked(refused, here, "campaigns.confirm_delete")
        return _editor(campaign, step_id, status=409, asked=asked, note="" if asked else refused.message)
    return after_post(_here(campaign_id), toast=t("campaigns.step_removed"))


@blueprint.post("/<int:campaign_id>/steps/<int:step_id>/<any(up, down):way>")
@requires(DRAFT)
def move_step(campaign_id: int, step_id: int, way: str) -> ResponseReturnValue:
    campaign = find(campaign_id)
    demand_editable(campaign)
    line = [step.id for step in reading.steps(g.client.id, campaign_id)]
    if step_id not in line:
        raise NotFound
    place = line.index(step_id)
    target = place - 2 if way == "up" else place + 1
    if (way == "up" and place > 0) or (way == "down" and place < len(line) - 1):
        try:
            editing.move_step(g.client.id, campaign_id, step_id, line[target] if target >= 0 else None, by=viewer().id)
        except Conflict as refused:
            return after_post(_here(campaign_id, step_id), toast=refused.message)
    return after_post(_here(campaign_id, step_id))


@blueprint.post("/<int:campaign_id>/steps/starter")
@requires(DRAFT)
def use_starter(campaign_id: int) -> ResponseReturnValue:
    campaign = find(campaign_id)
    demand_editable(campaign)
    try:
        editing.use_starter(g.client.id, campaign_id, request.form.get("key", ""), by=viewer().id)
    except Conflict as refused:
        return after_post(_here(campaign_id), toast=refused.message)
    return after_post(_here(campaign_id), toast=t("campaigns.starter_used"))


def wait_words(step: Step) -> str:
    """``3 working days later``."""
    unit = t(f"campaigns.{'one' if step.delay_value == 1 else 'unit'}_{step.delay_unit}")
    return t("campaigns.after_value", value=step.delay_value, unit=unit)
