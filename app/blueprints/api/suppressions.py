"""Addresses never to be contacted. Adding works at once; taking away needs a reason that is kept."""

from __future__ import annotations

from typing import Any

from flask import g
from marshmallow import fields, validate
from sqlalchemy import select

from app.blueprints.api.core import api_route
from app.blueprints.api.pagination import Page, page_of
from app.blueprints.api.schemas import Moment, PageQuery, Shown, Strict, one_of, text
from app.core.errors import Invalid
from app.core.extensions import db
from app.domain.address import email_key
from app.domain.permissions import Permission
from app.models import GlobalSuppression, Suppression
from app.models.suppression import REASONS
from app.queries.suppressions import suppressed_at
from app.services import audit, suppressions
from app.strings import t

MOST_AT_ONCE = suppressions.BATCH


class NewSuppressions(Strict):
    email = text(320, shortest=3)
    emails = fields.List(text(320, shortest=3), validate=validate.Length(1, MOST_AT_ONCE), metadata={"description": "instead of email: up to 500"})
    reason = fields.String(validate=validate.OneOf(REASONS), load_default="manual")
    note = text(500, load_default="")


class SuppressionQuery(PageQuery):
    q = text(320, metadata={"description": "part of the address"})
    email = text(320, metadata={"description": "exactly this address"})
    reason = fields.String(validate=validate.OneOf(REASONS))


class WhyRemoved(Strict):
    reason = text(500, shortest=1, required=True, metadata={"description": "why this address may be contacted again; it is kept"})


class SuppressionShown(Shown):
    id = fields.Integer(required=True)
    client_id = fields.Integer(required=True)
    email = fields.String(required=True)
    reason = one_of(REASONS)
    source = fields.String(required=True)
    note = fields.String(required=True)
    campaign_id = fields.Integer(required=True, allow_none=True)
    delivery_id = fields.Integer(required=True, allow_none=True)
    at = Moment(required=True)


class AddedShown(Shown):
    added = fields.Integer(required=True, metadata={"description": "how many were not on the list yet"})
    items = fields.List(fields.Nested(SuppressionShown), required=True)


@api_route("GET", "/suppressions", Permission.SUPPRESSIONS_READ, query=SuppressionQuery, list_of=SuppressionShown, summary="Addresses never to be contacted")
def list_suppressions(query: dict[str, Any]) -> Page:
    statement = select(Suppression).where(Suppression.client_id == g.client.id)
    if query.get("email"):
        statement = statement.where(Suppression.email_key == email_key(query["email"]))
    if query.get("reason"):
        statement = statement.where(Suppression.reason == query["reason"])
    if query.get("q"):
        statement = statement.where(Suppression.email_key.contains(email_key(query["q"]), autoescape=True))
    return page_of(statement, query, Suppression.id)


@api_route("POST", "/suppressions", Permission.SUPPRESSIONS_ADD, body=NewSuppressions, response=AddedShown, status=201, summary="Never contact these again")
def add(body: dict[str, Any]) -> dict[str, Any]:
    """Stops every sequence that holds one of them, in the same transaction. Known ones stay as they are."""
    emails = [*body.get("emails", []), *([body["email"]] if "email" in body else [])]
    wrong = [email for email in emails if "@" not in email.strip("@ ")]
    if not emails or wrong or len(emails) > MOST_AT_ONCE:
        raise Invalid.field("emails" if "emails" in body else "email", t("api.addresses_shape", limit=MOST_AT_ONCE))
    added = suppressions.suppress_batch(g.client.id, emails, body["reason"], "api", note=body["note"], by=g.viewer.id)
    found = (suppressed_at(g.client.id, email) for email in dict.fromkeys(emails))
    return {"added": added, "items": [row for row in found if row is not None]}


@api_route(
    "GET", "/suppressions/<int:row_id>", Permission.SUPPRESSIONS_READ, object_of=Suppression, response=SuppressionShown,
    summary="One entry of the list",
)
def show_suppression(suppression: Suppression) -> Suppression:
    return suppression


@api_route(
    "DELETE", "/suppressions/<int:row_id>", Permission.SUPPRESSIONS_REMOVE, object_of=Suppression, query=WhyRemoved, status=204,
    summary="Take an address off the list",
)
def remove(suppression: Suppression, query: dict[str, Any]) -> None:
    """Nothing that was stopped starts again."""
    suppressions.unsuppress(g.client.id, suppression.email, reason=query["reason"], by=g.viewer.id)


class GlobalShown(Shown):
    id = fields.Integer(required=True)
    email = fields.String(required=True)
    reason = fields.String(required=True)
    created_at = Moment(required=True)


class GlobalQuery(PageQuery):
    q = text(320, metadata={"description": "part of the address"})


class NewGlobal(Strict):
    email = text(320, shortest=3, required=True)
    reason = text(500, shortest=1, required=True)


@api_route("GET", "/admin/suppressions", Permission.OPS_READ, client=False, query=GlobalQuery, list_of=GlobalShown, summary="Addresses nobody here contacts")
def list_global(query: dict[str, Any]) -> Page:
    statement = select(GlobalSuppression)
    if query.get("q"):
        statement = statement.where(GlobalSuppression.email_key.contains(email_key(query["q"]), autoescape=True))
    return page_of(statement, query, GlobalSuppression.id)


@api_route(
    "POST", "/admin/suppressions", Permission.OPS_MANAGE, client=False, body=NewGlobal, response=GlobalShown, status=201,
    summary="Nobody here contacts this address",
)
def add_global(body: dict[str, Any]) -> GlobalSuppression:
    if "@" not in body["email"].strip("@ "):
        raise Invalid.field("email", t("fields.address_shape"))
    if suppressions.suppress_globally(body["email"], body["reason"], by=g.viewer.id):
        audit.record("suppression.add_global", "suppression", email_key(body["email"]), after={"count": 1, "reason": body["reason"]})
    return db.session.scalars(select(GlobalSuppression).where(GlobalSuppression.email_key == email_key(body["email"]))).one()
