"""Undo: for thirty days, what an import created goes and what it changed comes back, except what has lived on since.

Created leads stay when something was sent to them, when somebody wrote with them, or when another import names them too; they keep
their line in ``import_changes``, which is how the page lists them. A field comes back only if it still holds what the import wrote.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import text

from app.core import clock
from app.core.bell import live_after_commit
from app.core.errors import Conflict
from app.core.extensions import db
from app.core.queue import Job, enqueue_after_commit
from app.models import LeadImport
from app.services import audit, leads
from app.services.importing.merging import NULLABLE, PLAIN, flat
from app.services.importing.running import Progress
from app.strings import t

UNDO_DAYS = 30
BATCH = 1_000


def undoable(row: LeadImport, now: datetime | None = None) -> bool:
    """Has it written something, and is it young enough?"""
    wrote = not row.dry_run and row.status in ("done", "failed") and row.done_rows > 0
    since = row.finished_at or row.created_at
    return wrote and (now or clock.now()) - since <= timedelta(days=UNDO_DAYS)


def begin_undo(row: LeadImport, *, enqueue: bool = True, by: int | None = None) -> None:
    """Mark it and let the job do it. Raises Conflict when there is nothing to undo, or it is too late."""
    db.session.refresh(row, with_for_update=True)
    if row.status in ("undoing", "undone"):
        raise Conflict(t("importing.undone_already"))
    if not undoable(row):
        raise Conflict(t("importing.cannot_undo", days=UNDO_DAYS))
    row.status = "undoing"
    db.session.flush()
    audit.record("import.undo", "import", row.id, client_id=row.client_id, user_id=by, after={"file": row.filename})
    if enqueue:
        enqueue_after_commit(Job.UNDO_IMPORT, row.id, timeout_s=1800)
    live_after_commit(row.client_id, f"import-{row.id}")


_BACK = (
    f"WITH one AS MATERIALIZED (SELECT c.lead_id, c.before, {flat('l')} AS present FROM import_changes c JOIN leads l ON l.id = c.lead_id"
    " WHERE c.import_id = :import AND c.client_id = :client AND c.before IS NOT NULL ORDER BY c.lead_id LIMIT :batch FOR UPDATE OF l),"
    " back AS MATERIALIZED (SELECT lead_id, jsonb_object_agg(key, value -> 0) AS b FROM one, jsonb_each(before)"
    " WHERE present -> key IS NOT DISTINCT FROM value -> 1 GROUP BY lead_id),"
    " restored AS (UPDATE leads l SET "
    + ", ".join(
        f"{name} = CASE WHEN jsonb_exists(b, '{name}') THEN " + (f"b ->> '{name}'" if name in NULLABLE else f"coalesce(b ->> '{name}', '')")
        + f" ELSE l.{name} END" for name in PLAIN
    )
    + ", custom = (l.custom || coalesce((SELECT jsonb_object_agg(substr(key, 8), value) FROM jsonb_each(b)"
    " WHERE starts_with(key, 'custom.') AND value <> 'null'), '{}'))"
    " - coalesce((SELECT array_agg(substr(key, 8)) FROM jsonb_each(b) WHERE starts_with(key, 'custom.') AND value = 'null'), '{}'),"
    " updated_at = :now FROM back WHERE l.id = back.lead_id RETURNING 1),"
    " gone AS (DELETE FROM import_changes c USING one WHERE c.import_id = :import AND c.lead_id = one.lead_id RETURNING 1)"
    " SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM restored)"
)  # fmt: skip
_CREATED = text(
    "SELECT c.lead_id, EXISTS (SELECT 1 FROM import_changes o JOIN lead_imports i ON i.id = o.import_id WHERE o.lead_id = c.lead_id"
    "   AND o.import_id <> c.import_id AND i.status IN ('running', 'done', 'failed')) AS elsewhere"
    " FROM import_changes c WHERE c.import_id = :import AND c.client_id = :client AND c.before IS NULL AND c.lead_id > :after"
    " ORDER BY c.lead_id LIMIT :batch"
)


def undo_step(import_id: int, client_id: int, after: int = 0) -> tuple[Progress, int]:
    """Undo the next batch in the present transaction; hand the second value back as ``after``. Repeating a batch does no harm."""
    row = db.session.get(LeadImport, import_id, with_for_update=True, populate_existing=True)
    if row is None or row.client_id != client_id or row.status != "undoing":
        return Progress(0, 0, True), after
    values = {"import": import_id, "client": client_id, "batch": BATCH, "now": clock.now()}
    noted, restored = db.session.execute(text(_BACK), values).one()
    facts = {"removed": 0, "restored": 0, **row.options.get("undo", {})}
    facts["restored"] += restored
    found = db.session.execute(_CREATED, {**values, "after": after}).all() if noted < BATCH else []
    if found:
        facts["removed"] += leads.remove_untouched(client_id, [one.lead_id for one in found if not one.elsewhere])
    ended = noted < BATCH and len(found) < BATCH
    row.options = {**row.options, "undo": facts}
    if ended:
        row.status, row.undone_at = "undone", clock.now()
    db.session.flush()
    live_after_commit(client_id, f"import-{import_id}", *(["leads", "counters"] if ended else []))
    return Progress(facts["removed"] + facts["restored"], row.created + row.updated, ended), found[-1].lead_id if found else after
