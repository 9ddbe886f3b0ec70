"""Lists by cursor: stable under inserts, no offsets, no totals that lie."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, literal, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from app.core.errors import Invalid
from app.core.extensions import db
from app.strings import t


@dataclass(frozen=True)
class Page:
    """One page of a list and where the next one begins (None: this was the last)."""

    items: Sequence[Any]
    next_cursor: str | None


def page_of(
    statement: Select[Any],
    query: Mapping[str, Any],
    *keys: InstrumentedAttribute[Any],
    descending: bool = True,
    scalars: bool = True,
) -> Page:
    """Run ``statement`` ordered by ``keys`` (not NULL, the last one unique) from the query's cursor, at most ``limit`` rows.

    ``scalars=False`` for statements that select several columns; they must select the keys too.
    Raises Invalid for a cursor that is not ours.
    """
    limit = int(query.get("limit", 50))
    columns: tuple[ColumnElement[Any], ...] = tuple(key.expression for key in keys)
    if query.get("cursor"):
        here = tuple_(
            *(literal(value, key.type) for value, key in zip(_open(query["cursor"], keys), keys, strict=True))
        )
        statement = statement.where(tuple_(*columns) < here if descending else tuple_(*columns) > here)
    statement = statement.order_by(*(column.desc() if descending else column.asc() for column in columns)).limit(
        limit + 1
    )
    found = db.session.execute(statement)
    rows: Sequence[Any] = found.scalars().all() if scalars else found.all()
    if len(rows) <= limit:
        return Page(rows, None)
    last = rows[limit - 1]
    return Page(rows[:limit], _seal([getattr(last, key.key) for key in keys]))


def _seal(values: Sequence[Any]) -> str:
    plain = [value.isoformat() if isinstance(value, datetime) else value for value in values]
    return base64.urlsafe_b64encode(json.dumps(plain, separators=(",", ":")).encode()).decode().rstrip("=")


def _open(cursor: str, keys: Sequence[InstrumentedAttribute[Any]]) -> list[Any]:
    wrong = Invalid.field("cursor", t("api.cursor_shape"))
    try:
        values = json.loads(base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)))
        if not isinstance(values, list) or len(values) != len(keys):
            raise wrong
        return [_fitting(value, key.type.python_type) for value, key in zip(values, keys, strict=True)]
    except (ValueError, TypeError, OverflowError, RecursionError, binascii.Error):
        raise wrong from None


def _fitting(value: Any, kind: type) -> Any:
    if kind is datetime:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError("no zone")
        return moment
    if isinstance(value, bool) or not isinstance(value, kind) or (isinstance(value, int) and abs(value) >= 2**63):
        raise ValueError("another type")
    if isinstance(value, str) and "\0" in value:
        raise ValueError("NUL")
    return value


def open_cursor(cursor: str, *keys: InstrumentedAttribute[Any]) -> list[Any]:
    """The values of a cursor, for lists that a function of the database gives. Raises Invalid."""
    return _open(cursor, keys)


def seal_cursor(values: list[Any]) -> str:
    return _seal(values)
