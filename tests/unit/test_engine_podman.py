"""What Podman does otherwise: put into Docker's words, and asked for in its own."""

from __future__ import annotations

from typing import Any

import pytest

from jupyter_launcher import EngineError
from jupyter_launcher.engine import Engine
from jupyter_launcher.engine_types import ContainerInfo
from tests.unit.test_engine import api_error, inspected


class Api:
    """An engine's API that notes what it is asked."""

    api_version = "1.41"

    def __init__(self, component: str, **answers: Any) -> None:
        self.component = component
        self.answers = answers
        self.asked: list[tuple[Any, ...]] = []

    def version(self) -> dict[str, Any]:
        return {"Version": "5.4.2", "Components": [{"Name": self.component}]}

    def __getattr__(self, name: str) -> Any:
        def answer(*given: Any, **options: Any) -> Any:
            self.asked.append((name, *given))
            found = self.answers.get(name)
            if isinstance(found, Exception):
                raise found
            return found

        return answer


def engine_with(api: Api) -> Engine:
    class Client:
        def __init__(self) -> None:
            self.api = api

    return Engine(Client(), "unix:///x", owned=False)


def podman(**answers: Any) -> tuple[Engine, Api]:
    api = Api("Podman Engine", **answers)
    return engine_with(api), api


def created(host: dict[str, Any], component: str = "Podman Engine") -> dict[str, Any]:
    """A container's host configuration as the engine gets it."""
    api = Api(component, create_container_from_config={"Id": "abc"})
    assert engine_with(api).create({"Image": "image", "HostConfig": host}, "name") == "abc"
    ((_, config, _),) = api.asked
    got: dict[str, Any] = config["HostConfig"]
    return got


def bind(source: str, *, read_only: bool = False) -> dict[str, Any]:
    return {"Type": "bind", "Source": source, "Target": "/t", "ReadOnly": read_only}


def looked_at(**changes: Any) -> ContainerInfo:
    engine, _ = podman(inspect_container=inspected(**changes))
    info = engine.inspect("abc")
    assert info is not None
    return info


def test_docker_gets_what_was_asked_for() -> None:
    host = {"Tmpfs": {"/run": "rw,uid=1,gid=2"}, "Mounts": [bind("/a,b")], "DeviceRequests": [{"Count": -1}]}
    assert created(host, "Engine") == host


def test_a_tmpfs_of_the_containers_user() -> None:
    assert created({"Tmpfs": {"/run": "rw,mode=0700,uid=1234,gid=5"}})["Tmpfs"] == {"/run": "rw,mode=0700,U"}


@pytest.mark.parametrize(("source", "short"), [("/a:b", False), ("/a b", False), ("/a,b", True), ('/a"b', True)])
def test_mounts_by_the_form_that_takes_their_path(source: str, short: bool) -> None:  # noqa: FBT001 - pytest's
    host = created({"Mounts": [bind(source, read_only=True)]})
    assert host["Binds"] == ([f"{source}:/t:ro"] if short else [])
    assert host["Mounts"] == ([] if short else [bind(source, read_only=True)])


def test_a_path_that_no_form_takes() -> None:
    engine, _ = podman()
    with pytest.raises(EngineError, match="rename it"):
        engine.create({"HostConfig": {"Mounts": [bind("/a:b,c")]}}, "name")


@pytest.mark.parametrize(("count", "names"), [(-1, ["all"]), (2, ["0", "1"])])
def test_gpus_by_their_cdi_names(count: int, names: list[str]) -> None:
    host = created({"DeviceRequests": [{"Driver": "", "Count": count, "Capabilities": [["gpu"]]}]})
    assert host["DeviceRequests"] == [{"Driver": "cdi", "DeviceIDs": [f"nvidia.com/gpu={name}" for name in names]}]


def test_a_name_that_is_taken() -> None:
    error = api_error(500, 'the container name "name" is already in use by abc: that name is already in use')
    engine, _ = podman(create_container_from_config=error)
    with pytest.raises(EngineError) as caught:
        engine.create({"HostConfig": {}}, "name")
    assert caught.value.status == 409


@pytest.mark.parametrize(("word", "state"), [("stopped", "exited"), ("initialized", "created"), ("running", "running")])
def test_states(word: str, state: str) -> None:
    assert looked_at(State={"Status": word}).state == state


@pytest.mark.parametrize(("name", "mode"), [("podman", "bridge"), ("mine", "mine")])
def test_networks(name: str, mode: str) -> None:
    settings = {"Networks": {name: {"IPAddress": "10.88.0.2"}}, "Ports": {}}
    info = looked_at(HostConfig={"NetworkMode": "bridge"}, NetworkSettings=settings)
    assert (info.networks, info.network_mode) == ({mode: "10.88.0.2"}, mode)


@pytest.mark.parametrize("error", [None, api_error(409, "it does not run")])
def test_a_removal_kills_first(error: Exception | None) -> None:
    engine, api = podman(kill=error)
    engine.remove("abc")
    assert [asked[0] for asked in api.asked] == ["kill", "remove_container"]
