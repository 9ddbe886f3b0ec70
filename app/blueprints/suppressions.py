"""Addresses never to be contacted: the list of a client, in and out as CSV, and the list of the whole installation."""

from __future__ import annotations

import re
from typing import Any

from flask import Blueprint, Response, g, make_response, request, url_for
from flask.typing import ResponseReturnValue

from app.blueprints.access import load, requires, viewer
from app.blueprints.htmx import after_post, page_or_fragment
from app.core.errors import Invalid
from app.core.queue import Job, enqueue_after_commit
from app.domain.address import AddressError, parse_address
from app.domain.csv_guard import original_cell, write_csv
from app.domain.permissions import Permission
from app.models import Suppression
from app.models.suppression import REASONS
from app.queries import suppressions as queries
from app.services import audit, suppressions
from app.strings import t

blueprint = Blueprint("suppressions", __name__)
PER_PAGE = 100
MOST = 100_000
ADDRESS = re.compile(r"[^\s,;|<>\"'()]+@[^\s,;|<>\"'()]+")
COLUMNS = ("email", "reason", "source", "note", "campaign", "by", "at")


@blueprint.get("/c/<slug>/do-not-contact/")
@requires(Permission.SUPPRESSIONS_READ)
def index() -> Response:
    return _index()


def _index(status: int = 200, values: dict[str, Any] | None = None, errors: dict[str, Any] | None = None) -> Response:
    search, reason = request.args.get("q", "").strip()[:320], request.args.get("reason", "")
    reason = reason if reason in REASONS else ""
    before = request.args.get("before", "")
    before_id = int(before) if before.isascii() and before.isdigit() and len(before) < 19 else None
    found = queries.page(g.client.id, search=search, reason=reason, before_id=before_id, limit=PER_PAGE + 1)
    more = found[PER_PAGE - 1].id if len(found) > PER_PAGE else None
    return page_or_fragment(
        "suppressions/index.html", "list", status=status, lines=found[:PER_PAGE], counts=queries.counts(g.client.id), search=search,
        reason=reason, before=before_id, more=more, reasons=REASONS, values=values or {}, errors=errors or {},
    )  # fmt: skip


@blueprint.post("/c/<slug>/do-not-contact/")
@requires(Permission.SUPPRESSIONS_ADD)
def add() -> ResponseReturnValue:
    """Addresses typed or in a file. A few are added at once, a long list in the background."""
    values = {name: request.form.get(name, "").strip() for name in ("addresses", "reason", "note")}
    try:
        emails = addresses(values["addresses"] + "\n" + uploaded())
        if values["reason"] not in REASONS:
            raise Invalid.field("reason", t("fields.marked"))
    except Invalid as wrong:
        return _index(422, values, wrong.details)
    source = "import" if request.files.get("file") else "person"
    if len(emails) > suppressions.BATCH:
        enqueue_after_commit(Job.SUPPRESS_MANY, g.client.id, emails, values["reason"], source, viewer().id, values["note"], timeout_s=3_600)
        return after_post(url_for(".index"), toast=t("suppressions.adding", n=len(emails)))
    added = suppressions.suppress_batch(g.client.id, emails, values["reason"], source, note=values["note"][:500], by=viewer().id)
    known = len(emails) - added
    toast = t("suppressions.added_of", n=added, known=known) if known else t("suppressions.added", n=added)
    return after_post(url_for(".index"), toast=toast)


def addresses(text: str, field: str = "addresses") -> list[str]:
    """Addresses of a text, one form of each. Raises Invalid on ``field`` naming what holds an @ and is none."""
    found = dict.fromkeys(match.strip(".:") for match in ADDRESS.findall(original_cell(text)))
    bad = [email for email in found if not _readable(email)]
    if not text.strip():
        raise Invalid.field(field, t("suppressions.nothing"))
    if not found:
        raise Invalid.field(field, t("suppressions.none_there", text=" ".join(text.split())[:80]))
    if bad:
        raise Invalid.field(field, t("suppressions.bad_lines", lines=", ".join(bad[:5])))
    if len(found) > MOST:
        raise Invalid.field(field, t("suppressions.too_many", n=MOST))
    return list(found)


def _readable(email: str) -> bool:
    try:
        parse_address(email, allow_reserved=True)
    except AddressError:
        return False
    return True


def uploaded() -> str:
    upload = request.files.get("file")
    raw = upload.read() if upload and upload.filename else b""
    try:
        return raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        raise Invalid.field("file", t("suppressions.no_text")) from None


@blueprint.post("/c/<slug>/do-not-contact/<int:suppression_id>/remove")
@requires(Permission.SUPPRESSIONS_REMOVE)
def remove(suppression_id: int) -> ResponseReturnValue:
    row = load(Suppression, suppression_id)
    email = row.email
    try:
        suppressions.unsuppress(g.client.id, email, reason=request.form.get("reason", "")[:500], by=viewer().id)
    except Invalid as wrong:
        return _index(422, {"removing": suppression_id}, wrong.details)
    return after_post(url_for(".index"), toast=t("suppressions.removed", email=email))


@blueprint.get("/c/<slug>/do-not-contact/export.csv")
@requires(Permission.EXPORT)
def export() -> Response:
    return export_csv()


def export_csv() -> Response:
    """The list of the present client; that it was taken out is a line of the trail."""
    rows = [[getattr(line, name) for name in COLUMNS[:-1]] + [line.at.isoformat()] for line in queries.export(g.client.id)]
    audit.record("suppressions.export", "client", g.client.id, after={"rows": len(rows)})
    answer = make_response(write_csv(COLUMNS, rows))
    answer.headers["Content-Type"] = "text/csv; charset=utf-8"
    answer.headers["Content-Disposition"] = f'attachment; filename="do-not-contact-{g.client.slug}.csv"'
    return answer


# The whole installation


@blueprint.get("/operations/do-not-contact")
@requires(Permission.OPS_READ)
def everywhere() -> Response:
    return _everywhere()


def _everywhere(status: int = 200, values: dict[str, Any] | None = None, errors: dict[str, Any] | None = None) -> Response:
    found = queries.everywhere(request.args.get("q", "").strip()[:320])
    return page_or_fragment("suppressions/everywhere.html", "form", status=status, rows=found, values=values or {}, errors=errors or {})


@blueprint.post("/operations/do-not-contact")
@requires(Permission.OPS_MANAGE)
def add_everywhere() -> ResponseReturnValue:
    values = {name: request.form.get(name, "").strip()[:10_000] for name in ("addresses", "reason")}
    try:
        emails = addresses(values["addresses"])
        if not values["reason"]:
            raise Invalid.field("reason", t("fields.fill_in"))
    except Invalid as wrong:
        return _everywhere(422, values, wrong.details)
    added = sum(suppressions.suppress_globally(email, values["reason"], by=viewer().id) for email in emails)
    audit.record("suppression.add_global", "suppression", ", ".join(emails[:20]), after={"count": added, "reason": values["reason"]})
    return after_post(url_for(".everywhere"), toast=t("suppressions.added", n=added))
