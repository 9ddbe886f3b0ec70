"""The inbox's pages: three panes that are one page, whose list and thread can be fetched alone. What changes things: inbox_actions."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, current_app, g, request, url_for
from markupsafe import Markup, escape

from app.blueprints import times
from app.blueprints.access import requires, viewer
from app.blueprints.api.pagination import Page, page_of
from app.blueprints.htmx import page_or_fragment, render_block
from app.core import clock
from app.core.errors import Invalid, NotFound
from app.core.safe_html import safe_link
from app.domain.permissions import Permission
from app.models import Conversation
from app.queries import inbox as lists
from app.queries import thread as threads
from app.queries.inbox import InboxFilter, View
from app.services.inbox import reply, triage

blueprint = Blueprint("inbox", __name__, url_prefix="/c/<slug>/inbox")

ICONS = {
    View.ALL: "inbox", View.UNREAD: "mail", View.MINE: "user", View.UNASSIGNED: "user-plus", View.AWAITING: "clock",
    View.DECIDE: "help-circle", View.SNOOZED: "zzz", View.CLOSED: "archive", View.OTHER: "dots",
}  # fmt: skip
#: Scopes that stand in the list only while they hold something (or are looked at).
ONLY_WHEN_FILLED = frozenset({View.DECIDE, View.OTHER})
PAGE_SIZE = 40
LARGEST_PAGE = 200
_URL = re.compile(r"https?://[^\s<>\"]+|[\w.+-]+@[\w-]+(?:\.[\w-]+)+")


@dataclass(frozen=True)
class Where:
    """What the address of the page says: the scope, the search, and how to say it again."""

    filter: InboxFilter
    cursor: str
    size: int  # rows of one page

    def args(self, **changes: Any) -> dict[str, Any]:
        now: dict[str, Any] = {
            "view": self.filter.view.value if self.filter.view is not View.ALL else None, "mailbox": self.filter.mailbox_id,
            "campaign": self.filter.campaign_id, "q": self.filter.q or None, "older": self.filter.older if self.filter.older > 1 else None,
        }  # fmt: skip
        return {key: value for key, value in {**now, **changes}.items() if value}

    def query(self, **changes: Any) -> str:
        return urlencode(self.args(**changes))

    def url(self, conversation_id: int | None = None, **changes: Any) -> str:
        if conversation_id is None:
            return url_for("inbox.index", **self.args(**changes))
        return url_for("inbox.conversation", conversation_id=conversation_id, **self.args(**changes))

    @property
    def is_all(self) -> bool:
        return not self.args()


def _number(name: str, given: Mapping[str, str] | None = None) -> int | None:
    raw = (request.args if given is None else given).get(name, "")
    return int(raw) if raw.isascii() and raw.isdigit() and len(raw) < 19 and int(raw) > 0 else None


def where(given: Mapping[str, str] | None = None) -> Where:
    """What the address says, or the query of another address of the inbox."""
    given = request.args if given is None else given
    view = given.get("view", "")
    wanted = InboxFilter(
        g.client.id,
        viewer().id,
        View(view) if view in set(View) else View.ALL,
        _number("mailbox", given),
        _number("campaign", given),
        " ".join(given.get("q", "").split())[:200],
        min(_number("older", given) or 1, 200),
    )
    return Where(wanted, given.get("cursor", "")[:500], min(max(_number("n", given) or PAGE_SIZE, PAGE_SIZE), LARGEST_PAGE))


def listed(here: Where) -> Page:
    """One page of the list; a cursor that is none begins at the top."""
    statement = lists.conversations(here.filter)
    keys = (Conversation.last_message_at, Conversation.id)
    try:
        return page_of(statement, {"limit": here.size, "cursor": here.cursor}, *keys, scalars=False)
    except Invalid:
        return page_of(statement, {"limit": here.size}, *keys, scalars=False)


def panes(here: Where) -> dict[str, Any]:
    """What the scopes and the list draw."""
    counts = lists.counters(g.client.id, viewer().id)
    page = listed(here)
    searching = bool(here.filter.q) and page.next_cursor is None
    return {
        "spot": here, "counts": counts, "places": lists.places(g.client.id, counts, here.filter), "page": page,
        "older": searching and lists.search_has_older(here.filter), "scopes": _scopes(here, counts), "members": lists.members(g.client.id),
        "unread": counts.views[View.UNREAD], "matches": len(lists.ids(here.filter)) if page.next_cursor else 0,
    }  # fmt: skip


def _scopes(here: Where, counts: lists.Counters) -> list[dict[str, Any]]:
    plain = here.filter.mailbox_id is None and here.filter.campaign_id is None and not here.filter.q
    return [
        {"view": view.value, "icon": ICONS[view], "count": counts.views[view], "active": plain and here.filter.view is view,
         "url": url_for("inbox.index", view=None if view is View.ALL else view.value)}
        for view in View
        if view not in ONLY_WHEN_FILLED or counts.views[view] or here.filter.view is view
    ]  # fmt: skip


def opened(conversation_id: int) -> dict[str, Any]:
    """What the thread pane draws. Raises NotFound."""
    found = threads.thread(g.client.id, conversation_id, 500 if request.args.get("all") else threads.SHOWN)
    if found is None:
        raise NotFound
    now = clock.now()
    return {
        "thread": found, "opens_at": reply.opening_of(found.head.conversation, now), "nonce_of_answer": secrets.token_urlsafe(16),
        "snooze_choices": triage.snooze_choices(now, times.reader_zone().key), "undone": _undone(found), "errors": {}, "values": {},
    }  # fmt: skip


def _undone(found: threads.Thread) -> dict[str, Any] | None:
    """The answer that was taken back just now: its text returns into the composer."""
    number = _number("undone")
    return reply.undone_words(g.client.id, found.head.conversation.id, number) if number else None


@blueprint.get("/")
@requires(Permission.INBOX_READ)
def index() -> Response:
    here = where()
    if request.args.get("part") == "list":
        return fragment("list", **panes(here), thread=None)
    return page_or_fragment("inbox/index.html", **panes(here), thread=None)


@blueprint.get("/<int:conversation_id>")
@requires(Permission.INBOX_READ)
def conversation(conversation_id: int) -> Response:
    """The page with this conversation open; ``part=thread`` gives its pane alone."""
    here = where()
    if request.args.get("part") == "thread":
        members = lists.members(g.client.id)
        return fragment("thread", spot=here, members=members, unread=None, **opened(conversation_id))
    return page_or_fragment("inbox/index.html", **panes(here), **opened(conversation_id))


def fragment(block: str, *, status: int = 200, **context: Any) -> Response:
    """One pane alone."""
    answer = Response(render_block("inbox/index.html", block, **context), status, mimetype="text/html")
    answer.vary.update(["HX-Request", "HX-Request-Type"])
    return answer


# ---- how text of a message is drawn


def linked(text: str) -> Markup:
    """Plain text with its addresses as links; everything else escaped."""
    pieces: list[Markup] = []
    at = 0
    for found in _URL.finditer(text):
        address = found.group().rstrip(".,;:!?)]}'\"")
        target = safe_link(address if "://" in address else f"mailto:{address}")
        if target is None:
            continue
        pieces.append(escape(text[at : found.start()]))
        pieces.append(Markup('<a href="{}" target="_blank" rel="noopener noreferrer nofollow">{}</a>').format(target, address))
        at = found.start() + len(address)
    pieces.append(escape(text[at:]))
    return Markup("").join(pieces)


def size_word(size: int) -> str:
    """``12 kB``, ``3.4 MB``."""
    return f"{size / 1_048_576:.1f} MB" if size >= 1_048_576 else f"{max(1, round(size / 1024))} kB"


def days(rows: list[Any]) -> list[dict[str, Any]]:
    """Rows under the day of their last message, in the reader's zone."""
    grouped: list[dict[str, Any]] = []
    for row in rows:
        local = row.last_message_at.astimezone(times.reader_zone()).date()
        if not grouped or grouped[-1]["key"] != local.isoformat():
            grouped.append({"key": local.isoformat(), "name": times.day_name(row.last_message_at), "rows": []})
        grouped[-1]["rows"].append(row)
    return grouped


def maybe_url(endpoint: str) -> str | None:
    """The address of a page, None where this product has no such page."""
    return url_for(endpoint) if endpoint in current_app.view_functions else None


@blueprint.record_once
def _globals(state: Any) -> None:
    state.app.jinja_env.globals.update(linked=linked, size_word=size_word, maybe_url=maybe_url)
    state.app.jinja_env.filters["groupby_day"] = days
