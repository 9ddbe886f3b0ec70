"""How fast the sending road is: ``python -m bench.dispatch [relay|tls|late|memory|permits …]``.

The product's own processes (``python -m jobs.dispatch``) with production settings, a PostgreSQL of its own with fsync, Redis, and a
receiver that counts. Every figure is a ratio of rounds taken side by side in one run; a run in which a message was lost or taken
twice has no figure.
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from bench import figures, world
from bench.world import World
from launch.servers import free_port

SINK, SOURCE = "/usr/sbin/smtp-sink", "/usr/sbin/smtp-source"


@contextmanager
def postfix_sink(port: int) -> Iterator[int]:
    """Postfix's receiver that throws everything away; its pid."""
    child = subprocess.Popen([SINK, "-u", "nobody", f"127.0.0.1:{port}", "1024"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.3)
    try:
        yield child.pid
    finally:
        child.kill()
        child.wait()


@contextmanager
def receiver(path: Path, *, tls: bool = False, wait: float = 0.0) -> Iterator[tuple[int, int]]:
    """Our own receiver; its port and pid."""
    port = free_port()
    words = [sys.executable, "-m", "bench.receiver", str(port), str(path), *(("--tls",) if tls else ()), "--wait", str(wait)]
    child = subprocess.Popen(words, cwd=world.ROOT)
    time.sleep(1.5)
    try:
        yield port, child.pid
    finally:
        child.terminate()
        child.wait(10)


def source_rate(port: int, mails: int, sessions: int = 20) -> float:
    """Mails a second of ``smtp-source`` over sessions that stay open."""
    began = time.monotonic()
    subprocess.run(
        [SOURCE, "-d", "-s", str(sessions), "-l", "4096", "-m", str(mails), "-f", "a@ourhouse.example.com",
         "-t", "b@buyer.example.com", f"127.0.0.1:{port}"], check=True,
    )  # fmt: skip
    return mails / (time.monotonic() - began)


_UNSENT = """
SELECT EXISTS (SELECT FROM deliveries WHERE shelf = 'queued') OR EXISTS (SELECT FROM deliveries WHERE shelf = 'held')
"""


def send_all(here: World, mails: int, *, spread: float = float("inf"), patience: float = 120.0, on_due: Callable[[], None] = lambda: None) -> float:
    """Make so many messages due in a moment and wait until all are written as sent; seconds from the first claim to the last answer.

    ``spread``: so many of them become due each second. ``on_due`` is called when they lie in the ledger.
    """
    at = world.enrol(here, mails, spread)
    on_due()
    time.sleep(max(0.0, (at - datetime.now(UTC)).total_seconds() + mails / 8_000))
    end = time.monotonic() + patience
    # this look must cost little, so it takes two small indexes; what was not sent in the end finds ``ledger_is_right``
    while here.one(_UNSENT):
        if time.monotonic() > end:
            raise RuntimeError(f"not all left: {here.ledger.execute('SELECT status, reason, count(*) FROM deliveries GROUP BY 1, 2').fetchall()}")
        time.sleep(0.25)
    return float(here.one(
        "SELECT extract(epoch FROM max(d.answered_at) - min(a.started_at)) FROM deliveries d JOIN delivery_attempts a ON a.delivery_id = d.id"
        " WHERE d.id > (SELECT max(id) - %s FROM deliveries)", mails,
    ))  # fmt: skip


class Costs:
    """Processor seconds per message of everything on the way, from ``begin`` on."""

    def __init__(self, here: World, engines: list[int], sink: int) -> None:
        self._look: dict[str, Callable[[], float]] = {
            "engine": lambda: sum(world.processor_seconds(pid) for pid in engines),
            "postgres": lambda: world.postgres_seconds(here),
            "redis": lambda: world.redis_seconds(here),
            "receiver": lambda: world.processor_seconds(sink),
        }
        self._began: dict[str, float] = {}

    def begin(self) -> None:
        self._began = {name: look() for name, look in self._look.items()}

    def per_mail(self, mails: int) -> dict[str, float]:
        """Microseconds by part."""
        return {name: (look() - self._began[name]) / mails * 1e6 for name, look in self._look.items()}


def show(costs: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.0f}" for name, value in costs.items()) + f", together {sum(costs.values()):.0f} µs a mail"


def ledger_is_right(here: World) -> None:
    """Everything that was made due was sent, once."""
    odd = here.ledger.execute("SELECT status, count(*) FROM deliveries WHERE status <> 'sent' OR attempts <> 1 GROUP BY 1").fetchall()
    if odd:
        raise RuntimeError(f"not each message was sent once: {odd}")


def relay(chosen: argparse.Namespace) -> None:
    """(a) 200 mailboxes of a relay, no TLS, no gap, sessions kept, beside smtp-source at the same receiver."""
    port = free_port()
    with world.world() as here, postfix_sink(port) as sink:
        world.furnish(here, chosen.mailboxes, port)
        with world.product(here, *["jobs.dispatch"] * chosen.engines) as engines:
            send_all(here, chosen.mails // 2)
            ours, theirs, ratios, spent, turns = [], [], [], [], []
            for number in range(chosen.rounds):
                order = (0, 1) if number % 2 else (1, 0)
                turns.append(figures.turn_us())
                for which in order:
                    if which:
                        costs = Costs(here, engines, sink)
                        ours.append(chosen.mails / send_all(here, chosen.mails, on_due=costs.begin))
                        spent.append(costs.per_mail(chosen.mails))
                    else:
                        theirs.append(source_rate(port, 20_000))
                ratios.append(ours[-1] / theirs[-1])
                print(
                    f"  round {number + 1}: {ours[-1]:.0f}/s, smtp-source {theirs[-1]:.0f}/s, {show(spent[-1])}, a turn {turns[-1]:.2f} µs", flush=True
                )
        ledger_is_right(here)
    middle = {name: sorted(one[name] for one in spent)[len(spent) // 2] for name in spent[0]}
    print(f"relay, {chosen.engines} engine(s): {figures.said(ours, 0)} mails/s, smtp-source {figures.said(theirs, 0)}, ratio {figures.said(ratios)}")
    print(f"  {show(middle)}; a turn of the calibration loop {figures.said(turns)} µs")


def counted(path: Path) -> dict[str, float]:
    """Message-ID → when it was taken. Raises when one was taken twice."""
    lines = [line.split(" ", 1) for line in path.read_text().splitlines()]
    found = {message_id: float(at) for at, message_id in lines}
    if len(found) != len(lines):
        raise RuntimeError(f"{len(lines) - len(found)} messages were taken twice")
    return found


def tls(chosen: argparse.Namespace) -> None:
    """(b) A mailbox of its own for each message: connection, TLS and login every time, beside a bare loop that does the same."""
    mails = chosen.mails // 4
    with world.world() as here, receiver(here.folder / "taken", tls=True) as (port, pid):
        world.furnish(here, mails, port, security="tls", login=True)
        with world.product(here, *["jobs.dispatch"] * chosen.engines) as engines:
            send_all(here, mails // 4)
            ours, theirs, spent = [], [], []
            for number in range(chosen.rounds):
                theirs.append(bare_tls_rate(port, mails // 4))
                costs = Costs(here, engines, pid)
                ours.append(mails / send_all(here, mails, on_due=costs.begin))
                spent.append(costs.per_mail(mails))
                print(f"  round {number + 1}: {ours[-1]:.0f}/s, bare loop {theirs[-1]:.0f}/s of its core, {show(spent[-1])}", flush=True)
        ledger_is_right(here)
        counted(here.folder / "taken")
    per_core = [1e6 / one["engine"] for one in spent]
    print(f"fresh TLS and login, {chosen.engines} engine(s): {figures.said(ours, 0)} mails/s by the clock; {figures.said(per_core, 0)} per core of the sender;")
    print(f"  of a bare loop's {figures.said([a / b for a, b in zip(per_core, theirs, strict=True)])}; {show(spent[len(spent) // 2])}")


def bare_tls_rate(port: int, mails: int) -> float:
    """The least that is possible: the same conversation without a ledger, 50 at a time; mails per second of its own processor time."""
    import uvloop

    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    body = b"Message-ID: <%s@bare>\r\n\r\n" + b"x" * 76 + b"\r\n" * 2 + (b"z" * 76 + b"\r\n") * 60 + b".\r\n"

    async def one(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        await reader.readline()
        talk = (
            (b"EHLO a.example.com\r\n", 6), (b"AUTH PLAIN AGEAYg==\r\n", 1),
            (b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n", 3),
            (body % f"{number}-{time.monotonic_ns()}".encode(), 1),
        )  # fmt: skip
        for words, lines in talk:
            writer.write(words)
            for _ in range(lines):
                await reader.readline()
        writer.close()

    async def all_of_them() -> None:
        gate = asyncio.Semaphore(50)

        async def gated(number: int) -> None:
            async with gate:
                await one(number)

        await asyncio.gather(*(gated(number) for number in range(mails)))

    began = time.process_time()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(all_of_them())
    return mails / (time.process_time() - began)


def late(chosen: argparse.Namespace) -> None:
    """(c) How late messages leave that are due 125 a second, at a receiver that answers after 1.5 s."""
    mails, rate = 125 * chosen.seconds, 125.0
    with world.world() as here, receiver(here.folder / "taken", wait=1.5) as (port, _):
        world.furnish(here, 2_000, port)
        with world.product(here, *["jobs.dispatch"] * chosen.engines) as engines:
            send_all(here, mails, spread=rate)
            memory = max(world.memory_mb(pid) for pid in engines)
        ledger_is_right(here)
        taken = counted(here.folder / "taken")
        due = here.ledger.execute("SELECT message_id, extract(epoch FROM due_at)::float8 FROM deliveries").fetchall()
    lateness = [taken[message_id] - at for message_id, at in due]
    busiest = max(Counter(int(at) for at in taken.values()).values())
    shares = ", ".join(f"{name} {figures.percentile(lateness, share):.2f}" for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)))
    print(f"lateness at 125/s, answers after 1.5 s, {mails} messages: {shares} s; busiest second {busiest}; {memory:.0f} MB")


def memory(chosen: argparse.Namespace) -> None:
    """(d) How large one sending process is while 500 messages are in flight."""
    with world.world() as here, receiver(here.folder / "taken", wait=6.0) as (port, _):
        world.furnish(here, 600, port)
        with world.product(here, "jobs.dispatch") as engines:
            idle, flying, largest = world.memory_mb(engines[0]), 0, 0.0
            at = world.enrol(here, 600)
            time.sleep(max(0.0, (at - datetime.now(UTC)).total_seconds()))
            for _ in range(60):
                flying = max(flying, here.one("SELECT count(*) FROM deliveries WHERE shelf = 'held' AND status = 'committing'"))
                largest = max(largest, world.memory_mb(engines[0]))
                time.sleep(0.2)
    print(f"memory of one sending process: {idle:.0f} MB idle, {largest:.0f} MB with {flying} messages past their permit")


def permits(chosen: argparse.Namespace) -> None:
    """(e) Permits a second of one ledger connection by batch size, and what each costs."""
    from bench.permits import measure

    with world.world() as here:
        world.furnish(here, chosen.mailboxes, 1)
        measure(here)


SCENES: dict[str, Callable[[argparse.Namespace], None]] = {
    "relay": relay, "tls": tls, "late": late, "memory": memory, "permits": permits,
}  # fmt: skip


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("scenes", nargs="*", default=list(SCENES), help=", ".join(SCENES))
    words.add_argument("--mails", type=int, default=6_000)
    words.add_argument("--mailboxes", type=int, default=200)
    words.add_argument("--rounds", type=int, default=7)
    words.add_argument("--engines", type=int, default=1)
    words.add_argument("--seconds", type=int, default=40)
    chosen = words.parse_args()
    print(figures.machine(), flush=True)
    for name in chosen.scenes:
        SCENES[name](chosen)


if __name__ == "__main__":
    main()
