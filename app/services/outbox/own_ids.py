"""Message-IDs of ours: the intention they stand for is sealed inside, so a mail names its row even where the row was lost.

The same intention has the same Message-ID for ever, before and after a restored backup; nobody without our key can make one or
read anything from it.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from app.core.tokens import sealed_tokens

_PURPOSE = "message-id"
_WORDS = {1: "step", 2: "retry", 3: "reply"}
_CODES = {word: code for code, word in _WORDS.items()}
_OTHER = 0
_ID = re.compile(r"<?([a-z2-7]{20,64})@[^@<>\s]+>?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class OwnId:
    """What a Message-ID of ours says. ``key``: the idempotency key, empty where only its digest is inside."""

    key: str
    token: str

    @property
    def step(self) -> tuple[int, int] | None:
        """(enrollment, step) of a campaign step, else None."""
        word, *numbers = self.key.split(":")
        return (int(numbers[0]), int(numbers[1])) if word == "step" else None


def token_of(idempotency_key: str) -> str:
    """The part before the @: 28 to 60 lower-case letters and digits."""
    return sealed_tokens().seal_bytes(_PURPOSE, _packed(idempotency_key))


def message_id_of(idempotency_key: str, sender_address: str) -> str:
    """The Message-ID, in angle brackets, under which this intention leaves from this address."""
    return f"<{token_of(idempotency_key)}@{sender_address.rpartition('@')[2].lower()}>"


def open_id(message_id: str | None) -> OwnId | None:
    """What a Message-ID says, or None for one we did not make (mails of older versions included)."""
    found = _ID.fullmatch((message_id or "").strip())
    if found is None:
        return None
    token = found.group(1).lower()
    plain = sealed_tokens().open_bytes(_PURPOSE, token)
    return None if plain is None else OwnId(_unpacked(plain), token)


def _packed(key: str) -> bytes:
    word, *numbers = key.split(":")
    if word in _CODES and numbers and all(number.isdigit() for number in numbers):
        packed = bytes([_CODES[word]]) + b"".join(_varint(int(number)) for number in numbers)
        if len(packed) <= 21:
            return packed
    return bytes([_OTHER]) + hashlib.sha256(key.encode()).digest()[:12]


def _unpacked(plain: bytes) -> str:
    if not plain or plain[0] not in _WORDS:
        return ""
    numbers, number, shift = [], 0, 0
    for byte in plain[1:]:
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            numbers.append(str(number))
            number = shift = 0
    return ":".join([_WORDS[plain[0]], *numbers])


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])
