"""The second question of a whole run: who is asked again, who is not, and what the last line says."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from launch import again
from launch import test as suite

HOOK = "from launch import again\ndef pytest_runtest_logreport(report): again.note(report)\n"
LATE = """from pathlib import Path
def test_late():
    seen = Path(__file__).with_name("seen")
    late = not seen.exists()
    seen.touch()
    assert not late
"""


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose runs note their failures as those of this project do."""
    (tmp_path / "conftest.py").write_text(HOOK)
    monkeypatch.setenv("PYTHONPATH", str(suite.ROOT))
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    monkeypatch.setenv(again.NOTED_IN, str(tmp_path / "failures"))
    return tmp_path


def run(room: Path, summary: Counter[str], *words: str) -> int:
    """pytest in that folder; questions are names below it."""
    named = [str(room / word) if word.startswith("test") else word for word in words]
    return suite.pytest(summary, "-p", "no:xdist", "-c", "/dev/null", "--rootdir", str(room), *named)


def asked(room: Path, *files: str) -> tuple[bool, Counter[str]]:
    """Run these files, then ask again: did the whole pass, and what does the last line count?"""
    summary: Counter[str] = Counter()
    code = run(room, summary, "-q", *files)
    failures = again.noted(Path(os.environ[again.NOTED_IN]))
    if not again.worth_asking(failures, summary, [code]):
        return code == 0, summary
    return again.ask(failures, summary, lambda second, *words: run(room, second, *words), lambda words: None), summary


@pytest.mark.slow
def test_what_passes_alone_is_named_unsteady_and_no_failure(room: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (room / "test_late.py").write_text(LATE + "def test_good(): pass\n")
    passed, summary = asked(room, "test_late.py")
    assert passed
    assert summary["failed"] == 0 and summary["passed"] == 1 and summary["unsteady"] == 1
    assert "UNSTEADY test_late.py::test_late (call)" in capsys.readouterr().out
    assert "1 unsteady" in suite.summary_line(summary)


@pytest.mark.slow
def test_what_fails_again_fails_the_run(room: Path) -> None:
    (room / "test_bad.py").write_text("def test_bad(): assert False\n")
    passed, summary = asked(room, "test_bad.py")
    assert not passed and summary["failed"] == 1 and summary["unsteady"] == 0


@pytest.mark.slow
def test_a_set_up_that_failed_once_is_asked_again(room: Path) -> None:
    fixture = LATE.replace("def test_late", "import pytest\n@pytest.fixture\ndef late").replace("assert not late", "assert not late, 'late'")
    (room / "test_set_up.py").write_text(fixture + "def test_uses(late): pass\n")
    passed, summary = asked(room, "test_set_up.py")
    assert passed and summary["errors"] == 0 and summary["unsteady"] == 1


@pytest.mark.slow
def test_an_assertion_of_a_proof_is_never_asked_again_but_what_kept_the_proof_from_speaking_is(room: Path) -> None:
    folder = room / "tests" / "engine"
    folder.mkdir(parents=True)
    (folder / "test_late.py").write_text(LATE)
    passed, summary = asked(room, "tests/engine/test_late.py")
    assert not passed and summary["failed"] == 1
    (room / "failures").unlink()
    (folder / "test_server.py").write_text(LATE.replace('"seen"', '"served"').replace("assert not late", "if late: raise OSError('no server')"))
    slow = LATE.replace('"seen"', '"slow"').replace("assert not late", "if late: __import__('pytest').fail('Timeout (>900.0s)')")
    (folder / "test_slow.py").write_text(slow)
    passed, summary = asked(room, "tests/engine/test_server.py", "tests/engine/test_slow.py")
    assert passed and summary["unsteady"] == 2


def one(name: str = "tests/web/test_a.py::test_a", **changes: object) -> again.Failure:
    return again.Failure(**{"nodeid": name, "when": "call", "proof": False, "together": False, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("failures", "counted", "codes"),
    [
        ([], {}, [0]),  # nothing failed
        ([one(f"tests/web/test_{n}.py::test_a") for n in range(again.MOST + 1)], {"failed": again.MOST + 1}, [1]),
        ([one()], {"failed": 2}, [1]),  # one failure was not noted: a run that died while saying so
        ([one()], {"failed": 1, "errors": 1}, [1]),
        ([one()], {"failed": 1}, [1, 2]),  # a run was interrupted
        ([one(), one("tests/engine/test_b.py::test_b", proof=True)], {"failed": 2}, [1]),
    ],
)  # fmt: skip
def test_other_endings_are_what_they_are(failures: list[again.Failure], counted: dict[str, int], codes: list[int]) -> None:
    assert not again.worth_asking(failures, Counter(counted), codes)


def test_a_story_is_asked_again_whole_and_once() -> None:
    asked: list[tuple[str, ...]] = []
    chapters = [one(f"tests/story/test_s.py::test_{n}", together=True) for n in "ab"]

    def ask(second: Counter[str], *words: str) -> int:
        asked.append(words)
        second["passed"] += 2
        return 0

    summary = Counter({"failed": 2})
    assert again.ask(chapters, summary, ask, lambda words: None)
    assert asked == [("-q", "tests/story/test_s.py")] and summary["unsteady"] == 2


def test_a_second_question_that_finds_no_test_proves_nothing() -> None:
    assert not again.ask([one()], Counter({"failed": 1}), lambda second, *words: 0, lambda words: None)
