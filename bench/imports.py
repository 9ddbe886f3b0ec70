"""How fast a list of 100,000 people becomes leads: ``python -m bench.imports [rows]``.

Starts a PostgreSQL of its own (with fsync), migrates it, and runs the very job: all new, then all known and changed, then the undo.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable

from app import create_app
from app.core.config import Settings
from app.core.db import JOBS_ROLE, Scope, transaction, use_database_role
from app.core.extensions import db
from app.models import Client, LeadImport
from app.services import importing
from launch.servers import running_pair

KEYS = "k1:MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="


def people(rows: int, mark: str) -> bytes:
    """A file as people have it: nine columns, three of them own fields, one row in a hundred broken."""
    lines = ["E-Mail,Vorname,Nachname,Firma,Position,LinkedIn,City,Employees,Icebreaker"]
    for n in range(rows):
        email = f"person{n}@company{n % 20_000}.com" if n % 100 else f"person{n} at company"
        lines.append(
            f"{email},Ada{n},Lovelace{mark},Company {n % 20_000} Ltd,Head of Research,linkedin.com/in/ada-{n},Porto,{n % 900},"
            f'"I saw your talk {mark}, number {n}"'
        )
    return "\r\n".join(lines).encode()


def timed(what: str, action: Callable[[], object]) -> None:
    began = time.monotonic()
    action()
    spent = time.monotonic() - began
    print(f"{what}: {spent:.1f} s (largest memory of the process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB)")


def begin(client_id: int, data: bytes) -> int:
    with transaction(Scope(client_id=client_id)):
        row = importing.upload(client_id, "people.csv", data, by=None)
        importing.start(row, dry_run=False, enqueue=False)
        return row.id


def begin_undo(import_id: int) -> None:
    with transaction():
        importing.begin_undo(db.session.get_one(LeadImport, import_id), enqueue=False)


def show(import_id: int) -> None:
    with transaction():
        row = db.session.get_one(LeadImport, import_id, populate_existing=True)
        print(f"  {row.status}: {row.created} created, {row.updated} updated, {row.skipped} skipped {row.error}")


def main(rows: int) -> None:
    with tempfile.TemporaryDirectory() as folder, running_pair(folder, sync=True) as pair:
        app = create_app(Settings(pair.database_url, pair.redis_url, "0" * 40, KEYS))
        with app.app_context():
            from flask_migrate import upgrade

            upgrade(directory="migrations")
            use_database_role(JOBS_ROLE)
            db.engine.dispose()
            measure(rows)


def measure(rows: int) -> None:
    from jobs import imports

    with transaction() as session:
        client = Client(name="Bench", slug="bench")
        session.add(client)
        session.flush()
        client_id = client.id
    first = begin(client_id, people(rows, ""))
    timed(f"{rows} rows, all new", lambda: imports.run(first))
    show(first)
    second = begin(client_id, people(rows, " again"))
    timed(f"{rows} rows, all known and changed", lambda: imports.run(second))
    show(second)
    for import_id in (second, first):
        begin_undo(import_id)
        timed("undo", lambda which=import_id: imports.undo(which))  # type: ignore[misc]
        show(import_id)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
