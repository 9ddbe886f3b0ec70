"""A backup is put back: nothing leaves until `flask recover` is through, and afterwards nobody gets anything twice."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from flask import Flask
from sqlalchemy import text

from app import create_app
from app.core.config import libpq_url
from app.core.db import JOBS_ROLE, transaction, use_database_role
from app.core.errors import Conflict
from app.core.extensions import db
from app.models import Instance
from app.services import doctor
from app.services.outbox import own_ids, switches
from app.services.outbox.plain import plain_connection
from app.services.receiving.arrivals import Arrival, understand
from app.services.receiving.record import record
from app.services.recovery import continuity
from jobs import counting, sequence, upkeep
from launch.servers import Postgres
from tests import factories
from tests.conftest import ROOT, settings_for
from tests.engine.conftest import fresh, statuses, until


def soon() -> datetime:
    return datetime.now(UTC) - timedelta(minutes=1)


def install() -> None:
    factories.save(Instance(id=1, mode="real", facts={}))


def run_program(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def forget_connections() -> None:
    db.session.remove()
    db.engine.dispose()


def dump(url: str, path: Path) -> None:
    run_program("pg_dump", "-Fc", "-f", str(path), libpq_url(url))


def restore(url: str, path: Path) -> None:
    forget_connections()
    base, _, name = libpq_url(url).rpartition("/")
    with psycopg.connect(f"{base}/postgres", autocommit=True) as admin:
        admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        admin.execute(f'CREATE DATABASE "{name}"')
    run_program("pg_restore", "--exit-on-error", "-d", libpq_url(url), str(path))


def recover(app: Flask, *words: str) -> Any:
    db.session.remove()
    return app.test_cli_runner().invoke(args=["recover", *words])


def someone(tale: Any, box: Any, **values: Any) -> Any:
    """A lead whose first message is not made out yet and was due a minute ago."""
    lead = factories.make_lead(tale.client)
    return factories.make_enrollment(tale.campaign, lead, box, next_at=soon(), **values)


def used_by(box: Any) -> int:
    """Places taken in the mailbox's days."""
    statement = "SELECT sum(used) FROM usage_counters WHERE scope_kind = 'sender' AND scope_id = :id AND action = 'day'"
    return int(db.session.execute(text(statement), {"id": str(box.id)}).scalar() or 0)


def age() -> None:
    """A quarter of an hour passes."""
    db.session.execute(text("UPDATE deliveries SET permitted_at = permitted_at - interval '16 min' WHERE status = 'uncertain'"))
    db.session.commit()


def red_row(app: Flask) -> doctor.Finding:
    return next(one for one in doctor.examine(app.extensions["settings"], [doctor.check_continuity]))


@pytest.fixture
def tale(story: Any, mail: Any) -> Any:
    """Two mailboxes: the provider of the first files what it took, the second's does not. Two messages of each are due."""
    made = story(leads=4, mailboxes=2)
    copying = made.mailboxes[0]
    mail.server.store.accounts[copying.address].copies_to_sent = True
    copying.save_to_sent = "provider"
    db.session.commit()
    install()
    return made


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pg_dump") is None, reason="pg_dump is not installed")
def test_a_restored_dump_refuses_recovers_and_nobody_gets_anything_twice(tale, engine, mail, app, database_url, tmp_path):
    copying, other = tale.mailboxes
    with engine():
        until(lambda: statuses().get("sent") == 4)
    for box in (copying, copying, other, other):
        tale.add(box, due_at=soon())
    for box in (copying, other):
        someone(tale, box)
    never = tale.add(copying, due_at=datetime.now(UTC) + timedelta(hours=1))
    made_at = datetime.now(UTC)
    dump(database_url, tmp_path / "dump")
    lost = someone(tale, copying)
    lost_step = f"step:{lost.id}:{lost.next_step_id}"
    sequence.tick()
    with engine():
        until(lambda: statuses() == {"sent": 11, "queued": 1})
    before = mail.counts_by_message_id()
    assert len(before) == 11

    restore(database_url, tmp_path / "dump")
    sequence.tick()
    with engine():
        until(lambda: switches.state("instance").stopped)
        time.sleep(1.5)
    assert mail.counts_by_message_id() == before, "something left before anybody looked"
    finding = red_row(app)
    assert finding.state is doctor.State.RED and "flask recover --since 20" in finding.fix
    with pytest.raises(Conflict), transaction():
        switches.release_instance(by=None)

    first = recover(app, "--since", made_at.isoformat())
    assert first.exit_code == 1 and "answers not read since" in first.output, first.output
    done = recover(app, "--since", made_at.isoformat(), "--although-unread")
    assert done.exit_code == 0, done.output
    assert "copies found: 3" in done.output and "somebody who is not in this database" in done.output, done.output
    assert statuses() == {"sent": 7, "uncertain": 4}, done.output
    assert red_row(app).state is doctor.State.GOOD and not switches.state("instance").stopped
    assert used_by(copying) == 6 and used_by(other) == 5, "what was sent, or may have been, counts in the caps"

    age()
    assert upkeep.resolve_uncertain() == {"found": 0, "absent": 1, "unknown": 3}
    db.session.execute(text("UPDATE deliveries SET due_at = now() WHERE status = 'queued'"))
    db.session.commit()
    with engine():
        until(lambda: statuses() == {"sent": 8, "uncertain": 3})
    after = mail.counts_by_message_id()
    assert set(after.values()) == {1} and len(after) == 12
    assert fresh(never).message_id in after and own_ids.message_id_of(lost_step, copying.address) in after
    assert recover(app, "--since", made_at.isoformat()).exit_code == 1, "nothing says that another recovery is needed"
    newcomer = someone(tale, copying)
    assert newcomer.id > lost.id + 1_000_000, "a lost lead's number is never given to another one"
    assert counting.recount() == 0


