"""A gateway's name, id or URL → :class:`Gateway`, with the token of one of ours."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection
from dataclasses import replace
from urllib.parse import urlsplit

from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.engine.types import ContainerInfo, ListedContainer
from jupyter_launcher.errors import (
    AmbiguousNetworkError,
    EngineError,
    ExecError,
    GatewayError,
    GatewayNotFoundError,
    GatewayNotRunningError,
    GatewayUnreachableError,
)
from jupyter_launcher.host.address import bracket
from jupyter_launcher.models import Gateway
from jupyter_launcher.spec.checks import SERVER_PORT, check_text
from jupyter_launcher.spec.container import DEFAULT_NETWORK
from jupyter_launcher.spec.labels import ToolLabels, gateway_filter, is_gateway
from jupyter_launcher.spec.server import RUN_DIR, read_script
from jupyter_launcher.waiting import Deadline, NotYetError, attempts

__all__ = [
    "CONTAINER_NAME",
    "check_url",
    "find_container",
    "find_token",
    "read_token",
    "resolve_gateway",
    "split_port",
]

_TOKEN_SECONDS = 15.0
_TOKEN = re.compile(r"[0-9a-f]{64}")
_OUTPUT_LIMIT = 1024
CONTAINER_NAME = re.compile(r"(?![0-9.]+$)[a-z0-9][a-z0-9_.-]*")
"""A container as the host of a URL: in small letters, and no IP."""
_MOST_LOOKS = 100


def resolve_gateway(
    engine: Engine, gateway: str, network: str | None = None, *, seconds: float = _TOKEN_SECONDS
) -> Gateway:
    """Find the address at which a server's container will reach the gateway.

    ``gateway`` is an http(s) URL, taken as it is, or a container's name or id, optionally with
    ``:port`` (8888 otherwise): its IP on ``network``, or on the only network that it is on. The token of one that
    ``run_gateway`` runs is read in its container, within ``seconds``, at most 15. A URL leads to such a one where its
    host is the container's name or IP; what it is by an alias of a network, or by a published port, is not known. Where
    the host is the name of any container, the server joins that container's network.

    Raises:
        OptionError: no text.
        GatewayError: no usable URL, or no network that a server could share. A URL that may hold a secret is not
            shown.
        GatewayNotFoundError: no such container.
        GatewayNotRunningError: the container exists, but does not run.
        GatewayUnreachableError: its labels say that it is one of ours, and its token cannot be read.
        AmbiguousNetworkError: it is on several networks and ``network`` is None.
    """
    check_text(gateway, "gateway")
    if "://" in gateway or not gateway.strip():
        return _resolve_url(engine, gateway, network, seconds)
    name, port = split_port(gateway)
    info = engine.inspect(name)
    if info is None:
        msg = f"there is no container {name!r} for the gateway"
        hint = "`docker ps -a` lists the containers; or give the gateway's URL"
        raise GatewayNotFoundError(msg, hint=hint, gateway=gateway)
    if info.state != "running":
        raise _describe_not_running(info, name, gateway)
    chosen = _choose_network(info, gateway, network)
    url = f"http://{bracket(info.networks[chosen])}:{port}"
    return _with_token(engine, info, Gateway(name=gateway, url=url, container_id=info.id, network=chosen), seconds)


def _resolve_url(engine: Engine, gateway: str, network: str | None, seconds: float) -> Gateway:
    """A URL as it is; where it leads to a gateway of ours, with its network and token."""
    found = Gateway(name=gateway, url=check_url(gateway), network=network)
    ours = _find_ours(engine, found.url, None if network is None else (network,))
    if ours is not None:
        info, joined = ours
        return _with_token(engine, info, replace(found, network=joined), seconds)
    return found if network is not None else _join_network(engine, found)


def _join_network(engine: Engine, gateway: Gateway) -> Gateway:
    """A gateway that was named by a URL, with the network on which its host is a container's name.

    On the default bridge, no container is known by its name, so there the URL gets the container's IP.
    """
    host = urlsplit(gateway.url).hostname or ""
    info = engine.inspect(host) if CONTAINER_NAME.fullmatch(host) else None
    if info is None or info.name != host or not info.running or info.network_mode == "host":
        return gateway
    network = _choose_network(info, gateway.name, None)
    url = gateway.url
    if network == DEFAULT_NETWORK and url.startswith("http://"):
        url = url.replace(host, info.networks[network], 1)
    return replace(gateway, url=url, network=network)


def find_container(engine: Engine, gateway: Gateway, networks: Collection[str]) -> Gateway:
    """A gateway that was named by a URL, with the id of its container where exactly one can be it.

    ``networks`` are those of the session. On them, the URL's host is the container's name, its IP, or another name that
    it has there. Any other gateway is returned as it is, and so is one that nobody could look for.
    """
    if gateway.container_id is not None:
        return gateway
    with contextlib.suppress(EngineError):
        found = _find_on(engine, gateway.url, networks)
        if len(found) == 1:
            return replace(gateway, container_id=found[0])
    return gateway


def _find_on(engine: Engine, url: str, networks: Collection[str]) -> list[str]:
    """The ids of the running containers that the host of a URL may mean on these networks."""
    host = urlsplit(url).hostname or ""
    near = [item for item in engine.containers() if item.state == "running" and _shared(item, networks)]
    if url.startswith("https://"):  # one of ours speaks plain HTTP
        near = [item for item in near if not is_gateway(item.labels, item.name)]
    found = [item.id for item in near if host in [item.networks[name] for name in _shared(item, networks)]]
    found += [item.id for item in near if host == item.name.lower()]
    if found or not CONTAINER_NAME.fullmatch(host):
        return found
    # Only an inspect tells the other names. The default bridge has none.
    candidates = [item for item in near if set(_shared(item, networks)) - {DEFAULT_NETWORK}][:_MOST_LOOKS]
    for item in candidates:
        info = engine.inspect(item.id)
        if info is not None and host in [alias.lower() for name in networks for alias in info.aliases.get(name, ())]:
            found.append(info.id)
    return found


def _shared(item: ListedContainer, networks: Collection[str]) -> list[str]:
    return [name for name in networks if item.networks.get(name)]


def _find_ours(engine: Engine, url: str, networks: Collection[str] | None) -> tuple[ContainerInfo, str] | None:
    """The running gateway of ours to which a URL leads, and the one of ``networks`` (None: of any) on which it does."""
    host = urlsplit(url).hostname
    for item in engine.containers(gateway_filter()):
        names = [name for name, ip in sorted(item.networks.items()) if ip and host in (ip, item.name)]
        shared = [name for name in names if networks is None or name in networks]
        if is_gateway(item.labels, item.name) and shared:
            info = engine.inspect(item.id)
            if info is not None and info.running:
                return info, shared[0]
    return None


def _with_token(engine: Engine, info: ContainerInfo, found: Gateway, seconds: float) -> Gateway:
    """A gateway in a container, with the token of one of ours.

    Raises:
        GatewayNotRunningError: it is paused.
        GatewayUnreachableError: the token cannot be read.
    """
    if not is_gateway(info.labels, info.name):
        return found
    if info.state == "paused":
        raise _describe_not_running(info, info.name, found.name)
    token = find_token(engine, info, min(seconds, _TOKEN_SECONDS))
    if token is None:
        msg = f"the gateway {info.name} needs a token, and none could be read in its container"
        hint = f"see `docker logs {info.name}`; if it stays so, remove it and run another one"
        raise GatewayUnreachableError(msg, hint=hint, gateway=found.name, gateway_url=found.url)
    return replace(found, token=token)


def _describe_not_running(info: ContainerInfo, name: str, gateway: str) -> GatewayNotRunningError:
    msg = f"the gateway's container {name} is {info.state}"
    if info.state == "paused":
        return GatewayNotRunningError(msg, hint=f"`docker unpause {name}` first", gateway=gateway, state=info.state)
    msg = f"{msg} (exit code {info.exit_code})"
    hint = f"`docker start {name}` first"
    return GatewayNotRunningError(msg, hint=hint, gateway=gateway, state=info.state, exit_code=info.exit_code)


def find_token(engine: Engine, info: ContainerInfo | None, seconds: float) -> str | None:
    """The token of a gateway of ours, read in its container within ``seconds``.

    None where it is no gateway of ours, does not run, or has no token that can be read.
    """
    if info is None or not info.running or not is_gateway(info.labels, info.name):
        return None
    deadline = Deadline(seconds)
    for attempt in attempts(deadline, NotYetError):  # it may just be starting
        with attempt:
            if (token := read_token(engine, info, deadline)) is None:
                raise NotYetError
            return token
    return None


def read_token(engine: Engine, info: ContainerInfo, deadline: Deadline) -> str | None:
    """The token in the container of a gateway of ours; None where there is none, or none that can be read.

    Where kernels' images have containers in the gateway's network, there is none either until the gateway itself
    listens: who sends it sooner might send it to what one of those images runs there.
    """
    labels = ToolLabels.of_container(info.labels, info.name)
    is_shared = labels is not None and labels.gateway is not None and labels.gateway.isolation == "environment"
    port = f"{SERVER_PORT:04X}" if is_shared else ""
    command = ("sh", "-c", read_script("read_gateway_token.sh"), "read", RUN_DIR, port)
    try:
        printed = engine.exec(info.id, command, deadline, limit=_OUTPUT_LIMIT, secret=True).stdout
    except ExecError:
        return None
    return printed if _TOKEN.fullmatch(printed) else None


def check_url(gateway: str) -> str:
    """The URL of a gateway, which holds no secret.

    Raises:
        GatewayError: it is no http(s) URL, or may hold one, and is not shown then.
    """
    try:
        parts = urlsplit(gateway)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not gateway.isprintable() or " " in gateway:
        shown = _hide_secrets(gateway)
        msg = f"gateway {shown!r} is no http(s) URL"
        raise GatewayError(msg, hint="give http://HOST:PORT, or a container's name or id", gateway=shown)
    if parts.username is not None or parts.password is not None or "?" in gateway or "#" in gateway:
        # --gateway-url is seen in the server's argv, in labels and in messages.
        msg = "the gateway's URL holds a user, a password, a query or a fragment, which everyone could read"
        hint = "give a token in the environment: JUPYTER_GATEWAY_AUTH_TOKEN"
        raise GatewayError(msg, hint=hint, gateway=f"{parts.scheme}://{parts.hostname}")
    return gateway


def _hide_secrets(gateway: str) -> str:
    """A text for a message; one with a user, a password, a query or a fragment is left out altogether."""
    return "..." if set("@?#") & set(gateway) else gateway


def split_port(gateway: str) -> tuple[str, int]:
    """The name, and the port, of a gateway that was named as ``NAME`` or ``NAME:PORT``.

    Raises:
        GatewayError: it was not.
    """
    name, colon, port = gateway.partition(":")
    is_port = re.fullmatch(r"[0-9]{1,5}", port) is not None and 0 < int(port) < 65536
    shown = _hide_secrets(gateway)
    if not name or shown != gateway or (colon and not is_port):
        msg = f"gateway {shown!r} is neither NAME, NAME:PORT nor a URL"
        raise GatewayError(msg, hint="give one of these", gateway=shown)
    return name, int(port) if colon else SERVER_PORT


def _choose_network(info: ContainerInfo, gateway: str, network: str | None) -> str:
    if info.network_mode == "host":
        msg = f"the gateway's container {info.name} is on the host's network, where it has no IP of its own"
        hint = "give its URL as containers see the host (e.g. http://172.17.0.1:8888), or run it on a bridge network"
        raise GatewayError(msg, hint=hint, gateway=gateway)
    names = tuple(sorted(name for name, address in info.networks.items() if address))
    if network is not None and network not in names:
        msg = f"the gateway's container {info.name} is not on network {network!r} but on {', '.join(names) or 'none'}"
        hint = f"`docker network connect {network} {info.name}`, or name another network"
        raise GatewayError(msg, hint=hint, gateway=gateway)
    if network is not None:
        return network
    if not names:
        msg = f"the gateway's container {info.name} is on no network"
        if set(info.networks) - {"none"}:
            msg = f"the gateway's container {info.name} has no IPv4 address on {', '.join(sorted(info.networks))}"
        raise GatewayError(msg, hint=f"`docker network connect bridge {info.name}`", gateway=gateway)
    if len(names) > 1:
        msg = f"the gateway's container {info.name} is on several networks ({', '.join(names)})"
        raise AmbiguousNetworkError(msg, hint="give network= one of them", gateway=gateway, networks=names)
    return names[0]
