"""The rehearsal world as one process: mail servers, people who read and answer, a control port.

    python -m sandbox.world --data DIR --smtp-port N --mx-port N --imap-port N --control-port N

Prints one JSON line with its ports when it listens (ports of a first start are kept, see `sandbox.ports`). Its time is
the product's: where `DATABASE_URL` is set the clock-keeper runs in a thread here and pushes every change of the clock
row to `POST /clock`; people act only once a clock is known. Ends on SIGTERM, SIGINT or when its parent
dies; `--data` holds everything, so the next start goes on where this one stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import smtplib
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sandbox.clock import WorldClock
from sandbox.demo_world import demo_accounts, demo_people
from sandbox.mail.control import ControlPort
from sandbox.mail.server import LOCALHOST, MailConfig, MailServer
from sandbox.mail.store import Account, StoredMessage
from sandbox.personas import Act, ActKind, Cast, Person
from sandbox.ports import world_folder, world_ports

LOOK_EVERY_S = 0.1
BUSY_FOR_S = 5.0
TRY_AGAIN_AFTER = timedelta(minutes=5)
log = logging.getLogger("rehearsal")


@dataclass(frozen=True, slots=True)
class WorldConfig:
    """Where the world keeps its state and listens (port 0: any free one).

    `clock_known`: act on machine time at once; `database_url`: keep the clock row of that ledger.
    """

    data: Path
    smtp_port: int = 0
    mx_port: int = 0
    imap_port: int = 0
    control_port: int = 0
    seed: int = 20
    clock_known: bool = False
    database_url: str | None = None


class World:
    """Mail servers, cast and clock together. Use from one event loop."""

    def __init__(
        self,
        config: WorldConfig,
        people: Iterable[Person],
        accounts: Iterable[Account],
        clock: WorldClock | None = None,
    ) -> None:
        self.clock = clock or WorldClock()
        self.clock_known = config.clock_known or clock is not None
        self.mail = MailServer(
            MailConfig(
                config.smtp_port, config.mx_port, config.imap_port, directory=config.data / "mail", now=self.clock.now
            )
        )
        self.cast = Cast(people, config.seed)
        self._config = config
        self._accounts = list(accounts)
        self._state = config.data / "people.json"
        self._last_arrival = 0.0
        self._changed = False
        self._control = ControlPort(self.mail)
        self._acting: asyncio.Task[None] | None = None
        self.acts_done = 0

    async def start(self) -> None:
        """Load the state, listen, and let people act. Raises OSError when a port is taken."""
        self._config.data.mkdir(parents=True, exist_ok=True)
        for account in self._accounts:
            self.mail.store.add_account(account)
        if self._state.exists():
            self.cast.restore(json.loads(self._state.read_text(encoding="utf-8")))
        self.mail.store.arrival_listeners.append(self._arrived)
        await self.mail.start()
        self._control.route("GET", "/next-act", self._next_act)
        self._control.route("GET", "/people", self._people)
        self._control.route("GET", "/health", self._health)
        self._control.route("POST", "/clock", self._set_clock)
        await self._control.start(self._config.control_port)
        self._acting = asyncio.create_task(self._act_for_ever())

    async def stop(self) -> None:
        if self._acting is not None:
            self._acting.cancel()
            with suppress(asyncio.CancelledError):
                await self._acting
        await self._control.stop()
        await self.mail.stop()
        self._save()

    # reading and acting

    def _arrived(self, address: str, message: StoredMessage) -> None:
        self._last_arrival = time.monotonic()
        if self.cast.receive(address, message.raw, self.clock.now()):
            self._changed = True

    async def _act_for_ever(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if self.clock_known:
                for act in self.cast.due(self.clock.now()):
                    await self._perform(act)
            if self._changed:
                self._save()

    async def _perform(self, act: Act) -> None:
        """Carry out one act. What fails for now is tried again later; what is refused for good is dropped."""
        self._changed = True
        try:
            if act.kind is ActKind.POST:
                await asyncio.to_thread(click, act.url)
            else:
                await asyncio.to_thread(send, self.mail.ports.mx, act)
            self.acts_done += 1
        except (smtplib.SMTPException, OSError) as failure:
            if isinstance(failure, (smtplib.SMTPRecipientsRefused, urllib.error.HTTPError, Refused)):
                log.warning("%s could not act: %s", act.person, failure)
                return
            self.cast.put_back(act, self.clock.now() + TRY_AGAIN_AFTER)

    def _save(self) -> None:
        self._changed = False
        draft = self._state.with_suffix(".new")
        draft.write_text(json.dumps(self.cast.to_json()), encoding="utf-8")
        draft.replace(self._state)

    # what the control port adds

    def _next_act(self, _asked: dict[str, Any]) -> dict[str, Any]:
        """When somebody acts next (product time), and whether mail is still on its way to a reader."""
        due = self.cast.next_act()
        busy = time.monotonic() - self._last_arrival < BUSY_FOR_S
        return {"next": due.isoformat() if due else None, "busy": busy, "now": self.clock.now().isoformat()}

    def _health(self, _asked: dict[str, Any]) -> dict[str, Any]:
        return {
            "ports": asdict(self.mail.ports),
            "accounts": len(self.mail.store.accounts),
            "accepted": len(self.mail.ledger.accepted),
            "clock_known": self.clock_known,
            "acts": self.acts_done,
        }

    def _people(self, _asked: dict[str, Any]) -> dict[str, Any]:
        return {"people": [{"address": person.address, "persona": person.persona} for person in self.cast.people]}

    def _set_clock(self, asked: dict[str, Any]) -> dict[str, str]:
        base_machine = datetime.fromisoformat(asked["base_machine"])
        self.clock.set(base_machine, datetime.fromisoformat(asked["base_product"]), float(asked["factor"]))
        self.clock_known = True
        return {"now": self.clock.now().isoformat()}


class Refused(OSError):
    """This will not work later either."""


def send(port: int, act: Act) -> None:
    """Hand a person's mail to the MX port. Raises smtplib's errors and OSError."""
    with smtplib.SMTP(LOCALHOST, port, local_hostname="people.rehearsal.test", timeout=20) as session:
        session.sendmail(act.mail_from, [act.mail_to], act.raw)


def click(url: str) -> None:
    """One-click unsubscribe (RFC 8058), only ever towards this machine. Raises OSError or Refused."""
    if urlsplit(url).hostname not in ("127.0.0.1", "localhost"):
        raise Refused(f"not on this machine: {url}")
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    request = urllib.request.Request(url, b"List-Unsubscribe=One-Click", form, method="POST")
    with urllib.request.urlopen(request, timeout=20) as answer:
        answer.read()


async def run(config: WorldConfig) -> None:
    """The demo's world until a signal arrives or the parent dies."""
    world = World(config, demo_people(), demo_accounts())
    await world.start()
    ports = world.mail.ports
    told = {"smtp": ports.smtp, "mx": ports.mx, "imap": ports.imap, "control": ports.control}
    print(json.dumps(told), flush=True)
    stop, keeper_stop = asyncio.Event(), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    keeper = _start_keeper(config, ports.control, keeper_stop)
    parent = os.getppid()
    while not stop.is_set() and os.getppid() == parent:
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 1)
    keeper_stop.set()
    if keeper is not None:
        await asyncio.to_thread(keeper.join, 3)
    await world.stop()


