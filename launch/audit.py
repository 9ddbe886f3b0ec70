"""bin/audit: known weaknesses and licences of everything that is installed by hash.

``bin/audit`` asks the vulnerability services about the exact versions of the lock files (pip-audit about Python's, npm about the front
end's) and reads the licence of each package from what is installed. ``--record`` writes the result into docs/audit.md.
Ends with 0: nothing found. 1: a weakness, or a licence nobody agreed to. 3: nothing found, but a service could not be asked.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata

from launch.errors import LaunchError
from launch.setup import ROOT, do, say, venv_python

FINE, FOUND, NOT_ASKED = 0, 1, 3
LOCKS = ("requirements.txt", "requirements-embedded.txt", "requirements-dev.txt", "requirements-tools.txt")
TOOL = ROOT / ".tmp" / "audit"
RECORD = ROOT / "docs" / "audit.md"
AGREED = ROOT / "launch" / "licences.json"
#: What a client says when it could not ask, as opposed to what it found.
AWAY = (
    "connection", "timed out", "timeout", "name or service", "resolve", "unreachable", "service unavailable", "getaddrinfo", "enotfound", "eai_again",
    "econnrefused", "max retries", "404", "403", "405", "500", "501", "502", "503", "not implemented", "not supported", "audit endpoint",
)  # fmt: skip
CLASSIFIERS = {
    "MIT License": "MIT", "BSD License": "BSD-3-Clause", "Apache Software License": "Apache-2.0", "ISC License (ISCL)": "ISC",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0", "Python Software Foundation License": "PSF-2.0", "The Unlicense (Unlicense)": "Unlicense",
    "GNU Library or Lesser General Public License (LGPL)": "LGPL-2.1", "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0",
    "GNU Lesser General Public License v2 (LGPLv2)": "LGPL-2.0", "GNU General Public License v3 (GPLv3)": "GPL-3.0",
    "GNU Affero General Public License v3": "AGPL-3.0",
}  # fmt: skip
WORDS = {"mit license": "MIT", "apache 2.0": "Apache-2.0", "bsd 2-clause license": "BSD-2-Clause", "bsd-0-clause": "0BSD", "mit-0": "MIT-0"}


@dataclass(frozen=True)
class Package:
    """One line of a lock: ``only_elsewhere`` when a marker keeps it off this machine."""

    name: str
    version: str
    only_elsewhere: bool = False


@dataclass
class Result:
    """What an audit found: ``weak`` and ``licences`` are sentences, ``away`` names the services that could not be asked."""

    asked: list[str] = field(default_factory=list)
    weak: list[str] = field(default_factory=list)
    licences: list[str] = field(default_factory=list)
    away: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def code(self) -> int:
        return FOUND if self.weak or self.licences else NOT_ASKED if self.away else FINE


def locked(text: str, here: Iterable[str] = ()) -> list[Package]:
    """The packages of one lock file. ``here``: names that are installed."""
    installed = {plain(name) for name in here}
    lines = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\]+)([^\n]*)", text, re.M)
    return [Package(name, version, ";" in rest and plain(name) not in installed) for name, version, rest in lines]


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def licence_of(package: metadata.PackageMetadata) -> str:
    """One SPDX expression, or an empty text when the package does not say."""
    if expression := package.get("License-Expression"):
        return str(expression)
    known = [CLASSIFIERS.get(line.split("::")[-1].strip()) for line in package.get_all("Classifier") or [] if line.startswith("License ::")]
    told = " OR ".join(sorted({name for name in known if name}))
    words = str(package.get("License") or "").strip()
    short = WORDS.get(words.lower(), words if re.fullmatch(r"[A-Za-z0-9.+-]{2,30}", words) else "")
    return told or short


def agreed(expression: str, allowed: set[str]) -> bool:
    """Whether one of the alternatives holds nothing but licences on the list."""
    choices = re.split(r"\s+OR\s+", expression.replace("(", "").replace(")", ""))
    return any(choice and all(part in allowed for part in re.split(r"\s+AND\s+|\s+WITH\s+", choice)) for choice in choices)


def licences(packages: dict[str, str], list_of: dict[str, dict[str, str] | list[str]], result: Result) -> None:
    """Judge each package's licence (name → expression); what nobody agreed to becomes a sentence."""
    allowed, reviewed = set(list_of["allowed"]), dict(list_of["reviewed"])
    for name, expression in sorted(packages.items()):
        if plain(name) in reviewed:
            result.counts[f"{expression or 'not said'} (looked at)"] += 1
        elif agreed(expression, allowed):
            result.counts[expression] += 1
        else:
            result.licences.append(f"{name}: {expression or 'says no licence'}; agree to it in launch/licences.json with a reason, or take it out")
    known = {plain(name) for name in packages}
    result.licences += [f"{name} is looked at in launch/licences.json and not installed" for name in reviewed if name not in known]


