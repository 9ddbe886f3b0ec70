"""What somebody saw when they began to change it, in sixteen letters: whoever saves over somebody else's words is told so first.

A print of the values and not a counter: it holds for every road a value can change on (page, program, import, undo), and setting a
value back makes what was seen true again.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

LENGTH = 16


def fingerprint(values: Any) -> str:
    """``LENGTH`` hexadecimal digits of any JSON-like value; the order of mappings does not count."""
    return hashlib.sha256(json.dumps(values, default=str, sort_keys=True).encode()).hexdigest()[:LENGTH]
