"""What a task, its node and the age of its service make of a container."""

from __future__ import annotations

from typing import Any

import pytest

from jupyter_launcher import SessionState, SwarmNode
from jupyter_launcher.engine.swarm.shapes import ENDED, Service, Task, parse_node
from jupyter_launcher.engine.swarm.states import choose_task, describe_container, find_state, list_container
from tests.unit.swarm.answers import CONTAINER, CREATED_AT, NAME, SERVICE, TASK, raw_node, raw_service, raw_task

READY = parse_node(raw_node())
AWAY = [parse_node(raw_node(state=state)) for state in ("down", "unknown", "disconnected")]
SERVICE_OF_OURS = Service.from_answer(raw_service())


def task(state: str = "running", **changes: Any) -> Task:
    return Task.from_answer(raw_task(state, **changes))


@pytest.mark.parametrize(
    "state", ["new", "pending", "assigned", "accepted", "preparing", "ready", "starting", "running", *ENDED]
)
@pytest.mark.parametrize("desired", ["ready", "running", "shutdown", "remove"])
def test_every_state_of_a_task_on_a_ready_node(state: str, desired: str) -> None:
    found, _ = find_state(task(state, DesiredState=desired), READY, 0.0)
    if state in ENDED:
        assert found == "exited"
    elif desired in ("shutdown", "remove"):
        assert found == "removing"
    else:
        assert found == ("running" if state == "running" else "created")
    assert SessionState.of_container(found) is not None or found == "running"


@pytest.mark.parametrize("node", [*AWAY, None])
@pytest.mark.parametrize("state", ["assigned", "preparing", "starting", "running"])
@pytest.mark.parametrize("desired", ["running", "shutdown", "remove"])
def test_nobody_can_tell_what_becomes_of_a_task_whose_node_is_away(
    node: SwarmNode | None, state: str, desired: str
) -> None:
    assert find_state(task(state, DesiredState=desired), node, 1e6) == ("unreachable", 0)


@pytest.mark.parametrize("node", [*AWAY, None])
@pytest.mark.parametrize("state", ENDED)
def test_a_task_that_was_seen_to_end_has_ended_wherever_its_node_is(node: SwarmNode | None, state: str) -> None:
    assert find_state(task(state, code=7), node, 0.0)[0] == "exited"


@pytest.mark.parametrize(("desired", "expected"), [("running", ("created", 0)), ("remove", ("exited", 255))])
def test_a_task_that_no_node_took(desired: str, expected: tuple[str, int]) -> None:
    assert find_state(task("pending", NodeID="", DesiredState=desired), None, 0.0) == expected


@pytest.mark.parametrize(("age", "expected"), [(59.9, ("created", 0)), (60.0, ("exited", 255))])
def test_a_service_without_a_task_is_young_or_lost(age: float, expected: tuple[str, int]) -> None:
    assert find_state(None, None, age) == expected


@pytest.mark.parametrize(
    ("state", "code", "expected"),
    [
        ("complete", 0, 0),
        ("shutdown", 0, 0),
        ("shutdown", 143, 143),
        ("failed", 137, 137),
        ("failed", 0, 255),
        ("rejected", 0, 255),
        ("orphaned", 0, 255),
    ],
)
def test_the_exit_code(state: str, code: int, expected: int) -> None:
    assert find_state(task(state, code=code), READY, 0.0) == ("exited", expected)


@pytest.mark.parametrize("state", ["complete", "shutdown", "failed"])
def test_an_end_without_a_code_is_no_good_end(state: str) -> None:
    raw = raw_task(state)
    raw["Status"]["ContainerStatus"] = None
    assert find_state(Task.from_answer(raw), READY, 0.0) == ("exited", 255)


def test_which_task_counts() -> None:
    ended = task(ID="a", CreatedAt="2023-11-14T22:13:40Z", DesiredState="shutdown")
    old = task(ID="b", CreatedAt="2023-11-14T22:13:20Z")
    new = task(ID="c", CreatedAt="2023-11-14T22:13:30Z")
    assert choose_task([ended, new, old]) is old  # somebody has scaled the service, and the server is in the first
    starting = task("starting", ID="d", CreatedAt="2023-11-14T22:13:35Z")
    assert choose_task([ended, starting, new]) is new
    earlier = task("starting", ID="e", CreatedAt="2023-11-14T22:13:15Z")
    assert choose_task([ended, earlier, starting]) is starting
    assert choose_task([ended]) is ended
    assert choose_task([]) is None


def test_a_container_that_runs() -> None:
    info = describe_container(SERVICE_OF_OURS, task(), READY, 0.0)
    assert (info.id, info.name, info.state, info.created, info.started) == (
        CONTAINER,
        NAME,
        "running",
        CREATED_AT,
        TASK,
    )
    assert (info.image, info.entrypoint, info.environment) == ("image:1", ("sh",), {"A": "b=c"})
    assert (info.node, info.host, info.network_mode, info.networks) == (
        "node2",
        "10.77.0.2",
        "lan",
        {"lan": "10.0.1.5"},
    )
    assert (info.ports, info.bindings) == ({"8888/tcp": (32768,)}, {"8888/tcp": {"10.77.0.2": 32768}})
    item = list_container(SERVICE_OF_OURS, task(), READY, 0.0)
    assert (item.id, item.name, item.node, item.host, item.status) == (
        CONTAINER,
        NAME,
        "node2",
        "10.77.0.2",
        "Running on node2",
    )
    assert (item.ports, item.bindings, item.networks) == (info.ports, info.bindings, info.networks)


def test_a_container_without_a_task_has_the_id_of_its_service() -> None:
    info = describe_container(SERVICE_OF_OURS, None, None, 0.0, ("tini",))
    assert (info.id, info.state, info.node, info.started) == (SERVICE, "created", "", "")
    assert (info.ports, info.networks, info.error) == ({}, {}, "")


def test_a_container_whose_node_is_away_says_so_and_counts_as_running() -> None:
    info = describe_container(SERVICE_OF_OURS, task(DesiredState="shutdown"), AWAY[0], 0.0)
    assert (info.state, info.running, info.error, info.node) == ("unreachable", True, "node node2 is down", "node2")
    assert list_container(SERVICE_OF_OURS, task(), AWAY[1], 0.0).status == "node node2 is unknown"
    assert list_container(SERVICE_OF_OURS, task(), None, 0.0).status == "its node is no longer in the swarm"


def test_a_container_that_has_ended_has_neither_ports_nor_addresses() -> None:
    ended = task("failed", code=137, error="task: non-zero exit (137)")
    info = describe_container(SERVICE_OF_OURS, ended, READY, 0.0)
    assert (info.exit_code, info.ports, info.networks) == (137, {}, {"lan": ""})
    item = list_container(SERVICE_OF_OURS, ended, READY, 0.0)
    assert (item.status, item.exit_code) == ("Exited (137) on node2: task: non-zero exit (137)", 137)
