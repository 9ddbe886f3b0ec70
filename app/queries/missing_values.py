"""Values that texts need and leads do not have: whom nothing can be written to, and before which message a lead would stop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import text

from app.core.extensions import db
from app.domain.personalisation import KNOWN_VARIABLES, TemplateError, compile_template
from app.models import Step
from app.queries.campaigns import steps as steps_of

_ALWAYS = {"sender_name", "sender_first_name", "sender_email", "client_name", "unsubscribe_url", "email"}
_COLUMNS = {variable.name for variable in KNOWN_VARIABLES} - _ALWAYS


def needed(steps: Iterable[Step]) -> list[str]:
    """Variables without which some lead could not get one of these messages; a text that cannot be read needs none."""
    names: dict[str, None] = {}
    for step in steps:
        for kind, source in (("subject", step.subject), ("text", step.text), ("html", step.html)):
            try:
                required = compile_template(source, kind).required
            except TemplateError:
                continue
            names.update(dict.fromkeys(name for name in required if name not in _ALWAYS))
    return list(names)


def missing_any(names: Iterable[str], prefix: str = "v") -> tuple[str, dict[str, Any]]:
    """An SQL test over ``l`` (leads) that one of these values is missing; custom names travel as parameters (``prefix`` and a number)."""
    tests: list[str] = []
    values: dict[str, Any] = {}
    for place, name in enumerate(names):
        if name in _COLUMNS:
            tests.append(f"coalesce(trim(l.{name}), '') = ''")
        else:
            values[f"{prefix}{place}"] = name
            tests.append(
                "NOT EXISTS (SELECT 1 FROM jsonb_each_text(l.custom) kv WHERE trim(kv.value) <> ''"
                f" AND regexp_replace(lower(trim(kv.key)), '[ .-]+', '_', 'g') = :{prefix}{place})"
            )
    return (" OR ".join(tests) or "false"), values


def stops(client_id: int, campaign_id: int, enrollment_ids: Sequence[int]) -> dict[int, frozenset[int]]:
    """Enrollment → the steps before which it would stop, because its lead has no value for their texts. Others are left out."""
    tests: dict[int, str] = {}
    values: dict[str, Any] = {"client": client_id, "campaign": campaign_id, "ids": list(enrollment_ids)}
    for step in steps_of(client_id, campaign_id):
        names = needed([step])
        if names:
            tests[step.id], given = missing_any(names, f"s{step.id}_")
            values |= given
    if not tests or not enrollment_ids:
        return {}
    lacking = ", ".join(f"CASE WHEN {test} THEN {number} END" for number, test in tests.items())
    rows = db.session.execute(
        text(
            f"SELECT * FROM (SELECT e.id, array_remove(ARRAY[{lacking}], NULL) AS steps FROM enrollments e JOIN leads l ON l.id = e.lead_id"
            " WHERE e.client_id = :client AND e.campaign_id = :campaign AND e.id = ANY(:ids)) x WHERE cardinality(steps) > 0"
        ),
        values,
    )
    return {row.id: frozenset(row.steps) for row in rows}
