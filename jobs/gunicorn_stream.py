"""gunicorn for the live stream alone (Procfile ``stream``): one light process, thousands of open answers."""

import os
from typing import Any

from app.core.config import load_settings
from app.core.exposure import refusal
from app.core.log import set_up_logging

bind = f"{os.environ.get('EMBERPOST_HOST', '127.0.0.1')}:{os.environ.get('EMBERPOST_STREAM_PORT', '8001')}"
worker_class = "gevent"
workers = 1
worker_connections = 2000
graceful_timeout = 5
accesslog = None
control_socket_disable = True


def on_starting(server: Any) -> None:
    """Before anything listens."""
    words = refusal(os.environ.get("EMBERPOST_HOST", "127.0.0.1"), load_settings().behind_https)
    if words:
        raise SystemExit(words)


def post_fork(_server: Any, _worker: Any) -> None:
    """Logs like those of every other process: one JSON object a line, without the values of rows."""
    set_up_logging("stream")
