"""The Procfile and what bin/run starts are one list; a family of processes outlives falls and leaves nobody behind."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from launch import processes
from tests.launch.conftest import ROOT, gone

pytestmark = pytest.mark.slow  # the file takes long together


def test_every_process_of_the_procfile_has_an_entry_that_can_be_called() -> None:
    for entry in processes.procfile().values():
        if entry.module == "gunicorn":
            config = entry.arguments[entry.arguments.index("--config") + 1]
            assert (ROOT / config).exists()
            assert entry.arguments[-1] == "wsgi:app"
            continue
        source = (ROOT / entry.module.replace(".", "/")).with_suffix(".py").read_text()
        functions = {node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}
        assert "main" in functions, f"{entry.module} has no main()"


def test_bin_run_starts_the_whole_procfile_but_for_what_web_does_as_well() -> None:
    named = set(processes.procfile())
    assert {"web", "dispatch", "read", "work-fast", "work", "scheduler"} <= named
    assert {entry.name for entry in processes.started_here()} == named - set(processes.FOLDED)
    assert set(processes.FOLDED) <= named
    assert set(processes.FOLDED.values()) <= named


def test_a_line_that_is_neither_gunicorn_nor_a_module_is_refused() -> None:
    with pytest.raises(ValueError, match="neither gunicorn nor python -m"):
        processes.parse_line("web", "bash -c 'sleep 1'")


SCRIPT = """
import os, signal, sys, threading, time
from functools import partial
from pathlib import Path
from launch.processes import Child, Family

folder = Path(sys.argv[1])

def good():
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    stop.wait()
    (folder / "drained").touch()
    return 0

def stubborn():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(100)
    return 0

def falling():
    with (folder / "falls").open("a") as note:
        note.write(".")
    print("LunarError: because of the moon")
    return 3

family = Family(lambda text: print(text, flush=True), 1.0)
for name, work in (("good", good), ("stubborn", stubborn), ("falling", falling)):
    family.add(Child(name, work, folder / f"{name}.log"))
print("pids", *(child.pid for child in family.children), flush=True)
stopping = []
signal.signal(signal.SIGTERM, lambda *_: stopping.append(1))
while not stopping:
    family.look_after()
    time.sleep(0.05)
family.stop()
print("left", len(family.children), flush=True)
"""


@pytest.fixture
def family(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        yield running
        running.kill()


def pids(family: subprocess.Popen[str]) -> list[psutil.Process]:
    assert family.stdout is not None
    return [psutil.Process(int(word)) for word in family.stdout.readline().split()[1:]]


def test_a_fallen_process_is_started_again_later_each_time_and_said_so(
    family: subprocess.Popen[str], tmp_path: Path
) -> None:
    pids(family)
    assert family.stdout is not None
    said = [family.stdout.readline() for _ in range(3)]
    assert ["again in 0.5 s" in said[0], "again in 1 s" in said[1], "again in 2 s" in said[2]] == [True] * 3
    assert all("falling ended (code 3; " in line for line in said)
    assert "because of the moon" in said[0]
    assert len((tmp_path / "falls").read_text()) >= 3
    family.terminate()
    family.wait(10)


def test_who_drains_may_finish_and_who_does_not_is_killed(family: subprocess.Popen[str], tmp_path: Path) -> None:
    children = pids(family)
    time.sleep(0.3)
    family.send_signal(signal.SIGTERM)
    rest, _ = family.communicate(timeout=15)
    assert (tmp_path / "drained").exists()
    assert "stubborn did not end within 1 s and was killed" in rest
    assert "left 0" in rest
    assert gone(children, 1) == []


def test_nobody_survives_a_parent_that_was_killed(family: subprocess.Popen[str], tmp_path: Path) -> None:
    """The gentle ones end at once, the stubborn one after its patience: nothing is left."""
    children = pids(family)
    time.sleep(0.3)
    os.kill(family.pid, signal.SIGKILL)
    family.wait()
    assert gone(children[:1], 3) == []
    assert (tmp_path / "drained").exists()
    assert gone(children, 12) == []
