"""The run: rows cleaned in Python, copied into a temporary table, and merged into the leads by three statements per batch.

A batch is one transaction: leads, what was changed, rejected rows and the progress are written together, so an import whose process
dies goes on at the first batch that is not there. A trial runs the same statements and takes them back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb
from sqlalchemy import text

from app.core import clock
from app.core.bell import live_after_commit
from app.core.extensions import db
from app.domain.csv_reading import MAX_ROWS, Row, UnreadableFile
from app.domain.lead_values import BadValue, LeadValues, custom_json, values_of_row
from app.domain.xlsx_reading import read_table
from app.models import LeadImport
from app.services.importing import merging
from app.services.importing.starting import file_of, storable
from app.strings import t

BATCH = 5_000
LEFT_ALONE = t("importing.known_lead")


@dataclass(frozen=True)
class Reject:
    """A row that is not taken: its line, why, its cells."""

    line: int
    reason: str
    cells: tuple[str, ...]


@dataclass
class Prepared:
    """A file read whole, and which addresses were seen on which line so far."""

    rows: list[Row]
    fields: tuple[str, ...]
    allow_reserved: bool
    seen: dict[str, int] = field(default_factory=dict)
    position: int = 0

    def clean(self, until: int) -> tuple[list[tuple[Row, LeadValues]], list[Reject]]:
        """The rows from the present position: values of the good ones, rejects of the others. Moves the position."""
        good: list[tuple[Row, LeadValues]] = []
        bad: list[Reject] = []
        for row in self.rows[self.position : until]:
            reason = row.fault
            if not reason:
                try:
                    values = values_of_row(row.cells, self.fields, self.allow_reserved)
                except BadValue as error:
                    reason = str(error)
                else:
                    assert values.email_key is not None
                    before = self.seen.setdefault(values.email_key, row.line)
                    if before == row.line:
                        good.append((row, values))
                        continue
                    reason = t("importing.same_address", line=before)
            bad.append(Reject(row.line, reason, row.cells))
        self.position = min(until, len(self.rows))
        return good, bad


@dataclass(frozen=True)
class Progress:
    """How far an import is; ``ended`` when there is nothing more to do."""

    done: int
    total: int
    ended: bool


def prepare(row: LeadImport, allow_reserved: bool) -> Prepared:
    """Read the file of an import (slow: do it before the batches). Raises UnreadableFile, Conflict."""
    table = read_table(file_of(row), str(row.options.get("sheet") or ""))
    rows = []
    for found in table.rows:
        rows.append(found)
        if len(rows) > MAX_ROWS:
            raise UnreadableFile(t("importing.too_many_rows", limit=MAX_ROWS))
    fields = tuple(row.mapping.get(name, "") for name in table.columns)
    return Prepared(rows, fields, allow_reserved)


def step(import_id: int, client_id: int, prepared: Prepared, *, now: datetime | None = None) -> Progress:
    """Do the next batch in the present transaction. An import that is no longer running is left as it is."""
    row = db.session.get(LeadImport, import_id, with_for_update=True, populate_existing=True)
    if row is None or row.client_id != client_id or row.status != "running":
        return Progress(0, 0, True)
    if prepared.position < row.done_rows:
        prepared.clean(row.done_rows)  # done by a process that died: only its addresses are remembered
    now = now or clock.now()
    good, bad = prepared.clean(prepared.position + BATCH)
    outcome = merging.merge(row, [_copied(found, values) for found, values in good], now) if good else merging.Merged(0, 0, [])
    skipped = set(outcome.skipped_lines)
    bad += [Reject(found.line, LEFT_ALONE, found.cells) for found, _ in good if found.line in skipped]
    _keep_rejects(row, bad)
    row.created += outcome.created
    row.updated += outcome.updated
    row.skipped += len(bad)
    row.done_rows, row.total_rows = prepared.position, len(prepared.rows)
    ended = prepared.position >= len(prepared.rows)
    if ended:
        row.status, row.finished_at = "done", now
    db.session.flush()
    live_after_commit(client_id, f"import-{import_id}", *(["leads", "counters"] if ended and not row.dry_run else []))
    return Progress(row.done_rows, len(prepared.rows), ended)


def run_now(row: LeadImport, allow_reserved: bool) -> None:
    """A small file, all in the present transaction."""
    prepared = prepare(row, allow_reserved)
    while not step(row.id, row.client_id, prepared).ended:
        pass
    db.session.refresh(row)


def mark_failed(import_id: int, client_id: int, message: str) -> None:
    """The run cannot go on; what its batches wrote stays, and starting it again goes on from there."""
    row = db.session.get(LeadImport, import_id, with_for_update=True, populate_existing=True)
    if row is not None and row.status == "running":
        row.status, row.error, row.finished_at = "failed", message[:500], clock.now()
        db.session.flush()
        live_after_commit(client_id, f"import-{import_id}")


def _copied(row: Row, values: LeadValues) -> tuple[Any, ...]:
    return (
        row.line, values.email, values.email_key, values.first_name, values.last_name, values.company, values.title,
        values.linkedin_url, values.linkedin_slug, values.timezone, values.language, values.consent_note,
        custom_json(values.custom) if values.custom else "{}",
    )  # fmt: skip


def _keep_rejects(row: LeadImport, rejects: Sequence[Reject]) -> None:
    if not rejects:
        return
    db.session.execute(
        text(
            "INSERT INTO import_rejects (client_id, import_id, line, reason, raw) SELECT :client, :import, x.line, x.reason, x.raw"
            " FROM jsonb_to_recordset(:rows) AS x(line int, reason text, raw jsonb)"
        ),
        {"client": row.client_id, "import": row.id, "rows": Jsonb(list(_stored(rejects)))},
    )


def _stored(rejects: Iterable[Reject]) -> Iterable[dict[str, Any]]:
    for reject in sorted(rejects, key=lambda found: found.line):
        yield {"line": reject.line, "reason": storable(reject.reason), "raw": [storable(cell)[:4_000] for cell in reject.cells]}
