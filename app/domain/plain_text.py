"""Between the two forms of a message we write: HTML → its text part, text → simple HTML, text → one-line snippet."""

from __future__ import annotations

import html
import re

from app.domain.html_text import html_to_text

_LINK = re.compile(
    r"<a\s[^<>]{0,2000}?href\s*=\s*(?:\"([^\"<>]{1,2000})\"|'([^'<>]{1,2000})')[^<>]{0,2000}>(.{0,2000}?)</a\s*>",
    re.IGNORECASE | re.DOTALL,
)
_TAG = re.compile(r"<[^<>]{0,2000}>")
_BARE_LINK = re.compile(r"https?://[^\s<>\"']{1,2000}")
_BLANK_LINES = re.compile(r"\n[ \t]*(?:\n[ \t]*)+")


def _spelled_out(match: re.Match[str]) -> str:
    target = html.unescape(match[1] or match[2] or "").strip()
    label = " ".join(html.unescape(_TAG.sub("", match[3])).split())
    if not target.lower().startswith(("https:", "http:", "mailto:")):
        return match[3]
    bare = re.sub(r"^(?:https?://|mailto:)", "", target).rstrip("/")
    if not label or bare in label:
        return html.escape(label or target)
    return html.escape(f"{label} ({target})")


def text_of_html(source: str) -> str:
    """The text part of an HTML message; links keep their targets: `label (https://…)`."""
    return html_to_text(_LINK.sub(_spelled_out, source))


def html_of_text(text: str) -> str:
    """Paragraphs and line breaks of a plain text, links made clickable, everything else escaped."""
    paragraphs = _BLANK_LINES.split(text.replace("\r\n", "\n").replace("\r", "\n").strip("\n"))
    return "\n".join(f"<p>{_linked(paragraph)}</p>" for paragraph in paragraphs if paragraph.strip())


def _linked(text: str) -> str:
    pieces: list[str] = []
    at = 0
    for match in _BARE_LINK.finditer(text):
        address = match[0].rstrip(".,;:!?)")
        escaped = html.escape(address)
        pieces.append(html.escape(text[at : match.start()]))
        pieces.append(f'<a href="{escaped}">{escaped}</a>')
        at = match.start() + len(address)
    pieces.append(html.escape(text[at:]))
    return "".join(pieces).replace("\n", "<br>\n")


def snippet(text: str, length: int = 140) -> str:
    """The first words on one line, at most `length` characters, cut at a word with an ellipsis."""
    line = " ".join(text[: length * 20].split())
    if len(line) <= length:
        return line
    cut = line[: length - 1]
    space = cut.rfind(" ")
    return (cut[:space] if space > length // 2 else cut).rstrip(" ,;:.-") + "…"
