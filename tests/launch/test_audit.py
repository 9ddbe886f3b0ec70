"""bin/audit: what is a find, what is a service that was not asked, and which licences nobody agreed to."""

from __future__ import annotations

import json
from email.message import Message
from typing import Any

import pytest

from launch import audit
from launch.audit import FINE, FOUND, NOT_ASKED, Package, Result

AGREED: dict[str, Any] = {"allowed": ["MIT", "Apache-2.0", "BSD-3-Clause", "PSF-2.0"], "reviewed": {"psycopg": "LGPL, as a library"}}
CLEAN = {"name": "flask", "version": "3.1.0", "vulns": []}
WEAK = {"name": "jinja2", "version": "3.0.0", "vulns": [{"id": "PYSEC-2025-1", "fix_versions": ["3.1.6"], "aliases": []}]}
SKIPPED = {"name": "flask", "skip_reason": "Dependency not found and could not be audited: flask (3.1.0)"}


def told(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": list(packages), "fixes": []})


def python(code: int, out: str, err: str = "") -> Result:
    result = Result()
    audit.read_pip_audit("requirements.txt", code, out, err, result)
    return result


def npm(code: int, out: str, err: str = "") -> Result:
    result = Result()
    audit.read_npm_audit(code, out, err, result)
    return result


def test_a_clean_answer_a_weakness_and_no_answer_end_with_three_different_numbers() -> None:
    assert python(0, told(CLEAN)).code == FINE
    found = python(1, told(CLEAN, WEAK))
    assert found.code == FOUND and found.weak == ["jinja2 3.0.0: PYSEC-2025-1 (repaired in: 3.1.6)"] and not found.away
    assert len({FINE, FOUND, NOT_ASKED}) == 3


@pytest.mark.parametrize("err", ["ConnectionError: Max retries exceeded (Caused by NameResolutionError)", "503 Server Error", "", "ValueError: odd"])
def test_a_service_out_of_reach_is_never_a_clean_bill(err: str) -> None:
    for result in (python(1, "", err), python(0, "", err), npm(1, "", err), npm(0, "{}", err)):
        assert result.code == NOT_ASKED and len(result.away) == 1 and not result.asked


def test_packages_that_the_service_does_not_know_were_not_asked_about() -> None:
    none, some = python(0, told(SKIPPED, {**SKIPPED, "name": "click"})), python(0, told(SKIPPED, CLEAN))
    assert none.code == some.code == NOT_ASKED and not none.asked and "2 of 2 packages (the service asked knows nothing of flask)" in none.away[0]
    assert some.asked == ["requirements.txt: 1 packages"] and "1 of 2 packages" in some.away[0]
    assert python(1, told(SKIPPED, WEAK)).code == FOUND, "a find is a find, whatever else could not be asked"


def test_the_front_ends_answer_is_read_the_same_way() -> None:
    total = {"metadata": {"dependencies": {"total": 8}}}
    assert npm(0, json.dumps({"vulnerabilities": {}, **total})).asked == ["package-lock.json: 8 packages"]
    weak = npm(1, json.dumps({"vulnerabilities": {"uplot": {"severity": "high", "range": "<1.6.33"}}, **total}))
    assert weak.code == FOUND and weak.weak == ["uplot: high (in <1.6.33)"]
    away = npm(1, json.dumps({"message": "405 Method Not Allowed - POST https://somewhere.example/bulk", "error": {}}))
    assert away.code == NOT_ASKED and away.away == ["package-lock.json: its service cannot be asked from here"]
    odd = npm(1, json.dumps({"message": "read timed out: https://somewhere.example/bulk", "error": {}}))
    assert odd.away == ["package-lock.json: read timed out: …"], "addresses of one machine are not written down"


@pytest.mark.parametrize(("expression", "fine"), [
    ("MIT", True), ("MIT OR GPL-3.0-only", True), ("MIT AND PSF-2.0", True), ("MIT AND GPL-3.0-only", False), ("(MIT OR GPL-2.0) ", True),
    ("GPL-3.0-only", False), ("AGPL-3.0", False), ("LGPL-3.0-only", False), ("", False), ("Proprietary", False),
])  # fmt: skip
def test_a_licence_is_agreed_to_or_named(expression: str, fine: bool) -> None:
    result = Result()
    audit.licences({"something": expression, "psycopg": "LGPL-3.0-only"}, AGREED, result)
    assert (result.code == FINE) is fine and bool(result.licences) is not fine


def test_what_was_looked_at_and_is_gone_is_named_too() -> None:
    result = Result()
    audit.licences({"flask": "MIT"}, AGREED, result)
    assert result.licences == ["psycopg is looked at in launch/licences.json and not installed"]


def test_a_licence_is_read_from_whichever_field_says_it() -> None:
    def package(**fields: str) -> Any:
        made = Message()
        for name, value in fields.items():
            made[name.replace("_", "-")] = value
        return made

    assert audit.licence_of(package(License_Expression="BSD-3-Clause")) == "BSD-3-Clause"
    assert audit.licence_of(package(Classifier="License :: OSI Approved :: MIT License", License="a long text\nof a licence")) == "MIT"
    assert audit.licence_of(package(License="Apache 2.0")) == "Apache-2.0"
    assert audit.licence_of(package(Classifier="License :: OSI Approved :: GNU General Public License v3 (GPLv3)")) == "GPL-3.0"
    assert audit.licence_of(package(License="see the file")) == audit.licence_of(package()) == ""


def test_a_lock_is_read_line_by_line() -> None:
    text = "flask[async]==3.1.0 \\\n    --hash=sha256:aa\ncolorama==0.4.6 ; sys_platform == 'win32' \\\n    --hash=sha256:bb\n"
    assert audit.locked(text) == [Package("flask", "3.1.0"), Package("colorama", "0.4.6", only_elsewhere=True)]
    assert audit.locked(text, ["Colorama"])[1].only_elsewhere is False


def test_every_package_that_is_installed_now_has_a_licence_somebody_agreed_to() -> None:
    result = audit.audit(offline=True)
    assert result.licences == [] and sum(result.counts.values()) > 80


def test_the_last_audit_is_written_down_with_its_day_and_what_was_not_asked() -> None:
    text = (audit.ROOT / "docs" / "audit.md").read_text()
    assert "Written by `bin/audit --record` on 20" in text and "## Licences" in text
    assert "Asked about" in text or "Not asked" in text
