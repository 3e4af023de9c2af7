"""Run the integration tests on each engine, and print a table of what passed.

engine_matrix.py [NAME...]      all engines that other_engine.py knows, unless named
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

from engines import ENGINES
from other_engine import run

__all__ = ["main"]

# Images are built from packages, and the example project makes a virtual environment: the other engines have no
# way out to a package index, so that is tested on the machine's own.
LEFT_OUT = ("test_images.py", "test_example_project.py", "test_docs.py")
SIDE_BY_SIDE = ("-n", "3", "-m", "not alone")
TESTS = [str(path) for path in sorted(Path("tests/integration").glob("test_*.py")) if path.name not in LEFT_OUT]
TELL = (
    "import json; from jupyter_launcher.engine.client import DockerEngine; traits = DockerEngine.connect().traits; "
    "print(json.dumps([traits.name, traits.version, traits.api_version]))"
)


def on(name: str, folder: Path) -> tuple[str, ...]:
    """The tests on one engine: a row of the table."""
    report, version = folder / f"{name}.xml", folder / f"{name}.version"
    pytest = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        f"--junitxml={report}",
        *SIDE_BY_SIDE,
        *arguments(),
        *TESTS,
    ]
    # One start of the engine for both: what it is, then what passes.
    script = 'version=$1 tell=$2; shift 2; "$1" -c "$tell" >"$version" && exec "$@"'
    code = run(name, ["sh", "-c", script, "sh", str(version), TELL, *pytest])
    if not report.exists():
        return (name, "-", "-", f"exit code {code}", "", "", "")
    suites = ET.parse(report).getroot().iter("testsuite")  # noqa: S314 - our own pytest wrote it
    counts = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    seconds = 0.0
    for suite in suites:
        seconds += float(suite.get("time", "0"))
        for key in counts:
            counts[key] += int(suite.get(key, "0"))
    failed = counts["failures"] + counts["errors"]
    kind, number, api = json.loads(version.read_text())
    passed = counts["tests"] - failed - counts["skipped"]
    return (name, f"{kind} {number}", api, str(passed), str(failed), str(counts["skipped"]), f"{seconds:.0f} s")


def arguments() -> list[str]:
    """More arguments for pytest, from the environment."""
    return os.environ.get("PYTEST_ARGS", "").split()


def main(names: list[str]) -> int:
    """All engines that were named; 0 when no test failed on any."""
    unknown = set(names) - set(ENGINES)
    if unknown:
        sys.exit(f"no such engine: {' '.join(sorted(unknown))}; there are {' '.join(ENGINES)}")
    with tempfile.TemporaryDirectory() as folder:
        rows = [on(name, Path(folder)) for name in names or list(ENGINES)]
    table = [("engine", "version", "API", "passed", "failed", "skipped", "time"), *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return int(any(row[4] != "0" for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
