"""A gateway in a swarm: the name of a service, or a URL → :class:`Gateway`."""

from __future__ import annotations

from urllib.parse import urlsplit

from jupyter_launcher.engine.protocol import NodesEngine
from jupyter_launcher.engine.types import ContainerInfo
from jupyter_launcher.errors import (
    AmbiguousNetworkError,
    GatewayError,
    GatewayNotFoundError,
    GatewayNotRunningError,
    OptionError,
)
from jupyter_launcher.gateway.find import CONTAINER_NAME, check_url, split_port
from jupyter_launcher.models import Gateway
from jupyter_launcher.spec.checks import check_text

__all__ = ["resolve_service"]

_INGRESS = "ingress"
"""The swarm's own network, for ports that it publishes on all nodes. No session joins it."""
_AS_SERVICE = "run the gateway as a service on the sessions' overlay network, and give its name"


def resolve_service(engine: NodesEngine, gateway: str, network: str | None = None) -> Gateway:
    """Find the address at which a session in a swarm will reach its gateway.

    Args:
        engine: the swarm's.
        gateway: a service's name or id, optionally with ``:port`` (8888 otherwise), which the session reaches by its
            name; or an http(s) URL, which is taken as it is.
        network: the overlay network that the session joins; None: the only one that the service is on.

    Raises:
        OptionError: no text, or a container of one node, which sessions on other nodes do not reach.
        GatewayError: no usable URL, or the service is on no overlay network that a session could share.
        GatewayNotFoundError: no such service.
        GatewayNotRunningError: no task of the service runs.
        AmbiguousNetworkError: it is on several networks, and ``network`` is None.
        EngineError: the manager does not answer.
    """
    check_text(gateway, "gateway")
    if "://" in gateway or not gateway.strip():
        url = check_url(gateway)
        host = urlsplit(url).hostname or ""
        service = engine.service(host) if CONTAINER_NAME.fullmatch(host) else None
        return Gateway(name=gateway, url=url, container_id=service, network=network)
    name, port = split_port(gateway)
    service = engine.service(name)
    if service is None:
        raise _describe_missing(engine, name, gateway)
    info = engine.inspect(service)
    if info is None or info.state != "running":
        seen = "has no task" if info is None else f"is {info.state}{f' ({info.error})' if info.error else ''}"
        hint = f"`docker service ps {name}` tells why"
        state = "gone" if info is None else info.state
        msg = f"the gateway's service {name} {seen}"
        raise GatewayNotRunningError(msg, hint=hint, gateway=gateway, state=state)
    chosen = _choose_network(info, gateway, network)
    # A session keeps the service, wherever a new task of it comes to run.
    host = info.name if name == service else name
    return Gateway(name=gateway, url=f"http://{host}:{port}", container_id=service, network=chosen)


def _describe_missing(engine: NodesEngine, name: str, gateway: str) -> GatewayNotFoundError | OptionError:
    if engine.inspect(name) is not None:
        msg = f"gateway {name} is a container of one node, and sessions on other nodes would not reach it"
        return OptionError(msg, hint=_AS_SERVICE, option="gateway")
    msg = f"the swarm has no service {name!r} for the gateway"
    hint = f"`docker service ls` lists the services; {_AS_SERVICE}, or give the gateway's URL"
    return GatewayNotFoundError(msg, hint=hint, gateway=gateway)


def _choose_network(info: ContainerInfo, gateway: str, network: str | None) -> str:
    names = tuple(sorted(name for name, address in info.networks.items() if address and name != _INGRESS))
    if network is not None and network in names:
        return network
    if network is not None or not names:
        wanted = "an overlay network" if network is None else f"network {network!r}"
        msg = f"the gateway's service {info.name} is not on {wanted}; it is on {', '.join(names) or 'none'}"
        hint = f"`docker service update --network-add {network or 'NETWORK'} {info.name}`"
        raise GatewayError(msg, hint=hint, gateway=gateway)
    if len(names) > 1:
        msg = f"the gateway's service {info.name} is on several networks ({', '.join(names)})"
        raise AmbiguousNetworkError(msg, hint="give network= one of them", gateway=gateway, networks=names)
    return names[0]
