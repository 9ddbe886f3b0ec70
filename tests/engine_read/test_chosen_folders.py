"""Where nobody can tell which folder holds junk, a person is asked, and the folder they name is read."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from app.channels.imap_folders import Folder, Role, as_chosen
from app.core.extensions import db
from sandbox.mail.server import RunningMailServer
from tests.engine_read.running import running_engine, until
from tests.engine_read.test_reading import ADDRESS, enrollment_status, house, reply, scalar, server  # noqa: F401 (fixtures)


@pytest.mark.slow
def test_a_reply_in_the_junk_folder_a_person_chose_stops_the_sequence(
    app: Flask, server: RunningMailServer, house: dict[str, Any]  # noqa: F811
) -> None:
    account = server.server.store.accounts[ADDRESS]
    server.call(lambda: (server.server.store.delete_folder(account, "Junk"), server.server.store.create_folder(account, "Bin 7")))
    server.deliver(ADDRESS, reply(house), "Bin 7")
    with running_engine(app, house["settings"]):
        until(lambda: scalar("SELECT read_status FROM mailboxes") == "ok")
        assert enrollment_status(house) == "waiting"
        db.session.execute(text("UPDATE mailboxes SET junk_folder = 'Bin 7'"))
        db.session.commit()
        until(lambda: enrollment_status(house) == "replied", 20)
    assert scalar("SELECT folder_role FROM messages WHERE direction = 'in'") == "junk"


def test_a_persons_word_comes_before_the_servers() -> None:
    folders = [Folder("INBOX", Role.INBOX, "INBOX"), Folder("Sent", Role.SENT, "Sent"), Folder("Old", None, "Old")]
    assert [one.role for one in as_chosen(folders, sent="Old")] == [Role.INBOX, None, Role.SENT]
    assert as_chosen(folders, sent="Gone", junk="INBOX") == folders
