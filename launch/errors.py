"""What the two commands say when they cannot go on."""

import re
from pathlib import Path


class LaunchError(Exception):
    """One sentence for a person: what is wrong and how to put it right."""


def tail(path: Path, lines: int = 3) -> str:
    """The last lines of a log, for an error message."""
    try:
        return " / ".join(path.read_text(errors="replace").strip().splitlines()[-lines:])
    except OSError:
        return "no log was written"


def last_error(path: Path) -> str:
    """The line of a log that names the last exception, else its last line."""
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    named = [line for line in lines if re.match(r"[A-Za-z_][\w.]*: ", line)]
    return named[-1][:400] if named else tail(path, 1)
