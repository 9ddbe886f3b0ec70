"""PostgreSQL and Redis started by us, with their data in a folder.

`start_pair(folder, sync=False)` is what tests use; bin/run uses the two classes. Both servers listen on 127.0.0.1 only,
on ports below 32768 (above, a client's own socket can hold the port), need no unix socket (whose path would be limited
to 107 bytes) and die with the process that started them. They must be started from its main thread: the kernel ties a
child's fate to the thread that made it.
"""

import contextlib
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from launch.errors import LaunchError, tail
from launch.identity import POINTER, Place, die_with_parent, settle
from launch.programs import find_postgres, find_redis

PORTS = range(20000, 32000)
START_SECONDS = 60.0
USER = "emberpost"
GENTLE, FAST, HARD = signal.SIGTERM, signal.SIGINT, signal.SIGQUIT
NO_SYNC = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


def free_port() -> int:
    """A port below the range the kernel hands out to clients, taken by binding."""
    for _ in range(200):
        port = random.choice(PORTS)
        if port_is_free(port):
            return port
    raise LaunchError("No free port between 20000 and 32000 was found: stop other servers on this machine.")


def port_is_free(port: int, host: str = "127.0.0.1") -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def chosen_port(port: int | None, *, keep: bool) -> int:
    """This port or a free one. `keep`: others have been told the port, so wait for it a little instead."""
    until = time.monotonic() + 10
    while port is not None and not port_is_free(port):
        if not keep:
            return free_port()
        if time.monotonic() > until:
            raise LaunchError(f"Port {port}, on which our own server has to come back, was taken: start again.")
        time.sleep(0.1)
    return port or free_port()


def stop_process(process: subprocess.Popen[bytes], number: int, seconds: float) -> None:
    """Ask with a signal, then insist."""
    if process.poll() is not None:
        return
    process.send_signal(number)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(HARD)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        process.kill()
        process.wait()


