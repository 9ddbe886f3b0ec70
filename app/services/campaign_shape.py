"""What people and programs type about a campaign → values of its columns; every fault is collected under its field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import select

from app.core.errors import Invalid
from app.core.extensions import db
from app.domain.calendar_settings import CalendarError, parse_calendar, windows_as_json
from app.domain.names import tidy_name
from app.domain.personalisation import TemplateError, compile_template
from app.domain.working_time import DelayUnit
from app.models import Sender
from app.strings import t

MAX_NAME = 200
MAX_CAP = 100_000
MAX_STEPS = 50
MAX_SUBJECT = 998
MAX_TEXT = 100_000
LONGEST_DELAY = {"working_days": 260, "days": 365, "hours": 24 * 365, "minutes": 60 * 24 * 365}
CALENDAR_FIELDS = ("timezone", "windows", "closed_days", "weekend", "holidays_country")
FAULTY = t("fields.another_look")

Errors = dict[str, list[str]]
_KINDS: dict[str, Literal["subject", "text", "html"]] = {"subject": "subject", "text": "text", "html": "html"}


@dataclass(frozen=True)
class TextProblem:
    """A fault in a text: ``field`` subject, text or html; ``line``/``column`` from 1 (None where there is none)."""

    field: str
    message: str
    line: int | None = None
    column: int | None = None


@dataclass
class CampaignShape:
    """What was typed, understood. ``columns``: of ``campaigns``; None: not mentioned."""

    columns: dict[str, Any] = field(default_factory=dict)
    sender_ids: list[int] | None = None
    steps: list[dict[str, Any]] | None = None


def read_campaign(client_id: int, values: Mapping[str, Any], present: Mapping[str, Any], *, new: bool) -> CampaignShape:
    """Understand ``values``; ``present``: the calendar's fields as stored, for those not mentioned. Raises Invalid."""
    errors: Errors = {}
    shape = CampaignShape()
    if new or "name" in values:
        shape.columns["name"] = _name(values.get("name"), errors)
    if new or any(name in values for name in CALENDAR_FIELDS):
        shape.columns.update(_calendar(values, present, errors))
    for name in ("daily_cap", "daily_new_leads"):
        if name in values:
            shape.columns[name] = _cap(values[name], name, errors)
    if "allow_elsewhere" in values:
        shape.columns["allow_elsewhere"] = truth(values["allow_elsewhere"])
    if values.get("mailbox_ids") is not None:
        shape.sender_ids = _senders(client_id, values["mailbox_ids"], errors)
    if values.get("steps") is not None:
        shape.steps = _steps(values["steps"], errors)
    if errors:
        raise Invalid(FAULTY, details=errors)
    return shape


def _add(errors: Errors, name: str, sentence: str) -> None:
    errors.setdefault(name, []).append(sentence)


def _name(value: object, errors: Errors) -> str:
    try:
        return tidy_name(value, MAX_NAME)
    except ValueError as fault:
        _add(errors, "name", str(fault))
    return ""


def _calendar(values: Mapping[str, Any], present: Mapping[str, Any], errors: Errors) -> dict[str, Any]:
    given = {name: values[name] if name in values else present.get(name) for name in CALENDAR_FIELDS}
    try:
        calendar = parse_calendar(given, default_zone=str(present.get("timezone") or "UTC"))
    except CalendarError as error:
        errors.update(error.fields)
        return {}
    return {
        "timezone": calendar.zone,
        "windows": windows_as_json(calendar.windows),
        "closed_days": sorted(day.isoformat() for day in calendar.closed_days),
        "weekend": {"mode": str(calendar.weekend), "percent": calendar.weekend_percent},
        "holidays_country": calendar.country or None,
    }


