"""Kills at random moments: whatever dies, one ``reap`` leaves nothing, and nobody else's kernel is touched."""

from __future__ import annotations

import collections
import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import docker

from jupyter_launcher import DEFAULT_IMAGE, Launcher, LauncherError, Session
from tests.containers import OWNER, eventually
from tests.kernels.client import Kernels
from tests.kernels.conftest import ISOLATIONS, containers_of, networks_of

ROUNDS = int(os.environ.get("KERNEL_STORM_ROUNDS", "100" if os.environ.get("LONG") else "12"))
SEED = int(os.environ.get("KERNEL_STORM_SEED", "0")) or random.randrange(1, 10**6)  # noqa: S311 - chance, not secrets
VICTIMS = ("gateway", "part", "session", "launcher", "kernel")
"""A part is the broker or an agent, whichever there is."""
PREFIXES = {
    "gateway": ("kernel-gateway.",),
    "part": ("kernel-agent.", "kernel-broker."),
    "session": ("jupyter-server.",),
    "kernel": ("jupyter-kernel.",),
}


class Bystander:
    """A session of the same namespace, which nobody kills: its kernel counts, and must never lose count."""

    def __init__(self, launcher: Launcher, folder: Path, isolation: Any) -> None:
        self.session: Session = launcher.start(
            folder, session_id=f"bystander-{isolation}", kernels={"py": DEFAULT_IMAGE}, isolation=isolation
        )
        self._kernels = Kernels(self.session)
        self._kernel = self._kernels.start("py")
        self._count = 0
        assert self._kernels.printed(self._kernel, f"count = {self._count}; print(count)") == "0"

    def count(self) -> None:
        """Execute in its kernel, which has all of its variables still."""
        self._count += 1
        assert self._kernels.ids() == {self._kernel}
        assert self._kernels.printed(self._kernel, "count += 1; print(count)") == str(self._count)


class Storm:
    """Rounds of kills in one namespace."""

    def __init__(self, launcher: Launcher, client: Any, folder: Path, bystanders: list[Bystander]) -> None:
        self._launcher = launcher
        self._client = client
        self._folder = folder
        self._bystanders = bystanders
        self._keep = [item.session.id for item in bystanders]
        self._spared = {item.id for item in containers_of(client, launcher.namespace)}
        self._random = random.Random(SEED)  # noqa: S311 - chance, not secrets
        self.killed: collections.Counter[str] = collections.Counter()
        self.left: list[str] = []

    def round(self, number: int) -> None:
        """Something is started, something of it dies, and one ``reap`` must take all that is left of it."""
        isolation, session_id = self._random.choice(ISOLATIONS), self._random.choice(["victim", ""])
        there = [item for item in VICTIMS if {"session": session_id, "kernel": isolation == "kernel"}.get(item, True)]
        victims = self._random.sample(there, self._random.choice([1, 1, 2]))
        when, delays = (
            self._random.choice(["made", "used"]),
            [self._random.uniform(0.0, 4.0), self._random.uniform(0, 1)],
        )
        line = [sys.executable, "-m", "tests.kernels.storm", self._launcher.namespace, str(self._folder), isolation]
        line += [session_id, f"{SEED} {number}"]
        process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert process.stdout is not None
        try:
            if when == "used":
                assert process.stdout.readline() == b"ready\n"
            for victim, delay in zip(victims, delays, strict=False):  # a second one dies soon after the first
                threading.Event().wait(delay)
                self.kill(victim, process)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
            process.stdout.close()
        told = f"round {number}: {isolation}, {session_id or 'gateway'} {when}, {victims} after {delays}"
        assert eventually(self.is_settled, 60), told
        if session_id and self._random.random() < 0.5:
            with contextlib.suppress(LauncherError):  # there may be none
                self._launcher.stop(session_id)
        reaped = self._launcher.reap(min_age=0, keep=self._keep)
        if left := self.found():
            errors = [f"{item.name}: {item.error}" for item in reaped if item.error]
            self.left.append(f"{told}: left {left}, errors {errors}")
            self.clear()
        for bystander in self._bystanders:
            bystander.count()

    def kill(self, victim: str, process: subprocess.Popen[bytes]) -> None:
        """End one of a kind without a word, as soon as there is one; else the launcher's process."""
        if victim != "launcher":
            eventually(lambda: process.poll() is not None or self.running(victim) != [], 30)
        found = self.running(victim)
        if not found:
            self.killed["launcher"] += 1
            process.send_signal(signal.SIGKILL)
            return
        self.killed[victim] += 1
        with contextlib.suppress(docker.errors.APIError):  # it has just ended
            self._random.choice(found).kill()

    def running(self, victim: str) -> list[Any]:
        """The containers of a kind that run, without the bystanders'."""
        running = [item for item in containers_of(self._client, self._launcher.namespace) if item.status == "running"]
        kind = PREFIXES.get(victim, ())
        return [item for item in running if item.id not in self._spared and item.name.startswith(kind)]

    def is_settled(self) -> bool:
        """The engine is through with what dead processes had asked of it."""
        before = self.found()
        threading.Event().wait(1.0)
        return before == self.found()

    def found(self) -> list[str]:
        """All that is there beside the bystanders."""
        containers = containers_of(self._client, self._launcher.namespace)
        networks = networks_of(self._client, self._launcher.namespace)
        return sorted(
            [f"{item.name} {item.status}" for item in containers if item.id not in self._spared]
            + [f"network {item.name}" for item in networks]
        )

    def clear(self) -> None:
        """Remove what was left, so that the next round begins with nothing."""
        for container in containers_of(self._client, self._launcher.namespace):
            if container.id not in self._spared:
                with contextlib.suppress(docker.errors.APIError):
                    container.remove(force=True, v=True)


def test_whatever_is_killed_one_reap_leaves_nothing(launcher: Launcher, client: Any, tmp_path: Path) -> None:
    folder = tmp_path / "pipeline"
    folder.mkdir()
    if os.getuid() == 0:
        os.chown(folder, OWNER, OWNER)
    bystanders = [Bystander(launcher, folder, isolation) for isolation in ISOLATIONS]
    try:
        storm = Storm(launcher, client, folder, bystanders)
        print(f"KERNEL_STORM_SEED={SEED}, {ROUNDS} rounds")
        for number in range(ROUNDS):
            storm.round(number)
        print(dict(storm.killed))
        assert storm.left == []
    finally:
        for bystander in bystanders:
            bystander.session.stop()
