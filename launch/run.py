"""bin/run, second half: servers, migrations, rehearsal world, demo client, processes, `ready:`, and a clean end.

Order matters. The listening socket is bound first (a taken port is known before anything is touched), the product is
imported before any connection exists, migrations and the demo are made in short-lived children, and only then the
processes are forked. At the end the product drains before the rehearsal's mail servers go, and those before PostgreSQL.
"""

import argparse
import contextlib
import os
import resource
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from launch import world
from launch.errors import LaunchError, last_error
from launch.instance import Instance, open_instance, secret_settings
from launch.processes import ROOT, Child, Entry, Family, call_entry, preload, run_once, started_here
from launch.servers import Postgres, Redis
from launch.setup import say

DRAIN_SECONDS = 10
READY_SECONDS = 150.0
SERVER_LOOK_SECONDS = 0.5
WORLD = Entry("world", "sandbox.world", ())
OPEN_FILES = 16_384
HIGHEST_PORT = 65_535
WEB_THREADS, STREAM_LIMIT = "64", "40"


class Stopped(Exception):
    """A person asked to stop before everything was up."""


@dataclass
class House:
    """Everything bin/run holds while it runs."""

    instance: Instance
    listener: socket.socket
    url: str
    family: Family
    servers: list[Postgres | Redis] = field(default_factory=list)
    stopping: bool = False

    def log(self, name: str) -> Path:
        return self.instance.folder / "logs" / f"{name}.log"


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bin/run", description="Set up and run Emberpost with everything it needs.")
    parser.add_argument("--port", type=int, default=8000, help="port of the pages (default 8000)")
    parser.add_argument("--host", default="127.0.0.1", help="address the pages listen on (default 127.0.0.1)")
    parser.add_argument("--data", type=Path, default=ROOT / "var", metavar="DIR", help="data folder (default ./var)")
    parser.add_argument("--empty", action="store_true", help="a real, unclaimed instance instead of the rehearsal")
    return parser.parse_args(arguments)


def listen(host: str, port: int) -> socket.socket:
    """Bind the pages' port now: later starts of the web process inherit it."""
    if not 0 < port <= HIGHEST_PORT:  # the system would take such a number for another one
        raise LaunchError(f"{port} is no port: choose one from 1 to {HIGHEST_PORT} with --port.")
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, proto)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
    except socket.gaierror:
        raise LaunchError(f"{host} is not an address of this machine: choose another with --host.") from None
    except OSError as problem:
        words = problem.strerror or problem
        raise LaunchError(f"Port {port} on {host} cannot be used ({words}): choose another with --port.") from None
    return listener


def address(host: str, port: int) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}/"


def environment(instance: Instance, options: argparse.Namespace) -> dict[str, str]:
    """What the processes find in their environment; what the person set himself wins where that makes sense."""
    chosen = {
        "EMBERPOST_DATA": str(instance.folder),
        "EMBERPOST_INSTANCE_ID": instance.id,
        "EMBERPOST_MODE": instance.mode,
        "EMBERPOST_HOST": options.host,
        "EMBERPOST_PORT": str(options.port),
        "EMBERPOST_DRAIN_SECONDS": str(DRAIN_SECONDS),
        "PYTHONUNBUFFERED": "1",
    }
    kept = {"EMBERPOST_WEB_THREADS": WEB_THREADS, "EMBERPOST_STREAM_LIMIT": STREAM_LIMIT}
    kept |= secret_settings(instance.folder)
    return chosen | {name: os.environ.get(name) or value for name, value in kept.items()}


def _postgres_away(url: str) -> str:
    """Why the PostgreSQL somebody named cannot be used; empty when it answers."""
    import psycopg

    try:
        psycopg.connect(url.replace("postgresql+psycopg://", "postgresql://", 1), connect_timeout=5).close()
    except psycopg.Error as problem:
        return " ".join(str(problem).split())[:300] or type(problem).__name__
    return ""


def _redis_away(url: str) -> str:
    """Why the Redis somebody named cannot be used; empty when it answers."""
    import redis

    try:
        with redis.Redis.from_url(url, socket_connect_timeout=5, socket_timeout=5) as connection:
            connection.ping()
    except (redis.RedisError, ValueError) as problem:
        return " ".join(str(problem).split())[:300]
    return ""


NAMED: dict[str, Callable[[str], str]] = {"DATABASE_URL": _postgres_away, "REDIS_URL": _redis_away}


