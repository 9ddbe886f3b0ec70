"""The stops as a page: how far one has come, who pressed it, and the button that releases it."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, Response, g, request, url_for
from flask.typing import ResponseReturnValue

from app.blueprints import times
from app.blueprints.access import requires, viewer
from app.blueprints.htmx import after_post, page_or_fragment, wants_fragment
from app.core.errors import Conflict
from app.domain.permissions import Permission
from app.queries import campaigns as reading
from app.queries import ops
from app.services import mailboxes, stops
from app.services.outbox.switches import StopState
from app.strings import t

blueprint = Blueprint("stops", __name__)


@dataclass(frozen=True)
class StopCard:
    """One stop as the page draws it. ``id`` and ``name``: of the campaign or mailbox."""

    kind: str
    state: StopState
    who: ops.Stopped | None
    id: int = 0
    name: str = ""

    @property
    def at(self) -> str:
        """``10:02:11`` of the stop, in the reader's zone."""
        return f"{self.state.stopped_at.astimezone(times.reader_zone()):%H:%M:%S}" if self.state.stopped_at else ""

    @property
    def moving(self) -> bool:
        """Its numbers still change."""
        return bool(self.state.stopping or (self.state.stopped and self.state.outstanding))


def _card(kind: str, scope_id: int, name: str = "") -> StopCard:
    state = stops.state(kind, scope_id)
    return StopCard(kind, state, ops.who_stopped(kind, scope_id) if state.stopped else None, scope_id, name)


@blueprint.get("/c/<slug>/stop")
@requires(Permission.CLIENT_READ)
def client() -> Response:
    return _client()


def _client() -> Response:
    card = _card(stops.CLIENT, g.client.id)
    campaigns = [_card(stops.CAMPAIGN, row.id, row.name) for row in ops.stoppable_campaigns(g.client.id)]
    senders = [_card(stops.SENDER, row.id, row.name) for row in ops.stoppable_senders(g.client.id)]
    return page_or_fragment(
        "settings/stop.html", "cards", card=card, campaigns=campaigns, senders=senders, above=stops.state(stops.INSTANCE, 0),
        moving=any(one.moving for one in (card, *campaigns, *senders)),
    )  # fmt: skip


@blueprint.post("/c/<slug>/stop/<any(stop, release):action>")
@requires(Permission.CLIENT_STOP)
def turn_client(action: str) -> ResponseReturnValue:
    if action == "stop":
        stops.stop(stops.CLIENT, g.client.id, by=viewer().id, reason=_reason(), tell=[g.client.id])
    else:
        stops.release(stops.CLIENT, g.client.id, by=viewer().id, tell=[g.client.id])
    return _client() if wants_fragment() else after_post(url_for(".client"), toast=_toast(action))


@blueprint.post("/c/<slug>/stop/campaign/<int:campaign_id>/<any(stop, release):action>")
@requires(Permission.CAMPAIGNS_STOP)
def turn_campaign(campaign_id: int, action: str) -> ResponseReturnValue:
    reading.campaign(g.client.id, campaign_id)  # a stranger's does not exist
    return _turn_one(stops.CAMPAIGN, campaign_id, action)


@blueprint.post("/c/<slug>/stop/mailbox/<int:mailbox_id>/<any(stop, release):action>")
@requires(Permission.MAILBOXES_MANAGE)
def turn_mailbox(mailbox_id: int, action: str) -> ResponseReturnValue:
    mailboxes.find(g.client.id, mailbox_id)
    return _turn_one(stops.SENDER, mailbox_id, action)


def _turn_one(kind: str, scope_id: int, action: str) -> ResponseReturnValue:
    toast = _toast(action)
    try:
        if action == "stop":
            stops.stop_one(kind, g.client.id, scope_id, by=viewer().id, reason=_reason())
        else:
            stops.release_one(kind, g.client.id, scope_id, by=viewer().id)
    except Conflict as refused:
        toast = refused.message
    return _client() if wants_fragment() else after_post(url_for(".client"), toast=toast)


def _reason() -> str:
    return request.form.get("reason", "")[:500]


@blueprint.get("/operations/stop")
@requires(Permission.INSTANCE_STOP)
def instance() -> Response:
    return _instance()


def _instance() -> Response:
    card = _card(stops.INSTANCE, 0)
    return page_or_fragment("settings/stop_all.html", "cards", card=card, moving=card.moving, recovery=ops.recovery_notice())


@blueprint.post("/operations/stop/<any(stop, release):action>")
@requires(Permission.INSTANCE_STOP)
def turn_instance(action: str) -> ResponseReturnValue:
    everybody = [seat.id for seat in viewer().seats]
    toast = _toast(action)
    try:
        if action == "stop":
            stops.stop(stops.INSTANCE, 0, by=viewer().id, reason=_reason(), tell=everybody)
        else:
            stops.release(stops.INSTANCE, 0, by=viewer().id, tell=everybody)
    except Conflict as refused:
        toast = refused.message
    return _instance() if wants_fragment() else after_post(url_for(".instance"), toast=toast)


def _toast(action: str) -> str:
    return t("settings.was_stopped" if action == "stop" else "settings.was_released")
