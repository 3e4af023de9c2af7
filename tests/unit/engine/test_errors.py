from __future__ import annotations

from typing import Any

import pytest
import requests
import urllib3
from docker import APIClient
from docker.errors import APIError, DockerException, StreamParseError

from jupyter_launcher import EngineError, EngineUnavailableError
from jupyter_launcher.engine.errors import is_gone, is_port_conflict, translate_errors
from tests.unit.fakes import refusal
from tests.unit.sdk import api_error, http_response


def test_an_answer_of_the_engine_keeps_its_status() -> None:
    with (
        pytest.raises(EngineError, match="create it: no such thing") as caught,
        translate_errors("create it", "unix:///x"),
    ):
        raise api_error(404, "no such thing")
    assert caught.value.status == 404
    assert not isinstance(caught.value, EngineUnavailableError)
    assert caught.value.__cause__ is not None


PAGE = b"<html><body><h1>403 Forbidden</h1>\nRequest forbidden by administrative rules.\n</body></html>\n"


def forbidden(status: int, body: bytes, method: str, path: str) -> APIError:
    """What the SDK raises for a request that is refused."""
    response = http_response(body, status, to=f"{method} {path}")
    return APIError("refused", response=response, explanation=response.text)


@pytest.mark.parametrize("status", [401, 403, 405])
@pytest.mark.parametrize("body", [PAGE, b"path not allowed", b"[]", b"{}"])
def test_what_a_proxy_forbids(status: int, body: bytes) -> None:
    with pytest.raises(EngineError) as caught, translate_errors("create it", "unix:///x"):
        raise forbidden(status, body, "POST", "/v1.41/containers/create?name=x")
    who = "a socket proxy or an authorisation plugin between this process and the engine"
    assert caught.value.message.startswith(f"{who} forbids to create it: ")
    assert "<" not in caught.value.message
    assert "POST /containers/create: CONTAINERS=1 and POST=1 of tecnativa's" in caught.value.hint
    assert "-allowPOST of wollomatic's" in caught.value.hint
    assert caught.value.status == status


def test_what_the_engine_itself_refuses_is_looked_for_there_first() -> None:
    body = b'{"message": "network mine is not manually attachable"}'
    with pytest.raises(EngineError) as caught, translate_errors("create it", "unix:///x"):
        raise forbidden(403, body, "POST", "/v1.41/containers/create")
    assert caught.value.hint.startswith("see what the engine says")
    assert "; where a socket proxy or a plugin forbids it, let that pass POST /containers/create" in caught.value.hint


def test_what_a_plugin_forbids_has_its_own_words() -> None:
    body = b'{"message": "authorization denied by plugin x: no"}'
    with pytest.raises(EngineError, match="authorization denied by plugin x") as caught:  # noqa: SIM117
        with translate_errors("create it", "unix:///x"):
            raise forbidden(403, body, "POST", "/v1.41/containers/create")
    assert "or an authorisation plugin before it, refused to create it" in caught.value.message
    assert "POST /containers/create" in caught.value.hint


@pytest.mark.parametrize(
    ("method", "path", "switches"),
    [
        ("GET", "/_ping", "PING=1 of"),
        ("GET", "/version", "VERSION=1 of"),
        ("GET", "/v1.41/info", "INFO=1 of"),
        ("HEAD", "/v1.41/containers/abc/archive", "CONTAINERS=1 of"),
        ("POST", "/v1.41/containers/abc/exec", "CONTAINERS=1 and EXEC=1 and POST=1 of"),
        ("POST", "/v1.41/exec/abc/start", "EXEC=1 and POST=1 of"),
        ("DELETE", "/v1.41/containers/abc", "CONTAINERS=1 and POST=1 of"),
        ("POST", "/v1.41/build", "BUILD=1 and POST=1 of"),
        ("GET", "/", "GET /: "),
    ],
)
def test_the_switches_of_a_request(method: str, path: str, switches: str) -> None:
    with pytest.raises(EngineError) as caught, translate_errors("ask", "unix:///x"):
        raise forbidden(403, PAGE, method, path)
    assert switches in caught.value.hint


