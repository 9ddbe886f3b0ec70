"""What a person does in the inbox: answer, take back, read, close, assign, snooze, decide; one conversation or all ticked ones.

Without scripts each is a form that returns to a page; for the page's script (a partial request) the answer is 204, or the composer
with what is wrong (422).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from flask import Blueprint, Response, g, request, url_for
from flask.typing import ResponseReturnValue

from app.blueprints import times
from app.blueprints.access import load, requires, viewer
from app.blueprints.digits import whole, wholes
from app.blueprints.htmx import after_post, page_or_fragment, trigger, wants_fragment
from app.blueprints.inbox import fragment, opened, panes, where
from app.core import clock
from app.core.errors import Invalid
from app.domain.permissions import Permission
from app.models import Conversation, Message
from app.queries import inbox as lists
from app.services.inbox import reply, triage
from app.services.inbox.reply import Draft, File
from app.services.receiving.choosing import resolve_match
from app.strings import t

blueprint = Blueprint("inbox_actions", __name__, url_prefix="/c/<slug>/inbox")
P = Permission


def done(back: str, text: str, undo: str | None = None) -> Response:
    """204 with a toast for the script, a redirect with the same words for a plain form."""
    if wants_fragment():
        answer = Response("", 204)
        return trigger(answer, inboxdone={"text": text, "undo": undo})
    return after_post(back, toast=text)


def _list_url() -> str:
    """Back to where the form stood: only the scope part of the address, never a foreign one."""
    wanted = urlsplit(request.form.get("back", ""))
    base = url_for("inbox.index")
    return wanted.geturl() if not wanted.scheme and not wanted.netloc and wanted.path.startswith(base) else base


def _act(conversation_id: int, verb: Callable[[int, list[int]], list[int]], text: str, undo: str | None, *, leave: bool) -> Response:
    load(Conversation, conversation_id)
    verb(g.client.id, [conversation_id])
    back = _list_url()
    if not leave:
        back = url_for("inbox.conversation", conversation_id=conversation_id) + ("?" + urlsplit(back).query if urlsplit(back).query else "")
    return done(back, text, url_for(f"inbox_actions.{undo}", conversation_id=conversation_id) if undo else None)


@blueprint.post("/<int:conversation_id>/read")
@requires(P.INBOX_MARK)
def read(conversation_id: int) -> Response:
    return _act(conversation_id, lambda c, ids: triage.mark_read(c, ids, now=clock.now()), t("inbox.done_read"), "unread", leave=False)


@blueprint.post("/<int:conversation_id>/unread")
@requires(P.INBOX_MARK)
def unread(conversation_id: int) -> Response:
    return _act(conversation_id, triage.mark_unread, t("inbox.done_unread"), "read", leave=True)


@blueprint.post("/<int:conversation_id>/close")
@requires(P.INBOX_CLOSE)
def close(conversation_id: int) -> Response:
    return _act(conversation_id, lambda c, ids: triage.close(c, ids, now=clock.now()), t("inbox.done_close"), "reopen", leave=True)


@blueprint.post("/<int:conversation_id>/reopen")
@requires(P.INBOX_CLOSE)
def reopen(conversation_id: int) -> Response:
    return _act(conversation_id, triage.reopen, t("inbox.done_reopen"), None, leave=False)


@blueprint.post("/<int:conversation_id>/assign")
@requires(P.INBOX_ASSIGN)
def assign(conversation_id: int) -> Response:
    """To ``user_id``, or to nobody. The undo names who had it before in its address, as it is sent without fields."""
    user_id = _chosen_user()
    before = load(Conversation, conversation_id).assignee_id
    answer = _act(conversation_id, lambda c, ids: triage.assign(c, ids, user_id), t("inbox.done_assign"), None, leave=False)
    if wants_fragment() and user_id != before:
        undo = url_for("inbox_actions.assign", conversation_id=conversation_id, user_id=before or "")
        trigger(answer, inboxdone={"text": t("inbox.done_assign"), "undo": undo})
    return answer


def _chosen_user() -> int | None:
    raw = request.form.get("user_id", request.args.get("user_id", ""))
    if raw == "":
        return None
    if not (raw.isascii() and raw.isdigit() and len(raw) < 19):
        raise Invalid.field("user_id", t("inbox.choose_somebody"))
    return int(raw)


@blueprint.post("/<int:conversation_id>/snooze")
@requires(P.INBOX_SNOOZE)
def snooze(conversation_id: int) -> Response:
    try:
        until = _until()
        return _act(
            conversation_id, lambda c, ids: triage.snooze(c, ids, until, now=clock.now()), t("inbox.done_snooze"), "reopen", leave=True
        )
    except Invalid as wrong:
        if wants_fragment():
            raise
        return after_post(url_for("inbox.conversation", conversation_id=conversation_id), toast=wrong.message)


def _until() -> datetime:
    """A preset by name, or nine o'clock of a day in the reader's zone. Raises Invalid."""
    zone = times.reader_zone().key
    preset = dict(triage.snooze_choices(clock.now(), zone)).get(request.form.get("preset", ""))
    if preset is not None:
        return preset
    try:
        return triage.morning_of(zone, date.fromisoformat(request.form.get("day", "")))
    except (ValueError, OverflowError):
        raise Invalid.field("day", t("inbox.date_bad")) from None


@blueprint.post("/many")
@requires(P.INBOX_MARK)
def many() -> Response:
    """Ticked rows, or all that the list holds (``all=1``): close, read, unread or assign them at once."""
    listed = where(dict(parse_qsl(urlsplit(request.form.get("back", "")).query))).filter
    ids = lists.ids(listed) if request.form.get("all") else wholes(request.form.getlist("ids"))
    if not ids:
        return done(_list_url(), t("inbox.none_ticked"))
    verb = request.form.get("do", "")
    now = clock.now()
    verbs: dict[str, tuple[Permission, Callable[[list[int]], list[int]]]] = {
        "close": (P.INBOX_CLOSE, lambda some: triage.close(g.client.id, some, now=now)),
        "reopen": (P.INBOX_CLOSE, lambda some: triage.reopen(g.client.id, some)),
        "read": (P.INBOX_MARK, lambda some: triage.mark_read(g.client.id, some, now=now)),
        "unread": (P.INBOX_MARK, lambda some: triage.mark_unread(g.client.id, some)),
        "assign": (P.INBOX_ASSIGN, lambda some: triage.assign(g.client.id, some, _chosen_user())),
    }
    if verb not in verbs or not viewer().may(verbs[verb][0], g.client):
        raise Invalid.field("do", t("inbox.choose_action"))
    count = sum(len(verbs[verb][1](ids[start : start + triage.MOST_AT_ONCE])) for start in range(0, len(ids), triage.MOST_AT_ONCE))
    return done(_list_url(), t("inbox.done_many", n=count))


@blueprint.post("/<int:conversation_id>/match")
@requires(P.INBOX_MATCH)
def match(conversation_id: int) -> Response:
    """``lead_id`` empty: none of the candidates."""
    load(Conversation, conversation_id)
    message = load(Message, whole(request.form.get("message_id")) or 0)
    if message.conversation_id != conversation_id:
        raise Invalid.field("message_id", t("inbox.other_conversation"))
    lead_id = whole(request.form.get("lead_id"))
    if lead_id is None and request.form.get("lead_id"):
        raise Invalid.field("lead_id", t("inbox.choose_candidate"))
    resolve_match(g.client.id, message.id, lead_id, viewer().id, now=clock.now())
    return done(url_for("inbox.conversation", conversation_id=conversation_id), t("inbox.done_match"))


@blueprint.post("/<int:conversation_id>/reply")
@requires(P.INBOX_REPLY)
def send(conversation_id: int) -> ResponseReturnValue:
    load(Conversation, conversation_id)
    draft = Draft(
        f"page:{viewer().id}:{request.form.get('nonce', '')[:64]}",
        request.form.get("text", ""),
        files=[File(one.filename or "", one.mimetype or "", one.read()) for one in request.files.getlist("files") if one.filename],
        kept_files=wholes(request.form.getlist("kept")),
        at_opening=request.form.get("when") == "opening",
    )
    try:
        answered = reply.answer(g.client.id, conversation_id, viewer().id, draft, now=clock.now())
    except Invalid as wrong:
        return _composer_again(conversation_id, wrong)
    scheduled = draft.at_opening and answered.due_at is not None and answered.due_at > clock.now()
    words = (
        t("inbox.reply_scheduled", time=times.short(answered.due_at)) if scheduled and answered.due_at
        else t("inbox.reply_queued", n=reply.UNDO_SECONDS)
    )  # fmt: skip
    undo = url_for("inbox_actions.undo", message_id=answered.message_id)
    return done(url_for("inbox.conversation", conversation_id=conversation_id) + "#newest", words, undo)


def _composer_again(conversation_id: int, wrong: Invalid) -> Response:
    """The same page with what was typed and what to change."""
    shown: dict[str, Any] = opened(conversation_id) | {"errors": wrong.details, "values": {"text": request.form.get("text", "")}}
    if wants_fragment():
        return fragment("thread", status=422, spot=where(), members=lists.members(g.client.id), unread=None, **shown)
    return page_or_fragment("inbox/index.html", status=422, **panes(where()), **shown)


@blueprint.post("/messages/<int:message_id>/undo")
@requires(P.INBOX_REPLY)
def undo(message_id: int) -> Response:
    """Take an answer back; its words return into the composer."""
    message = reply.take_back(g.client.id, message_id, now=clock.now())
    page = url_for("inbox.conversation", conversation_id=message.conversation_id, undone=message.id)
    if wants_fragment():
        return trigger(Response("", 204), inboxdone={"text": t("inbox.reply_undone"), "restore": page, "words": message.text})
    return after_post(page + "#answer", toast=t("inbox.reply_undone"))
