"""What goes on in a session, and what happened to it: its use, its kernels, its resources, its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

__all__ = ["Activity", "KernelInfo", "SessionEvent", "SessionEventKind", "Stats"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelInfo:
    """A kernel of a session, as its server sees it.

    Attributes:
        id: of the kernel; on a gateway, the gateway's id too.
        name: of its kernel spec, such as ``python3``.
        state: Jupyter's word, such as ``idle``, ``busy`` or ``starting``.
        last_activity: when it began or ended to execute last, or gave an output, seconds since the epoch.
        connections: how many notebooks, consoles and other clients are connected to it.
    """

    id: str
    name: str
    state: str
    last_activity: float
    connections: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """The use of a session at the moment of asking.

    Attributes:
        last: when it was used last, seconds since the epoch: the latest activity of a kernel or a terminal, or write
            of a file that the server knows of, and no request alone; where nothing was done, when the server began.
            A kernel that is busy is in use, whatever this says.
        kernels: those that the server holds.
        terminals: how many are open.
        connections: to kernels, of all clients together.
    """

    last: float
    kernels: tuple[KernelInfo, ...]
    terminals: int
    connections: int

    @property
    def is_busy(self) -> bool:
        """A kernel is busy."""
        return any(kernel.state == "busy" for kernel in self.kernels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """What a session uses of its machine. None: the engine does not tell.

    Attributes:
        memory: bytes, without the cache of files that the kernel can take back.
        memory_limit: bytes; without a limit of the session's own, what the engine gives in its place, mostly the
            memory of its host.
        cpus: cores in use, on average over the last second or so.
        pids: processes and threads.
        kernels: the same of its kernels in containers, which is not in the numbers above. With ``isolation="kernel"``,
            the id of a kernel → its container. With ``isolation="environment"``, for a session that was started with
            ``kernels``, a name of ``kernels`` → the container of all kernels of that image; on a gateway that sessions
            share, those are not one session's, and are left out.
    """

    memory: int | None = None
    memory_limit: int | None = None
    cpus: float | None = None
    pids: int | None = None
    kernels: Mapping[str, Stats] = field(default_factory=dict)


class SessionEventKind(str, Enum):
    """What happened to a session."""

    OUT_OF_MEMORY = "out-of-memory"
    """A process was killed for memory. The session may live on: most often it was a kernel."""
    ENDED = "ended"
    """The session has ended, by itself or because it was asked to; ``exit_code`` says how."""
    KILLED = "killed"
    """The session has ended with exit code 137: it, or its server, was killed."""
    REMOVED = "removed"
    """The session's container was removed, and its log with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEvent:
    """What the engine tells of a session.

    Attributes:
        kind: what happened.
        session_id: to which session.
        container_id: the full id of its container; another start of the same session has another one.
        owner: what the launcher that started it gave as its ``owner``.
        time: seconds since the epoch, by the engine's clock.
        exit_code: of the container, where the session has ended; else None.
    """

    kind: SessionEventKind
    session_id: str
    container_id: str
    owner: str
    time: float
    exit_code: int | None = None
