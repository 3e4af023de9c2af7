"""What is sent to the engine and what it answers, as frozen values. Answers are parsed here, once; no I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jupyter_launcher.engine.shapes import (
    ImageInfo,
    expect_shape,
    format_device_requests,
    format_log_options,
    format_ports,
    group_bindings,
    group_ports,
    parse_addresses,
    parse_aliases,
    parse_amount,
    parse_argv,
    parse_hosts,
    parse_listed_ports,
    parse_mounts,
    parse_number,
    parse_published,
    parse_text,
    parse_texts,
    parse_time,
    parse_volumes,
    parse_words,
)

__all__ = [
    "LOG_SIZE",
    "LOOPBACK",
    "PIDS_LIMIT",
    "BindMount",
    "ContainerConfig",
    "ContainerInfo",
    "ExecResult",
    "ImageInfo",
    "ListedContainer",
    "Tmpfs",
]

LOOPBACK = "127.0.0.1"
LOG_SIZE = 10 * 2**20  # bytes of each of the two files of a container's log, unless asked otherwise
PIDS_LIMIT = 4096
_TOP_LEVEL = ("Domainname", "Healthcheck", "Hostname", "MacAddress")  # options outside of the engine's HostConfig
_NOT_RUNNING = ("created", "exited", "dead", "removing")


@dataclass(frozen=True, slots=True, kw_only=True)
class BindMount:
    """A path of the engine's host, mounted at ``target``. A source that does not exist is refused by the engine.

    ``relabel`` is ``z`` or ``Z``, for SELinux; None: the labels stay. With it, the engine makes a missing source, and
    the paths have no colon. With ``type="volume"``, the source is the name of a volume, which the engine makes where it
    has none; with ``no_copy``, an empty one gets neither the files nor the owner of what the image has at the target.
    One without a source is the container's own: the engine makes it, and ``remove`` removes it with the container.
    ``propagation`` is the kernel's word; None: the engine's own.
    """

    source: str
    target: str
    read_only: bool = False
    relabel: str | None = None
    type: str = "bind"
    no_copy: bool = False
    propagation: str | None = None

    @property
    def needs_short_form(self) -> bool:
        """No other form has a place for ``relabel``, nor, on Podman, for ``no_copy``."""
        return self.relabel is not None or self.no_copy

    def to_short_form(self) -> str:
        """The mount as ``docker run -v`` has it."""
        options = ["ro" if self.read_only else "rw", self.relabel, self.propagation, "nocopy" if self.no_copy else None]
        return f"{self.source}:{self.target}:{','.join(filter(None, options))}"

    def to_long_form(self) -> dict[str, Any]:
        """The mount as ``docker run --mount`` has it. It takes any path, and refuses a missing source of the host."""
        more: dict[str, Any] = {}
        if self.propagation is not None:
            more["BindOptions"] = {"Propagation": self.propagation}
        if self.source:
            more["Source"] = self.source
        return {"Type": self.type, "Target": self.target, "ReadOnly": self.read_only, **more}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tmpfs:
    """A file system in memory at ``target``.

    Attributes:
        target: where it is mounted.
        mode: octal, as text.
        size: bytes; None: the kernel's default.
        uid, gid: its owner; None: root.
        executable: files there can be run, and libraries loaded from there.
    """

    target: str
    mode: str
    size: int | None = None
    uid: int | None = None
    gid: int | None = None
    executable: bool = False

    def to_options(self) -> str:
        """The options as ``docker run --tmpfs`` has them."""
        options = ["rw", "nosuid", "nodev", "exec" if self.executable else "noexec", f"mode={self.mode}"]
        options += [f"{name}={value}" for name in ("size", "uid", "gid") if (value := getattr(self, name)) is not None]
        return ",".join(options)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerConfig:
    """A container to be created.

    Every container of ours runs with an init process, without capabilities but for those named here, with
    no-new-privileges, a limit of processes, and the engine's default seccomp profile.

    Attributes:
        image: its name on the engine.
        entrypoint: replaces the image's entrypoint and command; None: the image's own are used.
        keep_entrypoint: the image's entrypoint runs, with ``entrypoint`` in place of its command.
        user: ``uid[:gid]`` or a name; empty: the image's own.
        working_dir: of the main process; empty: the image's own.
        environment: of the main process. It may hold secrets of the caller.
        labels: readable by everyone who can use the engine.
        mounts: folders and files of the engine's host.
        tmpfs: file systems in memory.
        container_port: the TCP port to publish; None: none is.
        host_ip, host_port: where it is published; port None: the engine chooses a free one.
        ports: more ports to publish there, such as ``6006/tcp``, and the host's port; None: a free one.
        network: its name, or ``none``.
        extra_hosts: names for /etc/hosts, and their addresses, or ``host-gateway``.
        groups: more groups of the user, by number or name.
        read_only: the container's own file system cannot be written.
        memory: bytes. cpus: cores. shm_size: bytes of /dev/shm. None: no limit, or the engine's default.
        default_shm_size: bytes of /dev/shm where ``shm_size`` is None; nobody asked for it.
        gpus: ``all``, how many, or their ids.
        stop_signal, stop_seconds: of ``docker stop``; None: the engine's default.
        log_size: bytes after which a new file of the log begins; the one before it is kept, older ones are not.
            It is for logs that the engine keeps in files. None: the engine's own setting.
        log_is_read: the log is this container's answer, so it is kept in a file whatever the engine's logging
            driver is.
        engine_options: more of the engine's own options, by their names; they replace what is above.
        capabilities: what a short-lived container may do as root, such as ``CHOWN``. A session has none.
    """

    image: str
    entrypoint: tuple[str, ...] | None = None
    keep_entrypoint: bool = False
    user: str = ""
    working_dir: str = ""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    labels: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[BindMount, ...] = ()
    tmpfs: tuple[Tmpfs, ...] = ()
    container_port: int | None = None
    host_ip: str = LOOPBACK
    host_port: int | None = None
    ports: Mapping[str, int | None] = field(default_factory=dict)
    network: str = "none"
    extra_hosts: Mapping[str, str] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    read_only: bool = False
    memory: int | None = None
    cpus: float | None = None
    shm_size: int | None = None
    default_shm_size: int | None = None
    gpus: int | str | tuple[str, ...] | None = None
    stop_signal: str | None = None
    stop_seconds: int | None = None
    log_size: int | None = LOG_SIZE
    log_is_read: bool = False
    engine_options: Mapping[str, object] = field(default_factory=dict)
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
                "PidsLimit": PIDS_LIMIT if limits_pids else 0,  # where it is left out, Podman asks for its own
                "Mounts": [mount.to_long_form() for mount in self.mounts if not mount.needs_short_form],
                "Binds": [mount.to_short_form() for mount in self.mounts if mount.needs_short_form],
                "Tmpfs": {item.target: item.to_options() for item in self.tmpfs},
                "NetworkMode": self.network,
                "ExtraHosts": [f"{name}:{address}" for name, address in self.extra_hosts.items()],
                "GroupAdd": list(self.groups),
                "ReadonlyRootfs": self.read_only,
                "Memory": self.memory or 0,
                "NanoCpus": int((self.cpus or 0) * 1e9),
                "ShmSize": self.shm_size or self.default_shm_size or 0,
                "DeviceRequests": format_device_requests(self.gpus),
            },
        }
        if self.entrypoint is not None:
            argv = list(self.entrypoint)
            body |= {"Cmd": argv} if self.keep_entrypoint else {"Entrypoint": argv, "Cmd": []}
        if self.container_port is not None:
            ports = {f"{self.container_port}/tcp": self.host_port, **self.ports}
            body["ExposedPorts"] = {port: {} for port in ports}
            body["HostConfig"]["PortBindings"] = format_ports(ports, self.host_ip)
        ends = {"StopSignal": self.stop_signal, "StopTimeout": self.stop_seconds}
        body |= {name: value for name, value in ends.items() if value is not None}
        if self.log_is_read or (self.log_size is not None and log_driver == "json-file"):
            body["HostConfig"]["LogConfig"] = {"Type": "json-file", "Config": format_log_options(self.log_size)}
        return self.add_engine_options(body)

    def add_engine_options(self, body: dict[str, Any]) -> dict[str, Any]:
        """Let ``engine_options`` replace what the body of a create has."""
        for name, value in self.engine_options.items():
            (body if name in _TOP_LEVEL else body["HostConfig"])[name] = value
        return body


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerInfo:
    """A container at the moment of one inspect.

    Attributes:
        id, name, labels, image: of the container. ``image`` is the name that it was created with.
        created: seconds since the epoch, by the engine's clock.
        state: Docker's word for it, such as ``running``, ``paused``, ``exited``.
        exit_code, oom_killed, error: how it ended; while it runs they say nothing.
        started: the engine's words for when it was started last; another text after each start. Empty: not known.
        network_mode: the network that it was created with, or ``host`` or ``none``.
        networks: the name of a network → the container's IP there, ``""`` when it is not running.
        aliases: the name of a network → the container's other names there; Compose gives it that of its service.
        ports: a container port such as ``8888/tcp`` → the published host ports.
        bindings: the same port → an address of the host → the host port there.
        mounts: a path in the container → the path on the engine's host that is mounted there.
        volumes: a path in the container → the name of the volume that is mounted there.
        environment: may hold secrets of whoever created the container.
        entrypoint: the container's own, else its image's; empty: there is none.
        memory, cpus, shm_size, pids, read_only: what the container has of what :class:`ContainerConfig` asked for.
            0: no limit; None: the engine does not tell.
        groups, extra_hosts, tmpfs: of the same; of hosts the names, of file systems in memory their paths.
        option_names: the names of all options that the engine tells of.
        pid: of its first process, as the engine's host numbers it; 0: it has none, or the engine does not tell.
        node, host: in a swarm, the hostname and the address of the node that it is on; empty: the engine's own.
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
    started: str = ""
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    bindings: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    volumes: Mapping[str, str] = field(default_factory=dict)
    entrypoint: tuple[str, ...] = ()
    memory: int | None = None
    cpus: float | None = None
    shm_size: int | None = None
    pids: int | None = None
    read_only: bool | None = None
    groups: tuple[str, ...] | None = None
    extra_hosts: tuple[str, ...] | None = None
    tmpfs: tuple[str, ...] | None = None
    option_names: frozenset[str] | None = field(default=None, repr=False)
    pid: int = 0
    node: str = ""
    host: str = ""

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
                started=parse_text(state.get("StartedAt") or ""),
                image=parse_text(raw["Config"]["Image"]),
                network_mode=parse_text(host.get("NetworkMode") or ""),
                networks=parse_addresses(settings),
                aliases=parse_aliases(settings),
                ports={**dict.fromkeys(settings.get("Ports") or (), ()), **group_ports(published)},
                bindings=group_bindings(published),
                mounts=parse_mounts(raw.get("Mounts") or ()),
                volumes=parse_volumes(raw.get("Mounts") or ()),
                environment=dict(parse_text(item).partition("=")[::2] for item in raw["Config"].get("Env") or ()),
                entrypoint=parse_argv(raw["Config"].get("Entrypoint")),
                memory=parse_amount(host.get("Memory")),
                cpus=None if (nano := parse_amount(host.get("NanoCpus"))) is None else nano / 1e9,
                shm_size=parse_amount(host.get("ShmSize")),
                pids=parse_amount(host.get("PidsLimit")),
                read_only=None if (flag := host.get("ReadonlyRootfs")) is None else bool(flag),
                groups=None if (groups := host.get("GroupAdd")) is None else parse_words(groups),
                extra_hosts=None if (hosts := host.get("ExtraHosts")) is None else parse_hosts(hosts),
                tmpfs=None if (tmpfs := host.get("Tmpfs")) is None else tuple(parse_texts(tmpfs)),
                option_names=frozenset([*host, *raw["Config"]]),
                pid=parse_amount(state.get("Pid")) or 0,
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
    node: str = ""
    host: str = ""

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
            published = tuple(parse_listed_ports(raw))
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
class ExecResult:
    """What a command in a container printed, decoded as UTF-8 with bad bytes replaced.

    ``exit_code`` is None for a command that went on after it had said that its output is complete.
    """

    exit_code: int | None
    stdout: str = field(repr=False)
    stderr: str
