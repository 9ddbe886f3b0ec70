"""Webhook sources and arrivals by program, for operators."""

from __future__ import annotations

from typing import Any

from flask import current_app, g, url_for
from marshmallow import fields, validate
from sqlalchemy import select

from app.blueprints.api.core import api_route
from app.blueprints.api.pagination import Page, open_cursor, page_of, seal_cursor
from app.blueprints.api.schemas import Flag, Moment, Nothing, PageQuery, Shown, Strict, one_of, row_id, text
from app.core.errors import NotFound
from app.core.queue import Job, ring_job_after_commit
from app.domain.permissions import Permission
from app.domain.webhook_proof import VERIFIERS
from app.models import InboundEvent, WebhookSource
from app.queries import arrivals
from app.services import audit, webhooks

MANAGE, DEAD = Permission.WEBHOOKS_MANAGE, Permission.DEAD_LETTERS_MANAGE
ALL, ONE = "/admin/webhooks", "/admin/webhooks/<int:row_id>"


class NewSource(Strict):
    name = text(120, shortest=1, required=True)
    verifier = fields.String(required=True, validate=validate.OneOf(list(VERIFIERS)))
    header = text(60, load_default="", metadata={"description": "static_header only: the header that carries the secret"})
    secret = text(512, load_default="", metadata={"description": "empty: a fresh one is made"})


class NewSecret(Strict):
    secret = text(512, load_default="", metadata={"description": "empty: a fresh one is made"})
    at_once = Flag(load_default=False, metadata={"description": "the present ones end now instead of in 24 hours"})


class NewName(Strict):
    name = text(120, shortest=1, required=True)


class SourceShown(Shown):
    id = fields.Integer(required=True)
    name = fields.String(required=True)
    verifier = fields.String(required=True)
    header = fields.String(required=True)
    address = fields.String(required=True, metadata={"description": "where the service sends POST requests; a path where EMBERPOST_PUBLIC_URL is not set"})
    valid_secrets = fields.Integer(required=True)
    refused = fields.Integer(required=True)
    refused_at = Moment(required=True, allow_none=True)
    refused_why = fields.String(required=True)
    held_until = Moment(required=True, allow_none=True)
    created_at = Moment(required=True)


class SourceWithSecret(SourceShown):
    secret = fields.String(required=True, metadata={"description": "given in this answer only"})


def _shown(source: WebhookSource, secret: str = "") -> dict[str, Any]:
    base = current_app.extensions["settings"].public_url.rstrip("/")
    told = {name: getattr(source, name) for name in ("id", "name", "verifier", "header", "refused", "refused_at", "refused_why", "held_until", "created_at")}
    address = base + url_for("webhooks.receive", token=webhooks.token_of(source))
    return {**told, "address": address, "valid_secrets": len(webhooks.secrets_of(source.id)), "secret": secret}


@api_route("GET", ALL, MANAGE, client=False, query=PageQuery, list_of=SourceShown, summary="Services that may hand us events")
def list_sources(query: dict[str, Any]) -> Page:
    found = page_of(select(WebhookSource).where(WebhookSource.removed_at.is_(None)), query, WebhookSource.id)
    return Page([_shown(source) for source in found.items], found.next_cursor)


@api_route("POST", ALL, MANAGE, client=False, body=NewSource, response=SourceWithSecret, status=201, summary="Add a service that may hand us events")
def add_source(body: dict[str, Any]) -> dict[str, Any]:
    source, secret = webhooks.add(body["name"], body["verifier"], header=body["header"], secret=body["secret"], by=g.viewer.id)
    return _shown(source, secret)


@api_route("GET", ONE, MANAGE, client=False, response=SourceShown, summary="One service that may hand us events")
def show_source(row_id: int) -> dict[str, Any]:
    return _shown(webhooks.get(row_id))


@api_route("PATCH", ONE, MANAGE, client=False, body=NewName, response=SourceShown, summary="Rename a service")
def rename_source(row_id: int, body: dict[str, Any]) -> dict[str, Any]:
    source = webhooks.get(row_id)
    webhooks.rename(source, body["name"], by=g.viewer.id)
    return _shown(source)


@api_route("DELETE", ONE, MANAGE, client=False, status=204, summary="Remove a service")
def remove_source(row_id: int) -> None:
    """Its address is unknown and its secrets are gone at once; what it brought stays."""
    webhooks.remove(webhooks.get(row_id), by=g.viewer.id)


@api_route("POST", f"{ONE}/secret", MANAGE, client=False, body=NewSecret, response=SourceWithSecret, summary="One more secret for a service")
def change_secret(row_id: int, body: dict[str, Any]) -> dict[str, Any]:
    """The present ones are valid for another 24 hours, or end now."""
    source = webhooks.get(row_id)
    return _shown(source, webhooks.change_secret(source, body["secret"], by=g.viewer.id, at_once=body["at_once"]))


@api_route("POST", f"{ONE}/end-old-secrets", MANAGE, client=False, body=Nothing, response=SourceShown, summary="End the older secrets of a service now")
def end_old_secrets(row_id: int, body: dict[str, Any]) -> dict[str, Any]:
    source = webhooks.get(row_id)
    webhooks.end_old_secrets(source, by=g.viewer.id)
    return _shown(source)


