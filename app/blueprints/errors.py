"""Refusals and accidents as pages (or as JSON below /api): each says what happened and what to do, none shows our insides."""

from __future__ import annotations

import logging
import secrets
from typing import Any
from urllib.parse import urlencode, urlsplit

from flask import Blueprint, Flask, Response, current_app, g, jsonify, make_response, redirect, render_template
from htmx_flask import request
from sqlalchemy.exc import InterfaceError, OperationalError, ProgrammingError, SQLAlchemyError
from werkzeug.exceptions import HTTPException

from app.blueprints.htmx import wants_fragment
from app.core.errors import ProductError, TooMany, Unauthenticated
from app.core.extensions import db
from app.queries.instance import database_at_head
from app.services.access import SECOND_FACTOR_REQUIRED
from app.strings import CATALOGUE, t

log = logging.getLogger("emberpost.web")
blueprint = Blueprint("errors", __name__)

CODES = {
    400: "bad_request", 401: "unauthenticated", 403: "forbidden", 404: "not_found", 405: "method_not_allowed", 406: "not_acceptable",
    408: "timeout", 409: "conflict", 413: "too_large", 414: "too_large", 415: "unsupported_media_type", 416: "bad_range", 422: "invalid",
    429: "too_many_requests", 431: "too_large", 503: "unavailable",
}  # fmt: skip


def wants_json() -> bool:
    return request.path.startswith(("/api/", "/webhooks/", "/campaigns/", "/subscribers/", "/system/")) or request.path in {
        "/api",
        "/openapi.json",
        "/health",
        "/healthz",
        "/readyz",
        "/subscribers",
    }


def bind(app: Flask) -> None:
    app.register_error_handler(ProductError, refused)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(OperationalError, _ledger_away)
    app.register_error_handler(InterfaceError, _ledger_away)
    app.register_error_handler(ProgrammingError, _perhaps_behind)
    app.register_error_handler(Exception, _broken)


def _write_down(error: ProductError) -> None:
    """Who was refused what, for those who look after the installation. Nothing that was sent is repeated."""
    person, slug = g.get("viewer"), g.get("slug")
    elsewhere = error.status == 404 and person is not None and slug is not None and person.seat(slug=slug) is None
    if not elsewhere and error.status not in {401, 403, 429}:
        return
    if error.code == "unauthenticated" and not wants_json():  # a page that asks for a login refuses nobody
        return
    facts = {
        "code": "not_theirs" if elsewhere else error.code, "method": request.method, "endpoint": request.endpoint,
        "user": person.id if person else None, "address": request.remote_addr,
    }  # fmt: skip
    log.info("refused", extra={"facts": facts})


def refused(error: ProductError) -> Response:
    _write_down(error)
    if isinstance(error, Unauthenticated) and not wants_json() and g.get("viewer") is None:
        return to_login()
    if error.code == SECOND_FACTOR_REQUIRED and not wants_json():
        return _to("/profile/second-factor", 403)
    answer = _answer(error.status, error.code, error.message, error.details)
    if isinstance(error, TooMany):
        answer.headers["Retry-After"] = str(error.retry_after_s)
    if error.status == 401 and wants_json():
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


def _http(error: HTTPException) -> Response:
    status = error.code or 500
    if 300 <= status < 400 or error.response is not None:
        return make_response(error.get_response())
    if status == 405 and request.method in {"GET", "HEAD"} and not wants_json() and not wants_fragment():
        above = _page_above(request.path)
        if above:
            return redirect(above)  # type: ignore[return-value]
    answer = _answer(status, CODES.get(status, "error"), _sentence(status, error))
    for name, value in error.get_headers(request.environ):
        if name in {"Allow", "Retry-After"}:
            answer.headers[name] = value
    return answer


