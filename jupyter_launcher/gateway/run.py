"""A gateway of ours as long as a block; and the end of one that stays."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator

from jupyter_launcher.acts import leaves, run_act, shielded
from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.engine.types import ContainerInfo
from jupyter_launcher.errors import GatewayNotFoundError
from jupyter_launcher.gateway.find import find_token
from jupyter_launcher.gateway.kernels import gateway_api
from jupyter_launcher.gateway.make.request import GatewayRequest
from jupyter_launcher.gateway.parts import remove_lost_parts, remove_unit
from jupyter_launcher.gateway.unit import make_gateway, remove_gateway
from jupyter_launcher.host.address import EngineAddress
from jupyter_launcher.models import Gateway, RunningGateway, StopMethod, StopReport
from jupyter_launcher.spec.checks import SERVER_PORT, refuse_option
from jupyter_launcher.spec.labels import ToolLabels, gateway_name
from jupyter_launcher.waiting import Deadline

__all__ = ["GatewayRequest", "run_gateway", "stop_gateway"]

_TOKEN_SECONDS = 3.0


@contextlib.contextmanager
def run_gateway(
    engine: Engine, address: EngineAddress, request: GatewayRequest, *, keep: Callable[[str], bool] | None = None
) -> Iterator[RunningGateway]:
    """Run a gateway; yields it, and removes it on leaving unless ``keep(name)``; its labels say where that may be.

    Raises:
        OptionError: the user, the network, the relabel or the engine's socket cannot be.
        ImageNotFoundError: the engine has no such image.
        KernelImageError: no kernel can run in an image of ``kernels``.
        PipelineDirError: the directory cannot be used.
        GatewayError: the image names no command, there is no such network, it gives the gateway no address, or the
            image has not what ``kernels`` need.
        GatewayNotRunningError: it ended, or a part of it did.
        GatewayUnreachableError: it gave no kernel specs in time.
        EngineError: the engine refused, or does not answer.
    """
    process = os.getpid()
    # Acts, so that an interrupt neither parts a create from its answer nor ends the removal.
    made = run_act(lambda: make_gateway(engine, address, request), undo=lambda found: remove_gateway(engine, found))
    try:
        yield made.running
    finally:
        # A fork that leaves the block ends nothing.
        if os.getpid() == process and not (keep is not None and keep(made.running.name)):
            run_act(lambda: remove_gateway(engine, made))


def stop_gateway(
    engine: Engine, address: EngineAddress, namespace: str, gateway_id: str, deadline: Deadline
) -> StopReport:
    """End the kernels of a gateway gracefully within the deadline, and remove it with all that is of it.

    Where somebody else removed its container, what is left of it is removed.

    Raises:
        GatewayNotFoundError: the namespace has no gateway of this id.
        OptionError: it runs, and is one unit with a session.
        EngineError: the engine refused, or does not answer.
    """
    started = time.monotonic()
    name = gateway_name(namespace, gateway_id)
    info = engine.inspect(name)
    labels = None if info is None else ToolLabels.of_container(info.labels, info.name)
    if info is None:
        with shielded(), leaves(f"what is of gateway {name}"):
            lost = remove_lost_parts(engine, namespace, gateway_id)
        if lost is not None:
            seconds = time.monotonic() - started
            return StopReport(method=StopMethod.ALREADY_STOPPED, kernels=lost, kernels_gone=lost, seconds=seconds)
    if info is None or labels is None or labels.gateway is None:  # the name tells the namespace too
        msg = f"namespace {namespace} has no gateway {gateway_id}"
        hint = "see which gateways there are: `jupyter-launcher list`, or Launcher.gateways()"
        raise GatewayNotFoundError(msg, hint=hint, gateway=gateway_id)
    if labels.gateway.session_start and info.running:
        seen = f"is {gateway_id!r}, a gateway that is one unit with session {labels.gateway.session_id!r}"
        refuse_option("gateway_id", seen, "stop that session")
    seen_kernels = _end_kernels(engine, address, info, deadline) if info.state == "running" else ()
    with shielded(), leaves(f"container {name}, and what is of it"):
        removed = remove_unit(engine, labels.gateway.start, info.id) if labels.gateway.start else ()
        engine.remove(info.id)
    kernels = tuple(dict.fromkeys([*seen_kernels, *removed]))
    return StopReport(
        method=StopMethod.KILLED if info.running else StopMethod.ALREADY_STOPPED,
        kernels=kernels,
        kernels_gone=kernels,  # they are gone with their containers
        seconds=time.monotonic() - started,
    )


def _end_kernels(engine: Engine, address: EngineAddress, info: ContainerInfo, deadline: Deadline) -> tuple[str, ...]:
    """Ask a gateway to shut its kernels down; their ids, as far as it tells."""
    token = find_token(engine, info, min(_TOKEN_SECONDS, deadline.remaining()))
    network, ip = next(((name, ip) for name, ip in info.networks.items() if ip), ("", ""))
    if token is None or not ip:
        return ()
    gateway = Gateway(name=info.name, url=f"http://{ip}:{SERVER_PORT}", container_id=info.id, network=network)
    api = gateway_api(engine, address, gateway, token, container=info, networks=(network,))
    kernels = (api.kernels(deadline) if api is not None else None) or ()
    if api is not None and kernels:
        api.delete_kernels(kernels, deadline)
    return kernels
