"""What the engine says of containers, parsed once. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ContainerInfo", "EngineVersion", "ExecResult", "ListedContainer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerInfo:
    """A container at the moment of one inspect.

    ``networks`` maps a network's name to the container's IP there, ``""`` when it is not running.
    ``ports`` maps a container port such as ``8888/tcp`` to the published host ports. ``mounts`` maps a
    path in the container to the path on the engine's host that is mounted there.
    ``environment`` may hold secrets of whoever made the container.
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
        """The main process is alive (a paused one is, too)."""
        return self.state in ("running", "paused", "restarting")

    @classmethod
    def from_inspect(cls, raw: Mapping[str, Any]) -> ContainerInfo:
        """Parse the engine's answer to an inspect."""
        state, settings = raw["State"], raw["NetworkSettings"]
        return cls(
            id=raw["Id"],
            name=raw["Name"].lstrip("/"),
            labels=raw["Config"].get("Labels") or {},
            state=state["Status"],
            exit_code=state.get("ExitCode", 0),
            oom_killed=state.get("OOMKilled", False),
            error=state.get("Error", ""),
            image=raw["Config"]["Image"],
            network_mode=raw["HostConfig"].get("NetworkMode", ""),
            networks=_addresses(settings),
            ports={
                port: tuple(int(binding["HostPort"]) for binding in bindings or () if binding.get("HostPort"))
                for port, bindings in (settings.get("Ports") or {}).items()
            },
            mounts={item["Destination"]: item["Source"] for item in raw.get("Mounts") or () if item.get("Source")},
            environment=dict(item.partition("=")[::2] for item in raw["Config"].get("Env") or ()),
        )


def _addresses(settings: Mapping[str, Any]) -> dict[str, str]:
    networks = settings.get("Networks") or {}
    return {name: (network or {}).get("IPAddress", "") for name, network in networks.items()}


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
        """Of a container that ended. The list has it in its words for people alone."""
        found = re.match(r"Exited \((\d+)\)", self.status)
        return int(found[1]) if found else None

    @classmethod
    def from_listing(cls, raw: Mapping[str, Any]) -> ListedContainer:
        """Parse one item of the engine's list."""
        return cls(
            id=raw["Id"],
            name=raw["Names"][0].lstrip("/"),
            image=raw["Image"],
            labels=raw.get("Labels") or {},
            created=float(raw["Created"]),
            state=raw["State"],
            status=raw["Status"],
            networks=_addresses(raw.get("NetworkSettings") or {}),
            ports={
                f"{port['PrivatePort']}/{port['Type']}": (int(port["PublicPort"]),)
                for port in raw.get("Ports") or ()
                if port.get("PublicPort")
            },
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecResult:
    """What a command in a container printed. Its bytes are decoded, bad ones replaced."""

    exit_code: int | None
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineVersion:
    """What the engine is: ``name`` as people call it, and the API version that is spoken with it."""

    name: str
    version: str
    api_version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version} (API {self.api_version})"

    @classmethod
    def from_version(cls, raw: Mapping[str, Any], api_version: str) -> EngineVersion:
        """Parse the engine's answer to the question for its version."""
        components = [str(item.get("Name", "")) for item in raw.get("Components") or ()]
        name = "Podman" if any(item.startswith("Podman") for item in components) else "Docker"
        return cls(name=name, version=str(raw["Version"]), api_version=api_version)
