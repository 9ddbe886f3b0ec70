"""Mailboxes: the list, adding one or many, verifying, changing, pausing, removing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from flask import Blueprint, Response, current_app, g, redirect, request, url_for
from flask.typing import ResponseReturnValue

from app.blueprints.access import requires, viewer
from app.blueprints.digits import whole, wholes
from app.blueprints.htmx import after_post, page_or_fragment, wants_fragment
from app.blueprints.mailbox_health import health
from app.blueprints.meanwhile import loaded, stored_now, with_untouched
from app.channels.autoconfig import Source, Suggestion, suggest, unasked
from app.channels.dns import DnsResolver
from app.core import clock
from app.core.db import outside_transaction
from app.core.errors import Conflict, Invalid, NotFound, ProductError
from app.domain.address import AddressError, parse_address
from app.domain.mailbox_lines import MailboxLine, Reading, read_lines
from app.domain.permissions import Permission
from app.models import Mailbox
from app.queries import mailboxes as queries
from app.services import mailbox_verification, mailboxes
from app.services.mailbox_targets import Targets
from app.services.mailbox_values import CONNECTION, FIELDS, PASSWORDS, hours_as_line, version
from app.strings import t

blueprint = Blueprint("mailboxes", __name__, url_prefix="/c/<slug>/mailboxes")
READ, MANAGE = Permission.MAILBOXES_READ, Permission.MAILBOXES_MANAGE
CHECKS = ("show_all_mail", "restrict_campaigns")
LARGEST_TABLE = 2_000_000  # bytes of a file with many mailboxes
#: Seconds in which servers are looked for beside the typing (a block of the page waits), and while a form waits.
GUESS_SECONDS, HURRY_SECONDS = 4.0, 1.0


def targets() -> Targets:
    return Targets.of(current_app.extensions["settings"])


def _mailbox(mailbox_id: int) -> Mailbox:
    return mailboxes.find(g.client.id, mailbox_id)


# The list


@blueprint.get("/")
@requires(READ)
def index() -> Response:
    search, group = request.args.get("q", "").strip()[:100], request.args.get("state", "")
    found = queries.lines(g.client.id, clock.now(), search)
    shown = [line for line in found if group not in queries.FILTERS or line.group == group]
    return page_or_fragment(
        "mailboxes/index.html", "list", lines=shown, figures=queries.figures(found), search=search, group=group, health=health
    )


@blueprint.post("/bulk")
@requires(MANAGE)
def bulk() -> ResponseReturnValue:
    """One action for the ticked ones, or for all that fit the filter (``all=1``)."""
    ids = wholes(request.form.getlist("ids"))[:5_000]
    present = queries.lines(g.client.id, clock.now())
    chosen = [line.id for line in present if request.form.get("all") or line.id in set(ids)]
    action = request.form.get("action", "")
    if not chosen:
        return after_post(url_for(".index"), toast=t("mailboxes.none_ticked"))
    if action == "verify":
        _count_test(chosen)
        mailbox_verification.ask(g.client.id, chosen)
        return after_post(url_for(".index"), toast=t("mailboxes.asked_many", n=len(chosen)))
    change = {"pause": mailboxes.pause, "resume": mailboxes.resume}.get(action)
    if change is None:
        raise Invalid.field("action", t("fields.no_such_action"))
    for mailbox_id in chosen:
        change(_mailbox(mailbox_id))
    key = "mailboxes.paused_many" if action == "pause" else "mailboxes.resumed_many"
    return after_post(url_for(".index"), toast=t(key, n=len(chosen)))


def _count_test(ids: list[int]) -> None:
    mailbox_verification.count_test(g.client.id, viewer().id, ids)


# Adding one


@blueprint.get("/new")
@requires(MANAGE)
def new() -> Response:
    return _form("mailboxes/new.html", {"timezone": g.client.timezone, "daily_cap": 40, "min_gap_s": 120})


@blueprint.get("/new/servers")
@requires(MANAGE)
def servers() -> Response:
    """The block of servers, filled in for the address typed so far."""
    values = {name: request.args.get(name, "") for name in ("email", *CONNECTION)}
    found = suggestion_for(values["email"])
    return _form("mailboxes/new.html", {**values, **_filled(found)} if found else values, suggestion=found, block="servers")


@blueprint.post("/new")
@requires(MANAGE)
def create() -> ResponseReturnValue:
    values = _typed()
    found = None
    if request.form.get("action") == "fill" or not (values.get("smtp_host") and values.get("imap_host")):
        found = suggestion_for(str(values.get("email", "")), HURRY_SECONDS)
        values |= _filled(found, values) if found else {}
        if request.form.get("action") == "fill" or (found and found.source is Source.GUESS):
            return _form("mailboxes/new.html", values, suggestion=found)
    try:
        mailbox = mailboxes.create(g.client.id, _given(values), targets())
    except Invalid as wrong:
        return _form("mailboxes/new.html", values, wrong.details, suggestion=found, status=422)
    return after_post(url_for(".show", mailbox_id=mailbox.id), toast=t("mailboxes.added", email=mailbox.address))


def _form(template: str, values: Mapping[str, Any], errors: Mapping[str, Any] | None = None, **more: Any) -> Response:
    status, block = more.pop("status", 200), more.pop("block", "form")
    context = {"values": values, "errors": errors or {}, "suggestion": None, **more}
    return page_or_fragment(template, block, status=status, **context)


def _typed() -> dict[str, Any]:
    values: dict[str, Any] = {name: request.form[name] for name in FIELDS if name in request.form}
    return values | {name: name in request.form for name in CHECKS if f"{name}_shown" in request.form}


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    """What was really filled in: an empty field of the form means: as usual."""
    return {name: value for name, value in values.items() if name in FIELDS and value != ""}


def suggestion_for(email: str, seconds: float = GUESS_SECONDS) -> Suggestion | None:
    """What fits the address; when nobody answers in time, the usual names, which a person looks at and *verify* tries."""
    with outside_transaction():
        return asyncio.run(_asked(email, DnsResolver(timeout=seconds / 2), seconds))


async def _asked(email: str, resolver: DnsResolver, seconds: float) -> Suggestion | None:
    try:
        async with asyncio.timeout(seconds):
            return await suggest(email, resolver)
    except TimeoutError:
        return unasked(email)


def _filled(found: Suggestion, typed: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The suggestion as fields; what somebody typed already stays."""
    filled: dict[str, Any] = {}
    for side, server in (("smtp", found.smtp), ("imap", found.imap)):
        filled |= {f"{side}_host": server.host, f"{side}_port": server.port, f"{side}_security": server.security, f"{side}_user": found.user}
    if typed and request.form.get("action") != "fill":
        filled = {name: value for name, value in filled.items() if not typed.get(f"{name[:4]}_host")}
    return filled


