"""A gateway of ours in a container."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from jupyter_launcher.engine.protocol import NO_LOG, Engine
from jupyter_launcher.engine.types import ContainerInfo
from jupyter_launcher.errors import (
    EngineError,
    GatewayError,
    GatewayNotRunningError,
    GatewayUnreachableError,
    ImageNotFoundError,
)
from jupyter_launcher.gateway.find import read_token
from jupyter_launcher.host.address import EngineAddress
from jupyter_launcher.host.pipeline_dir import resolve_pipeline_dir
from jupyter_launcher.host.process import process_mark
from jupyter_launcher.host.rules import DirectoryRules
from jupyter_launcher.models import RunningGateway, Volume
from jupyter_launcher.server.api import JupyterApi
from jupyter_launcher.server.failures import describe_closed_directory, describe_directory
from jupyter_launcher.server.ready import has_kernelspecs
from jupyter_launcher.spec.container import DEFAULT_NETWORK, gateway_config
from jupyter_launcher.spec.kernels.options import KernelOptions
from jupyter_launcher.spec.labels import gateway_labels, gateway_name
from jupyter_launcher.spec.mounts import check_relabel
from jupyter_launcher.waiting import Deadline, NotYetError, attempts

__all__ = ["GatewayRequest", "run_gateway"]

_REQUEST_SECONDS = 5.0
_TOKEN_SECONDS = 5.0
_MAKE_NETWORK = "`docker network create NAME` makes one; give network=NAME to run_gateway and to sessions"
_OURS = "jupyter-launcher: "
"""How the last line begins that start_gateway.sh prints where it refuses the directory."""


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
        relabel: ``z`` or ``Z``, for the directory on a host with SELinux.
        gateway_id: the last part of its name; None: one is made up.
        kernels: its kernels in containers; None: they are processes beside it.
        engine_socket: for a broker; None: the one through which this process reaches the engine.
        session_start: of the session that it is one unit with; empty: of none.
        stays: it is there until somebody stops it; else it ends with this process.
    """

    pipeline_dir: str | os.PathLike[str] | Volume
    image: str
    namespace: str
    owner: str
    network: str | None
    seconds: float
    user: str | int | None
    rules: DirectoryRules
    relabel: str | None
    gateway_id: str | None = None
    kernels: KernelOptions | None = None
    engine_socket: str | None = None
    session_start: str = ""
    stays: bool = False


@contextlib.contextmanager
def run_gateway(
    engine: Engine, address: EngineAddress, request: GatewayRequest, *, keep: Callable[[str], bool] | None = None
) -> Iterator[RunningGateway]:
    """Run a gateway; yields it, and removes it on leaving unless ``keep(name)``; its labels say where that may be.

    Raises:
        OptionError: the user, the network or the relabel cannot be.
        ImageNotFoundError: the engine has no such image.
        PipelineDirError: the directory cannot be used.
        GatewayError: the image names no command, there is no such network, or it gives the gateway no address.
        GatewayNotRunningError: it ended.
        GatewayUnreachableError: it gave no kernel specs in time.
        EngineError: the engine refused, or does not answer.
    """
    folder = resolve_pipeline_dir(
        engine, address, request.pipeline_dir, request.user, image=request.image, rules=request.rules
    )
    check_relabel(request.relabel, "pipeline_relabel", folder.path)
    host_ip = address.choose_publish_ip(None)
    network = address.choose_network(request.network)
    _refuse_unusable_network(engine, network)
    is_reached = address.reaches_network(network)
    config = gateway_config(
        folder.path,
        folder.user,
        image=request.image,
        argv=_find_argv(engine, request.image),
        pipeline_dir_id=folder.identity,
        relabel=request.relabel,
        labels=gateway_labels(request.namespace, request.owner, process_mark(), may_stay=keep is not None),
        publish_ip=None if is_reached else host_ip,
        network=network,
        proxies=engine.proxies,
    )
    name = gateway_name(request.namespace, uuid.uuid4().hex)
    found: list[RunningGateway] = []

    def wait() -> None:
        try:
            find_url = address.bridge_url if is_reached else partial(_published_url, address, host_ip)
            found.append(_wait_until_ready(engine, find_url, name, Deadline(request.seconds)))
        except GatewayNotRunningError as error:
            # A gateway's own exit codes may be the same, so where there is a log, its last line decides.
            last = error.log_tail.rstrip().rpartition("\n")[2]
            is_ours = last.startswith((_OURS, NO_LOG))
            directory = is_ours and describe_directory(folder.path, error.exit_code, last.removeprefix(_OURS))
            if directory:
                raise directory from error
            raise

    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(engine.temporary(config, name, wait=wait, keep=lambda: keep is not None and keep(name)))
        except EngineError as error:
            _refuse_missing_network(engine, network, error)
            raise describe_closed_directory(folder.path, error) or error from error.__cause__
        yield found[0]


