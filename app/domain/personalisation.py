"""Messages with values put in: strict (a missing value is an error, never an empty greeting) and bounded.

Values are data: nothing in them is ever read as template, tag, header or markup.
"""

from __future__ import annotations

import html
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
    Nodes,
    Parser,
    TemplateError,
    Test,
    Value,
    variable_name,
)

__all__ = [
    "KNOWN_VARIABLES",
    "MissingVariable",
    "OutputTooLarge",
    "Template",
    "TemplateError",
    "Variable",
    "compile_template",
    "render",
    "variable_name",
]

Kind = Literal["subject", "text", "html"]

MAX_OUTPUT = 256 * 1024
MAX_SUBJECT = 2_000


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable every campaign knows; custom fields of the leads come on top by their own names."""

    name: str
    label: str
    example: str


KNOWN_VARIABLES: tuple[Variable, ...] = (
    Variable("first_name", "First name", "Ada"),
    Variable("last_name", "Last name", "Lovelace"),
    Variable("company", "Company", "Analytical Engines Ltd"),
    Variable("title", "Job title", "Head of Research"),
    Variable("email", "E-mail address", "ada@example.com"),
    Variable("linkedin_url", "LinkedIn address", "https://www.linkedin.com/in/ada"),
    Variable("timezone", "Time zone of the lead", "Europe/London"),
    Variable("language", "Language of the lead", "en"),
    Variable("sender_name", "Sender's name", "Grace Hopper"),
    Variable("sender_first_name", "Sender's first name", "Grace"),
    Variable("sender_email", "Sender's address", "grace@example.com"),
    Variable("client_name", "Client's name", "Acme"),
    Variable("unsubscribe_url", "Link to unsubscribe", "https://mail.example.com/u/abc"),
)


class MissingVariable(ValueError):
    """Values the text needs and the lead does not have; `names` in order of appearance."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__("No value for " + ", ".join(names) + ".")
        self.names = names


class OutputTooLarge(ValueError):
    """The values make the message longer than 256 kB."""

    def __init__(self) -> None:
        super().__init__(f"With its values the message is longer than {MAX_OUTPUT // 1024} kB.")


@dataclass(frozen=True)
class Template:
    """A compiled source: immutable, shareable between threads.

    `variables`: every name it mentions. `required`: those without which some lead could not be written to (no fallback,
    not only inside their own condition).
    """

    source: str
    kind: Kind
    nodes: Nodes
    variables: tuple[str, ...]
    required: tuple[str, ...]


@lru_cache(maxsize=4_096)
def compile_template(source: str, kind: Kind) -> Template:
    """Parse once; raises `TemplateError` with line, column and what to do. Results are cached."""
    nodes = Parser(source, kind == "html").parse()
    mentioned = list(dict.fromkeys(name for name, _ in _mentions(nodes, frozenset())))
    required = list(dict.fromkeys(name for name, needed in _mentions(nodes, frozenset()) if needed))
    return Template(source, kind, nodes, tuple(mentioned), tuple(required))


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
    run = _Run(values, seed, template.kind)
    run.nodes(template.nodes)
    if run.missing:
        raise MissingVariable(tuple(dict.fromkeys(run.missing)))
    text = "".join(run.out)
    if template.kind == "subject":
        return " ".join(text.split())[:MAX_SUBJECT]
    if len(text) > MAX_OUTPUT // 4 and len(text.encode("utf-8", "replace")) > MAX_OUTPUT:
        raise OutputTooLarge
    return text


class _Run:
    """One rendering."""

    __slots__ = ("kind", "missing", "out", "seed", "size", "values")

    def __init__(self, values: Mapping[str, str | None], seed: int, kind: Kind) -> None:
        self.values = values
        self.seed = seed
        self.kind = kind
        self.out: list[str] = []
        self.missing: list[str] = []
        self.size = 0

    def nodes(self, nodes: Nodes) -> None:
        for node in nodes:
            if isinstance(node, str):
                self.out.append(node)  # as long as its source at most: what values add is counted
            elif isinstance(node, Value):
                self._value(node)
            elif isinstance(node, Alternatives):
                self.nodes(node.options[choose(self.seed, node.place, len(node.options))])
            else:
                self._condition(node)

    def _condition(self, node: Condition) -> None:
        for test, branch in node.branches:
            if test is None or self._holds(test):
                self.nodes(branch)
                return

    def _holds(self, test: Test) -> bool:
        value = (self.values.get(test.name) or "").strip()
        holds = bool(value) if test.equals is None else value == test.equals
        return holds != test.negated

    def _value(self, node: Value) -> None:
        value = self.values.get(node.name) or ""
        if not value.isprintable():
            value = _clean(value, keep_lines=self.kind != "subject")
        value = value.strip()
        if not value:
            if node.fallback is None:
                self.missing.append(node.name)
                return
            value = node.fallback
        for name in node.filters:
            value = _FILTERED[name](value)
        if node.context is not Context.PLAIN:
            value = _escaped(value, node.context)
        self.size += len(value)
        if self.size > MAX_OUTPUT:
            raise OutputTooLarge
        self.out.append(value)


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

_SAFE_STARTS = ("https://", "http://", "mailto:", "tel:")


def _escaped(value: str, context: Context) -> str:
    if context is Context.URL_PART:
        return quote(value, safe="")
    if context is Context.URL_START and not value.lower().startswith(_SAFE_STARTS):
        # "www.acme.com" is a link people mean; "javascript:…" is not.
        value = "#" if ":" in value.partition("/")[0] else f"https://{value}"
    if context is Context.COMMENT:
        return quote(value, safe=" ")
    return html.escape(value, quote=True)
