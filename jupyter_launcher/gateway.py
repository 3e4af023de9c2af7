"""Kernel gateways: a name, an id or a URL → :class:`Gateway`; their kernels; and one of ours in a container."""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.engine.types import ContainerInfo
from jupyter_launcher.errors import (
    AmbiguousNetworkError,
    ExecError,
    GatewayError,
    GatewayNotFoundError,
    GatewayNotRunningError,
    GatewayUnreachableError,
)
from jupyter_launcher.host.address import EngineAddress, bracket
from jupyter_launcher.host.pipeline_dir import resolve_pipeline_dir
from jupyter_launcher.host.rules import DirectoryRules
from jupyter_launcher.models import Gateway
from jupyter_launcher.server.api import ExecApi, JupyterApi, parse_kernel_ids
from jupyter_launcher.server.ready import has_kernelspecs
from jupyter_launcher.spec.checks import SERVER_PORT, check_text
from jupyter_launcher.spec.container import KERNEL_MARK, gateway_config
from jupyter_launcher.spec.server import read_script
from jupyter_launcher.waiting import Deadline, NotYetError, attempts

__all__ = ["GatewayRequest", "find_marked_kernels", "gateway_api", "resolve_gateway", "run_gateway", "stop_kernels"]

_REQUEST_SECONDS = 5.0


def resolve_gateway(engine: Engine, gateway: str, network: str | None = None) -> Gateway:
    """Find the address at which a server's container will reach the gateway.

    ``gateway`` is an http(s) URL, taken as it is, or a container's name or id, optionally with
    ``:port`` (8888 otherwise): its IP on ``network``, or on the only network that it is on.

    Raises:
        OptionError: no text.
        GatewayError: no usable URL, or no network that a server could share. A URL that may hold a secret is not
            shown.
        GatewayNotFoundError: no such container.
        GatewayNotRunningError: the container exists, but does not run.
        AmbiguousNetworkError: it is on several networks and ``network`` is None.
    """
    check_text(gateway, "gateway")
    if "://" in gateway or not gateway.strip():
        return Gateway(name=gateway, url=_check_url(gateway), network=network)
    name, port = _split_port(gateway)
    info = engine.inspect(name)
    if info is None:
        msg = f"there is no container {name!r} for the gateway"
        hint = "`docker ps -a` lists the containers; or give the gateway's URL"
        raise GatewayNotFoundError(msg, hint=hint, gateway=gateway)
    if info.state != "running":
        msg = f"the gateway's container {name} is {info.state} (exit code {info.exit_code})"
        raise GatewayNotRunningError(
            msg, hint=f"`docker start {name}` first", gateway=gateway, state=info.state, exit_code=info.exit_code
        )
    chosen = _choose_network(info, gateway, network)
    url = f"http://{bracket(info.networks[chosen])}:{port}"
    return Gateway(name=gateway, url=url, container_id=info.id, network=chosen)


def _check_url(gateway: str) -> str:
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


def _split_port(gateway: str) -> tuple[str, int]:
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
        raise GatewayError(msg, hint=f"`docker network connect bridge {info.name}`", gateway=gateway)
    if len(names) > 1:
        msg = f"the gateway's container {info.name} is on several networks ({', '.join(names)})"
        raise AmbiguousNetworkError(msg, hint="give network= one of them", gateway=gateway, networks=names)
    return names[0]


def gateway_api(engine: Engine, address: EngineAddress, gateway: Gateway, token: str | None) -> JupyterApi:
    """The gateway's REST API, as this process reaches it: from inside its container with a remote engine."""
    if gateway.container_id is not None and address.is_remote:
        return ExecApi(engine, gateway.container_id, gateway.url)
    return JupyterApi(gateway.url, token)


def find_marked_kernels(engine: Engine, container_id: str, start_id: str, deadline: Deadline) -> tuple[str, ...] | None:
    """Ids of the kernels that a session started and that run in the gateway's container.

    Found by the mark in their environment, so a kernel whose start nobody waited for is found too.
    Empty where the container does not run, or the kernels run elsewhere; None where nobody can tell, or what the
    container printed is no list of ids.
    """
    command = ("sh", "-c", read_script("find_kernels.sh"), "find", f"{KERNEL_MARK}={start_id}")
    try:
        return parse_kernel_ids(engine.exec(container_id, command, deadline).stdout.split())
    except ExecError:
        info = engine.inspect(container_id)
        return None if info is not None and info.running else ()


