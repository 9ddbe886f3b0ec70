"""The processes of the Procfile, forked from one parent that has imported everything before any connection exists.

Seven processes at up to two seconds of imports each would not start quickly on a small machine. The parent opens no
connection and starts no thread; each child belongs to a process group of its own (so a Ctrl-C reaches only the parent,
which then stops the others in order), asks the kernel for SIGTERM when the parent dies, and looks after its parent
itself in case the kernel cannot.
"""

import contextlib
import gc
import importlib
import os
import pkgutil
import runpy
import shlex
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from launch.errors import last_error
from launch.identity import call_process, die_with_parent

ROOT = Path(__file__).resolve().parent.parent
FOLDED = {"stream": "web"}  # the browser talks to one port: `web` serves the live stream as well
PRELOADED = ("app", "jobs", "sandbox")
PRELOADED_TOO = ("gunicorn.app.wsgiapp", "gunicorn.workers.gthread", "psycopg", "psycopg_pool", "flask_migrate",
                 "alembic.command", "alembic.autogenerate", "sqlalchemy.dialects.postgresql.psycopg", "rq", "uvloop",
                 "email.mime.text", "encodings.idna")  # fmt: skip
BACK_OFF = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
QUIET_AFTER = 60.0
LOG_LIMIT = 20 << 20


@dataclass(frozen=True)
class Entry:
    """One line of the Procfile: a module with arguments, started in a fork of the parent."""

    name: str
    module: str
    arguments: tuple[str, ...]


def parse_line(name: str, command: str) -> Entry:
    words = shlex.split(command)
    if words[0] == "gunicorn":
        return Entry(name, "gunicorn", tuple(words[1:]))
    if words[:2] == ["python", "-m"]:
        return Entry(name, words[2], tuple(words[3:]))
    raise ValueError(f"the Procfile's {name} is neither gunicorn nor python -m: {command}")


def procfile(path: Path = ROOT / "Procfile") -> dict[str, Entry]:
    """Every process of the Procfile by its name."""
    lines = [line.strip() for line in path.read_text().splitlines()]
    pairs = [line.split(":", 1) for line in lines if line and not line.startswith("#")]
    return {name.strip(): parse_line(name.strip(), command.strip()) for name, command in pairs}


def started_here() -> list[Entry]:
    """What bin/run starts: the Procfile without what another process does as well (FOLDED)."""
    return [entry for entry in procfile().values() if entry.name not in FOLDED]


def preload(rehearsal: bool, say: Callable[[str], None]) -> None:
    """Import the product. Opens no connection, starts no thread. A module that fails is left to who needs it."""
    gc.disable()  # collecting while thousands of classes are made costs a tenth of the start
    for name in PRELOADED:
        if name == "sandbox" and not rehearsal:
            continue
        package = importlib.import_module(name)
        for found in pkgutil.walk_packages(package.__path__, f"{name}.", onerror=lambda _name: None):
            if not found.name.rpartition(".")[2].startswith(("gunicorn_", "__")):
                try:
                    importlib.import_module(found.name)
                except Exception as problem:
                    say(f"{found.name} cannot be imported: {problem!r}")
    for name in PRELOADED_TOO:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    if threading.active_count() > 1:
        names = [thread.name for thread in threading.enumerate()]
        raise RuntimeError(f"importing the product started threads: {names}")
    gc.collect()
    gc.freeze()
    gc.enable()


def call_entry(entry: Entry) -> int:
    """Run the entry in this process as its command line would."""
    if entry.module == "gunicorn":
        from gunicorn.app.wsgiapp import run  # type: ignore[import-untyped]

        sys.argv = ["gunicorn", *entry.arguments]
        run()
        return 0
    sys.argv = [f"python -m {entry.module}", *entry.arguments]
    main = getattr(importlib.import_module(entry.module), "main", None)
    if main is None:
        runpy.run_module(entry.module, run_name="__main__", alter_sys=True)
        return 0
    return int(main() or 0)


