"""The words of the swarm and of its nodes' engines, and the errors that they become."""

from __future__ import annotations

from typing import Any

import pytest

from jupyter_launcher import (
    EngineError,
    EngineUnavailableError,
    ImageNotFoundError,
    PipelineDirError,
    PlacementError,
    PortInUseError,
)
from jupyter_launcher.engine.swarm.refusals import (
    describe_missing_image,
    describe_pending,
    describe_refusal,
    has_run,
    is_unplaceable,
    read_quorum_loss,
)
from jupyter_launcher.engine.swarm.shapes import Service, Task
from tests.unit.fakes import refusal
from tests.unit.swarm.answers import raw_service, raw_task

SERVICE = Service.from_answer(raw_service())
MISSING = 'invalid mount config for type "bind": bind source path does not exist: /srv/a b'
TAKEN = (
    "starting container failed: driver failed programming external connectivity on endpoint jl-1.1.x: Error starting "
    "userland proxy: listen tcp4 0.0.0.0:39002: bind: address already in use"
)


def task(state: str, error: str = "", **changes: Any) -> Task:
    return Task.from_answer(raw_task(state, error=error, **changes))


def test_a_directory_that_the_node_has_not_got() -> None:
    found = describe_refusal(task("rejected", MISSING), SERVICE, "node2", ())
    assert isinstance(found, PipelineDirError)
    assert (found.path, "on node node2" in found.message, "constraints=" in found.hint) == ("/srv/a b", True, True)


def test_a_volume_that_the_node_cannot_mount() -> None:
    error = (
        "failed to mount local volume: mount :/x:/var/lib/docker/volumes/v/_data, data: addr=10.0.0.9: no such device"
    )
    found = describe_refusal(task("rejected", error), SERVICE, "node2", ())
    assert isinstance(found, PipelineDirError)
    assert "no such device" in found.message


@pytest.mark.parametrize("error", ["No such image: sha256:aaa", "no such image"])
def test_an_image_that_the_node_has_not_got(error: str) -> None:
    found = describe_refusal(task("rejected", error), SERVICE, "node2", ())
    assert isinstance(found, ImageNotFoundError)
    assert (found.image, found.status) == ("image:1", 404)
    assert "image image:1 is not on node node2" in found.message


def test_the_nodes_that_have_not_got_an_image() -> None:
    found = describe_missing_image("image:1", ["node3", "node2"])
    assert "not on nodes node2, node3" in found.message
    assert "docker save image:1 | docker -H NODE load" in found.hint


@pytest.mark.parametrize(
    "error", [TAKEN, "Bind for 0.0.0.0:39002 failed: port is already allocated", "address already in use"]
)
def test_a_port_that_a_process_of_the_node_has(error: str) -> None:
    found = describe_refusal(task("failed", error), SERVICE, "node2", (39002,))
    assert isinstance(found, PortInUseError)
    assert (found.host_port, "on node node2" in found.message) == (39002, True)


def test_of_several_ports_the_one_that_is_named_is_in_use() -> None:
    words = "failed to bind host port 0.0.0.0:39002/tcp: address already in use"
    found = describe_refusal(task("failed", words), SERVICE, "node2", (8001, 39002))
    assert isinstance(found, PortInUseError)
    assert found.host_port == 39002


def test_a_port_that_nobody_asked_for_is_no_port_in_use() -> None:
    found = describe_refusal(task("failed", TAKEN), SERVICE, "node2", (5000,))
    assert type(found) is EngineError


@pytest.mark.parametrize(("error", "message"), [("chdir to cwd: denied", ""), ("", "preparing"), ("", "")])
def test_any_other_refusal_tells_all_that_is_known(error: str, message: str) -> None:
    found = describe_refusal(task("rejected", error, message=message), SERVICE, "", ())
    assert type(found) is EngineError
    assert (error or message or "its task is rejected") in found.message
    assert found.status == 500


@pytest.mark.parametrize(
    ("state", "error", "expected"),
    [
        ("complete", "", True),
        ("shutdown", "", True),
        ("failed", "task: non-zero exit (137)", True),
        ("failed", TAKEN, False),
        ("rejected", MISSING, False),
        ("orphaned", "", False),
    ],
)
def test_whether_a_task_that_has_ended_ran_before(state: str, error: str, *, expected: bool) -> None:
    assert has_run(task(state, error)) is expected


@pytest.mark.parametrize(
    "error",
    [
        "no suitable node (scheduling constraints not satisfied on 3 nodes)",
        "no suitable node (insufficient resources on 3 nodes)",
    ],
)
def test_a_task_that_no_node_takes(error: str) -> None:
    waiting = task("pending", error, NodeID="")
    assert is_unplaceable(waiting)
    found = describe_pending(waiting, SERVICE, (5000,), 5.2)
    assert isinstance(found, PlacementError)
    assert (error in found.message, "within 5 s" in found.message) == (True, True)


def test_a_port_that_a_service_has_on_every_node() -> None:
    waiting = task("pending", "no suitable node (host-mode port already in use on 1 node)", NodeID="")
    assert isinstance(describe_pending(waiting, SERVICE, (5000,), 5.0), PortInUseError)
    assert isinstance(describe_pending(waiting, SERVICE, (), 5.0), PlacementError)


def test_a_task_that_has_a_node_or_just_came_is_not_unplaceable() -> None:
    assert not is_unplaceable(task("pending", "", NodeID=""))
    assert not is_unplaceable(task("preparing", "no suitable node"))
    assert "it has no task" in describe_pending(None, SERVICE, (), 60.0).message


@pytest.mark.parametrize(
    "words",
    [
        "rpc error: code = DeadlineExceeded desc = context deadline exceeded",
        "rpc error: code = Unknown desc = The swarm does not have a leader",
        "rpc error: code = Unknown desc = raft: failed to process the request: node lost leader status",
        "raft: failed to process the request: node is stopped",
        "rpc error: code = Unavailable desc = connection error: desc = connection refused",
    ],
)
def test_managers_without_a_quorum(words: str) -> None:
    found = read_quorum_loss(refusal(500, words), "tcp://m:2376")
    assert isinstance(found, EngineUnavailableError)
    assert (found.endpoint, "no quorum" in found.message) == ("tcp://m:2376", True)
    assert read_quorum_loss(refusal(409, words), "") is None
    assert read_quorum_loss(refusal(500, "network nope not found"), "") is None
    assert read_quorum_loss(refusal(500, "raft: raft message is too large and can't be sent"), "") is None
