"""What a mailbox shows us, as plain values, and how they are read from responses."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone

from app.channels.imap_folders import Folder
from app.channels.imap_wire import Response, Value, encode_folder
from app.domain.gmail import GmailFacts


@dataclass(frozen=True, slots=True)
class FolderState:
    """What SELECT told; `highestmodseq` 0: the server keeps none."""

    uidvalidity: int
    uidnext: int
    highestmodseq: int
    exists: int


@dataclass(frozen=True, slots=True)
class Fetched:
    """One message. `raw` holds at most the asked size (`truncated` then), or only the header for `fetch_headers`."""

    uid: int
    flags: frozenset[str]
    internaldate: datetime | None
    size: int
    raw: bytes = field(repr=False)
    truncated: bool = False
    gmail: GmailFacts | None = None


@dataclass(frozen=True, slots=True)
class MailboxEvent:
    """Something changed while idle: kind exists, expunge, fetch or recent, with the server's number."""

    kind: str
    number: int


def wire_name(folder: Folder | str) -> str:
    return folder.wire_name if isinstance(folder, Folder) else encode_folder(folder)


def code(texts: str, name: str) -> int:
    found = re.search(rf"\[{name} (\d+)\]", texts, re.IGNORECASE)
    return int(found.group(1)) if found else 0


def event(response: Response) -> list[MailboxEvent]:
    kind = response.kind.lower()
    interesting = response.tag == b"*" and kind in {"exists", "expunge", "fetch", "recent", "vanished"}
    return [MailboxEvent(kind, response.number)] if interesting else []


def flag(flag: str) -> bytes:
    if not re.fullmatch(r"\\?[A-Za-z0-9$_.-]+", flag):
        raise ValueError(f"not an IMAP flag: {flag!r}")
    return flag.encode("ascii")


def _pairs(response: Response) -> dict[bytes, Value]:
    items = response.values[0] if response.values and isinstance(response.values[0], list) else []
    return {bytes(key).upper(): value for key, value in zip(items[::2], items[1::2], strict=False) if isinstance(key, bytes)}


def date_of(response: Response) -> tuple[int, datetime | None] | None:
    """(UID, INTERNALDATE) of a FETCH response that carries a UID and names that item."""
    pairs = _pairs(response)
    uid = pairs.get(b"UID")
    if not isinstance(uid, bytes) or not uid.isdigit() or b"INTERNALDATE" not in pairs:
        return None
    return int(uid), _parse_date(pairs[b"INTERNALDATE"])


def fetched(response: Response) -> Fetched | None:
    """A FETCH response that carries a UID; others are unasked news about flags."""
    pairs = _pairs(response)
    uid, size = pairs.get(b"UID"), pairs.get(b"RFC822.SIZE")
    body = next((value for key, value in pairs.items() if key.startswith(b"BODY[")), None)
    if not isinstance(uid, bytes) or not uid.isdigit() or not isinstance(body, bytes):
        return None
    flags = pairs.get(b"FLAGS")
    words = flags if isinstance(flags, list) else []
    names = frozenset(word.decode("ascii", "replace") for word in words if isinstance(word, bytes))
    octets = int(size) if isinstance(size, bytes) and size.isdigit() else len(body)
    date = pairs.get(b"INTERNALDATE")
    whole = any(key.startswith(b"BODY[]") for key in pairs)
    return Fetched(int(uid), names, _parse_date(date), octets, bytes(body), whole and len(body) < octets, _gmail(pairs))


def _gmail(pairs: dict[bytes, Value]) -> GmailFacts | None:
    message, thread, labels = (pairs.get(name) for name in (b"X-GM-MSGID", b"X-GM-THRID", b"X-GM-LABELS"))
    if not (isinstance(message, bytes) and message.isdigit() and isinstance(thread, bytes) and thread.isdigit()):
        return None
    words = labels if isinstance(labels, list) else []
    return GmailFacts(int(message), int(thread), frozenset(one.decode("utf-8", "replace") for one in words if isinstance(one, bytes)))


_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_DATE = re.compile(rb"\s*(\d{1,2})-([A-Za-z]{3})-(\d{4}) (\d{2}):(\d{2}):(\d{2}) ([+-])(\d{2})(\d{2})")


def _parse_date(value: Value) -> datetime | None:
    found = _DATE.match(value) if isinstance(value, bytes) else None
    if not found:
        return None
    try:
        day, year, hour, minute, second = (int(found.group(i)) for i in (1, 3, 4, 5, 6))
        month = _MONTHS.index(found.group(2).decode().title()) + 1
        offset = timedelta(hours=int(found.group(8)), minutes=int(found.group(9)))
        zone = timezone(-offset if found.group(7) == b"-" else offset)
        return datetime(year, month, day, hour, minute, second, tzinfo=zone).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def internal_date(date: datetime) -> bytes:
    utc = date.astimezone(UTC)
    return f"{utc.day:2d}-{_MONTHS[utc.month - 1]}-{utc:%Y %H:%M:%S} +0000".encode("ascii")
