"""What is in the body of a webhook: read without trusting it, named so that a repeat is known, and shown without its secrets."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from app.strings import t

LONGEST_KEY = 200
DEEPEST_SHOWN = 20
MASK = "[covered]"
_SECRET_NAME = re.compile(r"pass(word|wd|phrase)?$|secret|token|authori[sz]ation|api[-_]?key|signature|cookie|credential|private[-_]?key", re.IGNORECASE)
_SECRET_LINE = re.compile(
    r"(?i)((?:password|passwd|passphrase|secret|token|authorization|api[-_]?key|cookie|signature)[\"']?\s*[:=]\s*)"
    r"(\"[^\"]*\"|'[^']*'|[^\s,;&]+(?: [A-Za-z0-9._~+/=-]{12,})?)"
)


class Unreadable(Exception):
    """This can never be understood as it stands; trying again would bring the same bytes. The text says what is wrong."""


def read(body: bytes) -> Any:
    """The JSON value. Raises Unreadable for anything else: no JSON, too deep, not UTF-8, numbers that are none."""
    try:
        return json.loads(body, parse_constant=_no_number)
    except RecursionError:
        raise Unreadable(t("arrivals.too_deep")) from None
    except ValueError as error:
        raise Unreadable(t("arrivals.not_json", why=str(error)[:200])) from None


def _no_number(name: str) -> Any:
    raise ValueError(t("arrivals.no_number", name=name))


def storable(text: str) -> str:
    """A text PostgreSQL can hold."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def kind_of(payload: Any) -> str:
    """What the payload says it is, or an empty text."""
    if isinstance(payload, dict):
        for name in ("type", "event"):
            value = payload.get(name)
            if isinstance(value, str) and value:
                return storable(value[:100])
        if isinstance(payload.get("AccountStatus"), dict):
            return "account_status"
    return ""


def dedupe_key(event_id: str | None, body: bytes, received_at: datetime) -> str:
    """What is the same on every repeat of one event: the sender's id, else the facts that name it, else the content itself."""
    if event_id:
        return _short(f"id:{event_id}")
    try:
        payload = read(body)
    except Unreadable:
        return "sha256:" + hashlib.sha256(body).hexdigest()
    named = _named(payload, received_at) if isinstance(payload, dict) else None
    if named:
        return _short(named)
    try:
        canonical = json.dumps(payload, sort_keys=True, separators=(",", ":")).encode()
    except (RecursionError, ValueError):
        canonical = body
    return "sha256:" + hashlib.sha256(canonical).hexdigest()


def _named(payload: Mapping[str, Any], received_at: datetime) -> str | None:
    """The facts that name an event, for services that give it an id and for those that do not."""
    own = payload.get("event_id") or payload.get("id")
    if isinstance(own, str) and own:
        return f"id:{own}"
    status = payload.get("AccountStatus")
    if isinstance(status, dict):
        minute = received_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M")
        return _joined("account_status", status.get("account_id"), status.get("message"), minute)
    account, event = payload.get("account_id"), payload.get("event")
    if event == "new_relation":
        return _joined(account, event, payload.get("user_provider_id"), received_at.astimezone(UTC).date().isoformat())
    about = payload.get("message_id") or payload.get("provider_message_id") or payload.get("email_id")
    if event == "message_edited":
        return _joined(account, event, about, _digest(payload.get("message")))
    if event == "message_reaction":
        return _joined(account, event, about, _digest([payload.get("reaction"), payload.get("reaction_sender")]))
    return _joined(account, event, about)


def _joined(*parts: Any) -> str | None:
    return "|".join(parts) if all(isinstance(part, str) and part for part in parts) else None


def _digest(value: Any) -> str:
    try:
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]
    except RecursionError:
        return "deep"


def _short(key: str) -> str:
    """The key itself where it is short and plain, else its hash: any text a stranger chose fits into the index."""
    if len(key) <= LONGEST_KEY and key.isascii() and key.isprintable():
        return key
    return "sha256:" + hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def shown(body: bytes) -> str:
    """The body for a person's eyes: JSON spread over lines, and what looks like a secret covered."""
    try:
        return json.dumps(_covered(read(body), 0), indent=2, ensure_ascii=True)
    except (Unreadable, RecursionError):
        return covered_text(storable(body.decode("utf-8", "replace")))


def covered_text(text: str) -> str:
    """Free text with what looks like a secret covered."""
    return _SECRET_LINE.sub(lambda found: found[1] + MASK, text)


def _covered(value: Any, depth: int) -> Any:
    if depth > DEEPEST_SHOWN:
        return MASK
    if isinstance(value, dict):
        return {name: MASK if _SECRET_NAME.search(name) and inner not in (None, "") else _covered(inner, depth + 1) for name, inner in value.items()}
    if isinstance(value, list):
        return [_covered(inner, depth + 1) for inner in value]
    return value
