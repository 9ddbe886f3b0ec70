"""``Idempotency-Key``: the first answer is remembered for 24 hours per user and given again; another body under the key is 409.

The row is written in the request's own transaction: a failed request forgets it, and a second one with the same key waits at the
unique index until the first has committed. A view that asks the network in between commits its row earlier: a second request then
hears that the first is still at work. What is remembered is sealed, for answers may hold a secret that is shown once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from flask import Response, g, jsonify, make_response, request
from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert

from app.core.clock import machine_now
from app.core.db import outside_transaction, rollback
from app.core.errors import Conflict, Invalid
from app.core.extensions import db
from app.core.tokens import sealed_tokens
from app.models import RememberedAnswer
from app.strings import t

KEPT = timedelta(hours=24)
LONGEST_KEY = 200
#: After this a request without an answer was lost with its process.
LOST_AFTER = timedelta(minutes=10)
PURPOSE = "remembered answer"


def wanted_key() -> str | None:
    """The key of this request. Raises Invalid for one that is empty, long, or not plain."""
    key = request.headers.get("Idempotency-Key")
    if key is None or request.method != "POST":
        return None
    if not 1 <= len(key) <= LONGEST_KEY or not key.isascii() or not key.isprintable():
        raise Invalid.field("Idempotency-Key", t("api.key_shape", limit=LONGEST_KEY))
    return key


def remembered(user_id: int, key: str) -> Response | RememberedAnswer:
    """The answer given before, or the fresh row which ``remember`` completes. Raises Conflict for another request."""
    mine = (RememberedAnswer.user_id == user_id, RememberedAnswer.key == key)
    db.session.execute(delete(RememberedAnswer).where(*mine, RememberedAnswer.created_at < machine_now() - KEPT))
    asked = _request_hash()
    statement = insert(RememberedAnswer).values(user_id=user_id, key=key, request_hash=asked)
    fresh = db.session.scalar(statement.on_conflict_do_nothing().returning(RememberedAnswer.id))
    if fresh is not None:
        return db.session.get_one(RememberedAnswer, fresh)
    row = db.session.scalars(select(RememberedAnswer).where(*mine).execution_options(populate_existing=True)).one()
    if row.request_hash != asked:
        raise Conflict(t("api.key_used"), code="idempotency_key_reused")
    return _taken_over(row) if row.status is None else _again(row)


def _taken_over(row: RememberedAnswer) -> RememberedAnswer:
    """The row of a request that was lost with its process; raises Conflict while the first may still be at work."""
    lost = update(RememberedAnswer).where(
        RememberedAnswer.id == row.id, RememberedAnswer.status.is_(None), RememberedAnswer.created_at < machine_now() - LOST_AFTER
    )
    taken = db.session.execute(lost.values(created_at=machine_now()).returning(RememberedAnswer.id)).first()
    if taken is None:
        raise Conflict(t("api.key_at_work"), code="idempotency_in_progress")
    return row


def _again(row: RememberedAnswer) -> Response:
    body = row.body
    if isinstance(body, dict) and set(body) == {"sealed"}:
        opened = sealed_tokens().open(PURPOSE, body["sealed"])
        if opened is None:
            raise Conflict(
                t("api.key_unreadable"),
                code="idempotency_answer_gone",
            )
        body = opened["body"]
    answer = make_response(jsonify(body) if body is not None else "", row.status)
    answer.headers["Idempotency-Replayed"] = "true"
    return answer


@contextmanager
def kept(row: RememberedAnswer | None) -> Iterator[None]:
    """Around the view: a request that fails after it had to commit in between does not use up its key."""
    row_id = row.id if row is not None else None
    try:
        yield
    except BaseException:
        if row_id is not None and g.get("keep_changes"):  # a wrong guess stays counted, whatever key it came with
            db.session.execute(delete(RememberedAnswer).where(RememberedAnswer.id == row_id))
        elif row_id is not None:
            rollback()
            gone = db.session.execute(delete(RememberedAnswer).where(RememberedAnswer.id == row_id, RememberedAnswer.status.is_(None)))
            if gone.rowcount:  # type: ignore[attr-defined]
                with outside_transaction():
                    pass
        raise


def remember(row: RememberedAnswer, answer: Response) -> None:
    if answer.status_code < 400:
        body: Any = answer.get_json(silent=True) if answer.is_json else None
        row.status = answer.status_code
        row.body = {"sealed": sealed_tokens().seal(PURPOSE, {"body": body})} if body is not None else None
        db.session.flush()


def _request_hash() -> str:
    """Of method, address and what was sent. Of a form its fields and files: the line between its parts differs each time."""
    digest = hashlib.sha256(f"{request.method} {request.full_path}\0".encode())
    if request.mimetype != "multipart/form-data":
        digest.update(request.get_data(cache=True))
        return digest.hexdigest()
    for name, value in sorted(request.form.items(multi=True)):
        digest.update(f"{name}\0{value}\0".encode("utf-8", "surrogatepass"))
    for name, file in request.files.items(multi=True):
        content = hashlib.sha256(file.stream.read()).hexdigest()
        file.stream.seek(0)
        digest.update(f"{name}\0{file.filename}\0{content}\0".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
