"""Whose token it is, looked up once for the requests of one caller to one route, which differ by ids alone.

The product's two functions that find the viewer are given nothing but the request's token, and every request begins with the same
rows, as the one before was taken back: asked again they find the same. The first request of each caller to each route asks them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from flask import g, request

from app.blueprints import sessions
from app.core.db import Scope, current_scope, enter_scope
from app.core.errors import ProductError
from app.services import audit


@dataclass(frozen=True)
class _Found:
    """Everything that finding the viewer leaves behind."""

    viewer: Any
    scope: Scope
    csrf: str | None
    address: str


class Logins:
    """Remembers until told to ``forget``."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], _Found] = {}
        self._refused: dict[str, ProductError] = {}

    def forget(self) -> None:
        self._known.clear()
        self._refused.clear()

    def install(self, patch: pytest.MonkeyPatch) -> None:
        by_cookie, by_bearer = sessions.viewer_of_cookie, sessions.viewer_of_bearer

        def viewer_of_cookie() -> Any:
            return self._once(("page", request.headers.get("Cookie", "")), by_cookie)

        def viewer_of_bearer(*, required: bool) -> Any:
            token = request.headers.get("Authorization", "")
            found = self._once(("api", token), lambda: by_bearer(required=False))
            return found if found is not None or not required else self._refuse(token, lambda: by_bearer(required=True))

        patch.setattr(sessions, "viewer_of_cookie", viewer_of_cookie)
        patch.setattr(sessions, "viewer_of_bearer", viewer_of_bearer)

    def _refuse(self, token: str, ask: Callable[[], Any]) -> Any:
        """``ask`` says what is missing: the same whenever it is asked with the same token."""
        if token not in self._refused:
            try:
                return ask()
            except ProductError as refusal:
                self._refused[token] = refusal
        said = self._refused[token]
        raise type(said)(said.message, code=said.code, details=said.details)

    def _once(self, token: tuple[str, str], find: Callable[[], Any]) -> Any:
        found = self._known.get(token)
        if found is None:
            viewer = find()
            self._known[token] = _Found(viewer, current_scope(), g.get("csrf"), audit.caller_address.get())
            return viewer
        audit.caller_address.set(found.address)
        if found.csrf is not None:
            g.csrf = found.csrf
        if found.viewer is not None:
            enter_scope(found.scope)
        return found.viewer
