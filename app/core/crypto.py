"""Secrets at rest: AES-256-GCM with the key's id in the value and its place (table, column, row) as associated data.

A value moved to another row does not open. Keys come from EMBERPOST_ENCRYPTION_KEYS, newest first; older ones still open.
"""

from __future__ import annotations

import base64
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.core.config import SettingsError


class CannotOpen(Exception):
    """The value was sealed with a key we do not have, or for another place."""


class Vault:
    """Seals and opens secrets with a ring of keys."""

    def __init__(self, keys: str) -> None:
        """``keys``: ``id:base64,id:base64`` newest first. Raises SettingsError with what to write instead."""
        self._keys: dict[str, AESGCM] = {}
        for part in filter(None, (piece.strip() for piece in keys.split(","))):
            key_id, _, encoded = part.partition(":")
            try:
                raw = base64.b64decode(encoded, validate=True)
            except ValueError:
                raw = b""
            if len(raw) != 32 or not key_id.isalnum():
                raise SettingsError("EMBERPOST_ENCRYPTION_KEYS must be id:base64 of 32 bytes: `openssl rand -base64 32`.")
            self._keys[key_id] = AESGCM(raw)
        if not self._keys:
            raise SettingsError("EMBERPOST_ENCRYPTION_KEYS holds no key: id:base64 of 32 bytes.")
        self.current_id = next(iter(self._keys))

    def seal(self, plain: str, place: str) -> str:
        """Encrypt ``plain`` for ``place`` (``table.column:row``)."""
        nonce = os.urandom(12)
        body = self._keys[self.current_id].encrypt(nonce, plain.encode(), place.encode())
        return f"g1:{self.current_id}:{base64.b64encode(nonce + body).decode()}"

    def open(self, sealed: str, place: str) -> str:
        """Decrypt. Raises CannotOpen."""
        try:
            version, key_id, encoded = sealed.split(":", 2)
            raw = base64.b64decode(encoded, validate=True)
            if version != "g1":
                raise CannotOpen(f"unknown form {version!r}")
            return self._keys[key_id].decrypt(raw[:12], raw[12:], place.encode()).decode()
        except (KeyError, ValueError, InvalidTag) as error:
            raise CannotOpen("the stored secret does not open with the configured keys") from error

    @staticmethod
    def key_id(sealed: str) -> str:
        return sealed.split(":", 2)[1] if sealed.count(":") >= 2 else ""


_vault: Vault | None = None


def use_vault(vault: Vault) -> None:
    global _vault
    _vault = vault


def vault() -> Vault:
    if _vault is None:
        raise RuntimeError("no vault: create_app binds it")
    return _vault
