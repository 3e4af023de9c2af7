"""What the package costs before it does anything: its import, and the command's help, beside a bare Python.

    imports.py [ROUNDS]

All in one run, interleaved; medians in milliseconds. `-I` keeps this folder out of the path.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

PYTHON = sys.executable
BARE = "bare Python"
LINES = {
    BARE: [PYTHON, "-I", "-c", "pass"],
    "import jupyter_launcher": [PYTHON, "-I", "-c", "import jupyter_launcher"],
    "import jupyter_launcher.pytest_plugin, beside pytest": [
        *(PYTHON, "-I", "-c"),
        (
            "import pytest, time; t = time.perf_counter(); import jupyter_launcher.pytest_plugin; "
            "print(time.perf_counter() - t)"
        ),
    ],
    "jupyter-launcher --help": [str(Path(PYTHON).with_name("jupyter-launcher")), "--help"],
    "from jupyter_launcher import Launcher": [PYTHON, "-I", "-c", "from jupyter_launcher import Launcher"],
}


def took(line: list[str]) -> float:
    started = time.perf_counter()
    run = subprocess.run(line, capture_output=True, text=True, check=True)
    # A line that prints a number has measured itself.
    try:
        return float(run.stdout)
    except ValueError:
        return time.perf_counter() - started


def main(rounds: int) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in LINES}
    for _ in range(rounds):
        for name, line in LINES.items():
            seconds[name].append(took(line))
    medians = {name: statistics.median(values) * 1000 for name, values in seconds.items()}
    for name, median in medians.items():
        more = "" if "beside" in name or name == BARE else f"  {median - medians[BARE]:+7.1f} ms"
        print(f"{name:<55} {median:7.1f} ms{more}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
