"""Messages that show up below the cursor, and messages a server lists without showing them: found, once, and nobody waits for them for ever."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from app.core.extensions import db
from jobs.reading import checking, folders, mailbox
from sandbox.mail.faults import ImapFault
from sandbox.mail.server import RunningMailServer
from tests.engine_read.running import running_engine, until
from tests.engine_read.test_reading import ADDRESS, enrollment_status, house, reply, scalar, server  # noqa: F401 (fixtures)
from tests.services.mails import mail

FULL = "SELECT count(*) FROM folder_states WHERE full_check_at IS NOT NULL"


@pytest.fixture(autouse=True)
def short_rounds(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(mailbox, "poll_seconds", lambda: 0.3)
    yield


def a_day_passes() -> None:
    db.session.execute(text("UPDATE folder_states SET full_check_at = full_check_at - interval '25 hours'"))
    db.session.commit()


def other(number: int) -> bytes:
    return mail(f"news{number}@paper.test", ADDRESS, f"News {number}", message_id=f"<news-{number}@paper.test>")


def read_whole(folders_checked: int = 3) -> None:
    until(lambda: scalar(FULL) == folders_checked, 20)


def test_a_message_that_shows_up_late_far_below_the_cursor_is_found_while_the_session_idles(
    app: Flask, server: RunningMailServer, house: dict[str, Any], monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:
    monkeypatch.setattr(checking, "PIECE", 3)
    server.skip_uids(ADDRESS, 1)  # the place of the late one
    for number in range(12):
        server.deliver(ADDRESS, other(number))
    with running_engine(app, house["settings"]):
        until(lambda: scalar("SELECT count(*) FROM messages") == 12)
        read_whole()
        server.show_late(ADDRESS, reply(house), uid=1)
        server.deliver(ADDRESS, other(99))
        until(lambda: scalar("SELECT count(*) FROM messages") == 13)
        assert enrollment_status(house) == "waiting"  # below the newest piece, and the night has not come
        a_day_passes()
        until(lambda: enrollment_status(house) == "replied")
        until(lambda: scalar(f"{FULL} AND full_check_at > clock_timestamp() - interval '1 hour'") == 3)
    assert scalar("SELECT count(*) FROM messages WHERE external_id = 'reply-1@buyer.test'") == 1


def test_a_late_message_below_the_first_ever_seen_is_found(app: Flask, server: RunningMailServer, house: dict[str, Any]) -> None:  # noqa: F811
    """The folder was empty at the first look: nothing below the cursor was ever seen, and it counts all the same."""
    server.skip_uids(ADDRESS, 5)
    with running_engine(app, house["settings"]):
        read_whole()
        server.show_late(ADDRESS, reply(house), uid=2)
        a_day_passes()
        until(lambda: enrollment_status(house) == "replied")


def test_the_nightly_check_leaves_alone_what_lay_there_before(app: Flask, server: RunningMailServer, house: dict[str, Any]) -> None:  # noqa: F811
    then = datetime.now(UTC) - timedelta(hours=3)
    for number in range(4):
        server.deliver(ADDRESS, mail(house["lead"].email, ADDRESS, f"Old {number}", message_id=f"<old-{number}@buyer.test>"), internaldate=then)
    with running_engine(app, house["settings"]):
        read_whole()
        a_day_passes()
        until(lambda: scalar(f"{FULL} AND full_check_at > clock_timestamp() - interval '1 hour'") == 3)
    assert scalar("SELECT count(*) FROM messages") == 0 and enrollment_status(house) == "waiting"


def test_many_late_messages_are_taken_in_piece_by_piece(
    app: Flask, server: RunningMailServer, house: dict[str, Any], monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:
    monkeypatch.setattr(checking, "AT_ONCE", 2)
    server.skip_uids(ADDRESS, 7)
    server.deliver(ADDRESS, other(99))
    with running_engine(app, house["settings"]):
        read_whole()
        for number in range(7):
            server.show_late(ADDRESS, other(number), uid=number + 1)
        a_day_passes()
        until(lambda: scalar("SELECT count(*) FROM messages") == 8)
        until(lambda: scalar(f"{FULL} AND full_check_at > clock_timestamp() - interval '1 hour'") == 3)
    assert scalar("SELECT count(DISTINCT external_id) FROM messages") == 8


def test_a_message_that_is_listed_and_never_shown_holds_up_nobody_for_ever(
    app: Flask, server: RunningMailServer, house: dict[str, Any], monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:
    monkeypatch.setattr(mailbox.Hosts, "failed", lambda *_: 0.05)
    monkeypatch.setattr(folders, "TIMES_NOT_SHOWN", 3)
    server.deliver(ADDRESS, other(1))
    server.imap_fault(ImapFault.NOT_SHOWN, ADDRESS, times=None)
    with running_engine(app, house["settings"]):
        until(lambda: scalar("SELECT count(*) FROM seen_uids WHERE identity = 'unshown'") == 1, 20)
        server.heal()
        server.deliver(ADDRESS, reply(house))
        until(lambda: enrollment_status(house) == "replied")
        until(lambda: scalar("SELECT count(*) FROM messages WHERE external_id = 'news-1@paper.test'") == 1)  # in the next round
    assert scalar("SELECT count(*) FROM seen_uids WHERE identity = 'unshown'") == 0
