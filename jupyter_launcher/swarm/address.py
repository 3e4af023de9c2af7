"""How this process reaches servers in a swarm: at the port of their node, or over an overlay network."""

from __future__ import annotations

from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.engine.types import ContainerInfo, ListedContainer
from jupyter_launcher.errors import OptionError
from jupyter_launcher.host.address import EngineAddress, has_address_in, is_in_container
from jupyter_launcher.models import Swarm
from jupyter_launcher.spec.checks import LOOPBACK, refuse_option
from jupyter_launcher.spec.container import DEFAULT_NETWORK, PORT_KEY
from jupyter_launcher.swarm.options import REFUSED_OPTIONS

__all__ = ["SwarmAddress"]

_OVERLAY = "overlay"
_PUBLISH_HINT = (
    'run the launcher in a container on Swarm(network="…"), an attachable overlay network, or give '
    'Swarm(publish="all"): then each server is published on all addresses of its node'
)


class SwarmAddress(EngineAddress):
    """Where the nodes of a swarm and their containers are, seen from this process.

    Which node a container comes to is the swarm's choice, so each path is one of a node, which this process does not
    look at, also where this process runs on a node itself.
    """

    has_nodes = True

    def __init__(self, engine: Engine, swarm: Swarm) -> None:
        super().__init__(engine)
        self._swarm = swarm

    @property
    def place(self) -> str:
        """Where a session's paths are, for a message."""
        return "a node of the swarm"

    @property
    def is_remote(self) -> bool:
        """Always: paths are paths on a node."""
        return True

    def find_own_container(self, *, again: bool = False) -> ContainerInfo | None:  # noqa: ARG002 - as the engine's
        """None: what is mounted in this process's container is no node's."""
        return None

    def choose_network(self, wanted: str | None) -> str:
        """The overlay network of a new session; without one it is on none.

        Raises:
            OptionError: another one was asked for than that of all sessions, or there is no such overlay network.
        """
        every = self._swarm.network
        if wanted is not None and every is not None and wanted != every:
            seen = f"is {wanted}, and every session of this launcher joins {every}"
            refuse_option("network", seen, "leave it out, or use a launcher with another Swarm(network=…)")
        name = wanted or every
        if name is None:
            return DEFAULT_NETWORK
        found = self._engine.network(name)
        if found is None or found.driver != _OVERLAY:
            seen = "which is no network of the swarm" if found is None else f"a {found.driver}, which is of one node"
            hint = "`docker network create --driver overlay --attachable NAME` makes one of the swarm; or leave it out"
            refuse_option("network", f"is {name}, {seen}", hint)
        return name

    def choose_publish_ip(self, given: str | None) -> str:
        """All addresses of the node, or none: loopback then, where nothing is published.

        Raises:
            OptionError: an address was given; or nothing is published, and this process is not on the network of all
                sessions, so it would reach none of them.
        """
        if given is not None:
            refuse_option("host_ip", "cannot be given in a swarm", REFUSED_OPTIONS["host_ip"])
        if self._swarm.publish is not None:
            return "0.0.0.0"  # noqa: S104 - a swarm publishes on all addresses, and the caller has said so
        if self._swarm.network is None or not self.reaches_network(self._swarm.network):
            network = self._swarm.network
            where = "Swarm(network=…) names no network" if network is None else f"it is in no container on {network}"
            msg = f"this launcher would not reach its sessions: no port is published, and {where}"
            raise OptionError(msg, hint=_PUBLISH_HINT, option="swarm")
        return LOOPBACK

    def reaches_network(self, name: str) -> bool:
        """Whether this process is in a container on an overlay network, on whichever node that is.

        True only where it is seen to: a container that has an address of the network's own.
        """
        if not is_in_container():
            return False
        found = self._look_at_network(name)
        return found is not None and found.driver == _OVERLAY and has_address_in(found.subnets)

    def reaches(self, info: ContainerInfo) -> bool:
        """Whether this process reaches a container's server: over an overlay network, or at a port of its node."""
        return bool(info.ports.get(PORT_KEY)) or any(map(self.reaches_network, info.networks))

    def find_port(self, info: ContainerInfo | ListedContainer, inside: str, host_ip: str) -> tuple[str, int]:
        """Where this process reaches a port: at its node where it is published, else over the overlay network."""
        if info.ports.get(inside):
            return self._find_published(info, inside, host_ip)
        address = next((ip for ip in info.networks.values() if ip), "")
        # Nothing answers at port 0: a container that does not run has no address.
        return (address, int(inside.partition("/")[0])) if address else (info.host or self.host, 0)

    def published_url(self, info: ContainerInfo | ListedContainer, host_ip: str, base_url: str = "/") -> str:
        """The server's port on its node; where none is published, as ``server_url``."""
        return self.server_url(info, host_ip, base_url)