@api_route("POST", f"{ONE}/reveal", MANAGE, client=False, body=Nothing, response=SourceWithSecret, summary="The newest secret of a service")
def reveal_secret(row_id: int, body: dict[str, Any]) -> dict[str, Any]:
    """That it was looked at is a line of the trail."""
    source = webhooks.get(row_id)
    return _shown(source, webhooks.reveal(source, by=g.viewer.id))


@api_route("POST", f"{ONE}/address", MANAGE, client=False, body=Nothing, response=SourceShown, summary="A new address for a service")
def change_address(row_id: int, body: dict[str, Any]) -> dict[str, Any]:
    source = webhooks.get(row_id)
    webhooks.change_address(source, by=g.viewer.id)
    return _shown(source)


@api_route("POST", f"{ONE}/release", MANAGE, client=False, body=Nothing, response=SourceShown, summary="End the hold of a service's events")
def release_source(row_id: int, body: dict[str, Any]) -> dict[str, Any]:
    source = webhooks.get(row_id)
    webhooks.release(source, by=g.viewer.id)
    return _shown(source)


# What arrived


class ArrivalQuery(PageQuery):
    status = fields.String(validate=validate.OneOf(arrivals.STATES))
    source_id = row_id(metadata={"description": "of one webhook source"})
    since = Moment()


class ArrivalShown(Shown):
    id = fields.Integer(required=True)
    source = fields.String(required=True, metadata={"description": "webhook or imap"})
    source_id = fields.Integer(required=True, allow_none=True)
    kind = fields.String(required=True)
    status = one_of(arrivals.STATES)
    error = fields.String(required=True, attribute="last_line")
    attempts = fields.Integer(required=True)
    seen = fields.Integer(required=True, metadata={"description": "how often it arrived"})
    size = fields.Integer(required=True, metadata={"description": "0: only the hash is kept"})
    received_at = Moment(required=True)
    processed_at = Moment(required=True, allow_none=True)
    next_try_at = Moment(required=True, allow_none=True)


class ArrivalWhole(ArrivalShown):
    error = fields.String(required=True, attribute="why")
    dedupe_key = fields.String(required=True)
    body_sha256 = fields.String(required=True, allow_none=True)
    code_version = fields.String(required=True)
    body = fields.String(required=True, metadata={"description": "the first 64 KiB; what looks like a secret is covered"})


class Replay(Strict):
    ids = fields.List(row_id(), validate=validate.Length(1, 500))
    status = fields.String(validate=validate.OneOf(arrivals.STATES))
    source_id = row_id()
    since = Moment()


class ReplayShown(Shown):
    count = fields.Integer(required=True)


@api_route("GET", "/admin/arrivals", DEAD, client=False, query=ArrivalQuery, list_of=ArrivalShown, summary="What arrived")
def list_arrivals(query: dict[str, Any]) -> Page:
    before = open_cursor(query["cursor"], InboundEvent.id)[0] if query.get("cursor") else None
    states = [query["status"]] if query.get("status") else None
    found = arrivals.page(states, query.get("source_id"), query.get("since"), before, query["limit"] + 1)
    if len(found) <= query["limit"]:
        return Page(found, None)
    return Page(found[: query["limit"]], seal_cursor([found[query["limit"] - 1].id]))


@api_route("GET", "/admin/arrivals/<int:row_id>", DEAD, client=False, response=ArrivalWhole, summary="One arrival whole")
def show_arrival(row_id: int) -> arrivals.Whole:
    found = arrivals.one(row_id)
    if found is None:
        raise NotFound
    return found


@api_route("POST", "/admin/arrivals/replay", DEAD, client=False, body=Replay, response=ReplayShown, summary="Have arrivals worked on again")
def replay_arrivals(body: dict[str, Any]) -> dict[str, int]:
    """Those named, or all that fit the filter. By the same road as the first time; what was done is not done again."""
    states = [body["status"]] if body.get("status") else None
    count = arrivals.replay(body.get("ids"), states, body.get("source_id"), body.get("since"))
    named = ",".join(map(str, body.get("ids", [])[:20])) or "all"
    audit.record("arrival.replay", "inbound event", named, after={"count": count, "status": body.get("status"), "source": body.get("source_id")})
    ring_job_after_commit(Job.INBOUND_ARRIVED)
    return {"count": count}


class LetBe(Strict):
    ids = fields.List(row_id(), required=True, validate=validate.Length(1, 500))


@api_route("POST", "/admin/arrivals/let-be", DEAD, client=False, body=LetBe, response=ReplayShown, summary="Leave arrivals alone for good")
def let_arrivals_be(body: dict[str, Any]) -> dict[str, int]:
    """Quarantined ones that nobody will work on again; their bytes go with the next retention."""
    count = arrivals.let_be(body["ids"])
    audit.record("arrival.let_be", "inbound event", ",".join(map(str, body["ids"][:20])), after={"count": count})
    return {"count": count}
