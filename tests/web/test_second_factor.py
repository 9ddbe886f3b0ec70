"""The second factor on the pages, without scripts: set up, asked for, never fooled twice, and asked of everybody by a client."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import select, update

from app.core.clock import machine_now
from app.core.db import NOBODY, transaction
from app.core.extensions import db
from app.models import AuditEntry, Client, LoginAttempt, LoginThrottle, Membership, RecoveryCode, SecondFactor, User
from app.services.access import viewer_of
from tests.api.api_client import ApiClient
from tests.api.test_auth_tokens import as_owner
from tests.factories import make_client, make_user, save
from tests.second_factors import PASSWORD, code, half_way, next_step, secret_of, with_app, wrong_code
from tests.services.test_people_commands import said
from tests.web.page_client import Page, PageClient, as_web, web_app
from tests.web.test_auth_pages import link
from tests.web.test_settings_pages import settings_form

HERE = "/profile/second-factor"
QR = 'class="qr"'


@pytest.fixture
def client(app: Flask) -> Client:
    return make_client(slug="acme", name="Acme")


@pytest.fixture
def person(client: Client) -> User:
    return make_user(client, "agent", password=PASSWORD, name="Bo")


def actions(*names: str) -> list[AuditEntry]:
    db.session.rollback()
    return list(db.session.scalars(select(AuditEntry).where(AuditEntry.action.in_(names)).order_by(AuditEntry.id)))


def codes_in(page: Page) -> list[str]:
    return re.findall(r"<li><code>([A-Z2-7-]{29})</code></li>", page.text)


def ask_of_everybody(app: Flask, client: Client) -> None:
    admin = ApiClient(app).log_in(make_user(client))
    assert admin.patch("/api/settings", {"second_factor_required": True}).status == 200


# Setting up


def test_it_is_set_up_with_a_picture_and_from_then_on_the_password_alone_opens_nothing(app: Flask, person: User) -> None:
    page, elsewhere = PageClient(app).log_in(person), PageClient(app).log_in(person)
    assert "Off" in page.get(HERE).words
    refused = page.post(f"{HERE}/begin", {"password": "not the right one"})
    assert refused.status == 422 and "not your password" in refused.words and QR not in refused.text
    drawn = page.post(f"{HERE}/begin", {"password": PASSWORD})
    secret = secret_of(person)
    assert QR in drawn.text and re.search(r'<svg viewBox="0 0 \d+ \d+" class="qr"', drawn.text), "drawn to the size of its box, never cut off"
    shown = "".join(drawn.find("code", class_="qr-secret").itertext()).replace("-", "")
    assert shown == secret and len(secret) == 32 and drawn.response.headers["Cache-Control"] == "no-store"
    wrong = page.post(f"{HERE}/confirm", {"otp": wrong_code(person)})
    assert wrong.status == 422 and secret in wrong.text.replace("-", ""), "the same picture, or the phone knows another secret"
    done = page.post(f"{HERE}/confirm", {"otp": f"{code(person)[:3]} {code(person)[3:]}"})
    assert done.status == 200 and len(set(codes_in(done))) == 10
    assert codes_in(done)[0] not in page.get(HERE).text and "10 recovery codes are left" in page.get(HERE).words
    assert elsewhere.get("/profile").status == 302, "sessions opened by the password alone are over"
    stored = {row.code_hash for row in db.session.scalars(select(RecoveryCode))}
    assert len(stored) == 10 and not any(known.replace("-", "") in one for known in codes_in(done) for one in stored)
    assert secret not in str([row.totp_secret for row in db.session.scalars(select(SecondFactor))])
    half = half_way(app, person)
    assert half.get("/profile").status == 302, "the password alone is nobody"


def test_what_was_begun_is_over_after_half_an_hour(app: Flask, person: User) -> None:
    page = PageClient(app).log_in(person)
    page.get(HERE)
    page.post(f"{HERE}/begin", {"password": PASSWORD})
    as_owner(update(SecondFactor).values(created_at=machine_now() - timedelta(minutes=31)))
    late = page.post(f"{HERE}/confirm", {"otp": code(person)})
    assert late.status == 409 and "Begin again" in late.words


def test_another_phone_new_codes_and_turning_off_each_need_a_code(app: Flask, person: User) -> None:
    page = PageClient(app).log_in(person)
    page.get(HERE)
    old_codes = with_app(app, person)
    page = logged_in(app, person)
    first = secret_of(person)
    for form, more in (("begin", {"password": PASSWORD}), ("codes", {}), ("off", {})):
        assert page.post(f"{HERE}/{form}", {**more, "otp": ""}).status == 422
    assert page.post(f"{HERE}/begin", {"password": PASSWORD, "otp": old_codes[0]}).text.count(QR) == 1
    second = secret_of(person)
    assert second != first
    assert page.post(f"{HERE}/confirm", {"otp": code(person)}).status == 200
    next_step()
    fresh = codes_in(page.post(f"{HERE}/codes", {"otp": code(person)}))
    assert len(fresh) == 10 and page.post(f"{HERE}/off", {"otp": old_codes[1]}).status == 422
    assert page.post(f"{HERE}/off", {"otp": fresh[0]}).status == 303
    assert [(line.before, line.after) for line in actions("user.second_factor")][1:] == [
        ({"second_factor": True}, {"second_factor": True}), ({"second_factor": True}, {"second_factor": False}),
    ]  # fmt: skip
    free = PageClient(app)
    free.get("/login")
    assert free.post("/login", {"email": person.email, "password": PASSWORD}).location == "/"


def logged_in(app: Flask, user: User) -> PageClient:
    page = half_way(app, user)
    assert page.post("/login/code", {"otp": code(user)}).status == 303
    next_step()
    page.get("/profile")
    return page


# Logging in


def test_a_code_leads_on_to_where_one_wanted_to_go_and_never_works_again(app: Flask, person: User) -> None:
    with_app(app, person)
    page, thief = half_way(app, person, next="/profile?x=1"), half_way(app, person)
    used = code(person)
    done = page.post("/login/code", {"otp": used}, query_string={"next": "/profile?x=1"})
    assert (done.status, done.location) == (303, "/profile?x=1") and page.get("/profile").status == 200
    stolen = thief.post("/login/code", {"otp": used})
    assert stolen.status == 401 and "used already" in stolen.words and thief.get("/profile").status == 302
    assert thief.post("/login/code", {"otp": code(person, -0.5)}).status == 401, "nor the one before it"
    assert [line.after for line in actions("user.login")] == [{"second_factor": "app"}]
    assert half_way(app, person).get("/login/code", query_string={"next": "//evil.test"}).status == 200
    again = half_way(app, person)
    next_step()
    assert again.post("/login/code", {"otp": code(person)}, query_string={"next": "//evil.test"}).location == "/"


def test_a_recovery_code_lets_in_once(app: Flask, person: User) -> None:
    known = with_app(app, person)
    page = half_way(app, person)
    assert page.post("/login/code", {"otp": known[3].lower().replace("-", " ")}).status == 303
    assert half_way(app, person).post("/login/code", {"otp": known[3]}).status == 401
    assert half_way(app, person).post("/login/code", {"otp": known[4]}).status == 303
    assert [line.after for line in actions("user.recovery_code")] == [{"left": 9}, {"left": 8}]


def test_ten_wrong_codes_end_the_attempt_and_the_right_one_comes_too_late(app: Flask, person: User) -> None:
    with_app(app, person)
    page = half_way(app, person)
    for number in range(9):
        wrong = page.post("/login/code", {"otp": wrong_code(person)})
        assert wrong.status == 401 and "does not fit" in wrong.words, number
    last = page.post("/login/code", {"otp": wrong_code(person)})
    assert last.status == 401 and "10 wrong codes" in last.words and last.find("input", name="password") is not None
    no_waiting()
    late = page.post("/login/code", {"otp": code(person)})
    assert late.status == 401 and page.get("/profile").status == 302
    assert [line.after for line in actions("user.second_factor_refused")] == [{"wrong_codes": 10}]
    assert half_way(app, person).post("/login/code", {"otp": code(person)}).status == 303, "nobody is locked out"


def no_waiting() -> None:
    as_owner(update(LoginThrottle).values(blocked_until=machine_now()))


def test_whoever_begins_attempt_after_attempt_waits_longer_and_longer(app: Flask, person: User) -> None:
    with_app(app, person)
    for _attempt in range(2):
        page = half_way(app, person)
        for _ in range(5):
            assert page.post("/login/code", {"otp": wrong_code(person)}).status == 401
    db.session.rollback()
    row = db.session.scalars(select(LoginThrottle).where(LoginThrottle.key.startswith("factor"))).one()
    assert row.failures == 10 and row.blocked_until is not None
    as_owner(update(LoginThrottle).where(LoginThrottle.key == row.key).values(failures=15, blocked_until=None))
    assert half_way(app, person).post("/login/code", {"otp": wrong_code(person)}).status == 401
    waiting = half_way(app, person).post("/login/code", {"otp": code(person)})
    assert waiting.status == 429 and 30 < int(waiting.response.headers["Retry-After"]) <= 65


def test_an_attempt_ends_with_its_time_with_a_new_password_and_with_the_login(app: Flask, person: User) -> None:
    with_app(app, person)
    slow, changed, off = half_way(app, person), half_way(app, person), half_way(app, person)
    as_owner(update(LoginAttempt).where(LoginAttempt.id == db.session.query(LoginAttempt.id).order_by(LoginAttempt.id).limit(1).scalar_subquery())
             .values(expires_at=machine_now()))  # fmt: skip
    assert slow.post("/login/code", {"otp": code(person)}).status == 401
    assert slow.get("/login/code").location.startswith("/login")
    assert said(app, "reset-password", person.email, "--random")[0] == 0
    assert changed.post("/login/code", {"otp": code(person)}).status == 401
    as_owner(update(LoginAttempt).values(ended_at=None))
    as_owner(update(User).where(User.id == person.id).values(disabled_at=machine_now()))
    assert off.post("/login/code", {"otp": code(person)}).status == 401
    assert PageClient(app).get("/login/code").status == 302


@pytest.mark.parametrize("purpose", ["login", "reset"])
def test_a_link_that_works_once_asks_for_the_code_as_well(app: Flask, person: User, purpose: str) -> None:
    with_app(app, person)
    page = PageClient(app)
    path = link(page, person, purpose)
    page.get(path)
    pressed = page.post(path, {"password": "four quiet herons wade"} if purpose == "reset" else {})
    assert pressed.location.startswith("/login/code") and page.get("/profile").status == 302
    page.get("/login/code")
    assert page.post("/login/code", {"otp": code(person)}).status == 303 and page.get("/profile").status == 200


# Asked of everybody by a client


def test_a_client_that_asks_for_it_opens_once_it_is_set_up_and_others_stay_open(app: Flask, client: Client, person: User) -> None:
    other = make_client(slug="other", name="Other")
    save(Membership(client_id=other.id, user_id=person.id, role="agent"))
    page = PageClient(app).log_in(person)
    assert page.get("/c/acme/inbox/").status == 200
    ask_of_everybody(app, client)
    closed = page.get("/c/acme/inbox/?view=mine")
    assert (closed.status, closed.location) == (302, f"{HERE}?next=%2Fc%2Facme%2Finbox%2F%3Fview%3Dmine")
    part = page.get("/c/acme/live-card", fragment=True, headers={"HX-Current-URL": "http://localhost/c/acme/inbox/"})
    assert part.status == 403 and part.response.headers["HX-Redirect"] == f"{HERE}?next=%2Fc%2Facme%2Finbox%2F"
    assert page.post("/c/acme/campaigns/new", {"name": "X"}).location == HERE
    assert page.get("/c/other/inbox/").status == 200
    asked = page.get(closed.location)
    assert "Acme asks everybody for a second factor" in asked.words
    begun = page.post(asked.form("/begin").get("action", ""), {"password": PASSWORD})
    done = page.post(begun.form("/confirm").get("action", ""), {"otp": code(person)})
    onward = next(a.get("href", "") for a in done.all("a", class_="btn-primary"))
    assert onward == "/c/acme/inbox/?view=mine" and page.get(onward).status == 200
    line = actions("setting.change")[0]
    assert (line.client_id, line.object_id, line.after["value"]) == (client.id, f"{client.id}:second_factor_required", True)


def test_an_admin_ticks_it_in_the_settings_and_is_asked_first(app: Flask, client: Client) -> None:
    admin = make_user(client, password=PASSWORD, name="Ada")
    page = PageClient(app).log_in(admin)
    page.get("/c/acme/settings/")
    kept = page.post("/c/acme/settings/", settings_form(second_factor_required="1", retention_days="1"))
    assert kept.status == 422 and kept.find("input", name="second_factor_required").get("checked") is not None
    assert page.post("/c/acme/settings/", settings_form(second_factor_required="1")).status == 303
    assert page.get("/c/acme/settings/").location.startswith(HERE), "it holds with the next request, also for whoever switched it on"
    with_app(app, admin)
    page = logged_in(app, admin)
    people = page.get("/c/acme/settings/people")
    assert "Second factor" in people.words
    assert page.get("/c/acme/settings/").find("input", name="second_factor_required").get("checked") is not None
    page.post("/c/acme/settings/", settings_form(factor_version="1", cap_version="1", hours_version="1"))
    assert [line.after["value"] for line in actions("setting.change") if line.object_id.endswith("second_factor_required")] == [True, False]


def test_a_live_stream_tells_nothing_of_a_client_that_is_closed(app: Flask, client: Client, person: User) -> None:
    ask_of_everybody(app, client)
    product, person_id = web_app(app), person.id

    def seats() -> tuple[bool, ...]:
        with product.app_context(), transaction(NOBODY):
            return tuple(seat.closed for seat in viewer_of(db.session.get_one(User, person_id), 0).member_seats)

    assert as_web(seats) == (True,)


# Lost phones


def test_an_operator_takes_it_off_by_page_and_by_command(app: Flask, client: Client, person: User) -> None:
    operator = PageClient(app).log_in(make_user(client, is_operator=True, name="Olga"))
    with_app(app, person)
    theirs = logged_in(app, person)
    assert "Take the second factor off" in operator.get(f"/operations/people?q={person.email}").words
    assert operator.post(f"/operations/people/{person.id}/reset_factor").status == 303
    assert operator.post(f"/operations/people/{person.id}/reset_factor").status == 409
    assert theirs.get("/profile").status == 302, "whoever holds the lost phone is out"
    with_app(app, person)
    code_, output = said(app, "remove-second-factor", person.email)
    assert code_ == 0 and "no second factor any more" in output
    assert said(app, "remove-second-factor", person.email)[0] == 1
    assert db.session.query(SecondFactor).count() == db.session.query(RecoveryCode).count() == 0
    assert [line.after for line in actions("user.second_factor")][1::2] == [{"second_factor": False}] * 2
