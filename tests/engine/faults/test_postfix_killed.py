"""A real Postfix is killed while messages are on their way into it; what arrived is counted in a real Dovecot.

Single servers of its (``smtpd`` with the connection, ``cleanup`` with the queue file) and now and then all of it. What Postfix had
answered with 250 is in its queue and arrives, once; what we are not sure of is compared with the mailboxes at the end.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from imapclient import IMAPClient

from app.core.extensions import db
from sandbox.dovecot import Dovecot, find_program, running_dovecot
from sandbox.postfix import Postfix, postfix_is_possible, running_postfix
from tests import factories
from tests.conftest import settings_for
from tests.engine import workers
from tests.engine.conftest import until
from tests.engine.faults.harness import Keeper, sending, settle
from tests.engine.workers import Database

KILLS = int(os.environ.get("EMBERPOST_POSTFIX_KILLS", "10"))
MESSAGES_PER_KILL = 12
PASSWORD = "secret-of-the-mailbox"
SENDERS = [f"sender{n}@ours.test" for n in range(8)]
#: All leads share one mailbox behind Postfix, where everything is counted.
LEAD_BOX = "lead@theirs.test"
IN_DATA = "SELECT count(*) FROM deliveries WHERE status = 'committing'"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that Postfix' own users may walk through."""
    made = Path(tempfile.mkdtemp(prefix="killed-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


class Mortal:
    """A Postfix that can be killed, as a whole or in parts, and started again on the same ports with the same queue."""

    def __init__(self, postfix: Postfix) -> None:
        self._etc = postfix.folder / "etc"
        self._pid = postfix.pid
        self._again: subprocess.Popen[bytes] | None = None

    def servers(self, *names: str) -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError, IndexError):
                pid, stat = int(entry.name), (entry / "stat").read_text()
                name, rest = stat[stat.index("(") + 1 : stat.rindex(")")], stat.rsplit(")", 1)[1].split()
                if name in names and int(rest[3]) == self._session():
                    found.append(pid)
        return found

    def _session(self) -> int:
        return self._again.pid if self._again else self._pid

    def kill_some(self, name: str) -> int:
        killed = 0
        for pid in self.servers(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed += 1
        return killed

    def kill_all(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._session(), signal.SIGKILL)
        for pid in self.servers("smtpd", "cleanup", "qmgr", "lmtp", "master", "trivial-rewrite", "postlogd", "bounce"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._again:
            self._again.wait(5)
        program = find_program("postfix")
        assert program is not None
        time.sleep(0.2)
        self._again = subprocess.Popen(
            [program, "-c", str(self._etc), "start-fg"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    def end(self) -> None:
        if self._again:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._again.pid, signal.SIGKILL)
            self._again.wait(5)


def arrived(dovecot: Dovecot) -> Counter[str]:
    """Message-ID to how often it lies in the mailbox."""
    with IMAPClient("127.0.0.1", dovecot.imap_port, ssl=False, timeout=10) as session:
        session.login(LEAD_BOX, PASSWORD)
        session.select_folder("INBOX", readonly=True)
        found = session.fetch(session.search() or [0], ["BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)]"])
        texts = [item[b"BODY[HEADER.FIELDS (MESSAGE-ID)]"].decode() for item in found.values()]
    return Counter(text.split(":", 1)[1].strip() for text in texts if ":" in text)


def queue_is_empty(folder: Path) -> bool:
    return not any(path.is_file() for name in ("incoming", "active", "deferred", "maildrop") for path in (folder / "queue" / name).rglob("*"))


def flush(folder: Path) -> None:
    """What was put off while Dovecot or a part of Postfix was away is tried again."""
    program = find_program("postqueue")
    if program is not None:
        subprocess.run([program, "-c", str(folder / "etc"), "-f"], check=False, capture_output=True, timeout=20)


@pytest.mark.serial
@pytest.mark.slow
@pytest.mark.skipif(not postfix_is_possible(), reason="postfix is not installed or we are not root")
def test_a_postfix_killed_while_it_takes_messages_delivers_each_one_we_call_sent_exactly_once(app, database_url, redis_url, folder):
    dice = random.Random(12)
    settings = settings_for(database_url, redis_url, lease_seconds=5, drain_seconds=5)
    with ExitStack() as stack:
        accounts = dict.fromkeys([*SENDERS, LEAD_BOX], PASSWORD)
        dovecot = stack.enter_context(running_dovecot(folder / "dovecot", accounts))
        postfix = stack.enter_context(running_postfix(folder / "postfix", dovecot, ["ours.test", "theirs.test"]))
        mortal = Mortal(postfix)
        stack.callback(mortal.end)
        client = factories.make_client()
        boxes = [factories.make_mailbox(client, email=address, password=PASSWORD, smtp_port=postfix.smtp_port) for address in SENDERS]
        campaign = factories.make_campaign(client, mailboxes=tuple(boxes), steps=1)
        step, numbers = factories.first_step(campaign).id, [box.id for box in boxes]
        database = stack.enter_context(contextlib.closing(Database(settings)))
        stack.enter_context(Keeper(settings))
        hits: Counter[str] = Counter()
        with sending(settings):
            for number in range(KILLS):
                with database.connection.transaction():  # a sender that looks in between would write to nobody
                    workers.enrol_many(database, campaign, step, numbers, f"p{number}", MESSAGES_PER_KILL)
                    database.run("UPDATE deliveries SET to_address = %s WHERE status = 'queued'", LEAD_BOX)
                with contextlib.suppress(AssertionError):
                    until(lambda: database.one(IN_DATA) > 0, 5)
                time.sleep(dice.uniform(0, 0.02))
                kind = ("smtpd", "cleanup", "smtpd", "cleanup", "all of it")[number % 5]
                before = database.one(IN_DATA)
                if kind == "all of it":
                    mortal.kill_all()
                else:
                    mortal.kill_some(kind)
                hits[kind] += 1
                hits["while in flight"] += before > 0
            until(lambda: database.one("SELECT count(*) FROM deliveries WHERE status IN ('queued', 'leased', 'committing')") == 0, 60)
            unsure = database.one("SELECT count(*) FROM deliveries WHERE status = 'uncertain'")
            flusher = threading.Timer(0, flush, [folder / "postfix"])
            flusher.start()
            until(lambda: queue_is_empty(folder / "postfix"), 60)
            flusher.join()
            once = [row[0] for row in database.all("SELECT message_id FROM deliveries WHERE status = 'sent'")]
            in_box = arrived(dovecot)
            assert [key for key in once if in_box[key] != 1] == [], "called sent, and not there exactly once"
            took = settle(database, lambda: arrived(dovecot))
            until(lambda: queue_is_empty(folder / "postfix"), 60)
        in_box, rows = arrived(dovecot), {row[0] for row in database.all("SELECT message_id FROM deliveries")}
        print(f"\n{KILLS} kills {dict(hits)}, {len(rows)} messages, {unsure} not sure of, calm after {took:.1f} s")
        assert set(in_box) == rows and max(in_box.values()) == 1
        assert hits["while in flight"] > 0
        db.session.remove()
