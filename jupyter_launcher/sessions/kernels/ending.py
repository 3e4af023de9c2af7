"""The end of a session's kernels on its gateway: those beside it, and those in containers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from jupyter_launcher.acts import leaves
from jupyter_launcher.engine.types import ContainerInfo
from jupyter_launcher.errors import EngineError
from jupyter_launcher.gateway.find import find_container, find_token
from jupyter_launcher.gateway.kernels import MarkedKernels, find_marked_kernels, gateway_api, stop_kernels
from jupyter_launcher.gateway.parts import find_parts, kernels_of
from jupyter_launcher.models import Gateway, Phase, StopMethod, StopReport
from jupyter_launcher.server.api import JupyterApi
from jupyter_launcher.sessions.context import Context
from jupyter_launcher.sessions.kernels.unit import has_unit
from jupyter_launcher.sessions.phases import PhaseReporter
from jupyter_launcher.spec.labels import SessionLabels, ToolLabels
from jupyter_launcher.waiting import Deadline, NotYetError, attempts

__all__ = ["end_kernels"]

T = TypeVar("T")
_log = logging.getLogger("jupyter_launcher")

_CONTAINER_SECONDS = 10.0
"""From a gateway's word that a kernel is gone to the end of its container: a graceful end, and a removal."""
_OWN_SECONDS = 5.0
"""For the graceful end of kernels whose gateway is removed after it."""


def end_kernels(
    context: Context,
    info: ContainerInfo,
    labels: SessionLabels,
    known: tuple[str, ...] | None,
    reporter: PhaseReporter,
) -> StopReport:
    """End a session's kernels on its gateway, and nobody else's; the report is about them alone.

    Kernels that have containers of their own are found by the labels of these, whatever the gateway tells, and those
    containers that are there after all are removed.

    Args:
        context: the launcher's.
        info: the session's container, as it was seen last.
        labels: of that container.
        known: what the server listed, or () where it ended by itself. All of these are the session's, and no others
            but those with such labels. None: the server told nobody, or was killed, so the session's mark has to tell.
        reporter: of the stop.

    Raises:
        EngineError: the engine does not answer.
    """
    gateway = labels.gateway
    if gateway is None:  # they ran in the container, which has ended
        return StopReport(method=StopMethod.ALREADY_STOPPED, kernels=known or (), kernels_gone=known or ())
    deadline = Deadline(min(context.timeouts.gateway, _OWN_SECONDS) if has_unit(labels) else context.timeouts.gateway)
    gateway = find_container(context.engine, gateway, info.networks)
    contained = _find_contained(context, labels)
    others: tuple[str, ...] = ()
    if known is None:
        marked = _find_marked(context, gateway, labels, deadline, reporter)
        known, others = marked.own, marked.of_others
    own, found = tuple(dict.fromkeys((*known, *contained))), gateway

    def end() -> tuple[str, ...]:
        api = _gateway_api(context, found, info, deadline)
        return () if api is None else stop_kernels(api, own, deadline)

    gone = set(_try_on_gateway(context, end) or () if own else ())
    if contained and not has_unit(labels):  # the containers of a unit are removed with it
        contained |= _remove_contained(context, gateway, labels)
        own = tuple(dict.fromkeys((*own, *contained)))
        gone |= {*contained}
    return StopReport(
        method=StopMethod.ALREADY_STOPPED,
        kernels=own,
        kernels_gone=tuple(kernel for kernel in own if kernel in gone),
        kernels_of_others=tuple(kernel for kernel in others if kernel not in own),
    )


def _find_contained(context: Context, labels: SessionLabels) -> dict[str, str]:
    """The session's kernels that have containers of their own, and the ids of these; in a swarm there are none."""
    found = [] if context.swarm is not None else kernels_of(context.engine, labels.start_id)
    return {item.kernel_id: item.container_id for item in found}


def _remove_contained(context: Context, gateway: Gateway, labels: SessionLabels) -> dict[str, str]:
    """See that a session's kernels have no containers any more; what was still there, as ``_find_contained`` has it.

    A broker removes them when their gateway lets them go. Where none does, they are removed here.
    """
    engine = context.engine
    info = None if gateway.container_id is None else engine.inspect(gateway.container_id)
    seconds = _CONTAINER_SECONDS if info is not None and info.running else 0.0
    seen: dict[str, str] = {}
    left: dict[str, str] = {}
    for attempt in attempts(Deadline(seconds), NotYetError):
        with attempt:
            left = _find_contained(context, labels)
            seen |= left
            if left:
                raise NotYetError
            return seen
    for kernel, container in left.items():
        _log.info("container %s of kernel %s is removed here, since nobody else did", container[:12], kernel)
        with leaves(f"container {container[:12]}"):
            engine.remove(container)
    return seen


def _find_marked(
    context: Context, gateway: Gateway, labels: SessionLabels, deadline: Deadline, reporter: PhaseReporter
) -> MarkedKernels:
    """The kernels that carry the session's mark, in the gateway's container and in those of its agents."""
    own: list[str] = []
    others: list[str] = []
    is_seen = gateway.container_id is not None
    for container in _find_places(context, gateway):

        def look(where: str = container) -> MarkedKernels | None:
            return find_marked_kernels(context.engine, where, labels.start_id, deadline)

        marked = _try_on_gateway(context, look)
        is_seen = is_seen and marked is not None
        own += () if marked is None else marked.own
        others += () if marked is None else marked.of_others
    if not is_seen:
        reporter.warn(Phase.STOP, f"nobody could look for the session's kernels in the gateway {gateway.name}")
    return MarkedKernels(own=tuple(dict.fromkeys(own)), of_others=tuple(dict.fromkeys(others)))


def _find_places(context: Context, gateway: Gateway) -> list[str]:
    """The containers in which a gateway's kernels may be processes: its own, or those of its agents."""
    container = gateway.container_id
    if container is None:
        return []
    info = None if context.swarm is not None else context.engine.inspect(container)
    known = None if info is None else ToolLabels.of_container(info.labels, info.name)
    if known is None or known.gateway is None or not known.gateway.isolation:
        return [container]
    parts = find_parts(context.engine, known.gateway.start)
    return [part.item.id for part in parts if part.labels.kind == "agent" and part.item.state == "running"]


def _try_on_gateway(context: Context, call: Callable[[], T | None]) -> T | None:
    """What a call to a gateway gives; None where, in a swarm, nobody reaches the engine of the gateway's node."""
    try:
        return call()
    except EngineError as error:
        if context.swarm is None:
            raise
        _log.warning("nobody reached the gateway: %s", error)
        return None


def _gateway_api(context: Context, gateway: Gateway, info: ContainerInfo, deadline: Deadline) -> JupyterApi | None:
    """The gateway's API, with the token of a gateway of ours, else with the session's own for it.

    None where nobody can ask the gateway.
    """
    running = None if gateway.container_id is None else context.engine.inspect(gateway.container_id)
    # Half of the time, so that some is left for what needs the token.
    token = find_token(context.engine, running, deadline.remaining() / 2) or info.environment.get(
        "JUPYTER_GATEWAY_AUTH_TOKEN"
    )
    return gateway_api(
        context.engine, context.address, gateway, token, container=running, networks=tuple(info.networks)
    )