def test_an_interrupted_recovery_goes_on_where_it_was(tale, engine, app):
    with engine():
        until(lambda: statuses().get("sent") == 4)
    for box in tale.mailboxes:
        tale.add(box, due_at=soon())
    with transaction():
        continuity.need_recovery(plain_connection(), continuity.MOVED)
    began = recover(app, "--since", soon().isoformat())
    assert began.exit_code == 1, began.output
    again = recover(app)
    number = began.output.split()[1]
    assert f"recovery {number}" in again.output and "2 messages held" in began.output and "messages held" not in again.output
    assert statuses() == {"sent": 4, "uncertain": 2}
    assert recover(app, "--although-unread").exit_code == 0


def test_a_message_in_sent_that_the_ledger_never_let_leave_stops_everything(tale, app):
    box = tale.mailboxes[0]
    known, ours = tale.deliveries[0], own_ids.message_id_of("step:99999:99999", box.address)
    for message_id in (own_ids.message_id_of("reply:7", box.address), "<other@program.test>"):
        assert not see(box, message_id) and not switches.state("instance").stopped
    assert see(box, ours)
    assert switches.state("instance").stopped and "Sent folder" in red_row(app).found
    assert fresh(known).status == "queued"


def see(box: Any, message_id: str) -> bool:
    """A mail with this id is met in the mailbox's Sent folder; was it taken for ours?"""
    raw = f"Message-ID: {message_id}\r\nFrom: {box.address}\r\nTo: x@elsewhere.test\r\nSubject: Hi\r\n\r\nHi.\r\n".encode()
    with transaction():
        return record(understand(Arrival(box.client_id, box.id, raw, "sent", datetime.now(UTC)))).own


def test_a_database_that_was_only_moved_is_accepted_by_a_word(tale, engine, app):
    with engine():
        until(lambda: statuses().get("sent") == 4)
    db.session.execute(text("UPDATE instance SET facts = jsonb_set(facts, '{ledger,cluster}', '\"elsewhere\"')"))
    db.session.commit()
    assert "another one" in red_row(app).found
    with engine():
        until(lambda: switches.state("instance").stopped)
    refused = app.test_cli_runner().invoke(args=["recover", "--moved"], input="n\n")
    assert refused.exit_code == 1
    assert app.test_cli_runner().invoke(args=["recover", "--moved"], input="y\n").exit_code == 0
    assert red_row(app).state is doctor.State.GOOD and not switches.state("instance").stopped


def test_a_stop_by_a_person_outlives_the_recovery(tale, app):
    with transaction():
        switches.stop_instance(by=None, reason="wrong list")
    with transaction():
        continuity.need_recovery(plain_connection(), continuity.MOVED)
    done = recover(app, "--since", soon().isoformat(), "--although-unread")
    assert done.exit_code == 0 and "person's stop" in done.output
    assert switches.state("instance").stopped


@contextmanager
def house_of_its_own(folder: Path, redis_url: str) -> Iterator[tuple[Postgres, Flask]]:
    """A cluster of its own with the product's tables, so that its files can be copied."""
    from flask_migrate import upgrade

    server = Postgres(folder, sync=False)
    app = create_app(settings_for(server.start(), redis_url, instance_id="basecopy", data_dir=str(folder)))
    use_database_role(JOBS_ROLE)
    try:
        with app.app_context():
            upgrade(directory=str(ROOT / "migrations"))
            yield server, app
            forget_connections()
    finally:
        server.stop()


@pytest.mark.slow
@pytest.mark.serial
def test_a_copy_of_the_cluster_put_back_is_noticed_by_what_senders_remember(mail, redis_url, tmp_path):
    """The same cluster in every respect, only older: system identifier, timeline and database are what they were."""
    from jobs.dispatch import Process
    from tests.engine.conftest import Story

    def sending(settings: Any) -> Process:
        return Process(settings).start()

    with house_of_its_own(tmp_path, redis_url) as (server, app):
        tale = Story(mail, leads=2)
        mail.server.store.accounts[tale.mailbox.address].copies_to_sent = True
        tale.mailbox.save_to_sent = "provider"
        db.session.commit()
        install()
        settings = app.extensions["settings"]
        process = sending(settings)
        until(lambda: statuses() == {"sent": 2})
        process.drain()
        tale.add(due_at=soon())
        put_aside(server, tmp_path / "copy")
        process = sending(settings)
        until(lambda: statuses() == {"sent": 3})
        process.drain()
        put_back(server, tmp_path / "copy")
        assert statuses() == {"sent": 2, "queued": 1}
        process = sending(settings)
        until(lambda: switches.state("instance").stopped)
        assert "older than what its senders remember" in red_row(app).found
        process.drain()
        done = recover(app, "--since", soon().isoformat(), "--although-unread")
        assert done.exit_code == 0, done.output
        process = sending(settings)
        tale.add(due_at=soon())
        until(lambda: statuses() == {"sent": 4})
        process.drain()
        assert sorted(mail.counts_by_message_id().values()) == [1, 1, 1, 1]


def put_aside(server: Postgres, copy: Path) -> None:
    forget_connections()
    server.stop()
    shutil.copytree(server.cluster, copy)
    server.start()


def put_back(server: Postgres, copy: Path) -> None:
    forget_connections()
    server.stop()
    shutil.rmtree(server.cluster)
    shutil.copytree(copy, server.cluster, copy_function=shutil.copy2)
    server.start()
