"""Tables out of Excel workbooks: only values, only one sheet, and no file that grows without end when it is unpacked."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Iterator
from datetime import date, datetime, time
from typing import Any

from openpyxl import load_workbook

from app.domain.csv_reading import MAX_COLUMNS, MAX_ROWS, Row, Table, UnreadableFile, read_csv, with_heading
from app.strings import t

MAX_UNPACKED = 400 * 1024 * 1024
MAX_PARTS = 2_000
MAX_RATIO = 250

_OLD_EXCEL = b"\xd0\xcf\x11\xe0"
_NOT_EXCEL = t("importing.not_excel")


def is_workbook(data: bytes) -> bool:
    return data.startswith(b"PK\x03\x04")


def sheet_names(data: bytes) -> tuple[str, ...]:
    """The sheets of a workbook in their order; of a CSV file: none. Raises `UnreadableFile`."""
    if not is_workbook(data):
        return ()
    book = _open(data)
    try:
        return tuple(sheet.title for sheet in book.worksheets)
    finally:
        book.close()


def read_table(data: bytes, sheet: str = "") -> Table:
    """The table of an uploaded file, whatever kind it is; `sheet` names one of a workbook (default: the first)."""
    if not data.strip():
        raise UnreadableFile(t("importing.empty_file"))
    if data.startswith(_OLD_EXCEL):
        raise UnreadableFile(t("importing.old_excel"))
    if data.startswith((b"%PDF", b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"\x1f\x8b")):
        raise UnreadableFile(t("importing.not_a_table"))
    return _read_sheet(data, sheet) if is_workbook(data) else read_csv(data)


def _open(data: bytes) -> Any:
    _refuse_bombs(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return load_workbook(io.BytesIO(data), read_only=True, data_only=True, keep_links=False)
    except Exception:  # openpyxl lets anything through that a broken file can cause
        raise UnreadableFile(_NOT_EXCEL) from None


def _refuse_bombs(data: bytes) -> None:
    """Look at what the archive says it holds, and at the head of each part, before anything is unpacked whole."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts = archive.infolist()
            unpacked = sum(part.file_size for part in parts)
            if len(parts) > MAX_PARTS or unpacked > MAX_UNPACKED or unpacked > MAX_RATIO * max(len(data), 4096):
                raise UnreadableFile(t("importing.larger_inside"))
            for part in parts:
                if part.filename.endswith((".xml", ".rels")):
                    with archive.open(part) as stream:
                        head = stream.read(4096)
                    if b"<!DOCTYPE" in head or b"<!ENTITY" in head:
                        raise UnreadableFile(_NOT_EXCEL)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError):
        raise UnreadableFile(_NOT_EXCEL) from None


def _read_sheet(data: bytes, name: str) -> Table:
    book = _open(data)
    sheets = {sheet.title: sheet for sheet in book.worksheets}
    if not sheets:
        raise UnreadableFile(t("importing.no_sheet"))
    if name and name not in sheets:
        raise UnreadableFile(t("importing.no_such_sheet", name=name[:60], sheets=", ".join(list(sheets)[:10])))
    return with_heading(_rows(sheets[name] if name else book.worksheets[0]), "xlsx")


def _rows(sheet: Any) -> Iterator[Row]:
    sheet.reset_dimensions()  # what the file says of its own size is not believed
    try:
        for line, values in enumerate(sheet.iter_rows(max_row=MAX_ROWS * 2, max_col=MAX_COLUMNS + 1, values_only=True), 1):
            held = next((n for n in range(len(values), 0, -1) if values[n - 1] is not None), 0)
            yield Row(line, tuple(_text(value) for value in values[:held]))
    except UnreadableFile:
        raise
    except Exception:
        raise UnreadableFile(_NOT_EXCEL) from None


def _text(value: Any) -> str:
    """A cell as a person would type it."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.replace("_x000D_", "").strip(" \t\r\n\u00a0\ufeff\u200b")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(sep=" ", timespec="minutes")
    if isinstance(value, date | time):
        return value.isoformat()
    return str(value)
