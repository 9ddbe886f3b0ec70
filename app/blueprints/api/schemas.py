"""What every schema of the API shares: unknown fields refused, times with a Z, bounded texts, the shape of lists and errors."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from marshmallow import EXCLUDE, RAISE, Schema, ValidationError, fields, validate

from app.strings import t

LARGEST_ID = 2**63 - 1
LARGEST_INT = 2**31 - 1


class Strict(Schema):
    """Base of every request's schema: a field we do not know is an error, not a silence."""

    class Meta:
        unknown = RAISE


class Nothing(Strict):
    """The body of an action that needs no word: nothing, or an empty object."""


class Shown(Schema):
    """Base of every answer's schema."""

    class Meta:
        unknown = EXCLUDE


class Flag(fields.Boolean):
    """true or false and nothing that merely looks like it: neither 1 nor "yes" (in an address: the words true and false)."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **options: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class Worked(fields.Function):
    """What a function makes of the row, in the shape of a schema (``many``: a list of it): the description says which."""

    def __init__(self, function: Any, shape: type[Schema], *, many: bool = False, **options: Any) -> None:
        super().__init__(lambda row: shape(many=many).dump(function(row)), required=True, **options)
        self.shape, self.is_list = shape, many


class Pattern(validate.Regexp):
    """The whole text, as JSON Schema reads ``^…$`` (Python's ``$`` also fits before a last line break)."""

    def __call__(self, value: Any) -> Any:
        if not isinstance(value, str) or re.fullmatch(str(self.regex.pattern), value) is None:
            raise ValidationError(self._format_error(value))
        return value


#: RFC 3339, which is what ``format: date-time`` promises (ISO 8601 allows much more).
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def in_utc(moment: datetime) -> str:
    """A moment as every answer writes it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds" if moment.microsecond else "seconds").replace("+00:00", "Z")


class Moment(fields.DateTime):
    """RFC 3339, given back in UTC with ``Z``; a moment without a zone is refused."""

    def __init__(self, **options: Any) -> None:
        super().__init__(format="iso", **options)

    def _serialize(self, value: Any, attr: str | None, obj: Any, **options: Any) -> str | None:
        if value is None:
            return None
        return in_utc(value)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **options: Any) -> datetime:
        if not isinstance(value, str) or not RFC_3339.fullmatch(value):
            raise ValidationError(t("api.moment_shape"))
        moment: datetime = super()._deserialize(value.upper(), attr, data, **options)
        try:
            return moment.astimezone(UTC)
        except OverflowError:
            raise ValidationError(t("api.moment_range")) from None


def text(longest: int = 500, *, shortest: int = 0, **options: Any) -> fields.String:
    """A text field with both ends bounded; ``shortest=1`` refuses the empty text."""
    return fields.String(validate=validate.Length(min=shortest, max=longest), **options)


def one_of(values: Iterable[str], **options: Any) -> fields.String:
    """A word of an answer that comes from a closed set; the description names them all."""
    return fields.String(required=True, validate=validate.OneOf([str(value) for value in values]), **options)


#: How a row says what it is, and how a change says what it was: domain/fingerprint.py.
SEEN = {"description": "the `version` you read: 409 `changed_meanwhile` when somebody saved after that"}


def seen() -> fields.String:
    """The optional ``version`` of a change."""
    return text(40, metadata=SEEN)


def version_shown(of: Any) -> fields.Function:
    """The ``version`` of a row, as ``of(row)`` says it."""
    return fields.Function(of, required=True, metadata={"type": "string", "description": "changes with everything that can be changed here"})


def row_id(**options: Any) -> fields.Integer:
    return fields.Integer(strict=True, validate=validate.Range(min=1, max=LARGEST_ID), **options)


def whole(low: int = 0, high: int = LARGEST_INT, **options: Any) -> fields.Integer:
    return fields.Integer(strict=True, validate=validate.Range(min=low, max=high), **options)


class PageQuery(Strict):
    """Query of every list: inherit it and add filters."""

    cursor = text(500)
    limit = whole(1, 200, load_default=50)


class Error(Shown):
    """Every refusal below /api."""

    code = fields.String(required=True, metadata={"description": "stable, for programs"})
    message = fields.String(required=True, metadata={"description": "for people: what happened and what to do"})
    details = fields.Dict(
        keys=fields.String(), values=fields.Raw(), required=True, metadata={"description": "per field: what to change"}
    )
