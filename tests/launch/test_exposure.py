"""Beyond this machine nothing is served in the clear."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.core.exposure import refusal

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "[::1]", "localhost", "LOCALHOST"])
def test_this_machine_may_be_served_in_the_clear(host: str) -> None:
    assert refusal(host, behind_https=False) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "[::]", "", "192.0.2.7", "10.0.0.1", "2001:db8::1", "desk.example.com", "127.0.0.1.evil.test"])
def test_everything_else_needs_https_in_front(host: str) -> None:
    words = refusal(host, behind_https=False)
    assert words is not None and "EMBERPOST_BEHIND_HTTPS=1" in words
    assert refusal(host, behind_https=True) is None


@pytest.mark.slow
@pytest.mark.parametrize("config", ["jobs/gunicorn_web.py", "jobs/gunicorn_stream.py"])
def test_the_servers_themselves_refuse_before_they_listen(config: str) -> None:
    environment = {
        "PATH": os.environ["PATH"], "EMBERPOST_HOST": "0.0.0.0", "EMBERPOST_PORT": "1", "EMBERPOST_STREAM_PORT": "1",
        "DATABASE_URL": "postgresql://nowhere/x", "REDIS_URL": "redis://nowhere", "EMBERPOST_SECRET_KEY": "0" * 40, "EMBERPOST_ENCRYPTION_KEYS": "k:x",
    }  # fmt: skip
    words = [str(Path(sys.executable).parent / "gunicorn"), "--config", config, "wsgi:app"]
    done = subprocess.run(words, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0 and "EMBERPOST_BEHIND_HTTPS=1" in done.stderr, done.stderr
