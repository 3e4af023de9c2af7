"""Networks that are made for gateways, and the volumes of containers, over an SDK whose answers are made up."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given

from jupyter_launcher import EngineError, UnsupportedOptionError
from jupyter_launcher.engine.types import BindMount, ContainerConfig, ContainerInfo
from tests.unit.sdk import FakeApi, api_error, docker_engine, inspected, podman_api
from tests.unit.strategies import json_values


def listed(**changes: Any) -> dict[str, Any]:
    """One item of the engine's list of networks."""
    known = {"Id": "abc", "Name": "net", "Labels": {"a": "b"}, "Created": "2023-11-14T22:13:20.123456789+01:00"}
    return {**known, **changes}


def test_a_network_is_created() -> None:
    api = FakeApi(create_network={"Id": "abc", "Warning": ""})
    docker_engine(api).create_network("net", {"a": "b"})
    assert api.arguments("create_network") == ("net",)
    assert api.options("create_network") == {"driver": "bridge", "labels": {"a": "b"}, "check_duplicate": True}


@pytest.mark.parametrize(
    "words",
    [
        "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network",
        "all predefined address pools have been fully subnetted",
        "could not find free subnet from subnet pools",
    ],
)
@pytest.mark.parametrize("status", [400, 403, 404, 500])
def test_an_engine_without_a_subnet_names_the_option(words: str, status: int) -> None:
    api = FakeApi(create_network=api_error(status, words))
    with pytest.raises(UnsupportedOptionError, match="no subnet left for network net") as caught:
        docker_engine(api).create_network("net", {})
    assert (caught.value.option, caught.value.status) == ("network", status)
    assert "network prune" in caught.value.hint


@pytest.mark.parametrize(
    ("status", "words", "seen"),
    [
        (409, "network with name net already exists", 409),
        (500, "network name net already used: network already exists", 409),
        (500, "made up", 500),
    ],
)
def test_a_network_that_is_not_created(status: int, words: str, seen: int) -> None:
    api = FakeApi(create_network=api_error(status, words))
    with pytest.raises(EngineError) as caught:
        docker_engine(api).create_network("net", {})
    assert caught.value.status == seen


def test_networks_are_listed_by_their_labels() -> None:
    api = FakeApi(networks=[listed(), listed(Id="c", Labels=None), listed(Id="d", Labels={"a": "c"})])
    (found,) = docker_engine(api).networks("a=b")
    assert (found.id, found.name, found.labels, found.created) == ("abc", "net", {"a": "b"}, 1699996400.123456789)
    assert api.options("networks") == {"filters": {"label": ["a=b"]}}
    assert [item.id for item in docker_engine(api).networks("a")] == ["abc", "d"]
    assert len(docker_engine(api).networks()) == 3


@given(json_values())
def test_networks_that_are_none(value: object) -> None:
    changed = [listed(**{name: value}) for name in ("Id", "Name", "Labels", "Created")]
    for answer in (value, [value], changed):
        engine = docker_engine(FakeApi(networks=answer))
        with contextlib.suppress(EngineError):
            assert isinstance(engine.networks(), list)


def test_a_network_is_removed() -> None:
    api = FakeApi()
    docker_engine(api).remove_network("abc")
    assert api.arguments("remove_network") == ("abc",)
    docker_engine(FakeApi(remove_network=api_error(404, "no such network"))).remove_network("abc")
    with pytest.raises(EngineError) as caught:
        docker_engine(FakeApi(remove_network=api_error(403, "it has active endpoints"))).remove_network("abc")
    assert caught.value.status == 403
    assert "stop the sessions" in caught.value.hint


def test_a_volume_is_removed() -> None:
    api = FakeApi()
    docker_engine(api).remove_volume("abc")
    assert api.arguments("remove_volume") == ("abc",)
    docker_engine(FakeApi(remove_volume=api_error(404, "no such volume"))).remove_volume("abc")
    with pytest.raises(EngineError) as caught:
        docker_engine(FakeApi(remove_volume=api_error(409, "volume is in use"))).remove_volume("abc")
    assert caught.value.status == 409


def test_a_volume_of_the_containers_own() -> None:
    mount = BindMount(type="volume", source="", target="/t")
    assert mount.to_long_form() == {"Type": "volume", "Target": "/t", "ReadOnly": False}
    config = ContainerConfig(image="image", mounts=(mount,))
    for api in (FakeApi(), podman_api()):
        host = docker_engine(api).to_body(config)["HostConfig"]
        assert (host["Mounts"], host["Binds"]) == ([mount.to_long_form()], [])


def test_the_names_of_volumes_are_read() -> None:
    mounts = [
        {"Type": "volume", "Name": "abc", "Source": "/var/lib/docker/volumes/abc/_data", "Destination": "/v"},
        {"Type": "bind", "Source": "/a", "Destination": "/b"},
        {"Type": "tmpfs", "Source": "", "Destination": "/c"},
    ]
    assert ContainerInfo.from_inspect(inspected(Mounts=mounts)).volumes == {"/v": "abc"}
    with pytest.raises(EngineError, match="unexpected shape"):
        ContainerInfo.from_inspect(inspected(Mounts=[{"Type": "volume", "Name": 5, "Destination": "/v"}]))


def test_the_body_of_a_container_is_what_a_create_sends() -> None:
    config = ContainerConfig(image="image", memory=2**30, mounts=(BindMount(source="/a", target="/b"),))
    for make in (FakeApi, podman_api):
        api = make(create_container_from_config={"Id": "abc"})
        engine = docker_engine(api)
        engine.create(config, "name")
        assert api.arguments("create_container_from_config") == (engine.to_body(config), "name")
