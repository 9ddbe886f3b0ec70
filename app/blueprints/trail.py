"""The trail: who changed what, when and from where, with the proof that no line was changed or taken out."""

from __future__ import annotations

import json
from typing import Any

from flask import Blueprint, Response, g, make_response, request
from flask.typing import ResponseReturnValue

from app.blueprints.access import requires
from app.blueprints.digits import whole
from app.blueprints.htmx import page_or_fragment
from app.domain.csv_guard import write_csv
from app.domain.permissions import Permission
from app.queries import trail as queries
from app.services import audit, trail
from app.strings import t

blueprint = Blueprint("trail", __name__)
PER_PAGE = 50
MOST_EXPORTED = 100_000
COLUMNS = ("id", "at", "who", "action", "object", "name", "before", "after", "address", "seal")


@blueprint.get("/c/<slug>/settings/trail")
@requires(Permission.AUDIT_READ)
def client() -> Response:
    return _page(g.client.id, g.client.id)


@blueprint.get("/operations/trail")
@requires(Permission.OPS_READ)
def instance() -> Response:
    return _page(None, 0)


def _page(client_id: int | None, chain: int) -> Response:
    facets = queries.facets(client_id)
    kind = request.args.get("kind", "")
    user_id = whole(request.args.get("by"), 18)
    before = whole(request.args.get("before"), 18)
    found = queries.lines(
        client_id, user_id=user_id, kind=kind if kind in facets.kinds else "", before_id=before, limit=PER_PAGE + 1
    )
    return page_or_fragment(
        "settings/trail.html", "list", lines=found[:PER_PAGE], more=found[PER_PAGE - 1].id if len(found) > PER_PAGE else None,
        before=before, facets=facets, kind=kind, by=user_id, proof=trail.prove(chain) if request.args.get("prove") else None, of_client=client_id is not None,
    )  # fmt: skip


@blueprint.get("/c/<slug>/settings/trail.csv")
@requires(Permission.AUDIT_READ)
def export() -> ResponseReturnValue:
    return export_csv()


def export_csv() -> Response:
    """The newest 100,000 lines. That it was taken out is a line itself."""
    found = queries.lines(g.client.id, limit=MOST_EXPORTED)
    audit.record("trail.export", "trail", g.client.id, after={"lines": len(found)})
    answer = make_response(write_csv(COLUMNS, ([_cell(value) for value in _row(line)] for line in found)))
    answer.headers["Content-Type"] = "text/csv; charset=utf-8"
    answer.headers["Content-Disposition"] = f'attachment; filename="{t("trail.file")}-{g.client.slug}.csv"'
    return answer


def _row(line: queries.Line) -> tuple[Any, ...]:
    what = f"{line.object_kind} {line.object_id}"
    return (line.id, line.at.isoformat(), line.who, line.action, what, line.object_name, line.before, line.after, line.address, line.seal)


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False, sort_keys=True) if value else ""
    return "" if value is None else str(value)
