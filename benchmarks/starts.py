"""A start and a stop of every candidate in each round, in turn, so that what else the machine does meets all."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import requests

from benchmarks.candidate import Start, Started
from benchmarks.results import Results

KERNELS = 3


def measure(
    results: Results, candidates: Mapping[str, Start], rounds: int, settle: Mapping[str, Callable[[], object]]
) -> None:
    """``settle``: what a candidate needs before it is measured, and does in the background after it."""
    for number in range(rounds + 1):
        for name, start in candidates.items():
            into = results if number else Results()  # the first round warms caches, and is not counted
            print(f"starts, round {number} of {rounds}: {name}", flush=True)
            wait = settle.get(name, lambda: None)
            wait()
            one(into, name, start)
            wait()


def one(results: Results, name: str, start: Start) -> None:
    before = time.perf_counter()
    started = start()
    results.add(f"start/{name}", time.perf_counter() - before)
    for phase, seconds in started.phases.items():
        results.add(f"start/{name}/{phase}", seconds)
    if name.endswith("-gateway"):
        start_kernels(started)
    before = time.perf_counter()
    started.stop()
    results.add(f"stop/{name}", time.perf_counter() - before)


def start_kernels(started: Started) -> None:
    """So that the stop has kernels on the gateway to end."""
    for _ in range(KERNELS):
        answer = requests.post(
            f"{started.url}api/kernels", json={}, headers={"Authorization": f"token {started.token}"}, timeout=60
        )
        answer.raise_for_status()
