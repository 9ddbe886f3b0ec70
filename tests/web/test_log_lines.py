"""What the processes write down: one JSON object a line, whatever it says; no secret, and of an error no value of a row."""

from __future__ import annotations

import json
import logging
import runpy

import pytest
from flask import Flask
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.core.extensions import db
from app.core.log import JsonLines
from app.models import User
from tests.api.api_client import ApiClient
from tests.conftest import ROOT
from tests.factories import make_client, make_user
from tests.web.page_client import PageClient

FORGED = 'x\n{"level": "info", "message": "forged"}\r\n\u2028\u2029\x1b[31m\x00\x85'


def line(message: str, error: BaseException | None = None, **facts: object) -> str:
    record = logging.LogRecord("test", logging.ERROR, "x.py", 1, message, None, (type(error), error, error.__traceback__) if error else None)
    record.facts = facts
    return JsonLines("web").format(record)


def test_a_line_is_one_json_object_whatever_it_says() -> None:
    said = line(FORGED, name=FORGED)
    assert said.isascii() and said.isprintable() and json.loads(said)["message"] == FORGED and json.loads(said)["name"] == FORGED
    try:
        raise ValueError(FORGED)
    except ValueError as error:
        assert "\n" not in line("broken", error) and "forged" in json.loads(line("broken", error))["traceback"]


def test_what_is_named_like_a_secret_is_covered() -> None:
    told = json.loads(line("x", smtp_password="hush", api_token="hush", delivery=7, Cookie="hush"))
    assert "hush" not in json.dumps(told) and told["delivery"] == 7


TAKEN = {"email": "hush-taken@house.test", "email_key": "hush-taken@house.test", "name": "hush-name", "password_hash": "hush-hash", "timezone": "UTC"}
STATEMENTS = {"unique": {}, "check": {"email_key": "hush-other", "theme": "hush-theme"}, "not null": {"email_key": "hush-more", "name": None}}


@pytest.mark.parametrize("kind", STATEMENTS)
def test_an_error_of_the_database_shows_no_value_of_its_row(app: Flask, kind: str) -> None:
    make_user(email="hush-taken@house.test")
    db.session.execute(text("SET LOCAL ROLE emberpost_owner"))
    with pytest.raises(DBAPIError) as caught:
        db.session.add(User(**{**TAKEN, **STATEMENTS[kind]}))
        db.session.flush()
    db.session.rollback()
    said = line("request failed", caught.value)
    assert "hush" not in said and "users" in said, said
    assert "hush" not in line(f"not written: {caught.value}")


@pytest.mark.parametrize("name", ["web", "stream"])
def test_the_servers_of_pages_write_like_every_other_process(name: str) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        runpy.run_path(str(ROOT / "jobs" / f"gunicorn_{name}.py"))["post_fork"](None, None)
        assert [type(handler.formatter) for handler in root.handlers] == [JsonLines]
    finally:
        root.handlers[:] = before
        root.setLevel(level)


def test_who_is_refused_and_who_guesses_is_written_down_without_what_they_sent(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    ours, _theirs = make_client(slug="ours"), make_client(slug="theirs")
    viewer = make_user(ours, "viewer", password="a lantern by the river")
    page, nobody, program = PageClient(app).log_in(viewer), PageClient(app), ApiClient(app)
    caplog.set_level("INFO")
    caplog.clear()
    nobody.get("/c/ours/leads/")
    assert not caplog.records, "a page that asks for a login refuses nobody"
    page.get("/c/theirs/leads/")
    page.post("/c/ours/leads/new", {"email": "hush@far.test"})
    page.post("/c/ours/leads/new", {"email": "hush@far.test"}, token="hush-forged")
    nobody.get("/login")
    nobody.post("/login", {"email": viewer.email, "password": "hush-typed"})
    program.token = "hush-token"
    program.get("/api/me")
    lines = [json.loads(JsonLines("web").format(record)) for record in caplog.records]
    told = [(one["message"], one.get("code") or one.get("kind"), one.get("user")) for one in lines]
    assert told[:3] == [("refused", "not_theirs", viewer.id), ("refused", "forbidden", viewer.id), ("refused", "csrf", viewer.id)], told
    assert ("a guess was wrong", "account-known", None) in told and told[-1][:2] == ("refused", "unauthenticated")
    assert all(one["address"] == "127.0.0.1" for one in lines) and "hush" not in json.dumps(lines) and viewer.email not in json.dumps(lines)
