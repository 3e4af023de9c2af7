"""What one launcher carries: starts at once, many sessions at once, and many starts and stops in a row.

python -m benchmarks.load [--sessions N] [--rounds 500] [--at-once 16] [--pool 4] [--write]

With ``--write``, the table is put into docs/performance.md. Exits with 1 where something is left or has grown.
"""

from __future__ import annotations

import argparse
import collections
import datetime as dt
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.report import table, write_between
from jupyter_launcher import Launcher, Session
from tests.faults.soak import open_files

PAGE = Path(__file__).parent.parent / "docs/performance.md"
BEGIN, END = "<!-- load -->", "<!-- /load -->"
MB = 2**20
MOST_SESSIONS = 120
MB_EACH = 100
CALLERS = 8
MAY_GROW = 5.0
"""MB between the first and the last tenth of the rounds: what Python's own allocator varies by."""

HELD = {
    "alone": "0.79 s",
    "start": "0.45 s, 0.57 of a start alone",
    "memory": "58 MB",
    "launcher": "40 MB, 9",
    "list": "343 ms",
    "stopped": "21 s, all by api",
}
"""What an earlier version needed for 120 sessions, on two cores and 24 GB."""

Rows = list[tuple[str, str, str]]


def main() -> None:
    options = arguments()
    rows: Rows = []
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as name, launcher_of_its_own(faults) as launcher:
        folder = Path(name)
        folder.chmod(0o755)
        launcher.start(folder).stop()  # what is made once is there
        alone = milliseconds(lambda: launcher.start(folder)) / 1000
        rows.append(("a start alone", f"{alone:.2f} s", HELD["alone"]))
        stop_all(launcher)
        rows += at_once(f"{options.at_once} starts at once", options.at_once, lambda: launcher.start(folder))
        if options.pool:
            rows += from_a_pool(launcher, folder, options.at_once, options.pool)
        if options.sessions:
            rows += many(launcher, folder, options.sessions, alone)
        if options.rounds:
            rows += in_a_row(launcher, folder, options.rounds, faults)
    head = (
        f"{dt.datetime.now(dt.timezone.utc).date().isoformat()}, {os.cpu_count()} cores, {memory('MemTotal'):.0f} MB."
    )
    text = f"{head}\n\n{table(('load', 'seen', 'no worse than'), rows)}"
    print(text, *faults, sep="\n")
    if options.write and not faults:
        write_between(PAGE, BEGIN, END, text)
    sys.exit(1 if faults else 0)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description="what one launcher carries")
    most = min(MOST_SESSIONS, int(memory("MemAvailable") / MB_EACH))
    parser.add_argument("--sessions", type=int, default=most, help="at once; as many as memory allows: %(default)s")
    parser.add_argument("--rounds", type=int, default=500, help="starts and stops in a row; %(default)s")
    parser.add_argument("--at-once", type=int, default=16, help="starts; %(default)s")
    parser.add_argument("--pool", type=int, default=4, help="warm sessions for as many starts at once; 0: none")
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    return parser.parse_args()


@contextmanager
def launcher_of_its_own(faults: list[str]) -> Iterator[Launcher]:
    """A launcher in a namespace of this run; whatever happens, its sessions are stopped."""
    with Launcher(namespace=f"load-{os.getpid()}") as launcher:
        try:
            yield launcher
        finally:
            left = stop_all(launcher)
            if left and sys.exc_info()[0] is None:
                faults.append(f"left: {', '.join(left)}")


def stop_all(launcher: Launcher) -> Sequence[str]:
    """Stop the sessions that are left; their ids."""
    left = launcher.ids()
    for session_id in left:
        launcher.stop(session_id)
    return left


def at_once(what: str, count: int, start: Callable[[], Session]) -> Rows:
    """So many starts that begin at the same moment; what was started is stopped."""
    print(what, flush=True)
    sessions: list[Session] = []
    together = threading.Barrier(count)

    def one(_: int) -> float:
        together.wait()
        before = time.perf_counter()
        sessions.append(start())
        return time.perf_counter() - before

    with ThreadPoolExecutor(count) as pool:
        try:
            seconds = sorted(pool.map(one, range(count)))
        finally:
            list(pool.map(lambda session: session.stop(), sessions))
    return [(f"{what}: the first, the median, all", " · ".join(f"{value:.2f} s" for value in spread(seconds)), "")]


