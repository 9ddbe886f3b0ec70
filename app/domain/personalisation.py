"""Messages with values put in: strict (a missing value is an error, never an empty greeting) and bounded.

Values are data: nothing in them is ever read as template, tag, header or markup.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal
from urllib.parse import quote

from app.domain.html_context import Context
from app.domain.spintax import choose
from app.domain.template_syntax import (
    Alternatives,
    Condition,
    Node,
    Nodes,
    Parser,
    TemplateError,
    Test,
    Value,
    variable_name,
)
from app.domain.wire_lines import Lines, plain_of, shared
from app.strings import t

__all__ = [
    "KNOWN_VARIABLES",
    "MissingVariable",
    "OutputTooLarge",
    "Template",
    "TemplateError",
    "Variable",
    "compile_template",
    "fill",
    "one_line",
    "render",
    "variable_name",
]

Kind = Literal["subject", "text", "html"]

MAX_OUTPUT = 256 * 1024
MAX_SUBJECT = 2_000
#: Whole lines without a value are kept apart from so many characters on: their bytes are worked out once, not for each message.
_WORTH_KEEPING = 200


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable every campaign knows; custom fields of the leads come on top by their own names."""

    name: str
    label: str
    example: str


KNOWN_VARIABLES: tuple[Variable, ...] = (
    Variable("first_name", t("texts.variable_first_name"), "Ada"),
    Variable("last_name", t("texts.variable_last_name"), "Lovelace"),
    Variable("company", t("texts.variable_company"), "Analytical Engines Ltd"),
    Variable("title", t("texts.variable_title"), "Head of Research"),
    Variable("email", t("texts.variable_email"), "ada@example.com"),
    Variable("linkedin_url", t("texts.variable_linkedin_url"), "https://www.linkedin.com/in/ada"),
    Variable("timezone", t("texts.variable_timezone"), "Europe/London"),
    Variable("language", t("texts.variable_language"), "en"),
    Variable("sender_name", t("texts.variable_sender_name"), "Grace Hopper"),
    Variable("sender_first_name", t("texts.variable_sender_first_name"), "Grace"),
    Variable("sender_email", t("texts.variable_sender_email"), "grace@example.com"),
    Variable("client_name", t("texts.variable_client_name"), "Acme"),
    Variable("unsubscribe_url", t("texts.variable_unsubscribe_url"), "https://mail.example.com/u/abc"),
)


