"""A real Dovecot (IMAP and LMTP) without privileges, for tests on the real thing.

Recipe for Debian's 2.3: own base_dir, state_dir and log; every internal user the same one; no chroot; plain passwords in
a file; Maildirs below the folder. Started as root it runs as `nobody`, because Dovecot refuses root as its login user.
Announces IDLE news after up to 0.5 s of its own.
"""

from __future__ import annotations

import contextlib
import getpass
import grp
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

LOCALHOST = "127.0.0.1"
PLACES = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")

CONFIG = """
protocols = imap lmtp
listen = 127.0.0.1
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_failure_delay = 0
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
first_valid_uid = 1
mail_location = maildir:~/Maildir
mail_fsync = never
mail_max_userip_connections = 0
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%Lu {folder}/users
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={folder}/mail/%Lu
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
service imap-login {{
  chroot =
  service_count = 0
  client_limit = 1000
  process_min_avail = 1
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service imap {{
  process_limit = 1024
}}
service auth {{
  inet_listener {{
    address = 127.0.0.1
    port = {auth}
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {lmtp}
  }}
}}
namespace inbox {{
  inbox = yes
  separator = /
  mailbox Junk {{
    auto = create
    special_use = \\Junk
  }}
  mailbox Sent {{
    auto = create
    special_use = \\Sent
  }}
  mailbox Trash {{
    auto = create
    special_use = \\Trash
  }}
}}
"""


def find_program(name: str) -> str | None:
    """A server program on PATH or where systems keep them."""
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(PLACES))


def dovecot_is_possible() -> bool:
    """Whether the program is there."""
    return find_program("dovecot") is not None


def free_port() -> int:
    """A port below the range from which the system takes its own, free a moment ago."""
    for port in range(20_000 + os.getpid() % 5_000, 32_000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((LOCALHOST, port))
            if port not in _handed_out:
                _handed_out.add(port)
                return port
    raise OSError("no free port below 32000")


_handed_out: set[int] = set()


@dataclass(frozen=True, slots=True)
class Dovecot:
    """A running Dovecot. `folder` holds everything; `users` are those it was started with."""

    folder: Path
    imap_port: int
    lmtp_port: int
    auth_port: int
    pid: int


@contextlib.contextmanager
def running_dovecot(folder: Path, users: Mapping[str, str]) -> Iterator[Dovecot]:
    """Start Dovecot for `users` (address → password). Raises FileNotFoundError without the program, TimeoutError with
    the end of its log when it does not come up. `folder` must be reachable for `nobody` when this runs as root."""
    program = find_program("dovecot")
    if program is None:
        raise FileNotFoundError("dovecot is not installed (Debian: dovecot-imapd dovecot-lmtpd)")
    ports = free_port(), free_port(), free_port()
    user = "nobody" if os.geteuid() == 0 else getpass.getuser()
    account = pwd.getpwnam(user)
    config = _write(folder, users, ports, account)
    process = subprocess.Popen(
        [program, "-F", "-c", str(config)],
        user=account.pw_uid if os.geteuid() == 0 else None,
        group=account.pw_gid if os.geteuid() == 0 else None,
        extra_groups=[] if os.geteuid() == 0 else None,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        _wait_for(process, ports[0], folder / "dovecot.log")
        yield Dovecot(folder, *ports, process.pid)
    finally:
        _end(process)


def _write(folder: Path, users: Mapping[str, str], ports: tuple[int, int, int], account: pwd.struct_passwd) -> Path:
    for name in ("run", "state", "mail"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    lines = [f"{address.lower()}:{{PLAIN}}{password}" for address, password in users.items()]
    (folder / "users").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "dovecot.log").touch()
    config = folder / "dovecot.conf"
    facts = {
        "folder": folder,
        "user": account.pw_name,
        "group": grp.getgrgid(account.pw_gid).gr_name,
        "uid": account.pw_uid,
        "gid": account.pw_gid,
    }
    config.write_text(CONFIG.format(**facts, imap=ports[0], lmtp=ports[1], auth=ports[2]), encoding="utf-8")
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, account.pw_uid, account.pw_gid)
    return config


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Path, seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((LOCALHOST, port), 1) as probe:
            probe.settimeout(1)
            if probe.recv(4) == b"* OK":
                return
        time.sleep(0.02)
    told = log.read_text(encoding="utf-8", errors="replace")[-600:]
    if process.poll() is not None and process.stderr is not None:
        told += process.stderr.read().decode("utf-8", "replace")[-600:]
    raise TimeoutError(f"dovecot did not come up: {told}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server and every process of its group."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(5)
    if process.stderr is not None:
        process.stderr.close()
