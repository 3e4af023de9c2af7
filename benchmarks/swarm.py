"""What the calls of a launcher over a swarm cost: requests to the manager and to nodes, connections, memory, time.

scripts/swarm_nodes.py .venv/bin/python -m benchmarks.swarm [--sessions 15] [--rounds 3] [--write]

The engine of this environment (DOCKER_HOST) is a manager; node2 and node3 are workers. ``--write`` puts the table into
docs/swarm.md.
"""

from __future__ import annotations

import argparse
import collections
import datetime as dt
import logging
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from benchmarks.report import table, write_between
from jupyter_launcher import Launcher, Session, Swarm, __version__

PAGE = Path(__file__).parent.parent / "docs/swarm.md"
BEGIN, END = "<!-- costs -->", "<!-- /costs -->"
NAMESPACE = "bench-swarm"
NODES = ("node1", "node2", "node3")
WORKER = "tcp://10.77.0.2:2376"
DIRECTORY, USER = "/srv/bench", "1000:1000"
HEAD = ("call", "requests to the manager", "requests to nodes", "seconds", "connections open afterwards", "memory, MB")

MANY_CONNECTIONS = f"""
from benchmarks.swarm import memory_kb
from jupyter_launcher.engine.client import DockerEngine
made = [DockerEngine.connect(docker_host={WORKER!r})]
before = memory_kb()
made += [DockerEngine.connect(docker_host={WORKER!r}) for _ in range(200)]
print((memory_kb() - before) // 200)
"""

Row = tuple[str, str, str, str, str, str]
Act = tuple[Callable[[], object], Callable[[], object]]
"""A call, and what takes it back."""


class Counter:
    """The requests to engines, by the address that they went to; those to servers are no requests of the SDK."""

    def __init__(self, manager: str) -> None:
        self._manager = manager
        self._counted: collections.Counter[bool] = collections.Counter()
        self.listed: dict[str, int] = {}
        """The bytes of the last answer to each list: of services, tasks, nodes."""
        send = requests.Session.send

        def send_and_count(session: requests.Session, request: requests.PreparedRequest, **given: Any) -> Any:
            parts = urlsplit(str(request.url))
            self._counted[parts.netloc == self._manager] += 1
            answer = send(session, request, **given)
            name = parts.path.rpartition("/")[2]
            if name in ("services", "tasks", "nodes"):
                self.listed[name] = len(answer.content)
            return answer

        requests.Session.send = send_and_count  # type: ignore[assignment, method-assign]

    def take(self) -> tuple[int, int]:
        """Those to the manager and to other nodes, since the last time."""
        found = self._counted[True], self._counted[False]
        self._counted.clear()
        return found


