"""Names of people and things: one line, bounded, nothing unseen in it."""

from __future__ import annotations

import pytest

from app.domain.lead_values import lead_values
from app.domain.names import tidy_name, without_turns

TURNS = [chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))]


@pytest.mark.parametrize("turn", TURNS)
def test_what_turns_the_direction_of_writing_never_reaches_a_name_or_a_greeting(turn: str) -> None:
    assert tidy_name(f"Acme {turn}gnp.exe", 120) == "Acme gnp.exe"
    found = lead_values({"first_name": f"{turn}annA", "custom.city": f"Porto{turn}"})
    assert (found.first_name, found.custom) == ("annA", {"city": "Porto"})


def test_letters_of_every_direction_and_joined_signs_stay_as_they_are() -> None:
    for name in ("دانا عزیزی", "שרה לוי", "می‌خواهم", "José Núñez", "王小明", "👩‍💻 Ada"):
        assert tidy_name(name, 120) == name and without_turns(name) == name


def test_spaces_become_single_ones_and_line_ends_are_spaces() -> None:
    assert tidy_name("  Ada \n  Byron\t ", 120) == "Ada Byron"


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [("", "Write a name."), (None, "Write a name."), ("\u202e \u2066", "Write a name."), ("a" * 121, "at most 120 characters; this one has 121"),
     ("Ada\x00", "control characters"), ("Ada\x9b", "control characters"), ("A\ud800", "control characters")],
)  # fmt: skip
def test_what_is_no_name_is_refused_with_what_to_do(raw: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        tidy_name(raw, 120)
