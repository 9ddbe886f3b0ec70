"""Where in an HTML source a value is put in: it decides how the value is escaped."""

from __future__ import annotations

import re

from app.domain.words import Word

_RAW = re.compile(r"<(script|style)\b", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"([^\s\"'<>/=]+)\s*=\s*$")
_TAG_MARK = re.compile(r"[\"'>]")
_URL_ATTRIBUTES = frozenset({"href", "src", "action", "background", "cite", "formaction", "poster"})


class Context(Word):
    PLAIN = "plain"  # not HTML at all
    TEXT = "text"  # between tags
    ATTRIBUTE = "attribute"  # inside a quoted attribute
    URL_START = "url_start"  # the value begins a quoted URL
    URL_PART = "url_part"  # the value stands inside a quoted URL
    TAG = "tag"  # inside a tag but in no quotes: nothing may stand here
    RAW = "raw"  # inside <script> or <style>: nothing may stand here
    COMMENT = "comment"


def raw_spans(source: str) -> list[tuple[int, int]]:
    """The spans of <script> and <style> elements, in order."""
    spans: list[tuple[int, int]] = []
    at = 0
    lowered = source.lower()
    while match := _RAW.search(source, at):
        end = lowered.find(f"</{match[1].lower()}", match.end())
        at = len(source) if end < 0 else end
        spans.append((match.start(), at))
    return spans


class ContextTracker:
    """Fed with the literal pieces of a source in order, it knows the context of what comes next."""

    def __init__(self) -> None:
        self._state = Context.TEXT
        self._quote = ""
        self._url = False
        self._inside = ""  # what was read of the current tag or attribute value
        self._raw_end = ""

    def feed(self, literal: str) -> None:
        at = 0
        while at < len(literal):
            at = self._step(literal, at)

    def value(self) -> Context:
        """The context of a value at this place; tells the tracker that something stands here."""
        if self._state is not Context.ATTRIBUTE:
            return self._state
        if not self._url:
            return Context.ATTRIBUTE
        started = bool(self._inside.strip())
        self._inside += "x"
        return Context.URL_PART if started else Context.URL_START

    def _step(self, text: str, at: int) -> int:
        if self._state is Context.TEXT:
            return self._text(text, at)
        if self._state is Context.COMMENT:
            return self._until(text, at, "-->")
        if self._state is Context.RAW:
            return self._until(text, at, self._raw_end)
        if self._state is Context.ATTRIBUTE:
            end = text.find(self._quote, at)
            self._inside += text[at:] if end < 0 else text[at:end]
            if end >= 0:
                self._state, self._inside = Context.TAG, ""
            return len(text) if end < 0 else end + 1
        return self._tag(text, at)

    def _until(self, text: str, at: int, mark: str) -> int:
        end = text.lower().find(mark, at)
        if end < 0:
            return len(text)
        self._state = Context.TEXT
        return end + (len(mark) if mark == "-->" else 0)

    def _text(self, text: str, at: int) -> int:
        start = text.find("<", at)
        if start < 0:
            return len(text)
        if text.startswith("<!--", start):
            self._state = Context.COMMENT
            return start + 4
        if not text[start + 1 : start + 2].strip(" \t\n0123456789="):
            return start + 1  # "a < b" is text
        self._state, self._inside, self._raw_end = Context.TAG, "<", ""
        return start + 1

    def _tag(self, text: str, at: int) -> int:
        match = _TAG_MARK.search(text, at)
        self._inside += text[at:] if match is None else text[at : match.start()]
        if match is None:
            return len(text)
        raw = _RAW.match(self._inside)
        if raw is not None:
            self._raw_end = f"</{raw[1].lower()}"
        if match[0] == ">":
            self._state, self._inside = (Context.RAW if self._raw_end else Context.TEXT), ""
            return match.end()
        name = _ATTRIBUTE.search(self._inside[-200:])
        if name is not None:
            self._state, self._quote = Context.ATTRIBUTE, match[0]
            self._url, self._inside = name[1].lower() in _URL_ATTRIBUTES, ""
        return match.end()