def main() -> None:
    options = arguments()
    for node in NODES:
        folder = Path(os.environ["SWARM_NODES"]) / node / "srv/bench"
        folder.mkdir(parents=True, exist_ok=True)
        os.chown(folder, 1000, 1000)
    logging.getLogger("jupyter_launcher").setLevel(logging.ERROR)
    counter = Counter(urlsplit(os.environ["DOCKER_HOST"]).netloc)
    swarm = Swarm(publish="all", weaker=True)
    rows: list[Row] = []

    def measure_together(calls: Mapping[str, Act]) -> None:
        """Each of the calls in each round, and what takes it back: they share what else the machine does."""
        seen: dict[str, list[tuple[int, int, float]]] = {name: [] for name in calls}
        for _ in range(options.rounds):
            for name, (call, undo) in calls.items():
                counter.take()
                before = time.perf_counter()
                call()
                seen[name].append((*counter.take(), time.perf_counter() - before))
                undo()
        for name, found in seen.items():
            manager, nodes, seconds = zip(*found, strict=True)
            rows.append((name, span(manager), span(nodes), f"{statistics.median(seconds):.2f}", sockets(), memory()))
            print(*rows[-1], sep=" · ", flush=True)

    def measure(name: str, call: Callable[[], object]) -> None:
        measure_together({name: (call, lambda: None)})

    with Launcher(docker_host=WORKER, namespace=NAMESPACE) as plain, closing_sessions(swarm) as launcher:
        on_worker, on_manager = ((f"node.hostname=={node}",) for node in ("node2", "node1"))
        starts = {
            "`start(user=…)` without a swarm, on a worker's engine": start_and_stop(plain, user=USER),
            "`start(user=…)` on a worker": start_and_stop(launcher, user=USER, constraints=on_worker),
            "`start(user=…)` on the manager": start_and_stop(launcher, user=USER, constraints=on_manager),
            "`start` on a worker, which looks for the owner": start_and_stop(launcher, constraints=on_worker),
        }
        for start, stop in starts.values():  # connections are made, images are known
            start()
            stop()
        measure_together(starts)
        sessions = many(launcher, options.sessions)
        first = sessions[0].id
        measure("`Launcher`, and `get` of a session on a worker", lambda: get_anew(swarm, first))
        measure("`get` again", lambda: launcher.get(first))
        measure("`Session.status`", sessions[0].status)
        measure(f"`list` of {options.sessions} sessions on three nodes", launcher.list)
        measure(f"`list(probe=False)` of {options.sessions}", lambda: launcher.list(probe=False))
        measure("`ids`", launcher.ids)
        measure("`Session.execute`", lambda: sessions[0].execute("1 + 1"))
        measure("`Session.run`", lambda: sessions[0].run(["true"]))
        measure("`logs`", lambda: "".join(launcher.logs(first)))
        measure("`reap` of nothing", launcher.reap)
        launcher.list(probe=False)
        size = (counter.listed["services"] + counter.listed["tasks"]) / options.sessions / 1024
        each = (
            f"In the answers to `list`, a session has {size:.1f} kB and a node {counter.listed['nodes'] / 3072:.1f} kB."
        )
        queue = list(sessions)
        measure("`stop`", lambda: queue.pop().stop())
    what = (
        f"{dt.datetime.now(dt.timezone.utc).date().isoformat()}, version {__version__}, {os.cpu_count()} cores for all"
    )
    text = (
        f"{what} three nodes, medians of {options.rounds} rounds.\n\n{table(HEAD, rows)}\n\n{each} {of_a_connection()}"
    )
    print(text)
    if options.write:
        write_between(PAGE, BEGIN, END, text)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.swarm", description="what calls over a swarm cost")
    parser.add_argument("--sessions", type=int, default=15, help="that are listed; %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="of each call; %(default)s")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.name}")
    return parser.parse_args()


@contextmanager
def closing_sessions(swarm: Swarm) -> Iterator[Launcher]:
    """A launcher; what is left of its sessions is stopped."""
    with Launcher(swarm=swarm, namespace=NAMESPACE) as launcher:
        try:
            yield launcher
        finally:
            for found in launcher.ids():
                launcher.stop(found)


def start_and_stop(launcher: Launcher, **given: Any) -> Act:
    """A start, and what takes it back."""
    made: list[Session] = []
    return lambda: made.append(launcher.start(DIRECTORY, **given)), lambda: made.pop().stop()


def many(launcher: Launcher, number: int) -> list[Session]:
    """Sessions on all nodes in turn; the first is on a worker."""
    return [
        launcher.start(DIRECTORY, user=USER, constraints=(f"node.hostname=={NODES[(index + 1) % len(NODES)]}",))
        for index in range(number)
    ]


def get_anew(swarm: Swarm, session_id: str) -> None:
    with Launcher(swarm=swarm, namespace=NAMESPACE) as launcher:
        launcher.get(session_id)


def of_a_connection() -> str:
    """What a connection to a node's engine costs, in a process of its own, where nothing was freed before."""
    done = subprocess.run([sys.executable, "-c", MANY_CONNECTIONS], capture_output=True, text=True, check=True)
    kilobytes = done.stdout.strip()
    return f"A connection to the engine of a node takes {kilobytes} kB of the launcher's memory, and a descriptor."


def span(numbers: Sequence[int]) -> str:
    """The least and the most."""
    return str(min(numbers)) if min(numbers) == max(numbers) else f"{min(numbers)} to {max(numbers)}"


def sockets() -> str:
    """How many this process has open."""
    found = 0
    for item in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found += str(item.readlink()).startswith("socket:")
    return str(found)


def memory() -> str:
    """What this process uses, in MB."""
    return str(round(memory_kb() / 1024))


def memory_kb() -> int:
    found = re.search(r"VmRSS:\s+([0-9]+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    return int(found[1]) if found else 0


if __name__ == "__main__":
    main()
