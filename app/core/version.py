"""Which code is this? Stored beside what it could not understand, so that a repair can be told from a repetition."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]


@cache
def code_version() -> str:
    """A short hash over the product's own Python files: changes with every change, needs no build and no repository."""
    digest = hashlib.sha256()
    for path in sorted(_ROOT.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
