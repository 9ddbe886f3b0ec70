"""What a measurement of the sending road stands on: servers with fsync, a migrated ledger, mailboxes and rows that are due."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from launch.servers import ServerPair, running_pair

ROOT = Path(__file__).resolve().parent.parent
KEYS = "k1:MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
SECRET = "0123456789abcdef0123456789abcdef01234567"
PASSWORD = "secret-of-the-mailbox"
TICK = os.sysconf("SC_CLK_TCK")

_HTML = """<html><body style="font-family:sans-serif"><p>Hello {{first_name}},</p>
<p>I saw that {{company}} is growing and thought of you as its {{title | fallback: "colleague"}}.</p>
%s
<p>Would next week suit you? <a href="https://example.com/meet?who={{email}}">Choose a time</a>.</p>
<p>{{sender_first_name}}</p><p><a href="{{unsubscribe_url}}">Leave</a></p></body></html>"""
HTML = _HTML % "\n".join(f"<p>Paragraph {n}: what we do, for whom, and why it might be of use to a team such as yours.</p>" for n in range(34))
TEXT = "Hello {{first_name}},\n\nI saw that {{company}} is growing.\n\nWould next week suit you?\n\n{{sender_first_name}}\n\n{{unsubscribe_url}}\n"


@dataclass
class World:
    """Servers and the settings of one instance; ``environ`` starts the product's own processes in it."""

    pair: ServerPair
    folder: Path
    environ: dict[str, str]
    ledger: psycopg.Connection[Any]
    boxes: list[int] = field(default_factory=list)
    campaigns: list[tuple[int, int, int]] = field(default_factory=list)  # (client, campaign, first step)
    rounds: int = 0

    def one(self, statement: str, *values: Any) -> Any:
        row = self.ledger.execute(statement, values).fetchone()
        return row[0] if row else None


