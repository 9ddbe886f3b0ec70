"""For machines and their keepers: is the process alive and ready, and what does the API look like?"""

from __future__ import annotations

import redis
from flask import Blueprint, jsonify, render_template
from flask.typing import ResponseReturnValue
from sqlalchemy import text

from app.blueprints.access import public, unguarded
from app.core.bell import bell
from app.core.extensions import db

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
@unguarded
def healthz() -> ResponseReturnValue:
    return jsonify(status="ok")


@blueprint.get("/readyz")
@public
def readyz() -> ResponseReturnValue:
    """200 when the database answers and is at head; without Redis it is still ready, only slower to notice."""
    from app.queries.instance import database_at_head

    checks = {"database": "ok" if database_at_head(db.session.connection()) else "behind", "redis": _redis()}
    db.session.execute(text("SELECT 1"))
    ready = checks["database"] == "ok"
    return jsonify(status="ready" if ready else "not ready", checks=checks), 200 if ready else 503


@blueprint.get("/openapi.json")
@unguarded
def openapi() -> ResponseReturnValue:
    from app.blueprints.api.openapi import build

    return jsonify(build())


@blueprint.get("/docs")
@unguarded
def docs() -> ResponseReturnValue:
    return render_template("auth/docs.html")


def _redis() -> str:
    try:
        bell().connection.ping()
    except redis.RedisError:
        return "away"
    return "ok"
