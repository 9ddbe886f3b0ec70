"""What a password must be, and how it is kept: Argon2id, at least 12 characters, nothing easy to guess (no rules of composition)."""

from __future__ import annotations

import re

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from app.core.errors import Invalid
from app.core.tokens import new_token
from app.strings import t

SHORTEST, LONGEST = 12, 256


def at_full_strength() -> PasswordHasher:
    """RFC 9106's memory-constrained recommendation in one lane: 64 MiB, three passes (about 100 ms)."""
    return PasswordHasher(time_cost=3, memory_cost=65_536, parallelism=1)


_hasher = at_full_strength()
_nobody: list[str] = []

#: The cores of the passwords that every list begins with; twelve characters made of them alone are refused.
_COMMON = (
    "password", "passwort", "passw0rd", "p@ssword", "p@ssw0rd", "qwertyuiop", "qwerty", "qwertz", "azerty", "asdfghjkl", "zxcvbnm",
    "letmein", "welcome", "iloveyou", "monkey", "dragon", "football", "baseball", "princess", "sunshine", "superman", "batman",
    "trustno1", "master", "shadow", "michael", "jordan", "abc", "admin", "administrator", "root", "login", "secret", "changeme",
    "change", "default", "test", "guest", "user", "emberpost", "ember", "post", "mail", "hello", "whatever", "starwars", "computer",
    "internet", "summer", "winter", "spring", "autumn", "company", "india", "london", "please", "let", "me", "in", "my", "the", "is",
)  # fmt: skip


def hash_password(password: str) -> str:
    return _hasher.hash(password)


def fits(stored: str | None, password: str) -> bool:
    """Does ``password`` fit? Takes the same time when there is nothing stored."""
    if not _nobody:
        _nobody.append(_hasher.hash(new_token()))
    try:
        return _hasher.verify(stored or _nobody[0], password) and stored is not None
    except (VerificationError, InvalidHashError):
        return False


def outdated(stored: str) -> bool:
    return _hasher.check_needs_rehash(stored)


def check_password(password: str, *words: str, field: str = "password") -> None:
    """Raise Invalid when it is too short, too long, or guessable from common words or ``words`` (name, address)."""
    if len(password) < SHORTEST:
        raise Invalid.field(field, t("auth.password_shortest", limit=SHORTEST))
    if len(password) > LONGEST:
        raise Invalid.field(field, t("fields.use_at_most", limit=LONGEST))
    if _guessable(password.lower(), words) or _easily_found(password, words):
        raise Invalid.field(field, t("auth.password_guessable"))


def _easily_found(password: str, words: tuple[str, ...]) -> bool:
    """Would a guesser with lists of leaked passwords, names, words, dates and keyboard rows find it among the first hundred million?

    zxcvbn looks at the first 72 characters; what is longer is no easier.
    """
    from zxcvbn import zxcvbn  # its lists are loaded by whoever sets a password, not by every process

    own = [part for word in words for part in re.split(r"[^\w]+", word.lower()) if len(part) > 2]
    return bool(zxcvbn(password[:72], user_inputs=[*own, *words, "emberpost", "outreach"])["score"] < 3)


def _guessable(password: str, words: tuple[str, ...]) -> bool:
    own = [part for word in words for part in re.split(r"[^a-z0-9]+", word.lower()) if len(part) > 2]
    left = password
    for word in sorted((*_COMMON, *own), key=len, reverse=True):
        left = left.replace(word, "")
    left = re.sub(r"[\W\d_]+", "", left)
    letters = set(re.sub(r"[^\w]", "", password))
    return len(left) < 3 or len(letters) < 5
