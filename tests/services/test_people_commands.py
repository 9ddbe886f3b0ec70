"""The operator's verbs about people, as they are typed: each says what it did, and a refusal is one sentence."""

from __future__ import annotations

from flask import Flask

from app.core.extensions import db
from app.models import Membership, User
from tests.factories import make_client, make_user
from tests.web.page_client import PageClient, as_web, web_app


def said(app: Flask, *words: str, typed: str = "") -> tuple[int, str]:
    runner = web_app(app).test_cli_runner()
    result = as_web(lambda: runner.invoke(args=list(words), input=typed))
    return result.exit_code, result.output


def path_of(output: str) -> str:
    return "/" + output.strip().rsplit("/", 1)[0].split("/", 3)[3] + "/" + output.strip().rsplit("/", 1)[1]


def test_a_made_user_sets_a_password_by_link_and_is_given_a_seat(app: Flask) -> None:
    make_client(slug="acme")
    code, output = said(app, "create-user", "ada@house.test", "--name", "Ada")
    assert code == 0 and "/login/link/" in output
    page = PageClient(app)
    page.get(path_of(output))
    assert page.post(path_of(output), {"password": "four quiet herons wade"}).status == 303
    assert said(app, "grant", "ada@house.test", "acme", "agent")[0] == 0
    assert db.session.query(Membership).one().role == "agent"
    assert page.get("/c/acme/live-card", fragment=True).status == 200


def test_a_password_from_standard_input_must_be_a_good_one(app: Flask) -> None:
    code, output = said(app, "create-user", "ada@house.test", "--password-stdin", typed="short\n")
    assert code == 1 and "at least 12 characters" in output and db.session.query(User).count() == 0
    assert said(app, "create-user", "ada@house.test", "--operator", "--password-stdin", typed="four quiet herons wade\n")[0] == 0
    assert db.session.query(User).one().is_operator


def test_nobody_and_no_client_are_said_in_one_sentence(app: Flask) -> None:
    assert said(app, "login-link", "nobody@house.test") == (1, "Error: Nobody has the address nobody@house.test.\n")
    make_user(email="ada@house.test")
    assert "No client has the short name none" in said(app, "grant", "ada@house.test", "none", "admin")[1]


def test_a_random_password_ends_every_session(app: Flask) -> None:
    user = make_user(make_client())
    page = PageClient(app).log_in(user)
    code, output = said(app, "reset-password", user.email, "--random")
    assert code == 0 and len(output.strip().rsplit(" ", 1)[1]) >= 20
    assert page.get("/profile").status == 302


def test_the_claim_link_is_given_until_somebody_claimed(app: Flask) -> None:
    code, output = said(app, "claim-link")
    assert code == 0 and "/claim/" in output
    page = PageClient(app)
    page.get(path_of(output))
    assert page.post(path_of(output), {"email": "ada@house.test", "name": "Ada", "password": "four quiet herons wade"}).status == 303
    assert said(app, "claim-link") == (0, "This instance is claimed.\n")
