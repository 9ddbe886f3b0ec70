"""A client with a row of every kind, and everybody who may knock at the API: who they are and which token they send."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache

from flask import Flask

from app.blueprints import sessions
from app.blueprints.api.core import OPERATIONS, Operation
from app.core.db import Scope, transaction
from app.core.extensions import db
from app.models import User
from app.services import api_keys
from tests import factories as make
from tests.web.page_client import as_web
from tests.web.test_no_accident import World, build

#: Of what has no client: which id its address means.
BARE = {"/admin/webhooks": "source_id", "/admin/arrivals": "arrival_id"}
GARBAGE = "nobody.knows.this"


def label_of(operation: Operation) -> str:
    """``GET /api/leads/{row_id}``, as the description calls it."""
    path = re.sub(r"<(?:[^:<>]+:)?([a-z_]+)>", r"{\1}", operation.address)
    return f"{operation.method} {path}"


@cache
def operations() -> dict[str, Operation]:
    return {label_of(operation): operation for operation in OPERATIONS}


@dataclass
class House:
    """``ids``: by the name of a parameter or field; ``tokens``: by who sends them ("" for nobody)."""

    app: Flask
    ours: World
    tokens: dict[str, str] = field(default_factory=dict)

    def row_of(self, label: str) -> int | None:
        """The row that ``row_id`` in this operation's address should name, for those that name one."""
        operation = operations().get(label)
        if operation is None or "row_id" not in operation.path:
            return None
        if operation.object_of is not None:
            return self.ours.by_model[operation.object_of.__name__]
        return self.ours.ids[BARE[operation.path.split("/<int:row_id>")[0]]]


def furnish(app: Flask) -> House:
    """``app`` is the product whose requests run as the web role; its database must be empty."""
    ours = build("Ours", "ours")
    ours.ids["user_id"] = make.make_user(ours.client, "agent").id
    house = House(app, ours, {"nobody": "", "a wrong token": GARBAGE})
    people = {role: make.make_user(ours.client, role) for role in ("viewer", "agent", "admin")}
    people["operator"] = make.make_user(is_operator=True)
    house.tokens |= {role: _log_in(app, user) for role, user in people.items()}
    house.tokens |= {f"{scope} key": _make_key(app, ours.client.id, people["admin"].id, scope) for scope in ("read", "write")}
    return house


def _make_key(app: Flask, client_id: int, user_id: int, scope: str) -> str:
    def make_it() -> str:
        with app.test_request_context(), transaction(Scope(user_id, client_id, (client_id,))):
            return api_keys.create(client_id, user_id, f"{scope} key", scope, None)[1]

    return str(as_web(make_it))


def _log_in(app: Flask, user: User) -> str:
    user_id = user.id

    def begin() -> str:
        with app.test_request_context(), transaction():
            return str(sessions.start_api_session(db.session.get_one(User, user_id))["access_token"])

    return str(as_web(begin))
