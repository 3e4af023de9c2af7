"""Several starts at once: the time until all answer, and until the first does."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from benchmarks.candidate import Start, Started
from benchmarks.results import Results


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounded:
    """A candidate, and how many of its starts this benchmark lets run at once."""

    start: Start
    in_flight: int | None = None
    """None: all; the candidate has a bound of its own, or its users have none."""


def measure(results: Results, candidates: Mapping[str, Bounded], counts: Iterable[int], rounds: int) -> None:
    for name, bounded in candidates.items():
        print(f"1 at once, not counted: {name}", flush=True)
        at_once(bounded, 1)
    for number in range(1, rounds + 1):
        for count in counts:
            for name, bounded in candidates.items():
                print(f"{count} at once, round {number} of {rounds}: {name}", flush=True)
                seconds = at_once(bounded, count)
                results.add(f"together/{count}/{name}", max(seconds))
                results.add(f"together/{count}/{name}/first", min(seconds))


def at_once(bounded: Bounded, count: int) -> list[float]:
    """Seconds from the begin of all to the end of each; what was started is stopped."""
    slots = threading.Semaphore(bounded.in_flight or count)
    started: list[Started] = []
    futures: list[Future[float]] = []
    before = time.perf_counter()

    def start() -> float:
        with slots:
            started.append(bounded.start())
        return time.perf_counter() - before

    with ThreadPoolExecutor(max_workers=count) as pool:
        try:
            futures += [pool.submit(start) for _ in range(count)]
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()
            list(pool.map(lambda one: one.stop(), started))