def _page_above(path: str) -> str:
    """The nearest page over an address that only takes forms: a refused form's page has it, and a reload or a login leads back to it."""
    routes = current_app.url_map.bind_to_environ(request.environ)
    parts = path.rstrip("/").split("/")
    above = ("/".join(parts[:length]) + slash for length in range(len(parts) - 1, 1, -1) for slash in ("", "/"))
    return next((page for page in above if routes.test(page, "GET")), "")


def _sentence(status: int, error: HTTPException) -> str:
    if wants_json() and f"errors.api_{status}" in CATALOGUE:
        return t(f"errors.api_{status}", method=request.method)
    if f"errors.{status}" in CATALOGUE and status not in {500}:
        from app.blueprints.sessions import settings

        return t(f"errors.{status}", mb=settings().max_upload_mb)
    return error.description or error.name


def _ledger_away(error: Exception) -> Response:
    log.error("the database cannot be reached", exc_info=error)
    answer = _answer(503, "unavailable", t("errors.503"))
    answer.headers["Retry-After"] = "5"
    return answer


#: What PostgreSQL says about a column, table or function that a newer migration makes.
_UNKNOWN_TO_DATABASE = {"42703", "42P01", "42883"}


def _perhaps_behind(error: ProgrammingError) -> Response:
    """A database older than this code lacks what the code asks for: that has a plain answer. Everything else is our fault."""
    if getattr(error.orig, "sqlstate", "") in _UNKNOWN_TO_DATABASE and _behind():
        log.error("the database is older than this code: run `flask db upgrade`", exc_info=error)
        return _answer(503, "migrations_pending", t("errors.behind"))
    return _broken(error)


def _behind() -> bool:
    try:
        with db.engine.connect() as connection:
            return not database_at_head(connection)
    except SQLAlchemyError:
        return False


def _broken(error: Exception) -> Response:
    reference = secrets.token_hex(4)
    log.error("request failed, reference %s: %s %s", reference, request.method, request.path, exc_info=error)
    return _answer(500, "internal", t("errors.500", reference=reference))


def _answer(status: int, code: str, message: str, details: dict[str, Any] | None = None) -> Response:
    if wants_json():
        return make_response(jsonify({"code": code, "message": message, "details": details or {}}), status)
    if wants_fragment():
        answer = make_response(message, status)
        answer.mimetype = "text/plain"
        return answer
    g.in_error = True  # the request's transaction is over: the frame shows no figures
    title = next(t(key) for key in (f"errors.{code}_title", f"errors.{status}_title", "errors.400_title") if key in CATALOGUE)
    return make_response(
        render_template("errors/error.html", status=status, error_title=title, message=message, back=_page_of_the_form()), status
    )


def _page_of_the_form() -> str:
    """The page whose form was refused without having a place of its own for the reason; empty for an address somebody opened."""
    return _wanted_page() if request.method == "POST" else ""


def to_login() -> Response:
    """Pages go to the login and come back; a fragment says so to the page, which first keeps what was typed."""
    return _to("/login", 401)


def _to(target: str, status: int) -> Response:
    """There, with the way back; htmx is told by ``status`` and a header."""
    wanted = _wanted_page()
    if wanted:
        target += "?" + urlencode({"next": wanted})
    if request.htmx:
        answer = make_response("", status)
        answer.headers["HX-Redirect"] = target
        return answer
    return redirect(target, 303 if request.method == "POST" else 302)  # type: ignore[return-value]


def _wanted_page() -> str:
    """Where to return to: the page itself for a GET, the page that held the form or fragment otherwise. Same origin only."""
    if request.htmx:
        source = urlsplit(request.htmx.current_url or "")
    elif request.method in {"GET", "HEAD"}:
        source = urlsplit(request.full_path.rstrip("?"))
    else:
        source = urlsplit(request.headers.get("Referer", ""))
    if source.netloc and source.netloc != request.host:
        return ""
    path = source.path + (f"?{source.query}" if source.query else "")
    return "" if path in {"", "/"} else path
