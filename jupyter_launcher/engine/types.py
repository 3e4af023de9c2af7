"""What is sent to the engine and what it answers, as frozen values. Answers are parsed here, once; no I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from jupyter_launcher.engine.shapes import (
    expect_shape,
    group_bindings,
    group_ports,
    parse_addresses,
    parse_amount,
    parse_number,
    parse_port,
    parse_published,
    parse_text,
    parse_texts,
    parse_time,
    parse_words,
)

__all__ = [
    "LOG_SIZE",
    "LOOPBACK",
    "BindMount",
    "ContainerConfig",
    "ContainerInfo",
    "ExecResult",
    "ImageInfo",
    "ListedContainer",
    "Progress",
    "Tmpfs",
]

LOOPBACK = "127.0.0.1"
LOG_SIZE = 10 * 2**20
"""Bytes of each of the two files of a container's log, unless asked otherwise."""
_PIDS_LIMIT = 4096
_LOG_FILES = 2
_NOT_RUNNING = ("created", "exited", "dead", "removing")


class Progress(Protocol):
    """Reports how a build or a pull proceeds."""

    def __call__(self, detail: str, done: int = 0, total: int = 0) -> None:
        """Report ``detail`` for people, and ``done`` of ``total`` where that is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BindMount:
    """A path of the engine's host, mounted at ``target``. A source that does not exist is refused by the engine.

    ``is_volume``: the source is the name of a volume, which the engine makes where it has none; with ``no_copy``, an
    empty one gets neither the files nor the owner of what the image has at the target. ``relabel`` is ``z`` or ``Z``,
    for SELinux; None: the labels stay. With it, the engine makes a missing source, and the paths have no colon.
    """

    source: str
    target: str
    read_only: bool = False
    relabel: str | None = None
    is_volume: bool = False
    no_copy: bool = False

    @property
    def needs_short_form(self) -> bool:
        """No other form has a place for ``relabel``, nor, on Podman, for ``no_copy``."""
        return self.relabel is not None or self.no_copy

    def to_short_form(self) -> str:
        """The mount as ``docker run -v`` has it."""
        options = ["ro" if self.read_only else "rw", *([self.relabel] if self.relabel else [])]
        options += ["nocopy"] if self.no_copy else []
        return f"{self.source}:{self.target}:{','.join(options)}"


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

    Every container of ours runs with an init process, without capabilities but for those named here, with
    no-new-privileges, a limit of processes, and the engine's default seccomp profile.

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
        log_size: bytes after which a new file of the log begins; the one before it is kept, older ones are not.
            It is for logs that the engine keeps in files. None: the engine's own setting.
        log_is_read: the log is this container's answer, so it is kept in a file whatever the engine's logging
            driver is.
        capabilities: what a short-lived container may do as root, such as ``CHOWN``. A session has none.
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
    log_size: int | None = LOG_SIZE
    log_is_read: bool = False
    capabilities: tuple[str, ...] = ()

    def to_docker(self, log_driver: str | None = None, *, limits_pids: bool = True) -> dict[str, Any]:
        """The body of Docker's call that creates a container.

        Args:
            log_driver: the engine's logging driver; None: not known. Only ``json-file`` is given a size.
            limits_pids: False: ask for no limit of processes, since the engine has none and may refuse the container.
        """
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
                "CapAdd": list(self.capabilities),
                "SecurityOpt": ["no-new-privileges"],
                "PidsLimit": _PIDS_LIMIT if limits_pids else 0,  # where it is left out, Podman asks for its own
                "Mounts": [_long_form(mount) for mount in self.mounts if not mount.needs_short_form],
                "Binds": [mount.to_short_form() for mount in self.mounts if mount.needs_short_form],
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
        if self.log_is_read or (self.log_size is not None and log_driver == "json-file"):
            body["HostConfig"]["LogConfig"] = {"Type": "json-file", "Config": _log_options(self.log_size)}
        return body


def _long_form(mount: BindMount) -> dict[str, Any]:
    # The long form takes any path, and refuses a missing source instead of creating it as root.
    kind = "volume" if mount.is_volume else "bind"
    return {"Type": kind, "Source": mount.source, "Target": mount.target, "ReadOnly": mount.read_only}


def _log_options(size: int | None) -> dict[str, str]:
    return {} if size is None else {"max-size": str(size), "max-file": str(_LOG_FILES)}


def _tmpfs_options(item: Tmpfs) -> str:
    options = ["rw", "nosuid", "nodev", "noexec", f"mode={item.mode}"]
    options += [f"{name}={value}" for name in ("size", "uid", "gid") if (value := getattr(item, name)) is not None]
    return ",".join(options)


def _device_requests(gpus: int | str | None) -> list[dict[str, Any]]:
    if gpus is None:
        return []
    return [{"Driver": "", "Count": -1 if gpus == "all" else gpus, "Capabilities": [["gpu"]]}]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerInfo:
    """A container at the moment of one inspect.

    Attributes:
        id, name, labels, image: of the container. ``image`` is the name that it was created with.
        created: seconds since the epoch, by the engine's clock.
        state: Docker's word for it, such as ``running``, ``paused``, ``exited``.
        exit_code, oom_killed, error: how it ended; while it runs they say nothing.
        network_mode: the network that it was created with, or ``host`` or ``none``.
        networks: the name of a network → the container's IP there, ``""`` when it is not running.
        ports: a container port such as ``8888/tcp`` → the published host ports.
        bindings: the same port → an address of the host → the host port there.
        mounts: a path in the container → the path on the engine's host that is mounted there.
        environment: may hold secrets of whoever created the container.
        memory, cpus, shm_size, pids, read_only: what the container has of what :class:`ContainerConfig` asked for.
            0: no limit; None: the engine does not tell.
    """

    id: str
    name: str
    labels: Mapping[str, str]
    created: float
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
    bindings: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    memory: int | None = None
    cpus: float | None = None
    shm_size: int | None = None
    pids: int | None = None
    read_only: bool | None = None

    @property
    def running(self) -> bool:
        """The main process is alive (also while it is paused), or the state is a word that is not known."""
        return self.state not in _NOT_RUNNING

    @classmethod
    def from_inspect(cls, raw: Mapping[str, Any]) -> ContainerInfo:
        """Parse the engine's answer to an inspect.

        Raises:
            EngineError: it has an unexpected shape.
        """
        with expect_shape("a container"):
            state, settings, host = raw["State"], raw["NetworkSettings"], raw["HostConfig"]
            published = tuple(parse_published(settings))
            return cls(
                id=parse_text(raw["Id"]),
                name=parse_text(raw["Name"]).lstrip("/"),
                labels=parse_texts(raw["Config"].get("Labels")),
                created=parse_time(parse_text(raw["Created"])),
                state=parse_text(state["Status"]),
                exit_code=int(state.get("ExitCode", 0)),
                oom_killed=bool(state.get("OOMKilled", False)),
                error=parse_text(state.get("Error") or ""),
                image=parse_text(raw["Config"]["Image"]),
                network_mode=parse_text(host.get("NetworkMode") or ""),
                networks=parse_addresses(settings),
                ports={**dict.fromkeys(settings.get("Ports") or (), ()), **group_ports(published)},
                bindings=group_bindings(published),
                mounts={
                    parse_text(item["Destination"]): parse_text(item["Source"])
                    for item in raw.get("Mounts") or ()
                    if item.get("Source")
                },
                environment=dict(parse_text(item).partition("=")[::2] for item in raw["Config"].get("Env") or ()),
                memory=parse_amount(host.get("Memory")),
                cpus=None if (nano := parse_amount(host.get("NanoCpus"))) is None else nano / 1e9,
                shm_size=parse_amount(host.get("ShmSize")),
                pids=parse_amount(host.get("PidsLimit")),
                read_only=None if (flag := host.get("ReadonlyRootfs")) is None else bool(flag),
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedContainer:
    """A container as the engine lists it. The attributes are those of :class:`ContainerInfo`.

    ``status`` is the engine's text for people, such as ``Up 2 minutes (Paused)``.
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
    bindings: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def exit_code(self) -> int | None:
        """Of a container that has ended. The engine's list has it only in its text for people."""
        found = re.match(r"Exited \(([0-9]{1,9})\)", self.status)
        return int(found[1]) if found else None

    @classmethod
    def from_listing(cls, raw: Mapping[str, Any]) -> ListedContainer:
        """Parse one item of the engine's list.

        Raises:
            EngineError: it has an unexpected shape.
        """
        with expect_shape("a listed container"):
            names = raw.get("Names") or [""]  # a container that is being removed has none
            published = [
                (
                    f"{int(port['PrivatePort'])}/{parse_text(port['Type'])}",
                    parse_text(port.get("IP") or ""),
                    parse_port(number),
                )
                for port in raw.get("Ports") or ()
                if (number := port.get("PublicPort"))
            ]
            return cls(
                id=parse_text(raw["Id"]),
                name=parse_text(names[0]).lstrip("/"),
                image=parse_text(raw["Image"]),
                labels=parse_texts(raw.get("Labels")),
                created=parse_number(raw["Created"]),
                state=parse_text(raw["State"]),
                status=parse_text(raw["Status"]),
                networks=parse_addresses(raw.get("NetworkSettings") or {}),
                ports=group_ports(published),
                bindings=group_bindings(published),
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInfo:
    """An image of the engine; ``argv`` is what a container of it runs: its entrypoint, and then its command."""

    id: str
    labels: Mapping[str, str]
    argv: tuple[str, ...] = ()

    @classmethod
    def from_inspect(cls, raw: Mapping[str, Any]) -> ImageInfo:
        """Parse the engine's answer to an inspect of an image.

        Raises:
            EngineError: it has an unexpected shape.
        """
        with expect_shape("an image"):
            config = raw.get("Config") or {}
            return cls(
                id=parse_text(raw["Id"]),
                labels=parse_texts(config.get("Labels")),
                argv=(*parse_words(config.get("Entrypoint")), *parse_words(config.get("Cmd"))),
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecResult:
    """What a command in a container printed, decoded as UTF-8 with bad bytes replaced.

    ``exit_code`` is None for a command that went on after it had said that its output is complete.
    """

    exit_code: int | None
    stdout: str = field(repr=False)
    stderr: str
