"""The do-not-contact list in and out as a table, and its figures."""

from __future__ import annotations

from typing import Any

from flask import Response, g, request
from marshmallow import fields, validate

from app.blueprints.api.core import api_route
from app.blueprints.api.schemas import Shown, Strict, text
from app.blueprints.suppressions import addresses, export_csv, uploaded
from app.core.errors import Invalid
from app.core.queue import Job, enqueue_after_commit
from app.domain.permissions import Permission
from app.models.suppression import REASONS
from app.queries import suppressions as queries
from app.services import audit, suppressions
from app.strings import t


class CountsShown(Shown):
    counts = fields.Dict(keys=fields.String(), values=fields.Integer(), required=True, metadata={"description": "by reason"})


class ImportedList(Strict):
    reason = fields.String(validate=validate.OneOf(REASONS), load_default="import")
    note = text(500, load_default="")


class ImportedShown(Shown):
    found = fields.Integer(required=True, metadata={"description": "addresses in the file"})
    added = fields.Integer(required=True, metadata={"description": "how many were not on the list yet; 0 while running"})
    running = fields.Boolean(required=True, metadata={"description": "a long list is added in the background"})


class ManyEverywhere(Strict):
    emails = fields.List(text(320, shortest=3), required=True, validate=validate.Length(1, suppressions.BATCH))
    reason = text(500, shortest=1, required=True)


class AddedShown(Shown):
    added = fields.Integer(required=True)


@api_route("GET", "/suppressions/counts", Permission.SUPPRESSIONS_READ, response=CountsShown, summary="How many addresses there are for each reason")
def suppression_counts() -> dict[str, Any]:
    return {"counts": queries.counts(g.client.id)}


@api_route("GET", "/suppressions/export", Permission.EXPORT, media="text/csv", summary="The do-not-contact list as a table")
def export_suppressions() -> Response:
    """That it was taken out is a line of the trail."""
    return export_csv()


@api_route(
    "POST", "/suppressions/import", Permission.SUPPRESSIONS_ADD, body=ImportedList, response=ImportedShown, status=201, multipart=True,
    summary="Never contact the addresses of a file",
)
def import_suppressions(body: dict[str, Any]) -> dict[str, Any]:
    """The form's field ``file``: any text that holds addresses, at most 100,000. Up to 500 are added before the answer."""
    if request.files.get("file") is None:
        raise Invalid.field("file", t("api.send_file"))
    emails = addresses(uploaded(), "file")
    if len(emails) > suppressions.BATCH:
        enqueue_after_commit(Job.SUPPRESS_MANY, g.client.id, emails, body["reason"], "import", g.viewer.id, body["note"], timeout_s=3_600)
        return {"found": len(emails), "added": 0, "running": True}
    added = suppressions.suppress_batch(g.client.id, emails, body["reason"], "import", note=body["note"], by=g.viewer.id)
    return {"found": len(emails), "added": added, "running": False}


@api_route(
    "POST", "/admin/suppressions/many", Permission.OPS_MANAGE, client=False, body=ManyEverywhere, response=AddedShown, status=201,
    summary="Nobody here contacts these addresses",
)
def add_everywhere(body: dict[str, Any]) -> dict[str, int]:
    emails = addresses("\n".join(body["emails"]), "emails")
    added = sum(suppressions.suppress_globally(email, body["reason"], by=g.viewer.id) for email in emails)
    audit.record("suppression.add_global", "suppression", ", ".join(emails[:20])[:500], after={"count": added, "reason": body["reason"]})
    return {"added": added}
