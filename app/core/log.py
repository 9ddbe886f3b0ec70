"""Logs are one JSON object per line with escaped control characters; secrets are masked by key before they are written."""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

MASKED = ("password", "secret", "token", "credential", "authorization", "cookie")

#: Where PostgreSQL says in an error what stood in the row: "Failing row contains (…)", "Key (email)=(…) already exists".
_DETAIL = re.compile(r"^(DETAIL: ).*$", re.MULTILINE)


def without_values(words: str) -> str:
    """An error's text without the values of the row it is about: what somebody wrote is no business of who reads logs."""
    return _DETAIL.sub(r"\1 …", words)


class JsonLines(logging.Formatter):
    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": without_values(record.getMessage()),
        }
        for key, value in getattr(record, "facts", {}).items():
            entry[key] = "…" if any(word in key.lower() for word in MASKED) else value
        if record.exc_info:
            entry["traceback"] = without_values("".join(traceback.format_exception(*record.exc_info)))
        return json.dumps(entry, ensure_ascii=True, default=str)


def set_up_logging(process: str, level: str = "INFO") -> None:
    """Send every log line of this process to standard error as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("rq.worker", "rq_scheduler", "httpx", "urllib3"):
        logging.getLogger(noisy).setLevel("WARNING")
