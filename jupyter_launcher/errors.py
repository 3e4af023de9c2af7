"""Every error that this library raises, in one hierarchy.

::

    LauncherError
    ├── OptionError (a ValueError too)
    │   └── UnsupportedOptionError (an EngineError too)
    ├── PipelineDirError
    ├── EngineError
    │   ├── EngineUnavailableError
    │   ├── ImageNotFoundError
    │   ├── ImageBuildError
    │   ├── PortInUseError
    │   └── PlacementError
    ├── ExecError
    ├── GatewayError
    │   ├── GatewayNotFoundError
    │   ├── GatewayNotRunningError
    │   ├── GatewayUnreachableError
    │   ├── AmbiguousNetworkError
    │   ├── GatewayConflictError
    │   └── KernelImageError
    ├── ServerError
    │   ├── ServerStartError
    │   ├── ServerNotRunningError
    │   ├── ServerTimeoutError (a TimeoutError too)
    │   └── ServerInfoError
    ├── SessionError
    │   ├── SessionNotFoundError
    │   ├── SessionConflictError
    │   ├── SessionUnreadableError
    │   └── StartCancelledError
    └── WorkError
        ├── CodeError
        │   └── CellError
        ├── KernelDiedError
        ├── ExecuteTimeoutError (a TimeoutError too)
        ├── CommandError
        └── CommandTimeoutError (a TimeoutError too)

``message`` says what happened and what was seen, ``hint`` what to do next; ``str()`` joins both, and
adds the end of the log where the error has one. What a program may want to know is in typed fields,
so nobody needs to read messages. No message and no field holds a token.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from jupyter_launcher.results import CommandResult, ExecuteResult

__all__ = [
    "AmbiguousNetworkError",
    "CellError",
    "CodeError",
    "CommandError",
    "CommandTimeoutError",
    "EngineError",
    "EngineUnavailableError",
    "ExecError",
    "ExecuteTimeoutError",
    "GatewayConflictError",
    "GatewayError",
    "GatewayNotFoundError",
    "GatewayNotRunningError",
    "GatewayUnreachableError",
    "ImageBuildError",
    "ImageNotFoundError",
    "KernelDiedError",
    "KernelImageError",
    "LauncherError",
    "OptionError",
    "PipelineDirError",
    "PlacementError",
    "PortInUseError",
    "ServerError",
    "ServerInfoError",
    "ServerNotRunningError",
    "ServerStartError",
    "ServerTimeoutError",
    "SessionConflictError",
    "SessionError",
    "SessionNotFoundError",
    "SessionUnreadableError",
    "StartCancelledError",
    "UnsupportedOptionError",
    "WorkError",
]


@dataclass(eq=False)
class LauncherError(Exception):
    """The root: ``except LauncherError`` catches everything that this library raises on purpose.

    Attributes:
        message: what happened, and what was seen.
        hint: what to do next.
        command_exit_code: the exit code of the command for this branch of the hierarchy.
    """

    message: str
    hint: str = field(kw_only=True)

    command_exit_code: ClassVar[int] = 1

    def __str__(self) -> str:
        text = f"{self.message}; {self.hint}"
        log_tail: str = getattr(self, "log_tail", "")
        return f"{text}. The log ends:\n{log_tail}" if log_tail else text

    def __reduce__(self) -> tuple[Any, ...]:
        """All of its values: OSError, so TimeoutError, sets no args for a class with an ``__init__`` of its own.

        It would be unpickled without a message.
        """
        return _restore, (type(self), self.__dict__)


def _restore(kind: type[LauncherError], values: dict[str, Any]) -> LauncherError:
    error = kind.__new__(kind)
    error.__dict__.update(values)
    return error


@dataclass(eq=False)
class OptionError(LauncherError, ValueError):
    """An option has a value that cannot work. ``option`` is its name as in ``start``."""

    option: str = ""

    command_exit_code: ClassVar[int] = 2


@dataclass(eq=False)
class PipelineDirError(LauncherError):
    """The pipeline directory, or the source of a mount, cannot be used. ``path`` is the path as it was resolved."""

    path: str = ""

    command_exit_code: ClassVar[int] = 3


@dataclass(eq=False)
class EngineError(LauncherError):
    """The Docker engine refused or failed. ``status`` is its HTTP status, if it sent one."""

    status: int | None = None

    command_exit_code: ClassVar[int] = 4


@dataclass(eq=False)
class UnsupportedOptionError(OptionError, EngineError):
    """An option that this engine refused, because it cannot give it: GPUs, groups, the propagation of a mount."""


@dataclass(eq=False)
class EngineUnavailableError(EngineError):
    """No engine answers at ``endpoint``, or this user may not talk to it."""

    endpoint: str = ""


@dataclass(eq=False)
class ImageNotFoundError(EngineError):
    """The image is neither on the engine nor, where a pull was asked for, in a registry. ``image`` is its name."""

    image: str = ""


@dataclass(eq=False)
class ImageBuildError(EngineError):
    """An image could not be built. ``image`` is its name, ``log_tail`` the last lines that the build printed."""

    image: str = ""
    log_tail: str = ""


@dataclass(eq=False)
class PortInUseError(EngineError):
    """Another process or container uses the host port ``host_port``."""

    host_port: int = 0


class PlacementError(EngineError):
    """No node of the swarm takes the session in time: none that is ready and active fits the constraints."""


@dataclass(eq=False)
class ExecError(LauncherError):
    """A command inside a container failed, or did not run.

    Attributes:
        started: True: its shell ran; with exit code 126 or 127 the program itself could not be run. False: the
            engine or its runtime refused to start it. None: nobody knows, because its output was lost or its
            time ended before it printed anything.
        exit_code: of the command if it ran, else the runtime's; None where it did not end.
        output: what the command printed, or what the runtime said, cut to a few lines.
    """

    started: bool | None = None
    exit_code: int | None = None
    output: str = ""

    command_exit_code: ClassVar[int] = 5


@dataclass(eq=False)
class GatewayError(LauncherError):
    """The kernel gateway cannot be used. ``gateway`` is what the caller named."""

    gateway: str = ""

    command_exit_code: ClassVar[int] = 6


class GatewayNotFoundError(GatewayError):
    """No container has this name or id."""


@dataclass(eq=False)
class GatewayNotRunningError(GatewayError):
    """The gateway's container exists, but does not run.

    Attributes:
        state: the engine's word for its state.
        exit_code: of its main process; None where the engine does not tell.
        log_tail: the last lines of its log, of a gateway that this library started.
    """

    state: str = ""
    exit_code: int | None = None
    log_tail: str = ""


@dataclass(eq=False)
class GatewayUnreachableError(GatewayError):
    """The Jupyter server does not get kernel specs from the gateway.

    Attributes:
        gateway_url: where the server asks for them.
        status: the HTTP status that the server gave, None where it gave none in time.
        log_tail: the last lines of the server's log.
    """

    gateway_url: str = ""
    status: int | None = None
    log_tail: str = ""


@dataclass(eq=False)
class AmbiguousNetworkError(GatewayError):
    """The gateway is on several networks and none was named. ``networks`` are their names."""

    networks: tuple[str, ...] = ()


@dataclass(eq=False)
class GatewayConflictError(GatewayError):
    """A gateway of this id is there with other options. ``differences`` has a line for each of them."""

    differences: tuple[str, ...] = ()


@dataclass(eq=False)
class KernelImageError(GatewayError):
    """No kernel can run in an image of ``kernels=``.

    Attributes:
        kernel: the name that it has there.
        image: the image.
        output: what the look into the image printed, cut to a few lines.
    """

    kernel: str = ""
    image: str = ""
    output: str = ""


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

    command_exit_code: ClassVar[int] = 7


class ServerStartError(ServerError):
    """The server ended before it was ready."""


@dataclass(eq=False)
class ServerNotRunningError(ServerError):
    """The session's container exists, but no server runs in it."""

    session_id: str = ""


