"""A sentence shown once on the next page: carried by a short-lived cookie, so that a redirect needs no table."""

from __future__ import annotations

import json
from urllib.parse import quote, unquote

from flask import Flask, Response, g, request

from app.blueprints import sessions

LONGEST = 300


def page_toasts() -> list[str]:
    """What this page shall say; once read it is gone."""
    raw = request.cookies.get(sessions.cookie_name("toast"), "")
    if not raw:
        return []
    g.toasts_shown = True
    try:
        found = json.loads(unquote(raw))
    except ValueError:
        return []
    return [text[:LONGEST] for text in found if isinstance(text, str)][:3] if isinstance(found, list) else []


def _carry(answer: Response) -> Response:
    texts = g.pop("toasts", None)
    if texts:
        sessions.set_cookie(answer, "toast", quote(json.dumps([text[:LONGEST] for text in texts[:3]])), 30)
    elif g.pop("toasts_shown", False):
        sessions.drop_cookie(answer, "toast")
    return answer


def bind(app: Flask) -> None:
    app.jinja_env.globals["page_toasts"] = page_toasts
    app.jinja_env.globals["csrf_token"] = sessions.csrf_token
    app.after_request(_carry)
    app.after_request(sessions.guest_cookie)
