"""The only writer of the rehearsal's clock row.

A new rehearsal starts Monday 08:55 of its zone at ×60; closed hours are jumped over when nothing is in flight. The
jump is decided twice: once by looking, and again under the exclusive hot lock, where no permit can be committed between
the look and the jump. While everything is stopped the clock stands: the time of the last beat is kept in a file, and
the next start goes on from there.

    python -m sandbox.clock_keeper --data DIR        (DATABASE_URL; the world usually runs this in a thread)
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import threading
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg

from app.core.clock import ClockRow, set_clock
from app.core.db import HOT_LOCK, OWNER_ROLE
from sandbox.clock_policy import OpenHours, first_monday, next_jump
from sandbox.demo_world import DEMO_ZONE
from sandbox.ports import ask_world, world_folder, world_ports

FACTOR = 60.0
LOOK_EVERY_S = 0.5
PRODUCT_MARGIN = timedelta(minutes=2)  # how far product time may have run on after the last beat
RESTART_S = 120.0  # a beat younger than this: only this process was restarted, the clock went on without it
MACHINE_QUIET_S = 15  # an answer whose undo has just ended is about to leave
log = logging.getLogger("rehearsal.clock")

DUE = """
SELECT (SELECT count(*) FROM deliveries WHERE shelf = 'held')
     + (SELECT count(*) FROM deliveries WHERE shelf = 'queued'
          AND not_before > clock_timestamp() - make_interval(secs => %(quiet)s)),
       (SELECT min(due_at) FROM deliveries WHERE shelf = 'queued' AND due_at > %(since)s),
       (SELECT min(next_at) FROM enrollments WHERE status = 'waiting' AND next_at > %(since)s),
       (SELECT min(held_until) FROM enrollments WHERE status = 'held' AND held_until > %(since)s)
"""
ROW = "SELECT base_machine, base_product, factor, clock_timestamp() FROM product_clock"


@dataclass(frozen=True, slots=True)
class Look:
    """What the ledger says: product time now, rows in flight, and what is due next."""

    row: ClockRow
    now: datetime
    in_flight: int
    due: tuple[datetime | None, ...]


class ClockKeeper:
    """Sets, jumps and remembers the clock of one rehearsal. One instance per rehearsal."""

    def __init__(self, dsn: str, folder: Path, control_port: int, hours: OpenHours | None = None) -> None:
        self._dsn = dsn
        self._beat = folder / "clock.json"
        self._control_port = control_port
        self._hours = hours or OpenHours(ZoneInfo(DEMO_ZONE))
        self._pushed: ClockRow | None = None
        self.jumps = 0

    def connect(self) -> psycopg.Connection[Any]:
        connection = psycopg.connect(self._dsn, autocommit=True, connect_timeout=5)
        connection.execute(f"SET ROLE {OWNER_ROLE}")
        connection.execute("SET timezone TO 'UTC'")
        return connection

    def prepare(self, connection: psycopg.Connection[Any], factor: float = FACTOR) -> None:
        """Before anything of the product runs: a new clock, or the old one where it stood when all was stopped."""
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (HOT_LOCK,))
            if connection.execute(ROW).fetchone() is None:
                set_clock(connection, first_monday(datetime.now(UTC), self._hours.zone), factor)
                return
            stood = self._stood_since()
            if stood is not None:
                connection.execute(
                    "UPDATE product_clock SET base_machine = clock_timestamp(), base_product = %s, factor = %s",
                    (stood + PRODUCT_MARGIN, factor),
                )

    def _stood_since(self) -> datetime | None:
        """Product time of the last beat if that was long ago; None while the rest of the product may still be running."""
        try:
            kept = json.loads(self._beat.read_text(encoding="utf-8"))
            product, machine = datetime.fromisoformat(kept["product"]), float(kept["machine"])
        except (OSError, ValueError, KeyError):
            return None
        return product if time.time() - machine > RESTART_S else None

    def _write_beat(self, product: datetime, ended: bool = False) -> None:
        """Remember the time; `ended`: nothing runs on after this, so the next start takes it as it stands."""
        draft = self._beat.with_suffix(".new")
        machine = 0.0 if ended else time.time()
        draft.write_text(json.dumps({"product": product.isoformat(), "machine": machine}), encoding="utf-8")
        draft.replace(self._beat)

    def look(self, connection: psycopg.Connection[Any]) -> Look:
        found = connection.execute(ROW).fetchone()
        if found is None:
            raise LookupError("the clock row is missing")
        row = ClockRow(found[0], found[1], float(found[2]))
        now = row.at(found[3])
        asked = {"quiet": MACHINE_QUIET_S, "since": now - timedelta(hours=1)}
        counted = connection.execute(DUE, asked).fetchone()
        assert counted is not None  # the statement has no FROM: it always yields one row
        return Look(row, now, int(counted[0]), tuple(counted[1:]))

    def step(self, connection: psycopg.Connection[Any]) -> datetime | None:
        """One look; jumps when the policy says so and returns where to."""
        seen = self.look(connection)
        self._push(seen.row)
        self._write_beat(seen.now)
        world = ask_world(self._control_port, "/next-act")
        acts = datetime.fromisoformat(world["next"]) if world["next"] else None
        busy = bool(world["busy"])
        if next_jump(seen.now, (*seen.due, acts), seen.in_flight, busy, self._hours) is None:
            return None
        return self._jump(connection, acts)

    def _jump(self, connection: psycopg.Connection[Any], acts: datetime | None) -> datetime | None:
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (HOT_LOCK,))
            seen = self.look(connection)
            target = next_jump(seen.now, (*seen.due, acts), seen.in_flight, False, self._hours)
            if target is None:
                return None
            self._write_beat(target)  # before the commit: a beat ahead of the row is harmless, one behind is not
            set_clock(connection, target, seen.row.factor)
        self.jumps += 1
        log.info("jumped from %s to %s", seen.now.isoformat(), target.isoformat())
        self._push(self.look(connection).row)
        return target

    def _push(self, row: ClockRow) -> None:
        """Tell the world. Every change, and nothing in between: it computes the rest itself."""
        if row == self._pushed:
            return
        told = {
            "base_machine": row.base_machine.isoformat(),
            "base_product": row.base_product.isoformat(),
            "factor": row.factor,
        }
        ask_world(self._control_port, "/clock", told)
        self._pushed = row

    def run(self, stop: threading.Event) -> None:
        """Prepare and keep the clock until `stop`; a ledger or world that is away is tried again."""
        prepared = False
        while not stop.is_set():
            try:
                with closing(self.connect()) as connection:
                    if not prepared:
                        self.prepare(connection)
                        prepared = True
                    while not stop.wait(LOOK_EVERY_S):
                        self.step(connection)
                    self._write_beat(self.look(connection).now, ended=True)
            except (psycopg.Error, OSError, LookupError) as failure:
                log.warning("the clock cannot be kept just now: %s", failure)
                stop.wait(1)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m sandbox.clock_keeper")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("EMBERPOST_DATA", "var")))
    folder = world_folder(parser.parse_args().data)
    keeper = ClockKeeper(os.environ["DATABASE_URL"], folder, world_ports(folder).control)
    stop = threading.Event()
    with suppress(KeyboardInterrupt):
        keeper.run(stop)


if __name__ == "__main__":
    main()
