"""How this process reaches an engine's containers: from the engine's host, from inside a container, or remotely.

An orchestrator often runs in a container itself, with the engine's socket mounted: then it reaches servers
over a network that both containers are on.
"""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from urllib.parse import urlsplit

from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.engine.traits import NetworkInfo
from jupyter_launcher.engine.types import ContainerInfo, ListedContainer
from jupyter_launcher.errors import EngineError, EngineUnavailableError, OptionError
from jupyter_launcher.host.mountinfo import read_mountinfo
from jupyter_launcher.spec.checks import LOOPBACK, SERVER_PORT
from jupyter_launcher.spec.container import DEFAULT_NETWORK, PORT_KEY
from jupyter_launcher.spec.kernels.found import Seen
from jupyter_launcher.waiting import Deadline, call_within

__all__ = ["EngineAddress", "bracket", "has_address_in", "is_in_container"]

_NAME_SECONDS = 10.0
_OWN_ID = re.compile(r"/([0-9a-f]{64})/\S* /etc/(?:hostname|hosts|resolv\.conf) ")


def bracket(address: str) -> str:
    """An IP address as a URL has it: IPv6 in brackets."""
    return f"[{address}]" if ":" in address else address


class EngineAddress:
    """Where one engine and its containers are, seen from this process.

    Attributes:
        ids_inside: for the uid and the gid of an owner, as this process sees them, those that containers see.
        kernels_seen: for each look into an image of kernels, what was seen.
        has_nodes: the containers are on several hosts, and nobody knows before on which a new one will be.
    """

    has_nodes = False

    def __init__(self, engine: Engine) -> None:
        self.ids_inside: dict[tuple[int, int], tuple[int, int]] = {}
        self.kernels_seen: dict[object, Seen] = {}
        self._engine = engine
        self._own_container: ContainerInfo | None = None
        self._is_asked = False

    @property
    def socket_path(self) -> Path | None:
        """The engine's socket on this host, if the engine is reached over one."""
        parts = urlsplit(self._engine.endpoint)
        return Path(parts.path) if parts.scheme in ("unix", "http+unix") and parts.path else None

    @property
    def is_over_ssh(self) -> bool:
        """Whether the engine is reached over a tunnel, which has a socket on this host."""
        return urlsplit(self._engine.endpoint).scheme == "ssh"

    @property
    def host(self) -> str:
        """Where a port that the engine publishes on its loopback or on every address is reached."""
        parts = urlsplit(self._engine.endpoint)
        return parts.hostname if parts.scheme in ("tcp", "http", "https", "ssh") and parts.hostname else LOOPBACK

    @property
    def place(self) -> str:
        """Where the engine's paths are, for a message."""
        return f"the engine's host {self.host}"

    @property
    def is_remote(self) -> bool:
        """Whether the engine is on another machine: paths are paths there, and so are published ports."""
        return self.host not in (LOOPBACK, "::1", "localhost") and self.find_own_container() is None

    @property
    def shares_kernel(self) -> bool:
        """Whether the engine's containers see the devices and inodes that this process sees."""
        return not self.is_remote and self._engine.traits.same_kernel is not False

    def find_own_container(self, *, again: bool = False) -> ContainerInfo | None:
        """The container that this process runs in, if it is one of this engine's.

        The id is read from the bind mounts of /etc/hostname and /etc/hosts and confirmed by an inspect on this
        engine. Cached; ``again`` asks once more.
        """
        if again or not self._is_asked:
            found = _OWN_ID.search(read_mountinfo())
            self._own_container = None if found is None else self._engine.inspect(found[1])
            self._is_asked = True
        return self._own_container

    def find_here(self, path: Path) -> Path | None:
        """A path of the engine's host, as this process sees it; None where it does not, or cannot tell."""
        return self.find_seen(path) if self.shares_kernel else None

    def find_seen(self, path: Path) -> Path | None:
        """As ``find_here``, also where the engine has a kernel of its own.

        The virtual machine of such an engine shows folders of this machine, at their own paths.
        """
        if self.is_remote:
            return None
        own = self.find_own_container()
        if own is None:
            return path
        for target, source in sorted(own.mounts.items(), key=lambda item: len(item[1]), reverse=True):
            if path.is_relative_to(source):
                here = Path(target) / path.relative_to(source)
                if _find_mount(here, own.mounts) == target:  # else another mount lies over it
                    return here
        return None

    def find_on_host(self, path: Path) -> Path | None:
        """A path of this process, as the engine's host sees it; None where it is in this process's own container."""
        own = self.find_own_container()
        if own is None:
            return path
        target = _find_mount(path, own.mounts)
        return None if target is None else Path(own.mounts[target]) / path.relative_to(target)

    def choose_network(self, wanted: str | None) -> str:
        """The network for a new container: the wanted one, else one that this process reaches.

        Raises:
            OptionError: this process runs in a container that is not on it.
        """
        own = self._networked_container(again=True)
        if own is None:
            return wanted or DEFAULT_NETWORK
        reached = sorted(own.networks, key=lambda name: (name != DEFAULT_NETWORK, name))
        if (wanted in reached) if wanted else reached:
            return wanted or reached[0]
        target = wanted or DEFAULT_NETWORK
        msg = (
            f"this launcher runs in container {own.name} on {', '.join(reached) or 'no network'}, and would not reach "
            f"a server on {target}"
        )
        hint = f"`docker network connect {target} {own.name}`, or name another network"
        raise OptionError(msg, hint=hint, option="network")

    def choose_publish_ip(self, given: str | None) -> str:
        """Where to publish: loopback; with a remote engine the address at which its host is reached.

        Raises:
            OptionError: loopback was given for a remote engine: this process would not reach it.
            EngineUnavailableError: the name of the engine's host has no address.
        """
        if not self.is_remote:
            return given or LOOPBACK
        if given is None:
            try:
                found = call_within(Deadline(_NAME_SECONDS), lambda: socket.getaddrinfo(self.host, None))
                return str(found[0][4][0])
            except OSError as error:
                msg = f"the engine's host {self.host} has no address: {error}"
                raise EngineUnavailableError(msg, hint="give host_ip=", endpoint=self._engine.endpoint) from error
        try:
            loopback = ip_address(given).is_loopback
        except ValueError:
            return given  # refused where options are checked
        if loopback:
            msg = f"host_ip is {given!r}, the loopback of the engine's host {self.host}, which this host does not reach"
            raise OptionError(msg, hint="give an address of that host, or leave host_ip out", option="host_ip")
        return given

    def reaches_network(self, name: str) -> bool:
        """Whether this process reaches the IPs of containers on a network, so that nothing need be published.

        True only where it is seen to. The bridges of an engine that is remote, rootless or in a virtual machine are
        not this host's, and an IP there may be another container's here. The bridge of a local engine gives this host
        an address in the network's subnet.
        """
        own = self._networked_container()
        if own is not None:
            return name in own.networks
        traits = self._engine.traits
        is_here = (traits.rootless, traits.desktop, traits.same_kernel) == (False, False, True)
        if self.is_remote or not is_here:
            return False
        found = self._look_at_network(name)
        if found is None or found.driver != "bridge":
            return False
        # Podman makes a bridge with the first container on it.
        return (traits.is_podman and bool(_of_version_4(found.subnets))) or has_address_in(found.subnets)

    def is_hidden_ip(self, host: str, networks: Iterable[str]) -> bool:
        """Whether a host in a URL is an IP of a container on one of these networks, which is not reached from here."""
        for name in networks:
            found = self._look_at_network(name)
            if found is not None and found.has_ip(host):
                return not self.reaches_network(name)
        return False

    def _look_at_network(self, name: str) -> NetworkInfo | None:
        """A network; None where there is none, or where a proxy before the engine lets nobody look."""
        with contextlib.suppress(EngineError):
            return self._engine.network(name)
        return None

    def bridge_url(self, info: ContainerInfo, base_url: str = "/") -> str | None:
        """The server at its container's own IP; None where it has none."""
        found = self._shared_ip(info) or next((ip for ip in info.networks.values() if ip), "")
        return f"http://{bracket(found)}:{SERVER_PORT}{base_url}" if found else None

    def reaches(self, info: ContainerInfo) -> bool:
        """Whether this process reaches a container's server: over a shared network, or a published port."""
        return bool(self._shared_ip(info) or info.ports.get(PORT_KEY))

    def server_url(self, info: ContainerInfo | ListedContainer, host_ip: str, base_url: str = "/") -> str:
        """The server as this process reaches it: from a container over a shared network, else published."""
        host, port = self.find_port(info, PORT_KEY, host_ip)
        return f"http://{bracket(host)}:{port}{base_url}"

    def find_port(self, info: ContainerInfo | ListedContainer, inside: str, host_ip: str) -> tuple[str, int]:
        """Where this process reaches a published port such as ``8888/tcp``: an address, and the port there."""
        shared = self._shared_ip(info)
        return (shared, int(inside.partition("/")[0])) if shared else self._find_published(info, inside, host_ip)

    def published_url(self, info: ContainerInfo | ListedContainer, host_ip: str, base_url: str = "/") -> str:
        """The server's published port, as a process on the engine's host (or one that reaches it) opens it."""
        host, port = self._find_published(info, PORT_KEY, host_ip)
        return f"http://{bracket(host)}:{port}{base_url}"

    def _find_published(self, info: ContainerInfo | ListedContainer, inside: str, host_ip: str) -> tuple[str, int]:
        published = ip_address(host_ip)
        shown = str(published)
        if info.host:  # a swarm's node, which publishes on all of its addresses
            shown = info.host
        elif self.is_remote and (published.is_loopback or published.is_unspecified):
            shown = self.host
        elif published.is_unspecified:
            shown = LOOPBACK if published.version == 4 else "::1"
        return shown, _choose_port(info, inside, str(published))

    def _shared_ip(self, info: ContainerInfo | ListedContainer) -> str:
        """A container's IP on a network that this process's own container is on; empty where there is none."""
        own = self._networked_container()
        return (
            "" if own is None else next((ip for name, ip in info.networks.items() if ip and name in own.networks), "")
        )

    def _networked_container(self, *, again: bool = False) -> ContainerInfo | None:
        """The container that this process runs in, or None if it uses the host's network."""
        own = self.find_own_container(again=again)
        return None if own is None or own.network_mode == "host" else own


