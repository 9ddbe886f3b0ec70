"""Postfix, Exim and OpenSMTPD as they are on Debian, side by side: each hands on everything it is given to one port of this machine.

Postfix is the installed one. The other two exclude it as packages, so they run from a folder into which their packages were unpacked
(launch/unpacked.py), each in a mount namespace of its own: there they find the users and folders they want, and the machine keeps its
own. That needs root, and a system that lets root make namespaces. Nothing can leave the machine: every route ends at the one port.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sandbox import postfix
from sandbox.dovecot import find_program, free_port

MAIN = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/postfix.log
maillog_file_prefixes = {folder}
myhostname = postfix.rehearsal.test
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
disable_dns_lookups = yes
mynetworks = 127.0.0.0/8
relayhost = [127.0.0.1]:{sink}
local_transport = error:no local mail
local_recipient_maps =
alias_maps =
smtpd_tls_security_level = none
smtp_tls_security_level = none
smtpd_client_connection_count_limit = 0
smtpd_error_sleep_time = 0
smtpd_peername_lookup = no
smtpd_recipient_restrictions = permit_mynetworks, reject
default_destination_recipient_limit = 1
"""
EXIM = """
exim_path = {program}
primary_hostname = exim.rehearsal.test
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
spool_directory = {folder}/spool
log_file_path = {folder}/%slog
pid_file_path = {folder}/pid
tls_advertise_hosts =
host_lookup =
rfc1413_hosts =
keep_environment =
smtp_accept_queue_per_connection = 0
acl_smtp_rcpt = take
acl_smtp_data = take
begin acl
take:
  accept
begin routers
all:
  driver = manualroute
  route_list = * 127.0.0.1
  self = send
  transport = out
begin transports
out:
  driver = smtp
  port = {sink}
  allow_localhost
  hosts_try_chunking =
begin retry
* * F,1h,1s
"""
OPENSMTPD = """
listen on 127.0.0.1 port {port}
smtp limit max-mails 100000
action "out" relay host "smtp://127.0.0.1:{sink}"
match from any for any action "out"
"""
#: What both find when they look around: their users, the libraries of their packages.
NAMESPACE = """
set -e
cd "{folder}"
cp /etc/passwd passwd; cp /etc/group group
for user in Debian-exim:7001 opensmtpd:7002 opensmtpq:7003; do
  echo "${{user%:*}}:x:${{user#*:}}:${{user#*:}}::/:/usr/sbin/nologin" >> passwd; echo "${{user%:*}}:x:${{user#*:}}:" >> group
done
mount --bind passwd /etc/passwd; mount --bind group /etc/group
/sbin/ldconfig -X -C "{folder}/ld.cache" "{unpacked}"/usr/lib/*-linux-gnu* && mount --bind ld.cache /etc/ld.so.cache
{own}
exec {command}
"""
#: Its file of settings stays root's, or it would refuse to read it.
EXIM_OWN = "mkdir -p spool; chown 7001:7001 . spool"
OPENSMTPD_OWN = """
mount -t tmpfs none /usr/libexec; mkdir /usr/libexec/opensmtpd; mount --bind "{unpacked}/usr/libexec/opensmtpd" /usr/libexec/opensmtpd
mount -t tmpfs none /var/lib; mkdir -p /var/lib/opensmtpd/empty
mount -t tmpfs none /var/spool; mkdir -m 711 /var/spool/smtpd
mount -t tmpfs none /run
"""


@dataclass(frozen=True)
class Relay:
    """A running server. ``log``: what to show when something is missing."""

    name: str
    port: int
    log: Path


def why_not(unpacked: Path) -> str:
    """What keeps the three from running here, in one sentence; empty when nothing does."""
    if os.geteuid() != 0:
        return "this does not run as root"
    missing = [name for name, path in (("exim4", "usr/sbin/exim4"), ("opensmtpd", "usr/sbin/smtpd")) if not (unpacked / path).exists()]
    missing += [] if find_program("postfix") else ["postfix"]
    if missing:
        return f"{', '.join(missing)} not here: bin/test fetches them where it may use apt-get"
    program = shutil.which("unshare")
    if program is None or subprocess.run([program, "--mount", "--pid", "--fork", "true"], capture_output=True, check=False).returncode:
        return "this system does not let root make mount namespaces"
    return ""


@contextlib.contextmanager
def running_relays(folder: Path, unpacked: Path, sink: int) -> Iterator[list[Relay]]:
    """All three, handing on to ``sink``. Raises TimeoutError with a server's own words when one does not come up."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(_postfix(folder / "postfix", sink)),
            stack.enter_context(_exim(folder / "exim", unpacked, sink)),
            stack.enter_context(_opensmtpd(folder / "opensmtpd", unpacked, sink)),
        ]


@contextlib.contextmanager
def _postfix(folder: Path, sink: int) -> Iterator[Relay]:
    program = find_program("postfix")
    assert program is not None
    port = free_port()
    for path in (folder / "etc", folder / "queue", folder / "data"):
        path.mkdir(parents=True)
    (folder / "etc" / "main.cf").write_text(MAIN.format(folder=folder, sink=sink))
    services = postfix.MASTER[postfix.MASTER.index("pickup") :]
    (folder / "etc" / "master.cf").write_text(f"127.0.0.1:{port} inet n - n - - smtpd\n{services}")
    shutil.chown(folder / "data", "postfix")
    process = subprocess.Popen(
        [program, "-c", str(folder / "etc"), "start-fg"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        postfix.wait_for(process, port, folder / "postfix.log")
        yield Relay("postfix", port, folder / "postfix.log")
    finally:
        postfix.end(process, program, folder)


@contextlib.contextmanager
def _exim(folder: Path, unpacked: Path, sink: int) -> Iterator[Relay]:
    port, program = free_port(), unpacked / "usr" / "sbin" / "exim4"
    folder.mkdir(parents=True)
    (folder / "exim.conf").write_text(EXIM.format(folder=folder, program=program, port=port, sink=sink))
    own, command = EXIM_OWN, f'"{program}" -C "{folder}/exim.conf" -bdf -q5s'
    with _in_namespace("exim", folder, unpacked, own, command, port) as relay:
        yield relay


@contextlib.contextmanager
def _opensmtpd(folder: Path, unpacked: Path, sink: int) -> Iterator[Relay]:
    port, program = free_port(), unpacked / "usr" / "sbin" / "smtpd"
    folder.mkdir(parents=True)
    (folder / "smtpd.conf").write_text(OPENSMTPD.format(port=port, sink=sink))
    own, command = OPENSMTPD_OWN.format(unpacked=unpacked), f'"{program}" -d -f "{folder}/smtpd.conf"'
    with _in_namespace("opensmtpd", folder, unpacked, own, command, port) as relay:
        yield relay


@contextlib.contextmanager
def _in_namespace(name: str, folder: Path, unpacked: Path, own: str, command: str, port: int) -> Iterator[Relay]:
    log = folder / "out.log"
    script = NAMESPACE.format(folder=folder, unpacked=unpacked, own=own, command=command)
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child=SIGKILL", "sh", "-c", script], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            start_new_session=True,
        )  # fmt: skip
    try:
        postfix.wait_for(process, port, log)
        yield Relay(name, port, log)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
