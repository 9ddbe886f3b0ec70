"""The keeper on a real ledger: sets the clock, jumps under the lock, and stands still while everything is stopped."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import psycopg
import pytest

from app.core.clock import set_clock
from app.core.db import HOT_LOCK
from sandbox.clock_keeper import ClockKeeper
from sandbox.ports import ask_world, wait_for_world
from sandbox.world import World, WorldConfig

BERLIN = ZoneInfo("Europe/Berlin")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """An empty world in a thread, its clock unknown until the keeper speaks."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    made = World(WorldConfig(tmp_path / "world"), [], [])
    asyncio.run_coroutine_threadsafe(made.start(), loop).result(10)
    yield made
    asyncio.run_coroutine_threadsafe(made.stop(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)
    loop.close()


@pytest.fixture
def keeper(database_url: str, world: World, tmp_path: Path) -> ClockKeeper:
    return ClockKeeper(database_url, tmp_path / "world", world.mail.ports.control)


def test_a_new_rehearsal_starts_monday_morning_and_the_world_is_told(keeper: ClockKeeper, world: World) -> None:
    with keeper.connect() as connection:
        keeper.prepare(connection)
        keeper.step(connection)
        now = keeper.look(connection).now
    local = now.astimezone(BERLIN)
    assert (local.weekday(), local.hour, local.minute) == (0, 8, 55)
    assert world.clock_known
    assert abs(world.clock.now() - now) < timedelta(minutes=5)
    assert world.clock.factor == 60


def test_the_night_is_jumped_over_and_the_world_follows(keeper: ClockKeeper, world: World) -> None:
    evening = datetime(2026, 11, 23, 18, 0, tzinfo=BERLIN)
    with keeper.connect() as connection:
        set_clock(connection, evening, 60)
        target = keeper.step(connection)
        now = keeper.look(connection).now
    assert target == datetime(2026, 11, 24, 8, 55, tzinfo=BERLIN)
    assert timedelta(0) <= now - target < timedelta(minutes=5)
    assert abs(world.clock.now() - now) < timedelta(minutes=5)


def test_the_jump_waits_for_permits_that_hold_the_hot_lock(keeper: ClockKeeper, database_url: str) -> None:
    evening = datetime(2026, 11, 23, 18, 0, tzinfo=BERLIN)
    with keeper.connect() as connection, psycopg.connect(database_url, autocommit=True) as permit:
        set_clock(connection, evening, 60)
        permit.execute("SELECT pg_advisory_lock_shared(%s)", (HOT_LOCK,))
        done: list[object] = []
        thread = threading.Thread(target=lambda: done.append(keeper.step(connection)))
        thread.start()
        time.sleep(0.4)
        assert not done, "a permit is open: the clock may not move"
        permit.execute("SELECT pg_advisory_unlock_shared(%s)", (HOT_LOCK,))
        thread.join(5)
    assert done
    assert done[0] is not None


def test_a_second_start_goes_on_where_the_first_one_stopped(keeper: ClockKeeper, tmp_path: Path) -> None:
    with keeper.connect() as connection:
        keeper.prepare(connection)
        stood = keeper.look(connection).now + timedelta(days=2)
        beat = {"product": stood.isoformat(), "machine": time.time() - 86_400}
        (tmp_path / "world" / "clock.json").write_text(json.dumps(beat))
        keeper.prepare(connection)
        assert timedelta(0) <= keeper.look(connection).now - stood < timedelta(minutes=10)


def test_a_restart_of_the_keeper_alone_leaves_the_running_clock_alone(keeper: ClockKeeper) -> None:
    with keeper.connect() as connection:
        keeper.prepare(connection)
        keeper.step(connection)
        before = keeper.look(connection).row
        keeper.prepare(connection)
        assert keeper.look(connection).row == before


def test_mail_that_has_just_arrived_holds_the_clock(keeper: ClockKeeper, world: World) -> None:
    world._last_arrival = time.monotonic()
    assert ask_world(world.mail.ports.control, "/next-act")["busy"] is True
    with keeper.connect() as connection:
        set_clock(connection, datetime(2026, 11, 23, 18, 0, tzinfo=BERLIN), 60)
        assert keeper.step(connection) is None


@pytest.mark.slow
def test_the_world_process_keeps_the_clock_of_its_ledger_over_a_restart(database_url: str, tmp_path: Path) -> None:
    environment = {**os.environ, "DATABASE_URL": database_url, "EMBERPOST_DATA": str(tmp_path)}
    shown: list[datetime] = []
    for _ in range(2):
        with subprocess.Popen(
            [sys.executable, "-m", "sandbox.world"], env=environment, stdout=subprocess.DEVNULL, cwd=ROOT
        ) as process:
            ports = wait_for_world(tmp_path / "world", 40)
            shown.append(datetime.fromisoformat(ask_world(ports.control, "/next-act")["now"]))
            process.terminate()
            assert process.wait(15) == 0
    assert shown[0].astimezone(BERLIN).weekday() == 0
    assert timedelta(0) < shown[1] - shown[0] < timedelta(minutes=10), "the clock stood while nothing ran"
