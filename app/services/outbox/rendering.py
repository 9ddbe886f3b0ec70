"""The one renderer: sending, preview and test send ask the same pure function, so what is shown is what leaves.

``RenderInput`` holds everything the bytes depend on; ``render`` turns it into bytes, or into what a person must correct.
"""

from __future__ import annotations

import html as markup
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from app.domain.address import AddressError, parse_address
from app.domain.compose import Attachment, HeaderError, Mail, compose, new_message_id
from app.domain.html_text import html_to_text
from app.domain.personalisation import MissingVariable, OutputTooLarge, TemplateError, compile_template, fill, one_line
from app.domain.reasons import Reason
from app.domain.wire_lines import Lines, Pieces, Text, plain_of, put, shared, with_end
from app.services.outbox.threads import Words


@dataclass(slots=True)
class Thread:
    """What a follow-up continues: the thread's subject, the ids its mails are known by at the other side, oldest first."""

    subject: str = ""
    ids: tuple[str, ...] = ()


@dataclass(slots=True)
class RenderInput:
    """``now``: product time. ``seed``: one number per (lead's walk, step). ``token``: makes the Message-ID.

    ``values`` are the lead's fields by variable name. ``way_out``: the unsubscribe page's address, or empty. ``personal`` is
    what a person wrote (an answer, a test): nothing is filled in, no footer, no list headers.
    """

    now: datetime
    token: str
    sender_address: str
    sender_name: str
    sender_zone: str
    to_address: str
    subject: str
    text: str
    html: str = ""
    to_name: str = ""
    values: Mapping[str, str | None] = field(default_factory=dict)
    seed: int = 0
    thread: Thread = field(default_factory=Thread)
    way_out: str = ""
    client_name: str = ""
    postal_address: str = ""
    campaign_id: int | None = None
    personal: bool = False
    attachments: tuple[Attachment, ...] = ()
    allow_reserved: bool = False


@dataclass(slots=True)
class Rendered:
    """Final bytes, their Message-ID, and the words for the thread."""

    mime: bytes = field(repr=False)
    message_id: str
    subject: str
    words: Words
    html: str = ""


@dataclass(frozen=True, slots=True)
class CannotRender:
    """What a person must correct: a missing value (``names``), the address, or the text. ``sentence`` says it."""

    reason: Reason
    sentence: str
    names: tuple[str, ...] = ()


def render(given: RenderInput) -> Rendered | CannotRender:
    """The bytes of one message, or what keeps it from being written. Same input, same bytes."""
    try:
        to = parse_address(given.to_address, allow_reserved=given.allow_reserved).email
    except AddressError as error:
        return CannotRender(Reason.NEEDS_ATTENTION_ADDRESS, str(error))
    try:
        subject, text, html = _filled(given) if not given.personal else (given.subject, given.text, given.html)
        mail = _mail(given, to, _in_thread(subject, given), text, html)
        mime = compose(mail)
    except MissingVariable as error:
        return CannotRender(Reason.NEEDS_ATTENTION_VARIABLE, ", ".join(error.names), error.names)
    except (TemplateError, OutputTooLarge) as error:
        return CannotRender(Reason.NEEDS_ATTENTION_VARIABLE, str(error))
    except HeaderError as error:
        address = error.field in ("To", "Cc")
        return CannotRender(Reason.NEEDS_ATTENTION_ADDRESS if address else Reason.NEEDS_ATTENTION_VARIABLE, str(error))
    words = Words(mail.subject, plain_of(mail.text), bool(mail.html))
    return Rendered(mime, mail.message_id, mail.subject, words, plain_of(mail.html))


