"""A stand-in for the Docker SDK, below the real engine class: what an engine may answer to each call."""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
from collections.abc import Iterator, Mapping
from typing import Any, cast

import requests
import urllib3
from docker import DockerClient
from docker.errors import APIError

from jupyter_launcher.engine.client import DockerEngine
from jupyter_launcher.engine.connection import Connection


class FakeApi:
    """The SDK's API: answers by the name of the call, and notes what it is asked.

    An answer is a value, an error to raise, a callable that is given the arguments, or an iterator of one
    answer for each call.
    """

    api_version = "1.41"
    base_url = "http+docker://localhost"
    timeout = 60
    verify: bool | str = True

    def __init__(self, **answers: Any) -> None:
        self.answers = {"version": {"Version": "28.5.1", "Components": [{"Name": "Engine"}]}, "info": {}, **answers}
        self.asked: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.adapters: dict[str, object] = {}

    @property
    def names(self) -> list[str]:
        """The calls, in their order, without the questions for traits."""
        return [
            name
            for name, given, _ in self.asked
            if name not in ("version", "info") and not (name == "get" and given[0].endswith("/libpod/info"))
        ]

    def arguments(self, name: str) -> tuple[Any, ...]:
        """The arguments of the only call of this name."""
        (found,) = [given for called, given, _ in self.asked if called == name]
        return found

    def options(self, name: str) -> dict[str, Any]:
        """The keyword arguments of the only call of this name."""
        (found,) = [options for called, _, options in self.asked if called == name]
        return found

    def __getattr__(self, name: str) -> Any:
        def answer(*given: Any, **options: Any) -> Any:
            self.asked.append((name, given, options))
            found = self.answers.get(name)
            if isinstance(found, Iterator):
                found = next(found)
            if isinstance(found, BaseException):
                raise found
            return found(*given, **options) if callable(found) else found

        return answer


class FakeClient:
    """The SDK's client around an API."""

    def __init__(self, api: FakeApi) -> None:
        self.api = api
        self.closed = False

    def close(self) -> None:
        self.closed = True


def sdk_client(api: FakeApi) -> DockerClient:
    """A client as a caller hands it in."""
    return cast("DockerClient", FakeClient(api))


def docker_engine(api: FakeApi) -> DockerEngine:
    """The real engine class over such an API."""
    return DockerEngine(Connection("unix:///x", lambda: (sdk_client(api), None), owned=False))


def podman_api(**answers: Any) -> FakeApi:
    """The API of a Podman."""
    return FakeApi(**{"version": {"Version": "5.4.2", "Components": [{"Name": "Podman Engine"}]}, **answers})


def api_error(status: int, text: str) -> APIError:
    """What the SDK raises for an answer of the engine."""
    response = http_response(status=status)
    return APIError("message", response=response, explanation=text)


def http_response(
    body: bytes = b"", status: int = 200, headers: Mapping[str, str] | None = None, *, to: str = "GET /made/up"
) -> requests.Response:
    """An answer of the engine to a request, as the SDK hands it on, unread."""
    method, path = to.split()
    response = requests.Response()
    response.status_code = status
    response.request = requests.Request(method, f"http+docker://localhost{path}").prepare()
    response.raw = io.BytesIO(body)
    response.headers.update(headers or {})
    return response


@contextlib.contextmanager
def answer_on_a_socket(
    body: bytes, status: int = 200, headers: bytes = b"", pair: tuple[socket.socket, socket.socket] | None = None
) -> Iterator[tuple[requests.Response, socket.socket]]:
    """An answer of the engine over a real connection, of which this much has come; and the engine's end of it."""
    ours, theirs = pair or socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"HTTP/1.1 %d Made up\r\n%s\r\n" % (status, headers) + body)
        answer = http.client.HTTPResponse(ours)
        answer.begin()
        response = requests.Response()
        response.status_code = answer.status
        response.request = http_response().request
        response.raw = urllib3.HTTPResponse(answer, headers=dict(answer.getheaders()), preload_content=False)
        yield response, theirs


def framed(*pieces: tuple[int, bytes]) -> bytes:
    """The engine's framing of pieces of output: 1 for stdout, 2 for stderr."""
    return b"".join(bytes((stream, 0, 0, 0)) + len(piece).to_bytes(4, "big") + piece for stream, piece in pieces)


def inspected(**changes: Any) -> dict[str, Any]:
    """The engine's answer to an inspect of a container that never ran."""
    return {
        "Id": "abc",
        "Name": "/name",
        "Created": "2023-11-14T22:13:20.5Z",
        "Config": {"Image": "image", "Labels": None, "Env": ["A=b=c", "EMPTY="]},
        "State": {"Status": "created"},
        "HostConfig": {},
        "NetworkSettings": {"Networks": {"bridge": {"IPAddress": ""}, "odd": None}, "Ports": {"8888/tcp": None}},
        **changes,
    }


def in_the_list(**changes: Any) -> dict[str, Any]:
    """One item of the engine's list."""
    return {
        "Id": "abc",
        "Names": ["/name"],
        "Image": "image",
        "Labels": {"a": "b"},
        "Created": 1700000000,
        "State": "running",
        "Status": "Up 2 minutes",
        "NetworkSettings": {"Networks": {"bridge": {"IPAddress": "172.17.0.2"}}},
        "Ports": [
            {"IP": "127.0.0.1", "PrivatePort": 8888, "PublicPort": 49153, "Type": "tcp"},
            {"PrivatePort": 9, "Type": "udp"},
        ],
        **changes,
    }
