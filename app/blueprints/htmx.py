"""A page or a fragment of it: decided by what htmx asks for, never by the permission.

``return page_or_fragment("leads/index.html", "rows", leads=leads)`` renders the whole page, or only ``{% block rows %}`` when htmx
wants a partial. Forms: 303 after success (``after_post``), 422 with the form's block on invalid input (``status=422``).
"""

from __future__ import annotations

import json
from typing import Any

from flask import Response, current_app, g, make_response, redirect, render_template, request
from markupsafe import Markup


def wants_fragment() -> bool:
    """True for a partial request of htmx; False for Back, boosted links and ordinary loads."""
    return request.headers.get("HX-Request-Type") == "partial"


def render_block(template: str, block: str, **context: Any) -> Markup:
    """One block of a template, without the rest of the page. Macros come from the global ``ui``, not from imports above."""
    found = current_app.jinja_env.get_template(template)
    current_app.update_template_context(context)
    return Markup("".join(found.blocks[block](found.new_context(context))))


def page_or_fragment(template: str, block: str | None = None, *, status: int = 200, **context: Any) -> Response:
    """The whole template, or ``block`` of it when htmx asked for a part."""
    if block is not None and wants_fragment():
        answer = make_response(render_block(template, block, **context), status)
    else:
        answer = make_response(render_template(template, **context), status)
    answer.vary.update(["HX-Request", "HX-Request-Type"])
    return answer


def after_post(url: str, *, toast: str | None = None) -> Response:
    """303 to ``url``; htmx is told to load it as a page. ``toast`` is shown there."""
    if toast:
        remember_toast(toast)
    if wants_fragment():
        answer = make_response("", 204)
        answer.headers["HX-Redirect"] = url
        return answer
    return redirect(url, 303)  # type: ignore[return-value]


def remember_toast(text: str) -> None:
    """Show ``text`` once on the next page this browser loads (a short-lived cookie; plain text)."""
    g.setdefault("toasts", []).append(text)


def trigger(answer: Response, **events: Any) -> Response:
    """Let htmx raise events on the page: ``trigger(answer, toast={"text": "Saved."})``."""
    answer.headers["HX-Trigger"] = json.dumps(events)
    return answer