def _start_keeper(config: WorldConfig, control_port: int, stop: threading.Event) -> threading.Thread | None:
    """The clock-keeper in a thread of this process, where a ledger is known."""
    if config.database_url is None:
        return None
    from sandbox.clock_keeper import ClockKeeper  # the only part that loads the product: a bare world starts without it

    keeper = ClockKeeper(config.database_url, config.data, control_port)
    thread = threading.Thread(target=keeper.run, args=(stop,), name="clock-keeper", daemon=True)
    thread.start()
    return thread


def main(config: WorldConfig | None = None) -> None:
    """Run the world; callable in a child forked from a preloaded parent. Without `config`: arguments and environment."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    asyncio.run(run(config or parse()))


def parse(arguments: list[str] | None = None) -> WorldConfig:
    """Arguments; what is not given comes from the instance's folder (`EMBERPOST_DATA`) and its kept ports."""
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.world", description="The rehearsal's mail servers and people."
    )
    parser.add_argument("--data", type=Path, help="folder for everything that survives a restart")
    for name in ("smtp", "mx", "imap", "control"):
        parser.add_argument(f"--{name}-port", type=int, help="default: the one of the first start")
    parser.add_argument(
        "--machine-time", action="store_true", help="people act on machine time, no ledger and no clock-keeper"
    )
    chosen = parser.parse_args(arguments)
    folder = chosen.data or world_folder(Path(os.environ.get("EMBERPOST_DATA", "var")))
    kept = world_ports(folder)
    return WorldConfig(
        data=folder,
        smtp_port=_given(chosen.smtp_port, kept.smtp),
        mx_port=_given(chosen.mx_port, kept.mx),
        imap_port=_given(chosen.imap_port, kept.imap),
        control_port=_given(chosen.control_port, kept.control),
        clock_known=chosen.machine_time,
        database_url=None if chosen.machine_time else os.environ.get("DATABASE_URL"),
    )


def _given(port: int | None, kept: int) -> int:
    return kept if port is None else port


if __name__ == "__main__":
    main()
