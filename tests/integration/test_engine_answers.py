"""An engine, or what stands before it, that answers one request as it should not. ``LONG=1``: each request."""

from __future__ import annotations

import collections
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from jupyter_launcher import Launcher, LauncherError, Timeouts
from tests.integration.faulty_engine import FAULTS, FaultyEngine

LONG = bool(os.environ.get("LONG"))
HASTY = Timeouts(engine=8, start=10, gateway=4, shutdown=6, terminate=4)
STEP = 1 if LONG else 6
"""Each sixth request of a long act, another one for each fault."""


@pytest.fixture
def engine(launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyEngine]:
    folder = tmp_path_factory.mktemp("engine")  # a pipeline dir may not hold an engine's socket
    proxy = FaultyEngine(folder / "engine.sock", urlsplit(launcher._engine.endpoint).path)
    yield proxy
    proxy.close()


@pytest.fixture
def faulty(engine: FaultyEngine, namespace: str) -> Iterator[Launcher]:
    with Launcher(docker_host=engine.url, namespace=namespace, timeouts=HASTY) as launcher:
        launcher.ids()
        yield launcher


def containers(client: Any, namespace: str) -> list[str]:
    found = client.containers.list(
        all=True, filters={"label": f"jupyter-launcher.namespace={namespace}"}, ignore_removed=True
    )
    return [item.name for item in found]


class Tally:
    """How an act ended under each fault."""

    def __init__(self) -> None:
        self.tried = 0
        self.ends: collections.Counter[str] = collections.Counter()
        self.untyped: list[str] = []

    def run(self, act: Any, what: str) -> bool:
        """Whether the act returned."""
        self.tried += 1
        try:
            act()
        except LauncherError as error:
            self.ends[type(error).__name__] += 1
            return False
        except Exception as error:  # noqa: BLE001 - what is looked for
            self.untyped.append(f"{what}: {type(error).__name__}: {error}")
            return False
        self.ends["returned"] += 1
        return True


@pytest.mark.parametrize("fault", FAULTS if LONG else FAULTS[::3])
def test_a_start_under_a_fault(
    fault: str, engine: FaultyEngine, faulty: Launcher, launcher: Launcher, client: Any, pipeline_dir: Path
) -> None:
    tally = Tally()
    at = 1 + FAULTS.index(fault) % STEP
    while True:
        engine.fail(fault, at)
        returned = tally.run(lambda: faulty.start(pipeline_dir, session_id="one"), f"request {at}")
        over = not engine.failed
        left = containers(client, faulty.namespace)
        assert bool(left) == returned, f"{fault} at request {at}, {engine.requests[at - 1 : at]}: {left}"
        if returned:
            launcher.stop("one")
        if over:
            break
        at += STEP
    print(f"{fault}: {tally.tried - 1} tried, {dict(tally.ends)}")
    assert tally.untyped == []
    assert tally.tried > 1


def test_looks_under_each_fault(engine: FaultyEngine, faulty: Launcher, launcher: Launcher, pipeline_dir: Path) -> None:
    tally = Tally()
    session = launcher.start(pipeline_dir, session_id="one", lease=60)
    acts = {
        "list": faulty.list,
        "get": lambda: faulty.get("one"),
        "renew": lambda: faulty.renew("one"),
        "reap": lambda: faulty.reap(min_age=0, keep=["one"]),
        "logs": lambda: list(faulty.logs("one")),
    }
    for fault, name in itertools.product(FAULTS, acts):
        for at in range(1, 12, 1 if LONG else 3):
            engine.fail(fault, at)
            tally.run(acts[name], f"{fault}, {name}, request {at}")
            if not engine.failed:
                break
    print(f"{tally.tried} tried, {dict(tally.ends)}")
    assert tally.untyped == []
    assert launcher.get("one").container_id == session.container_id
    session.stop()


@pytest.mark.parametrize("fault", FAULTS if LONG else FAULTS[::4])
def test_a_stop_under_a_fault(
    fault: str, engine: FaultyEngine, faulty: Launcher, launcher: Launcher, client: Any, pipeline_dir: Path
) -> None:
    tally = Tally()
    for at in range(1 + FAULTS.index(fault) % STEP, 20, STEP):
        launcher.start(pipeline_dir, session_id="one")
        engine.fail(fault, at)
        tally.run(lambda: faulty.stop("one"), f"request {at}")
        over = not engine.failed
        launcher.reap(min_age=0, keep=[])
        assert containers(client, faulty.namespace) == []
        if over:
            break
    print(f"{fault}: {tally.tried} tried, {dict(tally.ends)}")
    assert tally.untyped == []
