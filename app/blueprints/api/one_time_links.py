"""Links that work once, used by a program: a first or new password, and claiming a new instance."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from app.blueprints import sessions
from app.blueprints.api.core import api_route
from app.blueprints.api.me import PersonShown
from app.blueprints.api.schemas import Strict, text
from app.core.errors import Invalid, NotFound, Unauthenticated
from app.core.extensions import db
from app.domain.zones import known_zones
from app.models import OneTimeLink, User
from app.services import audit, auth, people
from app.services.instance import ensure_instance
from app.strings import t

GONE = t("auth.link_used")


class UseLink(Strict):
    token = text(200, shortest=1, required=True, load_only=True, metadata={"description": "the last part of the link"})
    password = text(1024, required=True, load_only=True)


class Claim(UseLink):
    email = text(320, shortest=3, required=True)
    name = text(120, shortest=1, required=True)
    timezone = text(64)


def _taken(token: str, *purposes: str) -> OneTimeLink:
    try:
        link = auth.find_link(token, take=True)
    except NotFound:
        raise Unauthenticated(GONE, code="link_over") from None
    if link.purpose not in purposes:
        raise Unauthenticated(GONE, code="link_over")
    return link


@api_route("POST", "/auth/link", public=True, body=UseLink, status=204, summary="Choose a password by an invitation or reset link", tag="auth")
def use_link(body: dict[str, Any]) -> None:
    """401 ``link_over`` for one that no longer works. Ends every login of that person; then log in with POST /api/auth/login. A link
    that signs in works in a browser only."""
    link = _taken(body["token"], "invite", "reset")
    user = db.session.scalar(select(User).where(User.id == link.user_id, User.disabled_at.is_(None)))
    if user is None:
        raise Unauthenticated(GONE, code="link_over")
    auth.set_password(user, body["password"])
    audit.record(f"user.{link.purpose}_link", "user", user.id, user_id=user.id)


@api_route("POST", "/auth/claim", public=True, body=Claim, response=PersonShown, status=201, summary="Become the operator of a new instance", tag="auth")
def claim(body: dict[str, Any]) -> User:
    """By the link that `flask claim-link` prints. 409 when the instance is somebody's already."""
    _taken(body["token"], "claim")
    ensure_instance(sessions.settings())
    if "timezone" in body and body["timezone"] not in known_zones():
        raise Invalid.field("timezone", t("fields.timezone_choice"))
    return people.claim_instance(body["email"], body["name"], body["password"], body.get("timezone"))
