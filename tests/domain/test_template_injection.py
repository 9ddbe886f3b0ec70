"""Nothing that anybody types is evaluated, as a template or as a value, and nothing takes longer than 50 ms to be refused or written."""

from __future__ import annotations

import ast
import html
import re
import time
from typing import Any

import pytest

from app.domain.personalisation import MissingVariable, OutputTooLarge, TemplateError, compile_template, render
from bench.figures import loop_seconds
from tests.conftest import ROOT
from tests.fixtures.template_payloads import ANSWER, BOMBS, EVALUATED, INSIDES

FIELDS = ("first_name", "last_name", "company", "title", "email", "linkedin_url", "timezone", "language", "note")
KINDS = ("subject", "text", "html")
VALUES = dict.fromkeys(FIELDS, "Plain")
#: 50 ms, as turns of the calibration loop: 1 µs each where this was set, more on a slower or busier machine.
LONGEST_TURNS = 50_000
DOORS = {"render_template_string", "from_string", "eval", "exec", "__import__", "system", "popen"}


def cost(action: Any) -> tuple[Any, float]:
    """(what came out, turns of the cheapest of up to four tries): what a slow or busy machine adds is not the input's doing."""
    best = 1e9
    for _ in range(4):
        began = time.process_time()
        result = action()
        took = time.process_time() - began
        best = min(best, took / (turn() if took > 0.02 else QUICKEST_TURN_S))
        if best < LONGEST_TURNS:
            break
    return result, best


QUICKEST_TURN_S = 1e-6


def turn() -> float:
    """Seconds of one turn just now; measured beside what takes long, as a machine's speed changes by half within minutes."""
    return max(QUICKEST_TURN_S, loop_seconds(10) / 10_000)


def written(source: str, kind: Any, values: dict[str, Any] = VALUES) -> str | None:
    """What comes out; None when it is refused with words."""
    try:
        return render(compile_template.__wrapped__(source, kind), values, 1)  # not what was compiled before
    except (TemplateError, MissingVariable, OutputTooLarge) as refusal:
        assert str(refusal)
        return None


def evaluated(source: str, result: str | None) -> list[str]:
    """What stands in the result and was not typed."""
    return [] if result is None else [word for word in (ANSWER, *INSIDES) if word in result and word not in source and word not in html.escape(source)]


@pytest.mark.parametrize("kind", KINDS)
def test_no_entry_is_evaluated_as_a_template_or_takes_longer_than_fifty_milliseconds(kind: Any) -> None:
    assert len(EVALUATED) >= 1_000
    wrong = []
    for source in (*EVALUATED, *BOMBS):
        result, took = cost(lambda: written(source, kind))  # noqa: B023
        wrong += [f"{source[:60]}: {found}" for found in evaluated(source, result)] + ([f"{source[:60]}: {took:.0f} turns"] if took > LONGEST_TURNS else [])
    assert wrong == []


@pytest.mark.parametrize("kind", KINDS)
def test_no_entry_is_evaluated_as_the_value_of_any_field(kind: Any) -> None:
    template = compile_template(" ; ".join("{{" + name + "}}" for name in FIELDS), kind)
    for source in (*EVALUATED, *BOMBS):
        values = dict.fromkeys(FIELDS, source)
        try:
            result, took = cost(lambda: render(template, values, 1))  # noqa: B023
        except OutputTooLarge:
            continue
        assert evaluated(source, result) == [] and took < LONGEST_TURNS, (source[:60], took)
        if kind == "text" and source.isprintable() and source == source.strip():
            assert result == " ; ".join([source] * len(FIELDS)), "a value is carried as it is"


def test_the_product_has_no_door_through_which_text_becomes_code() -> None:
    for path in [*(ROOT / "app").rglob("*.py"), *(ROOT / "jobs").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id if isinstance(node.func, ast.Name) else ""
                assert name not in DOORS, f"{path.name}:{node.lineno}"
                loads = isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name) and node.func.value.id in {"pickle", "marshal", "yaml"}
                assert not loads, f"{path.name}:{node.lineno}"
    for path in (ROOT / "app" / "templates").rglob("*.html"):
        assert not re.search(r"\|\s*safe\b|autoescape false", path.read_text()), path.name
