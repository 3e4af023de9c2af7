"""What is sent to the engine and what it answers, as frozen values. Answers are parsed here, once; no I/O."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from jupyter_launcher.errors import EngineError

__all__ = [
    "LOOPBACK",
    "BindMount",
    "ContainerConfig",
    "ContainerInfo",
    "ExecResult",
    "ListedContainer",
    "Progress",
    "Tmpfs",
    "parse_exit_code",
    "parse_id",
    "parse_list",
    "parse_status",
]

LOOPBACK = "127.0.0.1"
_PIDS_LIMIT = 4096


class Progress(Protocol):
    """Reports how a build or a pull proceeds."""

    def __call__(self, detail: str, done: int = 0, total: int = 0) -> None:
        """Report ``detail`` for people, and ``done`` of ``total`` where that is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BindMount:
    """A path of the engine's host, mounted at ``target``. A source that does not exist is refused by the engine."""

    source: str
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tmpfs:
    """A file system in memory at ``target``.

    Attributes:
        target: where it is mounted.
        mode: octal, as text.
        size: bytes; None: the kernel's default.
        uid, gid: its owner; None: root.
    """

    target: str
    mode: str
    size: int | None = None
    uid: int | None = None
    gid: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerConfig:
    """A container to be created.

    Every container of ours runs with an init process, without capabilities, with no-new-privileges, a
    limit of processes, and the engine's default seccomp profile.

    Attributes:
        image: its name on the engine.
        entrypoint: replaces the image's entrypoint and command; None: the image's own are used.
        user: ``uid[:gid]`` or a name; empty: the image's own.
        working_dir: of the main process; empty: the image's own.
        environment: of the main process. It may hold secrets of the caller.
        labels: readable by everyone who can use the engine.
        mounts: folders and files of the engine's host.
        tmpfs: file systems in memory.
        container_port: the TCP port to publish; None: none is.
        host_ip, host_port: where it is published; port None: the engine chooses a free one.
        network: its name, or ``none``.
        read_only: the container's own file system cannot be written.
        memory: bytes. cpus: cores. shm_size: bytes of /dev/shm. None: no limit, or the engine's default.
        gpus: ``all`` or how many.
        stop_signal, stop_seconds: of ``docker stop``; None: the engine's default.
    """

    image: str
    entrypoint: tuple[str, ...] | None = None
    user: str = ""
    working_dir: str = ""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    labels: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[BindMount, ...] = ()
    tmpfs: tuple[Tmpfs, ...] = ()
    container_port: int | None = None
    host_ip: str = LOOPBACK
    host_port: int | None = None
    network: str = "none"
    read_only: bool = False
    memory: int | None = None
    cpus: float | None = None
    shm_size: int | None = None
    gpus: int | str | None = None
    stop_signal: str | None = None
    stop_seconds: int | None = None

    def to_docker(self) -> dict[str, Any]:
        """The body of Docker's call that creates a container."""
        body: dict[str, Any] = {
            "Image": self.image,
            "User": self.user,
            "WorkingDir": self.working_dir,
            "Env": [f"{name}={value}" for name, value in self.environment.items()],
            "Labels": dict(self.labels),
            "Healthcheck": {"Test": ["NONE"]},
            "HostConfig": {
                "Init": True,
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges"],
                "PidsLimit": _PIDS_LIMIT,
                "Mounts": [_long_form(mount) for mount in self.mounts],
                "Tmpfs": {item.target: _tmpfs_options(item) for item in self.tmpfs},
                "NetworkMode": self.network,
                "ReadonlyRootfs": self.read_only,
                "Memory": self.memory or 0,
                "NanoCpus": int((self.cpus or 0) * 1e9),
                "ShmSize": self.shm_size or 0,
                "DeviceRequests": _device_requests(self.gpus),
            },
        }
        if self.entrypoint is not None:
            body |= {"Entrypoint": list(self.entrypoint), "Cmd": []}
        if self.container_port is not None:
            port = f"{self.container_port}/tcp"
            body["ExposedPorts"] = {port: {}}
            binding = {"HostIp": self.host_ip, "HostPort": str(self.host_port or "")}
            body["HostConfig"]["PortBindings"] = {port: [binding]}
        if self.stop_signal is not None:
            body["StopSignal"] = self.stop_signal
        if self.stop_seconds is not None:
            body["StopTimeout"] = self.stop_seconds
        return body


def _long_form(mount: BindMount) -> dict[str, Any]:
    # The long form takes any path, and refuses a missing source instead of creating it as root.
    return {"Type": "bind", "Source": mount.source, "Target": mount.target, "ReadOnly": mount.read_only}


def _tmpfs_options(item: Tmpfs) -> str:
    options = ["rw", "nosuid", "nodev", "noexec", f"mode={item.mode}"]
    options += [f"{name}={value}" for name in ("size", "uid", "gid") if (value := getattr(item, name)) is not None]
    return ",".join(options)


def _device_requests(gpus: int | str | None) -> list[dict[str, Any]]:
    if gpus is None:
        return []
    return [{"Driver": "", "Count": -1 if gpus == "all" else gpus, "Capabilities": [["gpu"]]}]


