"""``db`` bound to a throw-away database for a while; the process's own database, clock, bell and vault stay as they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask
from sqlalchemy import event

from app.core.config import sqlalchemy_url
from app.core.db import take_throw_away_role
from app.core.extensions import db


@contextmanager
def bound_to(url: str) -> Iterator[None]:
    """Inside the block sessions belong to the database at ``url``. An application of its own carries them: no edges, no tools."""
    bare = Flask("throw-away")
    options = {"pool_size": 1, "max_overflow": 2, "hide_parameters": True}
    bare.config.update({"SQLALCHEMY_DATABASE_URI": sqlalchemy_url(url), "SQLALCHEMY_ENGINE_OPTIONS": options})
    db.init_app(bare)
    with bare.app_context():
        event.listen(db.engine, "connect", take_throw_away_role)
        try:
            yield
        finally:
            db.session.remove()
            db.engine.dispose()
