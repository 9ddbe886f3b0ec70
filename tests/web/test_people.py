"""People on the pages: a colleague is invited by a link shown once, given a role, taken out; operators switch logins off."""

from __future__ import annotations

import re

import pytest
from flask import Flask
from sqlalchemy import select

from app.core.extensions import db
from app.models import AuditEntry, Client, Membership, OneTimeLink, User
from tests.factories import make_client, make_user
from tests.web.page_client import PageClient

PASSWORD = "a long enough sentence 7"


@pytest.fixture
def client(app: Flask) -> Client:
    return make_client(slug="acme")


@pytest.fixture
def admin(app: Flask, client: Client) -> PageClient:
    return PageClient(app).log_in(make_user(client, name="Ada Admin"))


def fresh() -> None:
    db.session.rollback()
    db.session.expire_all()


def seat_of(email: str) -> Membership:
    fresh()
    return db.session.scalars(select(Membership).join(User).where(User.email == email)).one()


def link_in(page: object) -> str:
    found = re.search(r'value="http://[^/"]+(/login/link/[^"]+)"', page.text)  # type: ignore[attr-defined]
    assert found, page.text  # type: ignore[attr-defined]
    return found.group(1)


def test_a_colleague_opens_the_link_chooses_a_password_and_sees_the_client(app: Flask, client: Client, admin: PageClient) -> None:
    page = admin.post("/c/acme/settings/people", {"email": "bo@agency.test", "name": "Bo Berg", "role": "agent", "timezone": "Europe/Oslo"})
    link = link_in(page)
    assert page.status == 200 and "72 hours" in page.words
    assert link not in admin.get("/c/acme/settings/people").text, "the link is shown once"
    guest = PageClient(app)
    guest.get(link)
    assert guest.post(link, {"password": "short"}).status == 422
    assert guest.post(link, {"password": PASSWORD}).status == 303
    assert "Bo Berg" in guest.get("/c/acme/settings/people").words
    assert guest.post("/c/acme/settings/people", {"email": "x@y.test", "name": "X", "role": "admin"}).status == 403
    assert PageClient(app).get(link).status == 404, "it works once"
    fresh()
    user = db.session.scalars(select(User).where(User.email == "bo@agency.test")).one()
    assert (user.timezone, user.is_operator) == ("Europe/Oslo", False)


def test_what_was_typed_stays_when_it_cannot_be(app: Flask, client: Client, admin: PageClient) -> None:
    for typed, words in (
        ({"email": "no address", "name": "Bo", "role": "agent"}, "address"),
        ({"email": "bo@agency.test", "name": "", "role": "agent"}, "name"),
        ({"email": "bo@agency.test", "name": "B" * 121, "role": "agent"}, "at most 120 characters"),
        ({"email": "bo@agency.test", "name": "Bo", "role": "king"}, "Choose a role"),
        ({"email": "bo@agency.test", "name": "Bo", "role": "agent", "timezone": "Mars/Base"}, "time zone"),
    ):
        page = admin.post("/c/acme/settings/people", typed)
        assert page.status == 422 and words in page.words, typed
        assert page.find("input", name="email").get("value") == typed["email"]
    fresh()
    assert db.session.scalars(select(User).where(User.email == "bo@agency.test")).all() == []


def test_somebody_who_has_a_login_gets_a_seat_and_nobody_gets_a_link_to_their_password(app: Flask, client: Client, admin: PageClient) -> None:
    elsewhere = make_client(slug="elsewhere")
    stranger = PageClient(app).log_in(make_user(elsewhere))
    pending = stranger.post("/c/elsewhere/settings/people", {"email": "bo@agency.test", "name": "Bo", "role": "admin"})
    link_in(pending)
    page = admin.post("/c/acme/settings/people", {"email": "BO@agency.test", "name": "Somebody", "role": "viewer"})
    assert page.status == 303, "a seat, and no link: they would open the other client with it"
    fresh()
    seat = db.session.scalars(select(Membership).where(Membership.client_id == client.id, Membership.role == "viewer")).one()
    refused = admin.post(f"/c/acme/settings/people/{seat.id}/link")
    assert refused.status == 409 and "/login/link/" not in refused.text
    assert admin.post("/c/acme/settings/people", {"email": "bo@agency.test", "name": "B", "role": "agent"}).status == 422


def test_a_link_never_used_is_made_anew_and_the_old_one_dies(app: Flask, client: Client, admin: PageClient) -> None:
    old = link_in(admin.post("/c/acme/settings/people", {"email": "bo@agency.test", "name": "Bo", "role": "agent"}))
    seat = seat_of("bo@agency.test")
    new = link_in(admin.post(f"/c/acme/settings/people/{seat.id}/link"))
    assert PageClient(app).get(old).status == 404
    guest = PageClient(app)
    guest.get(new)
    assert guest.post(new, {"password": PASSWORD}).status == 303
    assert admin.post(f"/c/acme/settings/people/{seat.id}/link").status == 409, "they can log in now"


