"""bin/test, second half: what the suite needs from the machine, one pair of servers, the checks, the tests.

Without arguments the whole suite; `--quick` leaves out what is slow, thorough or timed, needs a browser or the whole machine, or kills processes (≤ 3 minutes);
everything else is handed to pytest (then only those tests run, without the checks). A whole run has three rounds: ordinary and
`slow` tests on several workers; then three lanes beside each other, for they wait more than they work: `browser`, `serial`, and
`kill`, which gives way to the others; then what is `timed`, with nothing beside it. A handful of failures is asked once more
(`launch/again.py`). The last line is pytest's, added up.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from launch import again, unpacked
from launch.errors import LaunchError
from launch.servers import running_pair
from launch.setup import BEGAN, ROOT, say

NOTHING_COLLECTED = 5
Round = tuple[tuple[str, ...], ...]
LANES = {"serial", "browser", "kill", "timed"}
ALONE = "serial or browser or kill or timed"
WORKERS = "3"  # one more than the cores of a small machine: tests also wait for servers and clocks
LEFT_OUT_QUICK = "slow or browser or kill or thorough or serial or timed"
KILLING = "kill and not (browser or timed)"
GIVING_WAY = ("nice", "-n", "5")  # what takes what the lanes beside it leave
CHECKS = (
    ("ruff", "check", "."),
    ("mypy",),
    ("lint-imports",),
)


@dataclass(frozen=True)
class Need:
    """A program the suite uses: where it may lie, the Debian packages that bring it, what is not tested without it."""

    programs: tuple[str, ...]
    packages: tuple[str, ...]
    without: str
    unpacked: bool = False  # not installed, as it excludes another need: see launch/unpacked.py
    otherwise: tuple[str, ...] = ()  # packages to take where the first ones are not known

    def found(self) -> bool:
        if self.unpacked:
            return all(unpacked.program(program).exists() for program in self.programs)
        places = [*os.environ.get("PATH", "").split(os.pathsep), "/usr/sbin", "/usr/lib/dovecot"]
        return any(shutil.which(program, path=os.pathsep.join(places)) for program in self.programs)


WORDS = {"error": "errors", "warning": "warnings"}
#: The first that is there is taken. The shell is the same browser without its own windows: a fifth less of the processor.
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
NEEDS = (
    Need(BROWSERS, ("chromium-headless-shell", "fonts-liberation"), "the browser journeys", otherwise=("chromium", "fonts-liberation")),
    Need(("dovecot",), ("dovecot-imapd", "dovecot-lmtpd"), "reading from a real IMAP server"),
    Need(("postfix",), ("postfix",), "handing mail to a real SMTP server"),
    Need(("exim4", "smtpd"), ("exim4-daemon-light", "opensmtpd"), "what three mail servers read in hostile headers", unpacked=True),
)


KILLS = "2000"  # how many sending processes the whole suite kills; a single test run by hand kills fewer
SIZES = {  # of what else the whole suite repeats by the thousand; docs/reliability.md says what the full sizes are
    "EMBERPOST_CALENDAR": "zone", "EMBERPOST_RACES": "20000", "EMBERPOST_CAP_MAILBOXES": "60", "EMBERPOST_START_STOPS": "100", "EMBERPOST_ORDERS": "1000",
    "EMBERPOST_FUZZ": "1000", "EMBERPOST_EVENTS": "1000", "EMBERPOST_INGEST_KILLS": "24",
    "EMBERPOST_API_EXAMPLES": "200",
}  # fmt: skip


def browser() -> str | None:
    """The browser that tests drive, or None."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def may_install() -> bool:
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(packages: list[str]) -> bool:
    """Install Debian packages without starting any of their services."""
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        for words in (("install", "-y", "-qq", "--no-install-recommends", *packages), ("update", "-qq")):
            done = subprocess.run(("apt-get", *words), env=quiet, capture_output=True, text=True, check=False)
            if done.returncode == 0 and words[0] == "install":
                return True
        last = ("apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages)
        done = subprocess.run(last, env=quiet, capture_output=True, text=True, check=False)
        if done.returncode:
            print(done.stderr.strip()[-800:], file=sys.stderr)
        return done.returncode == 0
    finally:
        if ours:
            policy.unlink(missing_ok=True)


def provide(needs: tuple[Need, ...]) -> list[Need]:
    """Install what is missing where we may; returns what is still missing, loudly."""
    missing = [need for need in needs if not need.found()]
    if missing and may_install():
        packages = [package for need in missing for package in need.packages if not need.unpacked]
        others = [package for need in missing for package in need.otherwise or need.packages if not need.unpacked]
        beside = [package for need in missing for package in need.packages if need.unpacked]
        say(f"installing {' '.join(packages + beside)}")
        if packages and not install(packages):
            install(others)
        if beside:
            unpacked.unpack(beside)
        missing = [need for need in missing if not need.found()]
    for need in missing:
        words = f"!! {need.programs[0]} is missing: {need.without} will be skipped"
        print(f"{words} (Debian: apt install {' '.join(need.packages)})", flush=True)
    return missing


def checks() -> list[str]:
    """Style, types, layers, beside each other: names of those that failed."""

    def look(words: tuple[str, ...]) -> tuple[str, int]:
        done = subprocess.run((str(Path(sys.executable).parent / words[0]), *words[1:]), cwd=ROOT, capture_output=True, text=True, check=False)
        print(done.stdout + done.stderr, end="", flush=True)
        say(f"{' '.join(words)}: {'failed' if done.returncode else 'fine'}")
        return " ".join(words), done.returncode

    with ThreadPoolExecutor(len(CHECKS)) as pool:
        return [name for name, code in pool.map(look, CHECKS) if code]


@contextmanager
def assertions_rewritten() -> Iterator[None]:
    """pytest rewrites all assertions of a file it sees for the first time: ten seconds' work, which each worker of each round would do
    for itself. Done once, beside the checks, which leave a core idle, and kept with the bytecode; what is wrong with a file the rounds say.
    """
    if _all_seen(ROOT / "tests"):
        yield
        return
    with subprocess.Popen((_pytest(), "--collect-only", "-q"), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        yield


def _all_seen(folder: Path) -> bool:
    """Has pytest kept what it made of each of these files as it is now?"""

    def seen(path: Path) -> bool:
        kept = (path.parent / "__pycache__").glob(f"{path.stem}.*-pytest-*.pyc")
        return any(one.stat().st_mtime >= path.stat().st_mtime for one in kept)

    return all(map(seen, folder.rglob("test_*.py")))


def _pytest() -> str:
    return str(Path(sys.executable).parent / "pytest")


def pytest(summary: Counter[str], *words: str, lane: str = "", aside: IO[str] | None = None) -> int:
    """Run pytest, add its last line to `summary`, return its exit code; nothing collected is no failure.

    `lane` keeps Redis names of runs beside each other apart; what a run says goes to `aside` where one is given.
    """
    command = [*(GIVING_WAY if KILLING in words else ()), _pytest(), *words]
    if sys.stdout.isatty() and aside is None:
        command.append("--color=yes")
    last, around = "", os.environ | {"TEST_LANE": lane}
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, errors="replace", env=around
    ) as running:
        for line in running.stdout or ():
            print(line, end="", flush=True, file=aside)
            last = line if line.strip() else last
    for count, word in re.findall(r"(\d+) ([a-z]+)", re.sub(r"\x1b\[[0-9;]*m", "", last).split(" in ")[0]):
        summary[WORDS.get(word, word)] += int(count)
    return 0 if running.returncode == NOTHING_COLLECTED else running.returncode


def side_by_side(summary: Counter[str], lanes: Round) -> list[int]:
    """Run the lanes of one round at the same time; what all but the first say is printed when both have ended."""
    if len(lanes) == 1:
        return [pytest(summary, *lanes[0])]
    with ExitStack() as stack:
        outputs = [None, *(stack.enter_context(tempfile.TemporaryFile("w+")) for _ in lanes[1:])]
        pool = stack.enter_context(ThreadPoolExecutor(len(lanes)))
        began = [pool.submit(pytest, summary, *words, lane=f"lane{number}", aside=output)
                 for number, (words, output) in enumerate(zip(lanes, outputs, strict=True))]  # fmt: skip
        codes = [one.result() for one in began]
        for output in outputs[1:]:
            assert output is not None
            output.seek(0)
            print(output.read(), flush=True)
    return codes


def summary_line(summary: Counter[str]) -> str:
    words = ("failed", "passed", "skipped", "deselected", "xfailed", "xpassed", "warnings", "errors", "unsteady")
    parts = [f"{summary[word]} {word}" for word in words if summary[word] and word != "deselected"]
    return f" {', '.join(parts) or 'no tests ran'} in {time.monotonic() - BEGAN:.2f}s ".center(80, "=")


def rounds(quick: bool, extra: list[str]) -> list[Round]:
    """The rounds of a run, one after the other; the pytest calls of one round run beside each other."""
    if extra:
        return [((*(("-m", f"not ({LEFT_OUT_QUICK})") if quick else ()), *extra),)]
    many = ("-q", "-n", WORKERS, "--dist", "worksteal", "-m")
    if quick:
        return [((*many, f"not ({LEFT_OUT_QUICK})"),)]
    return [((*many, f"not ({ALONE})"),),
            (_few("serial", "serial and not (kill or browser or timed)"), _few("browser", "browser"), _few("kill", KILLING)),
            (_few("timed", "timed"),)]  # fmt: skip


def _few(mark: str, expression: str) -> tuple[str, ...]:
    """A lane of the tests with ``mark``: only their files are read, as reading all takes a core four to nine seconds."""
    return ("-q", *(str(path.relative_to(ROOT)) for path in files_with(mark, ROOT / "tests")), "-m", expression)


def files_with(mark: str, folder: Path) -> list[Path]:
    """The test files in which a test may have ``mark``: it is named there, or in a conftest.py above (tests/conftest.py refuses any other way)."""
    named = re.compile(rf"mark\.{mark}\b")
    naming = [path for path in folder.rglob("*.py") if named.search(path.read_text(encoding="utf-8"))]
    found = {path for path in naming if path.name.startswith("test_")}
    for above in (path.parent for path in naming if path.name == "conftest.py" and path.parent != folder):
        found |= set(above.rglob("test_*.py"))
    return sorted(found)


def passed_again(summary: Counter[str], codes: list[int]) -> bool:
    """Whether the few tests that failed pass when asked once more, alone."""
    failures = again.noted(Path(os.environ.pop(again.NOTED_IN)))
    return again.worth_asking(failures, summary, codes) and again.ask(failures, summary, pytest, say)


def run(arguments: list[str]) -> int:
    os.environ.pop("EMBERPOST_BEGAN_AT", None)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # set in many containers: then each of a hundred processes compiles for itself
    quick = "--quick" in arguments
    extra = [word for word in arguments if word != "--quick"]
    with ThreadPoolExecutor(1) as beside:  # packages are waited for, checks compute
        providing = beside.submit(provide, () if quick else NEEDS)
        failed = []
        if not extra:
            with assertions_rewritten():
                failed = checks()
        missing = providing.result()
    summary: Counter[str] = Counter()
    with (
        tempfile.TemporaryDirectory(prefix="emberpost-test-", ignore_cleanup_errors=True) as folder,
        running_pair(folder, sync=False) as pair,
    ):
        os.environ["TEST_DATABASE_URL"], os.environ["TEST_REDIS_URL"] = pair.database_url, pair.redis_url
        if not quick and not extra:
            for name, size in {"EMBERPOST_KILLS": KILLS, **SIZES}.items():
                os.environ.setdefault(name, size)
        os.environ[again.NOTED_IN] = str(Path(folder) / "failures")
        codes = [code for lanes in rounds(quick, extra) for code in side_by_side(summary, lanes)]
        passed = not any(codes) or (not extra and passed_again(summary, codes))
    if not passed:
        failed.append("pytest")
    elif not summary:
        failed.append("no test was found: look at the path")
    if missing and in_ci():
        failed.append("set-up: " + ", ".join(need.programs[0] for need in missing) + " missing")
    late = f", {summary['unsteady']} only when asked again: see UNSTEADY above" if summary["unsteady"] else ""
    say(f"failed: {'; '.join(failed)}" if failed else f"all passed{late}")
    print(summary_line(summary), flush=True)
    return 1 if failed else 0


def main(arguments: list[str]) -> None:
    try:
        code = run(arguments)
    except LaunchError as problem:
        sys.exit(f"emberpost: {problem}")
    sys.exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
