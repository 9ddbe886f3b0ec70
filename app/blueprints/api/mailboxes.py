"""Mailboxes: added, changed, verified, paused and resumed. Passwords go in and never come out."""

from __future__ import annotations

from typing import Any

from flask import current_app, g
from marshmallow import fields, validate
from sqlalchemy import select

from app.blueprints.api.campaign_schemas import Window, WindowShown, windows_of
from app.blueprints.api.core import api_route
from app.blueprints.api.pagination import Page, page_of
from app.blueprints.api.schemas import (
    Flag,
    Moment,
    PageQuery,
    Shown,
    Strict,
    Worked,
    one_of,
    seen,
    text,
    version_shown,
    whole,
)
from app.channels.verify import verify_now
from app.channels.wiring import build_channels
from app.core.db import outside_transaction
from app.core.errors import Conflict
from app.domain.calendar_settings import MAX_WINDOWS
from app.domain.permissions import Permission
from app.domain.statuses import SenderStatus
from app.models import Mailbox
from app.services import mailbox_values, mailbox_verification, mailboxes
from app.services.mailbox_targets import Targets
from app.services.mailbox_values import SAVE_TO_SENT, SECURITIES, TEXT_LIMIT
from app.strings import t

_SECURITY = validate.OneOf(SECURITIES)


class MailboxFields(Strict):
    display_name = text(TEXT_LIMIT)
    smtp_host = text(253)
    smtp_port = whole(1, 65_535)
    smtp_security = fields.String(validate=_SECURITY)
    smtp_user = text(TEXT_LIMIT)
    smtp_password = text(TEXT_LIMIT, load_only=True)
    imap_host = text(253)
    imap_port = whole(1, 65_535)
    imap_security = fields.String(validate=_SECURITY)
    imap_user = text(TEXT_LIMIT)
    imap_password = text(TEXT_LIMIT, load_only=True)
    timezone = text(64)
    daily_cap = whole(0, 100_000)
    hourly_cap = whole(1, 100_000, allow_none=True)
    min_gap_s = whole(0, 86_400)
    save_to_sent = fields.String(validate=validate.OneOf(SAVE_TO_SENT))
    sent_folder = text(TEXT_LIMIT, metadata={"description": "its name on the server; empty: found by itself"})
    junk_folder = text(TEXT_LIMIT, metadata={"description": "its name on the server; empty: found by itself"})
    show_all_mail = Flag()
    restrict_campaigns = Flag()
    own_hours = fields.List(
        fields.Nested(Window), validate=validate.Length(max=MAX_WINDOWS),
        metadata={"description": "its own hours on its own clock; campaigns keep to them with restrict_campaigns"},
    )  # fmt: skip


class NewMailbox(MailboxFields):
    email = text(320, shortest=1, required=True)


class MailboxChange(MailboxFields):
    version = seen()


class OlderMail(Strict):
    days = whole(1, mailboxes.OLDEST_DAYS, required=True)


class RemovedHow(Strict):
    although_used = Flag(load_default=False)


class MailboxQuery(PageQuery):
    status = fields.String(validate=validate.OneOf(list(SenderStatus)))


class CheckShown(Shown):
    ok = fields.Boolean(required=True)
    cause = fields.String(required=True)
    message = fields.String(required=True, metadata={"description": "what is wrong and what to do"})
    said = fields.String(required=True, metadata={"description": "the server's own words"})


class VerificationShown(Shown):
    state = fields.String(required=True, metadata={"description": "never, queued, running or done"})
    ok = fields.Boolean(required=True)
    smtp = fields.Nested(CheckShown, required=True, allow_none=True)
    imap = fields.Nested(CheckShown, required=True, allow_none=True)


class MailboxShown(Shown):
    id = fields.Integer(required=True)
    client_id = fields.Integer(required=True)
    email = fields.String(required=True, attribute="address")
    display_name = fields.String(required=True)
    provider = fields.String(required=True)
    status = one_of(SenderStatus)
    status_reason = fields.String(required=True)
    status_since = Moment(required=True, attribute="stands_since")
    smtp_host = fields.String(required=True)
    smtp_port = fields.Integer(required=True)
    smtp_security = fields.String(required=True)
    smtp_user = fields.String(required=True)
    imap_host = fields.String(required=True)
    imap_port = fields.Integer(required=True)
    imap_security = fields.String(required=True)
    imap_user = fields.String(required=True)
    timezone = fields.String(required=True)
    daily_cap = fields.Integer(required=True)
    hourly_cap = fields.Integer(required=True, allow_none=True)
    min_gap_s = fields.Integer(required=True)
    save_to_sent = fields.String(required=True)
    sent_folder = fields.String(required=True)
    junk_folder = fields.String(required=True)
    show_all_mail = fields.Boolean(required=True)
    restrict_campaigns = fields.Boolean(required=True)
    own_hours = Worked(lambda mailbox: (mailbox.own_hours or {}).get("windows", []), WindowShown, many=True)
    next_at = Moment(required=True, allow_none=True)
    last_read_at = Moment(required=True, allow_none=True)
    older_since = Moment(required=True, allow_none=True, metadata={"description": "mail from before it was connected is read back to here"})
    read_error = fields.String(required=True)
    verified_at = Moment(required=True, allow_none=True)
    verification = Worked(lambda mailbox: verification(mailbox.verify_result), VerificationShown)
    created_at = Moment(required=True)
    version = version_shown(mailbox_values.version)


