"""Files made to exhaust whoever reads them: each is refused with words or read in bounded memory and time, by pages and programs alike.

Each is read in a process of its own that the system ends above LIMIT_MB, so that a test can fail instead of the machine.
"""

from __future__ import annotations

import io
import json
import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from flask import Flask
from openpyxl import Workbook

from app.core.extensions import db
from app.models import Lead, LeadImport
from tests.api.api_client import ApiClient
from tests.factories import make_client, make_user
from tests.web.page_client import PageClient

ROOT = Path(__file__).resolve().parents[2]
LIMIT_MB = 900
READ = """
import json, sys
from app.domain.csv_reading import UnreadableFile
from app.domain.xlsx_reading import read_table, sheet_names
try:
    table = read_table(open(sys.argv[1], "rb").read())
    sheet_names(open(sys.argv[1], "rb").read())
    rows = list(table.rows)
    print(json.dumps({"rows": sum(not row.fault for row in rows), "faults": sum(bool(row.fault) for row in rows)}))
except UnreadableFile as error:
    print(json.dumps({"refused": str(error)}))
"""
SHEET = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'


def workbook(**replaced: bytes) -> bytes:
    """A workbook whose parts are ``replaced`` (name without folder and ending → content)."""
    book, plain, out = Workbook(), io.BytesIO(), io.BytesIO()
    book.active.append(["email", "name"])
    book.active.append(["ada@x.com", "Ada"])
    book.save(plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for part in source.infolist():
            target.writestr(part.filename, replaced.get(Path(part.filename).stem, source.read(part.filename)))
    return out.getvalue()


FILES = {
    "zip_bomb": lambda: workbook(sheet1=SHEET + b" " * 120_000_000),
    "many_strings": lambda: workbook(sharedStrings=b"<sst>" + b"<si><t/></si>" * 3_000_000 + b"</sst>"),
    "entities": lambda: workbook(sheet1=b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><worksheet>&b;</worksheet>'),
    "a_million_columns": lambda: (",".join(f"c{n}" for n in range(1_000_000)) + "\n" + "x," * 1_000_000).encode(),
    "only_separators": lambda: b"email,name\n" + b"," * 29_000_000,
    "one_long_line": lambda: b"email,name\n" + b"x" * 29_000_000,
    "only_quotes": lambda: b"email,name\n" + b'"' * 5_000_000,
    "nested_quotes": lambda: b"email,name\n" + b'a@b.example,"x""y\n' * 100_000,
    "nulls": lambda: b"email,name\n" + b"\x00" * 20_000_000,
}  # fmt: skip
REFUSED = {"zip_bomb", "entities", "a_million_columns", "only_separators", "nulls"}


@pytest.mark.thorough
@pytest.mark.parametrize("name", FILES)
def test_no_file_takes_more_than_its_share(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(FILES[name]())
    limit = LIMIT_MB * 1024 * 1024

    def bounded() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    done = subprocess.run(
        [sys.executable, "-c", READ, str(path)], cwd=ROOT, capture_output=True, text=True, timeout=120, preexec_fn=bounded, check=False
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    found = json.loads(done.stdout)
    assert bool(found.get("refused")) is (name in REFUSED), found


def test_pages_and_programs_refuse_them_with_words_and_keep_nothing(app: Flask) -> None:
    client = make_client(slug="acme")
    user = make_user(client)
    page, program = PageClient(app).log_in(user), ApiClient(app).log_in(user)
    for name in sorted(REFUSED - {"zip_bomb", "only_separators"}):
        raw = FILES[name]()
        page.get("/c/acme/imports/new")
        shown = page.post("/c/acme/imports/new", {"file": (io.BytesIO(raw), "x.csv")}, content_type="multipart/form-data")
        told = program.send("POST", "/api/imports", data={"file": (io.BytesIO(raw), "x.csv"), "client_id": str(client.id)})
        assert shown.status == told.status == 422 and told.json["details"]["file"], name
    huge = b"email,name\n" + b"a@b.example,Ada\n" * 6_600_000
    shown = page.post("/c/acme/imports/new", {"file": (io.BytesIO(huge), "x.csv")}, content_type="multipart/form-data")
    told = program.send("POST", "/api/imports", data={"file": (io.BytesIO(huge), "x.csv"), "client_id": str(client.id)})
    assert (shown.status, told.status) == (413, 413), "a hundred megabytes are not even read"
    db.session.rollback()
    assert db.session.query(LeadImport).count() == db.session.query(Lead).count() == 0
