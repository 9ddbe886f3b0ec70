"""Forks production sending processes from one parent that has imported everything, made the application and holds no connection.

Reads one JSON object per line ({"settings": {...}} to start a worker), answers with its pid; says `{"ended": pid}` when one ended.
"""

from __future__ import annotations

import encodings.punycode  # noqa: F401  the first connection asks for it
import gc
import json
import os
import select
import signal
import sys
from dataclasses import replace

import uvloop  # noqa: F401  the engine imports it when it starts its loop
from flask import Flask

import jobs.dispatch
from app import bind_tools
from app.core.config import Settings
from jobs.base import start_process
from launch.identity import die_with_parent

_apps: dict[Settings, Flask] = {}
_ask_kernel = die_with_parent(9)


def app_for(settings: Settings) -> Flask:
    """The application for these settings; made once per family of settings that differ in their failpoints only."""
    family = replace(settings, failpoints="")
    if family not in _apps:
        _apps[family] = start_process("dispatch", family)
        jobs.dispatch.warm()
        gc.collect()
        gc.freeze()
    return _apps[family]


def start(values: dict[str, object], log: str) -> int:
    settings = Settings(**values)  # type: ignore[arg-type]
    app = app_for(settings)
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        if _ask_kernel:
            _ask_kernel()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(out, 2)
        bind_tools(settings)
        app.extensions["settings"] = settings
        jobs.dispatch.serve(app, checked=False)
        code = 0
    finally:
        os._exit(code)


def say(what: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def woken_by_deaths() -> int:
    """A file that can be read once a child has ended."""
    woken, wake = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    return woken


def main(log: str) -> None:
    alive: set[int] = set()
    pending = b""
    woken = woken_by_deaths()
    while True:
        ready, _, _ = select.select([0, woken], [], [])
        if woken in ready:
            os.read(woken, 4_096)
        if 0 in ready:
            chunk = os.read(0, 65_536)
            if not chunk:
                return
            pending += chunk
            *lines, pending = pending.split(b"\n")
            for line in lines:
                pid = start(json.loads(line)["settings"], log)
                alive.add(pid)
                say({"started": pid})
        for pid in sorted(alive):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                alive.discard(pid)
                say({"ended": pid, "code": os.waitstatus_to_exitcode(status)})


if __name__ == "__main__":
    main(sys.argv[1])
