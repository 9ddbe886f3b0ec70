"""The workers of the queues as processes: they end when they are asked to, with Redis there, lost, or never seen."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.conftest import KEYS, SECRET
from tests.patience import OutOfTime, in_time

ROOT = Path(__file__).resolve().parents[2]


class Between:
    """A wire between the worker and Redis that can be cut."""

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                far = socket.create_connection(self.target)
                self.ends += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65_536):
                other.sendall(data)

    def cut(self) -> None:
        self.listener.close()
        for end in self.ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def started(queue: str, database_url: str, redis_url: str) -> subprocess.Popen[str]:
    env = {
        **os.environ, "DATABASE_URL": database_url, "REDIS_URL": redis_url, "EMBERPOST_SECRET_KEY": SECRET, "EMBERPOST_ENCRYPTION_KEYS": KEYS,
        "EMBERPOST_INSTANCE_ID": f"worker{os.getpid()}",
    }  # fmt: skip
    command = [sys.executable, "-m", "jobs.worker", queue]
    return subprocess.Popen(command, cwd=ROOT, env=env, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def says(worker: subprocess.Popen[str], word: str) -> None:
    """Read what the process says until ``word`` is in it."""
    assert worker.stderr is not None
    heard = ""
    for line in worker.stderr:
        heard += line
        if word in line:
            return
    raise AssertionError(f"it ended without saying {word!r}: {heard}")


def ends(worker: subprocess.Popen[str], within: float = 8.0) -> None:
    began = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    try:
        assert worker.wait(timeout=within) == 0
    except subprocess.TimeoutExpired:
        worker.kill()
        raise OutOfTime(f"still there {time.monotonic() - began:.1f} s after it was asked to end") from None


def listening(wire: Between) -> None:
    until = time.monotonic() + 60
    while len(wire.ends) < 2:
        in_time(time.monotonic() < until, "the worker never came to Redis")
        time.sleep(0.05)
    time.sleep(1.0)


@pytest.mark.slow
def test_workers_that_lost_redis_or_never_saw_it_end_when_they_are_asked_to(app: object, database_url: str, redis_url: str) -> None:
    """Three at once, because starting one is what takes time: both queues' workers with their wire cut, and one without any Redis."""
    parts = urlsplit(redis_url)
    wires = [Between(parts.hostname or "127.0.0.1", parts.port or 6379) for _ in range(2)]
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        nowhere = nobody.getsockname()[1]
    through = [parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{wire.port}".lstrip("@")).geturl() for wire in wires]
    lost = [started(queue, database_url, address) for queue, address in zip(("receive", "bulk"), through, strict=True)]
    alone = started("receive", database_url, f"redis://127.0.0.1:{nowhere}/0")
    try:
        for wire in wires:
            listening(wire)
            wire.cut()
        says(alone, "Redis is away")
        time.sleep(1.5)
        assert [worker.poll() for worker in (*lost, alone)] == [None, None, None], "a lost Redis alone ends nothing"
        for worker in (*lost, alone):
            ends(worker)
    finally:
        for wire in wires:
            wire.cut()
        for worker in (*lost, alone):
            worker.kill()
            worker.communicate()