# Adding many


@dataclass(frozen=True)
class Candidate:
    """A line as the page shows it before anything is stored."""

    line: MailboxLine
    problem: str = ""
    guessed: bool = False

    @property
    def values(self) -> dict[str, str]:
        return self.line.values


@blueprint.get("/many")
@requires(MANAGE)
def many() -> Response:
    return _many("")


@blueprint.post("/many")
@requires(MANAGE)
def add_many() -> ResponseReturnValue:
    try:
        text = _uploaded() or request.form.get("lines", "")
        reading = read_lines(text)
    except ValueError as problem:
        return _many(request.form.get("lines", ""), errors={"lines": [str(problem)]}, status=422)
    candidates = completed(reading)
    if request.form.get("action") != "add":
        return _many(text, reading, candidates)
    known = targets().asked_beforehand(candidate.values for candidate in candidates)
    left = [refused for candidate in candidates if (refused := try_adding(candidate, known)) is not None]
    added = len(candidates) - len(left)
    if not left:
        return after_post(url_for(".index"), toast=t("mailboxes.added_many", n=added))
    rest = "\n".join([*([reading.head] if reading.head else []), *(candidate.line.raw for candidate in left)])
    note = t("mailboxes.many_left", added=added, n=len(left))
    return _many(rest, reading, left, note=note)


