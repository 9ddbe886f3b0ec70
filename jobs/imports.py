"""Imports in the background: batch by batch, each its own transaction; a process that dies is followed by one that goes on."""

from __future__ import annotations

import gc
import logging

from flask import current_app
from sqlalchemy import select, text
from sqlalchemy.exc import InterfaceError, OperationalError

from app.core.db import Scope, transaction
from app.core.errors import ProductError
from app.core.extensions import db
from app.core.queue import Job, enqueue
from app.domain.csv_reading import UnreadableFile
from app.models import LeadImport
from app.services import importing
from app.strings import t
from jobs.base import only_once, tick

log = logging.getLogger("emberpost.imports")
UNEXPECTED = t("importing.unexpected")


def run(import_id: int) -> None:
    """Run or go on with an import; does nothing when it has ended or another process has it."""
    with only_once(f"import-{import_id}") as mine:
        if mine:
            _run(import_id)
    db.session.remove()


def _run(import_id: int) -> None:
    client_id = _client_of(import_id, "running")
    if client_id is None:
        return
    scope = Scope(client_id=client_id, client_ids=(client_id,))
    try:
        with transaction(scope):
            row = db.session.get_one(LeadImport, import_id)
            settings = current_app.extensions["settings"]
            prepared = importing.prepare(row, bool(settings.allow_targets) or settings.rehearsal)
        gc.freeze()  # hundreds of thousands of rows: looking through them again and again costs more than they do
        ended = False
        while not ended:
            with transaction(scope):
                ended = importing.step(import_id, client_id, prepared).ended
    except (OperationalError, InterfaceError):
        raise  # the database is away: the sweep lets it go on
    except Exception as error:
        if not isinstance(error, UnreadableFile | ProductError):
            log.exception("import %s cannot go on", import_id)
        with transaction(scope):
            importing.mark_failed(import_id, client_id, str(error) if isinstance(error, UnreadableFile | ProductError) else UNEXPECTED)
    finally:
        gc.unfreeze()


def undo(import_id: int) -> None:
    """Undo or go on with undoing an import."""
    with only_once(f"import-{import_id}") as mine:
        client_id = _client_of(import_id, "undoing") if mine else None
        if client_id is not None:
            ended, after = False, 0
            while not ended:
                with transaction(Scope(client_id=client_id, client_ids=(client_id,))):
                    progress, after = importing.undo_step(import_id, client_id, after)
                    ended = progress.ended
    db.session.remove()


@tick(Job.IMPORT_SWEEP)
def sweep() -> None:
    """Imports whose job or process was lost go on."""
    with transaction():
        unfinished = "SELECT id, status FROM lead_imports WHERE status IN ('running', 'undoing') ORDER BY id LIMIT 100"
        found = db.session.execute(text(unfinished)).all()
    for import_id, status in found:
        job = Job.RUN_IMPORT if status == "running" else Job.UNDO_IMPORT
        enqueue(job, import_id, timeout_s=1800, job_id=f"{status}-{import_id}")


def _client_of(import_id: int, status: str) -> int | None:
    with transaction():
        return db.session.scalar(select(LeadImport.client_id).where(LeadImport.id == import_id, LeadImport.status == status))
