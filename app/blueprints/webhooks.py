"""What other services call: ``POST /webhooks/<token>``. Read at most 1 MiB, prove the raw bytes, keep them, commit, answer. Nothing else.

Nobody waits here for anything to be understood: that is the work of ``jobs/receive.py``. Repeats and kinds that nobody knows get 200 as
well. A call that proves nothing gets 401, is counted, and nothing of it is kept.
"""

from __future__ import annotations

import logging

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import RequestEntityTooLarge

from app.blueprints.access import unguarded
from app.core.clock import machine_now
from app.core.db import NOBODY, transaction
from app.domain.webhook_body import dedupe_key, storable
from app.domain.webhook_proof import Refused
from app.services import webhooks
from app.services.receiving import events
from app.strings import t

log = logging.getLogger("emberpost.webhooks")
blueprint = Blueprint("webhooks", __name__)
LARGEST = 1024 * 1024


@blueprint.post("/webhooks/<token>")
@unguarded
def receive(token: str) -> ResponseReturnValue:
    """200 kept (or known), 401 not proven, 404 no such address, 413 too large, 503 no secret is valid."""
    body = _read()
    now = machine_now()
    known = webhooks.remembered(token)
    if known is None:
        with transaction(NOBODY):
            known = webhooks.find(token)
    if known is None:
        return _said(404, "not_found", t("webhooks.nothing_here"))
    if not known.secrets:
        log.error("a webhook source has no valid secret: nothing is accepted", extra={"facts": {"source": known.id}})
        return _said(503, "unavailable", t("webhooks.accepts_nothing"))
    headers = {name.lower(): value for name, value in request.headers}
    try:
        proof = webhooks.prove(known, headers, body, now)
    except Refused as refusal:
        with transaction(NOBODY):
            webhooks.count_refusal(known.id, refusal)
        return _said(401, "unauthenticated", t("webhooks.not_proven"))
    facts = {"content_type": storable(headers.get("content-type", "")[:100])}
    fresh = events.keep_webhook(known.id, body, dedupe_key=dedupe_key(proof.event_id, body, now), facts=facts)
    return jsonify(status="kept" if fresh else "known")


def _read() -> bytes:
    """The raw body; given up as soon as it is larger than LARGEST, whatever its length claims to be."""
    request.max_content_length = LARGEST
    if (request.content_length or 0) > LARGEST:
        raise RequestEntityTooLarge
    return request.get_data(cache=False, parse_form_data=False)


def _said(status: int, code: str, message: str) -> ResponseReturnValue:
    answer = jsonify(code=code, message=message, details={})
    answer.status_code = status
    if status == 503:
        answer.headers["Retry-After"] = "30"
    return answer
