"""Many mailboxes at once: lines pasted from a spreadsheet or a CSV become the fields of mailboxes, each line with its own errors.

With a head line the columns may stand in any order; without one the order is address, password, name, SMTP host, SMTP port,
IMAP host, IMAP port. One password column serves both servers.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field

from app.strings import t

MOST_LINES = 500
POSITIONS = ("email", "smtp_password", "display_name", "smtp_host", "smtp_port", "imap_host", "imap_port")
_NAMES = {
    "email": "email", "e-mail": "email", "mail": "email", "address": "email", "email address": "email", "mailbox": "email",
    "password": "smtp_password", "app password": "smtp_password", "pass": "smtp_password", "smtp password": "smtp_password",
    "imap password": "imap_password", "name": "display_name", "display name": "display_name", "from name": "display_name",
    "sender name": "display_name", "smtp host": "smtp_host", "smtp server": "smtp_host", "smtp": "smtp_host", "smtp port": "smtp_port",
    "smtp security": "smtp_security", "smtp user": "smtp_user", "smtp username": "smtp_user", "user": "smtp_user", "username": "smtp_user",
    "imap host": "imap_host", "imap server": "imap_host", "imap": "imap_host", "imap port": "imap_port", "imap security": "imap_security",
    "imap user": "imap_user", "imap username": "imap_user", "timezone": "timezone", "time zone": "timezone", "daily cap": "daily_cap",
    "daily limit": "daily_cap", "gap": "min_gap_s", "min gap s": "min_gap_s",
}  # fmt: skip


@dataclass(frozen=True)
class MailboxLine:
    """``number`` counts from 1 as the person sees it; ``raw`` is the line as it was written; ``problem`` a sentence or empty."""

    number: int
    raw: str
    values: dict[str, str] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class Reading:
    """``head`` is the raw head line, or empty; ``unknown`` columns of it are not taken."""

    lines: list[MailboxLine]
    head: str = ""
    unknown: tuple[str, ...] = ()


def read_lines(text: str) -> Reading:
    """Read pasted or uploaded text. Raises ValueError with a sentence when there is nothing or too much."""
    raws = [(number, raw) for number, raw in enumerate(text.lstrip("\ufeff").splitlines(), 1) if raw.strip()]
    if not raws:
        raise ValueError(t("mailboxes.lines_none"))
    separator = _separator([raw for _, raw in raws[:20]])
    cells = [(number, raw, _cells(raw, separator)) for number, raw in raws]
    columns, head = _columns(cells[0][2]), ""
    unknown: tuple[str, ...] = ()
    if columns:
        head = cells[0][1]
        unknown = tuple(name.strip() for name, known in zip(cells[0][2], columns, strict=True) if not known and name.strip())
        cells = cells[1:]
    if len(cells) > MOST_LINES:
        raise ValueError(t("mailboxes.lines_too_many", limit=MOST_LINES))
    return Reading(_without_doubles([_line(number, raw, found, columns or POSITIONS) for number, raw, found in cells]), head, unknown)


def _separator(raws: list[str]) -> str:
    return max("\t;,", key=lambda sign: (sum(sign in raw for raw in raws), sum(raw.count(sign) for raw in raws)))


def _cells(raw: str, separator: str) -> list[str]:
    try:
        return next(csv.reader(io.StringIO(raw), delimiter=separator), [])
    except csv.Error:
        return raw.split(separator)


def _columns(cells: list[str]) -> tuple[str, ...]:
    """Fields of a head line; () when the first line is no head: it holds an address."""
    if any("@" in cell for cell in cells):
        return ()
    names = tuple(_NAMES.get(" ".join(cell.lower().replace("_", " ").split()), "") for cell in cells)
    return names if "email" in names else ()


def _line(number: int, raw: str, cells: list[str], columns: tuple[str, ...]) -> MailboxLine:
    if len(cells) > len(columns) and any(cell.strip() for cell in cells[len(columns) :]):
        return MailboxLine(number, raw, problem=t("mailboxes.lines_columns", n=len(cells), known=len(columns)))
    pairs = zip(columns, cells, strict=False)
    values = {name: cell if name.endswith("password") else cell.strip() for name, cell in pairs if name and cell.strip()}
    if "email" not in values:
        return MailboxLine(number, raw, values, t("mailboxes.lines_no_address"))
    return MailboxLine(number, raw, values)


def _without_doubles(lines: list[MailboxLine]) -> list[MailboxLine]:
    first: dict[str, int] = {}
    checked = []
    for line in lines:
        key = line.values.get("email", "").lower()
        if key and not line.problem and key in first:
            line = MailboxLine(line.number, line.raw, line.values, t("mailboxes.lines_twice", line=first[key]))
        first.setdefault(key, line.number)
        checked.append(line)
    return checked
