"""Production sending processes for tests: started from a zygote, killed at will, in a world that counts at the receiver."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psycopg

from app.core.config import Settings, libpq_url
from sandbox.mail.sink import SinkRates

NO_MISHAPS = SinkRates()
ROOT = Path(__file__).resolve().parent.parent.parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Zygote:
    """Starts workers; knows which have ended and how."""

    def __init__(self, log: Path) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "tests.engine.zygote", str(log)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT,
        )  # fmt: skip
        self._started: queue.Queue[int] = queue.Queue()
        self.ended: dict[int, int] = {}
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            news = json.loads(line)
            if "started" in news:
                self.ended.pop(news["started"], None)  # numbers come round again
                self._started.put(news["started"])
            else:
                self.ended[news["ended"]] = news["code"]

    def start(self, settings: Settings) -> int:
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps({"settings": asdict(settings)}).encode() + b"\n")
        self._child.stdin.flush()
        return self._started.get(timeout=60)

    def wait(self, pid: int, seconds: float) -> int | None:
        """Its exit code once it has ended, or None."""
        end = time.monotonic() + seconds
        while pid not in self.ended and time.monotonic() < end:
            time.sleep(0.002)
        return self.ended.get(pid)

    def kill(self, pid: int, number: int = signal.SIGKILL) -> None:
        if pid not in self.ended:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def close(self) -> None:
        assert self._child.stdin is not None
        self._child.stdin.close()
        self._child.wait(30)


class Provider:
    """The receiver of ``tests.engine.receiver`` in a process of its own: SMTP and IMAP ports, and the word when it is quiet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.smtp_port, self.imap_port, self._control_port = free_port(), free_port(), free_port()
        self._child: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def start(self, addresses: list[str], rates: SinkRates) -> None:
        given = {
            "path": str(self.path), "smtp_port": self.smtp_port, "imap_port": self.imap_port, "control_port": self._control_port,
            "addresses": addresses, "password": "secret-of-the-mailbox", "rates": asdict(rates),
        }  # fmt: skip
        self._child = subprocess.Popen([sys.executable, "-m", "tests.engine.receiver"], stdin=subprocess.PIPE, cwd=ROOT)
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps(given).encode())
        self._child.stdin.close()
        _wait_for(self.smtp_port)
        self._control = socket.create_connection(("127.0.0.1", self._control_port), 5)

    def sessions(self) -> tuple[int, int]:
        """(newest session ever, oldest session that is still open)."""
        assert self._control is not None
        self._control.settimeout(60)
        self._control.sendall(b"?\n")
        newest, oldest = self._control.recv(100).split()
        return int(newest), int(oldest)

    def close(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._child is not None:
            self._child.kill()
            self._child.wait()


@contextmanager
def provider(path: Path) -> Iterator[Provider]:
    one = Provider(path)
    try:
        yield one
    finally:
        one.close()


@contextmanager
def zygote(log: Path) -> Iterator[Zygote]:
    parent = Zygote(log)
    try:
        yield parent
    finally:
        parent.close()


@contextmanager
def sink(path: Path, rates: SinkRates = NO_MISHAPS) -> Iterator[int]:
    """A counting receiver in a process of its own; its port."""
    port = free_port()
    code = (
        "import sys, json; from pathlib import Path; from sandbox.mail.sink import *;"
        "run_sink(Path(sys.argv[1]), int(sys.argv[2]), SinkRates(**json.loads(sys.argv[3])))"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(path), str(port), json.dumps(asdict(rates))], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(port)
        yield port
    finally:
        child.kill()
        child.wait()


def _wait_for(port: int) -> None:
    end = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def owner_of(pid: int) -> str:
    return f"dispatch@{socket.gethostname()}:{pid}"


class Database:
    """A plain look at the ledger beside the product's own connections."""

    def __init__(self, settings: Settings) -> None:
        self.connection: psycopg.Connection[Any] = psycopg.connect(libpq_url(settings.database_url), autocommit=True)

    def one(self, statement: str, *values: Any) -> Any:
        row = self.connection.execute(statement, values).fetchone()
        return row[0] if row else None

    def all(self, statement: str, *values: Any) -> list[Any]:
        return self.connection.execute(statement, values).fetchall()

    def run(self, statement: str, *values: Any) -> int:
        """Again where it met the engine: a test's own statement takes rows in no order, so now and then it is the one that is taken back."""
        for _ in range(5):
            with contextlib.suppress(psycopg.errors.DeadlockDetected):
                return self.connection.execute(statement, values).rowcount
        return self.connection.execute(statement, values).rowcount

    def bury(self, pid: int) -> int:
        """What a supervisor knows: this process is dead. How many rows it held."""
        held = self.one("SELECT count(*) FROM deliveries WHERE lease_owner = %s AND status IN ('leased', 'committing')", owner_of(pid))
        self.run("UPDATE shards SET owner = NULL, leased_until = clock_timestamp() - interval '1 min' WHERE owner = %s", owner_of(pid))
        self.run("DELETE FROM process_beats WHERE name = %s", owner_of(pid))
        return int(held)

    def close(self) -> None:
        self.connection.close()


BULK = """
WITH people AS (
  INSERT INTO leads (client_id, email, email_key, first_name, custom)
  SELECT %(client)s, 'lead' || %(tag)s || '-' || n || '@buyer.test', 'lead' || %(tag)s || '-' || n || '@buyer.test', 'Ada', '{}'
  FROM generate_series(1, %(count)s) n RETURNING id, email),
 walks AS (
  INSERT INTO enrollments (client_id, campaign_id, lead_id, sender_id, status, next_step_id, next_at, enrolled_at)
  SELECT %(client)s, %(campaign)s, id, (%(boxes)s::bigint[])[1 + id %% %(width)s], 'in_flight', %(step)s, now(), now() FROM people
  RETURNING id, lead_id, sender_id)
INSERT INTO deliveries (client_id, idempotency_key, kind, sender_id, campaign_id, enrollment_id, step_id, lead_id, due_at, to_address,
                        email_key, recipient_domain, draft, evidence)
SELECT %(client)s, 'step:' || walks.id || ':' || %(step)s, 'campaign_step', walks.sender_id, %(campaign)s, walks.id, %(step)s,
       walks.lead_id, now() - interval '1 min', people.email, people.email, 'buyer.test', '{}', '{}'
FROM walks JOIN people ON people.id = walks.lead_id
"""


def enrol_many(database: Database, campaign: Any, step_id: int, boxes: list[int], tag: str, count: int) -> None:
    """Leads with a first message due now, in bulk."""
    values = {"client": campaign.client_id, "campaign": campaign.id, "step": step_id, "boxes": boxes}
    database.connection.execute(BULK, {**values, "width": len(boxes), "tag": tag, "count": count})
