"""``list`` and ``get`` with many sessions on the engine, beside docker-py's own calls.

Raw ``list`` is ``containers.list``, which inspects each container, as ``get`` inspects one; neither asks
the server for anything. The library's first ``get`` reads the token and proves the server, as in a process that
has not seen the session before. Later ones, and raw ones beside them, inspect the container and ask the server once.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import requests

from benchmarks.candidate import Setting
from benchmarks.results import Results
from jupyter_launcher import Launcher, Session


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
        with Launcher(namespace=setting.launcher.namespace) as other:
            other.ids()
            one = sessions[number % count]
            calls: dict[str, Callable[[], object]] = {
                f"list/{count}/session": setting.launcher.list,
                f"list/{count}/raw": lambda: setting.client.containers.list(all=True, filters={"label": label}),
                f"list-unprobed/{count}/session": lambda: setting.launcher.list(probe=False),
                f"list-unprobed/{count}/raw": lambda: setting.client.api.containers(all=True, filters={"label": label}),
                f"get/{count}/session": functools.partial(other.get, one.id),
                f"get/{count}/raw": functools.partial(setting.client.containers.get, one.container_name),
                f"get-again/{count}/session": functools.partial(setting.launcher.get, one.id),
                f"get-again/{count}/raw": functools.partial(inspect_and_ask, setting, one),
            }
            for key, call in calls.items():
                before = time.perf_counter()
                call()
                if number:  # the first round warms connections
                    results.add(key, time.perf_counter() - before)


def inspect_and_ask(setting: Setting, one: Session) -> None:
    setting.client.containers.get(one.container_name)
    headers = {"Authorization": f"token {one.server_info.token}"}
    requests.get(f"{one.url}api/contents?content=0", headers=headers, timeout=10).raise_for_status()
