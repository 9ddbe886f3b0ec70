"""The streams, which have no end: one's own client's names, never another's, and none for whoever has no seat."""

from __future__ import annotations

import itertools

import pytest
from flask import Flask

from app.blueprints import stream
from app.core.bell import bell
from tests.matrix.house import standing
from tests.web.page_client import as_web

pytestmark = pytest.mark.thorough


def test_everybody_hears_of_their_own_client_alone(app: Flask, database_url: str) -> None:
    with standing(app, database_url) as matrix:
        home = matrix.room.app
        home.extensions.pop("live_hub", None)
        ours, theirs = matrix.worlds["ours"].client.id, matrix.worlds["theirs"].client.id
        try:
            for caller, (realm, path) in itertools.product(matrix.callers.values(), (("page", "/stream"), ("api", "/api/stream"))):
                answer = as_web(lambda path=path, caller=caller, realm=realm: matrix.client.get(path, headers=caller.headers[realm], buffered=False))
                assert answer.status_code == (200 if caller.enters(realm) else 401), (caller.name, path)
                if answer.status_code == 200:
                    told = _told(answer, ours, theirs, list(caller.roles))
                    seats = {"ours": f'"client_id": {ours}', "theirs": f'"client_id": {theirs}'}
                    for world, sign in seats.items():
                        assert (sign in told) is (world in caller.roles), (caller.name, path, told)
                    assert not any(word in told for word in caller.forbidden)
                answer.close()
        finally:
            stream.hub_of(home).stopping.set()
            home.extensions.pop("live_hub", None)


def _told(answer: object, ours: int, theirs: int, roles: list[str]) -> str:
    """What came until the second ``resync``, which is rung on every stream after both clients' names."""
    lines = iter(answer.response)  # type: ignore[attr-defined]
    told = _text(next(lines))
    bell().ring_live(theirs, ["conversation-42001001"])
    bell().ring_live(ours, ["conversation-41001001"])
    wanted = {"ours": f'"client_id": {ours}', "theirs": f'"client_id": {theirs}'}
    last = next((wanted[role] for role in roles), None)
    while last is not None and last not in told:
        told += _text(next(lines))
    return told


def _text(part: object) -> str:
    return part.decode() if isinstance(part, bytes) else str(part)
