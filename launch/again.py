"""The second question: what a whole run of bin/test does with a handful of failures.

Thousands of tests with real servers, browsers and clocks on two busy cores: now and then one of them fails for want of the machine and not of the
product. Each is asked once more, alone. What passes then is *unsteady*: named on the last lines, never silently. What proves a promise about
sending, reading or walls (`PROOFS`) has no second question where an assertion failed: a double that shows in one run of a hundred is a double.
See docs/decisions/0015-the-second-question.md.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

NOTED_IN = "TEST_FAILURES"  # the file that the runs of a round write their failures to
MOST = 5  # more failures than these are no accident of the machine
PROOFS = ("tests/engine/", "tests/engine_read/", "tests/ingest/", "tests/matrix/")
TOGETHER = {"serial", "browser"}  # what these files tell is one story: asked again whole
ASSERTIONS = ("AssertionError", "assert ", "Failed:")
OUT_OF_TIME = "Failed: Timeout"  # said by pytest-timeout; what the tests wait for themselves ends otherwise (tests/patience.py)


@dataclass(frozen=True)
class Failure:
    """One report of a test that failed: where, in which phase, and whether it may be asked again."""

    nodeid: str
    when: str
    proof: bool  # an assertion of a proof: nothing to ask
    together: bool

    @property
    def counted_as(self) -> str:
        """What pytest's last line counts it as."""
        return "failed" if self.when == "call" else "errors"

    @property
    def question(self) -> str:
        """What to hand to pytest."""
        return self.nodeid.split("::")[0] if self.together else self.nodeid


def note(report: Any) -> None:
    """Keep a pytest report that failed for the second question; called by the run that sees all workers' reports."""
    place = os.environ.get(NOTED_IN)
    if not place or not report.failed or "PYTEST_XDIST_WORKER" in os.environ:
        return
    words = getattr(getattr(report.longrepr, "reprcrash", None), "message", "")
    asserted = words.startswith(ASSERTIONS) and not words.startswith(OUT_OF_TIME)
    proof = report.nodeid.startswith(PROOFS) and "timed" not in report.keywords and asserted
    failure = Failure(report.nodeid, report.when, proof, bool(TOGETHER & set(report.keywords)))
    with Path(place).open("a") as file:
        file.write(json.dumps(asdict(failure)) + "\n")


def noted(place: Path) -> list[Failure]:
    """What `note` kept, in the order it happened."""
    return [Failure(**json.loads(line)) for line in place.read_text().splitlines()] if place.exists() else []


def worth_asking(failures: list[Failure], summary: Counter[str], codes: Iterable[int]) -> bool:
    """Whether these few failures are all there was, none of them is a proof's, and no run ended in another way than by failed tests."""
    known = Counter(failure.counted_as for failure in failures)
    whole = all(known[word] == summary[word] for word in ("failed", "errors"))
    return bool(failures) and len(failures) <= MOST and whole and set(codes) <= {0, 1} and not any(one.proof for one in failures)


def ask(failures: list[Failure], summary: Counter[str], run: Callable[..., int], say: Callable[[str], None]) -> bool:
    """Run what failed once more, alone; true if all of it passes now. `summary` then counts it as unsteady."""
    questions = list(dict.fromkeys(failure.question for failure in failures))
    say(f"asked once more, alone: {' '.join(questions)}")
    second: Counter[str] = Counter()
    if run(second, "-q", *questions) or not second["passed"]:
        return False
    for failure in failures:
        summary[failure.counted_as] -= 1
        summary["unsteady"] += 1
        print(f"UNSTEADY {failure.nodeid} ({failure.when}): failed in the whole run, passed alone", flush=True)
    return True
