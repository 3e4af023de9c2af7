"""The one place where errors of the SDK and of its transport become errors of ours."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import requests
from docker.errors import APIError, DockerException, StreamParseError
from urllib3.exceptions import HTTPError as TransportError

from jupyter_launcher.errors import EngineError, EngineUnavailableError

__all__ = ["is_gone", "is_port_conflict", "translate_errors"]

_REFUSED = "see what the engine says; `docker info` and the engine's own log tell more"
_MISSHAPEN = "see whether a proxy answers in place of the engine, and which version `docker version` shows"
_FORBIDDEN = (
    "a socket proxy or an authorisation plugin stands before the engine; let it pass PING, VERSION, INFO, CONTAINERS, "
    "EXEC, IMAGES and POST"
)


@contextlib.contextmanager
def translate_errors(action: str, endpoint: str) -> Iterator[None]:
    """Turn whatever the SDK and its transport raise into an :class:`EngineError`."""
    try:
        yield
    except APIError as error:
        explanation = str(error.explanation or error).strip()
        msg = f"the engine refused to {action}: {explanation}"
        hint = _FORBIDDEN if error.status_code in (401, 403) else _REFUSED
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


def is_port_conflict(error: EngineError) -> bool:
    """Whether a start failed because the host port is in use."""
    # The engine's API has no status of its own for this, so the text decides.
    texts = ("port is already allocated", "address already in use")
    return error.status == 500 and any(text in error.message for text in texts)
