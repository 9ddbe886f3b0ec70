"""Places in long lists: opaque cursors of whole numbers."""

from __future__ import annotations

import base64
import json
from typing import Any

from app.core.errors import Invalid
from app.strings import t

MOST = 200


def write_cursor(*values: Any) -> str:
    """An opaque place in a list."""
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


def read_cursor(cursor: str | None, length: int) -> list[Any] | None:
    """The place again; None for the beginning. Raises Invalid for one that is not ours."""
    if not cursor:
        return None
    try:
        values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, UnicodeError):
        values = None
    if not isinstance(values, list) or len(values) != length or not all(type(one) is int for one in values):
        raise Invalid.field("cursor", t("api.not_our_place"))
    return values
