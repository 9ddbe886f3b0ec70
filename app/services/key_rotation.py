"""Sealing stored secrets again with the newest key: online, in small batches, resumable at any row.

A secret that is changed meanwhile is left alone: the UPDATE names the value it read. When nothing is left under an old key, that
key may be taken out of EMBERPOST_ENCRYPTION_KEYS.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text

from app.core.crypto import CannotOpen, vault
from app.core.extensions import db
from app.services.mailbox_secrets import SECRET_COLUMNS

BATCH = 200
#: Column → its table. A value is sealed for ``<table>.<column>:<row>``.
TABLES = {
    **dict.fromkeys(SECRET_COLUMNS, "mailboxes"), "sealed": "webhook_secrets", "signing_secret": "outgoing_secrets", "totp_secret": "second_factors",
}  # fmt: skip


def place(column: str, row_id: int) -> str:
    return f"{TABLES[column]}.{column}:{row_id}"


@dataclass(frozen=True)
class Rotated:
    """One batch: how many were sealed anew, which rows cannot be opened, and after which id to go on (None: done)."""

    sealed: int
    unreadable: tuple[str, ...]
    next_id: int | None


def old_secrets() -> int:
    """How many stored secrets are sealed with another key than the newest."""
    total = 0
    for column, table in TABLES.items():
        statement = f"SELECT count(*) FROM {table} WHERE {column} IS NOT NULL AND {column} <> '' AND {column} NOT LIKE :mine"
        total += db.session.execute(text(statement), {"mine": _mine()}).scalar_one()
    return total


def rotate_batch(column: str, after_id: int = 0, limit: int = BATCH) -> Rotated:
    """Seal one batch of one column with the newest key, in the present transaction."""
    if column not in TABLES:
        raise ValueError(column)
    found = db.session.execute(
        text(
            f"SELECT id, {column} AS sealed FROM {TABLES[column]} WHERE id > :after AND {column} IS NOT NULL AND {column} <> ''"
            f" AND {column} NOT LIKE :mine ORDER BY id LIMIT :limit"
        ),
        {"after": after_id, "mine": _mine(), "limit": limit},
    ).all()
    ids, was, fresh, unreadable = [], [], [], []
    for row in found:
        try:
            sealed = vault().seal(vault().open(row.sealed, place(column, row.id)), place(column, row.id))
        except CannotOpen:
            unreadable.append(place(column, row.id))
            continue
        ids.append(row.id)
        was.append(row.sealed)
        fresh.append(sealed)
    done = db.session.execute(
        text(
            f"UPDATE {TABLES[column]} t SET {column} = x.fresh"
            " FROM unnest(cast(:ids AS bigint[]), cast(:was AS text[]), cast(:fresh AS text[])) AS x(id, was, fresh)"
            f" WHERE t.id = x.id AND t.{column} = x.was RETURNING t.id"
        ),
        {"ids": ids, "was": was, "fresh": fresh},
    ).all()
    return Rotated(len(done), tuple(unreadable), found[-1].id if len(found) == limit else None)


def _mine() -> str:
    return f"g1:{vault().current_id}:%"
