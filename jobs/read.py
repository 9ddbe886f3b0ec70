"""The reading process: ``python -m jobs.read``. No connection exists before ``main`` runs, so it may be forked."""

from __future__ import annotations

import asyncio
import signal

from flask import Flask

from app.core.config import Settings, load_settings
from jobs.base import Heartbeat, start_process
from jobs.reading.engine import Engine


def main(settings: Settings | None = None) -> None:
    """Read mailboxes until SIGTERM or SIGINT."""
    settings = settings or load_settings()
    app = start_process("read", settings)
    beat = Heartbeat(app, "read").start()
    try:
        asyncio.run(_run(app, settings))
    finally:
        beat.stop()


async def _run(app: Flask, settings: Settings) -> None:
    engine = Engine(app, settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, engine.stop)
    await engine.run()


if __name__ == "__main__":
    main()
