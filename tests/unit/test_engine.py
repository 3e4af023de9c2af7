from __future__ import annotations

from typing import Any

import pytest
import requests
import urllib3
from docker.errors import APIError, DockerException

from jupyter_launcher import EngineError, EngineUnavailableError, OptionError
from jupyter_launcher.engine import Engine, translated
from jupyter_launcher.engine_types import ContainerInfo


def api_error(status: int, text: str) -> APIError:
    response = requests.Response()
    response.status_code = status
    return APIError("message", response=response, explanation=text)


def test_an_answer_of_the_engine_keeps_its_status() -> None:
    with pytest.raises(EngineError, match="create it: no such thing") as caught, translated("create it", "unix:///x"):
        raise api_error(404, "no such thing")
    assert caught.value.status == 404
    assert not isinstance(caught.value, EngineUnavailableError)


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (DockerException("wrapped", PermissionError(13, "no")), "group `docker`"),
        (requests.ConnectionError("aborted", FileNotFoundError(2, "no")), "start Docker"),
        (requests.ConnectionError(ConnectionRefusedError(111, "no")), "start Docker"),
        (requests.ReadTimeout("slow"), "docker info"),
        (urllib3.exceptions.ProtocolError("cut off"), "docker info"),
        (TimeoutError(), "docker info"),
    ],
)
def test_whatever_the_transport_raises(error: Exception, advice: str) -> None:
    with pytest.raises(EngineUnavailableError, match=advice) as caught, translated("ask", "unix:///x"):
        raise error
    assert caught.value.endpoint == "unix:///x"
    assert caught.value.__cause__ is error


def test_one_way_to_name_an_engine() -> None:
    with pytest.raises(OptionError):
        Engine.connect(docker_host="unix:///x", context="y")


def engine_at(endpoint: str) -> Engine:
    class Client:
        api = None

    return Engine(Client(), endpoint, owned=False)


@pytest.mark.parametrize(
    ("endpoint", "host", "socket"),
    [
        ("unix:///var/run/docker.sock", "127.0.0.1", "/var/run/docker.sock"),
        ("tcp://10.0.0.7:2376", "10.0.0.7", None),
        ("https://engine.example:2376", "engine.example", None),
        ("ssh://me@far.example", "far.example", None),
        ("http+docker://localhost", "127.0.0.1", None),
    ],
)
def test_where_published_ports_are(endpoint: str, host: str, socket: str | None) -> None:
    engine = engine_at(endpoint)
    assert engine.host == host
    assert engine.socket_path is None if socket is None else str(engine.socket_path) == socket


def inspected(**changes: Any) -> dict[str, Any]:
    return {
        "Id": "abc",
        "Name": "/name",
        "Config": {"Image": "image", "Labels": None, "Env": ["A=b=c", "EMPTY="]},
        "State": {"Status": "created"},
        "HostConfig": {},
        "NetworkSettings": {"Networks": {"bridge": {"IPAddress": ""}, "odd": None}, "Ports": {"8888/tcp": None}},
        **changes,
    }


def test_a_container_that_never_ran() -> None:
    info = ContainerInfo.from_inspect(inspected())
    assert (info.name, info.labels, info.networks) == ("name", {}, {"bridge": "", "odd": ""})
    assert info.ports == {"8888/tcp": ()}
    assert info.environment == {"A": "b=c", "EMPTY": ""}
    assert not info.running
    assert "b=c" not in repr(info)


def test_ports_of_both_address_families() -> None:
    bindings = [{"HostIp": "0.0.0.0", "HostPort": "49153"}, {"HostIp": "::", "HostPort": "49154"}]
    info = ContainerInfo.from_inspect(inspected(NetworkSettings={"Networks": None, "Ports": {"8888/tcp": bindings}}))
    assert info.ports == {"8888/tcp": (49153, 49154)}
