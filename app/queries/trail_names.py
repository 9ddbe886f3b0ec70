"""What the objects of the trail are called today: it stores numbers, which say nothing to a reader and outlive every name."""

from __future__ import annotations

import re
from collections.abc import Iterable

from sqlalchemy import text

from app.core.extensions import db

_NUMBERS = re.compile(r"[0-9]{1,18}(,[0-9]{1,18})*")
_LEAD = "coalesce(nullif(trim(first_name || ' ' || last_name), ''), email)"
#: Kind of object → its table and what it is called there; rows of a client.
_OF_CLIENT = {
    "mailbox": ("senders", "address"), "sender": ("senders", "address"), "campaign": ("campaigns", "name"), "lead": ("leads", _LEAD),
    "import": ("lead_imports", "filename"), "conversation": ("conversations", "coalesce(nullif(display_name, ''), nullif(display_address, ''), subject)"),
    "message": ("messages", "subject"), "delivery": ("deliveries", "to_address"), "step": ("steps", "subject"), "api key": ("api_keys", "name"),
    "webhook endpoint": ("outgoing_endpoints", "url"),
}  # fmt: skip
#: The same of rows that belong to no client.
_OF_HOUSE = {"user": ("users", "name"), "client": ("clients", "name"), "webhook source": ("webhook_sources", "name")}


def names(client_id: int | None, objects: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """(kind, stored id) → its name; several ids in one line: their names in the same order. What is gone has none.

    ``client_id``: whose trail; None: the installation's, where objects of clients are not looked up.
    """
    wanted = {(kind, stored) for kind, stored in objects if _NUMBERS.fullmatch(stored)}
    found: dict[tuple[str, str], str] = {}
    for kind in {kind for kind, _ in wanted}:
        ids = {stored: stored.split(",") for known, stored in wanted if known == kind}
        called = _called(client_id, kind, {int(number) for numbers in ids.values() for number in numbers})
        for stored, numbers in ids.items():
            if any(int(number) in called for number in numbers):
                found[kind, stored] = ", ".join(called.get(int(number), number) for number in numbers)
    return found


def _called(client_id: int | None, kind: str, ids: set[int]) -> dict[int, str]:
    place = _OF_HOUSE.get(kind) or (_OF_CLIENT.get(kind) if client_id is not None else None)
    if place is None:
        return {}
    table, name = place
    scope = "" if kind in _OF_HOUSE else " AND client_id = :client"
    rows = db.session.execute(text(f"SELECT id, {name} AS name FROM {table} WHERE id = ANY(:ids){scope}"), {"ids": sorted(ids), "client": client_id})
    return {row.id: row.name for row in rows if row.name}
