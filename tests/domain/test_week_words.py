"""A week's hours in one line, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.calendar_settings import parse_windows, windows_as_json
from app.domain.week_words import read_week, write_week


@pytest.mark.parametrize(
    ("line", "written"),
    [
        ("Mon-Fri 9-17", "Mon–Fri 09:00–17:00"),
        ("mon – wed 08:30 - 12:00, 13-17;  Sat 10:00–12:00", "Mon–Wed 08:30–12:00, 13:00–17:00; Sat 10:00–12:00"),
        ("Mon, Thu 9-17", "Mon 09:00–17:00; Thu 09:00–17:00"),
        ("Sat-Mon 10-11\n\n", "Mon 10:00–11:00; Sat–Sun 10:00–11:00"),
        ("0:00-24:00", "Mon–Sun 00:00–24:00"),
    ],
)
def test_what_people_write_is_read(line: str, written: str) -> None:
    assert write_week(parse_windows(read_week(line))) == written


@pytest.mark.parametrize("line", ["always", "Mon", "Mon 9", "Mon 17-9", "Foo 9-17", "Mon 9-25", "Mon 9-17 or so", "-" * 400, "x" * 501])
def test_what_cannot_be_read_says_how_to_write_it(line: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_windows(read_week(line))


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 23), st.integers(1, 24)).filter(lambda one: one[1] < one[2]), min_size=1, max_size=12))
def test_what_is_written_is_read_as_the_same_hours(spans: list[tuple[int, int, int]]) -> None:
    windows = parse_windows([{"weekday": day, "from": f"{opens}:00", "to": f"{closes}:00"} for day, opens, closes in spans])
    assert windows_as_json(parse_windows(read_week(write_week(windows)))) == windows_as_json(windows)
