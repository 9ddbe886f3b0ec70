"""A service that calls our webhooks: signs as the specification says, and repeats until it hears 2xx."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from flask import Flask

from app.core.db import transaction
from app.domain.webhook_proof import sign
from app.services import webhooks
from tests.web.page_client import as_web, web_app


@dataclass
class Caller:
    """One registered source and the service behind it. Calls go through the real route as the web role."""

    app: Flask
    id: int
    token: str
    secret: str
    header: str = ""
    numbers: list[int] = field(default_factory=lambda: [0])

    def call(
        self, payload: Any, event_id: str | None = None, *, at: datetime | None = None, headers: dict[str, str] | None = None, token: str | None = None
    ) -> Any:
        """POST ``payload`` (bytes as they are, anything else as JSON), proven; returns the response."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        client = self.app.test_client()
        sent = self.proof(body, event_id, at) if headers is None else headers
        path = f"/webhooks/{self.token if token is None else token}"
        return as_web(lambda: client.post(path, data=body, headers=sent, content_type="application/json"))

    def proof(self, body: bytes, event_id: str | None = None, at: datetime | None = None) -> dict[str, str]:
        if self.header:
            return {self.header: self.secret}
        self.numbers[0] += 1
        return sign(event_id or f"evt-{self.numbers[0]}", at or datetime.now(UTC), body, self.secret)


def make_caller(app: Flask, verifier: str = "standard_webhooks", **values: Any) -> Caller:
    with transaction():
        source, secret = webhooks.add(values.pop("name", "Carrier"), verifier, by=None, **values)
        return Caller(web_app(app), source.id, webhooks.token_of(source), secret, source.header)


def mail_event(event: str, message_id: str, **values: Any) -> dict[str, Any]:
    return {"type": "emberpost.mail-event", "event": event, "message_id": message_id, **values}
