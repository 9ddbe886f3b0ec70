"""Rotating keys while mailboxes get new passwords and the one who rotates is killed: nothing is lost, the old key is not needed.

``EMBERPOST_ROTATED_MAILBOXES`` makes it larger: 50,000 mailboxes are 100,000 secrets.
"""

from __future__ import annotations

import os
import random
import signal
import time

import pytest
from flask import Flask
from sqlalchemy import text

from app.core.crypto import Vault, use_vault, vault
from app.core.db import transaction
from app.core.extensions import db
from app.services import key_rotation
from tests.conftest import KEYS
from tests.factories import make_client, make_mailbox
from tests.services.test_key_rotation import NEWER

MAILBOXES = int(os.environ.get("EMBERPOST_ROTATED_MAILBOXES", "1500"))
CHANGED = 40  # mailboxes whose password is changed again and again meanwhile
COLUMNS = ("smtp_secret", "imap_secret")

pytestmark = pytest.mark.slow


def _furnish() -> list[int]:
    """One mailbox made by the factory and copies of it, each with its own secrets under the old key."""
    first = make_mailbox(make_client()).id
    db.session.execute(text("SET LOCAL ROLE emberpost_owner"))
    db.session.execute(
        text(
            "INSERT INTO senders SELECT (jsonb_populate_record(s, jsonb_build_object('id', s.id + n, 'address', 'b' || n || '@ours.test',"
            " 'address_key', 'b' || n || '@ours.test'))).* FROM senders s, generate_series(1, :more) n WHERE s.id = :first"
        ),
        {"first": first, "more": MAILBOXES - 1},
    )
    db.session.execute(
        text(
            "INSERT INTO mailboxes SELECT (jsonb_populate_record(m, jsonb_build_object('id', m.id + n))).*"
            " FROM mailboxes m, generate_series(1, :more) n WHERE m.id = :first"
        ),
        {"first": first, "more": MAILBOXES - 1},
    )
    ids = list(range(first, first + MAILBOXES))
    for column in COLUMNS:
        sealed = [vault().seal(f"password {number}", f"mailboxes.{column}:{number}") for number in ids]
        statement = f"UPDATE mailboxes m SET {column} = x.s FROM unnest(cast(:ids AS bigint[]), cast(:s AS text[])) AS x(id, s) WHERE m.id = x.id"
        db.session.execute(text(statement), {"ids": ids, "s": sealed})
    db.session.commit()
    return ids


def _child(work: object) -> int:
    """A process of its own with its own connections; it never comes back into the test."""
    pid = os.fork()
    if pid:
        return pid
    try:
        db.session.remove()
        db.engine.dispose(close=False)
        work()  # type: ignore[operator]
    finally:
        os._exit(0)


def _change_passwords(ids: list[int]) -> None:
    """What the page Mailboxes does, as fast as it can: always with the newest key."""
    number = 0
    while True:
        number += 1
        for mailbox_id in ids:
            with transaction():
                fresh = vault().seal(f"changed {number}", f"mailboxes.smtp_secret:{mailbox_id}")
                db.session.execute(text("UPDATE mailboxes SET smtp_secret = :s WHERE id = :id"), {"s": fresh, "id": mailbox_id})


def _left() -> int:
    with transaction():
        return key_rotation.old_secrets()


def test_killed_again_and_again_under_load_every_secret_opens_with_the_new_key_alone(app: Flask) -> None:
    before, dice = vault(), random.Random(4)
    ids = _furnish()
    use_vault(Vault(f"{NEWER},{KEYS}"))
    began = time.monotonic()
    writer = _child(lambda: _change_passwords(ids[:: max(1, MAILBOXES // CHANGED)]))
    kills = 0
    try:
        while kills < (60 if MAILBOXES > 10_000 else 8) and (left := _left()):
            rotating = _child(lambda: app.test_cli_runner().invoke(args=["keys", "rotate"]))
            while _left() == left:  # it has sealed something, and is killed in the middle of more
                time.sleep(0.005)
            time.sleep(dice.uniform(0, 0.05))
            os.kill(rotating, signal.SIGKILL)
            os.waitpid(rotating, 0)
            kills += 1
        result = app.test_cli_runner().invoke(args=["keys", "rotate"])
    finally:
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
    assert result.exit_code == 0 and kills >= 3, (kills, result.output)
    print(f"{MAILBOXES * 2} secrets, {kills} kills, {time.monotonic() - began:.1f} s; {result.output.strip()}")
    use_vault(Vault(NEWER))
    try:
        assert key_rotation.old_secrets() == 0
        for column in COLUMNS:
            for row in db.session.execute(text(f"SELECT id, {column} AS sealed FROM mailboxes ORDER BY id")).all():
                opened = vault().open(row.sealed, f"mailboxes.{column}:{row.id}")
                assert opened == f"password {row.id}" or opened.startswith("changed "), (column, row.id)
    finally:
        use_vault(before)
