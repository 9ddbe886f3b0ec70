"""Imports of leads: a file, which column is what, a trial, the run with its progress, the result, and undoing it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, g, request, url_for
from flask.typing import ResponseReturnValue

from app.blueprints.access import load, requires, viewer
from app.blueprints.digits import whole
from app.blueprints.htmx import after_post, page_or_fragment
from app.blueprints.leads import add_to, allow_reserved, csv_answer
from app.core.errors import Conflict, Invalid
from app.core.extensions import db
from app.domain.column_mapping import FIELDS, custom_name
from app.domain.csv_reading import UnreadableFile
from app.domain.permissions import Permission
from app.models import LeadImport
from app.queries import leads as queries
from app.services import audit, importing
from app.services.importing.starting import EXISTING
from app.strings import t

blueprint = Blueprint("imports", __name__, url_prefix="/c/<slug>/imports")
READ, RUN = Permission.IMPORTS_READ, Permission.IMPORTS_RUN
SHOWN_REJECTS = 100
REJECT_ROWS = 200_000
OWN = "custom"


@blueprint.get("/")
@requires(READ)
def index() -> Response:
    return page_or_fragment("leads/imports.html", "list", imports=queries.imports(g.client.id), kinds=KINDS)


KINDS = {"uploaded": "quiet", "running": "waiting", "done": "good", "failed": "broken", "undoing": "waiting", "undone": "quiet"}


@blueprint.get("/new")
@requires(RUN)
def new() -> Response:
    return page_or_fragment("leads/upload.html", "form", errors={})


@blueprint.post("/new")
@requires(RUN)
def create() -> ResponseReturnValue:
    given = request.files.get("file")
    if given is None or not given.filename:
        return page_or_fragment("leads/upload.html", status=422, errors={"file": [t("leads.choose_file")]})
    try:
        row = importing.upload(g.client.id, given.filename, given.read(), by=viewer().id)
    except Invalid as wrong:
        return page_or_fragment("leads/upload.html", status=422, errors=wrong.details)
    return after_post(url_for("imports.show", import_id=row.id))


@blueprint.get("/<int:import_id>")
@requires(READ)
def show(import_id: int) -> Response:
    return _page(load(LeadImport, import_id))


def _page(
    row: LeadImport, *, errors: Mapping[str, Any] | None = None, mapping: Mapping[str, str] | None = None, existing: str | None = None,
    status: int = 200,
) -> Response:  # fmt: skip
    """The import as it stands: columns to be chosen, progress, or the result."""
    trial = row.dry_run and row.status == "done"
    chosen = row.mapping if mapping is None else mapping
    return page_or_fragment(
        "leads/import.html", None if status == 422 else "state", status=status, row=row, trial=trial, kinds=KINDS,
        choosing=row.status in ("uploaded", "failed") or trial, columns=_columns(row, chosen), fields=FIELDS, errors=errors or {},
        existing=existing or row.options.get("existing", "update"), ways=EXISTING, own_names=queries.custom_names(g.client.id),
        rejects=queries.rejects(row, SHOWN_REJECTS) if row.skipped else [], undoable=importing.undoable(row), days=importing.UNDO_DAYS,
        kept=queries.kept_by_undo(row) if row.status == "undone" else [],
        campaigns=queries.open_campaigns(g.client.id) if row.status == "done" and not row.dry_run else [],
    )  # fmt: skip


def _columns(row: LeadImport, mapping: Mapping[str, str]) -> list[dict[str, Any]]:
    """Every column with three values of it and what it becomes."""
    sample = row.options.get("sample", [])
    found = []
    for at, name in enumerate(row.columns):
        field = mapping.get(name, "")
        own = field.startswith("custom.")
        values = [line[at] for line in sample if at < len(line) and line[at]][:3]
        found.append({"at": at, "name": name, "values": values, "field": OWN if own else field, "own": field[7:] if own else ""})
    return found


@blueprint.post("/<int:import_id>/sheet")
@requires(RUN)
def sheet(import_id: int) -> ResponseReturnValue:
    row = load(LeadImport, import_id)
    importing.change_sheet(row, request.form.get("sheet", ""))
    return after_post(url_for("imports.show", import_id=import_id))


@blueprint.post("/<int:import_id>/start")
@requires(RUN)
def start(import_id: int) -> ResponseReturnValue:
    """A trial (``action=trial``) or the run; a small file is worked on before the answer, a large one in the background."""
    row = load(LeadImport, import_id)
    mapping = _typed_mapping(row) if request.form.get("mapped") else None
    existing = request.form.get("existing") or None
    try:
        _begin(row, mapping, existing)
    except Invalid as wrong:
        db.session.refresh(row)
        return _page(row, errors=_by_column(wrong, row), mapping=mapping, existing=existing, status=422)
    except Conflict as refused:
        return after_post(url_for("imports.show", import_id=import_id), toast=refused.message)
    return after_post(url_for("imports.show", import_id=import_id))


def _begin(row: LeadImport, mapping: Mapping[str, str] | None, existing: str | None) -> None:
    trial = request.form.get("action") == "trial"
    try:
        small = len(importing.prepare(row, allow_reserved()).rows) <= importing.SMALL
        importing.start(row, mapping=mapping, existing=existing, dry_run=trial, enqueue=not small, by=viewer().id)
        if small:
            importing.run_now(row, allow_reserved())
    except UnreadableFile as error:
        raise Invalid.field("file", str(error)) from None


def _typed_mapping(row: LeadImport) -> dict[str, str]:
    """Column → field as chosen on the page; an own field without a name gets its column's."""
    chosen = {}
    for at, name in enumerate(row.columns):
        field = request.form.get(f"field-{at}", "")
        if field == OWN:
            field = f"custom.{custom_name(request.form.get(f'own-{at}', '').strip() or name)}"
        chosen[name] = field
    return chosen


