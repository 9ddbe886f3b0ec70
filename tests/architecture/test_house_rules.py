"""What the import linter cannot see: who may commit, who may ask the time, how long a function grows, what the papers say."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import fields

from app.core.config import Settings
from app.domain.reasons import EXPLANATIONS, Reason
from app.strings import CATALOGUE
from tests.conftest import ROOT

CODE = ("app", "jobs", "sandbox", "bench", "launch")
LONGEST_FUNCTION = 40
LONGEST_FILE = 400
ALLOWED = json.loads((ROOT / "tests" / "architecture" / "long_ones.json").read_text())


def _sources(*folders: str) -> Iterator[tuple[str, str]]:
    for folder in folders or CODE:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield str(path.relative_to(ROOT)), path.read_text()


def _calls(text: str, names: set[str]) -> list[int]:
    return [
        node.lineno
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in names
    ]


def test_only_the_core_commits_and_rolls_back() -> None:
    found = {name: _calls(text, {"commit", "rollback"}) for name, text in _sources("app", "jobs") if name != "app/core/db.py"}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_the_domain_never_asks_the_time_or_throws_dice() -> None:
    for name, text in _sources("app/domain"):
        assert _calls(text, {"now", "utcnow", "today", "monotonic"}) == [], name
        assert not re.search(r"^\s*(import|from) (random|secrets|time|logging|os)\b", text, re.M), name


def test_nobody_below_the_composition_root_imports_from_it() -> None:
    for name, text in _sources("app"):
        if name != "app/__init__.py":
            assert not re.search(r"^\s*from app import |^\s*import app$", text, re.M), name


def test_every_string_of_the_catalogue_is_said_somewhere() -> None:
    """By its whole key, or by a beginning and what code or a template puts behind it (``t("inbox.kind_" ~ kind)``): words that stand there."""
    catalogue = ROOT / "app" / "strings"
    read = {".py", ".html", ".js"}
    every = (path for folder in ("app", "jobs") for path in (ROOT / folder).rglob("*") if path.suffix in read)
    files = [path for path in every if path.parent != catalogue and "vendor" not in path.parts]
    said = "\n".join(path.read_text() for path in files)
    begun = set(re.findall(r"""["']([a-z_]+\.(?:[a-z_]*_)?)(?:\{|["'])""", said))
    whole = set(re.findall(r"[a-z_]+(?:\.[a-z_0-9]+)+", said))
    words = {word.replace(".", "_") for word in re.findall(r"""["']([a-z_0-9.]+)["']""", said)} | set(re.findall(r"\b\d+\b", said))
    words |= {word for group in re.findall(r"any\(([a-z_, ]+)\)", said) for word in group.split(", ")}

    def completed(key: str) -> bool:
        rests = [key.removeprefix(beginning) for beginning in begun if key.startswith(beginning)]
        cut = [(rest[:at], rest[at:]) for rest in rests for at in range(1, len(rest))]
        return any(rest in words for rest in rests) or any({one, two.removeprefix("_")} <= words for one, two in cut)

    assert [key for key in CATALOGUE if key not in whole and not completed(key)] == []


def test_functions_and_files_stay_short_and_the_list_of_exceptions_only_shrinks() -> None:
    long_files = {name for name, text in _sources() if text.count("\n") > LONGEST_FILE}
    long_functions = set()
    for name, text in _sources():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (node.end_lineno or 0) - node.lineno + 1 > LONGEST_FUNCTION:
                long_functions.add(f"{name}:{node.name}")
    assert long_files | long_functions == set(ALLOWED), "change tests/architecture/long_ones.json with a reason for each new entry"
    assert all(len(reason) > 15 for reason in ALLOWED.values())


def test_every_setting_is_in_the_example_and_in_the_docs_and_nothing_else_is() -> None:
    names = {item.metadata["env"] for item in fields(Settings)}
    example = set(re.findall(r"^#?\s?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.M))
    documented = set(re.findall(r"^\| `([A-Z_]+)`", (ROOT / "docs" / "settings.md").read_text(), re.M))
    assert example == names
    assert documented == names


def test_every_reason_has_a_sentence_and_a_way_out() -> None:
    assert set(EXPLANATIONS) == set(Reason)
    assert all(item.text.endswith(".") and item.frees.endswith(".") for item in EXPLANATIONS.values())


def test_no_file_names_a_path_of_one_machine_or_a_registry() -> None:
    suspicious = re.compile(r"/work/|/root/|registry\.npmjs|npmjs\.(?:com|org)|pythonhosted|\bPyPI\b|pypi\.org|deb\.debian")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    for relative in filter(None, listed):
        if relative == "tests/architecture/test_house_rules.py" or not (ROOT / relative).is_file():
            continue
        assert not suspicious.search((ROOT / relative).read_text(errors="replace")), relative
