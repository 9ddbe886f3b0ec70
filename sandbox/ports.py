"""The world's ports: chosen once per data folder and kept, because the mailboxes in the ledger name them."""

from __future__ import annotations

import json
import random
import socket
import time
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sandbox.mail.server import LOCALHOST

LOWEST, HIGHEST = 20_000, 32_000  # below the range from which the system takes its own


@dataclass(frozen=True, slots=True)
class WorldPorts:
    smtp: int
    mx: int
    imap: int
    control: int


def world_folder(data: Path) -> Path:
    """Where the world of an instance keeps its state."""
    return data / "world"


def world_ports(folder: Path) -> WorldPorts:
    """The ports of the world in `folder`, chosen now when this is its first start."""
    path = folder / "ports.json"
    if path.exists():
        return WorldPorts(**json.loads(path.read_text(encoding="utf-8")))
    folder.mkdir(parents=True, exist_ok=True)
    chosen = WorldPorts(*_free_ports(4))
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(asdict(chosen)), encoding="utf-8")
    draft.replace(path)
    return chosen


def _free_ports(count: int) -> list[int]:
    ports: list[int] = []
    while len(ports) < count:
        port = random.SystemRandom().randrange(LOWEST, HIGHEST)
        if port not in ports and _is_free(port):
            ports.append(port)
    return ports


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((LOCALHOST, port))
        except OSError:
            return False
    return True


def ask_world(port: int, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """One question to the control port (POST when there is a body). Raises OSError while nobody answers."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://{LOCALHOST}:{port}{path}", data)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(request, timeout=5) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def wait_for_world(folder: Path, seconds: float = 20.0) -> WorldPorts:
    """Wait until the world listens and its clock is set. Raises TimeoutError."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        ports = world_ports(folder)
        try:
            if ask_world(ports.control, "/health").get("clock_known"):
                return ports
        except (OSError, ValueError):
            pass
        time.sleep(0.05)
    raise TimeoutError(f"the rehearsal's world did not come up within {seconds:.0f} s")
