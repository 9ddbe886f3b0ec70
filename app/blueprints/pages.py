"""The ways in: home, the choice of a client, making one, and the live card of the sidebar."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import Blueprint, Response, g, redirect, request, url_for
from flask.typing import ResponseReturnValue

from app.blueprints import frame
from app.blueprints.access import public, requires, signed_in, viewer
from app.blueprints.htmx import after_post, page_or_fragment, wants_fragment
from app.core import clock
from app.core.errors import Invalid
from app.core.extensions import db
from app.domain.permissions import Permission
from app.domain.working_time import day_start, local_date
from app.models import User
from app.queries import live
from app.services.clients import FIELDS, create_client
from app.strings import t

blueprint = Blueprint("pages", __name__)


@blueprint.get("/")
@public
def home() -> ResponseReturnValue:
    """To the only client, to the choice, to making the first one, or to the login."""
    if g.viewer is None:
        return redirect(url_for("auth.log_in"))
    seats = g.viewer.member_seats or g.viewer.seats
    if len(seats) == 1:
        return redirect(url_for("pages.client_home", slug=seats[0].slug))
    return redirect(url_for("pages.clients"))


@blueprint.get("/c/<slug>/")
@requires(Permission.CLIENT_READ)
def client_home() -> ResponseReturnValue:
    """The first section of the menu this viewer may see."""
    sections = frame.menu()
    return redirect(url_for(sections[0].endpoint) if sections else url_for("pages.clients"))


@blueprint.get("/c/<slug>/live-card")
@requires(Permission.CLIENT_READ)
def live_card() -> ResponseReturnValue:
    """A part of every page; opened by itself it leads to one."""
    if not wants_fragment():
        return redirect(url_for("pages.client_home"))
    return page_or_fragment("components/live_card.html")


@blueprint.get("/clients")
@signed_in
def clients() -> Response:
    return page_or_fragment("auth/clients.html")


@blueprint.get("/clients/new")
@requires(Permission.CLIENTS_MANAGE)
def new_client() -> Response:
    return page_or_fragment("auth/new_client.html", values={"timezone": viewer().timezone, "language": "en"}, errors={})


@blueprint.post("/clients/new")
@requires(Permission.CLIENTS_MANAGE)
def make_client() -> Response:
    values: dict[str, Any] = {key: request.form.get(key, "").strip() for key in FIELDS}
    try:
        client = create_client(values, db.session.get_one(User, viewer().id))
    except Invalid as wrong:
        return page_or_fragment("auth/new_client.html", "form", status=422, values=values, errors=wrong.details)
    return after_post(url_for("pages.client_home", slug=client.slug), toast=t("clients.created", name=client.name))


def live_figures() -> live.LiveFigures:
    """For the sidebar; zeros on error pages, whose transaction is over."""
    if g.get("client") is None or g.get("in_error"):
        return live.NOTHING
    today = local_date(g.client.timezone, clock.now())
    return live.live_figures(g.client.id, day_start(g.client.timezone, today), day_start(g.client.timezone, today + timedelta(days=1)))


@blueprint.record_once
def _globals(state: Any) -> None:
    state.app.jinja_env.globals["live_figures"] = live_figures
