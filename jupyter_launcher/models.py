"""The values that callers get and give: frozen, parsed once, no I/O."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import Any

from jupyter_launcher.errors import OptionError, ServerInfoError

__all__ = [
    "BuildOptions",
    "Event",
    "EventKind",
    "Gateway",
    "Mount",
    "Phase",
    "ReapedSession",
    "ServerInfo",
    "SessionState",
    "SessionStatus",
    "SessionSummary",
    "StopMethod",
    "StopReport",
    "Timeouts",
    "Timings",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long to wait for what, in seconds.

    Attributes:
        engine: one call to the Docker engine.
        image: a pull or a build.
        start: from the exec of the server to its first answer with our token.
        gateway: the kernel specs through the server, with a gateway.
        shutdown: the server's end after the request to its API, its kernels' end included
            (a kernel that ignores signals costs the server 5 s by itself).
        terminate: the server's end after SIGTERM.
    """

    engine: float = 60.0
    image: float = 1800.0
    start: float = 60.0
    gateway: float = 15.0
    shutdown: float = 20.0
    terminate: float = 10.0

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not isinstance(value, (int, float)) or isinstance(value, bool) or not value > 0:
                msg = f"timeouts.{item.name} is {value!r}; give a number of seconds above 0"
                raise OptionError(msg, option="timeouts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A folder or file of the engine's host, bound into the container at ``target``."""

    source: str
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """What a build of the image needs where it is made.

    Attributes:
        base_image: any image with ``python3`` (with venv), ``sh`` and ``update-ca-certificates``;
            None: the Dockerfile's own default, an official slim Python image.
        ca_certificates: PEM files (``*.crt``) that pip, and later the notebooks, must trust.
        index_url: the package index for pip; None: pip's default.
        http_proxy, https_proxy, no_proxy: for the build alone; None: what the Docker client's
            configuration file says.
    """

    base_image: str | None = None
    ca_certificates: tuple[Path, ...] = ()
    index_url: str | None = field(default=None, repr=False)
    http_proxy: str | None = field(default=None, repr=False)
    https_proxy: str | None = field(default=None, repr=False)
    no_proxy: str | None = None

    def to_build_args(self) -> dict[str, str]:
        """The build arguments that the Dockerfiles, and the engine for proxies, know."""
        given = {
            "BASE_IMAGE": self.base_image,
            "PIP_INDEX_URL": self.index_url,
            "HTTP_PROXY": self.http_proxy,
            "HTTPS_PROXY": self.https_proxy,
            "NO_PROXY": self.no_proxy,
        }
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A kernel gateway as the server will reach it.

    Attributes:
        name: what the caller named: a container's name or id, or a URL.
        url: ``http://<ip>:<port>``, handed to the server as ``--gateway-url``.
        container_id: None where the caller gave a URL.
        network: the network that the server must join to reach it; None: the engine's default.
    """

    name: str
    url: str
    container_id: str | None = None
    network: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """The running server, as it describes itself in its ``jpserver-<pid>.json``.

    Addresses are the server's own: reach it at :attr:`Session.url` instead. ``notebook_dir`` is
    what jupyter_server 2 calls ``root_dir``.
    """

    base_url: str
    hostname: str
    notebook_dir: str
    password: bool
    pid: int
    port: int
    secure: bool
    token: str = field(repr=False)
    url: str

    @classmethod
    def from_json(cls, text: str) -> ServerInfo:
        """Parse the file's text; fields that are not known are ignored.

        Raises:
            ServerInfoError: no JSON object, or a field is missing or of another type. The
                message names fields, and never shows the text, which holds the token.
        """
        try:
            raw = json.loads(text)
        except ValueError:
            msg = f"server_info is not JSON ({len(text)} characters); ask again, it may be half written"
            raise ServerInfoError(msg) from None
        if not isinstance(raw, dict):
            msg = "server_info is JSON but no object; is another program writing to the runtime dir?"
            raise ServerInfoError(msg)
        if "root_dir" in raw:
            raw["notebook_dir"] = raw["root_dir"]
        types = {"password": bool, "pid": int, "port": int, "secure": bool}
        values: dict[str, Any] = {item.name: raw.get(item.name) for item in fields(cls)}
        wrong = [name for name, value in values.items() if not isinstance(value, types.get(name, str))]
        if wrong:
            msg = f"server_info lacks a usable {', '.join(wrong)}; the image needs jupyter_server 1.0 or newer"
            raise ServerInfoError(msg)
        return cls(**values)

    def to_dict(self) -> dict[str, str | int | bool]:
        """The nine fields as a plain dict, the token included."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Seconds that each phase of ``start`` took; a phase that had nothing to do is near 0."""

    gateway: float = 0.0
    image: float = 0.0
    container: float = 0.0
    server: float = 0.0
    ready: float = 0.0

    @property
    def total(self) -> float:
        """All phases together, seconds."""
        return self.gateway + self.image + self.container + self.server + self.ready


class SessionState(str, Enum):
    """Where a session stands. The values are what the command prints."""

    STARTING = "starting"
    """The container is there, the server does not answer yet."""
    READY = "ready"
    """The server answers with its token."""
    SERVER_DEAD = "server-dead"
    """The container runs, the server in it does not answer, and had the time to."""
    EXITED = "exited"
    """The container has ended; the status says how."""
    HALF_MADE = "half-made"
    """Created, but never started: its launcher died in the middle."""
    GONE = "gone"
    """No such container any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStatus:
    """A session's state at the moment of asking."""

    state: SessionState
    exit_code: int | None = None
    oom_killed: bool = False
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSummary:
    """One line of ``Launcher.list``: what the engine alone knows of a session."""

    session_id: str
    container_id: str
    container_name: str
    pipeline_dir: Path
    gateway: str | None
    image: str
    created: float
    """Seconds since the epoch, by the engine's clock."""
    owner: str
    """What the launcher that started it gave as its ``owner``."""
    status: str
    """The engine's words, e.g. ``Up 2 minutes`` or ``Exited (137) 5 seconds ago``."""
    state: SessionState
    exit_code: int | None = None
    oom_killed: bool = False


class StopMethod(str, Enum):
    """What ended the server."""

    API = "api"
    SIGTERM = "sigterm"
    KILLED = "killed"
    ALREADY_STOPPED = "already-stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class StopReport:
    """How a session ended.

    Attributes:
        method: the step after which the server was gone.
        kernels: ids of the kernels that the server held when it was asked to stop.
        kernels_gone: those of them that were seen to be gone, on the gateway if there is one.
        seconds: from the call to the container's removal.
    """

    method: StopMethod
    kernels: tuple[str, ...] = ()
    kernels_gone: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReapedSession:
    """What ``Launcher.reap`` did, or would do, to one session.

    Attributes:
        reason: ``exited``, ``half-made`` or ``orphaned``.
        report: how it ended; None in a dry run, or where ending it failed.
        error: what went wrong, else empty.
    """

    session_id: str
    container_id: str
    reason: str
    report: StopReport | None = None
    error: str = ""


class Phase(str, Enum):
    """The parts of a session's life that events speak of."""

    GATEWAY = "gateway"
    IMAGE = "image"
    CONTAINER = "container"
    SERVER = "server"
    READY = "ready"
    STOP = "stop"


class EventKind(str, Enum):
    """What happened to a phase."""

    STARTED = "started"
    PROGRESS = "progress"
    FINISHED = "finished"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Handed to ``on_event``.

    Attributes:
        session_id: empty for what is no session's, such as a build.
        seconds: since the phase started.
        detail: for people.
        done, total: how far a build (steps) or a pull (bytes) is; 0 and 0 where nobody knows.
    """

    session_id: str
    phase: Phase
    kind: EventKind
    seconds: float = 0.0
    detail: str = ""
    done: int = 0
    total: int = 0
