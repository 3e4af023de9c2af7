"""What a gateway of ours is to be, what was found out before one is made, and what there is then."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass

from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.errors import EngineError, GatewayError, ImageNotFoundError, UnsupportedOptionError
from jupyter_launcher.gateway.preflight import check_kernel_limits, check_kernel_mounts
from jupyter_launcher.gateway.socket import find_engine_socket
from jupyter_launcher.host.address import EngineAddress
from jupyter_launcher.host.mounts import is_missing
from jupyter_launcher.host.pipeline_dir import PipelineDir, resolve_pipeline_dir
from jupyter_launcher.host.rules import DirectoryRules
from jupyter_launcher.models import RunningGateway, Volume
from jupyter_launcher.spec.checks import refuse_option
from jupyter_launcher.spec.container import DEFAULT_NETWORK
from jupyter_launcher.spec.kernels.options import KernelOptions, check_kernel_user
from jupyter_launcher.spec.mounts import check_relabel

__all__ = ["MAKE_NETWORK", "OWN_NETWORK", "GatewayPlan", "GatewayRequest", "MadeGateway", "plan_gateway"]

MAKE_NETWORK = "`docker network create NAME` makes one; give network=NAME to run_gateway and to sessions"
OWN_NETWORK = "own"
"""In place of a network's name: one is made for the gateway alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayRequest:
    """A gateway of ours to be run.

    Attributes:
        pipeline_dir: mounted at ``/pipeline-dir``, at the same path as in a session.
        image: of a gateway that listens on port 8888.
        namespace, owner: of the launcher.
        network: None: the engine's default bridge; ``own``: one that is made with it.
        seconds: how long to wait for its kernel specs.
        user: of the gateway and its kernels; None: the directory's owner.
        rules: which directories may be mounted.
        relabel: ``z`` or ``Z``, for the directory on a host with SELinux.
        gateway_id: the last part of its name; None: one is made up.
        kernels: its kernels in containers; None: they are processes beside it. Their images are on the engine.
        engine_socket: for a broker; None: the one through which this process reaches the engine.
        session_start, session_id: of the session that it is one unit with; empty: of none.
        read_only: neither it nor its kernels can write to the pipeline.
        stays: it is there until somebody stops it; else it ends with this process.
        may_stay: its maker may leave it behind on purpose.
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
    session_id: str = ""
    read_only: bool = False
    stays: bool = False
    may_stay: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayPlan:
    """A request that was looked into; nothing is made yet.

    Attributes:
        request: what was asked for.
        folder: the directory or the volume, and the user.
        host_ip: where its port is published, should that be needed.
        network: the name of one that is there; None: one is made.
        argv: what a container of the image runs by itself.
        socket: the engine's, on the engine's host, for a broker; empty: there is none.
    """

    request: GatewayRequest
    folder: PipelineDir
    host_ip: str
    network: str | None
    argv: tuple[str, ...]
    socket: str

    @property
    def options(self) -> Mapping[str, object]:
        """What makes two requests the same, as plain JSON values."""
        request = self.request
        return {
            "pipeline_dir": str(self.folder.path),
            "user": self.folder.user,
            "image": request.image,
            "network": request.network,
            "pipeline_relabel": request.relabel,
            "pipeline_read_only": request.read_only,
            "kernels": None if request.kernels is None else request.kernels.to_options(),
        }

    @property
    def kernel_names(self) -> tuple[str, ...] | None:
        """Of its kernels in containers; None: they are processes beside it."""
        return None if self.request.kernels is None else tuple(self.request.kernels.images)


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeGateway:
    """A gateway that answers, and what finds its parts again.

    Attributes:
        running: as callers get it.
        container_id: of the gateway's container.
        start: in the labels of all that is of this start of it.
        network: that its container, and those of its kernels, are on.
    """

    running: RunningGateway
    container_id: str
    start: str
    network: str


def plan_gateway(engine: Engine, address: EngineAddress, request: GatewayRequest) -> GatewayPlan:
    """Look into a request, and refuse what cannot be.

    Raises:
        OptionError: the user, the network, the relabel, a limit or the engine's socket cannot be.
        ImageNotFoundError: the engine has no such image.
        PipelineDirError: the directory cannot be used.
        GatewayError: the image names no command, there is no such network, or it gives the gateway no IPv4.
        EngineError: the engine does not answer.
    """
    folder = resolve_pipeline_dir(
        engine, address, request.pipeline_dir, request.user, image=request.image, rules=request.rules
    )
    check_relabel(request.relabel, "pipeline_relabel", folder.path)
    socket = "" if request.kernels is None else _check_kernels(engine, address, request, request.kernels, folder)
    host_ip = address.choose_publish_ip(None)
    network = _choose_network(engine, address, request)
    argv = _find_argv(engine, request.image)
    return GatewayPlan(request=request, folder=folder, host_ip=host_ip, network=network, argv=argv, socket=socket)


def _check_kernels(
    engine: Engine, address: EngineAddress, request: GatewayRequest, kernels: KernelOptions, folder: PipelineDir
) -> str:
    """The engine's socket on the engine's host, where the kernels need a broker; else empty."""
    check_kernel_user(folder.user)
    if request.relabel == "Z":
        seen = "is 'Z', which would take the directory from all but one of the containers that kernels need"
        refuse_option("pipeline_relabel", seen, "give 'z'")
    check_kernel_limits(engine.traits, kernels)
    check_kernel_mounts(address, kernels, request.rules)
    if kernels.isolation != "kernel":
        return ""
    socket = find_engine_socket(address, request.engine_socket)
    if engine.traits.makes_sources and is_missing(address, socket):
        msg = f"engine_socket is {socket}, and nothing is there"
        hint = "give Launcher(engine_socket=...) the path that the socket has on the engine's host"
        raise UnsupportedOptionError(msg, hint=hint, option="engine_socket")
    return socket


def _choose_network(engine: Engine, address: EngineAddress, request: GatewayRequest) -> str | None:
    if request.network != OWN_NETWORK:
        network = address.choose_network(request.network)
        _refuse_unusable_network(engine, network)
        return network
    if (own := address.find_own_container()) is not None and own.network_mode != "host":
        seen = (
            f"is 'own', and this launcher runs in container {own.name}, which is on no network that is yet to be made"
        )
        hint = f"`docker network create NAME` and `docker network connect NAME {own.name}`, and give network=NAME"
        refuse_option("network", seen, hint)
    return None


def _refuse_unusable_network(engine: Engine, name: str) -> None:
    """Refuse a network on which a gateway has no IP of its own. What the engine does not tell is not refused.

    Nor is another network than the default that is not there: a worker of a swarm does not know an attachable one
    until a container is on it.

    Raises:
        GatewayError: the engine has no default bridge, or the network has no IPv4.
    """
    found = None
    with contextlib.suppress(EngineError):  # a proxy before the engine, perhaps; a network that cannot be is seen later
        found = engine.network(name)
        if found is None and name == DEFAULT_NETWORK:
            msg = f"the engine has no network {name!r}, so a gateway would have no address"
            raise GatewayError(msg, hint=MAKE_NETWORK)
    if found is not None and found.subnets and all(subnet.version == 6 for subnet in found.subnets):
        msg = f"network {name!r} has no IPv4, and gateways and sessions find each other by their IPv4 addresses"
        raise GatewayError(msg, hint="give network= one that has IPv4")


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
