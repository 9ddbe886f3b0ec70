"""A row of a table as the values of a lead: tidy, harmless everywhere they will be put, or refused with a sentence.

What is stored is data: it is never read again as a header, a template or markup. Whatever could become more than that (line ends in
one-line fields, control characters, encoded words) is refused here; formulas are kept as they are and made harmless on export.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import unquote, urlsplit

from app.domain.address import AddressError, parse_address
from app.domain.csv_guard import original_cell, refusal
from app.domain.names import without_turns
from app.domain.zones import known_zones
from app.strings import t

MAX_CUSTOM_FIELDS = 100
LONGEST: Mapping[str, int] = {
    "first_name": 120, "last_name": 120, "full_name": 240, "company": 250, "title": 250, "consent_note": 1_000,
}  # fmt: skip
LONGEST_CUSTOM = 4_000

_ENCODED_WORD = re.compile(r"=\?[\w.:+-]{1,60}\?[bq]\?", re.IGNORECASE)
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[a-z0-9]{2,8})?", re.IGNORECASE)
_PROFILE = re.compile(r"(?:https?://)?(?:[a-z]{2,3}\.)?linkedin\.com/in/([A-Za-z0-9_-]{2,200})/?")
_SLUG = re.compile(r"/in/([^/?#]{2,200})")
_LABELS: Mapping[str, str] = {
    "first_name": t("leads.first_name"), "last_name": t("leads.last_name"), "full_name": t("leads.said_full_name"), "company": t("leads.company"),
    "title": t("leads.job_title"), "consent_note": t("leads.said_consent_note"),
}  # fmt: skip


class BadValue(ValueError):
    """A value a lead cannot have; `field` says which, `str(error)` why."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(slots=True)
class LeadValues:
    """What a row says of a lead. None: it says nothing (an empty cell never clears what is known)."""

    email: str | None = None
    email_key: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    company: str | None = None
    title: str | None = None
    linkedin_url: str | None = None
    linkedin_slug: str | None = None
    timezone: str | None = None
    language: str | None = None
    consent_note: str | None = None
    custom: dict[str, str] = field(default_factory=dict)


def lead_values(fields: Mapping[str, str], allow_reserved: bool = False) -> LeadValues:
    """Values by field name (`custom.<name>` for own ones) → tidy values. Raises `BadValue` for the first that cannot be stored.

    An address that is missing leaves `email` None: whether that is allowed is the caller's to say.
    """
    found = LeadValues()
    for name, raw in fields.items():
        value = without_turns(unicodedata.normalize("NFC", raw)) if not raw.isascii() else raw
        value = value.strip()
        if not value:
            continue
        if "'" in value:
            value = original_cell(value)
        if name.startswith("custom."):
            found.custom[name[7:]] = _custom(name[7:], value)
        else:
            _put(found, name, value, allow_reserved)
    return found


def _put(found: LeadValues, name: str, value: str, allow_reserved: bool) -> None:
    if name == "email":
        found.email, found.email_key = _email(value, allow_reserved)
    elif name == "linkedin_url":
        found.linkedin_url, found.linkedin_slug = linkedin_profile(value)
    elif name == "timezone":
        found.timezone = _zone(value)
    elif name == "language":
        found.language = _language(value)
    elif name == "full_name":
        first, last = split_name(one_line(name, value))
        found.first_name = found.first_name or first
        found.last_name = found.last_name or last or None
    else:
        setattr(found, name, one_line(name, value))


def one_line(name: str, value: str) -> str:
    """A value for a one-line field. Raises `BadValue`."""
    value = value.replace("\t", " ")
    if not value.isprintable() or len(value) > LONGEST[name]:
        fault = refusal(value, LONGEST[name])
        if fault:
            raise BadValue(name, f"{_LABELS[name]}: {fault}")
    if "=?" in value and _ENCODED_WORD.search(value):
        raise BadValue(name, t("leads.encoded_word", field=_LABELS[name]))
    return value


def _custom(name: str, value: str) -> str:
    """Own fields may hold several lines (an opening paragraph); nothing else that is not text."""
    if value.isprintable() and len(value) <= LONGEST_CUSTOM and "=?" not in value:
        return value
    value = value.replace("\r\n", "\n").replace("\r", "\n")
    fault = refusal(value.replace("\n", " ").replace("\t", " "), LONGEST_CUSTOM)
    if fault:
        raise BadValue(f"custom.{name}", f"{name}: {fault}")
    if _ENCODED_WORD.search(value):
        raise BadValue(f"custom.{name}", t("leads.encoded_word", field=name))
    return value


def _email(value: str, allow_reserved: bool) -> tuple[str, str]:
    try:
        address = parse_address(value, allow_reserved)
    except AddressError as error:
        raise BadValue("email", str(error)) from None
    return address.email, address.key


@lru_cache(maxsize=1)
def _zones() -> Mapping[str, str]:
    return {name.casefold(): name for name in known_zones()}


def _zone(value: str) -> str:
    found = _zones().get(value.casefold().replace(" ", "_"))
    if found is None:
        raise BadValue("timezone", t("leads.not_a_zone", given=_shown(value)))
    return found


def _language(value: str) -> str:
    value = value.replace("_", "-")
    if not _LANGUAGE.fullmatch(value):
        raise BadValue("language", t("leads.not_a_language", given=_shown(value)))
    start, dash, rest = value.partition("-")
    return start.lower() + dash + (rest.upper() if len(rest) == 2 else rest)


def linkedin_profile(value: str) -> tuple[str, str | None]:
    """The profile's address and the name in it (`/in/<slug>`), lower case. Raises `BadValue` for another site."""
    plain = _PROFILE.fullmatch(value)  # what nearly every row holds, without taking an address apart
    if plain:
        return f"https://www.linkedin.com/in/{plain.group(1)}", plain.group(1).lower()
    path = _linkedin_path(value)
    if path is None:
        raise BadValue("linkedin_url", t("leads.not_linkedin", given=_shown(value)))
    slug = _SLUG.search(path)
    return f"https://www.linkedin.com{path.rstrip('/')}", unquote(slug.group(1)).lower() if slug else None


def _linkedin_path(value: str) -> str | None:
    if refusal(value, 500) or " " in value:
        return None
    try:
        parts = urlsplit(value if "://" in value else f"https://{value}")
        host = (parts.hostname or "").lower()
    except ValueError:
        return None
    ours = host == "linkedin.com" or host.endswith(".linkedin.com")
    return parts.path if ours and parts.scheme in {"http", "https"} and not parts.username else None


def split_name(name: str) -> tuple[str, str]:
    """`Ada Lovelace` → (`Ada`, `Lovelace`); `Lovelace, Ada` too; one word is a first name."""
    if name.count(",") == 1:
        last, first = (part.strip() for part in name.split(","))
        if first and last:
            return first[:120], last[:120]
    first, _, last = name.partition(" ")
    return first[:120], last.strip()[:120]


def _shown(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:60])


def values_of_row(cells: Sequence[str], fields: Sequence[str], allow_reserved: bool) -> LeadValues:
    """The values of a row whose cell n is the field `fields[n]` (empty: not imported). Raises `BadValue`."""
    given = {name: cell for name, cell in zip(fields, cells, strict=False) if name and cell}
    found = lead_values(given, allow_reserved)
    if found.email is None:
        raise BadValue("email", t("leads.row_without_address"))
    return found


def custom_json(custom: Mapping[str, str]) -> str:
    return json.dumps(custom, ensure_ascii=False)
