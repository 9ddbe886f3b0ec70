"""gunicorn for the pages, the API and the webhooks (Procfile ``web``)."""

import os
from typing import Any

from app.core.config import load_settings
from app.core.exposure import refusal
from app.core.log import set_up_logging

bind = f"{os.environ.get('EMBERPOST_HOST', '127.0.0.1')}:{os.environ.get('EMBERPOST_PORT', '8000')}"
worker_class = "gthread"
workers = int(os.environ.get("EMBERPOST_WEB_WORKERS", "2"))
threads = int(os.environ.get("EMBERPOST_WEB_THREADS", "16"))
timeout = 60
graceful_timeout = 10
keepalive = 65
accesslog = None
control_socket_disable = True
limit_request_line = 8190


def on_starting(server: Any) -> None:
    """Before anything listens."""
    words = refusal(os.environ.get("EMBERPOST_HOST", "127.0.0.1"), load_settings().behind_https)
    if words:
        raise SystemExit(words)


def post_fork(_server: Any, _worker: Any) -> None:
    """Logs like those of every other process: one JSON object a line, without the values of rows."""
    set_up_logging("web")
