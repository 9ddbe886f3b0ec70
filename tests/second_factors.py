"""A person with an authenticator app: sets it up over the real pages, and knows the codes it shows."""

from __future__ import annotations

from datetime import timedelta

from flask import Flask
from sqlalchemy import select, update

from app.core.clock import machine_now
from app.core.crypto import vault
from app.core.db import transaction
from app.core.extensions import db
from app.domain import one_time_codes as codes
from app.models import SecondFactor, User
from app.services import auth, second_factor
from tests.api.test_auth_tokens import as_owner
from tests.web.page_client import PageClient, as_web, web_app

PASSWORD = "a lantern by the river"
HERE = auth.Caller("127.0.0.1", "test")


def with_app(app: Flask, user: User) -> list[str]:
    """Give ``user`` (with PASSWORD) a second factor; their recovery codes."""
    product, user_id = web_app(app), user.id

    def make() -> list[str]:
        with product.app_context(), transaction():
            mine = db.session.get_one(User, user_id)
            found = second_factor.begin(mine, PASSWORD, "", HERE)
            return second_factor.confirm(mine, codes.code_of(found.secret, codes.step_of(machine_now())), 0)

    fresh_codes: list[str] = as_web(make)
    next_step()
    return fresh_codes


def next_step() -> None:
    """As if the codes used so far were long ago."""
    as_owner(update(SecondFactor).values(last_step=0))
    db.session.expire_all()


def secret_of(user: User) -> str:
    db.session.rollback()
    row = db.session.scalars(select(SecondFactor).where(SecondFactor.user_id == user.id).order_by(SecondFactor.id.desc())).first()
    assert row is not None
    return vault().open(row.totp_secret, second_factor.place(row.id))


def code(user: User, minutes: float = 0) -> str:
    """What the app shows now, or ``minutes`` from now."""
    return codes.code_of(secret_of(user), codes.step_of(machine_now() + timedelta(minutes=minutes)))



def wrong_code(user: User) -> str:
    """Six digits that are no code of the minutes around now."""
    near = {code(user, shift / 2) for shift in range(-6, 7)}
    return next(digits for digits in (f"{number:06d}" for number in range(100)) if digits not in near)


def half_way(app: Flask, user: User, **query: str) -> PageClient:
    """A browser that gave the right password and is now asked for the code."""
    page = PageClient(app)
    page.get("/login")
    asked = page.post("/login", {"email": user.email, "password": PASSWORD}, query_string=query)
    assert asked.status == 303 and asked.location.startswith("/login/code"), asked.text[:500]
    assert "Enter your code" in page.follow(asked).words
    return page
