"""Every route, asked by everybody, with every id replaced: three times, with both walls and with each of them alone."""

from __future__ import annotations

import time

import pytest
from flask import Flask

from tests.matrix.house import WALLS, standing
from tests.matrix.routes import cases

pytestmark = pytest.mark.thorough
PARTS = 3


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("walls", WALLS)
def test_every_route_keeps_to_its_declaration(app: Flask, database_url: str, walls: str, part: int) -> None:
    began = time.process_time()
    with standing(app, database_url, walls) as matrix:
        wrong = [
            sentence
            for case in [one for number, one in enumerate(cases(app)) if number % PARTS == part]
            for caller in matrix.callers.values()
            if case.realm in caller.realms
            for sentence in matrix.look(case, caller)
        ]
    print(f"{walls}, part {part}: {matrix.asked} requests, {time.process_time() - began:.0f} s of processor time")
    assert not wrong, f"{len(wrong)} of {matrix.asked}:\n" + "\n".join(wrong)