def test_a_role_changes_with_the_next_request_and_a_removed_colleague_sees_nothing(app: Flask, client: Client, admin: PageClient) -> None:
    colleague = make_user(client, "agent", name="Bo")
    theirs = PageClient(app).log_in(colleague)
    seat = seat_of(colleague.email)
    assert theirs.post("/c/acme/settings/people", {"role": "agent"}).status == 403
    assert admin.post(f"/c/acme/settings/people/{seat.id}/role", {"role": "admin"}).status == 303
    assert theirs.post("/c/acme/settings/people", {"role": "agent"}).status == 422
    assert admin.post(f"/c/acme/settings/people/{seat.id}/remove").status == 303
    assert theirs.get("/c/acme/settings/people").status == 404
    fresh()
    assert {"member.grant", "member.remove"} <= set(db.session.scalars(select(AuditEntry.action)))


def test_the_last_admin_stays(app: Flask, client: Client, admin: PageClient) -> None:
    fresh()
    seat = db.session.scalars(select(Membership).where(Membership.role == "admin")).one()
    for way, data in (("role", {"role": "viewer"}), ("remove", {})):
        page = admin.post(f"/c/acme/settings/people/{seat.id}/{way}", data)
        assert page.status == 409 and "another person admin first" in page.words
    link_in(admin.post("/c/acme/settings/people", {"email": "soon@elsewhere.test", "name": "Soon", "role": "admin"}))
    assert admin.post(f"/c/acme/settings/people/{seat.id}/remove").status == 409, "an admin who has not followed the invitation is none"
    off = make_user(client, "admin")
    operator = PageClient(app).log_in(make_user(make_client(), is_operator=True))
    assert operator.post(f"/operations/people/{off.id}/disable").status == 303
    assert "Nobody who can log in" not in operator.get("/operations/people").words
    assert admin.post(f"/c/acme/settings/people/{seat.id}/remove").status == 409, "an admin whose login is off is none"
    assert operator.post(f"/operations/people/{seat.user_id}/disable").status == 303
    assert f"Nobody who can log in administers {client.name} now" in operator.get("/operations/people").words


def test_an_operator_switches_a_login_off_and_on_and_hands_out_a_new_password(app: Flask, client: Client) -> None:
    operator = PageClient(app).log_in(make_user(client, is_operator=True, name="Olga"))
    user = make_user(client, "agent", name="Bo")
    first = link_in(operator.post(f"/operations/people/{user.id}/link"))
    guest = PageClient(app)
    guest.get(first)
    assert guest.post(first, {"password": PASSWORD}).status == 303
    theirs = PageClient(app).log_in(user)
    assert "Bo" in operator.get("/operations/people?q=bo").words
    assert theirs.get("/operations/people").status == 404
    assert operator.post(f"/operations/people/{user.id}/disable").status == 303
    assert theirs.get("/c/acme/settings/people").status == 302, "every session ended"
    assert operator.post(f"/operations/people/{user.id}/link").status == 409
    assert operator.post(f"/operations/people/{user.id}/enable").status == 303
    link = link_in(operator.post(f"/operations/people/{user.id}/link"))
    fresh()
    assert db.session.scalars(select(OneTimeLink.purpose).where(OneTimeLink.used_at.is_(None))).all() == ["reset"]
    guest = PageClient(app)
    guest.get(link)
    assert guest.post(link, {"password": "another long sentence 8"}).status == 303
    assert operator.post(f"/operations/people/{user.id}/end_sessions").status == 303
    assert guest.get("/profile").status == 302


def test_an_operator_sets_zone_and_language_of_a_login_and_an_invitation_brings_its_own(app: Flask, client: Client, admin: PageClient) -> None:
    operator = PageClient(app).log_in(make_user(client, is_operator=True))
    admin.post("/c/acme/settings/people", {"email": "bo@agency.test", "name": "Bo", "role": "agent", "timezone": "Europe/Oslo", "language": "nb"})
    user = db.session.get_one(User, seat_of("bo@agency.test").user_id)
    assert (user.timezone, user.language) == ("Europe/Oslo", "nb")
    user_id, path = user.id, f"/operations/people/{user.id}/profile"
    assert operator.post(path, {"timezone": "Mars/Base", "language": "pt"}).status == 422
    assert operator.post(path, {"timezone": "Europe/Lisbon", "language": "pt"}).status == 303
    fresh()
    user = db.session.get_one(User, user_id)
    assert (user.timezone, user.language) == ("Europe/Lisbon", "pt")
    line = db.session.scalars(select(AuditEntry).where(AuditEntry.action == "user.update")).one()
    assert (line.before, line.after) == ({"timezone": "Europe/Oslo", "language": "nb"}, {"timezone": "Europe/Lisbon", "language": "pt"})
    assert operator.post(f"/operations/people/{2**40}/profile", {"timezone": "UTC", "language": "en"}).status == 404


def test_nobody_locks_the_installation_up(app: Flask, client: Client) -> None:
    mine = make_user(client, is_operator=True)
    operator = PageClient(app).log_in(mine)
    for way in ("disable", "demote"):
        page = operator.post(f"/operations/people/{mine.id}/{way}")
        assert page.status == 409 and "Ask another operator" in page.words
    added = operator.post("/operations/people", {"email": "new@agency.test", "name": "Nia", "operator": "1"})
    assert link_in(added)
    fresh()
    assert db.session.scalars(select(User).where(User.email == "new@agency.test")).one().is_operator