@contextmanager
def world(**environ: str) -> Iterator[World]:
    """A fresh instance in a folder of its own. ``environ``: more settings of the product."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="emberpost-bench-")))
        pair = stack.enter_context(running_pair(folder, sync=True))
        values = {
            "DATABASE_URL": pair.database_url, "REDIS_URL": pair.redis_url, "EMBERPOST_SECRET_KEY": SECRET,
            "EMBERPOST_ENCRYPTION_KEYS": KEYS, "EMBERPOST_ALLOW_TARGETS": "127.0.0.0/8", "EMBERPOST_EHLO_NAME": "bench.example.com",
            "EMBERPOST_PUBLIC_URL": "https://mail.example.com", "EMBERPOST_DATA": str(folder), "EMBERPOST_DRAIN_SECONDS": "10",
            **environ,
        }  # fmt: skip
        subprocess.run(
            [sys.executable, "-m", "flask", "--app", "wsgi", "db", "upgrade"], cwd=ROOT, env={**os.environ, **values}, check=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        ledger = stack.enter_context(psycopg.connect(pair.database_url, autocommit=True))
        yield World(pair, folder, values, ledger)


_ALWAYS = (
    "(SELECT jsonb_agg(jsonb_build_object('weekday', d, 'from', '00:00', 'to', '24:00')) FROM generate_series(0, 6) d)"
)


def furnish(world: World, mailboxes: int, port: int, *, security: str = "none", login: bool = False, clients: int = 4) -> None:
    """Mailboxes at the receiver on ``port``, spread over clients with two running campaigns each, every cap set and far away."""
    for number in range(clients):
        _make_client(world, number)
    _make_mailboxes(world, mailboxes, port, security, login)
    run = world.ledger.execute
    run(
        "INSERT INTO campaign_senders (campaign_id, sender_id, client_id) SELECT c.id, s.id, c.client_id"
        " FROM campaigns c JOIN senders s USING (client_id)"
    )
    run(
        "INSERT INTO leads (client_id, email, email_key, custom) SELECT c.id, 'known' || n || '@elsewhere.example',"
        " 'known' || n || '@elsewhere.example', '{}' FROM clients c, generate_series(1, 10000) n"
    )
    run(
        "INSERT INTO suppressions (client_id, email, email_key, reason, source, at) SELECT c.id, 'gone' || n || '@elsewhere.example',"
        " 'gone' || n || '@elsewhere.example', 'manual', 'person', now() FROM clients c, generate_series(1, 10000) n"
    )
    run("ANALYZE")


def _make_client(world: World, number: int) -> None:
    """A client with an hourly cap and two running campaigns of two steps."""
    client = world.one(
        "INSERT INTO clients (name, slug, postal_address, timezone) VALUES (%s, %s, '1 Ember Lane, Porto', 'UTC') RETURNING id",
        f"Client {number}", f"client-{number}",
    )  # fmt: skip
    world.ledger.execute(
        "INSERT INTO settings (scope_kind, scope_id, client_id, key, value) VALUES ('client', %s, %s, 'client_hour_cap', '10000000')",
        (client, client),
    )
    for _ in range(2):
        campaign = world.one(
            "INSERT INTO campaigns (client_id, name, status, timezone, windows, closed_days, weekend, daily_cap, daily_new_leads)"
            f" VALUES (%s, 'Bench', 'running', 'UTC', {_ALWAYS}, '[]', '{{\"mode\": \"reduced\", \"percent\": 100}}', 10000000, 10000000)"
            " RETURNING id",
            client,
        )
        step = world.one(
            "INSERT INTO steps (client_id, campaign_id, subject, text, html) VALUES (%s, %s, 'Hello {{first_name}}', %s, %s) RETURNING id",
            client, campaign, TEXT, HTML,
        )  # fmt: skip
        world.ledger.execute(
            "INSERT INTO steps (client_id, campaign_id, parent_id, delay_value, subject, text, html) VALUES (%s, %s, %s, 3, '', %s, '')",
            (client, campaign, step, TEXT),
        )
        world.campaigns.append((client, campaign, step))


def _make_mailboxes(world: World, mailboxes: int, port: int, security: str, login: bool) -> None:
    from app.core.crypto import Vault

    vault = Vault(KEYS)
    for number in range(mailboxes):
        client = world.campaigns[number * 2 % len(world.campaigns)][0]
        address = f"sender{number}@ourhouse.example.com"
        box = world.one(
            "INSERT INTO senders (client_id, channel, address, address_key, domain, display_name, timezone, status, daily_cap, min_gap_s)"
            " VALUES (%s, 'email', %s, %s, 'ourhouse.example.com', 'Grace Hopper', 'UTC', 'active', 10000000, 0) RETURNING id",
            client, address, address,
        )  # fmt: skip
        secret = vault.seal(PASSWORD, f"mailboxes.smtp_secret:{box}") if login else None
        world.ledger.execute(
            "INSERT INTO mailboxes (id, client_id, smtp_host, smtp_port, smtp_security, smtp_user, smtp_secret, imap_host, imap_port,"
            " imap_security, imap_user, save_to_sent, own_hours, verify_result)"
            " VALUES (%s, %s, '127.0.0.1', %s, %s, %s, %s, '127.0.0.1', 1143, 'none', '', 'never', '{}', '{}')",
            (box, client, port, security, address if login else "", secret),
        )
        world.boxes.append(box)


#: What one message writes to, besides counters. Read anew before each round, as autovacuum does every minute: a table that was
#: empty when its plans were made would be read from end to end for each row. Messages become due sender after sender: two of one sender at
#: the same moment would wait for each other's answer, as they must, and measure that.
CHANGED = (
    "leads", "enrollments", "deliveries", "delivery_attempts", "conversations", "participants", "messages", "known_message_ids", "activities",
)  # fmt: skip
_DUE = """
WITH people AS (
  INSERT INTO leads (client_id, email, email_key, first_name, last_name, company, title, custom)
  SELECT b.client_id, 'lead' || %(tag)s || '-' || n || '@buyer' || n %% 500 || '.example.com',
         'lead' || %(tag)s || '-' || n || '@buyer' || n %% 500 || '.example.com', 'Ada', 'Lovelace' || n, 'Engines ' || n,
         'Head of Research', '{}'
  FROM generate_series(0, %(count)s - 1) n JOIN senders b ON b.id = (%(boxes)s::bigint[])[1 + n %% %(width)s]
  RETURNING id, client_id, email),
 numbered AS (SELECT *, row_number() OVER (PARTITION BY client_id ORDER BY id) AS n FROM people),
 senders_of AS (
  SELECT id, client_id, row_number() OVER (PARTITION BY client_id ORDER BY id) AS n, count(*) OVER (PARTITION BY client_id) AS many
  FROM senders WHERE id = ANY (%(boxes)s::bigint[])),
 ways AS (SELECT *, row_number() OVER (PARTITION BY client_id ORDER BY campaign_id) AS n
  FROM unnest(%(clients)s::bigint[], %(campaigns)s::bigint[], %(steps)s::bigint[]) AS w (client_id, campaign_id, step_id)),
 walks AS (
  INSERT INTO enrollments (client_id, campaign_id, lead_id, sender_id, status, next_step_id, next_at, enrolled_at)
  SELECT p.client_id, w.campaign_id, p.id, s.id, 'in_flight', w.step_id, %(at)s, %(at)s
  FROM numbered p JOIN senders_of s ON s.client_id = p.client_id AND s.n = 1 + p.n %% s.many
  JOIN ways w ON w.client_id = p.client_id AND w.n = 1 + p.n %% 2
  RETURNING id, client_id, campaign_id, lead_id, sender_id, next_step_id)
