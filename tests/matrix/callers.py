"""Everybody who may come: each with the tokens of both realms, pages (cookie) and API (Bearer), made by the product itself."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from flask import Flask

from app.blueprints import sessions
from app.core.clock import machine_now
from app.core.db import transaction
from app.core.extensions import db
from app.core.tokens import new_token, token_hash
from app.domain.permissions import Permission, allowed
from app.models import ApiKey, User, UserSession
from app.services import api_keys
from app.services.access import NEVER_BY_KEY
from tests import factories as make
from tests.matrix.world import World
from tests.web.page_client import as_web, web_app


@dataclass
class Caller:
    """``roles``: what the person is in each world; ``pages`` / ``api``: does the token of that realm still open anything."""

    name: str
    roles: dict[str, str] = field(default_factory=dict)
    operator: bool = False
    by_key: bool = False
    pages: bool = True
    api: bool = True
    headers: dict[str, dict[str, str]] = field(default_factory=dict)  # by realm
    session_id: int = 0  # another session of this person, which they may end
    forbidden: tuple[str, ...] = ()  # words that no answer may show

    @property
    def realms(self) -> set[str]:
        """Where it makes a difference that they come: a login of the API that is over is none of the pages' business."""
        return {"api"} if self.name.endswith(" login") else {"api", "page"}

    def enters(self, realm: str) -> bool:
        return self.pages if realm == "page" else self.api

    def seated(self, world: str) -> bool:
        """May they know that this client exists? (Operators may, of all.)"""
        return world in self.roles or (self.operator and world in {"ours", "theirs"})

    def may(self, permission: Permission, world: str) -> bool:
        if self.by_key and permission in NEVER_BY_KEY:
            return False
        return allowed(self.roles.get(world), permission, operator=self.operator and not self.by_key)


def everybody(app: Flask, ours: World, theirs: World) -> dict[str, Caller]:
    """Ten kinds of caller, by name; two more for the API, whose logins end as its keys do."""
    words = {"ours": (ours.word, ours.house), "theirs": (theirs.word, theirs.house), "house": ("Stegosaurus",)}
    people = {
        "viewer": Caller("viewer", {"ours": "viewer"}),
        "agent": Caller("agent", {"ours": "agent"}),
        "admin": Caller("admin", {"ours": "admin"}),
        "operator": Caller("operator", operator=True),
        "other admin": Caller("other admin", {"theirs": "admin"}),
    }
    clients = {"ours": ours.client, "theirs": theirs.client}
    for name, caller in people.items():
        where = next(iter(caller.roles), None)
        user = make.make_user(clients[where] if where else None, caller.roles.get(where or "", ""), is_operator=caller.operator, name=name.title())
        _log_in(app, caller, user)
        caller.forbidden = {
            "operator": (ours.word, theirs.word), "other admin": (*words["ours"], *words["house"]),
        }.get(name, (*words["theirs"], *words["house"]))  # fmt: skip
    found = {**people, **_keys(app, ours), **_over(app, ours)}
    _seen_already()
    found["anonymous"] = Caller("anonymous", pages=False, api=False, headers={"page": {}, "api": {}})
    guest = _guest(app)
    for caller in found.values():
        if not caller.pages:
            caller.headers["page"] = {**guest, **caller.headers.get("page", {})}
        if caller.by_key:
            caller.forbidden = (*words["theirs"], *words["house"])
        elif not caller.roles and not caller.operator:
            caller.forbidden = (*words["ours"], *words["theirs"], *words["house"])
    return found


def _log_in(app: Flask, caller: Caller, user: User) -> None:
    """A page session and an API session, by the product's own functions, and a further session to be ended."""
    home, user_id = web_app(app), user.id

    def begin() -> tuple[str, str, str, int]:
        with home.test_request_context(), transaction():
            found = db.session.get_one(User, user_id)
            answer = sessions.start_page_session(home.make_response(""), found)
            cookie = answer.headers["Set-Cookie"].split(";")[0]
            token = str(sessions.start_api_session(found)["access_token"])
            other = sessions.auth.open_session(found, "page", sessions.caller())[0].id
        with home.test_request_context(headers={"Cookie": cookie}):
            claims = sessions._page_claims()
        assert claims is not None
        return cookie, str(claims["csrf"]), token, other

    cookie, csrf, token, caller.session_id = as_web(begin)
    caller.headers = {"page": {"Cookie": cookie, "X-CSRF-Token": csrf}, "api": {"Authorization": f"Bearer {token}"}}


def _seen_already() -> None:
    """That a login or key was used is written once a minute; not during the run, so that what a request itself writes is plain to see."""
    later = machine_now() + timedelta(hours=1)
    for login in db.session.query(UserSession).all():
        login.last_seen_at = later
        make.save(login)
    for key in db.session.query(ApiKey).filter(ApiKey.name.in_(("read", "write"))).all():
        key.last_used_at = later if key.revoked_at is None and key.expires_at is None else None
        make.save(key)


def _keys(app: Flask, ours: World) -> dict[str, Caller]:
    """A key to read and one to write, of an admin; on pages they open nothing."""
    maker = make.make_user(ours.client, "admin")
    found = {}
    for scope, role in (("read", "viewer"), ("write", "admin")):
        caller = Caller(f"key to {scope}", {"ours": role}, by_key=True, pages=False)
        bearer = _bearer(_key(ours, maker, scope))
        caller.headers = {"page": bearer, "api": bearer}
        found[caller.name] = caller
    return found


def _key(ours: World, maker: User, scope: str, **values: datetime | None) -> str:
    """As the product makes it, but by the owner: the role of jobs, which this test's own connections have, may not."""
    secret = api_keys.BEGINS + new_token()
    make.save(
        ApiKey(client_id=ours.client.id, user_id=maker.id, name=scope, prefix=secret[:12], secret_hash=token_hash(secret), scope=scope, **values)
    )
    return secret


def _over(app: Flask, ours: World) -> dict[str, Caller]:
    """Tokens that did open something: timed out and ended; for the API as keys and as logins."""
    maker = make.make_user(ours.client, "admin")
    found = {}
    for name in ("expired", "revoked"):
        past = machine_now() - timedelta(seconds=1)
        secret = _key(ours, maker, "write", **{"expires_at" if name == "expired" else "revoked_at": past})
        login = Caller(f"{name} login", pages=False, api=False)
        _log_in(app, login, make.make_user(ours.client, "admin"))
        for row in db.session.query(UserSession).order_by(UserSession.id.desc()).limit(3).all():
            row.expires_at, row.revoked_at = (past, None) if name == "expired" else (row.expires_at, past)
            make.save(row)
        caller = Caller(name, pages=False, api=False, headers={"page": login.headers["page"], "api": _bearer(secret)})
        found |= {name: caller, login.name: login}
    assert db.session.query(ApiKey).filter(ApiKey.revoked_at.is_not(None)).count() == 1
    return found


def _guest(app: Flask) -> dict[str, str]:
    """Who is not logged in: the form's token and the cookie it belongs to."""
    home = web_app(app)
    answer = as_web(lambda: home.test_client(use_cookies=False).get("/login"))
    page = answer.get_data(as_text=True)
    cookie = answer.headers["Set-Cookie"].split(";")[0]
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found is not None
    return {"Cookie": cookie, "X-CSRF-Token": found.group(1)}


def _bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


__all__: list[str] = ["Caller", "everybody"]
