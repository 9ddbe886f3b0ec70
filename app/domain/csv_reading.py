"""Tables out of CSV files as people really have them: any of the usual encodings and separators, and Excel's habits.

A table is a heading and rows; every row knows on which line of the file it began. Nothing here raises for the content of a row:
a row that cannot be trusted carries its fault, and the next one is read as if nothing had happened.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.domain.names import without_turns
from app.strings import t

MAX_COLUMNS = 200
MAX_ROWS = 500_000
#: A record over more lines than this is a quotation mark that opens and is never closed.
MAX_LINES_OF_A_RECORD = 60
#: After so many of those the file is no table (and reading it again from every line would never end).
MAX_UNCLOSED = 500

#: More cells in one line than any spreadsheet has columns: a file made to exhaust whoever reads it.
MAX_CELLS_OF_A_LINE = 20_000

#: So much of its first characters may be no text (a few bytes of a wrong encoding); a picture or an archive has a quarter and more.
HEAD, MOST_NOT_TEXT, FEW_NOT_TEXT = 4_000, 0.05, 20

SEPARATORS = (",", ";", "\t", "|")
_NOT_TEXT = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\ufffd]")
_SEP_LINE = re.compile(r"sep=(.)\s*\Z", re.IGNORECASE)
_ADDRESS = re.compile(r"[^\s@;,<>\"]+@[^\s@;,<>\"]+\.[^\s@;,<>\".]{2,}")
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_NO_ROWS = t("importing.no_rows")
#: Rows that are looked at before the others are read.
_LOOKED_AHEAD = 50


class UnreadableFile(ValueError):
    """The whole file cannot be read; `str(error)` says what to do."""


@dataclass(frozen=True, slots=True)
class Row:
    """One record. `line` is where it begins in the file, from 1; `fault` is a sentence when its cells cannot be trusted."""

    line: int
    cells: tuple[str, ...]
    fault: str = ""


@dataclass(frozen=True)
class Table:
    """A heading with unique, non-empty names, and the rows below it. `encoding` and `separator` say how it was read."""

    columns: tuple[str, ...]
    rows: Iterator[Row]
    encoding: str = ""
    separator: str = ""


def decode(data: bytes) -> tuple[str, str]:
    """The text of a file and the name of its encoding: by its mark, by its zeros, UTF-8, else Windows-1252."""
    for mark, name in ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        if data.startswith(mark):
            return data[len(mark) :].decode(name, "replace"), name
    start = data[:4_000]
    even, odd = start[0::2].count(0), start[1::2].count(0)
    if max(even, odd) > len(start) // 5:
        name = "utf-16-le" if odd > even else "utf-16-be"
        return data.decode(name, "replace"), name
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        return _windows_1252(data), "windows-1252"


def _windows_1252(data: bytes) -> str:
    """Windows-1252 as browsers read it: the five bytes it leaves undefined become control characters, which rows refuse."""
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:
        return "".join(bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in data)


def read_csv(data: bytes) -> Table:
    """The table of a CSV file. Raises `UnreadableFile` for a file without a single row or with too many columns."""
    text, encoding = decode(data)
    head = text[:HEAD]
    if len(_NOT_TEXT.findall(head)) > max(FEW_NOT_TEXT, len(head) * MOST_NOT_TEXT):
        raise UnreadableFile(t("importing.not_a_table"))
    lines = list(io.StringIO(text, newline=""))
    skip, separator = 0, ""
    if lines and (told := _SEP_LINE.match(lines[0].strip("\ufeff\r\n\"'"))):
        skip, separator = 1, told.group(1)
    elif lines and lines[0].strip("\r\n\"'").lower() == "sep=\t":
        skip, separator = 1, "\t"
    separator = separator or sniff_separator(lines)
    if any(_is_endless(line, separator) for line in lines):
        raise UnreadableFile(t("importing.too_many_columns", limit=MAX_COLUMNS))
    return with_heading(_records(lines, separator, skip), encoding, separator)


def _is_endless(line: str, separator: str) -> bool:
    return len(line) > MAX_CELLS_OF_A_LINE and line.count(separator) > MAX_CELLS_OF_A_LINE


def sniff_separator(lines: Sequence[str]) -> str:
    """The separator under which the first records have the same number of cells, more than one, most often."""
    head = list(itertools.islice((line for line in lines if line.strip()), 40))
    best, best_score = ",", 0.0
    for candidate in SEPARATORS:
        if any(_is_endless(line, candidate) for line in head):
            continue
        widths = [len(row.cells) for row in _records(head, candidate, 0) if any(row.cells)]
        if not widths:
            continue
        usual = max(set(widths), key=widths.count)
        score = (usual > 1) * widths.count(usual) / len(widths) * (1 + min(usual, 20) / 100)
        if score > best_score:
            best, best_score = candidate, score
    return best


def _records(lines: Sequence[str], separator: str, start: int) -> Iterator[Row]:
    """Cut lines into records. After a quotation mark that is never closed, reading goes on with the very next line."""
    unclosed_marks = 0
    while start < len(lines):
        reader = csv.reader(_from(lines, start), delimiter=separator)
        begun = start
        while True:
            broken = False
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error:
                broken, cells = True, []
            end = start + reader.line_num
            unclosed = end >= len(lines) and end - begun > 1 and _quotes_are_odd(lines[begun:end])
            if broken or end - begun > MAX_LINES_OF_A_RECORD or unclosed:
                yield Row(begun + 1, (lines[begun].rstrip("\r\n")[:500],), t("importing.quote_never_closed"))
                start, unclosed_marks = begun + 1, unclosed_marks + 1
                if unclosed_marks > MAX_UNCLOSED:
                    raise UnreadableFile(t("importing.quotes_all_over"))
                break
            yield Row(begun + 1, tuple(_plain(cell) for cell in cells))
            begun = end


def _from(lines: Sequence[str], start: int) -> Iterator[str]:
    return itertools.islice(lines, start, None) if start == 0 else (lines[at] for at in range(start, len(lines)))


def _quotes_are_odd(lines: Sequence[str]) -> bool:
    return sum(line.count('"') for line in lines) % 2 == 1


def _plain(cell: str) -> str:
    """A cell without Excel's `="007"` armour and without spaces around it."""
    if cell.startswith('="') and cell.endswith('"') and len(cell) > 3:
        cell = cell[2:-1].replace('""', '"')
    return cell.strip(" \t\r\n\u00a0\ufeff\u200b")