def test_an_answer_without_an_explanation_is_told_by_its_status() -> None:
    with pytest.raises(EngineError, match="500 Server Error"), translate_errors("create it", "unix:///x"):
        raise api_error(500, "")


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (DockerException("wrapped", PermissionError(13, "no")), "group `docker`"),
        (requests.ConnectionError("aborted", FileNotFoundError(2, "no")), "start Docker"),
        (requests.ConnectionError(ConnectionRefusedError(111, "no")), "start Docker"),
        (requests.ReadTimeout("slow"), "docker info"),
        (urllib3.exceptions.ProtocolError("cut off"), "docker info"),
        (TimeoutError(), "docker info"),
        (ValueError("no JSON"), "docker info"),
        (StreamParseError("no JSON in a stream"), "docker info"),
        (RecursionError("too deep"), "docker info"),
    ],
)
def test_whatever_the_transport_raises(error: Exception, advice: str) -> None:
    with pytest.raises(EngineUnavailableError, match=advice) as caught, translate_errors("ask", "unix:///x"):
        raise error
    assert caught.value.endpoint == "unix:///x"
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("body", [b"{}", b"[]", b"null", b"5", b'{"error": "x"}', b'{"message": 5}'])
def test_a_refusal_whose_text_has_no_message_keeps_its_status(body: bytes) -> None:
    response = http_response(body, 404)
    response.url = "http://x"
    sdk: Any = APIClient(base_url="unix:///x", version="1.41")
    with (
        pytest.raises(EngineError, match=r"unexpected shape \(status 404\)") as caught,
        translate_errors("ask", "unix:///x"),
    ):
        sdk._raise_for_status(response)
    assert caught.value.status == 404
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("error", [KeyError("x"), TypeError("x"), AttributeError("x"), IndexError("x")])
@pytest.mark.parametrize("earlier", [None, api_error(404, "of another answer"), requests.HTTPError("no answer")])
def test_an_answer_of_another_shape_has_no_status(error: Exception, earlier: Exception | None) -> None:
    error.__context__ = earlier
    with (
        pytest.raises(EngineError, match=r"unexpected shape \(no status is known\)") as caught,
        translate_errors("ask", "unix:///x"),
    ):
        raise error
    assert (caught.value.status, caught.value.__cause__) == (None, error)
    assert type(caught.value) is EngineError


def test_a_circle_of_causes_ends() -> None:
    error = requests.ConnectionError("one")
    error.__context__ = requests.ConnectionError(error)
    with pytest.raises(EngineUnavailableError), translate_errors("ask", "unix:///x"):
        raise error


def test_an_error_of_ours_passes_as_it_is() -> None:
    error = refusal(409)
    with pytest.raises(EngineError) as caught, translate_errors("ask", "unix:///x"):
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    ("status", "message", "gone"),
    [
        (404, "whatever", True),
        (500, "no such container", True),
        (500, "disk full", False),
        (409, "no such container", False),
    ],
)
def test_a_container_that_is_gone(status: int, message: str, gone: bool) -> None:  # noqa: FBT001 - pytest's
    assert is_gone(refusal(status, message)) == gone


@pytest.mark.parametrize(
    ("status", "message", "conflict"),
    [
        (500, "Bind for 127.0.0.1:80 failed: port is already allocated", True),
        (500, "listen tcp4 127.0.0.1:80: bind: address already in use", True),
        (500, "no space left", False),
        (400, "port is already allocated", False),
    ],
)
def test_a_port_that_is_taken(status: int, message: str, conflict: bool) -> None:  # noqa: FBT001 - pytest's
    assert is_port_conflict(refusal(status, message)) == conflict
