"""The whole rehearsal world: people answer over real SMTP, the control port tells and obeys, a restart goes on."""

from __future__ import annotations

import base64
import http.server
import json
import os
import signal
import smtplib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sandbox.demo_world import demo_accounts, demo_campaign, demo_leads, demo_mailboxes, demo_people
from sandbox.personas import Persona
from sandbox.ports import WorldPorts, ask_world, wait_for_world, world_ports

MONDAY = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
ROOT = Path(__file__).resolve().parents[2]


def start_world(folder: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("DATABASE_URL", None)
    return subprocess.Popen(
        [sys.executable, "-m", "sandbox.world", "--data", str(folder)],
        env=environment,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )


def set_clock(ports: WorldPorts, product: datetime, factor: float) -> None:
    """Wait until the control port answers, then hand the world its time."""
    told = {"base_machine": datetime.now(UTC).isoformat(), "base_product": product.isoformat(), "factor": factor}
    eventually(lambda: _answers(ports, told))


def _answers(ports: WorldPorts, told: dict[str, Any]) -> bool:
    try:
        ask_world(ports.control, "/clock", told)
    except OSError:
        return False
    return True


@pytest.fixture
def world(tmp_path: Path) -> Iterator[WorldPorts]:
    process = start_world(tmp_path)
    try:
        ports = world_ports(tmp_path)
        set_clock(ports, MONDAY, 60)
        yield wait_for_world(tmp_path)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert process.stdout is not None
        process.stdout.close()


def eventually(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "did not happen in time"
        time.sleep(0.05)


def first_with(persona: Persona) -> str:
    return next(person.address for person in demo_people() if person.persona is persona)


def write_to(ports: WorldPorts, address: str, extra: str = "", number: int = 1) -> dict[str, Any]:
    """One mail of ours by submission; returns our mailbox."""
    ours = demo_mailboxes(ports.smtp, ports.imap)[0]
    head = f"From: {ours['email']}\r\nTo: {address}\r\nSubject: A question\r\nMessage-ID: <{number}@emberdemo.test>\r\n"
    with smtplib.SMTP("127.0.0.1", ours["smtp_port"], timeout=5) as session:
        session.login(ours["smtp_user"], ours["smtp_password"])
        session.sendmail(ours["email"], [address], f"{head}{extra}\r\nHello!\r\n".encode())
    return ours


def inbox(ports: WorldPorts, address: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ask_world(ports.control, f"/messages?address={address}")["messages"]
    return found


def test_somebody_who_answers_soon_does_so_within_a_minute_of_real_time(world: WorldPorts) -> None:
    address = first_with(Persona.ANSWERS_SOON)
    ours = write_to(world, address)
    due = datetime.fromisoformat(ask_world(world.control, "/next-act")["next"])
    assert timedelta(0) < due - MONDAY < timedelta(hours=1)
    set_clock(world, due - timedelta(seconds=30), 60)
    eventually(lambda: len(inbox(world, ours["email"])) == 1)
    (answer,) = inbox(world, ours["email"])
    assert address in answer["from"]
    assert answer["subject"].startswith("Re: ")
    assert answer["at"].startswith("2026-11-23"), "arrival is stamped in product time"
    accepted = ask_world(world.control, f"/accepted?to={ours['email']}")["accepted"]
    assert [(taken["mail_from"], taken["port"]) for taken in accepted] == [(address, "mx")]


def test_one_click_reaches_a_page_of_this_machine(world: WorldPorts) -> None:
    heard: list[tuple[str, bytes]] = []

    class Page(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = http.server.HTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/u/token"
    write_to(
        world,
        first_with(Persona.ONE_CLICK),
        f"List-Unsubscribe: <{url}>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n",
    )
    set_clock(world, MONDAY + timedelta(hours=5), 60)
    eventually(lambda: bool(heard))
    server.shutdown()
    server.server_close()
    assert heard == [("/u/token", b"List-Unsubscribe=One-Click")]


def test_the_control_port_counts_delivers_and_breaks_things(world: WorldPorts) -> None:
    ours = write_to(world, first_with(Persona.NEVER_ANSWERS))
    assert ask_world(world.control, "/counts") == {"<1@emberdemo.test>": 1}
    raw = base64.b64encode(b"Subject: pushed\r\n\r\nx").decode()
    assert ask_world(world.control, "/deliver", {"address": ours["email"], "raw": raw})["uid"] == 1
    ask_world(world.control, "/faults", {"point": "rcpt", "death": "close"})
    with pytest.raises(smtplib.SMTPServerDisconnected):
        write_to(world, first_with(Persona.NEVER_ANSWERS), number=2)
    assert ask_world(world.control, "/hits") == {"rcpt:close": 1}
    before = ask_world(world.control, f"/messages?address={ours['email']}")["uid_validity"]
    ask_world(world.control, "/imap-actions", {"action": "renumber", "address": ours["email"], "first_uid": 9})
    after = ask_world(world.control, f"/messages?address={ours['email']}")
    assert after["uid_validity"] > before
    assert after["messages"][0]["uid"] == 9


def test_a_restarted_world_keeps_its_ports_its_mail_and_its_plans(tmp_path: Path) -> None:
    for run in (1, 2):
        process = start_world(tmp_path)
        ports = world_ports(tmp_path)
        set_clock(ports, MONDAY, 1)
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["smtp"] == ports.smtp
        if run == 1:
            write_to(ports, first_with(Persona.ANSWERS_LATE))
            planned = ask_world(ports.control, "/next-act")["next"]
            eventually(lambda: (tmp_path / "people.json").exists())
        else:
            assert ask_world(ports.control, "/next-act")["next"] == planned
            assert len(inbox(ports, first_with(Persona.ANSWERS_LATE))) == 1
        process.send_signal(signal.SIGKILL if run == 1 else signal.SIGTERM)
        process.wait(10)
        process.stdout.close()


def test_the_demo_has_its_problems_on_purpose() -> None:
    leads, mailboxes = demo_leads(), demo_mailboxes(1, 2)
    known = {account.address: account.password for account in demo_accounts()}
    wrong = [box["email"] for box in mailboxes if known[box["email"]] != box["smtp_password"]]
    assert len(leads) == 60
    assert len({lead["email"] for lead in leads}) == 60
    assert sum(not lead["first_name"] for lead in leads) == 2
    assert len(mailboxes) == 6
    assert len(wrong) == 1
    assert {person.persona for person in demo_people()} == set(Persona)
    assert len({lead["email"].partition("@")[2] for lead in leads}) == 12
    assert [len(demo_campaign([1])[key]) for key in ("windows", "steps", "mailbox_ids")] == [5, 3, 1]
