"""The live stream: names of what changed, never content. Open pages fetch the fragments they are entitled to see.

``event: conversation-42`` + ``data: {"client_id": 1}``; the first event after every (re)connect is ``resync``; ``ping`` every 15 s.
``/stream`` is the pages' (cookie), ``/api/stream`` the same for programs (Bearer). A session that ended ends its streams.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

from flask import Blueprint, Flask, Response, current_app, g
from flask.typing import ResponseReturnValue

from app.blueprints import sessions
from app.blueprints.access import unguarded
from app.blueprints.api.core import api_route
from app.core.bell import bell
from app.core.db import NOBODY, transaction
from app.core.extensions import db
from app.core.live import RESYNC, Hub, Listener
from app.models import User
from app.services import api_keys, auth
from app.services.access import Viewer, viewer_of

blueprint = Blueprint("stream", __name__)

PING_SECONDS = 15
CHECK_SESSION_SECONDS = 30
THREADS_FOR_PAGES = 8


@blueprint.get("/stream")
@unguarded
def pages() -> ResponseReturnValue:
    with transaction(NOBODY):
        viewer = sessions.viewer_of_cookie()
    if viewer is None:
        return Response("", 401)
    return _answer(viewer)


@api_route(
    "GET",
    "/stream",
    client=False,
    media="text/event-stream",
    summary="Names of what changes, as server-sent events",
    tag="inbox",
)
def programs() -> Response:
    """The first event is ``resync``: fetch what you show. A topic is a name (``conversation-42``, ``inbox``), its data the client."""
    return _answer(g.viewer)


def _answer(viewer: Viewer) -> Response:
    listener = hub().open(viewer.id, (seat.id for seat in viewer.member_seats if not seat.closed))
    if listener is None:
        return Response("", 503, {"Retry-After": "15"})
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    answer = Response(_events(app, hub(), listener, viewer), mimetype="text/event-stream")
    answer.headers["X-Accel-Buffering"] = "no"
    answer.headers["Cache-Control"] = "no-store"
    answer.call_on_close(lambda: hub_of(app).close(listener))
    return answer


def _events(app: Flask, home: Hub, listener: Listener, viewer: Viewer) -> Iterator[str]:
    yield _event(RESYNC, 0)
    quiet = unchecked = 0
    try:
        while not home.stopping.is_set() and not listener.closed:
            found = listener.take(1.0)
            for topic, client_id in found:
                yield _event(topic, client_id)
            quiet, unchecked = (0 if found else quiet + 1), unchecked + 1
            if quiet >= PING_SECONDS:
                quiet = 0
                yield _event("ping", 0)
            if unchecked >= CHECK_SESSION_SECONDS:
                unchecked = 0
                if not _still_the_same(app, viewer):
                    return
    finally:
        home.close(listener)


def _event(topic: str, client_id: int) -> str:
    return f"event: {topic}\ndata: {json.dumps({'client_id': client_id} if client_id else {})}\n\n"


def _still_the_same(app: Flask, viewer: Viewer) -> bool:
    """Is the session alive, with the same seats? (Whoever was taken out of a client comes back without it.)"""
    with app.app_context(), transaction(NOBODY):
        if viewer.key_id is not None:
            return api_keys.lives(viewer.key_id, viewer.seats[0].id)
        if not auth.session_lives(viewer.session_id):
            return False
        now = viewer_of(db.session.get_one(User, viewer.id), viewer.session_id)
        return now.member_seats == viewer.member_seats


def hub() -> Hub:
    return hub_of(current_app)


def hub_of(app: Flask) -> Hub:
    """The process's hub, made when the first stream opens; as many streams as the kind of server can hold open."""
    found: Hub | None = app.extensions.get("live_hub")
    if found is None:
        settings = app.extensions["settings"]
        patched = "gevent.monkey" in sys.modules and sys.modules["gevent.monkey"].is_module_patched("threading")
        limit = (
            settings.stream_limit
            if patched
            else min(settings.stream_limit, max(4, settings.web_threads - THREADS_FOR_PAGES))
        )
        found = app.extensions["live_hub"] = Hub(bell(), limit)
    return found


def _end_streams_with_the_worker(app: Flask) -> None:
    """An open stream would hold a stopping worker until it is killed: end ours when its SIGTERM comes."""
    before = signal.getsignal(signal.SIGTERM)
    owner = type(getattr(before, "__self__", None)).__module__
    if threading.current_thread() is not threading.main_thread() or not owner.startswith("gunicorn"):
        return

    def stop(number: int, frame: Any) -> None:
        if "live_hub" in app.extensions:
            app.extensions["live_hub"].stopping.set()
        before(number, frame)  # type: ignore[operator,misc]

    signal.signal(signal.SIGTERM, stop)


@blueprint.record_once
def _bind(state: Any) -> None:
    _end_streams_with_the_worker(state.app)
