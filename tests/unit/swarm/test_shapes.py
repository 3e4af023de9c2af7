"""What a manager answers, parsed once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_launcher import EngineError
from jupyter_launcher.engine.swarm.shapes import Service, Task, parse_heartbeat, parse_node
from tests.unit.strategies import json_values
from tests.unit.swarm.answers import CONTAINER, raw_node, raw_service, raw_task

PARSERS: list[Callable[[Any], object]] = [Service.from_answer, Task.from_answer, parse_node, parse_heartbeat]


@pytest.mark.parametrize("parse", PARSERS)
@given(value=json_values())
def test_anything_else_is_a_typed_error(parse: Callable[[Any], object], value: object) -> None:
    with pytest.raises(EngineError, match="unexpected shape"):
        parse(value)


@given(st.sampled_from(["Labels", "Name", "TaskTemplate"]), json_values())
def test_a_service_with_a_part_of_another_shape_is_a_typed_error_or_a_service(part: str, value: object) -> None:
    raw = raw_service()
    raw["Spec"][part] = value
    with contextlib.suppress(EngineError):
        assert Service.from_answer(raw).id


def test_a_service_of_somebody_else() -> None:
    raw = raw_service()
    raw["Spec"] |= {"Name": "gateway", "Labels": None}
    found = Service.from_answer(raw)
    assert (found.name, found.service_name, found.is_ours) == ("gateway", "gateway", False)
    assert (found.image, found.grace, found.memory, found.shm_size) == (found.image_id, 3.0, 0, None)


def test_a_task_that_has_nothing_yet() -> None:
    raw = {"ID": "t", "CreatedAt": "2023-11-14T22:13:20Z", "Status": {"State": "new"}, "DesiredState": "running"}
    found = Task.from_answer(raw)
    assert (found.service_id, found.node_id, found.container_id, found.exit_code) == ("", "", "", None)
    assert (found.ports, found.networks, found.has_ended) == ({}, {}, False)


def test_a_task_tells_each_port_twice() -> None:
    found = Task.from_answer(raw_task())
    assert (found.container_id, found.ports, found.networks) == (CONTAINER, {"8888/tcp": 32768}, {"lan": "10.0.1.5"})


def test_a_network_without_an_address_yet() -> None:
    network = {"Network": {"Spec": {"Name": "lan"}}, "Addresses": None}
    assert Task.from_answer(raw_task(NetworksAttachments=[network])).networks == {"lan": ""}


def test_nodes() -> None:
    manager, worker = parse_node(raw_node(1)), parse_node(raw_node(2, "down"))
    assert (manager.role, manager.reachability, manager.is_ready) == ("manager", "leader", True)
    assert (worker.hostname, worker.address, worker.engine_version) == ("node2", "10.77.0.2", "28.5.2")
    assert (worker.role, worker.reachability, worker.is_ready, worker.state) == ("worker", "", False, "down")


@pytest.mark.parametrize(
    ("told", "of_manager", "expected"),
    [
        ("0.0.0.0", "10.77.0.1:2377", "10.77.0.1"),
        ("", "[fd00::1]:2377", "fd00::1"),
        ("10.77.0.9", "10.77.0.1:2377", "10.77.0.9"),
        ("a.host", "10.77.0.1:2377", "a.host"),
        ("", "", ""),
    ],
)
def test_the_address_of_a_manager(told: str, of_manager: str, expected: str) -> None:
    raw = raw_node(1)
    raw["Status"]["Addr"] = told
    raw["ManagerStatus"]["Addr"] = of_manager
    assert parse_node(raw).address == expected


@pytest.mark.parametrize(("spec", "expected"), [({"Dispatcher": {"HeartbeatPeriod": 20 * 10**9}}, 20.0), ({}, 5.0)])
def test_the_heartbeat(spec: dict[str, Any], expected: float) -> None:
    assert parse_heartbeat({"Spec": spec}) == expected