def _filled(given: RenderInput) -> tuple[str, Text, Text]:
    """Subject, text and HTML with values, and the footer every campaign mail carries."""
    values = {**_sender_values(given), **given.values, "unsubscribe_url": given.way_out or _mailto(given)}
    missing: list[str] = []
    parts: list[list[str | Lines]] = []
    ready: dict[str, str] = {}
    mentions = False
    for source, kind in ((given.subject, "subject"), (given.text, "text"), (given.html, "html")):
        template = compile_template(source, kind)
        mentions |= "unsubscribe_url" in template.variables
        try:
            parts.append(fill(template, values, given.seed, ready))
        except MissingVariable as error:
            missing.extend(error.names)
    if missing:
        raise MissingVariable(tuple(dict.fromkeys(missing)))
    text, html = parts[1], parts[2]
    words = plain_of(text)
    if not words.strip() and html:
        words = html_to_text(plain_of(html))
        text = [words]
    footer = _footer(given, values["unsubscribe_url"] or "", mentions)
    if footer:
        text = _under(text, words, footer)
        html = html and _with_footer(html, footer)
    return one_line(plain_of(parts[0])), text, html


def _sender_values(given: RenderInput) -> dict[str, str | None]:
    return {
        "sender_name": given.sender_name,
        "sender_first_name": given.sender_name.split()[0] if given.sender_name.split() else None,
        "sender_email": given.sender_address,
        "client_name": given.client_name,
    }


def _footer(given: RenderInput, way_out: str, mentions: bool) -> list[str]:
    lines = []
    address = " · ".join(filter(None, (line.strip() for line in given.postal_address.splitlines())))
    if address:
        lines.append(f"{given.client_name}, {address}" if given.client_name else address)
    if not mentions:
        lines.append(f"Unsubscribe: {way_out}")
    return lines


def _under(text: Pieces, words: str, footer: list[str]) -> list[str | Lines]:
    """A text without what is blank at its end, and the footer. ``words``: the text as one string."""
    end = "\n-- \n" + "\n".join(footer) + "\n"
    *before, last = text or [""]
    if isinstance(last, Lines) and last.text.strip():
        return [*before, shared(last.text.rstrip() + "\n"), end]
    if isinstance(last, str) and last.strip():
        return [*before, last.rstrip() + "\n" + end]
    return [words.rstrip() + "\n" + end]


def _with_footer(html: Pieces, footer: list[str]) -> list[str | Lines]:
    lines = "<br>".join(_linked(line) for line in footer)
    block = f'<p style="color:#767676;font-size:12px">{lines}</p>'
    for index in range(len(html) - 1, -1, -1):
        piece = plain_of(html[index : index + 1])
        at = max(piece.rfind("</body>"), piece.rfind("</BODY>"))
        if at < 0:
            at = piece.lower().rfind("</body>")
        if at >= 0:
            return put(html, index, at, block)
    return with_end(html, block)


def _linked(line: str) -> str:
    if line.startswith("Unsubscribe: "):
        return f'<a href="{markup.escape(line.removeprefix("Unsubscribe: "))}">Unsubscribe</a>'
    return markup.escape(line)


def _mailto(given: RenderInput) -> str:
    return f"mailto:{given.sender_address}?subject=unsubscribe"


def _in_thread(subject: str, given: RenderInput) -> str:
    """A step without a subject continues the thread; one with its own starts a new one."""
    if given.personal or subject.strip() or not given.thread.subject:
        return subject
    first = given.thread.subject
    return first if first.lower().startswith("re:") else f"Re: {first}"


def _mail(given: RenderInput, to: str, subject: str, text: Text, html: Text) -> Mail:
    follows = given.personal or not given.subject.strip()
    ids = given.thread.ids if follows else ()
    domain = given.sender_address.rpartition("@")[2]
    lists: tuple[str, ...] = ()
    if not given.personal:
        lists = tuple(link for link in (given.way_out, _mailto(given)) if link)
    return Mail(
        from_email=given.sender_address,
        from_name=given.sender_name,
        to_email=to,
        to_name=given.to_name,
        subject=subject,
        date=given.now.astimezone(ZoneInfo(given.sender_zone)),
        message_id=new_message_id(domain, given.token),
        text=text,
        html=html,
        in_reply_to=ids[-1] if ids else "",
        references=ids,
        unsubscribe=lists,
        one_click=given.way_out.startswith("https://"),
        list_id=f"campaign-{given.campaign_id}.{domain}" if given.campaign_id is not None and not given.personal else "",
        attachments=given.attachments,
    )
