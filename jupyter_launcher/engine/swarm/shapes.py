"""Services, tasks and nodes: how they are named, and what a manager answers about them. Parsed here, once; no I/O."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from jupyter_launcher.engine.shapes import (
    expect_shape,
    parse_amount,
    parse_mounts,
    parse_port,
    parse_text,
    parse_texts,
    parse_time,
    parse_words,
)
from jupyter_launcher.models import SwarmNode

__all__ = [
    "ENDED",
    "ENGINE_LABEL",
    "IMAGE_LABEL",
    "LABEL_START",
    "NAME_LABEL",
    "Service",
    "Task",
    "is_container_id",
    "is_service_id",
    "is_service_name",
    "parse_heartbeat",
    "parse_node",
    "service_name",
]

NAME_LABEL = "jupyter-launcher.name"
"""On a service: the name of the container that it stands for."""
LABEL_START = NAME_LABEL.removesuffix("name")
"""How the names of the library's own labels begin."""
IMAGE_LABEL = f"{LABEL_START}image"
"""On a service: the image's name, since the service itself has its id."""
ENGINE_LABEL = f"{LABEL_START}docker-host"
"""On a node: the address of its engine."""
_DIGITS = 40
_CONTAINER_ID = re.compile(r"[0-9a-f]{64}")
_SERVICE_ID = re.compile(r"[0-9a-z]{25}")
_SERVICE_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?")  # or its id
ENDED = ("complete", "failed", "rejected", "shutdown", "orphaned", "remove")
"""The states of a task that does not run and never will."""
_SHM = "/dev/shm"  # noqa: S108 - in the container
_NANO = 10**9
_HEARTBEAT = 5 * _NANO  # where the answer leaves out the default


def service_name(name: str) -> str:
    """The name of the service that stands for a container: those of services have no dots, and at most 63 letters."""
    return f"jl-{hashlib.sha256(name.encode()).hexdigest()[:_DIGITS]}"


def is_container_id(text: str) -> bool:
    """Whether a text is the whole id of a container."""
    return _CONTAINER_ID.fullmatch(text) is not None


def is_service_name(text: str) -> bool:
    """Whether a service can have this name, or this id."""
    return _SERVICE_NAME.fullmatch(text) is not None


def is_service_id(text: str) -> bool:
    """Whether a text may be the whole id of a service."""
    return _SERVICE_ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A service of the swarm, and the container that it describes.

    Attributes:
        id, service_name, created: of the service; seconds since the epoch.
        name: of the container that the service stands for; its own name where it is none of ours.
        is_ours: it stands for a container of this library.
        labels: of the service.
        image: its name, as it was asked for.
        image_id: the image as the service has it.
        command, environment, mounts, tmpfs, read_only, groups, extra_hosts: of the container, as in ``ContainerInfo``.
        memory, cpus, pids, shm_size: 0: no limit; of ``shm_size``, None: the engine's default.
        grace: seconds that its main process has to end; None: the swarm's default.
    """

    id: str
    service_name: str
    name: str
    is_ours: bool
    labels: Mapping[str, str]
    created: float
    image: str
    image_id: str
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    mounts: Mapping[str, str] = field(default_factory=dict)
    tmpfs: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    extra_hosts: tuple[str, ...] = ()
    read_only: bool = False
    memory: int = 0
    cpus: float = 0.0
    pids: int = 0
    shm_size: int | None = None
    grace: float | None = None

    @classmethod
    def from_answer(cls, raw: Mapping[str, Any]) -> Service:
        """Parse one service.

        Raises:
            EngineError: it has an unexpected shape.
        """
        with expect_shape("a service"):
            spec = raw["Spec"]
            found = parse_texts(spec.get("Labels"))
            template = spec["TaskTemplate"]
            container = template["ContainerSpec"]
            limits = (template.get("Resources") or {}).get("Limits") or {}
            mounts = container.get("Mounts") or ()
            tmpfs = {
                parse_text(item["Target"]): parse_amount((item.get("TmpfsOptions") or {}).get("SizeBytes"))
                for item in mounts
                if item.get("Type") == "tmpfs"
            }
            places = [{"Destination": item["Target"], "Source": item.get("Source")} for item in mounts]
            grace = parse_amount(container.get("StopGracePeriod"))
            service_name, image_id = parse_text(spec["Name"]), parse_text(container["Image"])
            return cls(
                id=parse_text(raw["ID"]),
                service_name=service_name,
                name=found.get(NAME_LABEL, service_name),
                is_ours=NAME_LABEL in found,
                labels=found,
                created=parse_time(parse_text(raw["CreatedAt"])),
                image=found.get(IMAGE_LABEL, image_id),
                image_id=image_id,
                command=parse_words(container.get("Command")),
                environment=dict(parse_text(item).partition("=")[::2] for item in container.get("Env") or ()),
                mounts=parse_mounts(places),
                tmpfs=tuple(target for target in tmpfs if target != _SHM),
                groups=parse_words(container.get("Groups")),
                extra_hosts=tuple(item.split()[-1] for item in parse_words(container.get("Hosts"))),
                read_only=bool(container.get("ReadOnly")),
                memory=parse_amount(limits.get("MemoryBytes")) or 0,
                cpus=(parse_amount(limits.get("NanoCPUs")) or 0) / _NANO,
                pids=parse_amount(limits.get("Pids")) or 0,
                shm_size=tmpfs.get(_SHM),
                grace=None if grace is None else grace / _NANO,
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task: one try of the swarm to run a service's container.

    Attributes:
        id, service_id, created: of the task.
        node_id: where it is; empty: it has no node yet.
        state, desired: the swarm's words for what it is and what it should be.
        error: why it does not run, or how it ended; empty: not told.
        message: what the swarm does with it.
        container_id: empty: it has no container yet.
        exit_code: None: not told.
        ports: a port of the container such as ``8888/tcp`` → the node's port.
        networks: the name of a network → the container's IP there.
        labels: of its container.
    """

    id: str
    service_id: str
    created: float
    node_id: str
    state: str
    desired: str
    labels: Mapping[str, str] = field(default_factory=dict)
    error: str = ""
    message: str = ""
    container_id: str = ""
    exit_code: int | None = None
    ports: Mapping[str, int] = field(default_factory=dict)
    networks: Mapping[str, str] = field(default_factory=dict)

    @property
    def has_ended(self) -> bool:
        """It does not run and never will, as its own node said."""
        return self.state in ENDED

    @classmethod
    def from_answer(cls, raw: Mapping[str, Any]) -> Task:
        """Parse one task.

        Raises:
            EngineError: it has an unexpected shape.
        """
        with expect_shape("a task"):
            status = raw["Status"]
            container = status.get("ContainerStatus") or {}
            code = container.get("ExitCode")
            return cls(
                id=parse_text(raw["ID"]),
                service_id=parse_text(raw.get("ServiceID") or ""),
                created=parse_time(parse_text(raw["CreatedAt"])),
                node_id=parse_text(raw.get("NodeID") or ""),
                state=parse_text(status["State"]),
                desired=parse_text(raw["DesiredState"]),
                labels=parse_texts(((raw.get("Spec") or {}).get("ContainerSpec") or {}).get("Labels")),
                error=parse_text(status.get("Err") or ""),
                message=parse_text(status.get("Message") or ""),
                container_id=parse_text(container.get("ContainerID") or ""),
                exit_code=None if code is None else int(code),
                ports=_parse_ports(status.get("PortStatus")),
                networks=_parse_networks(raw.get("NetworksAttachments")),
            )


