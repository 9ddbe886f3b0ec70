"""The registry of webhook sources: their addresses, their secrets, and whether a call really comes from them.

Machine time throughout. A change is heeded by every process within a second: each keeps what it read for so long. Nothing here belongs to
a client. Secrets are sealed for their row and shown only to an operator who asks, which is written down. The address holds a sealed token:
it cannot be guessed, and a new nonce makes the old one unknown.
"""

from __future__ import annotations

import base64
import secrets as random_secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select, text

from app.core.clock import machine_now
from app.core.crypto import vault
from app.core.db import on_commit
from app.core.errors import Invalid, NotFound
from app.core.extensions import db
from app.core.tokens import sealed_tokens
from app.domain.webhook_proof import PREFIX, VERIFIERS, BadSecret, Call, Proof, Refused, check_secret, good_header
from app.models import WebhookSecret, WebhookSource
from app.services import audit
from app.strings import t

PURPOSE = "webhook"
OLD_SECRET_LIVES = timedelta(hours=24)
DEFAULT_HEADER = "Unipile-Auth"
LONGEST_NAME = 120


@dataclass(frozen=True)
class Known:
    """A source as a call needs it: which way it proves itself, and the secrets that are valid now."""

    id: int
    verifier: str
    header: str
    secrets: tuple[str, ...]


def place(secret_id: int) -> str:
    return f"webhook_secrets.sealed:{secret_id}"


def new_secret(verifier: str) -> str:
    """A fresh secret for this way of proving."""
    if verifier == "standard_webhooks":
        return PREFIX + base64.b64encode(random_secrets.token_bytes(32)).decode()
    return random_secrets.token_urlsafe(32)


# Calls


_KNOWN = text(
    "SELECT s.id, s.verifier, s.header, array_agg(k.id) FILTER (WHERE k.id IS NOT NULL) AS ids,"
    " array_agg(k.sealed) FILTER (WHERE k.id IS NOT NULL) AS sealed"
    " FROM webhook_sources s LEFT JOIN webhook_secrets k"
    "   ON k.source_id = s.id AND k.sealed <> '' AND (k.ends_at IS NULL OR k.ends_at > clock_timestamp())"
    " WHERE s.id = :id AND s.address_nonce = :nonce AND s.removed_at IS NULL GROUP BY s.id"
)


KEPT_S = 1.0
_kept: dict[str, tuple[float, Known]] = {}  # addresses that are somebody's, so never more than there are sources


def remembered(token: str) -> Known | None:
    """What this process read of the address within the last second; asks nobody."""
    until, known = _kept.get(token, (0.0, None))
    return known if time.monotonic() < until else None


def find(token: str) -> Known | None:
    """Whose address this is; None for a token that we did not make or that is no longer the source's."""
    found = _read(token)
    if found is None:
        _kept.pop(token, None)
    else:
        _kept[token] = (time.monotonic() + KEPT_S, found)
    return found


def _read(token: str) -> Known | None:
    meant = sealed_tokens().open(PURPOSE, token) if len(token) <= 200 else None
    if meant is None:
        return None
    row = db.session.execute(_KNOWN, {"id": meant.get("s"), "nonce": meant.get("n")}).first()
    if row is None:
        return None
    opened = tuple(vault().open(sealed, place(number)) for number, sealed in zip(row.ids or (), row.sealed or (), strict=True))
    return Known(row.id, row.verifier, row.header, opened)


def prove(known: Known, headers: Mapping[str, str], body: bytes, at: datetime) -> Proof:
    """Raises Refused. ``headers``: names in lower case; ``at``: machine time."""
    return VERIFIERS[known.verifier](Call(headers, body, at), known.secrets, known.header)


def count_refusal(source_id: int, refusal: Refused) -> None:
    """A call that proved nothing is counted; nothing of it is kept."""
    db.session.execute(
        text("UPDATE webhook_sources SET refused = refused + 1, refused_at = clock_timestamp(), refused_why = :why WHERE id = :id"),
        {"id": source_id, "why": refusal.why[:200]},
    )


# The registry


def _forget_kept() -> None:
    """This process heeds a change at once."""
    _kept.clear()
    on_commit(_kept.clear)


def token_of(source: WebhookSource) -> str:
    """The last part of the source's address."""
    return sealed_tokens().seal(PURPOSE, {"s": source.id, "n": source.address_nonce})


def present() -> list[WebhookSource]:
    """Every source that was not removed, by name."""
    return list(db.session.scalars(select(WebhookSource).where(WebhookSource.removed_at.is_(None)).order_by(func.lower(WebhookSource.name), WebhookSource.id)))


