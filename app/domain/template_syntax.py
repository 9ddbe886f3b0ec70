"""The template language of messages: source → tree of nodes. See docs/decisions/0020-template-language.md.

Values `{{ first_name | fallback: "there" }}` (also `{first_name}`), conditions
`{% if company %}…{% else %}…{% endif %}`, alternatives `{Hi|Hello}`.
No loops, no assignments, no calls: the output is never longer than source plus values.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from functools import lru_cache

from app.domain.html_context import Context, ContextTracker, raw_spans
from app.domain.spintax import find_alternatives
from app.strings import t

MAX_SOURCE = 256 * 1024
MAX_NODES = 4_000
MAX_NESTING = 5
MAX_NAME = 60
MAX_INNER = 500

FILTERS = ("fallback", "upper", "lower", "capitalize", "title", "trim", "first_word")
_FILTER_NAMES = {
    **{name: name for name in FILTERS},
    "default": "fallback",
    "upcase": "upper",
    "downcase": "lower",
    "capitalise": "capitalize",
    "strip": "trim",
}
#: What people paste from other tools → our names.
_ALIASES = {
    "firstname": "first_name",
    "lastname": "last_name",
    "company_name": "company",
    "companyname": "company",
    "organization": "company",
    "email_address": "email",
    "job_title": "title",
    "jobtitle": "title",
    "position": "title",
    "linked_in_url": "linkedin_url",
    "linkedin": "linkedin_url",
    "unsubscribe": "unsubscribe_url",
    "unsubscribe_link": "unsubscribe_url",
    "unsubscribelink": "unsubscribe_url",
}
_OWN_LEVEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NAME = re.compile(r"[^\W\d]\w*(?:[ .-]\w+)*")
_SINGLE = re.compile(r"\{[^\W\d]\w{0,59}\}")
_MARK = re.compile(r"\\[{}|]|\{\{|\{%|[{|}]")
_FILTER = re.compile(r"\s*([^\W\d]\w*)\s*(?::\s*(.*))?", re.DOTALL)
_PIECE = re.compile(r"""(?:"[^"]*"|'[^']*'|[^|])*+""")
_CONDITION = re.compile(r"(not\s+)?([^\W\d][\w .-]*?)\s*(?:(==|!=)\s*(\"[^\"]*\"|'[^']*'))?")
_QUOTES = str.maketrans({"“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "\u00a0": " "})


class TemplateError(ValueError):
    """The source cannot be used: `message` says what to do, `line` and `column` (from 1) where."""

    def __init__(self, message: str, line: int = 1, column: int = 1) -> None:
        super().__init__(t("texts.at_place", line=line, column=column, said=message))
        self.message, self.line, self.column = message, line, column


@dataclass(frozen=True, slots=True)
class Value:
    """One value put in; `filters` are (name, argument) without the fallback."""

    name: str
    fallback: str | None
    filters: tuple[str, ...]
    context: Context


@dataclass(frozen=True, slots=True)
class Alternatives:
    """`{a|b}`: one of `options` by seed; `place` tells this group from the others."""

    place: int
    options: tuple[Nodes, ...]


@dataclass(frozen=True, slots=True)
class Test:
    """`name`, `not name`, `name == "x"`, `name != "x"`."""

    name: str
    negated: bool
    equals: str | None


@dataclass(frozen=True, slots=True)
class Condition:
    """The first branch whose test holds; a test of None is *else*."""

    branches: tuple[tuple[Test | None, Nodes], ...]


Node = str | Value | Alternatives | Condition
Nodes = tuple[Node, ...]


@lru_cache(maxsize=4_096)
def variable_name(text: str) -> str:
    """`firstName`, `First Name`, `first-name` → `first_name`; known synonyms → our name."""
    name = re.sub(r"[ .-]+", "_", _OWN_LEVEL.sub("_", text.strip())).lower()
    return _ALIASES.get(name, name)


def _between_bars(inner: str) -> list[str]:
    """Split at bars that are not inside quotes."""
    pieces: list[str] = []
    at = 0
    while at <= len(inner):
        match = _PIECE.match(inner, at)
        end = match.end() if match else len(inner)
        pieces.append(inner[at:end])
        at = end + 1
    return pieces


class Parser:
    """One pass over the source. `kind_is_html` turns on contexts and spares style sheets."""

    def __init__(self, source: str, kind_is_html: bool) -> None:
        if len(source) > MAX_SOURCE:
            raise TemplateError(t("texts.too_long", kb=MAX_SOURCE // 1024))
        self.source = source
        self.is_html = kind_is_html
        self.raw = raw_spans(source) if kind_is_html else []
        self.alternatives = find_alternatives(source, self.raw)
        self.tracker = ContextTracker()
        self.at = 0
        self.nodes = 0
        self.places = 0
        self.trim_next = False

    def parse(self) -> Nodes:
        nodes, stop = self._nodes(0, None)
        if stop is not None:
            raise self._error(t("texts.no_beginning", mark=stop))
        return nodes

    def _error(self, message: str, at: int | None = None) -> TemplateError:
        place = min(self.at if at is None else at, len(self.source))
        line = self.source.count("\n", 0, place) + 1
        return TemplateError(message, line, place - (self.source.rfind("\n", 0, place) + 1) + 1)

    def _count(self) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise self._error(t("texts.too_many_places"))

    def _add_text(self, nodes: list[Node], text: str) -> None:
        if self.trim_next:
            text = text.lstrip()
            self.trim_next = not text
        if not text:
            return
        self._count()
        if self.is_html:
            self.tracker.feed(text)
        if nodes and isinstance(nodes[-1], str):
            text = nodes.pop() + text  # type: ignore[operator]
        nodes.append(text)

    def _nodes(self, depth: int, closing: int | None) -> tuple[Nodes, str | None]:
        """Nodes up to the end, to a `|` or `}` of the alternatives that end at `closing`, or to a tag like `endif`."""
        if depth > MAX_NESTING:
            raise self._error(t("texts.nested_too_deep", limit=MAX_NESTING))
        nodes: list[Node] = []
        while True:
            match = _MARK.search(self.source, self.at)
            if match is None:
                self._add_text(nodes, self.source[self.at :])
                self.at = len(self.source)
                return tuple(nodes), None
            self._add_text(nodes, self.source[self.at : match.start()])
            self.at = match.start()
            stop = self._mark(nodes, match[0], depth, closing)
            if stop is not None:
                return tuple(nodes), stop

    def _mark(self, nodes: list[Node], mark: str, depth: int, closing: int | None) -> str | None:
        if self._in_raw():
            self._literal(nodes, mark)
        elif mark == "{{":
            self._value(nodes)
        elif mark == "{%":
            return self._tag(nodes, depth)
        elif mark == "{" and self.at in self.alternatives:
            self._alternatives(nodes, depth)
        elif mark == "{" and (single := _SINGLE.match(self.source, self.at)):
            self._put_value(nodes, single[0][1:-1])
            self.at = single.end()
        elif closing is not None and (mark == "|" or (mark == "}" and self.at == closing)):
            return mark
        elif len(mark) == 2:  # an escaped brace or bar
            self._add_text(nodes, mark[1])
            self.at += 2
        else:
            self._literal(nodes, mark)
        return None

    def _literal(self, nodes: list[Node], mark: str) -> None:
        self._add_text(nodes, mark)
        self.at += len(mark)

    def _in_raw(self) -> bool:
        while self.raw and self.raw[0][1] <= self.at:
            self.raw.pop(0)
        return bool(self.raw) and self.raw[0][0] <= self.at and self.source[self.at : self.at + 2] not in ("{{", "{%")

    def _inner(self, end_mark: str, nodes: list[Node]) -> tuple[str, int]:
        """What stands between the marks, and where it ends; `-` at either side trims the white space beyond it."""
        end = self.source.find(end_mark, self.at + 2)
        if end < 0:
            shown = self.source[self.at : self.at + 2]
            raise self._error(t("texts.never_closed", mark=shown, end=end_mark))
        inner = self.source[self.at + 2 : end]
        if len(inner) > MAX_INNER:
            raise self._error(t("texts.too_long_inside", limit=MAX_INNER, end=end_mark))
        if self.is_html:
            inner = html.unescape(re.sub(r"<[^<>]*>", "", inner))
        inner = inner.translate(_QUOTES)
        if inner.startswith("-"):
            inner = inner[1:]
            if nodes and isinstance(nodes[-1], str):
                nodes[-1] = nodes[-1].rstrip()
        trim_after = inner.endswith("-")
        inner = inner[:-1] if trim_after else inner
        self.trim_next = trim_after
        return inner.strip(), end + 2

    def _value(self, nodes: list[Node]) -> None:
        inner, end = self._inner("}}", nodes)
        name, *filters = _between_bars(inner)
        self._put_value(nodes, name, filters)
        self.at = end

    def _put_value(self, nodes: list[Node], written: str, filters: list[str] | None = None) -> None:
        name = written.strip()
        if not _NAME.fullmatch(name) or len(name) > MAX_NAME:
            raise self._error(t("texts.not_a_name", name=name[:40]))
        fallback: str | None = None
        names: list[str] = []
        for entry in filters or []:
            filter_name, argument = self._filter(entry)
            if filter_name == "fallback":
                fallback = argument
            else:
                names.append(filter_name)
        self._count()
        nodes.append(Value(variable_name(name), fallback, tuple(names), self._context(name)))

    def _filter(self, entry: str) -> tuple[str, str]:
        match = _FILTER.fullmatch(entry)
        name = _FILTER_NAMES.get(match[1].lower()) if match else None
        if match is None or name is None:
            known = ", ".join(FILTERS)
            raise self._error(t("texts.not_a_filter", name=entry.strip()[:40], known=known))
        argument = (match[2] or "").strip()
        if len(argument) > 1 and argument[0] == argument[-1] and argument[0] in "\"'":
            argument = argument[1:-1]
        if name == "fallback" and match[2] is None:
            raise self._error(t("texts.fallback_needs_text"))
        return name, argument

    def _context(self, name: str) -> Context:
        context = self.tracker.value() if self.is_html else Context.PLAIN
        if context is Context.TAG:
            raise self._error(t("texts.need_quotes", name=name))
        if context is Context.RAW:
            raise self._error(t("texts.not_in_style", name=name))
        return context

    def _alternatives(self, nodes: list[Node], depth: int) -> None:
        closing = self.alternatives[self.at]
        place, self.places = self.places, self.places + 1
        self._count()
        self.at += 1
        options: list[Nodes] = []
        while True:
            option, stop = self._nodes(depth + 1, closing)
            if stop not in ("|", "}"):
                raise self._error(t("texts.alternatives_overlap"))
            options.append(option)
            self.at += 1
            if stop == "}":
                break
        nodes.append(Alternatives(place, tuple(options)))

    def _tag(self, nodes: list[Node], depth: int) -> str | None:
        began = self.at
        inner, end = self._inner("%}", nodes)
        word, _, rest = inner.partition(" ")
        self.at = end
        if word in ("endif", "endunless", "else", "elsif", "elif"):
            return inner
        if word not in ("if", "unless"):
            raise self._error(t("texts.not_a_tag", tag=inner[:30]), began)
        self._count()
        branches: list[tuple[Test | None, Nodes]] = []
        test: Test | None = self._test(rest, began, word == "unless")
        while True:
            branch, stop = self._nodes(depth + 1, None)
            branches.append((test, branch))
            stop_word, _, stop_rest = (stop or "").partition(" ")
            if stop_word in ("endif", "endunless"):
                break
            if stop is None or test is None:
                raise self._error(t("texts.no_end", word=word), began)
            test = None if stop_word == "else" else self._test(stop_rest, self.at, False)
        nodes.append(Condition(tuple(branches)))
        return None

    def _test(self, text: str, at: int, negated: bool) -> Test:
        match = _CONDITION.fullmatch(text.strip())
        if match is None or not _NAME.fullmatch(match[2]):
            raise self._error(t("texts.condition_shape"), at)
        wrong = bool(match[1]) != (match[3] == "!=")
        return Test(variable_name(match[2]), wrong != negated, match[4][1:-1] if match[4] else None)
