"""Does a webhook really come from where it says? One small verifier per way of proving it, all on the raw bytes, in constant time.

A verifier gets the headers (names in lower case), the body as it arrived, every secret that is valid now, and the machine's time. It returns
what the sender calls this event, or raises ``Refused`` with a reason for the operator; the caller is told nothing but 401.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from app.strings import t

TOLERANCE_S = 300
MAX_SIGNATURES = 16
MAX_ID = 256
PREFIX = "whsec_"
_HEADER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,60}")
_NOT_OURS_TO_CARRY = frozenset({"host", "content-length", "content-type", "transfer-encoding", "connection", "cookie", "accept", "user-agent"})


class Refused(Exception):
    """Not proven. ``why`` is for the operator and never for the caller."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class BadSecret(ValueError):
    """This cannot be a secret of this kind; the text says what one looks like."""


@dataclass(frozen=True, slots=True)
class Proof:
    """``event_id``: the sender's own name for this event, the same on every repeat; None where the way of proving carries none."""

    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One arrived request, as far as a verifier may look at it."""

    headers: Mapping[str, str]
    body: bytes
    at: datetime


Verifier = Callable[[Call, Sequence[str], str], Proof]


def standard_webhooks(call: Call, secrets: Sequence[str], _header: str = "") -> Proof:
    """The Standard Webhooks specification: HMAC-SHA256 over ``id.timestamp.body``, several signatures and several secrets."""
    family = "webhook" if "webhook-id" in call.headers else "svix"
    event_id, stamp, given = (call.headers.get(f"{family}-{name}", "") for name in ("id", "timestamp", "signature"))
    if not event_id or not stamp or not given:
        raise Refused(t("webhooks.refused_headers"))
    if len(event_id) > MAX_ID or not (event_id.isascii() and event_id.isprintable()):
        raise Refused(t("webhooks.refused_id", limit=MAX_ID))
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12):
        raise Refused(t("webhooks.refused_timestamp"))
    apart = call.at.timestamp() - int(stamp)
    if abs(apart) > TOLERANCE_S:
        raise Refused(t("webhooks.refused_old" if apart > 0 else "webhooks.refused_ahead", seconds=abs(int(apart)), limit=TOLERANCE_S))
    if not _signed(f"{event_id}.{stamp}.".encode() + call.body, given, secrets):
        raise Refused(t("webhooks.refused_signature"))
    return Proof(event_id)


def _signed(content: bytes, given: str, secrets: Sequence[str]) -> bool:
    """Every signature against every secret, without stopping at the first that fits."""
    signatures = [part[3:] for part in given.split(" ")[:MAX_SIGNATURES] if part.startswith("v1,")]
    fits = False
    for secret in secrets:
        wanted = base64.b64encode(hmac.digest(key_of(secret), content, hashlib.sha256)).decode()
        for signature in signatures:
            fits |= hmac.compare_digest(wanted, signature if signature.isascii() else "")
    return fits


def key_of(secret: str) -> bytes:
    """The key inside ``whsec_…``. Raises BadSecret."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX).encode("ascii"), validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if not 24 <= len(key) <= 64:
        raise BadSecret(t("webhooks.secret_shape"))
    return key


def sign(event_id: str, at: datetime, body: bytes, secret: str) -> dict[str, str]:
    """The three headers a sender would write."""
    stamp = str(int(at.timestamp()))
    content = f"{event_id}.{stamp}.".encode() + body
    value = base64.b64encode(hmac.digest(key_of(secret), content, hashlib.sha256)).decode()
    return {"webhook-id": event_id, "webhook-timestamp": stamp, "webhook-signature": f"v1,{value}"}


def static_header(call: Call, secrets: Sequence[str], header: str) -> Proof:
    """A service that can only send a fixed header: its value is the secret, and the address is one too."""
    given = call.headers.get(header.lower(), "")
    if not given:
        raise Refused(t("webhooks.refused_no_header", header=header))
    fits = False
    for secret in secrets:
        fits |= hmac.compare_digest(secret.encode(), given.encode("utf-8", "replace"))
    if not fits:
        raise Refused(t("webhooks.refused_header", header=header))
    return Proof()


VERIFIERS: Mapping[str, Verifier] = {"standard_webhooks": standard_webhooks, "static_header": static_header}


def check_secret(verifier: str, secret: str) -> None:
    """Raises BadSecret for a text that cannot be a secret of this kind."""
    if verifier == "standard_webhooks":
        key_of(secret)
    elif not (16 <= len(secret) <= 512 and secret.isascii() and secret.isprintable() and secret == secret.strip()):
        raise BadSecret(t("webhooks.static_secret_shape"))


def good_header(name: str) -> bool:
    """Whether a header of this name can carry a secret."""
    return _HEADER_NAME.fullmatch(name) is not None and name.lower() not in _NOT_OURS_TO_CARRY
