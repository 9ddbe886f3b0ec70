"""Codes of an authenticator app: TOTP as RFC 6238 has it, with what every app understands: SHA-1, six digits, thirty seconds.

A code is accepted for the step of the moment and for one before and after (clocks differ). Which step it belonged to is told, so that
the caller can see to it that no step is used twice.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from datetime import datetime
from urllib.parse import quote

STEP_SECONDS = 30
DIGITS = 6
NEIGHBOURS = (0, -1, 1)


def step_of(now: datetime) -> int:
    return int(now.timestamp()) // STEP_SECONDS


def code_of(secret: str, step: int) -> str:
    """The six digits of one step. ``secret``: base32 without padding."""
    key = base64.b32decode(secret + "=" * (-len(secret) % 8))
    digest = hmac.digest(key, step.to_bytes(8, "big"), hashlib.sha1)
    start = digest[-1] & 0x0F
    number = int.from_bytes(digest[start : start + 4], "big") & 0x7FFF_FFFF
    return f"{number % 10**DIGITS:0{DIGITS}d}"


def step_matching(secret: str, code: str, now: datetime) -> int | None:
    """The step whose code this is, or None. Every neighbour is compared, whichever fits."""
    here, found = step_of(now), None
    for shift in NEIGHBOURS:
        same = hmac.compare_digest(code_of(secret, here + shift).encode(), code.encode("utf-8", "replace"))
        found = here + shift if same and found is None else found
    return found


def address_of(secret: str, person: str, issuer: str = "Emberpost") -> str:
    """What the QR code says: ``otpauth://totp/…`` (Key URI format)."""
    label = f"{quote(issuer, safe='')}:{quote(person, safe='@')}"
    return f"otpauth://totp/{label}?secret={secret}&issuer={quote(issuer, safe='')}&algorithm=SHA1&digits={DIGITS}&period={STEP_SECONDS}"


def tidy(typed: str) -> str:
    """Without the spaces and hyphens that people write for reading; recovery codes in capitals."""
    return re.sub(r"[\s\-]", "", typed).upper()


def is_app_code(tidied: str) -> bool:
    return re.fullmatch(r"[0-9]{6}", tidied) is not None


def readable(code: str, size: int = 4) -> str:
    """``ABCDEFGH`` → ``ABCD-EFGH``."""
    return "-".join(code[start : start + size] for start in range(0, len(code), size))
