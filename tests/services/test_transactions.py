"""Bells ring after the commit, never at a savepoint, never after a rollback."""

from __future__ import annotations

import pytest
from flask import Flask
from sqlalchemy import text

from app.core.db import on_commit, outside_transaction, transaction
from app.core.extensions import db


def test_what_waits_for_the_commit_runs_once_and_after_it(app: Flask) -> None:
    rung: list[str] = []
    with transaction():
        on_commit(lambda: rung.append("bell"))
        with db.session.begin_nested():
            db.session.execute(text("SELECT 1"))
        assert rung == []
    assert rung == ["bell"]


def test_a_failed_savepoint_keeps_the_bells_of_the_rest(app: Flask) -> None:
    rung: list[str] = []
    with transaction():
        on_commit(lambda: rung.append("bell"))
        with pytest.raises(ZeroDivisionError), db.session.begin_nested():
            raise ZeroDivisionError
    assert rung == ["bell"]


def test_a_rollback_forgets_them(app: Flask) -> None:
    rung: list[str] = []
    with pytest.raises(ZeroDivisionError), transaction():
        on_commit(lambda: rung.append("bell"))
        raise ZeroDivisionError
    with transaction():
        pass
    assert rung == []


def test_asking_the_network_in_between_commits_what_was_done_first(app: Flask) -> None:
    rung: list[str] = []
    with transaction():
        on_commit(lambda: rung.append("bell"))
        with outside_transaction():
            assert rung == ["bell"]
            assert not db.session().in_transaction()


def test_transactions_do_not_nest(app: Flask) -> None:
    with transaction(), pytest.raises(RuntimeError), transaction():
        pass
