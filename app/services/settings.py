"""Settings that live in the ledger: caps, default hours, lists. Every change has a version and a line in the trail.

``get`` answers from a copy at most COPY_SECONDS old; the permit reads the rows themselves under the
hot lock, which a change of a cap takes, so a lowered cap holds from the next permit on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from app.core import bell
from app.core.db import current_scope, lock_hot, on_commit
from app.core.errors import Conflict, Invalid
from app.core.extensions import db
from app.core.queue import Job, ring_job_after_commit
from app.domain.calendar_settings import parse_windows, windows_as_json
from app.domain.working_time import DEFAULT_WINDOWS
from app.models import Setting
from app.services import audit
from app.strings import t

COPY_SECONDS = 1.0  # a change is promised to hold everywhere within two seconds
INSTANCE = 0
LARGEST_CAP = 10_000_000


@dataclass(frozen=True)
class Definition:
    """One setting: who has it, what it is before anybody sets it, and how typed or sent values are read.

    ``read`` raises ValueError with a sentence. ``cap``: a permit depends on it.
    """

    key: str
    scope: str
    default: Any
    read: Callable[[Any], Any]
    cap: bool = False


def _number_or_none(raw: Any) -> int | None:
    text = str(raw).strip() if raw is not None else ""
    if not text:
        return None
    if isinstance(raw, bool) or not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= LARGEST_CAP:
        raise ValueError(t("settings.cap_range", limit=LARGEST_CAP))
    return int(text)


def _flag(raw: Any) -> bool:
    if not isinstance(raw, bool):
        raise ValueError(t("settings.true_or_false"))
    return raw


def _yes_or_no(raw: Any) -> bool:
    """A tick of a form, or true and false of a program."""
    if raw not in ("1", "", True, False, None):
        raise ValueError(t("settings.yes_or_no"))
    return raw in ("1", True)


def _domains(raw: Any) -> list[str]:
    names = raw.replace(",", " ").split() if isinstance(raw, str) else raw
    if not isinstance(names, list) or len(names) > 500 or not all(isinstance(name, str) and 3 < len(name) < 254 and "." in name for name in names):
        raise ValueError(t("settings.domains_shape"))
    return sorted({name.lower().rstrip(".") for name in names})


def _windows(raw: Any) -> list[dict[str, object]]:
    return windows_as_json(parse_windows(raw))


DEFINITIONS: Mapping[str, Definition] = {
    one.key: one
    for one in (
        Definition("instance_minute_cap", "instance", None, _number_or_none, cap=True),
        Definition("instance_hour_cap", "instance", None, _number_or_none, cap=True),
        Definition("bulk_ready_domains", "instance", [], _domains, cap=True),
        Definition("api_minute_limit", "instance", 1_200, _number_or_none),
        Definition("scheduler_paused", "instance", False, _flag),
        Definition("second_factor_required", "client", False, _yes_or_no),
        Definition("client_hour_cap", "client", None, _number_or_none, cap=True),
        Definition("default_windows", "client", windows_as_json(DEFAULT_WINDOWS), _windows),
    )
}


@dataclass(frozen=True)
class Value:
    """A setting as it is now; version 0: nobody has set it yet."""

    value: Any
    version: int = 0


_copies: dict[tuple[str, int, str], tuple[float, Value]] = {}


def get(scope: str, scope_id: int, key: str) -> Any:
    """The value of ``key`` for an ``instance`` (scope_id 0) or ``client``, at most COPY_SECONDS old."""
    place = (scope, scope_id, key)
    found = _copies.get(place)
    if found is None or time.monotonic() - found[0] > COPY_SECONDS:
        if len(_copies) > 10_000:
            _copies.clear()
        found = _copies[place] = (time.monotonic(), current(scope, scope_id, key))
    return found[1].value


def forget_copies() -> None:
    """Ask the ledger at the next question: this process has changed something."""
    _copies.clear()


def current(scope: str, scope_id: int, key: str) -> Value:
    """The value and its version, from the ledger."""
    definition = _definition(scope, key)
    row = db.session.execute(
        select(Setting.value, Setting.version).where(Setting.scope_kind == scope, Setting.scope_id == scope_id, Setting.key == key)
    ).first()
    return Value(row.value, row.version) if row else Value(definition.default)


def change(scope: str, scope_id: int, values: Mapping[str, Any], *, versions: Mapping[str, int] | None = None) -> list[str]:
    """Set several keys of one scope; the names of those that really changed.

    ``versions``: the version each was read at. Raises Invalid per field, Conflict when somebody changed one meanwhile.
    """
    read, faults = {}, {}
    for key, raw in values.items():
        try:
            read[key] = _definition(scope, key).read(raw)
        except ValueError as error:
            faults[key] = [str(error)]
    if faults:
        raise Invalid(t("fields.marked"), details=faults)
    if any(DEFINITIONS[key].cap for key in read):
        lock_hot()
    changed = [key for key, value in read.items() if _store(scope, scope_id, key, value, (versions or {}).get(key))]
    if any(DEFINITIONS[key].cap for key in changed):
        ring_job_after_commit(Job.LOOK_AGAIN)
    if changed:
        on_commit(forget_copies)
        bell.ring_after_commit(bell.SETTINGS)
        bell.ring_after_commit(bell.DISPATCH)
    return changed


def _definition(scope: str, key: str) -> Definition:
    found = DEFINITIONS.get(key)
    if found is None or found.scope != scope:
        raise Invalid.field(key, t("settings.no_such_setting"))
    return found


def _store(scope: str, scope_id: int, key: str, value: Any, expected: int | None) -> bool:
    row = db.session.scalar(
        select(Setting).where(Setting.scope_kind == scope, Setting.scope_id == scope_id, Setting.key == key).with_for_update()
    )
    before = Value(row.value, row.version) if row else Value(DEFINITIONS[key].default)
    if expected is not None and expected != before.version:
        raise Conflict(t("settings.changed_meanwhile"), code="changed_meanwhile")
    if before.value == value:
        return False
    client_id = scope_id if scope == "client" else None
    if row is None:
        row = Setting(scope_kind=scope, scope_id=scope_id, client_id=client_id, key=key, version=0)
        db.session.add(row)
    row.value, row.version = value, before.version + 1
    row.changed_by, row.changed_at = current_scope().user_id, func.clock_timestamp()
    db.session.flush()
    audit.record(
        "setting.change", f"{scope} setting", f"{scope_id}:{key}", client_id=client_id,
        before={"value": before.value, "version": before.version}, after={"value": value, "version": row.version},
    )  # fmt: skip
    return True
