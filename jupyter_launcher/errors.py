"""Every error this library raises, in one hierarchy.

::

    LauncherError
    ├── OptionError (a ValueError too)
    ├── PipelineDirError
    ├── EngineError
    │   ├── EngineUnavailableError
    │   ├── ImageNotFoundError
    │   ├── ImageBuildError
    │   └── PortInUseError
    ├── ExecError
    ├── GatewayError
    │   ├── GatewayNotFoundError
    │   ├── GatewayNotRunningError
    │   ├── GatewayUnreachableError
    │   └── AmbiguousNetworkError
    ├── ServerError
    │   ├── ServerStartError
    │   ├── ServerNotRunningError
    │   ├── ServerTimeoutError (a TimeoutError too)
    │   └── ServerInfoError
    └── SessionError
        ├── SessionNotFoundError
        └── SessionConflictError

A message says what happened, what was seen, and what to do next. What a program may want to
know is in typed fields, so nobody needs to read messages. No message and no field holds a token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = [
    "AmbiguousNetworkError",
    "EngineError",
    "EngineUnavailableError",
    "ExecError",
    "GatewayError",
    "GatewayNotFoundError",
    "GatewayNotRunningError",
    "GatewayUnreachableError",
    "ImageBuildError",
    "ImageNotFoundError",
    "LauncherError",
    "OptionError",
    "PipelineDirError",
    "PortInUseError",
    "ServerError",
    "ServerInfoError",
    "ServerNotRunningError",
    "ServerStartError",
    "ServerTimeoutError",
    "SessionConflictError",
    "SessionError",
    "SessionNotFoundError",
]


@dataclass(eq=False)
class LauncherError(Exception):
    """The root: ``except LauncherError`` catches all that this library raises on purpose."""

    message: str

    def __str__(self) -> str:
        return self.message

    # OSError (so TimeoutError) sets no args for a class with an __init__ of its own, and would
    # then be unpickled without a message.
    def __reduce__(self) -> tuple[type[LauncherError], tuple[str], dict[str, Any]]:
        return type(self), (self.message,), self.__dict__


@dataclass(eq=False)
class OptionError(LauncherError, ValueError):
    """An option has a value that can't work. ``option`` is its name as in ``start``."""

    option: str = ""


@dataclass(eq=False)
class PipelineDirError(LauncherError):
    """The pipeline directory can't be used. ``path`` is the path as it was resolved."""

    path: str = ""


@dataclass(eq=False)
class EngineError(LauncherError):
    """The Docker engine refused or failed. ``status`` is its HTTP status, if it sent one."""

    status: int | None = None


@dataclass(eq=False)
class EngineUnavailableError(EngineError):
    """No engine answers at ``endpoint``, or this user may not talk to it."""

    endpoint: str = ""


@dataclass(eq=False)
class ImageNotFoundError(EngineError):
    """The image is neither on the engine nor, where asked, in a registry."""

    image: str = ""


@dataclass(eq=False)
class ImageBuildError(EngineError):
    """An image could not be built. ``log_tail``: the last lines that the build printed."""

    image: str = ""
    log_tail: str = ""


@dataclass(eq=False)
class PortInUseError(EngineError):
    """The host port is taken by somebody else."""

    host_port: int = 0


@dataclass(eq=False)
class ExecError(LauncherError):
    """A command inside the container failed. ``exit_code`` is None where it never ended."""

    exit_code: int | None = None
    output: str = ""


@dataclass(eq=False)
class GatewayError(LauncherError):
    """The kernel gateway can't be used. ``gateway`` is what the caller named."""

    gateway: str = ""


@dataclass(eq=False)
class GatewayNotFoundError(GatewayError):
    """No container has this name or id."""


@dataclass(eq=False)
class GatewayNotRunningError(GatewayError):
    """The gateway's container is there, but not running. ``state`` is what the engine says."""

    state: str = ""
    exit_code: int | None = None


@dataclass(eq=False)
class GatewayUnreachableError(GatewayError):
    """The Jupyter server does not get kernel specs from the gateway.

    ``status`` is the HTTP status that the server gave, None where it gave none in time.
    """

    gateway_url: str = ""
    status: int | None = None
    log_tail: str = ""


@dataclass(eq=False)
class AmbiguousNetworkError(GatewayError):
    """The gateway is on several networks and none was named. ``networks`` are their names."""

    networks: tuple[str, ...] = ()


@dataclass(eq=False)
class ServerError(LauncherError):
    """Something about the Jupyter server inside the container.

    Attributes:
        exit_code: of the server's process, or of the container; None while it runs.
        oom_killed: the engine saw the kernel end a process of the container for memory.
        log_tail: the last lines of the container's log.
    """

    exit_code: int | None = None
    oom_killed: bool = False
    log_tail: str = ""


@dataclass(eq=False)
class ServerStartError(ServerError):
    """The server ended before it was ready."""


@dataclass(eq=False)
class ServerNotRunningError(ServerError):
    """The session's container is there, but no server runs in it."""

    session_id: str = ""


@dataclass(eq=False)
class ServerTimeoutError(ServerError, TimeoutError):
    """The server is alive, but did not answer in time. ``seconds`` is how long was waited."""

    seconds: float = 0.0


@dataclass(eq=False)
class ServerInfoError(ServerError):
    """The server's ``server_info`` can't be read or is not what it should be."""


@dataclass(eq=False)
class SessionError(LauncherError):
    """Something about a session as a whole."""

    session_id: str = ""


@dataclass(eq=False)
class SessionNotFoundError(SessionError):
    """No container of this namespace carries this session id."""


@dataclass(eq=False)
class SessionConflictError(SessionError):
    """The session's name is taken.

    ``differences`` has a line for each option that differs from those of the running session;
    it is empty where the container's name belongs to somebody else, whose id is then in
    ``container_id``.
    """

    container_id: str = ""
    differences: tuple[str, ...] = ()
