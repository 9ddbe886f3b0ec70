"""How fast webhooks are taken in: ``python -m bench.ingest [seconds]``.

The very process of the Procfile (gunicorn, jobs/gunicorn_web.py) before a PostgreSQL with fsync and a Redis of its own. Every call is signed,
proven, kept and committed before it is answered. First as many as 32 connections can bring (closed loop), then 200/s at fixed moments whatever
the answers do (open loop: a slow answer delays nobody else, and its waiting counts).
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import text

from app import create_app
from app.core.config import Settings
from app.core.db import JOBS_ROLE, transaction, use_database_role
from app.core.extensions import db
from app.domain.webhook_proof import sign
from app.services import webhooks
from launch.servers import running_pair

ROOT = Path(__file__).resolve().parents[1]
KEYS = "k1:MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
SECRET_KEY = "0123456789abcdef0123456789abcdef01234567"
CONNECTIONS = 32
RATE = 200
PORT = int(os.environ.get("EMBERPOST_BENCH_PORT", "8917"))


@dataclass
class Tally:
    """``waits``: seconds from the moment a call was due until its answer was read."""

    waits: list[float] = field(default_factory=list)
    wrong: int = 0

    def at(self, share: float) -> float:
        return sorted(self.waits)[min(len(self.waits) - 1, int(len(self.waits) * share))] * 1000


class Caller:
    """Signs and sends; keeps its connections open, as services do."""

    def __init__(self, token: str, secret: str) -> None:
        self._head = f"POST /webhooks/{token} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        self._secret = secret
        self._number = 0
        self.free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    def request(self) -> bytes:
        """One signed event of about a kilobyte, never the same twice."""
        self._number += 1
        name = f"evt-{self._number}-{time.monotonic_ns()}"
        event = {"type": "emberpost.mail-event", "event": "delivered", "message_id": f"<{name}@bench.test>", "text": "x" * 800}
        body = json.dumps(event).encode()
        lines = "".join(f"{key}: {value}\r\n" for key, value in sign(name, datetime.now(UTC), body, self._secret).items())
        return f"{self._head}{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body

    async def call(self, tally: Tally, due: float) -> None:
        reader, writer = self.free.pop() if self.free else await asyncio.open_connection("127.0.0.1", PORT)
        writer.write(self.request())
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        await reader.readexactly(length)
        tally.waits.append(time.monotonic() - due)
        tally.wrong += not head.startswith(b"HTTP/1.1 200")
        if b"connection: close" in head.lower():
            writer.close()
        else:
            self.free.append((reader, writer))


async def closed(caller: Caller, seconds: float) -> tuple[Tally, float]:
    """As many as CONNECTIONS can bring; (what came back, calls per second)."""
    tally, began = Tally(), time.monotonic()

    async def keep_calling() -> None:
        while time.monotonic() - began < seconds:
            await caller.call(tally, time.monotonic())

    await asyncio.gather(*(keep_calling() for _ in range(CONNECTIONS)))
    return tally, len(tally.waits) / (time.monotonic() - began)


async def opened(caller: Caller, seconds: float) -> Tally:
    """RATE per second at fixed moments."""
    tally, began, tasks = Tally(), time.monotonic() + 0.1, []
    for number in range(int(seconds * RATE)):
        due = began + number / RATE
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        tasks.append(asyncio.create_task(caller.call(tally, due)))
    await asyncio.gather(*tasks)
    return tally


def start_web(settings: Settings) -> subprocess.Popen[bytes]:
    """The Procfile's line ``web``, as production starts it."""
    environment = os.environ | {
        "DATABASE_URL": settings.database_url, "REDIS_URL": settings.redis_url, "EMBERPOST_SECRET_KEY": SECRET_KEY,
        "EMBERPOST_ENCRYPTION_KEYS": KEYS, "EMBERPOST_INSTANCE_ID": settings.instance_id, "EMBERPOST_PORT": str(PORT),
    }  # fmt: skip
    command = [str(Path(sys.executable).parent / "gunicorn"), "--config", "jobs/gunicorn_web.py", "--log-level", "error", "wsgi:app"]
    return subprocess.Popen(command, cwd=ROOT, env=environment)


def wait_until_up() -> None:
    import socket

    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", PORT), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the web process did not come up")


async def measure(caller: Caller, seconds: float) -> None:
    await closed(caller, 2)  # warm
    tally, rate = await closed(caller, seconds)
    print(f"closed loop, {CONNECTIONS} connections: {rate:.0f}/s, p50 {tally.at(0.5):.1f} ms, p99 {tally.at(0.99):.1f} ms, not 200: {tally.wrong}")
    await asyncio.sleep(1)
    tally = await opened(caller, seconds)
    print(f"open loop, {RATE}/s: p50 {tally.at(0.5):.1f} ms, p99 {tally.at(0.99):.1f} ms, slowest {max(tally.waits) * 1000:.1f} ms, not 200: {tally.wrong}")
    for _reader, writer in caller.free:
        writer.close()


def main(seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder, running_pair(folder, sync=True) as pair:
        settings = Settings(pair.database_url, pair.redis_url, SECRET_KEY, KEYS, instance_id="ingest")
        app = create_app(settings)
        with app.app_context():
            from flask_migrate import upgrade

            upgrade(directory="migrations")
            use_database_role(JOBS_ROLE)
            db.engine.dispose()
            with transaction():
                source, secret = webhooks.add("Bench", "standard_webhooks", by=None)
                token = webhooks.token_of(source)
            web = start_web(settings)
            try:
                wait_until_up()
                asyncio.run(measure(Caller(token, secret), seconds))
            finally:
                web.terminate()
                web.wait(20)
            work_through()


def work_through() -> None:
    """What was kept is worked on by the very job: how fast one worker is, and that nothing is missing."""
    from jobs import receive

    began = time.monotonic()
    settled, _more = receive.work_through(20)
    print(f"worked on by one worker: {settled / (time.monotonic() - began):.0f}/s")
    with transaction() as session:
        print("kept:", session.execute(text("SELECT count(*) FROM inbound_events")).scalar_one())


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 15.0)