def start_servers(house: House) -> dict[str, str]:
    """PostgreSQL and Redis of our own, unless the two variables name running ones."""
    urls = {name: os.environ[name] for name in ("DATABASE_URL", "REDIS_URL") if os.environ.get(name)}
    for name, kind in (("DATABASE_URL", Postgres), ("REDIS_URL", Redis)):
        if name not in urls:
            server = kind(house.instance.folder)
            house.servers.append(server)
            urls[name] = server.start()
            say(f"{kind.__name__} runs on port {server.port}")
            if isinstance(server, Redis) and server.moved_aside:
                say(f"Redis could not read its file, it was moved to {server.moved_aside}; nothing is lost by that")
        elif why := NAMED[name](urls[name]):
            raise LaunchError(f"{name} names a server that cannot be used ({why}): start it, correct the variable, or leave it out.")
    return urls


def migrate() -> int:
    """In a child: bring the database's tables up to date and note what this instance is."""
    from flask_migrate import upgrade

    from app import create_app
    from app.core.db import JOBS_ROLE, transaction, use_database_role
    from app.services.instance import ensure_instance

    use_database_role(JOBS_ROLE)
    application = create_app()
    with application.app_context():
        upgrade(directory=str(ROOT / "migrations"))
        with transaction():
            ensure_instance(application.extensions["settings"])
    return 0


def in_child(house: House, words: str, work: Callable[[], int], log: str) -> None:
    """Run `work` in a child and turn its failure into a sentence."""
    path = house.log(log)
    failed = run_once(work, path)
    if house.stopping:
        raise Stopped
    if failed:
        raise LaunchError(f"{words} failed: {last_error(path)} (all of it in {path}).")


def answer_of(url: str) -> int:
    """Status of a GET; 0 while nobody answers."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refusal:
        return refusal.code
    except OSError:
        return 0


def wait_until(house: House, words: str, holds: Callable[[], bool]) -> None:
    """Look after the family until the condition holds."""
    until = time.monotonic() + READY_SECONDS
    while not holds():
        if house.stopping:
            raise Stopped
        if time.monotonic() > until:
            raise LaunchError(f"{words} did not happen within {READY_SECONDS:.0f} s: see {house.log('web').parent}.")
        house.family.look_after()
        time.sleep(0.1)


def start_processes(house: House) -> None:
    bind = f"--bind fd://{house.listener.fileno()} --no-control-socket --graceful-timeout 4"
    os.environ["GUNICORN_CMD_ARGS"] = f"{os.environ.get('GUNICORN_CMD_ARGS', '')} {bind}".strip()
    held = (house.listener.fileno(),)
    for entry in started_here():
        web = entry.name == "web"
        keep, close = (held, ()) if web else ((), held)
        house.family.add(Child(entry.name, partial(call_entry, entry), house.log(entry.name), keep, close))
    say(f"{len(house.family.children)} processes started, their logs are in {house.log('web').parent}")


def start_rehearsal(house: House, ports: world.WorldPorts) -> None:
    """World (mail servers, people, the keeper of the clock) and demo client."""
    shut = (house.listener.fileno(),)
    house.family.add(Child("world", partial(call_entry, WORLD), house.log("world"), close=shut))
    wait_until(house, "The rehearsal world's start", lambda: world.is_up(ports))
    in_child(house, "Making the rehearsal's client", lambda: make_client_once(house.instance.folder), "seed")
    say("the rehearsal's world and client are there")


def make_client_once(folder: Path) -> int:
    """In a child: the demo client, whole or said to be half."""
    from launch import demo

    begun, made = folder / "world" / "client-begun", folder / "world" / "client-made"
    if begun.exists() and not made.exists():
        print(
            f"LaunchError: it was interrupted at the first start and is only half made: delete {folder}, or take another --data"
        )
        return 1
    begun.touch()
    code = demo.seed()
    if code == 0:
        made.touch()
    return code


def come_up(house: House, options: argparse.Namespace) -> None:
    """Every step up to the line `ready:`."""
    os.environ.update(environment(house.instance, options))
    ports = world.ports_of(house.instance.folder) if house.instance.rehearsal else None
    if ports:
        os.environ.update(ports.environment())
    os.environ.update(start_servers(house))
    preload(house.instance.rehearsal, say)
    say("the product is loaded")
    in_child(house, "Bringing the database up to date", migrate, "migrate")
    say("the database is up to date")
    if ports:
        start_rehearsal(house, ports)
    start_processes(house)
    wait_until(house, "The pages' answer", lambda: answer_of(f"{house.url}readyz") == 200)
    if ports:
        say("the pages answer; waiting for the first mail at its receiver")
        wait_until(house, "The first mail at its receiver", lambda: world.first_mail_counted(ports))
    in_child(house, "Making the sign-in link", partial(note_way_in, house), "way-in")
    note = house.instance.folder / "way-in.txt"
    print(f"ready: {house.url}\n{note.read_text()}", end="", flush=True)
    note.unlink()


def note_way_in(house: House) -> int:
    """In a child: the one-time link of the demo's admin, or the link that claims an empty instance."""
    from launch import way_in

    path = house.instance.folder / "way-in.txt"
    path.touch(mode=0o600)
    path.write_text(way_in.sentence(house.url, house.instance.folder, rehearsal=house.instance.rehearsal))
    return 0