def is_in_container() -> bool:
    """Whether this process runs in a container of an engine, whichever engine that is."""
    return _OWN_ID.search(read_mountinfo()) is not None


def has_address_in(subnets: Iterable[IPv4Network | IPv6Network]) -> bool:
    """Whether this host has an address in one of these subnets. Containers are known by their IPv4 addresses."""
    return any(map(_has_address_in, _of_version_4(subnets)))


def _of_version_4(subnets: Iterable[IPv4Network | IPv6Network]) -> list[IPv4Network]:
    return [item for item in subnets if isinstance(item, IPv4Network)]


def _has_address_in(subnet: IPv4Network) -> bool:
    """Whether this host has an address in a subnet, as its own routes say. Nothing is sent."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((str(subnet[min(1, subnet.num_addresses - 1)]), 9))
            return ip_address(probe.getsockname()[0]) in subnet
    except OSError:  # no way leads there
        return False


def _choose_port(info: ContainerInfo | ListedContainer, inside: str, host_ip: str) -> int:
    """The published port at an address of the host; an engine may have another one for each address family."""
    bindings = info.bindings.get(inside, {})
    wanted = (host_ip, "") if host_ip == "0.0.0.0" else (host_ip,)  # noqa: S104 - some engines leave it empty
    found = next((bindings[address] for address in wanted if address in bindings), None)
    return found or next(iter(info.ports.get(inside, ())), 0)


def _find_mount(path: Path, targets: Iterable[str]) -> str | None:
    """The mount of a container in which a path of the container lies."""
    return next((target for target in sorted(targets, key=len, reverse=True) if path.is_relative_to(target)), None)
