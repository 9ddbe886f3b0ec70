"""Gmail's All Mail: what a filter sent past the inbox is noticed, nothing is met twice, and our own mail is not news."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask

from app.core.extensions import db
from jobs.reading import mailbox
from sandbox.mail.server import MailConfig, RunningMailServer
from tests import factories as make
from tests.engine_read.running import running_engine, until
from tests.engine_read.test_reading import ADDRESS, enrollment_status, house, reply, scalar  # noqa: F401 (fixtures)
from tests.services.mails import mail
from tests.services.test_receiving import OURS

ALL = "[Gmail]/All Mail"
OWN_COPY = OURS.replace(b"s@ourhouse.test", ADDRESS.encode())


@pytest.fixture(params=[True, False], ids=["gmail", "all"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningMailServer]:
    """A server with Gmail's extensions, and one that only has a folder of everything."""
    monkeypatch.setattr(mailbox, "poll_seconds", lambda: 0.3)
    with RunningMailServer(MailConfig()) as running:
        account = running.add_account(ADDRESS, "secret", gmail=True)
        if not request.param:
            running.call(lambda: setattr(account, "tells_gmail", False))
        yield running


def test_a_reply_that_a_filter_sent_past_the_inbox_stops_the_sequence(
    app: Flask, server: RunningMailServer, house: dict[str, Any]  # noqa: F811
) -> None:
    with running_engine(app, house["settings"]):
        until(lambda: scalar("SELECT read_status FROM mailboxes") == "ok")
        server.deliver(ADDRESS, reply(house), ALL)
        until(lambda: enrollment_status(house) == "replied")
    assert scalar("SELECT count(*) FROM messages WHERE direction = 'in'") == 1
    assert scalar("SELECT folder_role FROM messages WHERE direction = 'in'") == "other"


@pytest.mark.slow
def test_a_message_in_several_folders_is_met_once_and_our_own_is_no_news(
    app: Flask, server: RunningMailServer, house: dict[str, Any]  # noqa: F811
) -> None:
    with running_engine(app, house["settings"]):
        until(lambda: scalar("SELECT read_status FROM mailboxes") == "ok")
        server.deliver(ADDRESS, OWN_COPY, "Sent")
        server.deliver(ADDRESS, reply(house))
        server.deliver(ADDRESS, mail(ADDRESS, "stranger@far.test", "Unfinished", message_id="<draft@ourhouse.test>"), "Drafts", ["\\Draft"])
        server.deliver(ADDRESS, reply(house, 2), "Junk")
        until(lambda: scalar("SELECT count(*) FROM messages WHERE direction = 'in'") == 2)
        rescued = server.messages(ADDRESS, "Junk")[0]
        server.deliver(ADDRESS, rescued.raw)
        server.expunge(ADDRESS, [rescued.uid], "Junk")
        server.renumber(ADDRESS, ALL, first_uid=500)
        server.deliver(ADDRESS, reply(house, 3))
        until(lambda: scalar("SELECT count(*) FROM messages WHERE direction = 'in'") == 3)
        until(lambda: scalar("SELECT count(*) FROM folder_states WHERE folder = :all AND last_uid >= 503", all=ALL) == 1)
    assert scalar("SELECT unread FROM conversations") == 3
    assert scalar("SELECT count(*) FROM activities WHERE kind = 'message_received'") == 3
    assert scalar("SELECT count(*) FROM messages WHERE external_id = 'draft@ourhouse.test'") == 0
    assert scalar("SELECT count(*) FROM messages WHERE direction = 'out' AND delivery_id IS NULL") == 0


def test_what_one_of_us_wrote_from_outside_is_found_with_everything_and_holds_the_lead(
    app: Flask, server: RunningMailServer, house: dict[str, Any]  # noqa: F811
) -> None:
    with running_engine(app, house["settings"]):
        until(lambda: scalar("SELECT read_status FROM mailboxes") == "ok")
        server.deliver(ADDRESS, mail(ADDRESS, house["lead"].email, "By phone", message_id="<outside@ourhouse.test>"), "Sent")
        until(lambda: enrollment_status(house) == "paused", 5)
    assert scalar("SELECT count(*) FROM messages WHERE direction = 'out' AND external_id = 'outside@ourhouse.test'") == 1
    assert scalar("SELECT count(*) FROM conversations WHERE unread > 0") == 0


def test_a_gmail_box_that_was_read_by_its_inbox_goes_over_to_all_mail_without_a_second_message(app: Flask) -> None:
    """As after an upgrade: the inbox was read, now All Mail is; what lies in both is known."""
    with RunningMailServer(MailConfig()) as server:
        account = server.add_account(ADDRESS, "secret", gmail=True)
        box = make.make_mailbox(
            make.make_client(), email=ADDRESS, password="secret", imap_port=server.ports.imap, read_since=datetime.now(UTC) - timedelta(minutes=1)
        )
        db.session.commit()
        server.call(lambda: setattr(account.folders[ALL], "special_use", "\\Trash"))
        server.deliver(ADDRESS, mail("a@far.test", ADDRESS, "One", message_id="<one@far.test>"))
        with running_engine(app, app.extensions["settings"]):
            until(lambda: scalar("SELECT count(*) FROM messages") == 1)
        server.call(lambda: setattr(account.folders[ALL], "special_use", "\\All"))
        server.deliver(ADDRESS, mail("a@far.test", ADDRESS, "Two", message_id="<two@far.test>"))
        with running_engine(app, app.extensions["settings"]):
            until(lambda: scalar("SELECT count(*) FROM messages") == 2)
            until(lambda: scalar("SELECT last_uid FROM folder_states WHERE folder = :all", all=ALL) == 2)
        assert scalar("SELECT string_agg(role, ',' ORDER BY role) FROM folder_states WHERE mailbox_id = :id", id=box.id) == "junk,other"