@contextlib.contextmanager
def _expect_shape(what: str) -> Iterator[None]:
    """Turn the errors of a parse into an EngineError."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        msg = f"the engine's answer about {what} has an unexpected shape: {type(error).__name__}: {error}"
        hint = "see whether a proxy answers in place of the engine, and which version `docker version` shows"
        raise EngineError(msg, hint=hint) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerInfo:
    """A container at the moment of one inspect.

    ``networks`` maps a network's name to the container's IP there, ``""`` when it is not running.
    ``ports`` maps a container port such as ``8888/tcp`` to the published host ports. ``mounts`` maps a
    path in the container to the path on the engine's host that is mounted there.
    ``environment`` may hold secrets of whoever created the container.
    """

    id: str
    name: str
    labels: Mapping[str, str]
    state: str
    exit_code: int
    oom_killed: bool
    error: str
    image: str
    network_mode: str
    networks: Mapping[str, str]
    ports: Mapping[str, tuple[int, ...]]
    mounts: Mapping[str, str]
    environment: Mapping[str, str] = field(repr=False)

    @property
    def running(self) -> bool:
        """The main process is alive (also while it is paused)."""
        return self.state in ("running", "paused", "restarting")

    @classmethod
    def from_inspect(cls, raw: Mapping[str, Any]) -> ContainerInfo:
        """Parse the engine's answer to an inspect.

        Raises:
            EngineError: it has an unexpected shape.
        """
        with _expect_shape("a container"):
            state, settings = raw["State"], raw["NetworkSettings"]
            return cls(
                id=_text(raw["Id"]),
                name=_text(raw["Name"]).lstrip("/"),
                labels=_texts(raw["Config"].get("Labels")),
                state=_text(state["Status"]),
                exit_code=int(state.get("ExitCode", 0)),
                oom_killed=bool(state.get("OOMKilled", False)),
                error=_text(state.get("Error") or ""),
                image=_text(raw["Config"]["Image"]),
                network_mode=_text(raw["HostConfig"].get("NetworkMode") or ""),
                networks=_addresses(settings),
                ports={
                    port: tuple(int(binding["HostPort"]) for binding in bindings or () if binding.get("HostPort"))
                    for port, bindings in (settings.get("Ports") or {}).items()
                },
                mounts={
                    _text(item["Destination"]): _text(item["Source"])
                    for item in raw.get("Mounts") or ()
                    if item.get("Source")
                },
                environment=dict(item.partition("=")[::2] for item in raw["Config"].get("Env") or ()),
            )


def _text(value: object) -> str:
    if not isinstance(value, str):
        msg = f"{value!r} is no text"
        raise TypeError(msg)
    return value


def _texts(value: Mapping[str, object] | None) -> dict[str, str]:
    return {_text(name): _text(item) for name, item in (value or {}).items()}


def _addresses(settings: Mapping[str, Any]) -> dict[str, str]:
    networks = settings.get("Networks") or {}
    return {_text(name): _text((network or {}).get("IPAddress") or "") for name, network in networks.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedContainer:
    """A container as the engine lists it: ``created`` in seconds since the epoch, by its clock.

    ``networks`` and ``ports`` as in :class:`ContainerInfo`.
    """

    id: str
    name: str
    image: str
    labels: Mapping[str, str]
    created: float
    state: str
    status: str
    networks: Mapping[str, str]
    ports: Mapping[str, tuple[int, ...]]

    @property
    def exit_code(self) -> int | None:
        """Of a container that has ended. The engine's list has it only in its text for people."""
        found = re.match(r"Exited \((\d+)\)", self.status)
        return int(found[1]) if found else None

    @classmethod
    def from_listing(cls, raw: Mapping[str, Any]) -> ListedContainer:
        """Parse one item of the engine's list.

        Raises:
            EngineError: it has an unexpected shape.
        """
        with _expect_shape("a listed container"):
            names = raw.get("Names") or [""]  # a container that is being removed has none
            return cls(
                id=_text(raw["Id"]),
                name=_text(names[0]).lstrip("/"),
                image=_text(raw["Image"]),
                labels=_texts(raw.get("Labels")),
                created=float(raw["Created"]),
                state=_text(raw["State"]),
                status=_text(raw["Status"]),
                networks=_addresses(raw.get("NetworkSettings") or {}),
                ports={
                    f"{port['PrivatePort']}/{port['Type']}": (int(port["PublicPort"]),)
                    for port in raw.get("Ports") or ()
                    if port.get("PublicPort")
                },
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecResult:
    """What a command in a container printed, decoded as UTF-8 with bad bytes replaced.

    ``exit_code`` is None for a command that went on after it had said that its output is complete.
    """

    exit_code: int | None
    stdout: str = field(repr=False)
    stderr: str


def parse_id(raw: Mapping[str, Any]) -> str:
    """The id in the engine's answer to a create.

    Raises:
        EngineError: it has none.
    """
    with _expect_shape("what it created"):
        return _text(raw["Id"])


def parse_exit_code(raw: Mapping[str, Any]) -> int | None:
    """The exit code in the engine's answer about an exec; None while the command runs.

    Raises:
        EngineError: it has an unexpected shape.
    """
    with _expect_shape("an exec"):
        return None if raw["Running"] or raw["ExitCode"] is None else int(raw["ExitCode"])


def parse_list(raw: object) -> list[Any]:
    """The items of the engine's answer to a list.

    Raises:
        EngineError: it is no list.
    """
    with _expect_shape("its containers"):
        if not isinstance(raw, list):
            msg = f"{raw!r} is no list"
            raise TypeError(msg)
        return raw


def parse_status(raw: Mapping[str, Any]) -> int:
    """The exit code in the engine's answer to a wait for a container.

    Raises:
        EngineError: it has an unexpected shape.
    """
    with _expect_shape("a container's end"):
        return int(raw["StatusCode"])
