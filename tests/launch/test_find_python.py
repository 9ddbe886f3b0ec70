"""bin/find-python: which of the Pythons that are there starts us. The system's own stands in a folder of the test's."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from launch.setup import ROOT

FITS, QUICK = "find_spec", "CONFIG_ARGS"


def python(path: Path, *yes: str) -> str:
    """A program that says yes to the questions with these words, and no to the others."""
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\ncase \"$2\" in\n" + "".join(f"*{word}*) exit 0;;\n" for word in yes) + "esac\nexit 1\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "path"


@pytest.fixture
def system(tmp_path: Path) -> Path:
    return tmp_path / "system" / "python3"


def found(path: Path, system: Path, **more: str) -> tuple[int, str, str]:
    """Exit code, answer and complaint, where only what lies in ``path`` and ``system`` is there."""
    script = (ROOT / "bin" / "find-python").read_text()
    assert script.count("/usr/bin/python3") == 1
    here = ["/bin/bash", "-c", script.replace("/usr/bin/python3", str(system))]
    done = subprocess.run(here, env={"PATH": str(path), **more}, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.strip(), done.stderr


def test_the_first_on_path_is_taken_when_it_was_built_with_profiles(path: Path, system: Path) -> None:
    mine = python(path / "python3", FITS, QUICK)
    python(system, FITS, QUICK)
    assert found(path, system) == (0, mine, "")


def test_one_built_without_profiles_gives_way_to_the_systems_own_and_to_later_ones_that_were(path: Path, system: Path) -> None:
    slow, later = python(path / "python3", FITS), python(path / "python3.14", FITS, QUICK)
    own = python(system, FITS, QUICK)
    assert found(path, system)[1] == own
    python(system, QUICK)  # too old, or without venv
    assert found(path, system)[1] == later
    Path(later).unlink()
    assert found(path, system) == (0, slow, "")


def test_the_one_that_is_named_is_taken_however_it_was_built_if_it_fits(path: Path, system: Path, tmp_path: Path) -> None:
    first = python(path / "python3", FITS, QUICK)
    assert found(path, system, EMBERPOST_PYTHON=(named := python(tmp_path / "named", FITS)))[1] == named
    assert found(path, system, EMBERPOST_PYTHON=python(tmp_path / "unfit", QUICK))[1] == first
    assert found(path, system, EMBERPOST_PYTHON=str(tmp_path / "none"))[1] == first


def test_where_none_fits_one_sentence_says_what_to_install(path: Path, system: Path) -> None:
    python(path / "python3", QUICK)
    code, answer, complaint = found(path, system)
    assert (code, answer) == (1, "") and "apt install python3 python3-venv" in complaint and complaint.count("\n") == 1