def verification(result: dict[str, Any]) -> dict[str, Any]:
    """The stored result with its sentences."""
    checks = {side: _check(result[side]) if result.get(side) else None for side in ("smtp", "imap")}
    done = result.get("state") == "done"
    return {"state": result.get("state", "never"), "ok": done and all(check and check["ok"] for check in checks.values()), **checks}


def _check(stored: dict[str, Any]) -> dict[str, Any]:
    return {**stored, "message": t(f"verify.{stored['cause']}")}


def targets() -> Targets:
    return Targets.of(current_app.extensions["settings"])


@api_route("GET", "/mailboxes", Permission.MAILBOXES_READ, query=MailboxQuery, list_of=MailboxShown, summary="List mailboxes")
def list_mailboxes(query: dict[str, Any]) -> Page:
    statement = select(Mailbox).where(Mailbox.client_id == g.client.id, Mailbox.deleted_at.is_(None))
    if query.get("status"):
        statement = statement.where(Mailbox.status == query["status"])
    return page_of(statement, query, Mailbox.id, descending=False)


@api_route("POST", "/mailboxes", Permission.MAILBOXES_MANAGE, body=NewMailbox, response=MailboxShown, status=201, summary="Add a mailbox")
def create(body: dict[str, Any]) -> Mailbox:
    """It is ``connecting`` and is verified at once in the background; ``verify`` waits for the answer. Known providers need
    only ``email`` and ``smtp_password``; ``imap_user`` and ``imap_password`` default to those of SMTP."""
    return mailboxes.create(g.client.id, _given(body), targets())


@api_route("GET", "/mailboxes/<int:row_id>", Permission.MAILBOXES_READ, object_of=Mailbox, response=MailboxShown, summary="One mailbox")
def show_mailbox(mailbox: Mailbox) -> Mailbox:
    return _present(mailbox)


@api_route(
    "PATCH", "/mailboxes/<int:row_id>", Permission.MAILBOXES_MANAGE, object_of=Mailbox, body=MailboxChange, response=MailboxShown,
    summary="Change a mailbox",
)
def change(mailbox: Mailbox, body: dict[str, Any]) -> Mailbox:
    """New servers, logins or passwords make it ``connecting`` until they are verified."""
    version = body.pop("version", None)
    return mailboxes.update(_present(mailbox), _given(body), targets(), seen=version)


@api_route("DELETE", "/mailboxes/<int:row_id>", Permission.MAILBOXES_MANAGE, object_of=Mailbox, query=RemovedHow, status=204, summary="Remove a mailbox")
def remove(mailbox: Mailbox, query: dict[str, Any]) -> None:
    """409 while a campaign sends through it, unless ``although_used=true``: its leads then wait for another sender."""
    mailboxes.remove(_present(mailbox), although_used=query["although_used"])


@api_route(
    "POST", "/mailboxes/<int:row_id>/verify", Permission.MAILBOXES_MANAGE, object_of=Mailbox, response=MailboxShown,
    summary="Log in to both servers and say what is wrong",
)
def verify(mailbox: Mailbox) -> Mailbox:
    """Waits at most half a minute. The result is in ``verification``; a mailbox that works is ``active``."""
    mailbox_id = _present(mailbox).id
    mailbox_verification.count_test(g.client.id, g.viewer.id, [mailbox_id])
    case = mailbox_verification.begin(g.client.id, mailbox_id)
    if case is not None:
        with outside_transaction():
            result = verify_now(build_channels(current_app.extensions["settings"]).verifier, case.smtp, case.imap)
        if mailbox_verification.record(case, result) is None:
            raise Conflict(t("api.changed_while_verified"))
    return mailboxes.find(g.client.id, mailbox_id)


@api_route("POST", "/mailboxes/<int:row_id>/pause", Permission.MAILBOXES_MANAGE, object_of=Mailbox, response=MailboxShown, summary="Pause a mailbox")
def pause(mailbox: Mailbox) -> Mailbox:
    return mailboxes.pause(_present(mailbox))


@api_route("POST", "/mailboxes/<int:row_id>/resume", Permission.MAILBOXES_MANAGE, object_of=Mailbox, response=MailboxShown, summary="Resume a mailbox")
def resume(mailbox: Mailbox) -> Mailbox:
    return mailboxes.resume(_present(mailbox))


@api_route(
    "POST", "/mailboxes/<int:row_id>/read-older", Permission.MAILBOXES_MANAGE, object_of=Mailbox, body=OlderMail, response=MailboxShown,
    summary="Also read mail from before it was connected",
)
def read_older(mailbox: Mailbox, body: dict[str, Any]) -> Mailbox:
    """``days`` back from now, in the background. It is shown in the inbox and stops no sequence."""
    return mailboxes.read_older(_present(mailbox), body["days"])


def _given(body: dict[str, Any]) -> dict[str, Any]:
    return {**body, "own_hours": windows_of(body["own_hours"])} if "own_hours" in body else body


def _present(mailbox: Mailbox) -> Mailbox:
    return mailboxes.find(mailbox.client_id, mailbox.id)
