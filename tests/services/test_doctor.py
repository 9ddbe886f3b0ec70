"""The doctor finds what keeps an installation from sending, and says the fix."""

from __future__ import annotations

import dataclasses
import threading

import pytest
from flask import Flask
from sqlalchemy import text

from app.channels.wiring import build_channels
from app.core.config import greeting_name
from app.core.extensions import db
from app.models import Instance
from app.services import doctor
from app.services.doctor import ALL, BEFORE_SENDING, State, examine, reds
from jobs import base
from tests.factories import make_campaign, make_client, make_mailbox, save


def _of(app: Flask, name: str, **changes: object):  # type: ignore[no-untyped-def]
    settings = dataclasses.replace(app.extensions["settings"], **changes)
    return next(finding for finding in examine(settings, ALL) if finding.name == name)


def test_every_red_or_warning_row_says_what_to_do(app: Flask) -> None:
    findings = examine(app.extensions["settings"], ALL)
    assert len(findings) == len(ALL)
    assert all(finding.fix for finding in findings if finding.state is not State.GOOD)


def test_a_sender_refuses_to_start_without_fsync(app: Flask) -> None:
    """The servers of the tests run without fsync: just the machine this check exists for."""
    assert "durability" in {finding.name for finding in reds(app.extensions["settings"])}


def test_a_sender_refuses_to_start_without_a_scheduler_and_starts_with_one(app: Flask) -> None:
    assert "process scheduler" in {finding.name for finding in reds(app.extensions["settings"])}
    db.session.execute(text("INSERT INTO process_beats (name, kind) VALUES ('scheduler@here:1', 'scheduler')"))
    db.session.commit()
    assert "process scheduler" not in {finding.name for finding in reds(app.extensions["settings"])}


def test_a_sample_secret_is_red(app: Flask) -> None:
    assert _of(app, "secret", secret_key="a" * 40).state is State.RED
    assert _of(app, "secret").state is State.GOOD


def test_an_instance_never_changes_its_mode(app: Flask) -> None:
    save(Instance(id=1, mode="real", facts={}))
    assert _of(app, "mode").state is State.GOOD
    assert _of(app, "mode", mode="rehearsal").state is State.RED


def test_a_password_sealed_with_a_lost_key_is_named(app: Flask) -> None:
    mailbox = make_mailbox(make_client())
    assert _of(app, "stored passwords").state is State.GOOD
    mailbox.smtp_secret = "g1:lost:" + mailbox.smtp_secret.split(":", 2)[2]
    db.session.commit()
    finding = _of(app, "stored passwords")
    assert finding.state is State.RED and str(mailbox.id) in finding.found


def test_working_as_the_login_role_itself_is_red(app: Flask) -> None:
    db.session.execute(text("RESET ROLE"))
    db.session.commit()
    assert _of(app, "role").state is State.RED


def test_a_database_behind_the_code_is_red(app: Flask) -> None:
    db.session.execute(text("SET ROLE emberpost_owner"))
    db.session.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    db.session.execute(text("SET ROLE emberpost_jobs"))
    db.session.commit()
    assert _of(app, "migrations").state is State.RED


def test_the_command_ends_with_2_when_something_is_red(app: Flask) -> None:
    result = app.test_cli_runner().invoke(args=["doctor"])
    assert result.exit_code == 2
    assert "fsync" in result.output and "→" in result.output


def test_the_checks_before_sending_are_among_all() -> None:
    assert set(BEFORE_SENDING) < set(ALL)


def test_a_sender_waits_on_red_rows_says_each_fix_and_begins_when_they_are_gone(
    app: Flask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    left = [[doctor.red("process scheduler", "never heard of.", "Start it.")]] * 2 + [[]]
    asked: list[int] = []

    def reds(_settings: object) -> list[doctor.Finding]:
        asked.append(1)
        return left[len(asked) - 1]

    monkeypatch.setattr(doctor, "reds", reds)
    monkeypatch.setattr(base, "FIT_LOOK_SECONDS", 0.01)
    base.wait_until_fit(app, threading.Event())
    assert len(asked) == 3
    assert [record.getMessage().count("Start it.") for record in caplog.records if "nothing is sent" in record.getMessage()] == [1]


def test_the_sending_process_itself_waits_where_fsync_is_off(app: Flask) -> None:
    """The real entry point on the tests' own servers, which give up fsync: it must not claim anything, and must end on a signal."""
    stopping = threading.Event()
    waiting = threading.Thread(target=base.wait_until_fit, args=(app, stopping))
    waiting.start()
    waiting.join(timeout=1.5)
    assert waiting.is_alive()
    stopping.set()
    waiting.join(timeout=10)
    assert not waiting.is_alive()


@pytest.mark.parametrize(("full", "said"), [("localhost", "["), ("localhost.localdomain", "["), ("vm", "["), ("desk.example.org", "desk.example.org")])
def test_we_never_greet_as_localhost_and_the_doctor_names_what_is_said(app: Flask, monkeypatch: pytest.MonkeyPatch, full: str, said: str) -> None:
    monkeypatch.setattr("app.core.config.socket.getfqdn", lambda: full)
    settings = app.extensions["settings"]
    name = greeting_name(settings)
    assert name.startswith(said)
    assert build_channels(settings).email._ehlo_name == name
    finding = _of(app, "greeting name")
    assert name in finding.found
    assert finding.state is (State.WARNING if said == "[" else State.GOOD)


def test_campaigns_under_way_without_a_postal_address_are_named(app: Flask) -> None:
    """A launch demands it and it cannot be emptied: only what an earlier version started can be without."""
    without, drafting, fine = make_client(name="No Address", postal_address=" "), make_client(name="Drafts", postal_address=""), make_client()
    for client, status in ((without, "running"), (drafting, "draft"), (fine, "running")):
        make_campaign(client, status=status)
    found = _of(app, "postal address")
    assert found.state is State.WARNING and "No Address" in found.found and "Drafts" not in found.found and "Settings" in found.fix
    without.postal_address = "1 Street"
    db.session.commit()
    assert _of(app, "postal address").state is State.GOOD
