"""Ids in addresses: what cannot be an id of the ledger is simply nothing (404), never an accident in SQL."""

from __future__ import annotations

from flask import Flask, abort, request
from werkzeug.exceptions import NotFound
from werkzeug.routing import IntegerConverter

from app.strings import t

LARGEST_ID = 2**63 - 1


class RowId(IntegerConverter):
    """``<int:lead_id>``: 0 … 2^63-1 in plain digits."""

    def to_python(self, value: str) -> int:
        if len(value) > 19 or int(value) > LARGEST_ID:
            raise NotFound  # not ValidationError: an address with several methods would then answer 405 instead of 404
        return int(value)


def bind(app: Flask) -> None:
    app.url_map.converters["int"] = RowId
    app.before_request(_refuse_nul)


def _refuse_nul() -> None:
    """PostgreSQL stores no NUL and no half of a surrogate pair, so neither is let in by address, query or form."""
    texts = [request.path, *(text for pair in request.args.items(multi=True) for text in pair)]
    if request.mimetype in {"application/x-www-form-urlencoded", "multipart/form-data"} and not request.path.startswith(
        ("/webhooks/", "/api/")
    ):
        texts += [text for pair in request.form.items(multi=True) for text in pair]
    if any("\0" in text or not _encodable(text) for text in texts):
        abort(400, t("errors.unstorable"))


def _encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
