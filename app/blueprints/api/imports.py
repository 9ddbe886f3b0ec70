"""Imports of leads by program: a file, a mapping, a trial or a run, and undoing it."""

from __future__ import annotations

import json
from typing import Any

from flask import current_app, g, request
from marshmallow import fields, validate
from sqlalchemy import select

from app.blueprints.api.core import api_route
from app.blueprints.api.pagination import Page, page_of
from app.blueprints.api.schemas import Flag, Moment, PageQuery, Shown, Strict, Worked, one_of, text
from app.core.errors import Invalid
from app.core.extensions import db
from app.domain.csv_reading import UnreadableFile
from app.domain.permissions import Permission
from app.models import ImportReject, LeadImport
from app.models.lead import IMPORT_STATES
from app.services import importing
from app.services.importing.starting import EXISTING
from app.strings import t

SHOWN_REJECTS = 1_000


class NewImport(Strict):
    mapping = text(20_000, metadata={"description": "JSON: column → field (email, first_name, …, custom.<name>); left out: guessed"})
    dry_run = Flag(load_default=False)
    existing = fields.String(validate=validate.OneOf(EXISTING), metadata={"description": "known leads: update, fill (only what is empty), skip"})
    sheet = text(100, metadata={"description": "of a workbook; left out: the first"})


class SkippedShown(Shown):
    line = fields.Integer(required=True)
    reason = fields.String(required=True)


class ImportShown(Shown):
    id = fields.Integer(required=True)
    client_id = fields.Integer(required=True)
    filename = fields.String(required=True)
    status = one_of(IMPORT_STATES)
    dry_run = fields.Boolean(required=True)
    mapping = fields.Dict(keys=fields.String(), values=fields.String(), required=True)
    total_rows = fields.Integer(required=True, allow_none=True)
    done_rows = fields.Integer(required=True)
    created = fields.Integer(required=True)
    updated = fields.Integer(required=True)
    skipped_count = fields.Integer(required=True, attribute="skipped")
    error = fields.String(required=True)
    created_at = Moment(required=True)
    finished_at = Moment(required=True, allow_none=True)
    undone_at = Moment(required=True, allow_none=True)


class ImportWithRows(ImportShown):
    skipped = Worked(
        lambda row: _rejects(row), SkippedShown, many=True,
        metadata={"description": f"the first {SHOWN_REJECTS} rows that were not taken"},
    )  # fmt: skip


def _rejects(row: LeadImport) -> list[ImportReject]:
    statement = select(ImportReject).where(ImportReject.client_id == row.client_id, ImportReject.import_id == row.id)
    return list(db.session.scalars(statement.order_by(ImportReject.line, ImportReject.id).limit(SHOWN_REJECTS)))


@api_route("GET", "/imports", Permission.IMPORTS_READ, query=PageQuery, list_of=ImportShown, summary="List imports")
def list_imports(query: dict[str, Any]) -> Page:
    return page_of(select(LeadImport).where(LeadImport.client_id == g.client.id), query, LeadImport.id)


@api_route(
    "POST", "/imports", Permission.IMPORTS_RUN, body=NewImport, response=ImportWithRows, status=201, multipart=True,
    summary="Import leads from a file",
)
def create(body: dict[str, Any]) -> LeadImport:
    """Form fields beside the file ``file`` (CSV or xlsx). Up to 2,000 rows are worked on before the answer; larger files answer with
    ``status: running`` and are followed with GET. A dry run says exactly what the run would do and leaves nothing."""
    given = request.files.get("file")
    if given is None:
        raise Invalid.field("file", t("api.send_file"))
    row = importing.upload(g.client.id, given.filename or "", given.read(), by=g.viewer.id, sheet=body.get("sheet", ""))
    small = rows_of(row) <= importing.SMALL
    importing.start(
        row, mapping=_mapping(body.get("mapping")), existing=body.get("existing"), dry_run=body["dry_run"], enqueue=not small, by=g.viewer.id
    )
    if small:
        run(row)
    return row


def _mapping(raw: str | None) -> dict[str, str] | None:
    if raw is None:
        return None
    try:
        found = json.loads(raw)
    except ValueError:
        raise Invalid.field("mapping", t("api.mapping_object")) from None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise Invalid.field("mapping", t("api.mapping_texts"))
    return found


def _allow_reserved() -> bool:
    settings = current_app.extensions["settings"]
    return bool(settings.allow_targets) or settings.rehearsal


def rows_of(row: LeadImport) -> int:
    try:
        return len(importing.prepare(row, _allow_reserved()).rows)
    except UnreadableFile as error:
        raise Invalid.field("file", str(error)) from None


def run(row: LeadImport) -> None:
    try:
        importing.run_now(row, _allow_reserved())
    except UnreadableFile as error:
        raise Invalid.field("file", str(error)) from None


@api_route("GET", "/imports/<int:row_id>", Permission.IMPORTS_READ, object_of=LeadImport, response=ImportWithRows, summary="One import")
def show(row: LeadImport) -> LeadImport:
    return row


@api_route("POST", "/imports/<int:row_id>/undo", Permission.IMPORTS_UNDO, object_of=LeadImport, response=ImportShown, summary="Undo an import")
def undo(row: LeadImport) -> LeadImport:
    """For thirty days. Leads that were contacted stay; fields somebody changed since stay. Answers with ``status: undoing``."""
    importing.begin_undo(row, by=g.viewer.id)
    return row