def with_heading(records: Iterator[Row], encoding: str = "", separator: str = "") -> Table:
    """Take the heading off the records; a first row that already holds an address is no heading. Raises `UnreadableFile`."""
    first = next((row for row in records if any(row.cells)), None)
    if first is None:
        raise UnreadableFile(_NO_ROWS)
    if len(first.cells) > MAX_COLUMNS:
        raise UnreadableFile(t("importing.too_many_columns", limit=MAX_COLUMNS))
    if any(_ADDRESS.fullmatch(cell) for cell in first.cells):
        sample, records = _looked_ahead(itertools.chain([first], records))
        width = max(_width(row.cells) for row in sample)
        return Table(tuple(t("importing.column", number=n) for n in range(1, width + 1)), _fitted(records, width), encoding, separator)
    sample, records = _looked_ahead(records)
    if len(sample) < _LOOKED_AHEAD and not any(row.fault or any(row.cells) for row in sample):
        raise UnreadableFile(_NO_ROWS)
    width = max([_width(first.cells), 1])
    # A heading that ends early (Excel drops empty ones) may still have values below it.
    widths = [_width(row.cells) for row in sample if not row.fault]
    if widths and first.cells and len(first.cells) > width and max(widths) > width:
        width = min(max(widths), len(first.cells))
    names = [*first.cells, *([""] * width)][:width]
    return Table(_unique(names), _fitted(records, width), encoding, separator)


def _looked_ahead(records: Iterator[Row]) -> tuple[list[Row], Iterator[Row]]:
    sample = list(itertools.islice(records, _LOOKED_AHEAD))
    return sample, itertools.chain(sample, records)


def _width(cells: Sequence[str]) -> int:
    """Cells up to the last one that holds something."""
    return next((n for n in range(len(cells), 0, -1) if cells[n - 1]), 0)


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    """Readable, unique names: empty ones get their number, repeated ones a count."""
    taken: dict[str, int] = {}
    unique = []
    for number, raw in enumerate(names, 1):
        name = " ".join(_CONTROLS.sub(" ", without_turns(raw)).split())[:100] or t("importing.column", number=number)
        taken[name] = taken.get(name, 0) + 1
        unique.append(name if taken[name] == 1 else f"{name} ({taken[name]})")
    return tuple(unique)


def _fitted(records: Iterator[Row], width: int) -> Iterator[Row]:
    """Rows with exactly `width` cells: short ones are filled, empty ones left out, those with too much carry a fault."""
    blank = ("",) * width
    for row in records:
        if row.fault:
            yield row
        elif len(row.cells) == width:
            if row.cells != blank:
                yield row
        elif (held := _width(row.cells)) > width:
            fault = t("importing.cells_out_of_place", held=held, width=width)
            yield Row(row.line, row.cells[:MAX_COLUMNS], fault)
        elif held:
            yield Row(row.line, (*row.cells, *blank)[:width])