def open_log(path: Path) -> int:
    with contextlib.suppress(OSError):
        if path.stat().st_size > LOG_LIMIT:
            path.replace(path.with_suffix(".log.1"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)


def watch_parent(parent: int, patience: float) -> None:
    """End this process when its parent is gone, gently first."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(patience)
        with contextlib.suppress(OSError):
            os.killpg(os.getpgid(0), signal.SIGKILL)

    threading.Thread(target=watch, name="watch-parent", daemon=True).start()


def fork(work: Callable[[], int], log: Path, *, keep: tuple[int, ...] = (), close: tuple[int, ...] = (),
         patience: float = 15.0) -> int:  # fmt: skip
    """Run `work` in a child; returns its pid. `keep`: descriptors a program in the child may inherit."""
    parent = os.getpid()
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setpgid(0, 0)
        if ask_kernel := die_with_parent(signal.SIGTERM):
            ask_kernel()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        out = open_log(log)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (out, 1), (out, 2)):
            os.dup2(source, target)
        for descriptor in close:
            os.close(descriptor)
        for descriptor in keep:
            os.set_inheritable(descriptor, True)
        watch_parent(parent, patience)
        code = work()
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
        if isinstance(ending.code, str):
            print(ending.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def run_once(work: Callable[[], int], log: Path) -> int:
    """Run `work` in a child, so that the parent keeps no connection of it; returns its exit code."""
    _, status = os.waitpid(fork(work, log), 0)
    return os.waitstatus_to_exitcode(status)


@dataclass
class Child:
    """A process that is meant to run until it is stopped."""

    name: str
    work: Callable[[], int]
    log: Path
    keep: tuple[int, ...] = ()
    close: tuple[int, ...] = ()
    pid: int = 0
    began: float = 0.0
    falls: int = 0
    again_at: float = 0.0

    def start(self, patience: float) -> None:
        self.began = time.monotonic()
        self.pid = fork(self.named_work, self.log, keep=self.keep, close=self.close, patience=patience)

    def named_work(self) -> int:
        call_process(f"ember:{self.name}")
        return self.work()

    def ended(self) -> int | None:
        """The exit code when the process has ended; None while it runs (or waits for its next start)."""
        if not self.pid:
            return None
        found, status = os.waitpid(self.pid, os.WNOHANG)
        if not found:
            return None
        self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def send(self, number: int, group: bool = False) -> None:
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if group else os.kill)(self.pid, number)


@dataclass
class Family:
    """All children: started, watched, started again when they fall, stopped in order."""

    say: Callable[[str], None]
    drain_seconds: float = 10.0
    children: list[Child] = field(default_factory=list)

    def add(self, child: Child) -> None:
        self.children.append(child)
        child.start(self.drain_seconds + 5)

    def look_after(self) -> None:
        """Start again what has fallen, later each time it falls soon."""
        now = time.monotonic()
        for child in self.children:
            code = child.ended()
            if code is not None:
                child.falls = 0 if now - child.began > QUIET_AFTER else child.falls + 1
                wait = BACK_OFF[min(child.falls, len(BACK_OFF)) - 1] if child.falls else BACK_OFF[0]
                child.again_at = now + wait
                cause = f"{last_error(child.log)}; " if child.falls == 1 and code > 0 else ""
                self.say(f"{child.name} ended ({explain(code)}; {cause}see {child.log}), again in {wait:g} s")
            elif not child.pid and now >= child.again_at:
                child.start(self.drain_seconds + 5)

    def stop(self, names: set[str] | None = None) -> None:
        """Ask the named children (all without names) to end, wait the drain time, then insist."""
        chosen = [child for child in self.children if names is None or child.name in names]
        for child in chosen:
            child.send(signal.SIGTERM)
        until = time.monotonic() + self.drain_seconds + 1.0
        while time.monotonic() < until and any(child.pid for child in chosen):
            for child in chosen:
                child.ended()
            time.sleep(0.02)
        for child in chosen:
            if child.pid:
                self.say(f"{child.name} did not end within {self.drain_seconds:g} s and was killed")
                child.send(signal.SIGKILL, group=True)
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(child.pid, 0)
                child.pid = 0
        self.children = [child for child in self.children if child not in chosen]

    def kill(self) -> None:
        for child in self.children:
            child.send(signal.SIGKILL, group=True)


def explain(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"code {code}"
