"""Holds what the unit tests cover against the floor of each part of the package.

    coverage run -m pytest tests/unit && python scripts/coverage_floors.py

Reads the data file of the run before, prints a line for each part, and ends with 1 where one is below its floor.
"""

from __future__ import annotations

import fnmatch
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PACKAGE = "jupyter_launcher/"

# A part, the least percent of its lines and branches, and its files below the package.
FLOORS: tuple[tuple[str, float, tuple[str, ...]], ...] = (
    ("spec", 100.0, ("spec/*.py",)),
    (
        "engine, what it parses",
        95.0,
        tuple(f"engine/{name}.py" for name in ("types", "shapes", "traits", "podman", "streams", "logs", "errors")),
    ),
    (
        "engine, the rest",
        90.0,
        tuple(f"engine/{name}.py" for name in ("client", "connection", "images", "attach/*", "build/*", "reach/*")),
    ),
    ("engine, of a swarm", 95.0, ("engine/swarm/*.py",)),
    (
        "errors, models, acts, waiting",
        95.0,
        ("errors.py", "models/*.py", "acts.py", "forks.py", "threads.py", "waiting.py"),
    ),
    ("host", 90.0, ("host/*.py",)),
    ("server", 90.0, ("server/*.py",)),
    ("gateway", 90.0, ("gateway/*.py",)),
    ("work", 90.0, ("work/*.py", "work/*/*.py")),
    ("sessions", 90.0, ("sessions/*.py",)),
    ("warm", 90.0, ("warm/*.py",)),
    ("launcher", 90.0, ("launcher.py",)),
    ("aio", 95.0, ("aio/*.py",)),
    ("cli", 85.0, ("cli/*.py", "cli/*/*.py")),
    ("pytest_plugin", 85.0, ("pytest_plugin/*.py",)),
)


def main() -> None:
    """Print the parts; end with 1 where one is below its floor, or where there is no data."""
    files = read_summaries()
    below = False
    for part, floor, patterns in FLOORS:
        percent = percent_of([summary for name, summary in files.items() if belongs(name, patterns)])
        is_below = percent is None or percent < floor
        below |= is_below
        shown = "no data" if percent is None else f"{percent:5.1f} %"
        print(f"{part:<24} {shown}, floor {floor:5.1f} %{'  BELOW ITS FLOOR' if is_below else ''}")
    sys.exit(int(below))


def read_summaries() -> Mapping[str, Mapping[str, Any]]:
    """What ``coverage json`` says of each file of the package, by its path below the package."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "coverage.json"
        line = [sys.executable, "-m", "coverage", "json", "--quiet", "-o", str(report)]
        if subprocess.run(line, check=False).returncode:
            sys.exit("coverage_floors: there is no report; run `coverage run -m pytest tests/unit` first")
        found: Mapping[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return {name.rpartition(PACKAGE)[2]: item["summary"] for name, item in found["files"].items() if PACKAGE in name}


def belongs(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a file is in a part. A ``*`` stands for one name, so the folders below are not in it."""
    return any(fnmatch.fnmatchcase(name, pattern) and name.count("/") == pattern.count("/") for pattern in patterns)


def percent_of(summaries: list[Mapping[str, Any]]) -> float | None:
    """The lines and branches of these files that were run, as coverage counts them; None where there are no files."""
    whole = sum(item["num_statements"] + item.get("num_branches", 0) for item in summaries)
    done = sum(item["covered_lines"] + item.get("covered_branches", 0) for item in summaries)
    return 100.0 * done / whole if whole else None


if __name__ == "__main__":
    main()
