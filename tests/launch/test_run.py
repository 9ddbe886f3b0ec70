"""bin/run as a person starts it: set-up skipped, everything else for real."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import time
import urllib.request
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

import psycopg
import pytest

from launch.servers import free_port
from tests.launch.conftest import Run, Starter, bare_path, gone, told
from tests.patience import in_time

pytestmark = pytest.mark.slow
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user cannot become another one")


def get(url: str) -> tuple[int, str]:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.status, answer.read().decode()


def database_url(run: Run) -> str:
    """What the run told its processes."""
    password = (run.data / "postgres" / "password").read_text().strip()
    port = re.search(r"Postgres runs on port (\d+)", run.output)
    assert port is not None
    return f"postgresql://emberpost:{password}@127.0.0.1:{port.group(1)}/emberpost"


def ready(run: Run) -> Run:
    assert run.wait_for("ready: ") == f"ready: {run.url}"
    assert get(f"{run.url}readyz")[0] == 200
    return run


def test_an_empty_instance_is_ready_claimable_closed_and_ends_without_a_trace(start: Starter) -> None:
    run = ready(start("--empty"))
    line = run.wait_for("claim it, works once: ")
    assert get(line.rpartition(" ")[2])[0] == 200
    family = run.family()
    secrets_stay_secret(run)
    logs = {path.stem for path in (run.data / "logs").glob("*.log")}
    assert {"web", "dispatch", "read", "work-fast", "work", "scheduler", "postgres", "redis"} <= logs
    assert run.stop(signal.SIGINT) == 0
    assert run.lines[-1] == "stopped; nothing is uncertain, everything goes on at the next start"
    assert gone(family, 2) == []


def secrets_stay_secret(run: Run) -> None:
    """Readable by their owner only, and no password in what is printed or on a command line."""
    for name in ("secrets.env", "postgres/password", "redis/password", "redis/redis.conf"):
        assert stat.S_IMODE((run.data / name).stat().st_mode) == 0o600, name
    shown = run.output + " ".join(" ".join(told(process.cmdline) or ()) for process in run.family())
    for name in ("postgres/password", "redis/password"):
        assert (run.data / name).read_text().strip() not in shown


def test_a_second_start_keeps_rows_secrets_and_name(start: Starter) -> None:
    first = ready(
        start("--empty", EMBERPOST_ADMIN_EMAIL="olga@example.com", EMBERPOST_ADMIN_PASSWORD="tall-copper-lantern-9")
    )
    assert "claimed for olga@example.com" in first.wait_for("claimed for")
    before = [(first.data / name).read_text() for name in ("secrets.env", "instance.json")]
    assert first.stop(signal.SIGTERM) == 0
    second = ready(start("--empty", data=first.data))
    assert "log in: " in second.wait_for("log in: ")
    assert before == [(second.data / name).read_text() for name in ("secrets.env", "instance.json")]
    with psycopg.connect(database_url(second)) as connection:
        assert connection.execute("SELECT email FROM users WHERE is_operator").fetchall() == [("olga@example.com",)]


def test_two_side_by_side_do_not_know_each_other(start: Starter, tmp_path: Path) -> None:
    one = start("--empty", data=tmp_path / "one")
    two = start("--empty", data=tmp_path / "two")
    ready(one)
    ready(two)
    names = {json.loads((run.data / "instance.json").read_text())["id"] for run in (one, two)}
    assert len(names) == 2
    assert one.stop() == 0
    assert get(f"{two.url}readyz")[0] == 200


def test_a_taken_port_is_one_sentence_and_touches_nothing(start: Starter, tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        run = start("--empty", port=holder.getsockname()[1])
        assert run.process.wait(30) != 0
        run.wait_for("choose another with --port", 5)
    assert len(run.lines) == 1
    assert not (tmp_path / "data" / "postgres").exists()


def test_beyond_this_machine_without_https_is_one_sentence_and_touches_nothing(start: Starter, tmp_path: Path) -> None:
    run = start("--empty", "--host", "0.0.0.0")
    assert run.process.wait(30) != 0
    run.wait_for("EMBERPOST_BEHIND_HTTPS=1", 5)
    assert not (tmp_path / "data" / "postgres").exists()


def test_a_port_that_is_none_is_one_sentence_and_is_not_taken_for_another(start: Starter, tmp_path: Path) -> None:
    run = start("--empty", port=99_999)
    assert run.process.wait(30) != 0
    run.wait_for("99999 is no port: choose one from 1 to 65535 with --port.", 5)
    assert len(run.lines) == 1 and not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("name", "url"),
    [("DATABASE_URL", "postgresql://somebody@127.0.0.1:1/x"), ("DATABASE_URL", "nonsense"), ("REDIS_URL", "redis://127.0.0.1:1/0"), ("REDIS_URL", "nonsense")],
)
def test_a_named_server_that_is_away_is_one_sentence_with_the_fix(start: Starter, name: str, url: str) -> None:
    run = start("--empty", **{name: url})
    assert run.process.wait(60) != 0
    assert re.match(rf"emberpost: {name} names a server that cannot be used \(.+\): start it, correct the variable, or leave it out\.$", run.lines[-1])


def test_a_real_instance_and_a_rehearsal_never_share_a_folder(start: Starter, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "instance.json").write_text(json.dumps({"id": "abc123", "mode": "rehearsal"}))
    run = start("--empty", data=data)
    assert run.process.wait(30) != 0
    assert "holds a rehearsal: choose another folder with --data" in run.output


def test_a_folder_in_use_is_refused_and_after_kill_nine_nobody_is_left_and_it_goes_on(start: Starter) -> None:
    first = ready(start("--empty"))
    second = start("--empty", data=first.data)
    assert second.process.wait(40) != 0
    assert f"in use by another bin/run (process {first.process.pid})" in second.output
    assert "--data and --port" in second.output
    family = first.family()
    os.kill(first.process.pid, signal.SIGKILL)
    assert gone(family, 20) == []
    ready(start("--empty", data=first.data))


def test_what_falls_is_started_again_at_the_same_address(start: Starter) -> None:
    run = ready(start("--empty"))
    url = database_url(run)
    for process in run.programs("ember:web"):
        process.kill()
    assert "web ended (killed by SIGKILL" in run.wait_for("web ended", 20)
    assert get(f"{run.url}readyz")[0] == 200
    next(process for process in run.programs("postgres") if told(process.ppid) == run.process.pid).kill()
    run.wait_for("Postgres ended by itself", 20)
    until = time.monotonic() + 20
    while not answers(url):
        assert time.monotonic() < until, "PostgreSQL did not come back"
    assert run.stop() == 0


def answers(url: str) -> bool:
    try:
        with psycopg.connect(url, connect_timeout=2) as connection:
            return connection.execute("SELECT 1").fetchone() == (1,)
    except psycopg.OperationalError:
        time.sleep(0.1)
        return False


EMBEDDED = {"EMBERPOST_SERVERS_FROM": "path,wheel"}


def from_wheels(run: Run) -> None:
    programs = {told(process.exe) or "" for process in run.programs("postgres", "valkey-server", "redis-server")} - {""}
    assert any("postgres" in program for program in programs)
    assert all("site-packages" in program or "emberpost" in program for program in programs), programs


def test_without_any_server_on_the_machine_the_wheels_carry_it(start: Starter, tmp_path: Path) -> None:
    """As whoever runs the tests (root on a build machine), below a folder of mode 700."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    run = ready(start("--empty", data=closed / "data", PATH=bare_path(tmp_path / "bin"), **EMBEDDED))
    from_wheels(run)
    assert run.stop() == 0