@dataclass(eq=False)
class ServerTimeoutError(ServerError, TimeoutError):
    """The server is alive, but did not answer in time. ``seconds`` is how long the launcher waited."""

    seconds: float = 0.0


@dataclass(eq=False)
class ServerInfoError(ServerError):
    """The server's ``server_info`` cannot be read or has an unexpected shape."""


@dataclass(eq=False)
class SessionError(LauncherError):
    """Something about a session as a whole."""

    session_id: str = ""

    command_exit_code: ClassVar[int] = 8


@dataclass(eq=False)
class SessionNotFoundError(SessionError):
    """No container of this namespace has this session's name.

    ``container_id`` is the id of a container of another name whose labels claim the session id.
    """

    container_id: str = ""


@dataclass(eq=False)
class SessionConflictError(SessionError):
    """The session's name is taken.

    ``differences`` has a line for each option that differs from those of the running session;
    it is empty where the container's name belongs to somebody else, whose id is then in
    ``container_id``.
    """

    container_id: str = ""
    differences: tuple[str, ...] = ()


@dataclass(eq=False)
class SessionUnreadableError(SessionError):
    """A container carries a session's labels, and one of them is missing or malformed.

    Attributes:
        container_name: the container's name.
        label: the full name of the label.
    """

    container_name: str = ""
    label: str = ""


