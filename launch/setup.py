"""First half of both commands, with nothing but the standard library: the environment and the front-end files.

Started by the system's Python (3.11 or newer) as `python -m launch.setup run|test|audit [arguments]`; ends by becoming
`launch.run`, `launch.test` or `launch.audit` inside the virtual environment. When everything is in place it costs a few milliseconds.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from launch import assets
from launch.errors import LaunchError
from launch.programs import find_postgres, find_redis

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "emberpost-packages.json"
LOWEST_PYTHON = (3, 11)
BASE, EMBEDDED, DEV = "requirements.txt", "requirements-embedded.txt", "requirements-dev.txt"
TOOLS, NODE = "requirements-tools.txt", "requirements-node.txt"
NETWORK_SIGNS = (
    "dns error",
    "failed to fetch",
    "connection",
    "timed out",
    "temporary failure",
    "network",
    "resolve",
    "no matching distribution",
)
BEGAN = float(os.environ.get("EMBERPOST_BEGAN_AT") or time.monotonic())


def say(text: str) -> None:
    print(f"[{time.monotonic() - BEGAN:5.1f} s] {text}", flush=True)


def venv_python() -> Path:
    return VENV / "bin" / "python"


def digest(name: str) -> str:
    return hashlib.sha256((ROOT / name).read_bytes()).hexdigest()


def installed() -> dict[str, str]:
    """Which requirement files the environment was last brought in line with: name to digest."""
    try:
        known = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return {}
    return dict(known) if venv_python().exists() else {}


def needs_embedded() -> bool:
    """Whether a server program has to come from a wheel."""
    allowed = os.environ.get("EMBERPOST_SERVERS_FROM", "path,system,wheel")
    narrowed = ",".join(word for word in allowed.split(",") if word != "wheel")
    os.environ["EMBERPOST_SERVERS_FROM"] = narrowed or "none"
    try:
        for variable, find in (("DATABASE_URL", find_postgres), ("REDIS_URL", find_redis)):
            if not os.environ.get(variable):
                find()
    except LaunchError:
        return True
    finally:
        os.environ["EMBERPOST_SERVERS_FROM"] = allowed
    return False


def wanted(command: str) -> list[str]:
    """Requirement files this command needs; what an earlier command brought stays."""
    before = installed()
    names = [BASE]
    if EMBEDDED in before or command in ("test", "audit") or needs_embedded():
        names.append(EMBEDDED)
    if DEV in before or command in ("test", "audit"):
        names.append(DEV)
    return names


def complaint(words: str, output: str) -> LaunchError:
    """The sentence for a failed installation."""
    low = output.lower()
    last = [line.strip() for line in output.splitlines() if line.strip()][-1:] or ["no reason given"]
    if "no space left" in low:
        return LaunchError(f"The disk is full while {words}: free some space (about 1 GB is needed) and start again.")
    if any(sign in low for sign in NETWORK_SIGNS):
        return LaunchError(
            f"The package registry cannot be reached while {words} ({last[0][:200]}): check the network or the proxy "
            "settings and start again; what is already there is kept."
        )
    return LaunchError(f"Something went wrong while {words}: {last[0][:400]}")


def do(words: str, *command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode:
        raise complaint(words, done.stdout + done.stderr)


def works(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, cwd=ROOT, check=False).returncode == 0
    except OSError:
        return False


def make_environment() -> None:
    """An empty virtual environment, and uv in it."""
    python = str(venv_python())
    if not works(python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"):
        shutil.rmtree(VENV, ignore_errors=True)
        if not works(sys.executable, "-m", "venv", "--without-pip", str(VENV)):
            do("making the virtual environment", sys.executable, "-m", "venv", "--without-pip", str(VENV))
    if (VENV / "bin" / "uv").exists():
        return
    install = ("install", "-q", "--disable-pip-version-check", "--require-hashes", "-r", str(ROOT / TOOLS))
    if (found := shutil.which("uv")) and works(found, "pip", "install", "-q", "--python", python, "-r", TOOLS):
        return
    if works(sys.executable, "-m", "pip", "--python", python, *install):
        return
    if not works(python, "-m", "pip", "--version") and not works(python, "-m", "ensurepip"):
        raise LaunchError(
            "This Python has neither pip nor ensurepip: install them (Debian: apt install python3-venv python3-pip)."
        )
    do("fetching uv", python, "-m", "pip", *install)


def install_packages(names: list[str]) -> None:
    """Bring the environment in line with the locked files."""
    STAMP.unlink(missing_ok=True)
    python, uv = str(venv_python()), VENV / "bin" / "uv"
    if uv.exists():
        do("fetching Python packages", str(uv), "pip", "sync", "-q", "--python", python, "--require-hashes",
           "--compile-bytecode", *names)  # fmt: skip
    else:
        files = [word for name in names for word in ("-r", name)]
        do("fetching Python packages", python, "-m", "pip", "install", "-q", "--require-hashes", *files)
    STAMP.write_text(json.dumps({name: digest(name) for name in names}))


def install_wheel(folder: Path) -> None:
    """Put the wheel with node into `folder`, beside the environment."""
    uv, python = VENV / "bin" / "uv", str(venv_python())
    common = ("install", "-q", "--require-hashes", "--target", str(folder), "-r", str(ROOT / NODE))
    if uv.exists():
        do("fetching node", str(uv), "pip", common[0], "--python", python, *common[1:])
    else:
        do("fetching node", python, "-m", "pip", *common)


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Two commands started together in one checkout must not install over each other."""
    (ROOT / ".tmp").mkdir(exist_ok=True)
    with (ROOT / ".tmp" / "setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def in_background(failures: list[BaseException]) -> threading.Thread:
    """Front-end files are fetched while Python packages are."""

    def work() -> None:
        try:
            assets.sync(install_wheel)
            say("front-end files are in place")
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def current(names: list[str]) -> bool:
    return installed() == {name: digest(name) for name in names}


def prepare(command: str) -> None:
    """Everything the second half needs; does nothing when it is there already."""
    names = wanted(command)
    if current(names) and assets.complete():
        return
    with one_at_a_time():
        names = wanted(command)  # who had the lock before may have brought more: that stays
        if shutil.disk_usage(ROOT).free < 600 << 20:
            raise LaunchError(f"Less than 600 MB are free below {ROOT}: free some space and start again.")
        if not current(names):
            say("setting up the Python environment")
            make_environment()
        failures: list[BaseException] = []
        fetching = None
        if not assets.complete():
            say("fetching front-end files with npm")
            fetching = in_background(failures)
        try:
            if not current(names):
                install_packages(names)
                say("Python packages are in place")
        finally:
            if fetching:
                fetching.join()
        if failures:
            raise failures[0]


def main(arguments: list[str]) -> None:
    command, rest = arguments[0], arguments[1:]
    if sys.version_info < LOWEST_PYTHON:
        raise LaunchError("Python 3.11 or newer is needed.")
    if not {"-h", "--help"} & set(rest) or not venv_python().exists():
        prepare(command)
    python = str(venv_python())
    os.environ["EMBERPOST_BEGAN_AT"] = str(BEGAN)
    os.execv(python, [python, "-P", "-m", f"launch.{command}", *rest])


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except LaunchError as problem:
        sys.exit(f"emberpost: {problem}")
    except OSError as problem:
        sys.exit(f"emberpost: set-up failed: {problem.strerror or problem}: {problem.filename or ROOT}")
    except KeyboardInterrupt:
        sys.exit(130)
