"""Docker Swarm as callers describe it: which nodes, how their engines are reached, and how sessions are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Swarm", "SwarmNode"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SwarmNode:
    """A node, as the manager tells of it.

    Attributes:
        id: of the node in the swarm.
        hostname: as its engine says it.
        address: the IP address at which the manager knows it.
        labels: those that were set through a manager. What an engine says of itself is not among them.
        engine_version: of its engine.
        state: the manager's word: ``ready``, ``down``, ``unknown`` or ``disconnected``.
        availability: ``active``, ``pause`` or ``drain``; only an active node gets sessions.
        role: ``manager`` or ``worker``.
        reachability: of a manager: ``leader``, ``reachable`` or ``unreachable``; empty for a worker.
    """

    id: str
    hostname: str
    address: str
    labels: Mapping[str, str] = field(default_factory=dict)
    engine_version: str = ""
    state: str = "ready"
    availability: str = "active"
    role: str = "worker"
    reachability: str = ""

    @property
    def is_ready(self) -> bool:
        """The manager hears of it, so its engine may be asked."""
        return self.state == "ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class Swarm:
    """Sessions are services of a Docker swarm; the launcher's own engine is one of its managers.

    Attributes:
        engines: the addresses of the nodes' own engines, as ``docker_host`` takes them: a mapping from the node's
            hostname, or a function of a :class:`SwarmNode`. A node that they do not name, and every node with None: the
            manager's own connection where it is the manager itself, else the node's label
            ``jupyter-launcher.docker-host``, else the manager's scheme and port with the node's address.
        constraints: for every session, as ``docker service create --constraint`` takes them, such as
            ``node.labels.pipelines==yes``.
        network: an attachable overlay network that every session joins. With ``publish=None``, servers are reached over
            it, so the launcher itself must be in a container on it.
        publish: ``"all"``: the server's port is published on all addresses of the node that it runs on, since a swarm
            publishes on no single one. None: it is not published.
        weaker: also use nodes whose engine cannot give a service ``no-new-privileges`` (before API 1.44, which is
            Docker 25). The server is then started by ``setpriv --no-new-privs`` where the image has it. An event says
            so.
    """

    engines: Mapping[str, str] | Callable[[SwarmNode], str | None] | None = None
    constraints: tuple[str, ...] = ()
    network: str | None = None
    publish: Literal["all"] | None = None
    weaker: bool = False
