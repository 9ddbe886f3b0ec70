from __future__ import annotations

import csv
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.domain.csv_guard import original_cell, refusal, safe_cell, write_csv


@pytest.mark.parametrize(
    "evil",
    ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\t", " \r\n", " =1", "\u00a0=1", "\uff1d1", '=HYPERLINK("x")'],
)
def test_formulas_are_made_text(evil: str) -> None:
    assert safe_cell(evil).startswith("'")


@pytest.mark.parametrize("evil", ["a,=1+1", "a;@x", '"=1', "a\t+1"])
def test_formulas_behind_a_separator_are_made_text_too(evil: str) -> None:
    assert "'" in safe_cell(evil)


@pytest.mark.parametrize("plain", ["Ada", "-5", "+49", "3,5", "-3.25", "", "a-b", "ada@example.com", "x = y", "O'Neil"])
def test_ordinary_values_stay_as_they_are(plain: str) -> None:
    assert safe_cell(plain) == plain


def test_numbers_and_nothing_are_written_plainly() -> None:
    assert [safe_cell(value) for value in (-5, 2.5, None, True)] == ["-5", "2.5", "", "True"]


@example([["", "\t"]])
@given(st.lists(st.lists(st.text(max_size=20), min_size=2, max_size=2), max_size=5))
def test_any_table_can_be_read_again_and_starts_no_formula(rows: list[list[str]]) -> None:
    text = write_csv(["a", "b"], rows)
    read = list(csv.reader(io.StringIO(text, newline="")))
    assert len(read) == len(rows) + 1
    for row in read:
        for cell in row:
            assert cell[:1] not in ("=", "@", "\t") or not cell
            assert cell[:1] not in ("+", "-") or cell[1:].replace(",", "").replace(".", "").isdigit()


@pytest.mark.parametrize("value", ["=1+1", "@x", "-a", "Ada", "a,=1", "+49 30", "\t", "'", ""])
def test_our_own_exports_can_be_imported_again(value: str) -> None:
    assert original_cell(safe_cell(value)) == value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a\nb", "line break"),
        ("a\rb", "line break"),
        ("a\x00b", "control"),
        ("a\u2028b", "control"),
        ("x" * 1_001, "longer"),
    ],
)
def test_values_no_field_may_hold_are_refused_with_a_sentence(text: str, says: str) -> None:
    found = refusal(text)
    assert found is not None and says in found
    assert refusal("Ada Lovelace") is None