class Postgres:
    """A PostgreSQL cluster of our own below `data_dir`.

    `start()` makes it if it is missing and returns a URL; it can be called again after the server died and keeps the
    port. `sync=False` gives up safety against power loss: for tests only.
    """

    def __init__(self, data_dir: Path | str, *, port: int | None = None, sync: bool = True,
                 database: str = USER, settings: tuple[str, ...] = ()) -> None:  # fmt: skip
        self.base = Path(data_dir).absolute() / "postgres"
        self.port = port
        self.sync = sync
        self.database = database
        self.settings = settings
        self.process: subprocess.Popen[bytes] | None = None
        self.was_up = False
        self.place: Place | None = None
        self.log = Path(data_dir).absolute() / "logs" / "postgres.log"

    @property
    def url(self) -> str:
        return f"postgresql://{USER}:{self._password()}@127.0.0.1:{self.port}/{self.database}"

    @property
    def cluster(self) -> Path:
        assert self.place is not None
        return self.place.folder / f"pg-{self.place.programs.major}"

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> str:
        """Start the server, making the cluster on the first call. Raises LaunchError."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.place is None:
            self.place = self._settle()
        if not (self.cluster / "PG_VERSION").exists():
            self._make_cluster()
        self._stop_left_over()
        self._start_patiently()
        return self.url

    def stop(self) -> None:
        if self.process is not None:
            stop_process(self.process, FAST, 30)
            self.process = None

    def _settle(self) -> Place:
        home = self.base
        with contextlib.suppress(OSError):
            home = Path((self.base / POINTER).read_text().strip())
        made = sorted(home.glob("pg-*/PG_VERSION"), key=lambda path: path.stat().st_mtime)
        major = int(made[-1].read_text().strip()) if made else None
        owner = made[-1].stat().st_uid if made else None
        return settle(self.base, find_postgres(major), owner)

    def _password(self) -> str:
        return (self.base / "password").read_text().strip()

    def _make_cluster(self) -> None:
        """initdb into a side folder, then rename: a cluster is either whole or not there."""
        assert self.place is not None
        place, side = self.place, self.place.folder / "pg-new"
        shutil.rmtree(side, ignore_errors=True)
        words = place.folder / "pg-words"
        password = self._choose_password()
        words.write_text(password + "\n")
        if place.identity.uid is not None:
            os.chown(words, place.identity.uid, -1)
        access = "scram-sha-256" if self.sync else "trust"
        for locale in ("C.UTF-8", "C"):
            made = place.identity.run(
                place.programs.initdb, "-D", str(side), f"--locale={locale}", "--encoding=UTF8", "-U", USER,
                f"--auth={access}", f"--pwfile={words}", *(() if self.sync else ("--no-sync",)), cwd="/",
            )  # fmt: skip
            if made.returncode == 0:
                break
            shutil.rmtree(side, ignore_errors=True)
        words.unlink(missing_ok=True)
        if made.returncode:
            raise LaunchError(f"PostgreSQL could not make its data folder in {place.folder}: {with_fix(reason(made.stderr))}")
        self._make_database(side)
        side.rename(self.cluster)

    def _choose_password(self) -> str:
        path = self.base / "password"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(secrets.token_urlsafe(24))
        return self._password()

    def _make_database(self, cluster: Path) -> None:
        """In single-user mode: needs neither a client program nor a driver."""
        assert self.place is not None
        place = self.place
        extra = [word for setting in (() if self.sync else NO_SYNC) for word in ("-c", setting)]
        made = place.identity.run(
            place.programs.postgres, "--single", "-D", str(cluster), *extra, "template1",
            input=f"CREATE DATABASE {self.database}\n\n", cwd="/",
        )  # fmt: skip
        if made.returncode or "ERROR" in made.stderr:
            raise LaunchError(f"PostgreSQL could not make the database: {with_fix(reason(made.stderr))}")

    def _stop_left_over(self) -> None:
        """A server whose parent died without a word may still hold the cluster; ours is the only right to it."""
        pid = self._left_over()
        for number, seconds in ((FAST, 20.0), (HARD, 10.0), (signal.SIGKILL, 5.0)):
            if pid is None:
                return
            with contextlib.suppress(OSError):
                os.kill(pid, number)
            until = time.monotonic() + seconds
            while time.monotonic() < until and self._left_over() == pid:
                time.sleep(0.05)
            pid = self._left_over()

    def _left_over(self) -> int | None:
        try:
            pid = int((self.cluster / "postmaster.pid").read_text().split()[0])
            lives_here = Path(f"/proc/{pid}/cwd").samefile(self.cluster)
        except (OSError, ValueError, IndexError):
            return None
        return pid if lives_here and (self.process is None or pid != self.process.pid) else None

    def _start_patiently(self) -> None:
        """After a crash the first start fails while old backends linger: try again for a while."""
        until = time.monotonic() + START_SECONDS
        while True:
            self.port = chosen_port(self.port, keep=self.was_up)
            self._launch()
            if self._wait_ready(until):
                self.was_up = True
                return
            self.stop()
            if time.monotonic() + 1.0 > until or not self._worth_another_try():
                raise LaunchError(f"PostgreSQL does not start ({self.log}): {with_fix(tail(self.log))}")
            time.sleep(0.7)

    def _worth_another_try(self) -> bool:
        last = tail(self.log, 8)
        return any(
            sign in last for sign in ("still in use", "postmaster.pid", "Address already in use", "shared memory")
        )

    def _launch(self) -> None:
        assert self.place is not None
        place = self.place
        chosen = [
            "listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=300", "log_timezone=UTC",
            "timezone=UTC", "max_wal_size=2GB", "jit=off", *(() if self.sync else NO_SYNC), *self.settings,
        ]  # fmt: skip
        words = [word for setting in chosen for word in ("-c", setting)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*place.identity.words, place.programs.postgres, "-D", str(self.cluster), "-p", str(self.port), *words],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True,
                preexec_fn=die_with_parent(GENTLE if self.sync else FAST), **place.identity.options,
            )  # fmt: skip

    def _wait_ready(self, until: float) -> bool:
        """PostgreSQL writes "ready" into line 8 of postmaster.pid; the same is what pg_ctl waits for."""
        assert self.process is not None
        while time.monotonic() < until and self.process.poll() is None:
            with contextlib.suppress(OSError, ValueError, IndexError):
                lines = (self.cluster / "postmaster.pid").read_text().splitlines()
                if int(lines[0]) == self.process.pid and lines[7].strip() == "ready":
                    return True
            time.sleep(0.02)
        return False


class Redis:
    """A Redis or Valkey server of our own below `data_dir`, append-only file on (unless `sync=False`)."""

    def __init__(self, data_dir: Path | str, *, port: int | None = None, sync: bool = True) -> None:
        self.base = Path(data_dir).absolute() / "redis"
        self.port = port
        self.sync = sync
        self.process: subprocess.Popen[bytes] | None = None
        self.was_up = False
        self.log = Path(data_dir).absolute() / "logs" / "redis.log"
        self.moved_aside: Path | None = None

    @property
    def url(self) -> str:
        return f"redis://:{self._password()}@127.0.0.1:{self.port}/0"

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> str:
        """Start the server; an append-only file it cannot read is moved aside (it is only the bell)."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.base.mkdir(parents=True, exist_ok=True)
        program = find_redis()
        for _ in range(4):
            self.port = chosen_port(self.port, keep=self.was_up)
            self._launch(program)
            if self._wait_ready():
                self.was_up = True
                return self.url
            self.stop()
            if "Address already in use" not in tail(self.log):
                self._move_aside()
        raise LaunchError(f"Redis does not start ({self.log}): {with_fix(tail(self.log))}")

    def stop(self) -> None:
        if self.process is not None:
            stop_process(self.process, GENTLE, 10)
            self.process = None

    def _password(self) -> str:
        path = self.base / "password"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(secrets.token_urlsafe(24))
        return path.read_text().strip()

    def _launch(self, program: Path) -> None:
        settings = {
            "port": str(self.port), "bind": "127.0.0.1", "dir": f'"{self.base}"', "requirepass": self._password(),
            "appendonly": "yes" if self.sync else "no", "save": '""', "daemonize": "no", "protected-mode": "yes",
        }  # fmt: skip
        conf = self.base / "redis.conf"
        conf.touch(mode=0o600)
        conf.write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(program), str(conf)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                start_new_session=True, preexec_fn=die_with_parent(GENTLE),
            )  # fmt: skip

    def _wait_ready(self) -> bool:
        assert self.process is not None
        question = f"AUTH {self._password()}\r\nPING\r\n".encode()
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and self.process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port or 0), 1) as wire:
                wire.sendall(question)
                answer = b""
                while answer.count(b"\n") < 2 and (more := wire.recv(200)):
                    answer += more
                if b"+PONG" in answer:
                    return True
            time.sleep(0.02)
        return False

    def _move_aside(self) -> None:
        for name in ("appendonlydir", "appendonly.aof"):
            old = self.base / name
            if old.exists():
                self.moved_aside = self.base / f"{name}.unreadable-{int(time.time())}"
                old.rename(self.moved_aside)


