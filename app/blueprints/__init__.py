"""The HTTP edge: each module below exposes ``blueprint``; this list is the only place that knows them all."""

from __future__ import annotations

from importlib import import_module

from flask import Flask

from app.core.config import Settings

#: One name per line: builders of a surface add theirs.
MODULES: tuple[str, ...] = (
    "errors",
    "pages",
    "auth",
    "admission",
    "second_factor",
    "stream",
    "health",
    "public",
    "webhooks",
    "sources",
    "arrivals",
    "mailboxes",
    "ops",
    "stops",
    "settings",
    "members",
    "trail",
    "api_keys",
    "outgoing",
    "suppressions",
    "deliveries",
    "inbox",
    "inbox_actions",
    "mail_frame",
    "campaigns",
    "leads",
    "imports",
    "api",
    "original_names",
)


def register(app: Flask, settings: Settings) -> None:
    """Bind the frame, register every blueprint of MODULES, and refuse to start with a route that declares no permission."""
    from app.blueprints import access, converters, errors, frame, sessions, toasts

    converters.bind(app)
    sessions.bind(app, settings)
    frame.bind(app, settings)
    toasts.bind(app)
    errors.bind(app)
    for name in MODULES:
        app.register_blueprint(import_module(f"app.blueprints.{name}").blueprint)
    access.unguarded(app.view_functions["static"])
    access.seal(app)
