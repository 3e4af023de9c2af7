"""Run the tests of swarms on three nodes of each engine, and print a table of what passed, for docs/swarm.md.

    swarm_matrix.py [ENGINE...]      as swarm_nodes.py takes them; docker-20 and docker-28, unless named

More arguments for pytest are in PYTEST_ARGS.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from engine_matrix import TELL, Row, arguments, read_report, table
from engines import ENGINES
from swarm_nodes import run

__all__ = ["main"]

DEFAULT = ("docker-20", "docker-28")


def on(engine: str, folder: Path) -> Row:
    """The tests on three nodes with this engine: a row of the table."""
    report, version = folder / f"{engine}.xml", folder / f"{engine}.version"
    pytest = [sys.executable, "-m", "pytest", f"--junitxml={report}", *arguments(), "tests/swarm"]
    # One start of the nodes for both: what their engine is, then what passes.
    script = 'version=$1 tell=$2; shift 2; "$1" -c "$tell" >"$version" && exec "$@"'
    code = run("tests", engine, ["sh", "-c", script, "sh", str(version), TELL, *pytest])
    if not report.exists():
        return Row(name=engine, failed=(f"no report: exit code {code}",))
    return read_report(engine, report.read_text(), version.read_text())


def main(engines: list[str]) -> int:
    """All engines that were named; 0 when no test failed on any."""
    unknown = set(engines) - {"machine", *ENGINES}
    if unknown:
        sys.exit(f"no such engine: {' '.join(sorted(unknown))}; there are machine {' '.join(ENGINES)}")
    with tempfile.TemporaryDirectory() as folder:
        rows = [on(engine, Path(folder)) for engine in engines or DEFAULT]
    print(table(rows))
    return int(any(row.failed for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
