"""Statistics of paired rounds, and what must stand beside every figure."""

from __future__ import annotations

import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path


def interval(values: Sequence[float], draws: int = 4_000) -> tuple[float, float, float]:
    """Median and the bootstrap 95 % interval of the median."""
    dice = random.Random(7)
    medians = sorted(statistics.median(dice.choices(values, k=len(values))) for _ in range(draws))
    return statistics.median(values), medians[draws // 40], medians[-draws // 40]


def said(values: Sequence[float], digits: int = 2) -> str:
    """``0.21 (0.19 to 0.24)``"""
    middle, low, high = interval(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def fsync_ms(folder: Path | None = None) -> float:
    """Median time of an fdatasync of 8 kB in milliseconds."""
    times = []
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        for _ in range(100):
            file.write(b"x" * 8192)
            file.flush()
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


def machine() -> str:
    """Processor, cores, versions, load and fsync of this moment, in one line."""
    model = "processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    commit = subprocess.run(("git", "rev-parse", "--short", "HEAD"), capture_output=True, text=True, check=False).stdout.strip()
    return (
        f"{os.cpu_count()} x {model}, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f},"
        f" fdatasync {fsync_ms():.2f} ms, commit {commit or '?'}"
    )


def loop_seconds(rounds: int = 60) -> float:
    """A calibration loop of plain Python and hashing: processor seconds of this thread, to relate other figures to."""
    import hashlib

    began = time.thread_time()
    for number in range(rounds * 1_000):
        text = f"{number}:{number * 7}"
        hashlib.sha256(text.encode()).hexdigest().upper().replace("A", "b").split("7")
    return time.thread_time() - began


_TURNS = 300
_ONE = f"from bench.figures import loop_seconds; print(loop_seconds({_TURNS}))"


def turn_us() -> float:
    """Processor time of a turn of that loop in microseconds while every core runs one.

    Cores that a host lends are slower in some minutes than in others: this says how fast they were just now.
    """
    children = [subprocess.Popen([sys.executable, "-c", _ONE], stdout=subprocess.PIPE, text=True) for _ in range(os.cpu_count() or 1)]
    return statistics.fmean(float(child.communicate()[0]) for child in children) / _TURNS * 1_000
