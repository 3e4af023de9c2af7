"""From where this process sees the engine: on its host, in one of its containers, or on another host.

An orchestrator often runs in a container itself, with the engine's socket mounted: then servers are
reached over a network that it shares with them.
"""

from __future__ import annotations

import socket
from ipaddress import ip_address

from jupyter_launcher import container
from jupyter_launcher.engine import Engine
from jupyter_launcher.engine_types import ContainerInfo, ListedContainer
from jupyter_launcher.errors import EngineUnavailableError, OptionError
from jupyter_launcher.spec import SERVER_PORT

__all__ = ["bracketed", "host_url", "is_elsewhere", "network", "publish_ip", "url"]

_LOOPBACK = "127.0.0.1"


def is_elsewhere(engine: Engine) -> bool:
    """Whether the engine is on another host: paths are paths there, and so are published ports."""
    return engine.is_elsewhere and engine.own_container() is None


def network(engine: Engine, wanted: str | None) -> str:
    """The network for a new container: the one that is wanted, else one that this process reaches.

    Raises:
        OptionError: this process runs in a container that is not on it.
    """
    own = _beside(engine, again=True)
    if own is None:
        return wanted or container.DEFAULT_NETWORK
    reached = sorted(own.networks, key=lambda name: (name != container.DEFAULT_NETWORK, name))
    if (wanted in reached) if wanted else reached:
        return wanted or reached[0]
    target = wanted or container.DEFAULT_NETWORK
    msg = (
        f"this launcher runs in container {own.name} on {', '.join(reached) or 'no network'}, and would not reach a "
        f"server on {target}; `docker network connect {target} {own.name}`, or name another network"
    )
    raise OptionError(msg, option="network")


def publish_ip(engine: Engine, given: str | None) -> str:
    """Where to publish: loopback; for an engine on another host the address at which that is reached.

    Raises:
        OptionError: loopback was given for an engine on another host: nobody here would reach it.
        EngineUnavailableError: the engine's host has no address.
    """
    if not is_elsewhere(engine):
        return given or _LOOPBACK
    if given is None:
        try:
            return str(socket.getaddrinfo(engine.host, None)[0][4][0])
        except OSError as error:
            msg = f"the engine's host {engine.host} has no address: {error}; give host_ip="
            raise EngineUnavailableError(msg, endpoint=engine.endpoint) from error
    try:
        loopback = ip_address(given).is_loopback
    except ValueError:
        return given  # told where options are checked
    if loopback:
        msg = (
            f"host_ip is {given!r}, the loopback of the engine's host {engine.host}, which this host does not reach; "
            "give an address of that host, or leave it out"
        )
        raise OptionError(msg, option="host_ip")
    return given


def url(engine: Engine, info: ContainerInfo | ListedContainer) -> str:
    """The server as this process reaches it: over a shared network from a container, else published."""
    own = _beside(engine)
    shared = "" if own is None else next((ip for name, ip in info.networks.items() if ip and name in own.networks), "")
    if shared:
        return f"http://{bracketed(shared)}:{SERVER_PORT}{info.labels.get(container.BASE_URL, '/')}"
    return host_url(engine, info)


def host_url(engine: Engine, info: ContainerInfo | ListedContainer) -> str:
    """The server's published port, as the engine's host (or who reaches that) opens it."""
    host = ip_address(info.labels.get(container.HOST_IP, _LOOPBACK))
    if host.is_loopback or host.is_unspecified:
        shown = engine.host if is_elsewhere(engine) else _LOOPBACK
    else:
        shown = str(host)
    port = next(iter(info.ports.get(container.PORT_KEY, ())), 0)
    return f"http://{bracketed(shown)}:{port}{info.labels.get(container.BASE_URL, '/')}"


def bracketed(address: str) -> str:
    """An address as a URL has it."""
    return f"[{address}]" if ":" in address else address


def _beside(engine: Engine, *, again: bool = False) -> ContainerInfo | None:
    """The container of this process, unless it has the network of the engine's host."""
    own = engine.own_container(again=again)
    return None if own is None or own.network_mode == "host" else own
