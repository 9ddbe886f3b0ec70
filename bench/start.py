"""How long a start takes until the product says ``ready:`` ``python -m bench.start [--cold] [--firsts]``.

*first*: environment there, empty data folder (made, migrated, first mail counted at its receiver). *again*: the same folder once
more. *cold* (only with ``--cold``): a fresh clone of the last commit without an environment; packages as the machine has them.
*first answer*, *first stop* (only with ``--firsts``): seconds after ``ready:`` until the rehearsal's first answer stands in the
inbox, and until it has ended a sequence.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

from bench import figures
from launch.servers import free_port

ROOT = Path(__file__).resolve().parent.parent
_SAID = re.compile(r"^\[ *([0-9.]+) s\] (.*)$")


def start(
    root: Path, data: Path, *words: str, patience: float = 300.0, then: Callable[[str], None] = lambda url: None
) -> tuple[float, list[tuple[float, str]]]:
    """Start, wait for ``ready:``, do what comes ``then``, stop; seconds, and every step that was said with its seconds."""
    began = time.monotonic()
    child = subprocess.Popen(
        [str(root / "bin" / "run"), "--data", str(data), "--port", str(free_port()), *words], cwd=root, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, env={name: value for name, value in os.environ.items() if name != "EMBERPOST_BEGAN_AT"},
    )  # fmt: skip
    steps: list[tuple[float, str]] = []
    spent = 0.0
    assert child.stdout is not None
    try:
        for line in child.stdout:
            if found := _SAID.match(line):
                steps.append((float(found[1]), found[2]))
            if line.startswith("ready:"):
                spent = time.monotonic() - began
                then(line.split()[1])
                break
            if time.monotonic() - began > patience:
                break
    finally:
        child.send_signal(signal.SIGTERM)
        rest = child.communicate(timeout=60)[0]
    if not spent:
        raise RuntimeError(f"it never said ready: {steps[-3:]} {rest[-500:]}")
    return spent, steps


def _ask(url: str, path: str, token: str = "", body: dict[str, str] | None = None) -> dict[str, Any]:
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    request = urllib.request.Request(url.rstrip("/") + path, json.dumps(body).encode() if body else None, headers)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
        return cast("dict[str, Any]", json.load(answer))


def firsts(data: Path, url: str, patience: float = 700.0) -> None:
    """Ask the API every quarter of a second."""
    ready = time.monotonic()
    password = (data / "login.txt").read_text().partition("password: ")[2].split()[0]
    token = str(_ask(url, "/api/auth/login", body={"email": "admin@emberdemo.test", "password": password})["access_token"])
    wanted = {"first answer": "/api/inbox/conversations?limit=1", "first stop": "/api/campaigns/1/leads?status=replied&limit=1"}
    while wanted and time.monotonic() - ready < patience:
        for name, path in list(wanted.items()):
            if _ask(url, path, token)["items"]:
                del wanted[name]
                print(f"{name}: {time.monotonic() - ready:.1f} s after ready", flush=True)
        time.sleep(0.25)
    if wanted:
        raise RuntimeError(f"within {patience:.0f} s there was no {', no '.join(wanted)}")


def show(name: str, outcome: tuple[float, list[tuple[float, str]]]) -> None:
    spent, steps = outcome
    print(f"{name}: {spent:.1f} s until ready")
    before = 0.0
    for at, words in steps:
        if at - before >= 0.3:
            print(f"    {at - before:5.1f} s  {words[:90]}")
        before = at


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--cold", action="store_true")
    words.add_argument("--firsts", action="store_true")
    words.add_argument("--rounds", type=int, default=3)
    chosen = words.parse_args()
    print(figures.machine(), flush=True)
    with tempfile.TemporaryDirectory(prefix="emberpost-start-") as folder:
        home = Path(folder)
        then = partial(firsts, home / "data") if chosen.firsts else lambda url: None
        show("first", start(ROOT, home / "data", then=then))
        again = [start(ROOT, home / "data") for _ in range(chosen.rounds)]
        show("again", sorted(again)[len(again) // 2])
        if chosen.cold:
            subprocess.run(("git", "clone", "-q", str(ROOT), str(home / "clone")), check=True)
            show("cold", start(home / "clone", home / "data-of-clone"))


if __name__ == "__main__":
    main()