def whole_number(value: object) -> int | None:
    """An integer from JSON or a form; None for what is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit() and len(value.strip()) < 15:
        return int(value.strip())
    return None


def truth(value: object) -> bool:
    """A tick from JSON or a form."""
    return value is True or str(value).lower() in {"true", "1", "on", "yes"}


def _cap(value: object, name: str, errors: Errors) -> int | None:
    if value is None or value == "":
        return None
    number = whole_number(value)
    if number is None or not 1 <= number <= MAX_CAP:
        _add(errors, name, t("sequences.cap_range", limit=MAX_CAP))
        return None
    return number


def _senders(client_id: int, given: object, errors: Errors) -> list[int]:
    ids = [whole_number(one) for one in given] if isinstance(given, Sequence) and not isinstance(given, str) else [None]
    wanted = list(dict.fromkeys(number for number in ids if number is not None))
    if None in ids:
        _add(errors, "mailbox_ids", t("sequences.mailboxes_shape"))
        return []
    statement = select(Sender.id).where(Sender.client_id == client_id, Sender.id.in_(wanted), Sender.deleted_at.is_(None))
    known = set(db.session.scalars(statement))
    for number in wanted:
        if number not in known:
            _add(errors, "mailbox_ids", t("sequences.no_such_mailbox", number=number))
    return wanted


def _steps(given: object, errors: Errors) -> list[dict[str, Any]]:
    if not isinstance(given, Sequence) or isinstance(given, str):
        _add(errors, "steps", t("sequences.steps_shape"))
        return []
    if len(given) > MAX_STEPS:
        _add(errors, "steps", t("sequences.most_steps", limit=MAX_STEPS))
        return []
    found = []
    for index, entry in enumerate(given):
        own: Errors = {}
        if isinstance(entry, Mapping):
            found.append(step_columns(entry, own))
        else:
            _add(own, "step", t("sequences.step_shape"))
        for name, sentences in own.items():
            for sentence in sentences:
                _add(errors, f"steps.{index}.{name}", sentence)
    return found


def read_step(values: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a step that ``values`` mention. Raises Invalid."""
    errors: Errors = {}
    columns = step_columns(values, errors)
    if errors:
        raise Invalid(FAULTY, details=errors)
    return columns


def step_columns(values: Mapping[str, Any], errors: Errors) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    if "channel" in values:
        columns["channel"] = values["channel"]
        if values["channel"] != "email":
            _add(errors, "channel", t("sequences.channel_choice"))
    columns.update(_delay(values, errors))
    for name, limit in (("subject", MAX_SUBJECT), ("text", MAX_TEXT), ("html", MAX_TEXT)):
        if name in values:
            columns[name] = _text(values[name], name, limit, errors)
    return columns


def _delay(values: Mapping[str, Any], errors: Errors) -> dict[str, Any]:
    delay = values.get("delay")
    if delay is None:
        delay = {name[6:]: values[name] for name in ("delay_value", "delay_unit") if name in values}
    if not isinstance(delay, Mapping):
        _add(errors, "delay", t("sequences.delay_shape"))
        return {}
    columns: dict[str, Any] = {}
    unit = str(delay.get("unit", "working_days"))
    if unit not in set(DelayUnit):
        _add(errors, "delay", t("sequences.unit_choice"))
        return {}
    if "unit" in delay:
        columns["delay_unit"] = unit
    if "value" in delay:
        value = whole_number(delay["value"])
        if value is None or not 0 <= value <= LONGEST_DELAY[unit]:
            _add(errors, "delay", t("sequences.delay_range", limit=LONGEST_DELAY[unit]))
        else:
            columns["delay_value"] = value
    return columns


def _text(value: object, name: str, limit: int, errors: Errors) -> str:
    text = str(value or "").replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "")
    if name == "subject":
        text = " ".join(text.split())
    if len(text) > limit:
        _add(errors, name, t("fields.at_most", limit=limit))
        return text
    for problem in text_problems(name, text):
        _add(errors, name, t("texts.at_place", line=problem.line, column=problem.column, said=problem.message))
    return text


def text_problems(name: str, source: str) -> list[TextProblem]:
    """The fault of one text as a template, if it has one."""
    try:
        compile_template(source, _KINDS[name])
    except TemplateError as error:
        return [TextProblem(name, error.message, error.line, error.column)]
    return []
