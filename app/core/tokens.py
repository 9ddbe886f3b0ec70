"""Random tokens (stored as hashes) and opaque sealed tokens that carry their own meaning (the way out of a campaign)."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV


def new_token() -> str:
    """256 random bits, for links and sessions."""
    return secrets.token_urlsafe(32)


def token_hash(token: str) -> str:
    """What is stored instead of the token (SHA-256: the token itself is random, so no salt is needed)."""
    return hashlib.sha256(token.encode()).hexdigest()


_written = json.JSONEncoder(separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode


class SealedTokens:
    """Opaque, self-contained tokens for one purpose: they work when every row they came from is gone."""

    def __init__(self, secret_key: str) -> None:
        self._cipher = AESSIV(hashlib.sha512(b"emberpost sealed tokens\0" + secret_key.encode()).digest())

    def seal(self, purpose: str, payload: dict[str, Any]) -> str:
        plain = _written(payload).encode()
        return base64.urlsafe_b64encode(self._cipher.encrypt(plain, [purpose.encode()])).rstrip(b"=").decode()

    def open(self, purpose: str, token: str) -> dict[str, Any] | None:
        """The payload, or None for anything that is not a token of this purpose made by us."""
        try:
            raw = base64.urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
            value = json.loads(self._cipher.decrypt(raw, [purpose.encode()]))
        except (ValueError, InvalidTag):
            return None
        return value if isinstance(value, dict) else None

    def seal_bytes(self, purpose: str, plain: bytes) -> str:
        """A short lower-case token of letters and digits; the same bytes give the same token."""
        return base64.b32encode(self._cipher.encrypt(plain, [purpose.encode()])).rstrip(b"=").decode().lower()

    def open_bytes(self, purpose: str, token: str) -> bytes | None:
        """The bytes, or None for anything that ``seal_bytes`` with this purpose and our key did not make."""
        try:
            raw = base64.b32decode(token.upper().encode("ascii") + b"=" * (-len(token) % 8))
            return self._cipher.decrypt(raw, [purpose.encode()])
        except (ValueError, InvalidTag):
            return None


_sealed: SealedTokens | None = None


def use_sealed_tokens(sealed: SealedTokens) -> None:
    global _sealed
    _sealed = sealed


def sealed_tokens() -> SealedTokens:
    if _sealed is None:
        raise RuntimeError("no token key: create_app binds it")
    return _sealed
