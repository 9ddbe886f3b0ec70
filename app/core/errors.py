"""Refusals that reach a person: each says what happened and what to do. The edges turn them into pages and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.strings import t


class ProductError(Exception):
    """Base of all refusals. ``code`` is stable for programs, ``message`` is for people, ``details`` per field."""

    status = 400
    code = "refused"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        details: Mapping[str, Sequence[str]] | Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.details: dict[str, Any] = dict(details or {})


class Unauthenticated(ProductError):
    status = 401
    code = "unauthenticated"


class Forbidden(ProductError):
    """Yours to see, not yours to do. What is not yours to see is NotFound."""

    status = 403
    code = "forbidden"


class NotFound(ProductError):
    status = 404
    code = "not_found"

    def __init__(self, message: str = "") -> None:
        super().__init__(message or t("errors.not_yours"))


class Conflict(ProductError):
    """An illegal change of state, or a duplicate."""

    status = 409
    code = "conflict"

    @classmethod
    def meanwhile(cls, what: str) -> Conflict:
        """Somebody saved ``what`` (a word for people) after whoever saves now had read it."""
        return cls(t("errors.changed_meanwhile", what=what), code="changed_meanwhile")


class Invalid(ProductError):
    """What was typed does not fit; ``details`` is {field: [what to do, …]}."""

    status = 422
    code = "invalid"

    @classmethod
    def field(cls, name: str, message: str) -> Invalid:
        return cls(message, details={name: [message]})


class TooMany(ProductError):
    status = 429
    code = "too_many_requests"

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message, details={"retry_after": retry_after_s})
        self.retry_after_s = retry_after_s
