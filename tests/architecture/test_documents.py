"""The documents are true: tables equal the code, and every file, test, command and decision they name exists."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import app.blueprints.stream  # with the API behind it: fills the list of operations
import app.commands
from app.blueprints.api.core import OPERATIONS
from app.domain.permissions import table
from tests.conftest import ROOT

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TOP_LEVEL_FILES = {"Procfile", "wsgi.py", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "pyproject.toml", "package.json"}


def _named(path: Path) -> set[str]:
    """Everything in backticks, outside the blocks of code."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S)
    return set(re.findall(r"`([^`\n]+)`", text))


def test_the_printed_table_of_permissions_equals_the_code() -> None:
    printed = re.findall(r"^\| `([a-z_.]+)` \|(.*)\|$", (ROOT / "docs" / "permissions.md").read_text(), re.M)
    shown = [(name, *(cell.strip() == "yes" for cell in cells.split("|"))) for name, cells in printed]
    assert shown == [(row.permission.value, row.viewer, row.agent, row.admin, row.operator) for row in table()]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_that_a_document_names_exists(document: Path) -> None:
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
    for name in _named(document):
        path, _, test = name.partition("::")
        if "{" in path or "<" in path or " " in path or not ((path.split("/")[0] in folders and "/" in path) or path in TOP_LEVEL_FILES):
            continue
        found = list(ROOT.glob(path.rstrip("/"))) if "*" in path else [ROOT / path]
        assert found and found[0].exists(), f"{document.name} names {name}"
        if test:
            tree = ast.parse((ROOT / path).read_text())
            assert test in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}, name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_between_documents_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_every_flask_command_that_is_named_exists() -> None:
    known = {"db"}
    for module in pkgutil.iter_modules(app.commands.__path__):
        for command in importlib.import_module(f"app.commands.{module.name}").commands:
            known |= {command.name, *(f"{command.name} {inner}" for inner in getattr(command, "commands", {}))}
    for document in DOCUMENTS:
        for first, second in re.findall(r"\bflask ([a-z][a-z-]+)(?: ([a-z][a-z-]+))?", document.read_text()):
            assert first in known, f"{document.name}: flask {first}"
            if any(name.startswith(first + " ") for name in known):
                assert not second or f"{first} {second}" in known, f"{document.name}: flask {first} {second}"


def test_every_decision_is_in_the_list_of_decisions_and_the_reverse() -> None:
    folder = ROOT / "docs" / "decisions"
    kept = {path.name for path in folder.glob("[0-9]*.md")}
    assert set(re.findall(r"\]\(([0-9][^)]+\.md)\)", (folder / "README.md").read_text())) == kept


def test_every_address_of_the_api_that_is_named_exists() -> None:
    known = {(item.method, re.sub(r"<[^>]+>", "{}", "/api" + item.path)) for item in OPERATIONS}
    named = re.findall(r"`(GET|POST|PATCH|PUT|DELETE) (/api/[^`?]*)", (ROOT / "docs" / "api.md").read_text())
    missing = {(method, path) for method, path in named if (method, re.sub(r"\{[^}]+\}", "{}", path)) not in known}
    assert named and not missing
