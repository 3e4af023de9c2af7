"""Processes that fork, that are interrupted, or that act on one session together. ``LONG=1``: many more of each."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import EngineUnavailableError, Launcher, LauncherError, Session, SessionState, Timeouts
from tests.unit.forks import in_a_fork

LONG = bool(os.environ.get("LONG"))


def run(module: str, *arguments: object) -> dict[str, Any]:
    """The JSON that a module of this folder prints."""
    line = [sys.executable, "-m", f"tests.integration.{module}", *map(str, arguments)]
    result = subprocess.run(line, capture_output=True, text=True, check=False, timeout=1200)
    assert result.returncode == 0, result.stderr
    print(result.stdout, result.stderr)
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


def test_interrupts_at_any_moment_leave_nothing(namespace: str, pipeline_dir: Path) -> None:
    found = run("storm", f"{namespace}-storm", pipeline_dir, 100 if LONG else 10)
    assert (found["left"], found["threads"]) == ([], [])
    assert any("interrupted" in name for name in found["done"])


def test_forks_of_a_used_launcher_get_what_they_ask_for(namespace: str, start: Any, pipeline_dir: Path) -> None:
    for number in range(3):
        start(pipeline_dir, session_id=f"fork-{number}")
    rounds = 60 if LONG else 5
    found = run("fork", namespace, rounds, *(f"fork-{number}" for number in range(3)))
    assert found == {"right": rounds * 4, "wrong": []}


def test_a_fork_that_leaves_the_block_of_a_session_ends_nothing(launcher: Launcher, pipeline_dir: Path) -> None:
    with launcher.start(pipeline_dir, lease=60) as session:

        def leave() -> None:
            session.__exit__(None, None, None)
            launcher.__exit__(None, None, None)

        assert in_a_fork(leave) == "None"
        assert session.status().state is SessionState.READY
        assert in_a_fork(lambda: session.status().state) == str(SessionState.READY)
        assert launcher.get(session.id).id == session.id
    assert session.status().state is SessionState.GONE


def test_a_fork_may_start_and_stop_sessions_of_its_own(launcher: Launcher, pipeline_dir: Path) -> None:
    launcher.ids()

    def start_and_stop() -> str:
        session: Session = launcher.start(pipeline_dir)
        return session.stop().method.value

    assert in_a_fork(start_and_stop) == "api"


def test_a_client_that_was_handed_in_is_not_used_in_a_fork(client: Any, namespace: str) -> None:
    with Launcher(client=client, namespace=namespace) as launcher:
        launcher.ids()
        seen = in_a_fork(launcher.ids)
    assert seen.startswith(EngineUnavailableError.__name__)
    assert "docker_host=" in seen


ACTS: dict[str, Any] = {
    "start": lambda launcher, folder: launcher.start(folder, session_id="race"),
    "stop": lambda launcher, _: launcher.stop("race"),
    "get": lambda launcher, _: launcher.get("race"),
    "renew": lambda launcher, _: launcher.renew("race"),
    "reap": lambda launcher, _: launcher.reap(min_age=0, keep=[]),
}
RACES = [
    pair
    for pair in itertools.combinations_with_replacement(ACTS, 2)
    if pair not in (("get", "renew"), ("renew", "renew"))
]
HASTY = Timeouts(start=20, gateway=5, shutdown=10, terminate=5)


@pytest.mark.parametrize("pair", RACES if LONG else RACES[::4], ids="-".join)
@pytest.mark.parametrize("there", [True, False], ids=["running", "none"])
def test_two_acts_at_a_time_on_one_session(
    pair: tuple[str, str],
    there: bool,  # noqa: FBT001 - pytest's
    namespace: str,
    pipeline_dir: Path,
) -> None:
    for _ in range(2 if LONG else 1):
        with Launcher(namespace=namespace, timeouts=HASTY) as one, Launcher(namespace=namespace, timeouts=HASTY) as two:
            if there:
                one.start(pipeline_dir, session_id="race")
            together = threading.Barrier(2)

            def act(launcher: Launcher, name: str, together: threading.Barrier = together) -> str:
                together.wait()
                try:
                    ACTS[name](launcher, pipeline_dir)
                except LauncherError as error:
                    return type(error).__name__
                return "returned"

            with ThreadPoolExecutor() as pool:
                print(pair, list(pool.map(act, (one, two), pair)))
            one.reap(min_age=0, keep=[])
