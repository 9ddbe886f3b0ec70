"""Every sentence that pages show stands in the catalogue (``app/strings``), and is said with the values that it names."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from string import Formatter

from app.strings import CATALOGUE
from tests.conftest import ROOT

#: Files whose sentences no page shows, or which are no words of ours.
ELSEWHERE = {
    "app/core/config.py": "settings that keep a process from starting",
    "app/core/crypto.py": "settings that keep a process from starting",
    "app/core/exposure.py": "settings that keep a process from starting",
    "app/channels/smtp_conversation.py": "a setting that keeps a process from starting",
    "app/domain/starter_sequences.py": "mails to begin with: from the first click on they are the campaign's own",
    "app/services/rehearsing/report.py": "the report of a rehearsal as a terminal prints it",
    "app/blueprints/api/examples.py": "what people might write, in the description of the API",
    "app/blueprints/api/openapi.py": "the description of the API",
}
#: What carries a sentence to a page besides the refusals of ``core/errors.py``: errors of rules, findings, faults of fields.
CARRIERS = {
    "AddressError", "BadSecret", "BadValue", "CalendarError", "CannotRender", "HeaderError", "MissingVariable", "OutputTooLarge", "Refused", "SequenceError",
    "TargetRefused", "TemplateError", "TooEarly", "UnknownCountry", "Unreadable", "UnreadableFile", "ValidationError",
    "Check", "Explanation", "Finding", "Problem", "SkippedGroup", "_e", "good", "red", "warning",
    "_add", "_error", "_said", "_settle", "abort", "say",
}  # fmt: skip
#: Calls and keywords that describe the API to programs (/openapi.json), keep a process from starting, or write into the log.
PASSED_OVER = {"api_route", "Operation", "metadata", "description", "AllowTargetsError", "SettingsError", "log"}


@cache
def _modules() -> tuple[tuple[str, ast.Module], ...]:
    return tuple(_parsed())


def _parsed() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((*(ROOT / "app").rglob("*.py"), *(ROOT / "jobs").rglob("*.py"))):
        name = str(path.relative_to(ROOT))
        if not name.startswith(("app/strings/", "app/commands/")) and name not in ELSEWHERE:
            yield name, ast.parse(path.read_text())


def _refusals() -> set[str]:
    """ProductError and everything that is made of it."""
    bases = {node.name: {ast.unparse(base) for base in node.bases} for _, tree in _modules() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    found = {"ProductError"}
    while more := {name for name, above in bases.items() if above & found} - found:
        found |= more
    return found


def _called(node: ast.Call) -> set[str]:
    """``Invalid.field(…)`` → Invalid, field."""
    return set(ast.unparse(node.func).split("."))


def _flat(node: ast.expr) -> str | None:
    """A string as it would read, with … for what is put in; None for anything else."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    return None


def _strings(node: ast.AST, about: frozenset[str]) -> Iterator[tuple[int, str, frozenset[str]]]:
    """Every string below ``node`` that is no docstring: (line, text, names of the calls and keywords around it within its statement)."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
            continue
        if isinstance(child, ast.expr) and (text := _flat(child)) is not None:
            yield child.lineno, text, about
            continue
        around = frozenset() if isinstance(child, ast.stmt) else about
        if isinstance(child, ast.Call):
            around |= _called(child)
        if isinstance(child, ast.keyword) and child.arg:
            around |= {child.arg}
        yield from _strings(child, around)


def _outside(name: str, tree: ast.Module, carriers: set[str]) -> Iterator[str]:
    for line, text, around in _strings(tree, frozenset()):
        words = re.findall(r"[A-Za-z][\w’'-]*|…", text)
        sentence = re.fullmatch(r"\s*[A-Z“…][^\n]*[.!?]\s*", text) is not None and len(re.findall(r"\s\w", text)) >= 2
        spaced = len(re.findall(r"\w\s+\w", text)) >= 1 and len(words) >= 3
        if not around & PASSED_OVER and (sentence or (spaced and around & carriers)):
            yield f"{name}:{line}: {text}"


def test_no_sentence_that_pages_show_stands_outside_the_catalogue() -> None:
    """A refusal, finding or fault with three words or more; and whatever else begins and ends like a sentence, in tables and names too."""
    carriers = _refusals() | CARRIERS
    assert [found for name, tree in _modules() for found in _outside(name, tree, carriers)] == []


def _said() -> Iterator[tuple[str, ast.Call, str]]:
    """Every ``t("key", …)`` of the code, also with one of two keys: (where, call, key)."""
    for name, tree in _modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "t" and node.args:
                keys = (node.args[0].body, node.args[0].orelse) if isinstance(node.args[0], ast.IfExp) else (node.args[0],)
                for key in keys:
                    if isinstance(key, ast.Constant):
                        yield f"{name}:{node.lineno}", node, str(key.value)


def _places(text: str) -> set[str]:
    """What ``t`` puts values in: ``{limit:,}`` → limit. Braces that no name stands in are the text's own."""
    return {name for _, name, _, _ in Formatter().parse(text) if name and name.isidentifier()}


def test_every_sentence_is_said_with_the_values_it_names() -> None:
    """Else a page breaks, or shows a person ``{limit}``. Texts said without values keep their braces, and name none."""
    wrong = []
    for where, call, key in _said():
        given = {keyword.arg for keyword in call.keywords}
        text = CATALOGUE.get(key)
        if text is None:
            wrong.append(f"{where}: there is no {key}")
        elif None not in given:  # not t(key, **values)
            for one in text if isinstance(text, tuple) else (text,):
                named = _places(one) if given else set(re.findall(r"(?<!{){(\w+)}(?!})", one))
                if named - given or (isinstance(text, tuple) and "n" not in given):
                    wrong.append(f"{where}: {key} names {sorted(named - given) or ['n']}")
    assert wrong == []
