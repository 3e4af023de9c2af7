"""Run the integration tests on each engine, and print a table of what passed.

engine_matrix.py [NAME...]      all engines of engines.py, unless named
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engines import ENGINES
from other_engine import run

__all__ = ["Row", "main", "read_report", "table"]

# Images are built from packages, and the example project makes a virtual environment: the other engines have no
# way out to a package index, so that is tested on the machine's own.
LEFT_OUT = ("test_images.py", "test_example_project.py", "test_docs.py")
SIDE_BY_SIDE = ("-n", "3", "-m", "not alone and not parts")
TESTS = [str(path) for path in sorted(Path("tests/integration").glob("test_*.py")) if path.name not in LEFT_OUT]
TELL = (
    "import json; from jupyter_launcher.engine.client import DockerEngine; traits = DockerEngine.connect().traits; "
    "print(json.dumps([traits.name, traits.version, traits.api_version]))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What came of the tests on one engine: ``skipped`` counts each reason, ``failed`` has the tests' names."""

    name: str
    version: str = "-"
    api: str = "-"
    passed: int = 0
    failed: tuple[str, ...] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0


def on(name: str, folder: Path) -> Row:
    """The tests on one engine: a row of the table."""
    report, version = folder / f"{name}.xml", folder / f"{name}.version"
    pytest = [
        sys.executable,
        "-m",
        "pytest",
        # They would write into the checkout, which is not of a rootless engine's user.
        *("-p", "no:cacheprovider", "-p", "no:hypothesispytest"),
        f"--junitxml={report}",
        *SIDE_BY_SIDE,
        *arguments(),
        *TESTS,
    ]
    # One start of the engine for both: what it is, then what passes.
    script = 'version=$1 tell=$2; shift 2; "$1" -c "$tell" >"$version" && exec "$@"'
    code = run(name, ["sh", "-c", script, "sh", str(version), TELL, *pytest])
    if not report.exists():
        return Row(name=name, failed=(f"no report: exit code {code}",))
    return read_report(name, report.read_text(), version.read_text())


def read_report(name: str, report: str, version: str) -> Row:
    """A row from what pytest wrote, and from what the engine told of itself."""
    kind, number, api = json.loads(version)
    root = ET.fromstring(report)  # noqa: S314 - our own pytest wrote it
    passed, failed, skipped = 0, list[str](), Counter[str]()
    for case in root.iter("testcase"):
        reason = case.find("skipped")
        if reason is not None:
            skipped[reason.get("message", "")] += 1
        elif case.find("failure") is not None or case.find("error") is not None:
            failed.append(f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}")
        else:
            passed += 1
    return Row(
        name=name,
        version=f"{kind} {number}",
        api=api,
        passed=passed,
        failed=tuple(failed),
        skipped=skipped,
        seconds=sum(float(suite.get("time", "0")) for suite in root.iter("testsuite")),
    )


def table(rows: Sequence[Row]) -> str:
    """The rows for docs/engines.md, then the reasons of what was skipped, and what failed."""
    cells: list[tuple[str, ...]] = [("engine", "version", "API", "passed", "failed", "skipped", "time"), ("---",) * 7]
    for row in rows:
        counts = (row.passed, len(row.failed), sum(row.skipped.values()))
        cells.append((f"`{row.name}`", row.version, row.api, *map(str, counts), f"{row.seconds:.0f} s"))
    lines = [f"| {' | '.join(line)} |" for line in cells]
    for row in rows:
        lines += [f"{row.name}: {count} skipped: {reason}" for reason, count in row.skipped.items()]
        lines += [f"{row.name}: failed: {test}" for test in row.failed]
    return "\n".join(lines)


def arguments() -> list[str]:
    """More arguments for pytest, from the environment."""
    return os.environ.get("PYTEST_ARGS", "").split()


def main(names: list[str]) -> int:
    """All engines that were named; 0 when no test failed on any."""
    unknown = set(names) - set(ENGINES)
    if unknown:
        sys.exit(f"no such engine: {' '.join(sorted(unknown))}; there are {' '.join(ENGINES)}")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o1777)  # the user of a rootless engine writes there too
        rows = [on(name, Path(folder)) for name in names or list(ENGINES)]
    print(table(rows))
    return int(any(row.failed for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
