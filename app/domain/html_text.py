"""What an HTML mail says, as plain text: for search, previews, classification and readers without HTML."""

from __future__ import annotations

import html
import re

MAX_HTML = 1_000_000
_DROPPED = re.compile(r"<(script|style|title|template|svg)\b.*?(?:</\1\s*>|\Z)", re.IGNORECASE | re.DOTALL)
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)|<![^>]{0,2000}>|<\?[^>]{0,2000}>", re.DOTALL)
# Possessive, and never past the next "<": linear however the markup is broken.
_TOKEN = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9:]{0,30}+)(?:(?:[^<>\"']++|\"[^\"<]*+\"|'[^'<]*+')*+>|[^<>]*+>)")
_BLOCK = frozenset({"p", "div", "tr", "table", "ul", "ol", "h1", "h2", "h3", "h4", "h5", "h6", "section", "article", "pre",
                    "header", "footer", "blockquote", "hr", "center", "dl", "dt", "dd", "form", "fieldset", "body"})
_SPACES = re.compile(r"[ \t\r\n\f\u00a0]+")
_QUOTE_OPEN, _QUOTE_CLOSE = "\x02", "\x03"


def html_to_text(source: str) -> str:
    """Lines of text; quoted blocks (blockquote) get "> ", list items "- "."""
    source = _DROPPED.sub(" ", _COMMENT.sub(" ", source[:MAX_HTML].replace("\x02", "").replace("\x03", "")))
    out: list[str] = []
    at = 0
    for match in _TOKEN.finditer(source):
        out.append(_SPACES.sub(" ", html.unescape(source[at:match.start()])))
        out.append(_mark(match[1] == "/", match[2].lower()))
        at = match.end()
    out.append(_SPACES.sub(" ", html.unescape(source[at:])))
    return _laid_out("".join(out))


def _mark(closing: bool, tag: str) -> str:
    if tag == "br":
        return "\n"
    if tag == "blockquote":
        return f"\n{_QUOTE_CLOSE}" if closing else f"\n{_QUOTE_OPEN}"
    if tag == "li":
        return "" if closing else "\n- "
    if tag in ("td", "th"):
        return " "
    if tag == "p":
        return "\n\n" if closing else "\n"
    return "\n" if tag in _BLOCK else ""


def _laid_out(text: str) -> str:
    lines: list[str] = []
    depth = 0
    for raw in text.split("\n"):
        while raw[:1] in (_QUOTE_OPEN, _QUOTE_CLOSE):
            depth = min(20, depth + 1) if raw[0] == _QUOTE_OPEN else max(0, depth - 1)
            raw = raw[1:]
        line = raw.replace(_QUOTE_OPEN, "").replace(_QUOTE_CLOSE, "").strip()
        prefix = "> " * depth
        if line or (lines and lines[-1].strip("> ")):
            lines.append((prefix + line).rstrip() if line or depth else "")
    return "\n".join(lines).strip("\n")