def _parse_ports(raw: Mapping[str, Any] | None) -> dict[str, int]:
    """The ports that the node gave a task; each is told for IPv4 and for IPv6."""
    found: dict[str, int] = {}
    for port in (raw or {}).get("Ports") or ():
        if port.get("PublishedPort"):
            inside = f"{int(port['TargetPort'])}/{parse_text(port.get('Protocol') or 'tcp')}"
            found.setdefault(inside, parse_port(port["PublishedPort"]))
    return found


def _parse_networks(raw: Any) -> dict[str, str]:
    """The networks of a task, and its IP there without the length of the subnet's prefix."""
    found: dict[str, str] = {}
    for item in raw or ():
        name = parse_text(item["Network"]["Spec"]["Name"])
        addresses = parse_words(item.get("Addresses"))
        found[name] = addresses[0].partition("/")[0] if addresses else ""
    return found


def parse_node(raw: Mapping[str, Any]) -> SwarmNode:
    """Parse one node.

    Raises:
        EngineError: it has an unexpected shape.
    """
    with expect_shape("a node"):
        spec, status = raw["Spec"], raw["Status"]
        description, manager = raw.get("Description") or {}, raw.get("ManagerStatus") or {}
        reachability = parse_text(manager.get("Reachability") or "")
        return SwarmNode(
            id=parse_text(raw["ID"]),
            hostname=parse_text(description.get("Hostname") or ""),
            address=_find_address(parse_text(status.get("Addr") or ""), parse_text(manager.get("Addr") or "")),
            labels=parse_texts(spec.get("Labels")),
            engine_version=parse_text((description.get("Engine") or {}).get("EngineVersion") or ""),
            state=parse_text(status["State"]),
            availability=parse_text(spec.get("Availability") or "active"),
            role=parse_text(spec.get("Role") or "worker"),
            reachability="leader" if manager.get("Leader") else reachability,
        )


def _find_address(told: str, of_manager: str) -> str:
    """The IP of a node. Of a manager, older engines tell an unspecified one, and then the one that managers use."""
    try:
        is_usable = not ip_address(told).is_unspecified
    except ValueError:
        is_usable = bool(told)
    return told if is_usable or not of_manager else of_manager.rpartition(":")[0].strip("[]")


def parse_heartbeat(raw: Mapping[str, Any]) -> float:
    """Seconds between two signs of life that the managers expect of a node.

    Raises:
        EngineError: the answer has an unexpected shape.
    """
    with expect_shape("the swarm"):
        return int((raw["Spec"].get("Dispatcher") or {}).get("HeartbeatPeriod") or _HEARTBEAT) / _NANO
