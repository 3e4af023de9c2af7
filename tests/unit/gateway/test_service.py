"""A gateway in a swarm: what a name or a URL leads to."""

from __future__ import annotations

from typing import Any

import pytest

from jupyter_launcher import (
    AmbiguousNetworkError,
    Gateway,
    GatewayError,
    GatewayNotFoundError,
    GatewayNotRunningError,
    OptionError,
)
from jupyter_launcher.gateway.service import resolve_service
from tests.unit.fakes import FakeSwarm, container

SERVICE = "s" * 25


def swarm_with(**changes: Any) -> FakeSwarm:
    """A swarm with the service ``eg``, which has one task."""
    known = {"id": SERVICE, "name": "eg", "node": "node1", "networks": {"lab": "10.0.1.9", "ingress": "10.0.0.4"}}
    engine = FakeSwarm(container(**{**known, **changes}))
    engine.services["eg"] = SERVICE
    return engine


@pytest.mark.parametrize(("given", "port"), [("eg", 8888), ("eg:9999", 9999), (SERVICE, 8888)])
@pytest.mark.parametrize("network", [None, "lab"])
def test_a_service_is_reached_by_its_name_and_kept_by_its_id(given: str, port: int, network: str | None) -> None:
    found = resolve_service(swarm_with(), given, network)
    assert found == Gateway(name=given, url=f"http://eg:{port}", container_id=SERVICE, network="lab")


def test_a_url_is_taken_as_it_is() -> None:
    assert resolve_service(swarm_with(), "http://eg:1/x", "lab").container_id == SERVICE
    found = resolve_service(swarm_with(), "https://gateway.example/x", "lab")
    assert found == Gateway(name=found.name, url="https://gateway.example/x", network="lab")


def test_a_url_that_holds_a_secret_is_not_shown() -> None:
    with pytest.raises(GatewayError, match="holds a user") as caught:
        resolve_service(swarm_with(), "http://user:hunter2@eg:8888")
    assert "hunter2" not in str(caught.value)


def test_a_container_of_one_node_is_no_gateway() -> None:
    engine = FakeSwarm(container(name="gateway"))
    with pytest.raises(OptionError, match="container of one node") as caught:
        resolve_service(engine, "gateway")
    assert caught.value.option == "gateway"


def test_there_is_no_such_service() -> None:
    with pytest.raises(GatewayNotFoundError, match="no service 'nobody'"):
        resolve_service(swarm_with(), "nobody")


@pytest.mark.parametrize("state", ["created", "exited", "unreachable", "removing"])
def test_no_task_of_it_runs(state: str) -> None:
    with pytest.raises(GatewayNotRunningError, match=f"service eg is {state}") as caught:
        resolve_service(swarm_with(state=state), "eg")
    assert caught.value.state == state


def test_it_is_removed_meanwhile() -> None:
    engine = swarm_with()
    engine.known.clear()
    with pytest.raises(GatewayNotRunningError, match="has no task"):
        resolve_service(engine, "eg")


def test_networks() -> None:
    with pytest.raises(GatewayError, match="not on network 'other'; it is on lab"):
        resolve_service(swarm_with(), "eg", "other")
    with pytest.raises(GatewayError, match="not on an overlay network"):
        resolve_service(swarm_with(networks={"ingress": "10.0.0.4"}), "eg")
    with pytest.raises(AmbiguousNetworkError) as caught:
        resolve_service(swarm_with(networks={"lab": "10.0.1.9", "other": "10.0.2.9"}), "eg")
    assert caught.value.networks == ("lab", "other")
