"""What the page Mailboxes does besides one mailbox: health at a glance, many at once, servers filled in, a list of new ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import g
from marshmallow import fields, validate

from app.blueprints.api.core import api_route
from app.blueprints.api.mailboxes import targets
from app.blueprints.api.pagination import Page
from app.blueprints.api.schemas import Flag, Moment, Shown, Strict, one_of, row_id, text
from app.blueprints.mailboxes import Candidate, completed, suggestion_for, try_adding
from app.core import clock
from app.core.errors import Invalid
from app.domain.mailbox_lines import MOST_LINES, read_lines
from app.domain.permissions import Permission
from app.domain.statuses import CampaignStatus, SenderStatus
from app.models import Campaign, Mailbox
from app.queries import mailboxes as queries
from app.services import mailbox_verification, mailboxes
from app.strings import t

READ, MANAGE = Permission.MAILBOXES_READ, Permission.MAILBOXES_MANAGE
MOST_NAMED = 5_000


class HealthQuery(Strict):
    q = text(100, metadata={"description": "part of address or name"})
    group = fields.String(validate=validate.OneOf(queries.FILTERS))


class LineShown(Shown):
    id = fields.Integer(required=True)
    email = fields.String(required=True, attribute="address")
    display_name = fields.String(required=True)
    group = one_of(queries.FILTERS)
    status = one_of(SenderStatus)
    status_reason = fields.String(required=True)
    sent_today = fields.Integer(required=True, metadata={"description": "on its own local day"})
    daily_cap = fields.Integer(required=True)
    queued = fields.Integer(required=True)
    next_at = Moment(required=True, allow_none=True)
    backoff_until = Moment(required=True, allow_none=True)
    last_read_at = Moment(required=True, allow_none=True)
    read_error = fields.String(required=True)
    campaigns = fields.Integer(required=True, metadata={"description": "running or paused ones that send through it"})


class HealthShown(Shown):
    total = fields.Integer(required=True)
    groups = fields.Dict(keys=fields.String(), values=fields.Integer(), required=True)
    sent_today = fields.Integer(required=True)
    allowed_today = fields.Integer(required=True)
    mailboxes = fields.List(fields.Nested(LineShown), required=True)


@api_route("GET", "/mailboxes/health", READ, query=HealthQuery, response=HealthShown, summary="How the mailboxes are, at a glance")
def mailbox_health(query: dict[str, Any]) -> dict[str, Any]:
    """The figures are of all that fit ``q``; ``group`` narrows the list."""
    found = queries.lines(g.client.id, clock.now(), query.get("q", "").strip())
    shown = [line for line in found if query.get("group") in (None, line.group)]
    return {**vars(queries.figures(found)), "mailboxes": shown}


class CampaignNameShown(Shown):
    id = fields.Integer(required=True)
    name = fields.String(required=True)
    status = one_of(CampaignStatus)


@api_route("GET", "/mailboxes/<int:row_id>/campaigns", READ, object_of=Mailbox, list_of=CampaignNameShown, summary="Campaigns that want to send through it")
def campaigns_of_mailbox(mailbox: Mailbox) -> Page:
    found: list[Campaign] = mailboxes.campaigns_using(mailboxes.find(g.client.id, mailbox.id))
    return Page(found, None)


# Many at once


class ActOnMailboxes(Strict):
    action = fields.String(required=True, validate=validate.OneOf(["verify", "pause", "resume", "stop"]))
    mailbox_ids = fields.List(row_id(), validate=validate.Length(1, MOST_NAMED))
    all = Flag(load_default=False, metadata={"description": "instead of mailbox_ids: every one of the client"})


class ChangedShown(Shown):
    changed = fields.Integer(required=True, metadata={"description": "those of other clients are passed over"})


@api_route("POST", "/mailboxes/act", MANAGE, body=ActOnMailboxes, response=ChangedShown, summary="Verify, pause, resume or stop many mailboxes")
def act_on_mailboxes(body: dict[str, Any]) -> dict[str, int]:
    """``verify`` is done in the background; ``GET /api/mailboxes`` shows the results."""
    if ("mailbox_ids" in body) == body["all"]:
        raise Invalid.field("mailbox_ids", t("api.mailbox_ids_or_all"))
    named = set(body.get("mailbox_ids", []))
    chosen = [line.id for line in queries.lines(g.client.id, clock.now()) if body["all"] or line.id in named]
    if body["action"] == "verify":
        mailbox_verification.count_test(g.client.id, g.viewer.id, chosen)
        mailbox_verification.ask(g.client.id, chosen)
        return {"changed": len(chosen)}
    act: dict[str, Callable[[Mailbox], Mailbox]] = {"pause": mailboxes.pause, "resume": mailboxes.resume, "stop": mailboxes.stop}
    for mailbox_id in chosen:
        act[body["action"]](mailboxes.find(g.client.id, mailbox_id))
    return {"changed": len(chosen)}


# Servers filled in


class WhichAddress(Strict):
    email = text(320, shortest=3, required=True)


class ServerShown(Shown):
    host = fields.String(required=True)
    port = fields.Integer(required=True)
    security = fields.String(required=True)


class SuggestionShown(Shown):
    source = fields.String(required=True, metadata={"description": "domain, mx or srv; guess: have a person look at it"})
    provider = fields.String(required=True)
    user = fields.String(required=True)
    smtp = fields.Nested(ServerShown, required=True)
    imap = fields.Nested(ServerShown, required=True)
    daily_limit = fields.Integer(required=True, metadata={"description": "of the provider; 0: not known"})


@api_route("GET", "/mailboxes/suggestion", MANAGE, query=WhichAddress, response=SuggestionShown, summary="The servers that fit an address")
def suggest_servers(query: dict[str, Any]) -> Any:
    """Known domains at once, others by DNS within four seconds, else the usual names."""
    found = suggestion_for(query["email"])
    if found is None:
        raise Invalid.field("email", t("fields.address_shape"))
    return found


class NewMailboxes(Strict):
    lines = text(
        2_000_000, shortest=3, required=True,
        metadata={"description": f"one mailbox a line, at most {MOST_LINES}: a CSV with a head, or address and password"},
    )  # fmt: skip
    dry_run = Flag(load_default=False)


class CandidateShown(Shown):
    line = fields.Integer(required=True)
    email = fields.String(required=True)
    guessed = fields.Boolean(required=True, metadata={"description": "its servers are only guessed"})
    problem = fields.String(required=True, metadata={"description": "why it is not added; empty: it fits"})


class AddedShown(Shown):
    added = fields.Integer(required=True)
    fitting = fields.Integer(required=True)
    lines = fields.List(fields.Nested(CandidateShown), required=True, metadata={"description": "of a dry run all, else those that were not added"})


@api_route("POST", "/mailboxes/many", MANAGE, body=NewMailboxes, response=AddedShown, summary="Add many mailboxes from a list")
def add_many(body: dict[str, Any]) -> dict[str, Any]:
    """Servers that are left out are filled in by domain. Each line stands alone: those that do not fit are named, the others are added."""
    try:
        reading = read_lines(body["lines"])
    except ValueError as problem:
        raise Invalid.field("lines", str(problem)) from None
    candidates = completed(reading)
    if body["dry_run"]:
        fitting = sum(not one.problem for one in candidates)
        return {"added": 0, "fitting": fitting, "lines": [_line(one) for one in candidates]}
    known = targets().asked_beforehand(one.values for one in candidates)
    left = [refused for one in candidates if (refused := try_adding(one, known)) is not None]
    added = len(candidates) - len(left)
    return {"added": added, "fitting": added, "lines": [_line(one) for one in left]}


def _line(one: Candidate) -> dict[str, Any]:
    return {"line": one.line.number, "email": one.values.get("email", ""), "guessed": one.guessed, "problem": one.problem}