def look_after_servers(house: House) -> None:
    for server in house.servers:
        if not server.alive():
            say(f"{type(server).__name__} ended by itself (see {server.log}); it is started again")
            with contextlib.suppress(LaunchError):
                server.start()


def run_until_stopped(house: House) -> None:
    next_look = 0.0
    while not house.stopping:
        house.family.look_after()
        if time.monotonic() > next_look:
            look_after_servers(house)
            next_look = time.monotonic() + SERVER_LOOK_SECONDS
        time.sleep(0.1)


def count_uncertain() -> int | None:
    """Messages past the point of no return whose outcome nobody knows; None when the database cannot say."""
    import psycopg

    try:
        with psycopg.connect(os.environ["DATABASE_URL"], connect_timeout=3) as connection:
            connection.execute("SET ROLE emberpost_jobs")
            row = connection.execute(
                "SELECT count(*) FROM deliveries WHERE status IN ('committing', 'uncertain')"
            ).fetchone()
    except (psycopg.Error, KeyError):
        return None
    return int(row[0]) if row else None


def go_down(house: House) -> str:
    """Stop everything in order; returns the last line."""
    house.listener.close()
    names = {child.name for child in house.family.children}.difference({WORLD.name})
    house.family.stop(names)
    uncertain = count_uncertain() if "DATABASE_URL" in os.environ else None
    house.family.stop()
    for server in reversed(house.servers):
        server.stop()
    if uncertain is None:
        return "stopped"
    if not uncertain:
        return "stopped; nothing is uncertain, everything goes on at the next start"
    words = "message is" if uncertain == 1 else "messages are"
    return f"stopped; {uncertain} {words} uncertain (sent, or not, without an answer) and not sent again: see the page «Not sure» after the next start"


def obey_signals(house: House) -> None:
    began = [0.0]

    def stop(_number: int, _frame: object) -> None:
        if house.stopping and time.monotonic() - began[0] < 1.0:
            return  # one Ctrl-C can arrive twice: from the terminal and from whoever started us
        if house.stopping:
            house.family.drain_seconds = 0.0
        else:
            house.stopping = True
            began[0] = time.monotonic()
            print(f"\nstopping: up to {DRAIN_SECONDS} s for what is under way (once more: at once)", flush=True)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)


def allow_many_files() -> None:
    """Hundreds of mail connections and streams need more descriptors than the usual soft limit of 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def run(options: argparse.Namespace) -> None:
    data = options.data.absolute()
    os.environ.pop("EMBERPOST_BEGAN_AT", None)
    os.chdir(ROOT)
    allow_many_files()
    from app.core.exposure import refusal  # the product itself is loaded only now

    if words := refusal(options.host, os.environ.get("EMBERPOST_BEHIND_HTTPS", "").lower() in {"1", "true", "yes", "on"}):
        raise LaunchError(words)
    listener = listen(options.host, options.port)
    instance = open_instance(data, empty=options.empty)
    (data / "logs").mkdir(exist_ok=True)
    house = House(instance, listener, address(options.host, options.port), Family(say, DRAIN_SECONDS))
    obey_signals(house)
    trouble: BaseException | None = None
    try:
        come_up(house, options)
        run_until_stopped(house)
    except Stopped:
        pass
    except BaseException as problem:
        trouble = problem
    last = go_down(house)
    if trouble is not None:
        raise trouble
    print(last, flush=True)


def main(arguments: list[str]) -> None:
    try:
        run(parse(arguments))
    except LaunchError as problem:
        sys.exit(f"emberpost: {problem}")
    except OSError as problem:
        words = "the disk is full: free some space" if problem.errno == 28 else problem.strerror or str(problem)
        sys.exit(f"emberpost: it cannot go on, {words} ({problem.filename or 'no file named'}).")


if __name__ == "__main__":
    main(sys.argv[1:])