INSERT INTO deliveries (client_id, idempotency_key, kind, sender_id, campaign_id, enrollment_id, step_id, lead_id, due_at, to_address,
                        email_key, recipient_domain, first_of_lead, draft, evidence)
SELECT k.client_id, 'step:' || k.id || ':' || k.next_step_id, 'campaign_step', k.sender_id, k.campaign_id, k.id, k.next_step_id, k.lead_id,
       %(at)s::timestamptz + make_interval(secs => (row_number() OVER (ORDER BY k.turn, k.sender_id) - 1) / %(per_second)s::float8),
       p.email, p.email, split_part(p.email, '@', 2), true, '{}', '{}'
FROM (SELECT *, row_number() OVER (PARTITION BY sender_id ORDER BY id) AS turn FROM walks) k JOIN people p ON p.id = k.lead_id
"""


def enrol(world: World, count: int, per_second: float = float("inf"), lead_s: float = 1.0) -> datetime:
    """``count`` leads whose first message is due in a moment, at once or so many a second; when the first is due.

    They are written with a far-off time first and made due when all are there: the writing is no part of a measurement.
    """
    world.rounds += 1
    columns = list(zip(*world.campaigns, strict=True))
    first = world.one("SELECT coalesce(max(id), 0) FROM deliveries")
    world.ledger.execute(
        _DUE,
        {
            "tag": world.rounds, "count": count, "boxes": world.boxes, "width": len(world.boxes),
            "at": datetime.now(UTC) + timedelta(days=300), "per_second": min(per_second, 1e12),
            "clients": list(columns[0]), "campaigns": list(columns[1]), "steps": list(columns[2]),
        },
    )  # fmt: skip
    for table in CHANGED:
        world.ledger.execute(f"VACUUM ANALYZE {table}")
    at = datetime.now(UTC) + timedelta(seconds=lead_s + count / 10_000)
    world.ledger.execute(
        "UPDATE deliveries SET due_at = due_at - (SELECT min(due_at) FROM deliveries WHERE id > %s) + %s WHERE id > %s",
        (first, at, first),
    )
    return at


@contextmanager
def product(world: World, *lines: str, wait: int = 60) -> Iterator[list[int]]:
    """The Procfile's processes by their command lines (``jobs.dispatch``), and the scheduler they want; their pids."""
    log = (world.folder / "product.log").open("ab")
    children = [
        subprocess.Popen(
            [sys.executable, "-m", *line.split()], cwd=ROOT, env={**os.environ, **world.environ}, stdout=log, stderr=log
        )
        for line in ("jobs.scheduler", *lines)
    ]
    try:
        _wait(lambda: world.one("SELECT count(*) FROM process_beats") >= len(children), wait, world)
        if "jobs.dispatch" in lines:
            _wait(lambda: world.one("SELECT count(*) FROM shards WHERE owner IS NOT NULL AND leased_until > now()") == 64, wait, world)
            many = lines.count("jobs.dispatch")
            _wait(lambda: world.one("SELECT count(DISTINCT owner) FROM shards WHERE leased_until > now()") == many, wait, world)
        yield [child.pid for child in children[1:]]
    finally:
        for child in children:
            child.terminate()
        for child in children:
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        log.close()


def _wait(condition: Any, seconds: float, world: World) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"the product does not start: {(world.folder / 'product.log').read_text()[-2000:]}")
        time.sleep(0.05)


def processor_seconds(pid: int, children: bool = False) -> float:
    """Processor time of a process so far (user and system), with that of its ended children where asked for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(value) for value in fields[11 : 15 if children else 13]) / TICK


def family(pid: int) -> list[int]:
    """A process and its living children."""
    found = [pid]
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(path.parent.name))
        except (OSError, ValueError, IndexError):
            continue
    return found


def memory_mb(pid: int) -> float:
    """Resident memory of a process in megabytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1_000_000


def postgres_seconds(world: World) -> float:
    """Processor time of the whole database server: its living processes, and those that have ended."""
    assert world.pair.postgres.process is not None
    head = world.pair.postgres.process.pid
    total = processor_seconds(head, children=True)
    for pid in family(head)[1:]:
        try:
            total += processor_seconds(pid)
        except (OSError, IndexError):
            continue
    return total


def redis_seconds(world: World) -> float:
    assert world.pair.redis.process is not None
    return processor_seconds(world.pair.redis.process.pid)
