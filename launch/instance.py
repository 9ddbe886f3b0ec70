"""The data folder: who uses it, what the instance is called, and its secrets.

`instance.json` holds the id (part of the cookie name and of every Redis key, so that two instances side by side do not
disturb each other) and whether it is a rehearsal or real, decided at the first start. `secrets.env` (mode 0600) holds
the keys; whoever has the data and this file has everything, so both belong into the backup.
"""

import base64
import contextlib
import fcntl
import json
import os
import secrets
import shutil
import string
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from launch.errors import LaunchError

REHEARSAL, REAL = "rehearsal", "real"
LEAST_FREE_MB = 200
FINISHING_SECONDS = 20.0


@dataclass(frozen=True)
class Instance:
    """One data folder in use by us; `lock` must stay open as long as anything of ours runs."""

    folder: Path
    id: str
    mode: str
    first_start: bool
    lock: IO[str]

    @property
    def rehearsal(self) -> bool:
        return self.mode == REHEARSAL


def open_instance(folder: Path, *, empty: bool) -> Instance:
    """Take the folder for ourselves, making it on the first start. Raises LaunchError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "run.lock").open("a+")
    except OSError as problem:
        raise LaunchError(
            f"{folder} cannot be written ({problem.strerror}): choose another folder with --data."
        ) from None
    if shutil.disk_usage(folder).free < LEAST_FREE_MB << 20:
        raise LaunchError(f"Less than {LEAST_FREE_MB} MB are free below {folder}: free some space and start again.")
    take(lock, folder)
    known = read(folder / "instance.json")
    if known and empty and known["mode"] == REHEARSAL:
        raise LaunchError(f"{folder} holds a rehearsal: choose another folder with --data for an empty instance.")
    if known:
        return Instance(folder, known["id"], known["mode"], False, lock)
    made = {"id": new_id(), "mode": REAL if empty else REHEARSAL}
    (folder / "instance.json").write_text(json.dumps(made) + "\n")
    return Instance(folder, made["id"], made["mode"], True, lock)


def read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        known = json.loads(path.read_text())
        return {"id": str(known["id"]), "mode": str(known["mode"])}
    except (ValueError, KeyError):
        raise LaunchError(
            f"{path} cannot be read: put it back from a backup, or begin anew with another --data."
        ) from None


def new_id() -> str:
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(8))


def take(lock: IO[str], folder: Path) -> None:
    """Only one bin/run per folder. Processes of a killed one hold the lock until they have finished: wait for them."""
    until = time.monotonic() + FINISHING_SECONDS
    told = False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError:
            lock.seek(0)
            holder = lock.read().strip()
            if is_alive(holder) or time.monotonic() > until:
                raise LaunchError(
                    f"{folder} is in use by another bin/run (process {holder or 'unknown'}): stop that one, or start "
                    "this one with another --data and --port."
                ) from None
            if not told:
                print("  an earlier run is still finishing", flush=True)
                told = True
            time.sleep(0.2)
    lock.seek(0)
    lock.truncate()
    lock.write(f"{os.getpid()}\n")
    lock.flush()


def is_alive(pid: str) -> bool:
    """Whether this process runs (a zombie does not)."""
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{int(pid)}/stat").read_text().rpartition(")")[2].split()[0] != "Z" if pid else False
    return False


def secret_settings(folder: Path) -> dict[str, str]:
    """The keys of this instance, made on the first start."""
    path = folder / "secrets.env"
    if not path.exists():
        key = base64.b64encode(secrets.token_bytes(32)).decode()
        path.touch(mode=0o600)
        path.write_text(f"EMBERPOST_SECRET_KEY={secrets.token_hex(32)}\nEMBERPOST_ENCRYPTION_KEYS=k1:{key}\n")
    pairs = (line.split("=", 1) for line in path.read_text().splitlines() if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, value in pairs}
