"""Starting the two commands for real, in folders of their own."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from launch.servers import free_port

ROOT = Path(__file__).resolve().parent.parent.parent
Answer = TypeVar("Answer")
TOOLS = (
    "bash",
    "env",
    "dirname",
    "readlink",
    "sh",
    "mkdir",
    "rmdir",
    "cat",
    "locale",
    "rm",
    "uname",
    "unshare",
    "python3",
)


class Run:
    """A running bin/run: its lines, its end, its processes."""

    def __init__(self, words: list[str], port: int, data: Path, environment: dict[str, str]) -> None:
        self.port, self.data = port, data
        self.lines: list[str] = []
        self._fresh: queue.Queue[str | None] = queue.Queue()
        self.process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.lines.append(line.rstrip("\n"))
            self._fresh.put(self.lines[-1])
        self._fresh.put(None)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, words: str, seconds: float = 120) -> str:
        """The first line that holds `words`."""
        until = time.monotonic() + seconds
        for line in list(self.lines):
            if words in line:
                return line
        while time.monotonic() < until:
            with contextlib.suppress(queue.Empty):
                line = self._fresh.get(timeout=0.2)
                if line is None:
                    break
                if words in line:
                    return line
        raise AssertionError(f"{words!r} was not said; what was said:\n{self.output}\n{self.logs()}")

    def logs(self) -> str:
        return "\n".join(f"== {path.name}\n{path.read_text()[-1500:]}" for path in (self.data / "logs").glob("*.log"))

    def close(self) -> None:
        if self.process.stdout is not None:
            self._reader.join(5)
            self.process.stdout.close()

    def stop(self, number: int = signal.SIGINT, seconds: float = 40) -> int:
        self.process.send_signal(number)
        code = self.process.wait(seconds)
        self._reader.join(5)
        return code

    def programs(self, *named: str) -> list[psutil.Process]:
        """Those of the family that bear one of these names and still run: helpers of a start end while one looks."""
        return [process for process in self.family() if told(process.name) in named]

    def family(self) -> list[psutil.Process]:
        """Everything that belongs to this run: descendants, and whoever names the data folder."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []


def told(question: Callable[[], Answer]) -> Answer | None:
    """What a process says of itself; None when it ended before it could answer."""
    try:
        return question()
    except psutil.NoSuchProcess:
        return None


def gone(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those of `processes` still alive after waiting (zombies are dead)."""
    until = time.monotonic() + seconds
    alive = processes
    while alive and time.monotonic() < until:
        time.sleep(0.1)
        alive = [one for one in alive if is_alive(one)]
    return alive


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def bare_path(folder: Path) -> str:
    """A PATH that holds what a shell script needs and no server and no node."""
    folder.mkdir()
    for name in TOOLS:
        if found := str(Path(sys.executable).resolve()) if name == "python3" else shutil.which(name):
            (folder / name).symlink_to(found)
    return str(folder)


Starter = Callable[..., Run]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    """start(data=…, port=…, words=[...], before=[...], **environment) → Run; everything is stopped afterwards."""
    running: list[Run] = []

    def begin(*words: str, data: Path | None = None, port: int | None = None, before: tuple[str, ...] = (),
              **environment: str) -> Run:  # fmt: skip
        data, port = data or tmp_path / "data", port or free_port()
        unwanted = ("DATABASE_URL", "REDIS_URL", "PYTHONPATH", "EMBERPOST_BEGAN_AT")
        inherited = {name: value for name, value in os.environ.items() if name not in unwanted}
        command = [*before, str(ROOT / "bin" / "run"), "--data", str(data), "--port", str(port), *words]
        running.append(Run(command, port, data, inherited | environment))
        return running[-1]

    yield begin
    for one in running:
        family = one.family()
        if one.process.poll() is None:
            one.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                one.process.wait(30)
            one.process.kill()
        for left in gone(family, 15):
            left.kill()
        one.close()
