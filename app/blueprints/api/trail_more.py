"""The trail as a table, what its lists offer, and the trail of the installation itself."""

from __future__ import annotations

from typing import Any

from flask import Response, g
from marshmallow import fields

from app.blueprints.api.core import api_route
from app.blueprints.api.pagination import Page
from app.blueprints.api.schemas import Shown
from app.blueprints.api.trail import LineShown, ProofShown, TrailQuery, page_of_lines
from app.blueprints.trail import export_csv
from app.domain.permissions import Permission
from app.queries import trail as queries
from app.services import trail


class WhoShown(Shown):
    id = fields.Integer(required=True)
    name = fields.String(required=True)


class FacetsShown(Shown):
    kinds = fields.List(fields.String(), required=True)
    people = fields.List(fields.Nested(WhoShown), required=True)


@api_route("GET", "/audit/facets", Permission.AUDIT_READ, response=FacetsShown, summary="Kinds of change and people that the trail holds")
def facets() -> dict[str, Any]:
    found = queries.facets(g.client.id)
    return {"kinds": found.kinds, "people": [{"id": number, "name": name} for number, name in found.people]}


@api_route("GET", "/audit/export", Permission.AUDIT_READ, media="text/csv", summary="The trail as a table")
def export_trail() -> Response:
    """The newest 100,000 lines. That it was taken out is a line itself."""
    return export_csv()


@api_route("GET", "/admin/audit", Permission.OPS_READ, client=False, query=TrailQuery, list_of=LineShown, summary="Who changed the installation")
def list_lines_of_installation(query: dict[str, Any]) -> Page:
    """What has no client: logins, settings of the installation, its stop, sources, the schedule."""
    return page_of_lines(None, query)


@api_route("GET", "/admin/audit/proof", Permission.OPS_READ, client=False, response=ProofShown, summary="Does every seal of the installation's trail fit")
def prove_installation() -> trail.Proof:
    return trail.prove(0)