def python_licences() -> tuple[dict[str, str], list[str]]:
    """(name → licence of what is installed, names in the locks that are not and should be)."""
    here = {plain(one.metadata["Name"]): one.metadata for one in metadata.distributions() if one.metadata["Name"]}
    wanted = [package for name in LOCKS for package in locked((ROOT / name).read_text(), here)]
    missing = [one.name for one in wanted if plain(one.name) not in here and not one.only_elsewhere]
    return {plain(one.name): licence_of(here[plain(one.name)]) for one in wanted if plain(one.name) in here}, missing


def front_end_licences(text: str) -> dict[str, str]:
    """From package-lock.json, which says it for each package."""
    found = json.loads(text)["packages"]
    return {name.removeprefix("node_modules/"): WORDS.get(str(one.get("license", "")).lower(), one.get("license", "")) for name, one in found.items() if name}


def read_pip_audit(lock: str, code: int, out: str, err: str, result: Result) -> None:
    """What pip-audit said about one lock. Exit 1 with a list is a find; anything without a list is a service that was not asked."""
    try:
        told = json.loads(out)["dependencies"]
    except (ValueError, KeyError, TypeError):
        result.away.append(f"{lock}: {last_line(err) or f'pip-audit ended with {code} and said nothing'}")
        return
    left_out = [one for one in told if "skip_reason" in one]
    if left_out:  # a service that knows none of them, such as a mirror without that part, is one that was not asked
        result.away.append(f"{lock}: {len(left_out)} of {len(told)} packages (the service asked knows nothing of {left_out[0]['name']})")
    if len(left_out) < len(told):
        result.asked.append(f"{lock}: {len(told) - len(left_out)} packages")
    for one in told:
        for weakness in one.get("vulns", []):
            fix = ", ".join(weakness.get("fix_versions") or []) or "none yet"
            result.weak.append(f"{one['name']} {one['version']}: {weakness['id']} (repaired in: {fix})")


def read_npm_audit(code: int, out: str, err: str, result: Result) -> None:
    """What ``npm audit --json`` said."""
    try:
        told = json.loads(out)
    except ValueError:
        told = {}
    if "vulnerabilities" not in told:
        reason = told.get("message") or (told.get("error") or {}).get("summary") or err or f"npm ended with {code} and said nothing"
        result.away.append(f"package-lock.json: {last_line(reason)}")
        return
    result.asked.append(f"package-lock.json: {told.get('metadata', {}).get('dependencies', {}).get('total', '?')} packages")
    result.weak += [f"{name}: {one['severity']} (in {one['range']})" for name, one in told["vulnerabilities"].items()]