def _by_column(wrong: Invalid, row: LeadImport) -> dict[str, list[str]]:
    """What is wrong, by column; the rest under an empty name."""
    found: dict[str, list[str]] = {"": []}
    for key, texts in (wrong.details or {}).items():
        column = key.removeprefix("mapping.")
        found.setdefault(column if key != "mapping" and column in row.columns else "", []).extend(map(str, texts))
    return found


@blueprint.post("/<int:import_id>/undo")
@requires(Permission.IMPORTS_UNDO)
def undo(import_id: int) -> ResponseReturnValue:
    try:
        importing.begin_undo(load(LeadImport, import_id), by=viewer().id)
    except Conflict as refused:
        return after_post(url_for("imports.show", import_id=import_id), toast=refused.message)
    return after_post(url_for("imports.show", import_id=import_id))


@blueprint.post("/<int:import_id>/add")
@requires(Permission.CAMPAIGNS_ENROLL)
def add(import_id: int) -> ResponseReturnValue:
    """All leads of this import into a campaign, through the campaign's own door."""
    row, campaign_id = load(LeadImport, import_id), whole(request.form.get("campaign"))
    here = url_for("imports.show", import_id=import_id)
    if campaign_id is None:
        return after_post(here, toast=t("leads.no_campaign"))
    chosen = queries.ids(queries.LeadFilter(g.client.id, import_id=row.id), 500_000)
    return after_post(url_for("campaigns.people", campaign_id=campaign_id), toast=add_to(campaign_id, chosen))


@blueprint.get("/<int:import_id>/rejected.csv")
@requires(RUN)
def rejected(import_id: int) -> Response:
    """The rows that were not taken, each with its line and why, in the file's own columns: correct them and upload this file."""
    return rejected_csv(load(LeadImport, import_id))


def rejected_csv(row: LeadImport) -> Response:
    """The table; that it was taken out is a line of the trail."""
    lines: list[list[object]] = [[one.line, one.reason, *one.raw] for one in queries.rejects(row, REJECT_ROWS)]
    audit.record("import.export_rejects", "import", row.id, client_id=row.client_id, after={"rows": len(lines)})
    return csv_answer(f"not-imported-{row.id}.csv", [t("leads.col_line"), t("leads.col_reason"), *row.columns], lines)
