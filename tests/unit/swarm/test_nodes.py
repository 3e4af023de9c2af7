"""Where the nodes' engines are, and how they are reached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jupyter_launcher import (
    EngineError,
    EngineUnavailableError,
    OptionError,
    Swarm,
    SwarmNode,
    UnsupportedOptionError,
)
from jupyter_launcher.engine.client import DockerEngine
from jupyter_launcher.engine.swarm.nodes import NodeEngines, choose_address, is_sure, matches
from jupyter_launcher.engine.swarm.shapes import parse_node
from jupyter_launcher.waiting import shorten
from tests.unit.forks import in_a_fork
from tests.unit.swarm.answers import FakeManager, node_engine, raw_node

LABELLED = parse_node(
    raw_node(2, Spec={"Labels": {"jupyter-launcher.docker-host": "tcp://label:1", "pipelines": "Yes"}})
)
PLAIN = parse_node(raw_node(2))
TCP = "tcp://10.77.0.1:2376"


@pytest.mark.parametrize(
    ("engines", "node", "endpoint", "expected"),
    [
        ({"node2": "tcp://mapped:1"}, LABELLED, TCP, "tcp://mapped:1"),
        (lambda node: f"ssh://{node.hostname}", LABELLED, TCP, "ssh://node2"),
        ({"node3": "tcp://mapped:1"}, LABELLED, TCP, "tcp://label:1"),
        (lambda _: None, LABELLED, TCP, "tcp://label:1"),
        (None, LABELLED, "unix:///var/run/docker.sock", "tcp://label:1"),
        (None, PLAIN, TCP, "tcp://10.77.0.2:2376"),
        (None, PLAIN, "http://10.77.0.1:2375", "http://10.77.0.2:2375"),
        (None, PLAIN, "ssh://ops@10.77.0.1:22/run/docker.sock", "ssh://ops@10.77.0.2:22/run/docker.sock"),
        (None, PLAIN, "ssh://10.77.0.1", "ssh://10.77.0.2"),
        (None, SwarmNode(id="n", hostname="h", address="fd00::2"), TCP, "tcp://[fd00::2]:2376"),
    ],
)
def test_the_ways_in_their_order(engines: Any, node: SwarmNode, endpoint: str, expected: str) -> None:
    assert choose_address(Swarm(engines=engines), node, endpoint, is_manager=False) == expected


def test_the_manager_is_reached_as_it_is_unless_the_caller_says_otherwise() -> None:
    assert choose_address(Swarm(), LABELLED, TCP, is_manager=True) is None
    given = Swarm(engines={"node2": "tcp://mapped:1"})
    assert choose_address(given, LABELLED, TCP, is_manager=True) == "tcp://mapped:1"


@pytest.mark.parametrize("endpoint", ["unix:///var/run/docker.sock", "npipe:////./pipe/docker_engine"])
def test_where_nothing_tells_the_address_the_error_names_the_node_and_the_ways(endpoint: str) -> None:
    with pytest.raises(UnsupportedOptionError) as caught:
        choose_address(Swarm(), PLAIN, endpoint, is_manager=False)
    told = str(caught.value)
    assert all(word in told for word in ("node2", "Swarm(engines=", "jupyter-launcher.docker-host", "docker_host="))


@pytest.mark.parametrize("given", [7, "", b"tcp://x:1", object(), "tcp://\0"])
def test_an_address_that_is_no_text(given: object) -> None:
    with pytest.raises(OptionError, match="for node node2") as caught:
        choose_address(Swarm(engines={"node2": given}), PLAIN, TCP, is_manager=False)  # type: ignore[dict-item]
    assert caught.value.option == "swarm"


@pytest.mark.parametrize(
    ("constraints", "expected"),
    [
        ((), True),
        (("node.hostname==node2", "node.role==worker"), True),
        (("node.hostname!=node2",), False),
        (("node.hostname==node2", "node.role!=worker"), False),
        (("node.id==n2",), True),
        (("node.labels.pipelines==yes",), True),
        (("node.labels.pipelines==no",), False),
        (("node.labels.other==x",), False),
        (("node.labels.other!=x",), True),
        (("engine.labels.x==y", "node.platform.os==linux", "nonsense"), True),
    ],
)
def test_constraints(constraints: tuple[str, ...], *, expected: bool) -> None:
    assert matches(LABELLED, constraints) is expected


def engines(reach: Callable[[str], DockerEngine], swarm: Swarm | None = None) -> NodeEngines:
    return NodeEngines(swarm or Swarm(engines={"node2": TCP, "node3": TCP}), FakeManager().engine, reach)


def test_an_engine_is_reached_once() -> None:
    asked: list[str] = []

    def reach(address: str) -> DockerEngine:
        asked.append(address)
        return node_engine(2)

    known = engines(reach)
    assert known.of(PLAIN) is known.of(PLAIN)
    assert asked == [TCP]


def test_a_fork_reaches_it_itself() -> None:
    asked: list[str] = []

    def reach(address: str) -> DockerEngine:
        asked.append(address)
        return node_engine(2)

    known = engines(reach)
    known.of(PLAIN)
    assert in_a_fork(lambda: (known.of(PLAIN) is known.of(PLAIN), len(asked))) == "(True, 2)"


def test_the_manager_itself_is_not_connected_to_again() -> None:
    manager = FakeManager().engine
    assert NodeEngines(Swarm(), manager, lambda address: node_engine(1)).of(parse_node(raw_node(1))) is manager


@pytest.mark.parametrize("state", ["down", "unknown", "disconnected"])
def test_an_engine_whose_node_is_away_is_not_asked(state: str) -> None:
    def reach(address: str) -> DockerEngine:
        raise AssertionError(address)

    with pytest.raises(EngineUnavailableError, match=f"node node2 is {state}"):
        engines(reach).of(parse_node(raw_node(2, state)))


def test_an_engine_of_another_node_is_refused_and_not_kept() -> None:
    made: list[DockerEngine] = []

    def reach(address: str) -> DockerEngine:
        made.append(node_engine(3 if not made else 2))
        return made[-1]

    known = engines(reach)
    with pytest.raises(EngineError, match=r"not that of node node2 \(n2\), but node n3") as caught:
        known.of(PLAIN)
    assert TCP in caught.value.message
    assert known.of(PLAIN) is made[1]


def test_an_engine_that_is_no_node() -> None:
    with pytest.raises(EngineError, match="but no node of a swarm"):
        engines(lambda _: node_engine(2, info={})).of(PLAIN)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (EngineUnavailableError("nothing listens there", hint="start it"), EngineUnavailableError),
        (OptionError("no address", hint="give one"), UnsupportedOptionError),
    ],
)
def test_an_engine_that_is_not_reached(error: Exception, expected: type[EngineError]) -> None:
    def reach(_: str) -> DockerEngine:
        raise error

    with pytest.raises(expected, match="engine of node node2") as caught:
        engines(reach).of(PLAIN)
    assert str(error).partition(";")[0] in caught.value.message


def test_a_function_that_raises_is_told_with_the_node() -> None:
    addresses: dict[str, str] = {}
    given = Swarm(engines=lambda node: addresses[node.hostname])
    with pytest.raises(UnsupportedOptionError, match="raised an error for node node2: KeyError") as caught:
        choose_address(given, PLAIN, TCP, is_manager=False)
    assert caught.value.option == "swarm"


def test_an_engine_that_is_not_reached_is_not_tried_again_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float | None] = []

    def reach(_: str) -> DockerEngine:
        asked.append(shorten(60.0))
        raise EngineUnavailableError("timed out", hint="see why")  # noqa: EM101

    known = engines(reach)
    for _ in range(3):
        with pytest.raises(EngineUnavailableError, match="engine of node node2 cannot be reached: timed out"):
            known.of(PLAIN)
    assert asked == [pytest.approx(5.0, abs=1.0)]  # and the connection has a few seconds, not the engine's minute
    monkeypatch.setattr("jupyter_launcher.waiting.Deadline.expired", lambda _: True)
    with pytest.raises(EngineUnavailableError):
        known.of(PLAIN)
    assert len(asked) == 2


def test_one_that_was_reached_and_is_no_more_is_told_with_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    known = engines(lambda _: node_engine(2))
    known.of(PLAIN)
    asked: list[float | None] = []

    def fail(_: DockerEngine) -> None:
        asked.append(shorten(60.0))
        raise EngineUnavailableError("ssh said: Permission denied", hint="try ssh")  # noqa: EM101

    with monkeypatch.context() as broken:
        broken.setattr(DockerEngine, "client", property(fail))
        for _ in range(2):
            with pytest.raises(EngineUnavailableError, match=r"node node2 cannot be reached: ssh said") as caught:
                known.of(PLAIN)
            assert "Swarm(engines=" in caught.value.hint
    assert asked == [pytest.approx(5.0, abs=1.0)]
    monkeypatch.setattr("jupyter_launcher.waiting.Deadline.expired", lambda _: True)
    assert known.of(PLAIN) is known.of(PLAIN)
    monkeypatch.undo()
    known.of(PLAIN)  # nothing is kept of a failure that is over


def test_which_constraints_are_judged() -> None:
    assert is_sure(LABELLED, ("node.hostname==node2", "node.labels.pipelines==yes"))
    assert not is_sure(LABELLED, ("node.hostname==node2", "node.ip==10.77.0.2"))


def test_closing_closes_what_was_reached_but_not_the_manager() -> None:
    closed: list[str] = []
    manager, worker = FakeManager().engine, node_engine(2)
    manager.close = lambda: closed.append("manager")  # type: ignore[method-assign]
    worker.close = lambda: closed.append("worker")  # type: ignore[method-assign]
    known = NodeEngines(Swarm(engines={"node2": TCP}), manager, lambda _: worker)
    known.of(PLAIN)
    known.of(parse_node(raw_node(1)))
    known.close()
    assert closed == ["worker"]
