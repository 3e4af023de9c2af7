"""What an engine is and can do, asked once: ``EngineTraits``; and what one of its networks is: ``NetworkInfo``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any

from jupyter_launcher.engine.shapes import expect_shape, parse_text, parse_texts, parse_time

__all__ = ["EngineTraits", "ListedNetwork", "NetworkInfo"]

_NO = ("0", "f", "F", "false", "False", "FALSE")  # as the engine reads a boolean option


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTraits:
    """An engine, by its own information and version.

    None means unknown: the engine, or a proxy before it, refused to tell. ``name`` and ``version`` are then
    ``unknown``, and the engine is taken for Docker.

    Attributes:
        name: ``Docker``, ``Podman`` or ``unknown``.
        version: the engine's own version.
        api_version: the version of the API that is spoken with it.
        log_driver: the default logging driver, such as ``json-file``, or Podman's ``k8s-file``.
        runtime: the default runtime of containers, such as ``runc``.
        rootless: the engine runs without root, so uid 0 in a container is the engine's user.
        remapped: uids in containers are others on the host (``userns-remap``).
        desktop: the engine is Docker Desktop's, whose containers have a network of their own virtual machine.
        same_kernel: the engine's kernel is this process's, so that paths and IPs may mean the same here.
        limits_memory, limits_cpus, limits_pids: the engine enforces these limits.
        cgroup_version: ``1`` or ``2``.
        selinux: the engine gives its containers SELinux labels.
        debug: the engine's own log has what it is asked.
        cores: of the engine's host.
        data_root: where the engine keeps images and containers, on its host.
        node_id: the engine's, as a node of a swarm; empty: it is in none.
        manages_swarm: the engine is a manager of a swarm.
    """

    name: str = "unknown"
    version: str = "unknown"
    api_version: str = "unknown"
    log_driver: str | None = None
    runtime: str | None = None
    rootless: bool | None = None
    remapped: bool | None = None
    desktop: bool | None = None
    same_kernel: bool | None = None
    limits_memory: bool | None = None
    limits_cpus: bool | None = None
    limits_pids: bool | None = None
    cgroup_version: str | None = None
    selinux: bool | None = None
    debug: bool | None = None
    cores: int | None = None
    data_root: Path | None = None
    node_id: str | None = None
    manages_swarm: bool | None = None

    def __str__(self) -> str:
        return f"{self.name} {self.version} (API {self.api_version})"

    @property
    def is_podman(self) -> bool:
        """It speaks Podman's dialect of the API."""
        return self.name == "Podman"

    @property
    def makes_sources(self) -> bool:
        """It makes a directory, as root, where the source of a mount is missing; others refuse the container.

        Podman's ``pkg/api/handlers/compat/containers_create.go``.
        """
        return self.is_podman

    @classmethod
    def from_answers(
        cls, version: Mapping[str, Any] | None, info: Mapping[str, Any] | None, api_version: str
    ) -> EngineTraits:
        """Parse the engine's answers to ``version`` and ``info``; None where one was refused."""
        version, info = (answer if isinstance(answer, Mapping) else {} for answer in (version, info))
        options = _texts(info.get("SecurityOptions"))
        kernel = _text(info.get("KernelVersion")) or _text(version.get("KernelVersion"))
        data_root = _text(info.get("DockerRootDir"))
        swarm = info.get("Swarm")
        swarm = swarm if isinstance(swarm, Mapping) else {}
        rootless = _bool(info.get("Rootless"))  # Podman before version 5 says it only here
        return cls(
            name=_name(version),
            version=_text(version.get("Version")) or "unknown",
            api_version=api_version,
            log_driver=_text(info.get("LoggingDriver")),
            runtime=_text(info.get("DefaultRuntime")),
            rootless=None if options is None else bool(rootless) or _has(options, "rootless"),
            remapped=None if options is None else _has(options, "userns"),
            desktop=None if not info else info.get("OperatingSystem") == "Docker Desktop",
            same_kernel=None if kernel is None else kernel == os.uname().release,
            limits_memory=_bool(info.get("MemoryLimit")),
            limits_cpus=_bool(info.get("CpuCfsQuota")),
            limits_pids=_bool(info.get("PidsLimit")),
            cgroup_version=_text(info.get("CgroupVersion")),
            debug=_bool(info.get("Debug")),
            selinux=None if options is None else _has(options, "selinux"),
            cores=_count(info.get("NCPU")),
            data_root=None if data_root is None else Path(data_root),
            node_id=node_id if isinstance(node_id := swarm.get("NodeID"), str) else None,
            manages_swarm=_bool(swarm.get("ControlAvailable")),
        )

    def with_podman(self, answer: object) -> EngineTraits:
        """These traits, with what Podman's own information says in place of what it tells as Docker.

        To Docker's clients, Podman does not tell its logging driver, and calls limits enforced that are not.
        """
        host = answer.get("host") if isinstance(answer, Mapping) else None
        if not isinstance(host, Mapping):
            return self
        found = replace(self, log_driver=_text(host.get("logDriver")))
        controllers = _texts(host.get("cgroupControllers"))
        if controllers is None:
            return found
        return replace(
            found,
            limits_memory="memory" in controllers,
            limits_cpus="cpu" in controllers,
            limits_pids="pids" in controllers,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedNetwork:
    """A network as the engine lists it.

    Attributes:
        id, name, labels: of the network.
        created: seconds since the epoch, by the engine's clock.
    """

    id: str
    name: str
    labels: Mapping[str, str]
    created: float

    @classmethod
    def from_listing(cls, raw: Mapping[str, Any]) -> ListedNetwork:
        """Parse one item of the engine's list.

        Raises:
            EngineError: it has an unexpected shape.
        """
        with expect_shape("a listed network"):
            return cls(
                id=parse_text(raw["Id"]),
                name=parse_text(raw["Name"]),
                labels=parse_texts(raw.get("Labels")),
                created=parse_time(parse_text(raw["Created"])),
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkInfo:
    """A network of the engine.

    Attributes:
        driver: such as ``bridge``.
        subnets: in which its containers have their IPs; empty where the engine does not choose these.
        allows_icc: its containers may speak to each other; False where the option ``enable_icc`` is off.
        attachable: a plain container may join it, where it is an overlay of a swarm.
    """

    driver: str
    subnets: tuple[IPv4Network | IPv6Network, ...]
    allows_icc: bool = True
    attachable: bool = False

    def has_ip(self, host: str) -> bool:
        """Whether the host of a URL is an IP of this network."""
        try:
            ip = ip_address(host)
        except ValueError:  # a name, or none
            return False
        return any(ip in subnet for subnet in self.subnets)

    @classmethod
    def from_inspect(cls, raw: Mapping[str, Any]) -> NetworkInfo:
        """Parse the engine's answer to an inspect of a network.

        Raises:
            EngineError: it has an unexpected shape.
        """
        with expect_shape("a network"):
            pools = (raw.get("IPAM") or {}).get("Config") or ()
            texts = [parse_text(pool["Subnet"]) for pool in pools if pool.get("Subnet")]
            options = parse_texts(raw.get("Options"))
            return cls(
                driver=parse_text(raw["Driver"]),
                subnets=tuple(ip_network(text, strict=False) for text in texts),
                allows_icc=options.get("com.docker.network.bridge.enable_icc") not in _NO,
                attachable=raw.get("Attachable") is True,
            )


def _name(version: Mapping[str, Any]) -> str:
    if not version:
        return "unknown"
    parts = version.get("Components")
    names = [_text(part.get("Name")) for part in parts if isinstance(part, Mapping)] if isinstance(parts, list) else []
    return "Podman" if any(name is not None and name.startswith("Podman") for name in names) else "Docker"


def _has(options: list[str], name: str) -> bool:
    return any(option.partition(",")[0] == f"name={name}" for option in options)


def _texts(value: object) -> list[str] | None:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value and "\0" not in value else None


def _bool(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