class StartCancelledError(SessionError):
    """The ``cancel`` of a start was set. The start has removed what it made, or the message names what may be left."""


@dataclass(eq=False)
class WorkError(LauncherError):
    """Something that was done in a session failed: code, a notebook, a command, files, packages."""

    session_id: str = ""

    command_exit_code: ClassVar[int] = 9


@dataclass(eq=False)
class CodeError(WorkError):
    """Code that a kernel executed raised an error.

    Attributes:
        ename: the kernel's name of the error, such as ``ZeroDivisionError``.
        evalue: its text.
        traceback: plain text, without the codes that colour a terminal.
        result: all that came of the code.
    """

    ename: str = ""
    evalue: str = ""
    traceback: str = ""
    result: ExecuteResult | None = None


@dataclass(eq=False)
class CellError(CodeError):
    """A cell of a notebook raised an error.

    Attributes:
        cell: its number in ``notebook``, counted from 1, cells of text and the one that sets parameters included.
        notebook: the notebook with the outputs of all cells that were executed, this one's included.
    """

    cell: int = 0
    notebook: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(eq=False)
class KernelDiedError(WorkError):
    """A kernel ended while it executed code or started, or by itself since its last use: then no code was executed.

    Attributes:
        kernel_id: of the kernel.
        for_memory: whether it was killed for memory; None: nobody can tell.
        result: what came of the code until then.
        cell, notebook: as in :class:`CellError`, where a notebook was run; else None.
    """

    kernel_id: str = ""
    for_memory: bool | None = None
    result: ExecuteResult | None = None
    cell: int | None = None
    notebook: Mapping[str, Any] | None = field(default=None, repr=False)


@dataclass(eq=False)
class ExecuteTimeoutError(WorkError, TimeoutError):
    """Code did not end within its time, and was interrupted.

    Attributes:
        seconds: its time.
        result: what came of the code until then.
        cell, notebook: as in :class:`CellError`, where a notebook was run; else None.
    """

    seconds: float = 0.0
    result: ExecuteResult | None = None
    cell: int | None = None
    notebook: Mapping[str, Any] | None = field(default=None, repr=False)


@dataclass(eq=False)
class CommandError(WorkError):
    """A command in a session ended with an exit code other than 0, or could not be run. ``result`` has its outputs."""

    exit_code: int = 0
    result: CommandResult | None = None


@dataclass(eq=False)
class CommandTimeoutError(WorkError, TimeoutError):
    """A command did not end within its time, and was ended with all that it had started.

    Attributes:
        seconds: its time.
        result: what it printed until then; its exit code says nothing.
    """

    seconds: float = 0.0
    result: CommandResult | None = None
