"""docs/asvs.csv answers every requirement of ASVS 5.0.0 on levels 1 and 2, and each answer can be looked up.

The ids and levels are facts of that standard; its words are not repeated here.
"""

from __future__ import annotations

import ast
import csv
import re
from collections import Counter
from functools import cache

import pytest

from tests.conftest import ROOT

#: Chapter and section → the numbers of its requirements on level 1, and those that level 2 adds.
LEVELS: dict[str, tuple[str, str]] = {
    "1.1": ("", "1 2"), "1.2": ("1 2 3 4 5", "6 7 8 9"), "1.3": ("1 2", "3 4 5 6 7 8 9 10 11"), "1.4": ("", "1 2 3"), "1.5": ("1", "2"),
    "2.1": ("1", "2 3"), "2.2": ("1 2", "3"), "2.3": ("1", "2 3 4"), "2.4": ("", "1"),
    "3.2": ("1 2", ""), "3.3": ("1", "2 3 4"), "3.4": ("1 2", "3 4 5 6"), "3.5": ("1 2 3", "4 5"), "3.7": ("", "1 2"),
    "4.1": ("1", "2 3"), "4.2": ("", "1"), "4.3": ("", "1 2"), "4.4": ("1", "2 3 4"),
    "5.1": ("", "1"), "5.2": ("1 2", "3"), "5.3": ("1 2", ""), "5.4": ("", "1 2 3"),
    "6.1": ("1", "2 3"), "6.2": ("1 2 3 4 5 6 7 8", "9 10 11 12"), "6.3": ("1 2", "3 4"), "6.4": ("1 2", "3 4"), "6.5": ("", "1 2 3 4 5"),
    "6.6": ("", "1 2 3"), "6.8": ("", "1 2 3 4"),
    "7.1": ("", "1 2 3"), "7.2": ("1 2 3 4", ""), "7.3": ("", "1 2"), "7.4": ("1 2", "3 4 5"), "7.5": ("", "1 2"), "7.6": ("", "1 2"),
    "8.1": ("1", "2"), "8.2": ("1 2", "3"), "8.3": ("1", ""), "8.4": ("", "1"),
    "9.1": ("1 2 3", ""), "9.2": ("1", "2 3 4"),
    "10.1": ("", "1 2"), "10.2": ("", "1 2"), "10.3": ("", "1 2 3 4"), "10.4": ("1 2 3 4 5", "6 7 8 9 10 11"), "10.5": ("", "1 2 3 4 5"),
    "10.6": ("", "1 2"), "10.7": ("", "1 2 3"),
    "11.1": ("", "1 2"), "11.2": ("", "1 2 3"), "11.3": ("1 2", "3"), "11.4": ("1", "2 3 4"), "11.5": ("", "1"), "11.6": ("", "1"),
    "12.1": ("1", "2 3"), "12.2": ("1 2", ""), "12.3": ("", "1 2 3 4"),
    "13.1": ("", "1"), "13.2": ("", "1 2 3 4 5"), "13.3": ("", "1 2"), "13.4": ("1", "2 3 4 5"),
    "14.1": ("", "1 2"), "14.2": ("1", "2 3 4"), "14.3": ("1", "2 3"),
    "15.1": ("1", "2 3"), "15.2": ("1", "2 3"), "15.3": ("1", "2 3 4 5 6 7"),
    "16.1": ("", "1"), "16.2": ("", "1 2 3 4 5"), "16.3": ("", "1 2 3 4"), "16.4": ("", "1 2 3"), "16.5": ("", "1 2 3"),
    "17.1": ("", "1"), "17.2": ("", "1 2 3 4"), "17.3": ("", "1 2"),
}  # fmt: skip
VERDICTS = {"yes", "partly", "no", "not applicable"}
ROWS = list(csv.DictReader((ROOT / "docs" / "asvs.csv").read_text().splitlines()))


def required() -> dict[str, str]:
    return {f"V{section}.{number}": str(level) for section, told in LEVELS.items() for level, numbers in enumerate(told, 1) for number in numbers.split()}


@cache
def named_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_every_requirement_of_both_levels_is_answered_once() -> None:
    wanted = required()
    assert Counter(wanted.values()) == {"1": 70, "2": 183}
    answered = [row["id"] for row in ROWS]
    assert [name for name, count in Counter(answered).items() if count > 1] == [], "twice"
    assert set(wanted) - set(answered) == set() and set(answered) - set(wanted) == set()
    assert [row["id"] for row in ROWS if row["level"] != wanted[row["id"]]] == []


@pytest.mark.parametrize("row", ROWS, ids=[row["id"] for row in ROWS])
def test_an_answer_has_a_verdict_and_a_test_that_exists_or_a_reason(row: dict[str, str]) -> None:
    assert row["verdict"] in VERDICTS and row["about"]
    assert row["test"] or len(row["note"]) >= 8, "neither a test nor a note"
    if row["verdict"] in {"partly", "no"}:
        assert len(row["note"]) >= 30, "what is missing stands in the note"
    if row["verdict"] in {"yes", "partly"}:
        assert row["where"] or row["note"]
    for name in row["test"].split():
        path, _, test = name.partition("::")
        assert (ROOT / path).is_file() and test in named_in(path), name
    for path in re.findall(r"(?<![\w/])(?:app|docs|launch|migrations|jobs|tests)/[\w./-]*\w", row["where"] + " " + row["note"]):
        assert (ROOT / path).exists(), path


def test_the_summary_in_the_security_paper_is_the_tables_own() -> None:
    counts = Counter(row["verdict"] for row in ROWS)
    proven = sum(1 for row in ROWS if row["test"] and row["verdict"] in {"yes", "partly"})
    sentence = f"{counts['yes']} yes, {counts['partly']} partly, {counts['no']} no, {counts['not applicable']} not applicable; {proven} are held by a test"
    assert sentence in (ROOT / "docs" / "security.md").read_text(), sentence
