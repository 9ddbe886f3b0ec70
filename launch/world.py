"""The rehearsal world beside the product: its ports (the same at every start), its process, what it has counted."""

import json
import os
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.errors import LaunchError
from launch.servers import free_port, port_is_free

NAMES = ("smtp", "mx", "imap", "control")


@dataclass(frozen=True)
class WorldPorts:
    """Where the world listens on 127.0.0.1. Mailboxes are set to smtp and imap; strangers' mail enters at mx."""

    smtp: int
    mx: int
    imap: int
    control: int

    def environment(self) -> dict[str, str]:
        """What the processes are told: where the world is, and that nothing else may be reached."""
        reachable = "+".join(str(port) for port in (self.smtp, self.mx, self.imap))
        own = {f"EMBERPOST_WORLD_{name.upper()}_PORT": str(getattr(self, name)) for name in NAMES}
        return own | {"EMBERPOST_ALLOW_TARGETS": f"127.0.0.1:{reachable}"}


def ports_of(data: Path) -> WorldPorts:
    """The ports of the first start, which the mailboxes in the ledger name. Raises LaunchError when one is taken."""
    path = data / "world" / "ports.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        chosen: set[int] = set()
        while len(chosen) < len(NAMES):
            chosen.add(free_port())
        path.write_text(json.dumps(dict(zip(NAMES, chosen, strict=True))) + "\n")
    ports = WorldPorts(**json.loads(path.read_text()))
    for port in (ports.smtp, ports.mx, ports.imap, ports.control):
        wait_for_port(port)
    return ports


def wait_for_port(port: int, seconds: float = 5.0) -> None:
    until = time.monotonic() + seconds
    while not port_is_free(port):
        if time.monotonic() > until:
            raise LaunchError(
                f"Port {port}, which the rehearsal's mailboxes use, is taken by another program: stop that one, or begin "
                "a new rehearsal with another --data."
            )
        time.sleep(0.1)


def ask(path: str, port: int | None = None) -> dict[str, Any]:
    """The control port's answer; empty while nobody answers. `port` defaults to EMBERPOST_WORLD_CONTROL_PORT."""
    control = port or int(os.environ["EMBERPOST_WORLD_CONTROL_PORT"])
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"http://127.0.0.1:{control}{path}", timeout=3) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except (OSError, ValueError):
        return {}


def is_up(ports: WorldPorts) -> bool:
    """The world listens and its clock is set."""
    return bool(ask("/health", ports.control).get("clock_known"))


def first_mail_counted(ports: WorldPorts) -> bool:
    """Whether a mail of ours was taken by the world."""
    return bool(ask("/accepted?port=submission", ports.control).get("accepted"))
