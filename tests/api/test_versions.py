"""``version`` by program: what was read must still stand, or the change is refused and nothing is written."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from app.core.extensions import db
from app.models import User
from tests.api.api_client import ApiClient
from tests.factories import first_step, make_campaign, make_client, make_lead, make_mailbox, make_user


def addressed(kind: str) -> tuple[User, str, str]:
    """An admin, the address of one such thing, and a field of it to change."""
    client = make_client()
    user = make_user(client)
    if kind == "leads":
        return user, f"/api/leads/{make_lead(client).id}", "company"
    if kind == "mailboxes":
        return user, f"/api/mailboxes/{make_mailbox(client).id}", "display_name"
    if kind == "steps":
        return user, f"/api/steps/{first_step(make_campaign(client, mailboxes=(make_mailbox(client),))).id}", "subject"
    return user, f"/api/clients/{client.id}", "name"


def read(api: ApiClient, path: str) -> dict[str, Any]:
    if "/steps/" not in path:
        return dict(api.get(path).json)
    campaign = api.get("/api/campaigns").json["items"][0]["id"]
    steps = api.get(f"/api/campaigns/{campaign}/steps").json["items"]
    return next(step for step in steps if path.endswith(f"/{step['id']}"))


@pytest.mark.parametrize("kind", ["leads", "mailboxes", "clients", "steps"])
def test_a_change_of_what_somebody_changed_meanwhile_is_refused(app: Flask, kind: str) -> None:
    user, path, field = addressed(kind)
    api = ApiClient(app).log_in(user)
    seen = read(api, path)["version"]
    first = api.patch(path, {field: "Theirs", "version": seen})
    assert first.status == 200 and first.json[field] == "Theirs" and first.json["version"] != seen
    second = api.patch(path, {field: "Mine", "version": seen})
    assert (second.status, second.json["code"]) == (409, "changed_meanwhile"), second.text
    db.session.expire_all()
    assert read(api, path)[field] == "Theirs"
    assert api.patch(path, {field: "Mine", "version": first.json["version"]}).status == 200
    assert api.patch(path, {field: "Without a word"}).status == 200, "who names no version means it whatever stood there"
