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


# The names of a lead's own values, in the form in which texts name them; once per lead, however many names are asked for.
_OWN = """
CROSS JOIN LATERAL (
  SELECT coalesce(array_agg(regexp_replace(lower(trim(kv.key)), '[ .-]+', '_', 'g')), '{}') AS names
  FROM jsonb_each_text(l.custom) kv WHERE trim(kv.value) <> '') own
"""


def missing(names: Iterable[str], prefix: str = "v") -> tuple[list[str], dict[str, Any]]:
    """An SQL test for each of these values that ``l`` (leads, and what ``own_values`` adds) lacks it; custom names travel as parameters."""
    tests: list[str] = []
    values: dict[str, Any] = {}
    for place, name in enumerate(names):
        if name in _COLUMNS:
            tests.append(f"coalesce(trim(l.{name}), '') = ''")
        else:
            values[f"{prefix}{place}"] = name
            tests.append(f"NOT :{prefix}{place} = ANY (own.names)")
    return tests, values


def own_values(tests: Iterable[str]) -> str:
    """What stands behind ``leads l`` in FROM for these tests."""
    return _OWN if any("own.names" in test for test in tests) else ""


def stops(client_id: int, campaign_id: int, enrollment_ids: Sequence[int]) -> dict[int, frozenset[int]]:
    """Enrollment → the steps before which it would stop, because its lead has no value for their texts. Others are left out."""
    needs = {step.id: needed([step]) for step in steps_of(client_id, campaign_id)}
    names = list(dict.fromkeys(name for wanted in needs.values() for name in wanted))
    if not names or not enrollment_ids:
        return {}
    tests, values = missing(names)
    lacking = ", ".join(f"CASE WHEN {test} THEN {place} END" for place, test in enumerate(tests))
    rows = db.session.execute(
        text(
            f"SELECT * FROM (SELECT e.id, array_remove(ARRAY[{lacking}], NULL) AS places"
            # joined, not ``= ANY``: that took 34 s where this takes 1.4, for a hundred thousand leads of three messages
            " FROM unnest(CAST(:ids AS bigint[])) AS wanted (id) JOIN enrollments e ON e.id = wanted.id JOIN leads l ON l.id = e.lead_id"
            f" {own_values(tests)} WHERE e.client_id = :client AND e.campaign_id = :campaign) x WHERE cardinality(places) > 0"
        ),
        {"client": client_id, "campaign": campaign_id, "ids": list(enrollment_ids), **values},
    )
    held = {place: frozenset(step for step, wanted in needs.items() if name in wanted) for place, name in enumerate(names)}
    return {row.id: frozenset().union(*(held[place] for place in row.places)) for row in rows}
