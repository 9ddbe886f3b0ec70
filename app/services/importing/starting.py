"""An upload becomes an import with a guessed mapping; a mapping makes it run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import text

from app.core import clock
from app.core.bell import live_after_commit
from app.core.errors import Conflict, Invalid
from app.core.extensions import db
from app.core.queue import Job, enqueue_after_commit
from app.domain.column_mapping import guess_mapping, wrong_mapping
from app.domain.csv_reading import UnreadableFile
from app.domain.xlsx_reading import read_table, sheet_names
from app.models import Blob, LeadImport
from app.services import audit
from app.strings import t

#: Files of at most so many rows are imported at once, in the request that asks for it.
SMALL = 2_000
SAMPLE_ROWS = 50
SHOWN_ROWS = 8
EXISTING = ("update", "fill", "skip")
DEFAULTS: Mapping[str, Any] = {"existing": "update", "sheet": ""}


def upload(client_id: int, filename: str, data: bytes, *, by: int | None, sheet: str = "", now: datetime | None = None) -> LeadImport:
    """Keep a file and read its head. Raises Invalid (field ``file``) for what is no table."""
    digest = hashlib.sha256(data).hexdigest()
    found = LeadImport(
        client_id=client_id, filename=_clean_name(filename), blob_sha256=digest, columns=[], mapping={}, options={},
        created_by=by, created_at=now or clock.now(),
    )  # fmt: skip
    _read_head(found, data, sheet)
    db.session.execute(
        text("INSERT INTO blobs (client_id, sha256, bytes, size) VALUES (:c, :sha, :data, :size) ON CONFLICT DO NOTHING"),
        {"c": client_id, "sha": digest, "data": data, "size": len(data)},
    )
    db.session.add(found)
    db.session.flush()
    audit.record("import.upload", "import", found.id, client_id=client_id, user_id=by, after={"file": found.filename, "bytes": len(data)})
    return found


def _clean_name(filename: str) -> str:
    name = filename.replace("\\", "/").rpartition("/")[2]
    return "".join(c for c in name if c.isprintable())[:200] or "leads.csv"


def _read_head(row: LeadImport, data: bytes, sheet: str) -> None:
    """Columns, a few rows to show, and a guessed mapping onto the import."""
    try:
        table = read_table(data, sheet)
        sample = [found for found in islice(table.rows, SAMPLE_ROWS) if not found.fault]
        sheets = list(sheet_names(data))
    except UnreadableFile as error:
        raise Invalid(str(error), details={"file": [str(error)]}) from None
    cells = [found.cells for found in sample]
    row.columns = list(table.columns)
    row.mapping = guess_mapping(table.columns, cells)
    shown = [[storable(cell)[:200] for cell in line] for line in cells[:SHOWN_ROWS]]
    facts = {"sheets": sheets[:100], "sheet": sheet, "encoding": table.encoding, "separator": table.separator, "sample": shown}
    row.options = {**DEFAULTS, **row.options, **facts}


def storable(text_: str) -> str:
    """Text that PostgreSQL can hold; for showing a rejected row, not for storing a lead."""
    return "".join("\N{REPLACEMENT CHARACTER}" if c == "\0" or "\ud800" <= c <= "\udfff" else c for c in text_)


def change_sheet(row: LeadImport, sheet: str) -> None:
    """Read another sheet of the same workbook. Raises Conflict once it has run, Invalid for a sheet that is not there."""
    if row.status != "uploaded":
        raise Conflict(t("importing.ran_sheet"))
    before = row.options.get("sheet", "")
    _read_head(row, file_of(row), sheet)
    db.session.flush()
    audit.record("import.sheet", "import", row.id, client_id=row.client_id, before={"sheet": before}, after={"sheet": sheet})


def file_of(row: LeadImport) -> bytes:
    """The uploaded bytes. Raises Conflict when they were removed after their keeping time."""
    blob = db.session.get(Blob, (row.client_id, row.blob_sha256))
    if blob is None:
        raise Conflict(t("importing.file_gone"))
    return bytes(blob.bytes)


def start(
    row: LeadImport,
    *,
    mapping: Mapping[str, str] | None = None,
    existing: str | None = None,
    dry_run: bool,
    enqueue: bool = True,
    by: int | None = None,
) -> None:
    """Begin a run or a trial. ``mapping`` None: as guessed. ``existing``: what happens to known leads: update (the file wins),
    fill (only what is empty), skip.

    Raises Invalid for a mapping that cannot be used, Conflict when the import is running or has run.
    """
    db.session.refresh(row, with_for_update=True)
    if row.status not in ("uploaded", "failed") and not (row.status == "done" and row.dry_run):
        raise Conflict(t("importing.ran_already"))
    if existing is not None and existing not in EXISTING:
        raise Invalid.field("existing", t("importing.known_choice"))
    if mapping is not None:
        row.mapping = _chosen(list(row.columns), mapping)
    elif wrong := wrong_mapping(row.columns, row.mapping):
        raise Invalid(t("importing.say_columns"), details={"mapping": [text_ for texts in wrong.values() for text_ in texts]})
    row.options = {**row.options, "existing": existing or row.options.get("existing", "update")}
    resumed = row.status == "failed" and row.dry_run == dry_run and row.done_rows > 0
    row.status, row.dry_run, row.error = "running", dry_run, ""
    row.started_at, row.finished_at = clock.now(), None
    if not resumed:
        row.done_rows = row.created = row.updated = row.skipped = 0
        row.total_rows = None
        db.session.execute(text("DELETE FROM import_rejects WHERE import_id = :id AND client_id = :c"), {"id": row.id, "c": row.client_id})
    db.session.flush()
    audit.record("import.trial" if dry_run else "import.run", "import", row.id, client_id=row.client_id, user_id=by, after={"file": row.filename})
    if enqueue:
        enqueue_after_commit(Job.RUN_IMPORT, row.id, timeout_s=1800)
    live_after_commit(row.client_id, f"import-{row.id}")


def _chosen(columns: list[str], mapping: Mapping[str, str]) -> dict[str, str]:
    """The mapping by the file's own spelling of its columns; columns that are not named are not imported."""
    folded = {name.strip().casefold(): name for name in columns}
    spelled = {(key if key in columns else folded.get(key.strip().casefold(), key)): value.strip() for key, value in mapping.items()}
    if wrong := wrong_mapping(columns, spelled):
        details = {f"mapping.{column}": texts for column, texts in wrong.items()}
        raise Invalid(t("importing.mapping_wrong"), details=details)
    return {name: spelled.get(name, "") for name in columns}
