"""Values of the trail as a person reads them."""

from __future__ import annotations

from typing import Any

import pytest

from app.blueprints.in_words import changes_in_words, in_words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (True, "yes"), (False, "no"), (None, "nothing"), ("", "nothing"), ([], "nothing"), ({}, "nothing"), (0, "0"), ("fill", "fill"),
        ([3, 4], "3, 4"), ({"mode": "reduced", "percent": 50}, "mode: reduced; percent: 50"), ({"allow_elsewhere": False}, "also if active elsewhere: no"),
        ([{"weekday": day, "from": "09:00", "to": "17:00"} for day in range(5)], "Mon–Fri 09:00–17:00"),
        ([{"weekday": 9, "from": "x", "to": "y"}], "weekday: 9; from: x; to: y"),
    ],
)  # fmt: skip
def test_no_value_is_shown_in_words_of_a_programming_language(value: Any, words: str) -> None:
    assert in_words(value) == words


def test_a_change_is_told_by_what_a_person_calls_it_and_once() -> None:
    told = changes_in_words([("address", None, "a@b.test"), ("address_key", None, "a@b.test"), ("daily_cap", 40, 20), ("allow_elsewhere", False, True)])
    assert told == [("address", "", "a@b.test"), ("messages a day", "40", "20"), ("also if active elsewhere", "no", "yes")]
    assert changes_in_words([("email_key", "a", "b")]) == [("email key", "a", "b")], "a line never says nothing"
