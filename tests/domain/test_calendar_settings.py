from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from app.domain.calendar_settings import CalendarError, describe, parse_calendar, windows_as_json
from app.domain.public_holidays import UnknownCountry, country_holidays, normalise_country
from app.domain.working_time import WeekendMode


def test_an_empty_form_gives_the_products_defaults() -> None:
    calendar = parse_calendar({})
    assert describe(calendar) == "Mon–Fri 09:00–17:00 (Asia/Kolkata), closed at weekends"


def test_everything_that_may_be_written_is_read() -> None:
    calendar = parse_calendar(
        {
            "timezone": "Europe/Berlin",
            "windows": [
                {"weekday": 0, "from": "09:00", "to": "12:00"},
                {"weekday": 0, "from": "11:00", "to": "13:00"},
                {"weekday": 5, "from": "10:00", "to": "24:00"},
            ],
            "closed_days": ["2026-12-24"],
            "weekend": {"mode": "reduced", "percent": 30},
            "holidays_country": "de-by",
        },
        seed="7",
    )
    assert calendar.windows[0] == ((540, 780),)
    assert calendar.windows[5] == ((600, 1440),)
    assert calendar.closed_days == {date(2026, 12, 24)}
    assert (calendar.weekend, calendar.weekend_percent, calendar.weekend_key) == (WeekendMode.REDUCED, 30, "7")
    assert calendar.country == "DE-BY"
    assert parse_calendar({"windows": windows_as_json(calendar.windows)}).windows == calendar.windows


@pytest.mark.parametrize(
    ("data", "field", "says"),
    [
        ({"timezone": "Mars/Olympus"}, "timezone", "time zone"),
        ({"timezone": "../../etc/passwd"}, "timezone", "time zone"),
        ({"windows": []}, "windows", "At least one"),
        ({"windows": "always"}, "windows", "list"),
        ({"windows": [{"weekday": 7, "from": "09:00", "to": "10:00"}]}, "windows", "0 (Monday)"),
        ({"windows": [{"weekday": True, "from": "09:00", "to": "10:00"}]}, "windows", "0 (Monday)"),
        ({"windows": [{"weekday": 1, "from": "9", "to": "10:00"}]}, "windows", "HH:MM"),
        ({"windows": [{"weekday": 1, "from": "22:00", "to": "06:00"}]}, "windows", "split a night"),
        ({"windows": [{"weekday": 1, "from": "22:00", "to": "24:01"}]}, "windows", "HH:MM"),
        ({"closed_days": ["tomorrow"]}, "closed_days", "not a date"),
        ({"closed_days": "2026-12-24"}, "closed_days", "list"),
        ({"weekend": {"mode": "party"}}, "weekend", "closed or reduced"),
        ({"weekend": {"mode": "reduced"}}, "weekend", "percent"),
        ({"weekend": {"percent": 30}}, "weekend", "needs its mode"),
        ({"weekend": {"mode": "reduced", "percent": 101}}, "weekend", "percent"),
        ({"holidays_country": "Atlantis"}, "holidays_country", "No holidays"),
        ({"holidays_country": "DE-XX"}, "holidays_country", "no part"),
    ],
)
def test_each_wrong_field_is_named_with_what_to_do(data: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(CalendarError) as caught:
        parse_calendar(data)
    assert set(caught.value.fields) == {field}
    assert says in caught.value.fields[field][0]


def test_all_wrong_fields_are_told_at_once() -> None:
    with pytest.raises(CalendarError) as caught:
        parse_calendar({"timezone": "nowhere", "windows": [], "weekend": 5})
    assert set(caught.value.fields) == {"timezone", "windows", "weekend"}


def test_holidays_come_by_country_and_part() -> None:
    assert date(2026, 10, 3) in country_holidays("de", [2026])
    assert date(2026, 1, 6) not in country_holidays("DE", [2026])
    assert date(2026, 1, 6) in country_holidays("DE-BY", [2026])
    assert date(2027, 1, 26) in country_holidays("in", [2026, 2027])
    assert normalise_country(" de_by ") == "DE-BY"
    with pytest.raises(UnknownCountry):
        country_holidays("??", [2026])


def test_a_country_that_rests_on_other_days_has_its_own_weekend() -> None:
    assert parse_calendar({"holidays_country": "SA"}).weekend_days == {4, 5}