def stop_kernels(api: JupyterApi, kernels: tuple[str, ...], deadline: Deadline) -> tuple[str, ...]:
    """See that kernels are gone on the gateway, deleting what is left; return those that were seen to be gone.

    Only these kernels are touched: others may use the gateway too. Where the gateway does not tell which kernels it
    has (it is down, or must not list), these are deleted all the same, and only those count that were seen to be gone
    before. All within the deadline.
    """
    gone: tuple[str, ...] = ()
    for attempt in attempts(deadline, NotYetError):
        with attempt:
            alive = api.kernels(deadline)
            if alive is None:
                api.delete_kernels([kernel for kernel in kernels if kernel not in gone], deadline)
                return gone
            gone = tuple(kernel for kernel in kernels if kernel not in alive)
            if len(gone) < len(kernels):
                api.delete_kernels(set(kernels) & set(alive), deadline)
                raise NotYetError
    return gone


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayRequest:
    """A gateway of ours to be run.

    Attributes:
        pipeline_dir: mounted at ``/pipeline-dir``, at the same path as in a session.
        image: of a gateway that listens on port 8888.
        namespace, owner: of the launcher.
        network: None: the engine's default bridge.
        seconds: how long to wait for its kernel specs.
        user: of the gateway and its kernels; None: the directory's owner.
        rules: which directories may be mounted.
    """

    pipeline_dir: str | os.PathLike[str]
    image: str
    namespace: str
    owner: str
    network: str | None
    seconds: float
    user: str | int | None
    rules: DirectoryRules


@contextlib.contextmanager
def run_gateway(
    engine: Engine, address: EngineAddress, request: GatewayRequest, *, keep: Callable[[str], bool] = lambda _: False
) -> Iterator[str]:
    """Run a gateway; yields its name, and removes it on leaving unless ``keep(name)``.

    Raises:
        PipelineDirError: the directory cannot be used.
        GatewayNotRunningError: it ended.
        GatewayUnreachableError: it gave no kernel specs in time.
    """
    folder = resolve_pipeline_dir(
        engine, address, request.pipeline_dir, request.user, image=request.image, rules=request.rules
    )
    config = gateway_config(
        folder.path,
        folder.user,
        image=request.image,
        namespace=request.namespace,
        owner=request.owner,
        host_ip=address.choose_publish_ip(None),
        network=address.choose_network(request.network),
    )
    name = f"enterprise-gateway.{request.namespace}.{uuid.uuid4().hex[:12]}"

    def wait() -> None:
        _wait_for_kernelspecs(engine, address, name, config.host_ip, Deadline(request.seconds))

    with engine.temporary(config, name, wait=wait, keep=lambda: keep(name)):
        yield name


def _wait_for_kernelspecs(engine: Engine, address: EngineAddress, name: str, host_ip: str, deadline: Deadline) -> None:
    for attempt in attempts(deadline, NotYetError):
        with attempt:
            info = engine.inspect(name)
            if info is None or not info.running:
                raise _describe_ended(engine, name, info)
            if not address.reaches(info):
                msg = f"the gateway {info.name} has no published port on network {info.network_mode!r}"
                raise GatewayError(msg, hint="use a bridge network that can publish", gateway=info.name)
            api = JupyterApi(address.server_url(info, host_ip))
            if not has_kernelspecs(api, Deadline(max(0.1, min(_REQUEST_SECONDS, deadline.remaining())))):
                raise NotYetError
            return
    msg = f"the gateway {name} gave no kernel specs within {deadline.seconds:g} s"
    hint = "raise timeouts.start if it only needs longer"
    raise GatewayUnreachableError(msg, hint=hint, gateway=name, log_tail=engine.log_tail(name))


def _describe_ended(engine: Engine, name: str, info: ContainerInfo | None) -> GatewayNotRunningError:
    state, code = ("gone", None) if info is None else (info.state, info.exit_code)
    msg = f"the gateway {name} ended with exit code {code}"
    log = engine.log_tail(name)
    return GatewayNotRunningError(
        msg, hint="see that its image runs a kernel gateway", gateway=name, state=state, exit_code=code, log_tail=log
    )
