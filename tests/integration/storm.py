"""Acts that are interrupted at random moments, by one to five SIGINT each, and what they leave.

    python -m tests.integration.storm NAMESPACE DIRECTORY ROUNDS [SEED]

A process of its own, since an interrupt that comes a moment too late must not end a test run. Prints one JSON
object: how many rounds of each act there were, and what was left of which.
"""

from __future__ import annotations

import collections
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import docker

from jupyter_launcher import Launcher, LauncherError

Deed = Callable[[], object]


class Storm:
    """One launcher, and one folder for its sessions."""

    def __init__(self, namespace: str, folder: str, seed: int) -> None:
        self.launcher = Launcher(namespace=namespace)
        self.namespace = namespace
        self.folder = folder
        self.random = random.Random(seed)  # noqa: S311 - chance, not secrets
        self.client = docker.from_env()
        self.done: collections.Counter[str] = collections.Counter()
        self.left: list[str] = []

    def round(self) -> None:
        """One act; what it may not leave is written down, and removed."""
        name = self.random.choice(["start", "start", "start", "stop", "reap", "run_gateway"])
        session_id = f"{name.replace('_', '-')}-{sum(self.done.values())}"
        if name in ("stop", "reap"):
            self.launcher.start(self.folder, session_id=session_id)
        returned, outcome = self.interrupted(getattr(self, name), session_id)
        self.done[f"{name}: {outcome}"] += 1
        if name == "start" and returned:
            self.launcher.stop(session_id)
        if found := self.containers():
            self.left.append(f"{session_id} ({outcome}): {found}")
            self.launcher.reap(min_age=0, keep=[])

    def start(self, session_id: str) -> object:
        return self.launcher.start(self.folder, session_id=session_id)

    def stop(self, session_id: str) -> object:
        return self.launcher.stop(session_id)

    def reap(self, _: str) -> object:
        return self.launcher.reap(min_age=0, keep=[])

    def run_gateway(self, _: str) -> object:
        with self.launcher.run_gateway(self.folder) as found:
            return found.name

    def interrupted(self, act: Callable[[str], object], session_id: str) -> tuple[bool, str]:
        """Run an act under a storm; whether it returned, and what came of it."""
        times, delay, gap = self.random.randint(1, 5), self.random.uniform(0.0, 1.6), self.random.uniform(0.0, 0.1)

        over = threading.Event()  # since an interrupted join takes a thread for ended (cpython#89437)

        def storm() -> None:
            for index in range(times):
                time.sleep(gap if index else delay)
                os.kill(os.getpid(), signal.SIGINT)
            over.set()

        result = None
        outcome = "returned"
        threading.Thread(target=storm, daemon=True).start()
        try:
            result = act(session_id)
        except KeyboardInterrupt:
            outcome = "interrupted"
        except LauncherError as error:
            outcome = type(error).__name__
        while True:
            try:
                over.wait()
                time.sleep(0.01)  # the last interrupt may still be on its way
                break
            except KeyboardInterrupt:
                continue
        return result is not None, outcome

    def containers(self) -> list[str]:
        """All that carries this namespace, gateways too."""
        found: list[Any] = []
        for label in ("namespace", "gateway-of"):
            found += self.client.containers.list(
                all=True, filters={"label": f"jupyter-launcher.{label}={self.namespace}"}, ignore_removed=True
            )
        return [f"{item.name} {item.status}" for item in found]


def main() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    namespace, folder, rounds, *rest = sys.argv[1:]
    seed = int(rest[0]) if rest else random.randrange(10**6)  # noqa: S311 - chance, not secrets
    storm = Storm(namespace, folder, seed)
    for _ in range(int(rounds)):
        storm.round()
    threads = [item.name for item in threading.enumerate() if item is not threading.main_thread()]
    print(json.dumps({"seed": seed, "done": storm.done, "left": storm.left, "threads": threads}))


if __name__ == "__main__":
    main()