def _many(text: str, reading: Reading | None = None, candidates: list[Candidate] | None = None, **more: Any) -> Response:
    context = {"errors": {}, "note": "", **more}
    status = context.pop("status", 200)
    return page_or_fragment("mailboxes/many.html", "form", status=status, text=text, reading=reading, candidates=candidates or [], **context)


def _uploaded() -> str:
    upload = request.files.get("file")
    raw = upload.read(LARGEST_TABLE + 1) if upload and upload.filename else b""
    if len(raw) > LARGEST_TABLE:
        raise ValueError(t("mailboxes.file_too_large", mb=LARGEST_TABLE // 1_000_000))
    try:
        return raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(t("mailboxes.many_wrong_file")) from None


def completed(reading: Reading) -> list[Candidate]:
    """Servers filled in by domain (asked once each), each line checked as adding it would."""
    domains = {line.values["email"].rpartition("@")[2].lower(): line.values["email"] for line in reading.lines if _needs_servers(line)}
    known = dict(zip(domains, _suggestions(list(domains.values())), strict=True))
    return [_candidate(line, known) for line in reading.lines]


def _needs_servers(line: MailboxLine) -> bool:
    return not line.problem and not (line.values.get("smtp_host") and line.values.get("imap_host"))


def _suggestions(emails: list[str]) -> list[Suggestion | None]:
    async def ask() -> list[Suggestion | None]:
        resolver = DnsResolver(timeout=HURRY_SECONDS / 2)
        return list(await asyncio.gather(*(_asked(email, resolver, HURRY_SECONDS) for email in emails)))

    with outside_transaction():
        return asyncio.run(ask())


def _candidate(line: MailboxLine, known: Mapping[str, Suggestion | None]) -> Candidate:
    if line.problem:
        return Candidate(line, line.problem)
    found = known.get(line.values["email"].rpartition("@")[2].lower()) if _needs_servers(line) else None
    if found is not None:
        user = line.values["email"] if "@" in found.user else line.values["email"].rpartition("@")[0]
        filled = {name: str(value) for name, value in _filled(replace(found, user=user)).items()}
        line = replace(line, values={**filled, **line.values})
    return Candidate(line, _problem(line), found is not None and found.source is Source.GUESS)


def _problem(line: MailboxLine) -> str:
    try:
        parse_address(line.values["email"], targets().allow_reserved)
    except AddressError as error:
        return str(error)
    return "" if line.values.get("smtp_password") else t("mailboxes.many_no_password")


def try_adding(candidate: Candidate, known: Targets) -> Candidate | None:
    """None when the mailbox was added, else the line with what is wrong."""
    if candidate.problem:
        return candidate
    try:
        mailboxes.create(g.client.id, candidate.values, known)
    except Invalid as wrong:
        texts = [" ".join(texts) for texts in wrong.details.values()]
        return replace(candidate, problem=" ".join(texts) or wrong.message)
    return None


# One mailbox


@blueprint.get("/<int:mailbox_id>")
@requires(READ)
def show(mailbox_id: int) -> Response:
    return _show(_mailbox(mailbox_id), block="state")


def _show(mailbox: Mailbox, values: Mapping[str, Any] | None = None, errors: Mapping[str, Any] | None = None, **more: Any) -> Response:
    line = queries.line(g.client.id, mailbox.id, clock.now())
    if line is None:
        raise NotFound
    return page_or_fragment(
        "mailboxes/show.html", more.get("block", "form"), status=more.get("status", 200), mailbox=mailbox, line=line, state=health(line),
        recent=queries.recent(g.client.id, mailbox.id), used=mailboxes.campaigns_using(mailbox), values={**_stored(mailbox), **(values or {})},
        version=version(mailbox), loaded=loaded(_stored(mailbox)), errors=errors or {}, health=health, folders_of=_folders_of,
        older_left=queries.older_left(mailbox) if mailbox.older_since else 0,
    )  # fmt: skip


def _folders_of(line: queries.MailboxLine, chosen: str | None) -> list[tuple[str, str]]:
    """The folders a person may choose from: those of the last verification, and the one that is chosen."""
    names = dict.fromkeys([*line.verify.get("folder_names", []), *([chosen] if chosen else [])])
    return [(name, name) for name in names]


def _stored(mailbox: Mailbox) -> dict[str, Any]:
    return {name: getattr(mailbox, name) for name in FIELDS if name not in (*PASSWORDS, "email")} | {"own_hours": hours_as_line(mailbox)}


@blueprint.post("/<int:mailbox_id>")
@requires(MANAGE)
def save(mailbox_id: int) -> ResponseReturnValue:
    mailbox, values = _mailbox(mailbox_id), _typed()
    values = {name: value for name, value in values.items() if not (name in PASSWORDS and value == "")}
    verified = mailbox.verified_at
    try:
        mailboxes.update(mailbox, values, targets(), seen=request.form.get("version"))
    except Invalid as wrong:
        return _show(mailbox, values, wrong.details, status=422)
    except Conflict:
        stored = _stored(mailbox)
        values = with_untouched(values, stored, request.form.get("loaded"))
        return _show(mailbox, values, {"form": [t("frame.meanwhile")], **stored_now(values, stored)}, status=409)
    again = mailbox.verified_at is None and (verified is not None or mailbox.status == "connecting")
    return after_post(url_for(".show", mailbox_id=mailbox_id), toast=t("mailboxes.saved_verify" if again else "mailboxes.saved"))


@blueprint.post("/<int:mailbox_id>/<any(verify, pause, resume, stop):action>")
@requires(MANAGE)
def act(mailbox_id: int, action: str) -> ResponseReturnValue:
    mailbox = _mailbox(mailbox_id)
    toast = None
    if action == "verify":
        _count_test([mailbox_id])
        mailbox_verification.ask(g.client.id, [mailbox_id])
        toast = t("mailboxes.asked_one", email=mailbox.address)
    else:
        {"pause": mailboxes.pause, "resume": mailboxes.resume, "stop": mailboxes.stop}[action](mailbox)
    if wants_fragment():
        return _show(_mailbox(mailbox_id), block="state")
    here = url_for(".index") if request.form.get("from") == "list" else url_for(".show", mailbox_id=mailbox_id)
    return after_post(here, toast=toast)


@blueprint.post("/<int:mailbox_id>/remove")
@requires(MANAGE)
def remove(mailbox_id: int) -> ResponseReturnValue:
    """The typed address confirms, also that leads of campaigns which use it will wait."""
    mailbox = _mailbox(mailbox_id)
    if request.form.get("typed", "").strip().lower() != mailbox.address.lower():
        return after_post(url_for(".show", mailbox_id=mailbox_id), toast=t("mailboxes.remove_typed", word=mailbox.address))
    try:
        mailboxes.remove(mailbox, although_used=True)
    except (Conflict, ProductError) as refused:
        return after_post(url_for(".show", mailbox_id=mailbox_id), toast=refused.message)
    return after_post(url_for(".index"), toast=t("mailboxes.removed", email=mailbox.address))


@blueprint.post("/<int:mailbox_id>/older")
@requires(MANAGE)
def older(mailbox_id: int) -> ResponseReturnValue:
    """Read what lay there before the mailbox was connected."""
    mailbox = _mailbox(mailbox_id)
    try:
        mailboxes.read_older(mailbox, whole(request.form.get("days")) or 0)
    except Invalid as wrong:
        return _show(mailbox, {"days": request.form.get("days", "")}, wrong.details, status=422)
    return after_post(url_for(".show", mailbox_id=mailbox_id), toast=t("mailboxes.older_asked"))


@blueprint.get("/<int:mailbox_id>/edit")
@requires(READ)
def edit(mailbox_id: int) -> ResponseReturnValue:
    return redirect(url_for(".show", mailbox_id=_mailbox(mailbox_id).id) + "#settings")
