"""``Launcher(swarm=...)``: which engine it reaches, what it refuses, and that nothing of it costs others anything."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import DEFAULT_IMAGE, Launcher, OptionError, Swarm
from jupyter_launcher.engine.client import DockerEngine
from jupyter_launcher.engine.swarm.engine import SwarmEngine
from tests.unit.fakes import HASTY, FakeEngine, FakeJupyter, FakeSwarm

Connect = Callable[..., Launcher]
PUBLISHED = Swarm(publish="all", weaker=True)


@pytest.fixture
def jupyter() -> Iterator[FakeJupyter]:
    with FakeJupyter(FakeSwarm()).serve() as found:
        found.engine.images.known.add(DEFAULT_IMAGE)
        yield found


@pytest.fixture
def seen() -> list[Any]:
    return []


@pytest.fixture
def connect(jupyter: FakeJupyter, seen: list[Any], monkeypatch: pytest.MonkeyPatch) -> Connect:
    def reach(swarm: Swarm, **given: Any) -> FakeEngine:
        seen.append((swarm, given))
        return jupyter.engine

    monkeypatch.setattr(SwarmEngine, "connect", reach)
    return lambda **given: Launcher(**{"namespace": "unit", "timeouts": HASTY, "swarm": PUBLISHED, **given})


def test_a_swarm_is_reached_through_a_manager(connect: Connect, seen: list[Any], jupyter: FakeJupyter) -> None:
    swarm = Swarm(publish="all", constraints=("node.role == worker",))
    with connect(swarm=swarm, docker_host="tcp://manager:2376"):
        pass
    ((told, given),) = seen
    assert told.constraints == ("node.role==worker",)
    assert given == {
        "docker_host": "tcp://manager:2376",
        "context": None,
        "client": None,
        "timeout": HASTY.engine,
        "use_config_proxy": True,
    }
    assert jupyter.engine.closed


def test_what_is_no_swarm_reaches_nothing(connect: Connect, seen: list[Any]) -> None:
    with pytest.raises(OptionError, match="swarm is 'all'"):
        connect(swarm="all")
    assert seen == []


def test_roots_are_paths_of_the_nodes(connect: Connect, jupyter: FakeJupyter) -> None:
    with connect(roots=["/not/here"]) as launcher:
        assert launcher.ids() == []
    with pytest.raises(OptionError, match="roots"):
        connect(roots=[])
    assert jupyter.engine.closed


def test_a_session_from_start_to_stop(connect: Connect, jupyter: FakeJupyter) -> None:
    with connect() as launcher:
        session = launcher.start(
            "/pipelines/one", user="1:1", session_id="one", constraints=["node.hostname == node2"], lease=60
        )
        assert (session.node, launcher.get("one").node) == ("node2", "node2")
        assert [item.node for item in launcher.list()] == ["node2"]
        launcher.renew("one")
        assert "".join(launcher.logs("one")) == "the log"
        launcher.stop("one")
        assert (launcher.list(), launcher.gateways()) == ([], [])
    assert isinstance(jupyter.engine, FakeSwarm)
    assert jupyter.engine.constraints == [("node.hostname==node2",)]


def test_a_session_can_be_prepared(connect: Connect) -> None:
    with connect() as launcher, launcher.prepare("/pipelines/one", user="1:1", session_id="one").session() as session:
        assert session.node == "node2"


@pytest.mark.parametrize(
    "call",
    [
        lambda launcher: launcher.pool(user="1:1"),
        lambda launcher: launcher.run_gateway("/pipelines/one").__enter__(),
        lambda launcher: launcher.events(),
        lambda launcher: launcher.pause("one"),
        lambda launcher: launcher.resume("one"),
    ],
    ids=["pool", "run_gateway", "events", "pause", "resume"],
)
def test_what_a_swarm_cannot_do(connect: Connect, call: Callable[[Launcher], object]) -> None:
    with connect() as launcher:
        launcher.start("/pipelines/one", user="1:1", session_id="one")
        with pytest.raises(OptionError, match="cannot be done in a swarm"):
            call(launcher)
        launcher.stop("one")


def test_constraints_need_a_swarm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    engine = FakeEngine()
    monkeypatch.setattr(DockerEngine, "connect", lambda **_: engine)
    with Launcher(namespace="unit") as launcher:
        with pytest.raises(OptionError, match="constraints are for a swarm"):
            launcher.start(tmp_path, constraints=["node.role==worker"])
        with pytest.raises(OptionError, match="constraints is of one session"):
            launcher.pool(user=1000, constraints=["node.role==worker"])
    assert engine.configs == {}


def test_without_a_swarm_nothing_of_it_is_imported() -> None:
    code = (
        "import sys; from jupyter_launcher import Launcher, Session; import jupyter_launcher.aio.launcher\n"
        "rooms = ('jupyter_launcher.swarm', 'jupyter_launcher.engine.swarm', 'jupyter_launcher.gateway.service')\n"
        "print(*[name for name in sys.modules if name.startswith(rooms)])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
