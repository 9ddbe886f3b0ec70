"""What we ask to be installed is used: every direct requirement is imported by the product, or is here with its reason."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("app", "jobs", "launch", "sandbox", "migrations", "wsgi.py")

#: Required and imported nowhere by name; each with why it is here all the same.
NOT_IMPORTED = {
    "gevent": "gunicorn's worker class of the live stream (jobs/gunicorn_stream.py)",
    "hiredis": "the redis client reads answers with it when it is installed",
    "resend": "sends notices to operators and members; kept in the lock until that capability lands",
    "tzdata": "zoneinfo's time zones on machines without any",
}


def required(name: str) -> list[str]:
    """Distribution names of one .in file, extras and versions taken off."""
    lines = (ROOT / name).read_text().splitlines()
    return [re.split(r"[\[<>=!~; ]", line)[0].lower() for line in lines if line.strip() and not line.startswith(("#", "-"))]


def imported(folders: tuple[str, ...]) -> Iterator[str]:
    """The first word of every import in the sources of these folders."""
    for folder in folders:
        root = ROOT / folder
        for path in [root] if root.is_file() else sorted(root.rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    yield from (alias.name.split(".")[0] for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    yield node.module.split(".")[0]


def unused(requirements: list[str], folders: tuple[str, ...]) -> set[str]:
    modules: dict[str, set[str]] = {}
    for module, distributions in metadata.packages_distributions().items():
        for distribution in distributions:
            modules.setdefault(re.sub(r"[-_.]+", "-", distribution).lower(), set()).add(module)
    used = set(imported(folders))
    return {name for name in requirements if not modules.get(re.sub(r"[-_.]+", "-", name), set()) & used}


@pytest.mark.slow
def test_every_requirement_of_the_product_is_imported_by_it() -> None:
    names = required("requirements.in")
    assert len(names) > 20
    assert unused(names, PRODUCT) - set(NOT_IMPORTED) == set(), "remove them from requirements.in and run bin/lock, or say why they stay"
    assert set(NOT_IMPORTED) <= set(names), "an exception for what is not required"