def get(source_id: int) -> WebhookSource:
    """Raises NotFound for one that is not there or was removed."""
    row = db.session.get(WebhookSource, source_id)
    if row is None or row.removed_at is not None:
        raise NotFound
    return row


def add(name: str, verifier: str, *, header: str = "", secret: str = "", by: int | None) -> tuple[WebhookSource, str]:
    """A new source and its secret (the given one, else a fresh one). Raises Invalid per field."""
    header = (header.strip() or DEFAULT_HEADER) if verifier == "static_header" else ""
    _check_name(name)
    if verifier not in VERIFIERS:
        raise Invalid.field("verifier", t("webhooks.one_of", names=", ".join(VERIFIERS)))
    if header and not good_header(header):
        raise Invalid.field("header", t("webhooks.header_shape"))
    source = WebhookSource(name=name.strip(), verifier=verifier, header=header, address_nonce=random_secrets.token_urlsafe(16), created_by=by)
    db.session.add(source)
    db.session.flush()
    used = _add_secret(source, secret)
    audit.record("webhook.add", "webhook source", source.id, user_id=by, after={"name": source.name, "verifier": verifier, "header": header})
    return source, used


def _check_name(name: str) -> None:
    if not 1 <= len(name.strip()) <= LONGEST_NAME:
        raise Invalid.field("name", t("webhooks.name_shape", limit=LONGEST_NAME))


def _add_secret(source: WebhookSource, secret: str) -> str:
    secret = secret.strip() or new_secret(source.verifier)
    try:
        check_secret(source.verifier, secret)
    except BadSecret as wrong:
        raise Invalid.field("secret", str(wrong)) from None
    row = WebhookSecret(source_id=source.id)
    db.session.add(row)
    db.session.flush()
    row.sealed = vault().seal(secret, place(row.id))
    db.session.flush()
    _forget_kept()
    return secret


def change_secret(source: WebhookSource, secret: str = "", *, by: int | None, at_once: bool = False) -> str:
    """One more secret (given or fresh); the old ones are valid for another day, or end now (``at_once``). Returns the new one."""
    ends = machine_now() + (timedelta() if at_once else OLD_SECRET_LIVES)
    for row in secrets_of(source.id):
        row.ends_at = min(row.ends_at or ends, ends)
    used = _add_secret(source, secret)
    audit.record("webhook.change_secret", "webhook source", source.id, user_id=by, after={"old_end": ends.isoformat()})
    return used


def secrets_of(source_id: int) -> list[WebhookSecret]:
    """Those valid now, newest first."""
    rows = select(WebhookSecret).where(
        WebhookSecret.source_id == source_id, WebhookSecret.ends_at.is_(None) | (WebhookSecret.ends_at > func.clock_timestamp())
    )
    return list(db.session.scalars(rows.order_by(WebhookSecret.id.desc())))


def end_old_secrets(source: WebhookSource, *, by: int | None) -> int:
    """All but the newest end now. Returns how many did."""
    old = secrets_of(source.id)[1:]
    for row in old:
        row.ends_at = machine_now()
    if old:
        _forget_kept()
        audit.record("webhook.end_old_secrets", "webhook source", source.id, user_id=by, after={"ended": len(old)})
    return len(old)


def reveal(source: WebhookSource, *, by: int | None) -> str:
    """The newest secret, for the operator who must enter it elsewhere; written into the trail. Raises NotFound without one."""
    rows = secrets_of(source.id)
    if not rows:
        raise NotFound
    audit.record("webhook.show_secret", "webhook source", source.id, user_id=by)
    return vault().open(rows[0].sealed, place(rows[0].id))


def change_address(source: WebhookSource, *, by: int | None) -> None:
    """The old address is unknown from now on."""
    source.address_nonce = random_secrets.token_urlsafe(16)
    _forget_kept()
    audit.record("webhook.change_address", "webhook source", source.id, user_id=by)


def rename(source: WebhookSource, name: str, *, by: int | None) -> None:
    _check_name(name)
    audit.record("webhook.rename", "webhook source", source.id, user_id=by, before={"name": source.name}, after={"name": name.strip()})
    source.name = name.strip()


def remove(source: WebhookSource, *, by: int | None) -> None:
    """Its address is unknown and its secrets are gone; what it brought stays."""
    source.removed_at = machine_now()
    source.held_until = None
    _forget_kept()
    db.session.execute(text("DELETE FROM webhook_secrets WHERE source_id = :id"), {"id": source.id})
    audit.record("webhook.remove", "webhook source", source.id, user_id=by, before={"name": source.name})


def release(source: WebhookSource, *, by: int | None) -> None:
    """End a hold of the breaker now."""
    source.held_until, source.hold_s, source.window_good, source.window_bad = None, 0, 0, 0
    audit.record("webhook.release", "webhook source", source.id, user_id=by)
