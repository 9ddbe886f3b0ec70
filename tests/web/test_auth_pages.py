"""Logging in with a browser, staying logged in, being asked to log in, and what a login page never tells."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import update

from app.core.clock import machine_now
from app.core.db import transaction
from app.core.extensions import db
from app.models import LoginThrottle, OneTimeLink, User, UserSession
from app.services import auth
from tests.api.test_auth_tokens import as_owner
from tests.factories import make_client, make_user
from tests.web.page_client import PageClient, as_web

PASSWORD = "a lantern by the river"


@pytest.fixture
def page(app: Flask) -> PageClient:
    return PageClient(app)


def link(page: PageClient, user: User | None, purpose: str) -> str:
    user_id = user.id if user else None

    def make() -> str:
        with page.app.app_context(), transaction():
            return auth.make_one_time_link(db.session.get_one(User, user_id) if user_id else None, purpose)

    return str(as_web(make))


def test_a_stranger_is_sent_to_the_login_and_back_to_where_they_wanted_to_go(page: PageClient) -> None:
    user = make_user(make_client(), password=PASSWORD)
    asked = page.get("/profile?from=mail")
    assert asked.status == 302 and asked.location == "/login?next=%2Fprofile%3Ffrom%3Dmail"
    page.get(asked.location)
    done = page.post(asked.location, {"email": user.email, "password": PASSWORD})
    assert (done.status, done.location) == (303, "/profile?from=mail")
    assert "Your profile" in page.follow(done).words


@pytest.mark.parametrize(
    "target", ["//evil.test/", "https://evil.test/", "/\\evil.test", "javascript:alert(1)", "/\tx", "/login"]
)
def test_the_login_never_leads_to_another_site(page: PageClient, target: str) -> None:
    user = make_user(make_client(), password=PASSWORD)
    page.get("/login")
    done = page.post("/login", {"email": user.email, "password": PASSWORD}, query_string={"next": target})
    assert (done.status, done.location) == (303, "/")


def test_a_wrong_password_says_the_same_as_an_unknown_address_and_keeps_the_address(page: PageClient) -> None:
    user = make_user(make_client(), password=PASSWORD)
    page.get("/login")
    wrong = page.post("/login", {"email": user.email, "password": "not the right one"})
    unknown = page.post("/login", {"email": "nobody@house.test", "password": "not the right one"})
    assert wrong.status == unknown.status == 401
    assert wrong.find("div", role="alert").itertext() is not None
    assert "".join(wrong.find("div", role="alert").itertext()) == "".join(unknown.find("div", role="alert").itertext())
    assert wrong.find("input", name="email").get("value") == user.email


def test_the_count_of_failures_is_kept_although_the_answer_is_a_refusal(page: PageClient) -> None:
    make_user(make_client(), password=PASSWORD, email="kept@house.test")
    page.get("/login")
    for _ in range(5):
        page.post("/login", {"email": "kept@house.test", "password": "guess guess guess"})
    assert page.post("/login", {"email": "kept@house.test", "password": PASSWORD}).status == 429
    row = db.session.get(LoginThrottle, "account:kept@house.test")
    assert row is not None and row.failures == 5


def test_the_cookie_is_hidden_from_scripts_and_names_the_instance(page: PageClient) -> None:
    user = make_user(make_client(), password=PASSWORD)
    page.get("/login")
    done = page.post("/login", {"email": user.email, "password": PASSWORD})
    cookie = next(value for value in done.response.headers.getlist("Set-Cookie") if "-session=" in value)
    assert cookie.startswith(f"emberpost-{page.app.extensions['settings'].instance_id}-session=")
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and "Path=/" in cookie


def test_logging_in_again_ends_the_session_this_browser_had(page: PageClient) -> None:
    user = make_user(make_client())
    page.log_in_by_link(user)
    page.log_in_by_link(user)
    assert db.session.query(UserSession).filter_by(user_id=user.id, revoked_at=None).count() == 1


def test_eight_idle_hours_end_a_session_and_a_request_before_that_keeps_it(page: PageClient) -> None:
    page.log_in(make_user(make_client()))
    as_owner(update(UserSession).values(last_seen_at=machine_now() - timedelta(hours=7, minutes=59)))
    assert page.get("/profile").status == 200
    assert db.session.query(UserSession).one().last_seen_at > machine_now() - timedelta(minutes=1)
    as_owner(update(UserSession).values(last_seen_at=machine_now() - timedelta(hours=8, seconds=1)))
    assert page.get("/profile").status == 302


def test_seven_days_end_a_session_however_busy(page: PageClient) -> None:
    page.log_in(make_user(make_client()))
    as_owner(update(UserSession).values(expires_at=machine_now() - timedelta(seconds=1)))
    assert page.get("/profile").status == 302


def test_the_session_is_never_rotated_under_parallel_fragments(page: PageClient) -> None:
    page.log_in(make_user(make_client()))
    answers = [page.get("/profile", fragment=True) for _ in range(5)]
    assert all(answer.status == 200 for answer in answers)
    assert not any(
        "-session=" in value for answer in answers for value in answer.response.headers.getlist("Set-Cookie")
    )


def test_logging_out_ends_the_session_on_the_server(page: PageClient) -> None:
    page.log_in(make_user(make_client()))
    name = f"emberpost-{page.app.extensions['settings'].instance_id}-session"
    kept = page.client.get_cookie(name)
    assert kept is not None
    assert page.post("/logout").status == 303
    page.client.set_cookie(name, kept.value)
    assert page.get("/profile").status == 302, "a stolen copy of the cookie is worth nothing"


def test_a_fragment_without_a_session_is_told_where_to_log_in_and_to_come_back(page: PageClient) -> None:
    answer = page.get("/profile", fragment=True, headers={"HX-Current-URL": "http://localhost/c/acme/leads/?q=ada"})
    assert answer.status == 401 and not answer.text
    assert answer.response.headers["HX-Redirect"] == "/login?next=%2Fc%2Facme%2Fleads%2F%3Fq%3Dada"
    foreign = page.get("/profile", fragment=True, headers={"HX-Current-URL": "http://evil.test/x"})
    assert foreign.response.headers["HX-Redirect"] == "/login"


def test_a_form_without_a_session_goes_to_the_login_and_back_to_the_page_of_the_form(page: PageClient) -> None:
    answer = page.post("/profile", {"name": "X"}, headers={"Referer": "http://localhost/profile"})
    assert (answer.status, answer.location) == (303, "/login?next=%2Fprofile")


# Forgery


def test_a_form_without_the_token_of_this_session_changes_nothing(page: PageClient) -> None:
    user = make_user(make_client(), name="Ada")
    page.log_in(user)
    good = page.token
    for token in ("", "0" * 36, good[:-1] + ("0" if good[-1] != "0" else "1")):
        assert page.post("/profile", {"name": "Mallory", "shortcuts_on": "1"}, token=token).status == 403
    assert page.post("/profile", {"name": "Ada Lovelace", "shortcuts_on": "1"}).status == 303


def test_the_token_of_another_session_is_refused(page: PageClient, app: Flask) -> None:
    other = PageClient(app).log_in(make_user(make_client()))
    page.log_in(make_user(make_client()))
    assert page.post("/profile", {"name": "Mallory"}, token=other.token).status == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.test"},
        {"Origin": "null"},
    ],
)
def test_another_site_cannot_send_our_forms_even_with_the_token(page: PageClient, headers: dict[str, str]) -> None:
    page.log_in(make_user(make_client()))
    assert page.post("/profile", {"name": "Mallory"}, headers=headers).status == 403


def test_a_login_form_of_another_browser_is_refused(page: PageClient, app: Flask) -> None:
    user = make_user(make_client(), password=PASSWORD)
    other = PageClient(app)
    other.get("/login")
    page.get("/login")
    assert page.post("/login", {"email": user.email, "password": PASSWORD}, token=other.token).status == 403


# Links that work once


def test_a_login_link_shows_a_button_and_acts_only_when_it_is_pressed(page: PageClient, app: Flask) -> None:
    path = link(page, make_user(make_client()), "login")
    for _ in range(3):
        assert page.get(path).status == 200, "scanners of mail open links as often as they like"
    assert page.get("/profile").status == 302
    assert page.post(path).status == 303
    assert page.get("/profile").status == 200
    stranger = PageClient(app)
    assert stranger.get(path).status == 404
    stranger.get("/login")
    assert stranger.post(path).status == 404


def test_links_end_with_their_time_and_are_stored_only_as_hashes(page: PageClient) -> None:
    path = link(page, make_user(make_client()), "login")
    row = db.session.query(OneTimeLink).one()
    assert path.rsplit("/", 1)[1] not in row.token_hash
    as_owner(update(OneTimeLink).values(expires_at=machine_now()))
    assert page.get(path).status == 404


def test_a_reset_asks_for_a_good_password_and_then_ends_all_other_sessions(page: PageClient, app: Flask) -> None:
    user = make_user(make_client(), password=PASSWORD)
    elsewhere = PageClient(app).log_in(user)
    path = link(page, user, "reset")
    page.get(path)
    short = page.post(path, {"password": "short"})
    assert short.status == 422 and "at least 12 characters" in short.words
    guessable = page.post(path, {"password": "password1234"})
    assert guessable.status == 422 and "too easy to guess" in guessable.words
    assert page.post(path, {"password": "four quiet herons wade"}).status == 303
    assert elsewhere.get("/profile").status == 302 and page.get("/profile").status == 200


def test_claiming_makes_the_first_operator_who_then_makes_the_first_client(page: PageClient, app: Flask) -> None:
    path = link(page, None, "claim")
    page.get(path)
    form = {
        "email": "ada@house.test",
        "name": "Ada Lovelace",
        "password": "four quiet herons wade",
        "timezone": "Europe/Lisbon",
    }
    weak = page.post(path, {**form, "password": "adalovelace1"})
    assert weak.status == 422 and weak.find("input", name="email").get("value") == "ada@house.test"
    done = page.post(path, form)
    assert (done.status, done.location) == (303, "/clients/new")
    first = page.follow(done)
    assert "Make the first client" in first.words
    wrong = page.post(
        "/clients/new",
        {"name": "", "timezone": "Mars/Olympus", "country": "Portugal", "language": "en", "postal_address": "1 Lane"},
    )
    assert wrong.status == 422 and wrong.find("textarea", name="postal_address").text.strip() == "1 Lane"
    made = page.post(
        "/clients/new", {"name": "Ünïon & Söhne", "timezone": "Europe/Lisbon", "country": "pt", "language": "en"}
    )
    assert (made.status, made.location) == (303, "/c/union-sohne/")
    again = PageClient(app)
    assert again.get(path).status == 404, "an instance is claimed once"


def test_a_second_claim_link_is_dead_once_the_instance_is_claimed(page: PageClient, app: Flask) -> None:
    first, second = link(page, None, "claim"), link(page, None, "claim")
    form = {"email": "ada@house.test", "name": "Ada", "password": "four quiet herons wade"}
    page.get(first)
    assert page.post(first, form).status == 303
    late = PageClient(app)
    late.get("/login")
    assert late.post(second, {**form, "email": "mallory@house.test"}).status == 404
    assert db.session.query(User).count() == 1


# The profile


def test_the_profile_changes_name_zone_theme_and_keys(page: PageClient) -> None:
    user = make_user(make_client())
    page.log_in(user)
    done = page.post("/profile", {"name": "Grace", "timezone": "Asia/Tokyo", "theme": "dark"})
    shown = page.follow(done)
    assert "Saved." in shown.words and shown.find("html").get("data-theme") == "dark"
    assert shown.find("body").get("data-shortcuts") == "off"
    wrong = page.post("/profile", {"name": "Grace H.", "timezone": "Nowhere/Land", "theme": "dark"})
    assert wrong.status == 422 and wrong.find("input", name="name").get("value") == "Grace H."
    assert "Saved." not in page.get("/profile").words, "a toast is shown once"


def test_changing_the_password_needs_the_current_one_and_ends_the_other_sessions(page: PageClient, app: Flask) -> None:
    user = make_user(make_client(), password=PASSWORD)
    page.log_in(user)
    elsewhere = PageClient(app).log_in(user)
    refused = page.post("/profile/password", {"current_password": "not it", "new_password": "four quiet herons wade"})
    assert refused.status == 422 and "not your current password" in refused.words
    same = page.post("/profile/password", {"current_password": PASSWORD, "new_password": PASSWORD})
    assert same.status == 422 and "This is your present password" in same.words and elsewhere.get("/profile").status == 200
    assert (
        page.post("/profile/password", {"current_password": PASSWORD, "new_password": "four quiet herons wade"}).status
        == 303
    )
    assert page.get("/profile").status == 200 and elsewhere.get("/profile").status == 302


def test_a_person_ends_own_sessions_but_nobody_elses(page: PageClient, app: Flask) -> None:
    user, stranger = make_user(make_client()), make_user(make_client())
    elsewhere, foreign = PageClient(app).log_in(user), PageClient(app).log_in(stranger)
    page.log_in(user)
    theirs = db.session.query(UserSession).filter_by(user_id=stranger.id).one().id
    assert page.post(f"/profile/sessions/{theirs}/end").status == 404
    actions = [
        form.get("action", "")
        for form in page.get("/profile").all("form")
        if re.search(r"/sessions/\d+/end", form.get("action", ""))
    ]
    assert len(actions) == 1 and page.post(actions[0]).status == 303
    assert elsewhere.get("/profile").status == 302 and foreign.get("/profile").status == 200
