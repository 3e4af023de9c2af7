"""The launcher is killed with SIGKILL before and after each call that it makes to the engine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import Launcher, SessionState
from tests.faults.own_engine import OwnEngine

CHILD = """
import os, signal, sys
from jupyter_launcher import Launcher, Timeouts
url, namespace, folder, gateway, verb, step, when = sys.argv[1:]
launcher = Launcher(docker_host=url, namespace=namespace, timeouts=Timeouts(shutdown=5))
if verb == "stop":
    session = launcher.get("victim")
api, left = launcher._engine.api, int(step)
send = api.send

def counted(request, **options):
    global left
    left -= 1
    if left == 0 and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    answer = send(request, **options)
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return answer

api.send = counted
if verb == "start":
    launcher.start(folder, gateway=gateway, session_id="victim")
else:
    session.stop()
"""


def steps(when: str, last: int) -> range:
    """The calls at which the launcher is killed.

    Killed after a call is nearly killed before the next one: `make faults` walks through all of them, `make test`
    through every fifth, and the two ways begin at different ones.
    """
    return range(1, last) if os.environ.get("LONG") else range(1 if when == "before" else 3, last, 5)


@pytest.fixture
def child(engine: OwnEngine, namespace: str, pipeline_dir: Path, gateway: str) -> Callable[..., int]:
    def run(verb: str, step: int, when: str) -> int:
        line = [sys.executable, "-c", CHILD, engine.url, namespace, str(pipeline_dir), gateway, verb, str(step), when]
        return subprocess.run(line, check=False, timeout=60).returncode

    return run


@pytest.mark.parametrize("when", ["before", "after"])
def test_start_killed_at_each_call(
    child: Callable[..., int], when: str, launcher: Launcher, pipeline_dir: Path, gateway: str, kernels: Any
) -> None:
    for step in steps(when, 40):
        if child("start", step, when) == 0:
            break
        session = launcher.start(pipeline_dir, gateway=gateway, session_id="victim")
        assert session.status().state is SessionState.READY, f"after step {step}"
        session.stop()
        assert launcher.list() == []
    else:
        pytest.fail("the start never came to its end")
    assert step > 8, "the steps were not walked through"
    launcher.stop("victim")
    assert kernels() == []


@pytest.mark.parametrize("when", ["before", "after"])
def test_stop_killed_at_each_call(
    child: Callable[..., int], when: str, launcher: Launcher, pipeline_dir: Path, gateway: str, kernels: Any
) -> None:
    for step in steps(when, 20):
        launcher.start(pipeline_dir, gateway=gateway, session_id="victim")
        code = child("stop", step, when)
        assert code in (0, -signal.SIGKILL)
        launcher.reap(min_age=0, keep=[])
        assert launcher.list() == [], f"after step {step}"
        if code == 0:
            break
    else:
        pytest.fail("the stop never came to its end")
    assert step > 3, "the steps were not walked through"
    assert kernels() == []
