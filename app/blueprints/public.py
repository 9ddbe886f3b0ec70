"""What everybody may reach without an account: the way out of a campaign.

GET only shows (scanners follow every link); POST acts, at once and without cookie, redirect or CSRF token: the token in the path is
the right, and mail programs post it by themselves (RFC 8058).
"""

from __future__ import annotations

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue
from sqlalchemy import text

from app.blueprints.access import unguarded
from app.core.db import Scope, transaction
from app.services import suppressions
from app.services.suppressions import WayOut

blueprint = Blueprint("public", __name__)


@blueprint.get("/u/<token>")
@unguarded
def leave(token: str) -> ResponseReturnValue:
    """Ask. Changes nothing."""
    way = suppressions.open_unsubscribe_token(token)
    if way is None:
        return render_template("public/leave.html", state="unknown"), 404
    return render_template("public/leave.html", state="asked", email=way.email, client_name=_client_name(way))


@blueprint.post("/u/<token>")
@unguarded
def left(token: str) -> ResponseReturnValue:
    """Act: from the page's button or from the mail program's own one-click."""
    way = suppressions.open_unsubscribe_token(token)
    if way is None:
        return render_template("public/leave.html", state="unknown"), 404
    source = "one_click" if request.form.get("List-Unsubscribe") == "One-Click" else "page"
    with transaction(Scope(client_id=way.client_id)):
        suppressions.unsubscribe(token, source)
    return render_template("public/leave.html", state="done", email=way.email, client_name=_client_name(way))


def _client_name(way: WayOut) -> str:
    """The name the recipient knows, as long as the client exists."""
    with transaction(Scope(client_id=way.client_id)) as session:
        found = session.execute(text("SELECT name FROM clients WHERE id = :id"), {"id": way.client_id}).scalar()
    return str(found or "")
