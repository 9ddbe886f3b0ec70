"""SEARCH: a list of tokens becomes one predicate over messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from email.header import decode_header, make_header
from email.message import Message
from email.utils import parsedate_to_datetime

from sandbox.mail.imap_wire import BadCommand, Token, select_numbers, text_of
from sandbox.mail.store import StoredMessage

Predicate = Callable[[int, StoredMessage], bool]  # (sequence number, message)

FLAG_KEYS = {name: f"\\{name.capitalize()}" for name in ("SEEN", "ANSWERED", "DELETED", "DRAFT", "FLAGGED", "RECENT")}


def compile_search(tokens: list[Token], uids: Sequence[int]) -> Predicate:
    """A predicate for `SEARCH tokens`; `uids` are the session's messages in order (needed for sets)."""
    left = list(tokens)
    if left and isinstance(left[0], str) and left[0].upper() == "CHARSET":
        del left[:2]
    return _all_keys(left, uids)


def _all_keys(left: list[Token], uids: Sequence[int]) -> Predicate:
    parts: list[Predicate] = []
    while left:
        parts.append(_key(left, uids))
    return lambda number, message: all(part(number, message) for part in parts)


def _key(left: list[Token], uids: Sequence[int]) -> Predicate:
    token = left.pop(0)
    if isinstance(token, list):
        return _all_keys(list(token), uids)
    name = text_of(token).upper()
    try:
        for kind in (_flag_key(name), _compound_key(name, left, uids), _text_key(name, left)):
            if kind is not None:
                return kind
        return _value_key(name, left, uids)
    except IndexError as missing:
        raise BadCommand(f"SEARCH {name} lacks its argument") from missing


def _flag_key(name: str) -> Predicate | None:
    if name in ("ALL", "OLD"):
        return lambda number, message: True
    if name == "NEW":
        return lambda number, message: "\\Seen" not in message.flags
    if name in FLAG_KEYS:
        flag = FLAG_KEYS[name]
        return lambda number, message: flag in message.flags
    if name.startswith("UN") and name[2:] in FLAG_KEYS:
        flag = FLAG_KEYS[name[2:]]
        return lambda number, message: flag not in message.flags
    return None


def _compound_key(name: str, left: list[Token], uids: Sequence[int]) -> Predicate | None:
    if name == "NOT":
        inner = _key(left, uids)
        return lambda number, message: not inner(number, message)
    if name == "OR":
        first, second = _key(left, uids), _key(left, uids)
        return lambda number, message: first(number, message) or second(number, message)
    return None


def _text_key(name: str, left: list[Token]) -> Predicate | None:
    if name in ("FROM", "TO", "CC", "BCC", "SUBJECT"):
        return _header_contains(name, text_of(left.pop(0)))
    if name == "HEADER":
        field = text_of(left.pop(0))
        return _header_contains(field, text_of(left.pop(0)))
    if name in ("BODY", "TEXT"):
        needle = text_of(left.pop(0)).lower().encode()
        whole = name == "TEXT"
        return lambda number, message: needle in (message.raw if whole else message.raw[len(message.head) :]).lower()
    if name in ("KEYWORD", "UNKEYWORD"):
        flag, wanted = text_of(left.pop(0)), name == "KEYWORD"
        return lambda number, message: (flag in message.flags) is wanted
    return None


def _header_contains(field: str, needle: str) -> Predicate:
    wanted = needle.lower()
    plain = wanted.encode() if field.upper() == "MESSAGE-ID" else b""  # never encoded: no need to parse heads without it

    def contains(_number: int, message: StoredMessage) -> bool:
        if plain and plain not in message.head.lower():
            return False
        return any(wanted in value.lower() for value in _values(message.parsed, field))

    return contains


def _values(head: Message, field: str) -> list[str]:
    """A header's values, raw and decoded, so that both an encoded word and its meaning are found."""
    values: list[str] = []
    for value in head.get_all(field, []):
        raw = " ".join(str(value).split())
        values.append(raw)
        try:
            values.append(str(make_header(decode_header(raw))))
        except (ValueError, LookupError):
            continue
    return values


def _value_key(name: str, left: list[Token], uids: Sequence[int]) -> Predicate:
    if name in ("SINCE", "BEFORE", "ON"):
        return _by_date(name, left, lambda message: message.internal_date.date())
    if name in ("SENTSINCE", "SENTBEFORE", "SENTON"):
        return _by_date(name.removeprefix("SENT"), left, _sent_date)
    if name == "LARGER":
        limit = int(text_of(left.pop(0)))
        return lambda number, message: len(message.raw) > limit
    if name == "SMALLER":
        limit = int(text_of(left.pop(0)))
        return lambda number, message: len(message.raw) < limit
    if name == "MODSEQ":
        least = int(text_of(left.pop(0)))
        return lambda number, message: message.modseq >= least
    if name == "UID":
        wanted = set(select_numbers(text_of(left.pop(0)), uids))
        return lambda number, message: message.uid in wanted
    numbers = set(select_numbers(name, range(1, len(uids) + 1)))
    return lambda number, message: number in numbers


def _by_date(name: str, left: list[Token], of: Callable[[StoredMessage], date | None]) -> Predicate:
    try:
        wanted = datetime.strptime(text_of(left.pop(0)), "%d-%b-%Y").replace(tzinfo=UTC).date()
    except ValueError as bad:
        raise BadCommand("Bad date") from bad

    def fits(_number: int, message: StoredMessage) -> bool:
        day = of(message)
        if day is None:
            return False
        return day >= wanted if name == "SINCE" else day < wanted if name == "BEFORE" else day == wanted

    return fits


def _sent_date(message: StoredMessage) -> date | None:
    try:
        return parsedate_to_datetime(str(message.parsed.get("Date"))).date()
    except (ValueError, TypeError):
        return None