#: What a server says → what a person does about it.
FIXES = (
    (("no space left", "disk quota"), "Free some space on that disk and start again."),
    (("permission denied", "operation not permitted", "read-only file system"), "Give this user that folder, or choose another one with --data."),
    (("address already in use", "could not bind"), "Another program holds the port: stop it, or start again for a port of its own."),
    (("shared memory", "semaphore", "cannot allocate memory", "out of memory"), "Free some memory, or raise what the system allows, and start again."),
    (("database files are incompatible", "initialized by"), "Install the version that made this folder, or choose another one with --data."),
)
LAST_FIX = "Read the log; with another folder (--data) a fresh installation starts beside it, and this one is kept as it is."


def with_fix(said: str) -> str:
    """What a server said, and what to do about it."""
    low = said.lower()
    fix = next((fix for signs, fix in FIXES if any(sign in low for sign in signs)), LAST_FIX)
    return f"{said.rstrip('. ')}. {fix}"


def reason(text: str) -> str:
    """The sentence of a program's complaint that matters."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if any(sign in line for sign in ("FATAL", "ERROR", "error:"))]
    return (telling or lines or ["no reason was given"])[-1]


@dataclass(frozen=True)
class ServerPair:
    """Both servers, running."""

    database_url: str
    redis_url: str
    postgres: Postgres
    redis: Redis

    def stop(self) -> None:
        self.postgres.stop()
        self.redis.stop()


def start_pair(data_dir: Path | str, *, sync: bool = True) -> ServerPair:
    """Start PostgreSQL and Redis with their data below `data_dir`. `sync=False`: fast and unsafe, for tests."""
    postgres, redis = Postgres(data_dir, sync=sync), Redis(data_dir, sync=sync)
    try:
        return ServerPair(postgres.start(), redis.start(), postgres, redis)
    except BaseException:
        postgres.stop()
        redis.stop()
        raise


@contextlib.contextmanager
def running_pair(data_dir: Path | str, *, sync: bool = True) -> Iterator[ServerPair]:
    pair = start_pair(data_dir, sync=sync)
    try:
        yield pair
    finally:
        pair.stop()
