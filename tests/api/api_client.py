"""An outsider's program: JSON in, JSON out, a Bearer token, every answer checked against the published description.

``api = ApiClient(app).log_in(user)``; ``api.get("/api/leads").json``; ``api.post("/api/clients", {...})``. Give it the fixture ``app``;
its requests run over connections of the web role.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from flask import Flask

from app.blueprints import sessions
from app.core.db import transaction
from app.core.extensions import db
from app.models import User
from tests.web.page_client import as_web, web_app


@dataclass(frozen=True)
class Answer:
    status: int
    json: Any
    headers: dict[str, str]
    text: str

    @property
    def code(self) -> str:
        return str(self.json["code"])

    @property
    def details(self) -> dict[str, Any]:
        return dict(self.json["details"])


class ApiClient:
    def __init__(self, app: Flask) -> None:
        self.app = web_app(app)
        self.client = self.app.test_client(use_cookies=False)
        self.token = ""

    def log_in(self, user: User) -> ApiClient:
        """A real API session without the password."""
        user_id = user.id

        def begin() -> str:
            with self.app.test_request_context(), transaction():
                return str(sessions.start_api_session(db.session.get_one(User, user_id))["access_token"])

        self.token = as_web(begin)
        return self

    def get(self, path: str, **options: Any) -> Answer:
        return self.send("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> Answer:
        return self.send("POST", path, json=body if body is not None else {}, **options)

    def patch(self, path: str, body: Any, **options: Any) -> Answer:
        return self.send("PATCH", path, json=body, **options)

    def delete(self, path: str, **options: Any) -> Answer:
        return self.send("DELETE", path, **options)

    def upload(self, path: str, form: dict[str, Any], **options: Any) -> Answer:
        """multipart/form-data; files as ``(io.BytesIO(b"…"), "leads.csv")``."""
        return self.send("POST", path, data=form, content_type="multipart/form-data", **options)

    def send(self, method: str, path: str, **options: Any) -> Answer:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        headers |= options.pop("headers", {})
        response = as_web(lambda: self.client.open(path, method=method, headers=headers, **options))
        answer = Answer(
            response.status_code,
            response.get_json(silent=True),
            dict(response.headers),
            response.get_data(as_text=True),
        )
        check_described(self.app, method, path.split("?")[0], answer)
        return answer


@cache
def _described(app: Flask) -> list[tuple[re.Pattern[str], dict[str, Any]]]:
    from app.blueprints.api.openapi import build

    document = build()
    return [
        (re.compile(re.sub(r"\{\w+\}", r"[^/]+", path) + "$"), operations)
        for path, operations in document["paths"].items()
    ]


def check_described(app: Flask, method: str, path: str, answer: Answer) -> None:
    """The status is one the description names; refusals have the one shape; nothing is an accident."""
    if not path.startswith("/api/") or path == "/api/stream":
        return
    assert answer.status < 500, answer.text
    if answer.status >= 400:
        assert set(answer.json) == {"code", "message", "details"}, answer.text
    for pattern, operations in _described(app):
        if pattern.match(path) and method.lower() in operations:
            assert str(answer.status) in operations[method.lower()]["responses"], (
                f"{method} {path}: {answer.status} is not described"
            )
