"""What every page shares: the menu, the words and macros of templates, the nonce, and the security headers.

Templates: ``{% extends "base.html" %}``, blocks ``title``, ``heading``, ``actions``, ``content``. Globals: ``t``, ``ui`` (macros of
components/ui.html), ``hx()`` (the nonce attribute each element with hx-* needs), ``nonce()`` for scripts, ``csrf_field()``,
``moment()``, ``may(Permission name)``, ``client``, ``viewer``, ``now()``. No ``style=`` attributes: the policy forbids them.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from flask import Flask, Response, current_app, g, request, url_for
from htmx_flask import Htmx
from markupsafe import Markup
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.middleware.proxy_fix import ProxyFix

from app.blueprints import times
from app.blueprints.in_words import changes_in_words, field_in_words, in_words
from app.core import clock
from app.core.config import Settings
from app.domain.permissions import Permission
from app.domain.zones import sorted_zones
from app.queries import ops
from app.strings import t


@dataclass(frozen=True)
class NavItem:
    """One section of the menu; shown when its endpoint exists and the viewer may see it."""

    key: str  # also the name of the counter beside it
    icon: str
    endpoint: str
    permission: Permission

    @property
    def label(self) -> str:
        return t(f"frame.{self.key}")


NAV: list[NavItem] = [
    NavItem("inbox", "inbox", "inbox.index", Permission.INBOX_READ),
    NavItem("campaigns", "send", "campaigns.index", Permission.CAMPAIGNS_READ),
    NavItem("leads", "users", "leads.index", Permission.LEADS_READ),
    NavItem("mailboxes", "mail", "mailboxes.index", Permission.MAILBOXES_READ),
    NavItem("settings", "settings", "settings.index", Permission.SETTINGS_READ),
]


#: Surfaces without an entry of their own, and under which one they stand.
BELONGS = {"suppressions": "settings", "stops": "settings", "imports": "leads"}


class MacroFile:
    """The macros of one template, looked up when used, so that whole pages and single blocks reach them alike."""

    def __init__(self, app: Flask, template: str) -> None:
        self._app, self._template = app, template

    def __getattr__(self, name: str) -> Any:
        return getattr(self._app.jinja_env.get_template(self._template).module, name)


def nonce() -> str:
    """This response's nonce, made when first asked for."""
    if "nonce" not in g:
        g.nonce = secrets.token_urlsafe(18)
    return str(g.nonce)


def hx() -> Markup:
    """The attribute without which hx-csp takes every hx-* attribute off an element."""
    return Markup(f'hx-nonce="{nonce()}"')  # letters and digits of our own: nothing to escape, and a list asks for it in every row


def csrf_field() -> Markup:
    """The hidden field every form that changes something carries."""
    from app.blueprints.sessions import csrf_token

    return Markup('<input type="hidden" name="csrf_token" value="{}">').format(csrf_token())


def icon(name: str, size: int = 18) -> Markup:
    """An icon of the sprite; decoration only, the word beside it carries the meaning."""
    return _drawn(name, size, request.script_root)


@lru_cache(maxsize=1_000)
def _drawn(name: str, size: int, _below: str) -> Markup:
    """Drawn once for each place the product may stand below: a page shows dozens."""
    return Markup('<svg class="icon" width="{0}" height="{0}" aria-hidden="true"><use href="{1}#{2}"/></svg>').format(
        size, url_for("static", filename="vendor/icons.svg"), name
    )


def may(permission: Permission | str) -> bool:
    """May the viewer do this in the client of this page? For hiding what cannot be pressed."""
    return g.get("viewer") is not None and g.viewer.may(Permission(permission), g.get("client"))


def recovery_notice() -> str:
    """Why nothing is sent at all until an operator acts; never an error of its own.

    A page that says what went wrong asks the database nothing more: its transaction is over, and perhaps the database is away.
    """
    if g.get("in_error"):
        return ""
    try:
        return ops.recovery_notice()
    except SQLAlchemyError:
        return ""


def menu() -> list[NavItem]:
    known = current_app.view_functions
    return [item for item in NAV if item.endpoint in known and may(item.permission)]


def here(item: NavItem) -> bool:
    surface = (request.endpoint or "").split(".")[0]
    return BELONGS.get(surface, surface) == item.endpoint.split(".")[0]


def security_headers(response: Response) -> Response:
    """The same wall around every answer; a view that needs another policy (the mail frame) sets its own header first."""
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce()}'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        "connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; manifest-src 'self'"
    )
    headers = response.headers
    headers.setdefault("Content-Security-Policy", policy)
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("X-Frame-Options", "DENY")
    headers.setdefault("Referrer-Policy", "same-origin")
    headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
    headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
    headers.setdefault("Permissions-Policy", "camera=(), microphone=(), geolocation=(), payment=()")
    if current_app.extensions["settings"].behind_https:
        headers.setdefault("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
    if request.endpoint != "static" or response.status_code >= 400:
        headers.setdefault("Cache-Control", "no-store")
    return response


def _context() -> dict[str, Any]:
    return {
        "viewer": g.get("viewer"),
        "client": g.get("client"),
        "rehearsal": current_app.extensions["settings"].rehearsal,
    }


def bind(app: Flask, settings: Settings) -> None:
    """Give templates their globals and every response its headers."""
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.globals.update(
        t=t, ui=MacroFile(app, "components/ui.html"), hx=hx, nonce=nonce, csrf_field=csrf_field, icon=icon, may=may, menu=menu,
        here=here, now=clock.now, factor=clock.factor, moment=times.moment, short_time=times.short, day_name=times.day_name,
        full_time=times.full, agent_name=times.agent_name, all_zones=sorted_zones,
        settings=settings, recovery_notice=recovery_notice,
        in_words=in_words, field_in_words=field_in_words, changes_in_words=changes_in_words, macros=lambda template: MacroFile(app, template),
    )  # fmt: skip
    if settings.behind_https:  # exactly one proxy is believed
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1)  # type: ignore[method-assign]
    Htmx(app)  # request.htmx
    app.context_processor(_context)
    app.before_request(_forget_nonce)
    app.after_request(security_headers)
    app.url_value_preprocessor(_take_slug)
    app.url_defaults(_give_slug)


def _forget_nonce() -> None:
    g.pop("nonce", None)
    g.pop("toasts", None)


def _take_slug(_endpoint: str | None, values: dict[str, Any] | None) -> None:
    g.slug = values.pop("slug", None) if values else None


def _give_slug(endpoint: str, values: dict[str, Any]) -> None:
    if "slug" not in values and g.get("client") and current_app.url_map.is_endpoint_expecting(endpoint, "slug"):
        values["slug"] = g.client.slug
