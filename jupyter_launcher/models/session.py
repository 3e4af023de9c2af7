"""What callers learn of sessions: their state, how they started, and how they ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Enum
from pathlib import Path

from jupyter_launcher.models.events import Phase
from jupyter_launcher.models.kernels import KernelSummary
from jupyter_launcher.models.options import Volume

__all__ = [
    "ReapedSession",
    "SessionState",
    "SessionStatus",
    "SessionSummary",
    "StopMethod",
    "StopReport",
    "Timings",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Seconds that each phase of ``start`` took; a phase that had nothing to do is near 0.

    ``claim`` is that of ``WarmPool.start`` alone; with it, the others are 0.
    """

    gateway: float = 0.0
    image: float = 0.0
    container: float = 0.0
    server: float = 0.0
    ready: float = 0.0
    claim: float = 0.0

    @classmethod
    def from_phases(cls, seconds: Mapping[Phase, float]) -> Timings:
        """From the seconds of each phase; a phase that is not there took none."""
        return cls(**{item.name: seconds.get(Phase(item.name), 0.0) for item in fields(cls)})

    @property
    def total(self) -> float:
        """All phases together, seconds."""
        return self.gateway + self.image + self.container + self.server + self.ready + self.claim


class SessionState(str, Enum):
    """The state of a session. The values are what the command prints."""

    CREATED = "created"
    """The container was created, but never started: its launcher died in between."""
    STARTING = "starting"
    """The container runs, the server does not answer yet."""
    READY = "ready"
    """The server answers."""
    UNRESPONSIVE = "unresponsive"
    """The container runs, but its server does not answer, although it had the time to start."""
    UNPROBED = "unprobed"
    """The container runs, and nobody has asked its server: only ``Launcher.list(probe=False)`` says it."""
    PAUSED = "paused"
    """The container is paused (``docker pause``, or a ``docker commit`` that runs): nothing in it answers."""
    EXITED = "exited"
    """The container has ended; the status says how."""
    UNREACHABLE = "unreachable"
    """The node of the swarm that it runs on is away, so nobody can tell whether it runs; ``reap`` never ends it."""
    GONE = "gone"
    """The container was removed."""
    UNREADABLE = "unreadable"
    """A container carries a session's labels, but they cannot be read, or its name is not the session's."""

    @classmethod
    def of_container(cls, state: str) -> SessionState | None:
        """From the engine's word for a container's state; None where it runs, so that its server decides.

        A container in a state that is not known counts as one that runs, so that nothing is removed for a word.
        """
        known = {
            "created": cls.CREATED,
            "paused": cls.PAUSED,
            "unreachable": cls.UNREACHABLE,
            **dict.fromkeys(("exited", "dead", "removing"), cls.EXITED),
        }
        return known.get(state)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStatus:
    """A session's state at the moment of asking.

    Attributes:
        state: the state.
        exit_code: of the container's main process; None while it runs.
        oom_killed: the kernel ended a process of the container for memory; known once that has ended.
        oom_kills: in state ``ready``: how many processes were killed for memory so far, most often kernels; None: not
            known.
        detail: a text for people.
        pipeline_dir_replaced: the pipeline's path leads to another directory by now, or to none, and the session
            still has the old one; None where this process cannot tell. Never True of a volume.
    """

    state: SessionState
    exit_code: int | None = None
    oom_killed: bool = False
    detail: str = ""
    pipeline_dir_replaced: bool | None = None
    oom_kills: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSummary:
    """One item of ``Launcher.list``.

    Attributes:
        session_id: from the container's label; empty if the label is missing.
        container_id: the full id.
        container_name: the container's name.
        pipeline_dir: the directory on the engine's host, or the volume; None in state ``unreadable``.
        gateway: what the caller named as gateway; None without one.
        image: as the engine names it.
        created: seconds since the epoch, by the engine's clock.
        owner: what the launcher that started it gave as its ``owner``.
        status: the engine's words, e.g. ``Up 2 minutes`` or ``Exited (137) 5 seconds ago``.
        state: the state.
        exit_code: of a container that has ended.
        oom_killed: the kernel ended a process of the container for memory; with ``probe=False`` always False.
        detail: in state ``unreadable``: what cannot be read, and what to do; in state ``unreachable``: why nobody can
            tell more; else why nobody could look.
        node: in a swarm, the hostname of the node that it is on; else empty.
        kernels: those of its kernels that have a container of their own, by the labels of those.
    """

    session_id: str
    container_id: str
    container_name: str
    pipeline_dir: Path | Volume | None
    gateway: str | None
    image: str
    created: float
    owner: str
    status: str
    state: SessionState
    exit_code: int | None = None
    oom_killed: bool = False
    detail: str = ""
    node: str = ""
    kernels: tuple[KernelSummary, ...] = ()


class StopMethod(str, Enum):
    """What ended the server."""

    API = "api"
    SIGTERM = "sigterm"
    KILLED = "killed"
    ALREADY_STOPPED = "already-stopped"
    UNREACHABLE = "unreachable"
    """Nobody reached its node of the swarm, so nobody saw it end; the swarm ends it, once the node is back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StopReport:
    """How a session ended.

    Attributes:
        method: the step after which the server was gone.
        kernels: ids of the kernels that the server held when it was asked to stop, and of those of the session's that
            have containers of their own.
        kernels_gone: those of them that were seen to be gone, on the gateway if there is one.
        kernels_of_others: ids of kernels on the gateway that carry this session's mark, and most likely are another
            client's: a gateway may give the environment of one request to later ones. They were left alone.
        seconds: from the call to the container's removal; with ``unreachable``, to that of its service.
    """

    method: StopMethod
    kernels: tuple[str, ...] = ()
    kernels_gone: tuple[str, ...] = ()
    kernels_of_others: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReapedSession:
    """What ``Launcher.reap`` did, or would do, to one session, or to another container of the library.

    Attributes:
        session_id: whose container it was, or whose own gateway; empty where it was no session's.
        container_id: the container's full id; a network's, where it is one.
        reason: ``exited``, ``created`` or ``orphaned``.
        report: how it ended; None in a dry run, or where ending it failed.
        error: why it could not be ended, else empty.
        kind: ``session``; ``gateway``, with all that is of it; ``part``: an agent, a broker or a kernel of a gateway
            that has ended or is gone; ``network``: of such a one; ``helper``: a container that looks at something and
            has no long life; ``warm``: of a pool, and nobody has claimed it; ``record``: of who has.
        name: of the container.
    """

    session_id: str
    container_id: str
    reason: str
    report: StopReport | None = None
    error: str = ""
    kind: str = "session"
    name: str = ""
