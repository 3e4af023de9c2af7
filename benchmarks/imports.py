"""What the package costs before it does anything: its import, and the command's help, beside a bare Python."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from benchmarks.results import Results

PYTHON = sys.executable
BARE = "bare Python"
BESIDE_PYTEST = "import jupyter_launcher.pytest_plugin, beside pytest"
# `-I` keeps this folder out of the path.
LINES = {
    BARE: [PYTHON, "-I", "-c", "pass"],
    "import jupyter_launcher": [PYTHON, "-I", "-c", "import jupyter_launcher"],
    BESIDE_PYTEST: [
        *(PYTHON, "-I", "-c"),
        (
            "import pytest, time; t = time.perf_counter(); import jupyter_launcher.pytest_plugin; "
            "print(time.perf_counter() - t)"
        ),
    ],
    "jupyter-launcher --help": [str(Path(PYTHON).with_name("jupyter-launcher")), "--help"],
    "from jupyter_launcher import Launcher": [PYTHON, "-I", "-c", "from jupyter_launcher import Launcher"],
}


def measure(results: Results, rounds: int) -> None:
    print("imports", flush=True)
    for number in range(rounds + 1):
        for name, line in LINES.items():
            seconds = took(line)
            if number:  # the first round reads files into the cache
                results.add(f"import/{name}", seconds)


def took(line: list[str]) -> float:
    before = time.perf_counter()
    run = subprocess.run(line, capture_output=True, text=True, check=True)
    # A line that prints a number has measured itself.
    try:
        return float(run.stdout)
    except ValueError:
        return time.perf_counter() - before
