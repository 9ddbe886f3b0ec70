"""A real Dovecot, unprivileged, on ports of its own, below a folder of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

PASSWORD = "s3cret"
CONFIG = """
base_dir = {run}
state_dir = {run}
log_path = {home}/dovecot.log
protocols = imap
listen = 127.0.0.1
ssl = {ssl}
{certificate}
disable_plaintext_auth = no
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
first_valid_uid = 1
mail_fsync = never
mail_max_userip_connections = 0
mail_location = maildir:~/Maildir
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={home}/%u
}}
namespace inbox {{
  inbox = yes
  separator = /
  mailbox Junk {{
    auto = create
    special_use = \\Junk
  }}
  mailbox "Gesendete Objekte" {{
    auto = create
    special_use = \\Sent
  }}
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
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
"""


@dataclass
class Dovecot:
    process: subprocess.Popen[bytes]
    port: int
    home: Path

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=10)
        shutil.rmtree(self.home, ignore_errors=True)


def found() -> str | None:
    return shutil.which("dovecot", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def start(pem: Path | None = None) -> Dovecot:
    """Start it; any user name works with the one password. Raises RuntimeError with its log."""
    program = found()
    assert program is not None
    user = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    home = Path(tempfile.mkdtemp(prefix="emb-dove-", dir="/tmp"))
    run = home / "r"
    run.mkdir()
    port = _free_port()
    certificate = ""
    if pem is not None:
        copy = home / "server.pem"
        copy.write_bytes(pem.read_bytes())
        certificate = f"ssl_cert = <{copy}\nssl_key = <{copy}"
    import grp

    config = CONFIG.format(
        run=run, home=home, user=user.pw_name, group=grp.getgrgid(user.pw_gid).gr_name, uid=user.pw_uid, gid=user.pw_gid,
        password=PASSWORD, port=port, ssl="yes" if pem else "no", certificate=certificate,
    )  # fmt: skip
    (home / "dovecot.conf").write_text(config)
    for path in (home, run, *home.iterdir()):
        if os.geteuid() == 0:
            os.chown(path, user.pw_uid, user.pw_gid)
    switch = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    process = subprocess.Popen(
        [program, "-F", "-c", str(home / "dovecot.conf")], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **switch
    )
    _wait(process, port, home)
    return Dovecot(process, port, home)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], port: int, home: Path) -> None:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    log = home / "dovecot.log"
    process.kill()
    errors = process.stderr.read().decode() if process.stderr else ""
    raise RuntimeError(f"dovecot did not start: {errors} {log.read_text() if log.exists() else ''}")
