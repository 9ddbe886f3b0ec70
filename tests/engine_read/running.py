"""The reading engine beside a test: in a thread of the test's process, or as a process of its own that can be killed."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from flask import Flask

from app.core.config import Settings
from jobs.reading.engine import Engine
from tests.patience import in_time


def until(question: Callable[[], Any], seconds: float = 10.0, every: float = 0.02) -> Any:
    """Ask until the answer is true; fails the test with the last answer after ``seconds``."""
    end = time.monotonic() + seconds
    while not (answer := question()):
        in_time(time.monotonic() < end, f"still {answer!r} after {seconds} s")
        time.sleep(every)
    return answer


@contextmanager
def running_engine(app: Flask, settings: Settings) -> Iterator[Engine]:
    box: dict[str, Any] = {}
    ready = threading.Event()

    async def run() -> None:
        box["engine"], box["loop"] = Engine(app, settings), asyncio.get_running_loop()
        ready.set()
        await box["engine"].run()

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="reading-engine")
    thread.start()
    ready.wait(10)
    try:
        yield box["engine"]
    finally:
        box["loop"].call_soon_threadsafe(box["engine"].stop)
        thread.join(20)
        assert not thread.is_alive(), "the engine did not leave"


def reader_process(settings: Settings) -> multiprocessing.process.BaseProcess:
    """``jobs.read.main`` in a process of its own, started; forked from a helper that has the imports and nothing else."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.engine_read.running", "jobs.read"])
    process = context.Process(target=_read, args=(settings,), daemon=True)
    process.start()
    return process


def _read(settings: Settings) -> None:
    from jobs.read import main

    main(settings)
