"""A real Postfix before a running Dovecot: submission with AUTH, an MX port without, delivery by LMTP.

Postfix' master needs root. Nothing can leave the machine: every transport but LMTP to Dovecot is `error`. An unknown
user is accepted and then bounced with a real delivery report to the sender.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sandbox.dovecot import LOCALHOST, Dovecot, find_program, free_port

MAIN = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/postfix.log
maillog_file_prefixes = {folder}
myhostname = mx.rehearsal.test
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
disable_dns_lookups = yes
mynetworks =
virtual_mailbox_domains = {domains}
virtual_mailbox_maps =
virtual_transport = lmtp:inet:127.0.0.1:{lmtp}
default_transport = error:nothing leaves this machine
relay_transport = error:nothing leaves this machine
local_transport = error:no local mail
local_recipient_maps =
alias_maps =
smtpd_sasl_type = dovecot
smtpd_sasl_path = inet:127.0.0.1:{auth}
smtpd_tls_security_level = none
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_error_sleep_time = 0
smtpd_peername_lookup = no
smtpd_relay_restrictions =
smtpd_recipient_restrictions = reject_unauth_destination
lmtp_destination_recipient_limit = 1
bounce_queue_lifetime = 1h
maximal_queue_lifetime = 1h
message_size_limit = 36700160
mailbox_size_limit = 0
"""
MASTER = """
127.0.0.1:{smtp} inet n - n - - smtpd
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_recipient_restrictions=permit_sasl_authenticated,reject
127.0.0.1:{mx} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
"""


@dataclass(frozen=True, slots=True)
class Postfix:
    """A running Postfix; accounts are those of its Dovecot."""

    folder: Path
    smtp_port: int
    mx_port: int
    pid: int


def postfix_is_possible() -> bool:
    """Whether the programs are there and we are root."""
    return os.geteuid() == 0 and find_program("postfix") is not None and find_program("dovecot") is not None


@contextlib.contextmanager
def running_postfix(folder: Path, dovecot: Dovecot, domains: Iterable[str]) -> Iterator[Postfix]:
    """Start Postfix for `domains`. Raises FileNotFoundError without program or root, TimeoutError with its log."""
    program = find_program("postfix")
    if program is None or os.geteuid() != 0:
        raise FileNotFoundError("postfix is not installed (Debian: postfix), or this does not run as root")
    smtp, mx = free_port(), free_port()
    _write(folder, dovecot, domains, smtp, mx)
    process = subprocess.Popen(
        [program, "-c", str(folder / "etc"), "start-fg"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(process, smtp, folder / "postfix.log")
        yield Postfix(folder, smtp, mx, process.pid)
    finally:
        end(process, program, folder)


def _write(folder: Path, dovecot: Dovecot, domains: Iterable[str], smtp: int, mx: int) -> None:
    etc = folder / "etc"
    for path in (etc, folder / "queue", folder / "data"):
        path.mkdir(parents=True, exist_ok=True)
    facts = {"folder": folder, "domains": ", ".join(domains), "lmtp": dovecot.lmtp_port, "auth": dovecot.auth_port}
    (etc / "main.cf").write_text(MAIN.format(**facts), encoding="utf-8")
    (etc / "master.cf").write_text(MASTER.format(smtp=smtp, mx=mx), encoding="utf-8")
    shutil.chown(folder / "data", "postfix")


def wait_for(process: subprocess.Popen[bytes], port: int, log: Path, seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((LOCALHOST, port), 1) as probe:
            probe.settimeout(2)
            if probe.recv(4) == b"220 ":
                return
        time.sleep(0.05)
    told = log.read_text(encoding="utf-8", errors="replace")[-800:] if log.exists() else ""
    raise TimeoutError(f"the mail server did not come up: {told}")


def end(process: subprocess.Popen[bytes], program: str, folder: Path) -> None:
    """Ask Postfix to stop, then end what is left of its group."""
    subprocess.run([program, "-c", str(folder / "etc"), "stop"], check=False, capture_output=True, timeout=20)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(5)
