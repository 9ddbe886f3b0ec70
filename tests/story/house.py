"""A whole instance started by its own command, for stories told from outside."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from launch.servers import free_port

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 300.0
Found = TypeVar("Found")


@dataclass
class House:
    """What ``bin/run`` printed so far, and where its pages are."""

    process: subprocess.Popen[str]
    url: str
    data: Path
    lines: list[str] = field(default_factory=list)

    def read(self) -> None:
        for line in self.process.stdout or ():
            self.lines.append(line.rstrip())

    def said(self, pattern: str) -> str | None:
        """The first match in what was printed."""
        return next((found.group(0) for line in self.lines if (found := re.search(pattern, line))), None)

    def logs(self, lines: int = 30) -> str:
        parts = [f"== {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) for path in (self.data / "logs").glob("*.log")]
        return "\n".join([*self.lines, *parts])


def wait_for(what: str, ask: Callable[[], Found | None], seconds: float, pause: float = 0.25, logs: Callable[[], str] | None = None) -> Found:
    """The first truthy answer, or a failure that says what did not happen."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = ask()
        if found:
            return found
        time.sleep(pause)
    raise AssertionError(f"{what} did not happen within {seconds:.0f} s\n{logs() if logs else ''}")


@contextmanager
def running_house(*arguments: str, **environment: str) -> Iterator[House]:
    """``bin/run`` with a data folder and a port of its own; stopped by SIGINT at the end."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="emberpost-story-", ignore_cleanup_errors=True) as folder:
        kept = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "REDIS_URL"}}
        process = subprocess.Popen(
            [str(ROOT / "bin" / "run"), "--port", str(port), "--data", folder, *arguments],
            cwd=ROOT, env={**kept, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        house = House(process, f"http://127.0.0.1:{port}", Path(folder))
        threading.Thread(target=house.read, daemon=True).start()
        try:
            wait_for("ready", lambda: house.said("^ready: ") or process.poll() is not None, READY_SECONDS, logs=house.logs)
            assert process.poll() is None, house.logs()
            yield house
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise AssertionError(f"bin/run did not stop within a minute\n{house.logs()}") from None
