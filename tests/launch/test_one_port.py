"""One port carries pages and live streams: many open streams do not slow the pages, and a stop does not wait for them."""

from __future__ import annotations

import json
import socket
import statistics
import time
import urllib.request

import pytest

from tests.launch.conftest import Run, Starter

OLGA = {"EMBERPOST_ADMIN_EMAIL": "olga@example.com", "EMBERPOST_ADMIN_PASSWORD": "tall-copper-lantern-9"}
STREAMS = 40


def token(run: Run) -> str:
    body = json.dumps({"email": OLGA["EMBERPOST_ADMIN_EMAIL"], "password": OLGA["EMBERPOST_ADMIN_PASSWORD"]}).encode()
    request = urllib.request.Request(f"{run.url}api/auth/login", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return str(json.load(answer)["access_token"])


def open_stream(run: Run, bearer: str) -> socket.socket:
    wire = socket.create_connection(("127.0.0.1", run.port), 10)
    wire.sendall(f"GET /api/stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {bearer}\r\n\r\n".encode())
    return wire


def page_seconds(run: Run) -> float:
    began = time.monotonic()
    with urllib.request.urlopen(f"{run.url}login", timeout=30) as answer:
        assert answer.status == 200
    return time.monotonic() - began


@pytest.mark.slow
@pytest.mark.timed
def test_pages_stay_quick_beside_forty_open_streams_and_a_stop_does_not_wait_for_them(start: Starter) -> None:
    run = start("--empty", **OLGA)
    run.wait_for("ready: ")
    bearer = token(run)
    wires = [open_stream(run, bearer) for _ in range(STREAMS)]
    try:
        heads = [wire.recv(4096) for wire in wires]
        assert all(head.startswith(b"HTTP/1.1 200") for head in heads)
        page_seconds(run)
        assert statistics.median(page_seconds(run) for _ in range(30)) < 0.25
        began = time.monotonic()
        assert run.stop() == 0
        assert time.monotonic() - began < 10
    finally:
        for wire in wires:
            wire.close()
