"""The one place where errors of the SDK and of its transport become errors of ours."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterator
from typing import Any
from urllib.parse import urlsplit

import requests
from docker.errors import APIError, DockerException, StreamParseError
from urllib3.exceptions import HTTPError as TransportError

from jupyter_launcher.errors import EngineError, EngineUnavailableError, PortInUseError

__all__ = ["FORBIDDEN", "describe_port", "is_gone", "is_port_conflict", "translate_errors"]

_REFUSED = "see what the engine says; `docker info` and the engine's own log tell more"
_MISSHAPEN = "see whether a proxy answers in place of the engine, and which version `docker version` shows"
_VERSION = re.compile(r"^/v[0-9.]+(?=/)")
_TAG = re.compile(r"<[^>]*>")
_SHOWN = 200  # characters of what a proxy says

FORBIDDEN = (401, 403, 405)
"""The statuses by which socket proxies and authorisation plugins refuse a request."""


@contextlib.contextmanager
def translate_errors(action: str, endpoint: str) -> Iterator[None]:
    """Turn whatever the SDK and its transport raise into an :class:`EngineError`."""
    try:
        yield
    except APIError as error:
        msg, hint = _describe_refusal(action, error)
        raise EngineError(msg, hint=hint, status=error.status_code) from error
    # requests' errors are OSErrors; the version check of the SDK wraps them in a DockerException. An
    # answer that is no JSON is a ValueError (in a stream a StreamParseError), one that is too deep a RecursionError.
    except (DockerException, OSError, RecursionError, StreamParseError, TransportError, ValueError) as error:
        seen, hint = _describe(error)
        msg = f"could not {action} with the engine at {endpoint}: {seen}"
        raise EngineUnavailableError(msg, hint=hint, endpoint=endpoint) from error
    # The SDK takes every JSON of an engine for the object that it should be.
    except (AttributeError, LookupError, TypeError) as error:
        status = _status_of(error)
        told = "no status is known" if status is None else f"status {status}"
        msg = (
            f"could not {action}: the engine's answer has an unexpected shape ({told}): {type(error).__name__}: {error}"
        )
        raise EngineError(msg, hint=_MISSHAPEN, status=status) from error


def _describe_refusal(action: str, error: APIError) -> tuple[str, str]:
    """What was refused and by whom, and what to do about it."""
    said = str(error.explanation or error).strip()
    if error.status_code not in FORBIDDEN:
        return f"the engine refused to {action}: {said}", _REFUSED
    answer: Any = error.response  # an APIError with a status has one
    switches = _describe_switches(answer.request)
    try:
        answer.json()["message"]
    except (LookupError, TypeError, ValueError):
        # Not the engine's form: a proxy's own page, often HTML.
        said = " ".join(_TAG.sub(" ", said).split())[:_SHOWN]
        who = "a socket proxy or an authorisation plugin between this process and the engine"
        return f"{who} forbids to {action}: {said}", f"let the proxy or the plugin pass {switches}"
    hint = f"{_REFUSED}; where a socket proxy or a plugin forbids it, let that pass {switches}"
    return f"the engine, or an authorisation plugin before it, refused to {action}: {said}", hint


def _describe_switches(request: requests.PreparedRequest) -> str:
    """A request that was sent, as a socket proxy is told to let it pass."""
    path = _VERSION.sub("", urlsplit(str(request.url)).path)
    names = [path.split("/")[1].lstrip("_").upper()]
    names += ["EXEC"] if path.endswith("/exec") else []
    names += [] if request.method in ("GET", "HEAD") else ["POST"]
    switches = " and ".join(f"{name}=1" for name in names)
    others = f"-allow{request.method} of wollomatic's"
    return f"{request.method} {path}: {switches} of tecnativa's docker-socket-proxy, {others}"


def _status_of(error: BaseException) -> int | None:
    """The status of an answer in whose text the SDK found no message."""
    refusal = error.__context__  # an APIError is of an earlier answer
    if isinstance(refusal, requests.HTTPError) and not isinstance(refusal, APIError) and refusal.response is not None:
        return refusal.response.status_code
    return None


def _describe(error: BaseException) -> tuple[str, str]:
    """What was seen, and what to do about it."""
    chain: list[BaseException] = []
    queue = [error]
    while queue:
        item = queue.pop()
        if item in chain:
            continue
        chain.append(item)
        queue += [e for e in (item.__cause__, item.__context__, *item.args) if isinstance(e, BaseException)]
    if any(isinstance(item, PermissionError) for item in chain):
        return "permission denied", "add your user to the group `docker` and log in again, or run as root"
    if any(isinstance(item, (FileNotFoundError, ConnectionRefusedError)) for item in chain):
        return "nothing listens there", "start Docker, or name another engine by docker_host= or DOCKER_HOST"
    return str(error), "see that the engine is alive with `docker info`"


def is_gone(error: EngineError) -> bool:
    """Whether the engine says that there is no such container."""
    # Podman answers 500 for a container that is removed while it looks at it.
    return error.status == 404 or (error.status == 500 and "no such container" in error.message)


def describe_port(error: EngineError, asked: Collection[int]) -> PortInUseError | None:
    """The error for a start that failed because a host port is in use; None: it was not asked for, but chosen.

    ``asked`` are the ports that were asked for. Where the error names none, it is one of these.
    """
    found = re.search(r":([0-9]{1,5})(?:: bind| failed: port)", error.message)
    port = int(found[1]) if found else next(iter(asked), 0)
    if port not in asked or not is_port_conflict(error):
        return None
    hint = (
        "stop what holds it (`docker ps`, `ss -ltnp`), or let the engine choose a free port by leaving host_port (or "
        "its number in ports) out"
    )
    return PortInUseError(f"host port {port} is in use", hint=hint, status=500, host_port=port)


def is_port_conflict(error: EngineError) -> bool:
    """Whether a start failed because the host port is in use."""
    # The engine's API has no status of its own for this, so the text decides.
    texts = ("port is already allocated", "address already in use")
    return error.status == 500 and any(text in error.message for text in texts)
