"""Imports of leads: upload, mapping, a trial that changes nothing, the run in batches, and undoing it for thirty days."""

from app.services.importing.running import Progress, mark_failed, prepare, run_now, step
from app.services.importing.starting import SMALL, change_sheet, start, upload
from app.services.importing.undoing import UNDO_DAYS, begin_undo, undo_step, undoable

__all__ = [
    "SMALL", "UNDO_DAYS", "Progress", "begin_undo", "change_sheet", "mark_failed", "prepare", "run_now", "start", "step",
    "undo_step", "undoable", "upload",
]
