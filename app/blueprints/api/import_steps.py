"""An import step by step, as the pages do it: keep a file, look at its columns, try, run, and fetch what was not taken."""

from __future__ import annotations

from typing import Any

from flask import Response, g, request
from marshmallow import fields, validate

from app.blueprints.api.core import api_route
from app.blueprints.api.imports import ImportShown, ImportWithRows, rows_of, run
from app.blueprints.api.leads import LeadShown
from app.blueprints.api.pagination import Page
from app.blueprints.api.schemas import Flag, Shown, Strict, text
from app.blueprints.imports import rejected_csv
from app.core.errors import Invalid
from app.domain.permissions import Permission
from app.models import LeadImport
from app.queries import leads as queries
from app.services import importing
from app.services.importing.starting import EXISTING
from app.strings import t

RUN, READ = Permission.IMPORTS_RUN, Permission.IMPORTS_READ
ONE = "/imports/<int:row_id>"


class Upload(Strict):
    sheet = text(100, metadata={"description": "of a workbook; left out: the first"})


class Start(Strict):
    mapping = fields.Dict(keys=text(500), values=text(100), metadata={"description": "column → field; left out: as guessed or chosen before"})
    existing = fields.String(validate=validate.OneOf(EXISTING), metadata={"description": "known leads: update, fill (only what is empty), skip"})
    dry_run = Flag(load_default=False)
    sheet = text(100, metadata={"description": "read another sheet of the workbook first"})


class ColumnShown(Shown):
    name = fields.String(required=True)
    field = fields.String(required=True, metadata={"description": "what it becomes; empty: it is left out"})
    values = fields.List(fields.String(), required=True, metadata={"description": "up to eight of its values"})


class ColumnsShown(Shown):
    columns = fields.List(fields.Nested(ColumnShown), required=True)
    sheets = fields.List(fields.String(), required=True)
    sheet = fields.String(required=True)
    encoding = fields.String(required=True, allow_none=True)
    separator = fields.String(required=True, allow_none=True)


@api_route("POST", "/imports/upload", RUN, body=Upload, response=ImportShown, status=201, multipart=True, summary="Keep a file without importing it yet")
def upload(body: dict[str, Any]) -> LeadImport:
    """The form's field ``file`` (CSV or xlsx). GET its columns, then POST its start; POST /api/imports does all three at once."""
    given = request.files.get("file")
    if given is None:
        raise Invalid.field("file", t("api.send_file"))
    return importing.upload(g.client.id, given.filename or "", given.read(), by=g.viewer.id, sheet=body.get("sheet", ""))


@api_route("GET", f"{ONE}/columns", READ, object_of=LeadImport, response=ColumnsShown, summary="The columns of a file and what they become")
def show_columns(row: LeadImport) -> dict[str, Any]:
    sample = row.options.get("sample", [])
    columns = [
        {"name": name, "field": row.mapping.get(name, ""), "values": [line[at] for line in sample if at < len(line) and line[at]]}
        for at, name in enumerate(row.columns)
    ]
    facts = {name: row.options.get(name) for name in ("encoding", "separator")}
    return {"columns": columns, "sheets": row.options.get("sheets", []), "sheet": row.options.get("sheet", ""), **facts}


@api_route("POST", f"{ONE}/start", RUN, object_of=LeadImport, body=Start, response=ImportWithRows, summary="Try or run an import")
def start(row: LeadImport, body: dict[str, Any]) -> LeadImport:
    """After a dry run the same import is run by calling this again. 409 when it is running or has run."""
    if "sheet" in body:
        importing.change_sheet(row, body["sheet"])
    small = rows_of(row) <= importing.SMALL
    importing.start(row, mapping=body.get("mapping"), existing=body.get("existing"), dry_run=body["dry_run"], enqueue=not small, by=g.viewer.id)
    if small:
        run(row)
    return row


@api_route("GET", f"{ONE}/rejected", RUN, object_of=LeadImport, media="text/csv", summary="The rows that were not taken, as a table")
def rejected(row: LeadImport) -> Response:
    """Each with its line and why, in the file's own columns: correct them and upload the table."""
    return rejected_csv(row)


@api_route("GET", f"{ONE}/kept", READ, object_of=LeadImport, list_of=LeadShown, summary="Leads that stayed when an import was undone")
def kept(row: LeadImport) -> Page:
    """Because something was sent to them or they came by another way too; at most 200."""
    return Page(queries.kept_by_undo(row) if row.status == "undone" else [], None)