def _refuse_unusable_network(engine: Engine, name: str) -> None:
    """Refuse a network on which a gateway has no IP of its own. What the engine does not tell is not refused.

    Nor is another network than the default that is not there: a worker of a swarm does not know an attachable one
    until a container is on it.

    Raises:
        GatewayError: the engine has no default bridge, or the network has no IPv4.
    """
    try:
        found = engine.network(name)
    except EngineError:  # a proxy before the engine, perhaps; a network that cannot be is seen later
        return
    if found is None and name == DEFAULT_NETWORK:
        msg = f"the engine has no network {name!r}, so a gateway would have no address"
        hint = _MAKE_NETWORK
    elif found is not None and found.subnets and all(subnet.version == 6 for subnet in found.subnets):
        msg = f"network {name!r} has no IPv4, and gateways and sessions find each other by their IPv4 addresses"
        hint = "give network= one that has IPv4"
    else:
        return
    raise GatewayError(msg, hint=hint)


def _refuse_missing_network(engine: Engine, name: str, refused: EngineError) -> None:
    """Where the engine has refused a gateway, say so of a network that is not there.

    Raises:
        GatewayError: there is none.
    """
    if refused.status not in (404, 500):  # Docker's, and Podman's
        return
    with contextlib.suppress(EngineError):
        if engine.network(name) is None:
            msg = f"the engine has no network {name!r} for a gateway: {refused.message}"
            raise GatewayError(msg, hint=_MAKE_NETWORK) from refused


def _find_argv(engine: Engine, image: str) -> tuple[str, ...]:
    """What a container of an image runs by itself.

    Raises:
        ImageNotFoundError: the engine has no such image.
        GatewayError: the image names no command.
    """
    found = engine.images.inspect(image)
    if found is None:
        msg = f"image {image} is not on the engine"
        raise ImageNotFoundError(msg, hint="build or pull it first", status=404, image=image)
    if not found.argv:
        msg = f"image {image} has neither an entrypoint nor a command, so nobody knows how its gateway is run"
        raise GatewayError(msg, hint="give an image with one", gateway=image)
    return found.argv


def _wait_until_ready(
    engine: Engine, find_url: Callable[[ContainerInfo], str | None], name: str, deadline: Deadline
) -> RunningGateway:
    """Wait until a gateway of ours has made its token, and answers a request for its kernel specs that carries it.

    Raises:
        GatewayError: its network gives it no address and no published port.
        GatewayNotRunningError: it ended.
        GatewayUnreachableError: it made no token, or gave no kernel specs, in time.
    """
    ready: RunningGateway | None = None
    for attempt in attempts(deadline, NotYetError):
        with attempt:
            info = engine.inspect(name)
            if info is None or not info.running:
                raise _describe_ended(engine, name, info)
            url = find_url(info)
            if url is None:
                msg = f"the gateway {info.name} has no address and no published port on network {info.network_mode!r}"
                raise GatewayError(msg, hint="use a bridge network that can publish", gateway=info.name)
            ready = ready or _read_running(engine, info, url, deadline)
            if ready is None or not _is_ready(ready, deadline):
                raise NotYetError
            return ready
    msg = f"the gateway {name} gave no kernel specs within {deadline.seconds:g} s"
    if ready is None:
        msg = f"the gateway {name} made no token within {deadline.seconds:g} s"
    hint = "see that its image has sh and od, and raise timeouts.start if it only needs longer"
    raise GatewayUnreachableError(msg, hint=hint, gateway=name, log_tail=engine.log_tail(name))


def _published_url(address: EngineAddress, host_ip: str, info: ContainerInfo) -> str | None:
    return address.server_url(info, host_ip) if address.reaches(info) else None


def _read_running(engine: Engine, info: ContainerInfo, url: str, deadline: Deadline) -> RunningGateway | None:
    token = read_token(engine, info.id, deadline.shortened(_TOKEN_SECONDS))
    return None if token is None else RunningGateway(name=info.name, url=url, token=token)


def _is_ready(gateway: RunningGateway, deadline: Deadline) -> bool:
    api = JupyterApi(gateway.url, gateway.token)
    return has_kernelspecs(api, Deadline(max(0.1, min(_REQUEST_SECONDS, deadline.remaining()))))


def _describe_ended(engine: Engine, name: str, info: ContainerInfo | None) -> GatewayNotRunningError:
    state, code = ("gone", None) if info is None else (info.state, info.exit_code)
    msg = f"the gateway {name} ended with exit code {code}"
    log = engine.log_tail(name)
    return GatewayNotRunningError(
        msg, hint="see that its image runs a kernel gateway", gateway=name, state=state, exit_code=code, log_tail=log
    )