class MissingVariable(ValueError):
    """Values the text needs and the lead does not have; `names` in order of appearance."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(t("texts.no_value", names=", ".join(names)))
        self.names = names


class OutputTooLarge(ValueError):
    """The values make the message longer than 256 kB."""

    def __init__(self) -> None:
        super().__init__(t("texts.output_too_large", kb=MAX_OUTPUT // 1024))


@dataclass(frozen=True, slots=True)
class Form:
    """Literals and values only: `pattern` has a `%s` for each of the places; beside each value stands how it is escaped."""

    pattern: str
    places: tuple[tuple[Value, Callable[[str], str] | None], ...]


@dataclass(frozen=True)
class Template:
    """A compiled source: immutable, shareable between threads.

    `regions`: the nodes again, as `fill` reads them. `variables`: every name it mentions. `required`: those without which some lead
    could not be written to (no fallback, not only inside their own condition).
    """

    source: str
    kind: Kind
    nodes: Nodes
    regions: tuple[Lines | Form | Nodes, ...]
    variables: tuple[str, ...]
    required: tuple[str, ...]


@lru_cache(maxsize=2_048)
def compile_template(source: str, kind: Kind) -> Template:
    """Parse once; raises `TemplateError` with line, column and what to do. Results are cached."""
    nodes = Parser(source, kind == "html").parse()
    mentioned = list(dict.fromkeys(name for name, _ in _mentions(nodes, frozenset())))
    required = list(dict.fromkeys(name for name, needed in _mentions(nodes, frozenset()) if needed))
    return Template(source, kind, nodes, tuple(_regions(nodes)), tuple(mentioned), tuple(required))


def _regions(nodes: Nodes) -> Iterator[Lines | Form | Nodes]:
    """The nodes in order; long runs of whole lines stand alone, and nothing else begins or ends inside a line."""
    mixed: list[Node] = []
    for node in nodes:
        first = last = 0
        if isinstance(node, str):
            first = node.find("\n") + 1 if mixed else 0
            last = node.rfind("\n") + 1
        if not isinstance(node, str) or last - first < _WORTH_KEEPING or (mixed and not first):
            mixed.append(node)
            continue
        if mixed:
            yield _form((*mixed, node[:first]))
        yield shared(node[first:last])
        mixed = [node[last:]] if node[last:] else []
    if mixed:
        yield _form(tuple(mixed))


def _form(nodes: Nodes) -> Form | Nodes:
    """Most regions have no choice in them, and are filled in at once."""
    if not all(isinstance(node, str | Value) for node in nodes):
        return nodes
    pattern = "".join(node.replace("%", "%%") if isinstance(node, str) else "%s" for node in nodes)
    return Form(pattern, tuple((node, _ESCAPES.get(node.context, _markup)) for node in nodes if isinstance(node, Value)))


def _mentions(nodes: Nodes, present: frozenset[str]) -> Iterator[tuple[str, bool]]:
    """(name, is a value needed here) for every mention; `present` are names a condition around has made sure of."""
    for node in nodes:
        if isinstance(node, Value):
            yield node.name, node.fallback is None and node.name not in present
        elif isinstance(node, Alternatives):
            for option in node.options:
                yield from _mentions(option, present)
        elif isinstance(node, Condition):
            for test, branch in node.branches:
                sure = present
                if test is not None:
                    yield test.name, False
                    positive = not test.negated and test.equals != ""
                    sure = present | {test.name} if positive else present
                yield from _mentions(branch, sure)


def render(template: Template, values: Mapping[str, str | None], seed: int) -> str:
    """Put the values in; `seed` chooses among alternatives (same seed, same text).

    Raises `MissingVariable` with all missing names, or `OutputTooLarge`.
    """
    text = plain_of(fill(template, values, seed))
    return one_line(text) if template.kind == "subject" else text


def one_line(text: str) -> str:
    """As a subject: white space of every kind is one space, and no more than `MAX_SUBJECT` characters."""
    return " ".join(text.split())[:MAX_SUBJECT]


def fill(template: Template, values: Mapping[str, str | None], seed: int, ready: dict[str, str] | None = None) -> list[str | Lines]:
    """`render` for a text or HTML, in pieces: what all messages have in common comes with its bytes.

    `ready` is kept by whoever fills in several templates with the same values: what each value is, is found out once.
    """
    run = _Run(values, seed, template.kind, {} if ready is None else ready)
    pieces: list[str | Lines] = []
    length = 0
    for region in template.regions:
        if type(region) is Lines:
            length += len(region.text)
            pieces.append(region)
        else:
            piece = run.form(region) if type(region) is Form else run.text_of(region)  # type: ignore[arg-type]
            length += len(piece)
            if piece:  # no words are no piece: a message whose HTML says nothing for this lead has none
                pieces.append(piece)
    if run.missing:
        raise MissingVariable(tuple(dict.fromkeys(run.missing)))
    if length > MAX_OUTPUT // 4 and len(plain_of(pieces).encode("utf-8", "replace")) > MAX_OUTPUT:
        raise OutputTooLarge
    return pieces


class _Run:
    """One rendering."""

    __slots__ = ("kind", "missing", "ready", "seed", "size", "values")

    def __init__(self, values: Mapping[str, str | None], seed: int, kind: Kind, ready: dict[str, str]) -> None:
        self.values = values
        self.seed = seed
        self.kind = kind
        self.ready = ready
        self.missing: list[str] = []
        self.size = 0

    def form(self, form: Form) -> str:
        words: list[str] = []
        ready = self.ready.get
        for node, escape in form.places:
            word = ready(node.name)
            if not word or node.filters:
                word = self.value(node)
            else:
                word = word if escape is None else escape(word)
                self._count(word)
            words.append(word)
        return form.pattern % tuple(words)

    def text_of(self, nodes: Nodes) -> str:
        out: list[str] = []
        self._nodes(nodes, out)
        return "".join(out)

    def _nodes(self, nodes: Nodes, out: list[str]) -> None:
        for node in nodes:
            if isinstance(node, str):
                out.append(node)  # as long as its source at most: what values add is counted
            elif isinstance(node, Value):
                out.append(self.value(node))
            elif isinstance(node, Alternatives):
                self._nodes(node.options[choose(self.seed, node.place, len(node.options))], out)
            else:
                self._condition(node, out)

    def _condition(self, node: Condition, out: list[str]) -> None:
        for test, branch in node.branches:
            if test is None or self._holds(test):
                self._nodes(branch, out)
                return

    def _holds(self, test: Test) -> bool:
        value = (self.values.get(test.name) or "").strip()
        holds = bool(value) if test.equals is None else value == test.equals
        return holds != test.negated

    def _cleaned(self, name: str) -> str:
        value = self.values.get(name) or ""
        if not value.isprintable():
            return _clean(value, keep_lines=self.kind != "subject").strip()
        self.ready[name] = value = value.strip()
        return value

    def value(self, node: Value) -> str:
        """The words of one place; a missing one is remembered, and an empty string."""
        value = self.ready.get(node.name)
        if value is None:
            value = self._cleaned(node.name)
        if not value:
            if node.fallback is None:
                self.missing.append(node.name)
                return ""
            value = node.fallback
        for name in node.filters:
            value = _FILTERED[name](value)
        escape = _ESCAPES.get(node.context, _markup)
        if escape is not None:
            value = escape(value)
        self._count(value)
        return value

    def _count(self, word: str) -> None:
        """Before the text is put together: what values add is bounded by nothing else."""
        self.size += len(word)
        if self.size > MAX_OUTPUT:
            raise OutputTooLarge


def _clean(value: str, keep_lines: bool) -> str:
    """A value without control characters; line ends of every kind become LF, or a space in one-line places."""
    value = value.replace("\r\n", "\n")
    end = "\n" if keep_lines else " "
    cleaned = []
    for character in value:
        if character in "\n\r\x85\u2028\u2029\x0b\x0c":
            cleaned.append(end)
        elif character >= " " and not "\x7f" <= character <= "\x9f" and not "\ud800" <= character <= "\udfff":
            cleaned.append(character)
        elif character == "\t":
            cleaned.append(" ")
    return "".join(cleaned)


_FILTERED: Mapping[str, Callable[[str], str]] = {
    "upper": str.upper,
    "lower": str.lower,
    "capitalize": lambda value: value[:1].upper() + value[1:],
    "title": lambda value: " ".join(word[:1].upper() + word[1:].lower() for word in value.split(" ")),
    "trim": str.strip,
    "first_word": lambda value: value.split()[0] if value.split() else value,
}

_MARKUP = re.compile("[&<>\"']")
_RESERVED = re.compile(r"[^A-Za-z0-9_.~-]")
_SAFE_STARTS = ("https://", "http://", "mailto:", "tel:")


def _markup(value: str) -> str:
    return html.escape(value, quote=True) if _MARKUP.search(value) else value


def _url_part(value: str) -> str:
    return _RESERVED.sub(_percent, value) if value.isascii() else quote(value, safe="")


def _url_start(value: str) -> str:
    if not value.lower().startswith(_SAFE_STARTS):
        # "www.acme.com" is a link people mean; "javascript:…" is not.
        value = "#" if ":" in value.partition("/")[0] else f"https://{value}"
    return _markup(value)


def _comment(value: str) -> str:
    return quote(value, safe=" ")


#: How a value is written where it stands; everywhere else in HTML as `_markup`.
_ESCAPES: Mapping[Context, Callable[[str], str] | None] = {
    Context.PLAIN: None, Context.URL_PART: _url_part, Context.URL_START: _url_start, Context.COMMENT: _comment,
}  # fmt: skip


def _percent(match: re.Match[str]) -> str:
    return f"%{ord(match[0]):02X}"
