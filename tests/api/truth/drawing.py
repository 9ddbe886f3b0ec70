"""Questions as the description allows and forbids them: those at the edges of each field, then random ones, half of them wrong on purpose.

Random ones belong to the shape of an operation (its parameters and its body), not to its address: forty operations take an id and
nothing else, and what can be asked of one can be asked of all. What stands in their addresses and headers is the same in nearly
all shapes and made once for all of them: making one question takes as long as the product takes to answer it, and most of that
went there.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import pytest
from hypothesis import core
from hypothesis.control import BuildContext
from hypothesis.errors import StopTest, UnsatisfiedAssumption
from hypothesis.internal.conjecture.data import ConjectureData
from schemathesis import Case, GenerationMode
from schemathesis.core import NOT_SET
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation.drivers import CoverageGenerator
from schemathesis.generation.feedback import NO_FEEDBACK
from schemathesis.generation.overrides import Override
from schemathesis.specs.openapi import _hypothesis as making

Made = TypeVar("Made")
MOST_TRIES = 200
PARTS = ("path_parameters", "headers", "cookies", "query", "body", "media_type", "multipart_content_types")


def examples(operation: Any, number: int, dice: random.Random, seed: int) -> Iterator[Case]:
    edges = _edges(operation, dice)
    yield from edges if len(edges) <= number else dice.sample(edges, number)
    drawn = _of_shape(operation, seed)
    for index in range(max(number // 4, number - len(edges))):
        yield drawn.case(operation, index)


class _Drawn:
    """Random questions of one shape, each made when first needed and copied for every operation that asks it."""

    def __init__(self, operation: Any, said: str, seed: int) -> None:
        self.strategies = [operation.as_strategy(generation_mode=mode) for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)]
        self.seed, self.dice = seed, random.Random(said)
        self.made: list[tuple[dict[str, Any], Any]] = []
        self.taken: dict[str, int] = {}  # of what stands in addresses and headers: how many of each this shape has had

    def case(self, operation: Any, index: int) -> Case:
        while len(self.made) <= index:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(making, "get_parameters_value", self._made_once)
                one = _draw(lambda draw: cast(Case, draw(self.strategies[self.dice.random() < 0.5])), self.dice)
            self.made.append(({name: getattr(one, name) for name in PARTS}, one.meta))
        parts, meta = copy.deepcopy(self.made[index], {id(NOT_SET): NOT_SET})  # there is only one of it
        return cast(Case, operation.Case(**parts, _meta=meta))

    def _made_once(self, value: Any, location: ParameterLocation, draw: Any, operation: Any, ctx: Any, hooks: Any, mode: Any, config: Any, **more: Any) -> Any:
        """In place of Schemathesis' own function: each shape has the same ones in the same order, whichever comes first."""
        if location not in (ParameterLocation.PATH, ParameterLocation.HEADER):
            return _by_itself(value, location, draw, operation, ctx, hooks, mode, config, **more)
        said = f"{self.seed} {location} {mode} {json.dumps(operation.get_parameter_set(location).schema, sort_keys=True, default=str)}"
        made = _in_place.setdefault(f"{id(operation.schema)} {said}", [])
        index = self.taken[said] = self.taken.get(said, -1) + 1
        while len(made) <= index:
            dice = random.Random(f"{said} {len(made)}")
            made.append(_draw(lambda own: _by_itself(value, location, own, operation, ctx, hooks, mode, config, **more), dice))
        return copy.deepcopy(made[index], {id(NOT_SET): NOT_SET})


_by_itself = making.get_parameters_value
_in_place: dict[str, list[Any]] = {}
_drawn: dict[str, _Drawn] = {}


def _of_shape(operation: Any, seed: int) -> _Drawn:
    raw = operation.definition.raw
    said = [operation.method, raw.get("parameters"), raw.get("requestBody"), raw.get("security"), seed]
    shape = f"{id(operation.schema)} {json.dumps(said, sort_keys=True)}"
    if shape not in _drawn:
        _drawn[shape] = _Drawn(operation, json.dumps(said, sort_keys=True), seed)
    return _drawn[shape]


def _draw(make: Callable[[Any], Made], dice: random.Random) -> Made:
    """One example straight from a strategy: Hypothesis' engine would look for new paths through our code thrice as long."""
    for _ in range(MOST_TRIES):
        data = ConjectureData(random=random.Random(dice.randrange(2**64)))
        try:
            with BuildContext(data, wrapped_test=_draw):
                return make(data.draw)
        except (StopTest, UnsatisfiedAssumption):
            continue
    raise AssertionError("no example can be made from this description")


def _edges(operation: Any, dice: random.Random) -> list[Case]:
    """Each field at each of its edges and just beyond, all else being right: cheap to make, and most of what is ever found."""
    modes = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
    config = operation.schema.config.generation_for(operation=operation, phase="coverage")
    before, core.global_force_seed = core.global_force_seed, dice.randrange(2**32)
    try:
        return list(_covering(operation, modes, config))
    finally:
        core.global_force_seed = before


def _covering(operation: Any, modes: list[GenerationMode], config: Any) -> CoverageGenerator:
    return CoverageGenerator(
        operation=operation, generation_modes=modes, generation_config=config, auth_storage=None, override=Override(),
        feedback=NO_FEEDBACK,
    )
