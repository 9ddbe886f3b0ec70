"""The trail by program: who changed what, and whether every seal fits."""

from __future__ import annotations

from typing import Any

from flask import g
from marshmallow import fields

from app.blueprints.api.core import api_route
from app.blueprints.api.pagination import Page, page_of
from app.blueprints.api.schemas import Moment, PageQuery, Shown, row_id, text
from app.domain.permissions import Permission
from app.models import AuditEntry
from app.queries import trail as queries
from app.services import trail


class TrailQuery(PageQuery):
    kind = text(40, metadata={"description": "the first word of the action, like campaign"})
    user_id = row_id()


class LineShown(Shown):
    id = fields.Integer(required=True)
    at = Moment(required=True)
    user_id = fields.Integer(required=True, allow_none=True)
    who = fields.String(required=True, allow_none=True)
    action = fields.String(required=True)
    object_kind = fields.String(required=True)
    object_id = fields.String(required=True)
    object_name = fields.String(required=True, metadata={"description": "what it is called today; empty: it is gone or has no name"})
    before = fields.Dict(required=True)
    after = fields.Dict(required=True)
    address = fields.String(required=True)
    seal = fields.Integer(required=True, allow_none=True, metadata={"description": "null for the few seconds until it is sealed"})


class FaultShown(Shown):
    entry_id = fields.Integer(required=True)
    number = fields.Integer(required=True)
    what = fields.String(required=True, metadata={"description": "changed, missing or gap"})


class ProofShown(Shown):
    sealed = fields.Integer(required=True)
    waiting = fields.Integer(required=True, metadata={"description": "lines of the last seconds without a seal"})
    faults = fields.List(fields.Nested(FaultShown), required=True, metadata={"description": "must be empty; at most 100"})


@api_route("GET", "/audit", Permission.AUDIT_READ, query=TrailQuery, list_of=LineShown, summary="Who changed what")
def list_lines(query: dict[str, Any]) -> Page:
    return page_of_lines(g.client.id, query)


def page_of_lines(client_id: int | None, query: dict[str, Any]) -> Page:
    """One page of a client's trail (None: of the installation's)."""
    statement = queries.select_lines(client_id)
    if query.get("kind"):
        statement = statement.where(AuditEntry.action.startswith(f"{query['kind']}.", autoescape=True))
    if query.get("user_id"):
        statement = statement.where(AuditEntry.user_id == query["user_id"])
    found = page_of(statement, query, AuditEntry.id, scalars=False)
    return Page(queries.lines_of(client_id, found.items), found.next_cursor)


@api_route("GET", "/audit/proof", Permission.AUDIT_READ, response=ProofShown, summary="Does every seal of the trail fit")
def prove() -> trail.Proof:
    """Reads every line again: about a second per 100,000."""
    return trail.prove(g.client.id)
