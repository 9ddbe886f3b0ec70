"""The counting sink of the kill loops: durable counts whatever is killed, and fast."""

from __future__ import annotations

import os
import signal
import smtplib
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sandbox.mail.sink import SinkRates, counts_by_message_id, read_counts, run_sink

LEAST_PER_S = 250  # a quarter of what is wanted


def forked_sink(path: Path, rates: SinkRates | None = None) -> tuple[int, int]:
    """Fork a sink; returns (pid, port) once it listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    pid = os.fork()
    if pid == 0:
        try:
            run_sink(path, port, rates or SinkRates())
        finally:
            os._exit(0)
    for _ in range(200):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return pid, port
        time.sleep(0.02)
    raise TimeoutError("the sink does not listen")


@pytest.fixture
def counts(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "counts.txt"


def send(port: int, number: int) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=5) as session:
        session.login("anybody", "anything")
        session.sendmail("ada@ours.test", ["ben@theirs.test"], f"Message-ID: <{number}@x>\r\n\r\nhello".encode())


def test_every_taken_mail_is_counted_even_if_the_sink_is_killed(counts: Path) -> None:
    for number in range(3):
        pid, port = forked_sink(counts)
        send(port, number)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert counts_by_message_id(counts) == {"<0@x>": 1, "<1@x>": 1, "<2@x>": 1}
    taken = read_counts(counts)[0]
    assert (taken.mail_from, taken.recipients) == ("ada@ours.test", ("ben@theirs.test",))


def test_rates_lose_connections_before_and_after_counting(counts: Path) -> None:
    pid, port = forked_sink(counts, SinkRates(drop_before=0.2, drop_after=0.2, defer=0.2, seed=1))
    told = 0
    for number in range(100):
        with suppress(smtplib.SMTPException, OSError):
            send(port, number)
            told += 1
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    counted = len(read_counts(counts))
    assert 40 <= counted <= 80
    assert counted - told >= 8, "some were counted although the sender heard nothing"


def test_the_sink_is_fast_enough_for_kill_loops(counts: Path) -> None:
    pid, port = forked_sink(counts)
    dialogue = b"MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\n"
    body = b"Message-ID: <%d@x>\r\n\r\n" + b"x" * 1000 + b"\r\n.\r\n"
    with socket.create_connection(("127.0.0.1", port), 5) as raw:
        raw.sendall(b"EHLO x\r\n")
        stream = raw.makefile("rb")
        while not stream.readline().startswith(b"250 "):
            continue
        began = time.monotonic()
        for number in range(500):
            raw.sendall(dialogue + body % number)
            for _ in range(4):
                stream.readline()
        took = time.monotonic() - began
        stream.close()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert len(read_counts(counts)) == 500
    print(f"{500 / took:.0f} mails/s")
    assert 500 / took > LEAST_PER_S