def spread(seconds: list[float]) -> tuple[float, float, float]:
    return seconds[0], statistics.median(seconds), seconds[-1]


def from_a_pool(launcher: Launcher, folder: Path, count: int, size: int) -> Rows:
    """As ``at_once``, with so many sessions of a pool that wait for their directories."""
    make: Any = getattr(launcher, "pool", None)
    if make is None:
        return []
    owner = folder.stat()
    with make(size=size, user=f"{owner.st_uid}:{owner.st_gid}") as pool:
        pool.wait(60.0 + 10.0 * size)
        return at_once(f"{count} starts at once, from a pool of {size}", count, lambda: pool.start(folder))


def many(launcher: Launcher, folder: Path, count: int, alone: float) -> Rows:
    """So many sessions that run at the same time."""
    print(f"{count} sessions at once", flush=True)
    available = memory("MemAvailable")
    methods: collections.Counter[str] = collections.Counter()
    with ThreadPoolExecutor(CALLERS) as pool:
        before = time.perf_counter()
        sessions = list(pool.map(lambda _: launcher.start(folder), range(count)))
        started = time.perf_counter() - before
        each = (available - memory("MemAvailable")) / count
        own, files = memory("VmRSS", "/proc/self/status"), open_files()
        looks = [milliseconds(call) for call in (launcher.list, lambda: launcher.list(probe=False))]
        before = time.perf_counter()
        methods.update(report.method.value for report in pool.map(lambda session: session.stop(), sessions))
        stopped = time.perf_counter() - before
    ended = ", ".join(f"{number} by {name}" for name, number in methods.items())
    held = HELD if count == MOST_SESSIONS else dict.fromkeys(HELD, "")
    return [
        (
            f"{count} sessions at once, to start each",
            f"{started / count:.2f} s, {started / count / alone:.2f} of a start alone",
            held["start"],
        ),
        ("memory of each, with all that the engine runs for it", f"{each:.0f} MB", held["memory"]),
        ("the launcher's memory and descriptors", f"{own:.0f} MB, {files}", held["launcher"]),
        ("`list`", f"{looks[0]:.0f} ms", held["list"]),
        ("`list(probe=False)`", f"{looks[1]:.0f} ms", ""),
        ("all stopped", f"{stopped:.0f} s, {ended}", held["stopped"]),
    ]


def milliseconds(call: Callable[[], object], rounds: int = 5) -> float:
    seconds = []
    for _ in range(rounds):
        before = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - before)
    return 1000 * statistics.median(seconds)


def in_a_row(launcher: Launcher, folder: Path, rounds: int, faults: list[str]) -> Rows:
    """So many starts and stops, one after another: nothing of the launcher grows."""
    sizes: list[float] = []
    tenth = max(1, rounds // 10)
    before = time.perf_counter()
    for number in range(rounds):
        launcher.start(folder).stop()
        sizes.append(memory("VmRSS", "/proc/self/status"))
        if number + 1 == tenth:
            files, threads = open_files(), threading.active_count()
        if (number + 1) % 50 == 0:
            print(f"{number + 1} starts and stops in a row", flush=True)
    seconds = time.perf_counter() - before
    grown = {
        "MB": round(statistics.median(sizes[-tenth:]) - statistics.median(sizes[:tenth]), 1),
        "threads": threading.active_count() - threads,
        "descriptors": open_files() - files,
    }
    if grown["MB"] > MAY_GROW or grown["threads"] > 0 or grown["descriptors"] > 0:
        faults.append(f"grown: {grown}")
    shown = ", ".join(f"{value:+g} {name}" for name, value in grown.items())
    return [
        (f"{rounds} starts and stops in a row, each", f"{seconds / rounds:.2f} s", ""),
        ("what the launcher has grown by meanwhile", shown, f"{MAY_GROW:g} MB, 0, 0"),
    ]


def memory(field: str, path: str = "/proc/meminfo") -> float:
    """A field of the kernel's own files, in MB."""
    lines = Path(path).read_text(encoding="ascii", errors="replace").splitlines()
    (found,) = [line.split()[1] for line in lines if line.startswith(f"{field}:")]
    return int(found) * 1024 / MB


if __name__ == "__main__":
    main()
