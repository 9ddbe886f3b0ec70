"""Servers that Debian does not install beside Postfix: its packages, fetched and unpacked into a folder of ours. Nothing is installed.

Exim and OpenSMTPD each want to be the one mail server of a machine. The suite hands mails to all three (sandbox/relays.py starts
them from here); ``apt-get`` only downloads, so what is installed stays as it is.
"""

import os
import subprocess
from pathlib import Path

from launch.setup import ROOT

FOLDER = ROOT / ".tmp" / "unpacked"


def program(name: str) -> Path:
    """Where an unpacked server lies, whether it is there or not."""
    return FOLDER / "usr" / "sbin" / name


def unpack(packages: list[str]) -> bool:
    """Fetch the packages with what they need and the machine lacks, and unpack them; whether all that worked."""
    archives = FOLDER / "archives"
    (archives / "partial").mkdir(parents=True, exist_ok=True)
    if not all(_fetched(package, archives) for package in packages):
        return False
    found = sorted(archives.glob("*.deb"))
    return bool(found) and all(_ran("dpkg", "-x", str(archive), str(FOLDER)) for archive in found)


def _fetched(package: str, archives: Path) -> bool:
    """Each by itself: they exclude each other."""
    only = ("install", "-y", "-qq", "--no-install-recommends", "--reinstall", "--download-only", "-o", f"Dir::Cache::archives={archives}")
    return _ran("apt-get", *only, package) or (_ran("apt-get", "update", "-qq") and _ran("apt-get", *only, package))


def _ran(*command: str) -> bool:
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(command, env=quiet, capture_output=True, check=False).returncode == 0