def last_line(text: str) -> str:
    """The sentence that says why, without addresses: those differ from machine to machine."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if any(sign in line.lower() for sign in AWAY)] or lines
    said = re.sub(r"\w+://\S+|host='[^']*'", "…", telling[-1])[:200] if telling else ""
    return "its service cannot be asked from here" if re.search(r"\b40[345]\b|\b50[0-3]\b", said) else said


def ask_pip_audit(result: Result) -> None:
    """Exact versions with their hashes, nothing resolved and nothing installed."""
    try:
        install_tool()
    except LaunchError as problem:
        result.away.append(f"pip-audit is not to be had: {problem}")
        return
    for lock in LOCKS:
        words = ("-m", "pip_audit", "--requirement", lock, "--require-hashes", "--disable-pip", "--format", "json", "--progress-spinner", "off")
        done = subprocess.run(
            (str(venv_python()), *words), cwd=ROOT, env=os.environ | {"PYTHONPATH": str(TOOL)}, capture_output=True, text=True, timeout=600, check=False
        )
        read_pip_audit(lock, done.returncode, done.stdout, done.stderr, result)


def install_tool() -> None:
    """pip-audit, by hash, beside the environment: what it needs must not meet what the product needs."""
    stamp = TOOL / "lock"
    wanted = (ROOT / "requirements-audit.txt").read_text()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    shutil.rmtree(TOOL, ignore_errors=True)
    do("fetching pip-audit", str(venv_python().parent / "uv"), "pip", "install", "-q", "--python", str(venv_python()), "--require-hashes",
       "--target", str(TOOL), "-r", "requirements-audit.txt")  # fmt: skip
    stamp.write_text(wanted)


def ask_npm(result: Result) -> None:
    npm = shutil.which("npm")
    if npm is None:
        result.away.append("package-lock.json: npm is not on this machine")
        return
    done = subprocess.run(
        (npm, "audit", "--package-lock-only", "--json"), cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    read_npm_audit(done.returncode, done.stdout, done.stderr, result)


def report(result: Result) -> str:
    """The result in words."""
    parts = ["# The last audit of what is installed", "", f"Written by `bin/audit --record` on {datetime.now(UTC):%Y-%m-%d}.", "", "## Known weaknesses", ""]
    parts += [f"- {line}" for line in result.weak] or ["- None found in what could be asked." if result.asked else "- Not known: no service could be asked."]
    parts += [f"- Asked about {line}." for line in result.asked]
    parts += [f"- **Not asked**: {line}." for line in result.away]
    parts += ["", "## Licences", ""]
    parts += [f"- Nobody agreed to {line}." for line in result.licences] or ["Each package has a licence that is on the list of `launch/licences.json`."]
    parts += ["", "| licence | packages |", "|---|---|", *(f"| {name} | {count} |" for name, count in sorted(result.counts.items()))]
    reviewed = json.loads(AGREED.read_text())["reviewed"]
    parts += ["", "Looked at one by one:", "", *(f"- {name}: {reason}" for name, reason in sorted(reviewed.items()))]
    return "\n".join(parts) + "\n"


def audit(*, offline: bool = False) -> Result:
    """Everything; ``offline``: only what needs no service."""
    result = Result()
    here, missing = python_licences()
    licences({**here, **front_end_licences((ROOT / "package-lock.json").read_text())}, json.loads(AGREED.read_text()), result)
    result.licences += [f"{name} is in a lock and not installed: run bin/test once" for name in missing]
    if not offline:
        say("asking about Python's packages")
        ask_pip_audit(result)
        say("asking about the front end's packages")
        ask_npm(result)
    return result


def main(arguments: list[str]) -> None:
    unknown = set(arguments) - {"--record"}
    if unknown:
        sys.exit(f"emberpost: bin/audit knows --record, not {' '.join(sorted(unknown))}")
    result = audit()
    text = report(result)
    print(text)
    if "--record" in arguments:
        RECORD.write_text(text)
    words = {FINE: "nothing found", FOUND: "something was found", NOT_ASKED: "nothing found, but not everything could be asked: run it again where it can"}
    say(words[result.code])
    sys.exit(result.code)


if __name__ == "__main__":
    main(sys.argv[1:])
