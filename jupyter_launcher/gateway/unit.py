"""A gateway with its parts: made, found again, and bound to a session."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace

from jupyter_launcher.acts import leaves, shielded
from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.engine.types import ContainerInfo
from jupyter_launcher.errors import GatewayConflictError, GatewayError, GatewayNotRunningError
from jupyter_launcher.gateway.make.attempt import Making, TakenError
from jupyter_launcher.gateway.make.ready import Awaited, find_url_of, wait_until_ready
from jupyter_launcher.gateway.make.request import GatewayPlan, GatewayRequest, MadeGateway, plan_gateway
from jupyter_launcher.gateway.parts import remove_lost_parts, remove_unit
from jupyter_launcher.gateway.preflight import check_kernel_mount_points, find_kernels, try_kernel_mounts
from jupyter_launcher.host.address import EngineAddress
from jupyter_launcher.host.process import is_process_dead
from jupyter_launcher.spec.kernels.found import FoundKernel
from jupyter_launcher.spec.kernels.labels import GatewayLabels
from jupyter_launcher.spec.labels import ToolLabels, gateway_name
from jupyter_launcher.spec.server import RUN_DIR
from jupyter_launcher.waiting import Deadline, NotYetError, attempts

__all__ = ["MadeGateway", "bind_session", "make_gateway", "remove_gateway"]

_ID_LENGTH = 12
_MAKING_SECONDS = 60.0
"""Between the create of a gateway and its start lies one call to the engine."""
_BIND = 'umask 077; printf %s "$2" >"$1/session.new" && mv -f "$1/session.new" "$1/session"'


def make_gateway(engine: Engine, address: EngineAddress, request: GatewayRequest) -> MadeGateway:
    """Make a gateway and its parts, and wait until it answers. Where it fails, all that was made is removed.

    A gateway of the request's id that runs with the same options is taken, and one that has ended is made anew. So is
    one whose container somebody else removed; what is left of it is removed.

    Raises:
        GatewayConflictError: a gateway of this id runs with other options.
        LauncherError: as ``Launcher.run_gateway`` says.
    """
    plan = plan_gateway(engine, address, request)
    name = request.gateway_id
    found = None if name is None else _find_running(engine, address, plan, name, Deadline(request.seconds))
    if found is not None:
        return found
    if name is not None:
        with shielded(), leaves(f"what is of gateway {name}"):
            remove_lost_parts(engine, request.namespace, name)
    kernels: Mapping[str, FoundKernel] = {}
    if request.kernels is not None:
        check_kernel_mount_points(engine, address, request.kernels, plan.folder.path, plan.folder.user)
        kernels = find_kernels(engine, request.kernels, plan.folder.user, known=address.kernels_seen)
        if request.kernels.isolation == "kernel":  # an agent's container is made at once
            try_kernel_mounts(engine, request.kernels, plan.folder.user)
    taken: TakenError | None = None
    deadline = Deadline(request.seconds)
    for attempt in attempts(deadline, NotYetError):
        with attempt:
            if taken is not None and name is not None:  # who has the name may have made the same gateway
                found = _find_running(engine, address, plan, name, deadline)
            if found is not None:
                return found
            try:
                return Making(engine, address, plan, kernels, name or uuid.uuid4().hex[:_ID_LENGTH]).make()
            except TakenError as error:
                taken = error
                raise NotYetError from error
    msg = f"gateway {name} is being made by somebody else, and was not there after {request.seconds:g} s"
    raise GatewayError(msg, hint="ask again; `stop_gateway` removes what is left of it", gateway=name or "")


def _find_running(
    engine: Engine, address: EngineAddress, plan: GatewayPlan, gateway_id: str, deadline: Deadline
) -> MadeGateway | None:
    """The gateway of an id, if it runs; one that has ended is removed. Waits while somebody is making it."""
    name = gateway_name(plan.request.namespace, gateway_id)
    for attempt in attempts(deadline, NotYetError):
        with attempt:
            info = engine.inspect(name)
            if info is None:
                return None
            labels = ToolLabels.of_container(info.labels, info.name)
            if labels is None or labels.gateway is None:
                msg = f"container {name} has the name of gateway {gateway_id}, and not its labels"
                raise GatewayError(msg, hint="remove it, or take another gateway_id", gateway=name)
            if info.state == "created" and not _is_abandoned(engine, info, labels):
                raise NotYetError
            if info.state != "created" and info.running:
                return _join(engine, address, plan, info, labels.gateway, deadline)
            _remove(engine, name, labels.gateway.start, info.id)
            return None
    msg = f"gateway {gateway_id} is there, and did not come to run within {deadline.seconds:g} s"
    raise GatewayNotRunningError(msg, hint="ask again, or stop_gateway", gateway=name, state="created")


def _is_abandoned(engine: Engine, info: ContainerInfo, labels: ToolLabels) -> bool:
    """Whether nobody will start a container that was created."""
    return is_process_dead(labels.process) is True or engine.now() - info.created > _MAKING_SECONDS


def _join(
    engine: Engine,
    address: EngineAddress,
    plan: GatewayPlan,
    info: ContainerInfo,
    labels: GatewayLabels,
    deadline: Deadline,
) -> MadeGateway:
    differences = _find_differences(labels.options, plan.options)
    if labels.stays is not plan.request.stays or labels.session_start != plan.request.session_start:
        differences.append("it was not made by start_gateway, and ends with who made it")
    if differences:
        msg = f"gateway {labels.gateway_id} runs with other options: {'; '.join(differences)}"
        hint = "ask with the same options, take another gateway_id, or stop_gateway first"
        raise GatewayConflictError(msg, hint=hint, gateway=info.name, differences=tuple(differences))
    if info.state == "paused":
        msg = f"the gateway's container {info.name} is paused"
        hint = f"`docker unpause {info.name}` first"
        raise GatewayNotRunningError(msg, hint=hint, gateway=info.name, state=info.state)
    awaited = Awaited(
        container=info.id,
        name=info.name,
        gateway_id=labels.gateway_id,
        find_url=find_url_of(address, plan.host_ip, info.network_mode),
        pipeline_dir=plan.folder.path,
        kernels=plan.kernel_names,
    )
    try:
        running = wait_until_ready(engine, awaited, deadline)
    except GatewayNotRunningError as error:  # who makes it removes it, or the next look does
        raise NotYetError from error
    return MadeGateway(
        running=replace(running, joined=True), container_id=info.id, start=labels.start, network=info.network_mode
    )


def _find_differences(there: object, asked: object, name: str = "") -> list[str]:
    """What differs between two trees of options, a line each."""
    if isinstance(there, Mapping) and isinstance(asked, Mapping):
        names = dict.fromkeys([*there, *asked])
        pairs = ((there.get(key), asked.get(key), f"{name}.{key}" if name else str(key)) for key in names)
        return [line for pair in pairs for line in _find_differences(*pair)]
    return [] if there == asked else [f"{name} is {there!r} there, and was asked for as {asked!r}"]


def _remove(engine: Engine, name: str, start: str, container: str | None) -> None:
    with shielded(), leaves(f"container {name}, and what is of it"):
        remove_unit(engine, start, container)


def remove_gateway(engine: Engine, made: MadeGateway) -> tuple[str, ...]:
    """Remove a gateway and all that is of it; the ids of the kernels whose containers were removed.

    Raises:
        EngineError: as :func:`remove_unit` says.
    """
    with shielded(), leaves(f"container {made.running.name}, and what is of it"):
        return remove_unit(engine, made.start, made.container_id)


def bind_session(engine: Engine, gateway: str, ip: str, deadline: Deadline) -> None:
    """Tell a gateway that is one unit with a session where that session's server listens.

    From then on, the gateway ends when nothing listens there any more; see ``lifeline.py`` in its image.

    Args:
        engine: that has both.
        gateway: the id of the gateway's container.
        ip: of the session, on the network that both are on.
        deadline: for the exec.

    Raises:
        ExecError: the gateway was not told.
    """
    engine.exec(gateway, ("sh", "-c", _BIND, "bind", RUN_DIR, ip), deadline)