@as_root
def test_an_ordinary_user_gets_the_same(start: Starter, tmp_path: Path) -> None:
    """The kernel shows the processes an ordinary user's id; nothing about them is root's any more."""
    ordinary = ("unshare", "-U", "--map-user=1000", "--map-group=1000", "--")
    if subprocess.run([*ordinary, "true"], check=False).returncode:
        pytest.skip("user namespaces are forbidden here")
    run = ready(start("--empty", before=ordinary, PATH=bare_path(tmp_path / "bin"), **EMBEDDED))
    from_wheels(run)
    assert run.stop() == 0


def test_servers_named_in_the_environment_are_used_and_left_alone(start: Starter, servers: tuple[str, str]) -> None:
    database, redis_url = servers
    name = f"launch_{free_port()}"
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}"')
    url = database.rsplit("/", 1)[0] + "/" + name
    run = ready(start("--empty", DATABASE_URL=url, REDIS_URL=redis_url))
    assert not run.programs("postgres", "redis-server")
    assert not (run.data / "postgres").exists()
    assert run.stop() == 0
    with psycopg.connect(database, autocommit=True) as admin:
        assert admin.execute("SELECT 1").fetchone() == (1,)
        admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def product_time(run: Run) -> datetime:
    with psycopg.connect(database_url(run)) as connection:
        row = connection.execute(
            "SELECT base_product + (clock_timestamp() - base_machine) * factor FROM product_clock"
        ).fetchone()
    assert row is not None
    return cast(datetime, row[0])


#: Seconds after ``ready:`` that the rehearsal promises its first answer and its first sequence stopped by one.
FIRST_ANSWER_S, FIRST_STOP_S = 300, 600


def until(run: Run, question: str, end: float) -> None:
    """Ask the instance's own database until something is counted."""
    with psycopg.connect(database_url(run), autocommit=True) as connection:
        while not (connection.execute(question).fetchone() or (0,))[0]:
            in_time(time.monotonic() < end, question)
            time.sleep(0.5)


def test_the_rehearsal_is_ready_after_its_first_mail_and_goes_on_where_it_stood(start: Starter) -> None:
    """Ready means counted at the receiver; the sign-in link works; a pause of the machine is none of the story's."""
    first = start()
    assert first.wait_for("ready: ", 170) == f"ready: {first.url}"
    ports = json.loads((first.data / "world" / "ports.json").read_text())
    counted = json.loads(get(f"http://127.0.0.1:{ports['control']}/accepted?port=submission")[1])
    assert counted["accepted"]
    assert get(first.wait_for("sign in, works once: ", 5).rpartition(" ")[2])[0] == 200
    assert stat.S_IMODE((first.data / "login.txt").stat().st_mode) == 0o600
    ready = time.monotonic()
    until(first, "SELECT count(*) FROM messages WHERE direction = 'in' AND kind = 'human' AND conversation_id IS NOT NULL", ready + FIRST_ANSWER_S)
    until(first, "SELECT count(*) FROM enrollments WHERE status = 'replied'", ready + FIRST_STOP_S)
    stood = product_time(first)
    assert first.stop() == 0
    assert first.lines[-1].startswith("stopped; ")
    time.sleep(3)
    second = start(data=first.data)
    assert second.wait_for("ready: ", 120)
    assert stood < product_time(second) < stood + timedelta(hours=4)
    assert json.loads((second.data / "world" / "ports.json").read_text()) == ports
    assert second.stop() == 0
