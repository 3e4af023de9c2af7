"""A gateway's name, id or URL → :class:`Gateway`, before anything is created."""

from __future__ import annotations

from urllib.parse import urlsplit

from jupyter_launcher.container import KERNEL_MARK
from jupyter_launcher.deadline import Deadline
from jupyter_launcher.engine import Engine
from jupyter_launcher.engine_types import ContainerInfo
from jupyter_launcher.errors import (
    AmbiguousNetworkError,
    ExecError,
    GatewayError,
    GatewayNotFoundError,
    GatewayNotRunningError,
)
from jupyter_launcher.models import Gateway
from jupyter_launcher.spec import SERVER_PORT

__all__ = ["marked_kernels", "resolve"]

# Its own argv holds the mark, its environment does not.
_FIND_KERNELS = """
for file in $(grep -lzxF "$1" /proc/[0-9]*/environ 2>/dev/null); do
  tr '\\0' '\\n' <"$file" 2>/dev/null | sed -n 's/^KERNEL_ID=//p'
done | sort -u
"""


def resolve(engine: Engine, gateway: str, network: str | None = None) -> Gateway:
    """Find the address at which a server's container will reach the gateway.

    ``gateway`` is an http(s) URL, taken as it is, or a container's name or id, optionally with
    ``:port`` (8888 otherwise): its IP on ``network``, or on the one network that it is on.

    Raises:
        GatewayError: no usable URL, or no network that a server could share.
        GatewayNotFoundError: no such container.
        GatewayNotRunningError: it is there, but does not run.
        AmbiguousNetworkError: it is on several networks and ``network`` is None.
    """
    if "://" in gateway or not gateway.strip():
        return Gateway(name=gateway, url=_url(gateway), network=network)
    name, port = _split(gateway)
    info = engine.inspect(name)
    if info is None:
        msg = f"there is no container {name!r} for the gateway; `docker ps -a` lists them, or give the gateway's URL"
        raise GatewayNotFoundError(msg, gateway=gateway)
    if info.state != "running":
        msg = (
            f"the gateway's container {name} is {info.state} (exit code {info.exit_code}); `docker start {name}` first"
        )
        raise GatewayNotRunningError(msg, gateway=gateway, state=info.state, exit_code=info.exit_code)
    chosen = _network(info, gateway, network)
    address = info.networks[chosen]
    host = f"[{address}]" if ":" in address else address
    return Gateway(name=gateway, url=f"http://{host}:{port}", container_id=info.id, network=chosen)


def marked_kernels(engine: Engine, container_id: str, attempt: str, deadline: Deadline) -> tuple[str, ...]:
    """Ids of the kernels that a session started and that run in the gateway's container.

    Found by the mark in their environment, so a kernel whose start nobody waited for is found too.
    Empty where they can't be seen: the container is gone, or the kernels run elsewhere.
    """
    line = ("sh", "-c", _FIND_KERNELS, "find", f"{KERNEL_MARK}={attempt}")
    try:
        return tuple(engine.exec(container_id, line, deadline).stdout.split())
    except ExecError:
        return ()


def _url(gateway: str) -> str:
    parts = urlsplit(gateway)
    try:
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        msg = f"gateway {gateway!r} is no http(s) URL; give http://HOST:PORT, or a container's name or id"
        raise GatewayError(msg, gateway=gateway)
    if parts.username is not None or parts.password is not None:
        # --gateway-url is seen in the server's argv.
        msg = (
            "the gateway's URL holds a user or a password, which everyone could read; give a token in the "
            "environment: JUPYTER_GATEWAY_AUTH_TOKEN"
        )
        raise GatewayError(msg, gateway=f"{parts.scheme}://{parts.hostname}")
    return gateway


def _split(gateway: str) -> tuple[str, int]:
    name, colon, port = gateway.partition(":")
    if not colon:
        return name, SERVER_PORT
    if not name or not port.isdigit() or not 0 < int(port) < 65536:
        msg = f"gateway {gateway!r} is neither NAME, NAME:PORT nor a URL; give one of these"
        raise GatewayError(msg, gateway=gateway)
    return name, int(port)


def _network(info: ContainerInfo, gateway: str, network: str | None) -> str:
    if info.network_mode == "host":
        msg = (
            f"the gateway's container {info.name} is on the host's network, where it has no IP of its own; give its "
            "URL as containers see the host (e.g. http://172.17.0.1:8888), or run it on a bridge network"
        )
        raise GatewayError(msg, gateway=gateway)
    names = tuple(sorted(name for name, address in info.networks.items() if address))
    if network is not None and network not in names:
        msg = (
            f"the gateway's container {info.name} is not on network {network!r} but on {', '.join(names) or 'none'}; "
            f"`docker network connect {network} {info.name}`, or name another network"
        )
        raise GatewayError(msg, gateway=gateway)
    if network is not None:
        return network
    if not names:
        msg = f"the gateway's container {info.name} is on no network; `docker network connect bridge {info.name}`"
        raise GatewayError(msg, gateway=gateway)
    if len(names) > 1:
        found = ", ".join(names)
        msg = f"the gateway's container {info.name} is on several networks ({found}); give network= one of them"
        raise AmbiguousNetworkError(msg, gateway=gateway, networks=names)
    return names[0]
