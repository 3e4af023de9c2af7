"""``list`` and ``get`` with many sessions on the engine, beside docker-py's own calls.

Raw ``list`` is ``containers.list``, which inspects each container, as ``get`` inspects one; neither asks
the server for anything, which the library's ``get`` does: it reads the token and proves the server.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from benchmarks.candidate import Setting
from benchmarks.results import Results
from jupyter_launcher import Session


def measure(results: Results, setting: Setting, counts: Iterable[int], rounds: int) -> None:
    sessions: list[Session] = []
    with ThreadPoolExecutor(max_workers=8) as pool:
        try:
            for count in sorted(counts):
                print(f"list and get with {count} sessions", flush=True)
                more = count - len(sessions)
                sessions += pool.map(lambda _: setting.launcher.start(setting.folder), range(more))
                look(results, setting, sessions, rounds)
        finally:
            list(pool.map(lambda session: session.stop(), sessions))


def look(results: Results, setting: Setting, sessions: list[Session], rounds: int) -> None:
    count = len(sessions)
    label = f"jupyter-launcher.namespace={setting.launcher.namespace}"
    for number in range(rounds + 1):
        one = sessions[number % count]
        calls: dict[str, Callable[[], object]] = {
            f"list/{count}/session": setting.launcher.list,
            f"list/{count}/raw": lambda: setting.client.containers.list(all=True, filters={"label": label}),
            f"get/{count}/session": lambda one=one: setting.launcher.get(one.id),  # type: ignore[misc]
            f"get/{count}/raw": lambda one=one: setting.client.containers.get(one.container_name),  # type: ignore[misc]
        }
        for key, call in calls.items():
            before = time.perf_counter()
            call()
            if number:  # the first round warms connections
                results.add(key, time.perf_counter() - before)
