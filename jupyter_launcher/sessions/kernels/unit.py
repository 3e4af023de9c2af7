"""The gateway that is one unit with a session: made before it, told where it is, and removed with it."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator

from jupyter_launcher.acts import leaves, note_left, shielded
from jupyter_launcher.engine.images import DEFAULT_GATEWAY_IMAGE
from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.engine.types import ContainerInfo
from jupyter_launcher.errors import EngineError, GatewayError
from jupyter_launcher.gateway.find import resolve_gateway
from jupyter_launcher.gateway.parts import find_parts, kernels_of, remove_unit
from jupyter_launcher.gateway.preflight import check_kernel_limits, check_kernel_mounts
from jupyter_launcher.gateway.run import GatewayRequest
from jupyter_launcher.gateway.socket import find_engine_socket
from jupyter_launcher.gateway.unit import bind_session, make_gateway
from jupyter_launcher.host.process import is_process_dead
from jupyter_launcher.models import Gateway, Phase, SessionState, Volume
from jupyter_launcher.sessions.context import Context
from jupyter_launcher.sessions.phases import PhaseReporter
from jupyter_launcher.spec.kernels.options import KernelOptions
from jupyter_launcher.spec.labels import SessionLabels, ToolLabels, gateway_filter
from jupyter_launcher.spec.options import SessionSpec
from jupyter_launcher.waiting import Deadline

__all__ = [
    "Unit",
    "check_unit",
    "find_used",
    "has_unit",
    "make_unit",
    "remove_lost_unit",
    "remove_session_unit",
    "remove_unit_of",
    "warn_lost_unit",
]

_log = logging.getLogger("jupyter_launcher")


def check_unit(context: Context, kernels: KernelOptions) -> None:
    """Refuse kernels that this engine cannot give, before anything is made.

    Raises:
        OptionError: it does not enforce a limit; the source of a mount cannot be, or is refused; or there is no socket
            for a broker.
    """
    check_kernel_limits(context.engine.traits, kernels)
    check_kernel_mounts(context.address, kernels, context.rules)
    if kernels.isolation == "kernel":
        find_engine_socket(context.address, context.engine_socket)


class Unit:
    """A gateway that is made for one start of a session, and is removed where that fails.

    Attributes:
        gateway: as the session's server reaches it.
        is_kept: the start has come to its end, so it stays.
    """

    def __init__(self, context: Context, gateway: Gateway) -> None:
        self.gateway = gateway
        self.is_kept = False
        self._context = context

    def bind(self, info: ContainerInfo) -> None:
        """Let it end when the session does, whose server answers by now.

        Raises:
            GatewayError: the session has no address on the gateway's network.
            ExecError: the gateway was not told.
            EngineError: the engine does not answer.
        """
        ip = info.networks.get(self.gateway.network or "", "")
        if not ip or self.gateway.container_id is None:
            msg = f"the session has no address on network {self.gateway.network!r}, where its gateway would look for it"
            raise GatewayError(msg, hint="give network= a bridge network with IPv4", gateway=self.gateway.name)
        bind_session(self._context.engine, self.gateway.container_id, ip, Deadline(self._context.timeouts.gateway))


@contextlib.contextmanager
def make_unit(
    context: Context,
    spec: SessionSpec,
    given: str | os.PathLike[str] | Volume,
    start_id: str,
    pull: str,
    reporter: PhaseReporter,
) -> Iterator[Unit | None]:
    """The gateway of a session's own; None where none is asked for. It is removed at the end unless it is to be kept.

    Args:
        context: of the start.
        spec: what was asked for.
        given: the pipeline directory, as the caller gave it.
        start_id: of the session; the gateway's own start has it too, so that all parts of the unit are found by it.
        pull: when to pull the kernels' images.
        reporter: of the start's phases.

    Raises:
        LauncherError: as ``Launcher.run_gateway`` says. Nothing that was made stays behind.
    """
    if spec.kernels is None:
        yield None
        return
    # Ours is built with the library, so a pull has nothing newer.
    context.ensure_image(DEFAULT_GATEWAY_IMAGE, "never" if pull == "never" else "missing", reporter)
    for image in dict.fromkeys(item.image for item in spec.kernels.images.values()):
        context.ensure_image(image, pull, reporter)
    request = GatewayRequest(
        pipeline_dir=given,
        image=DEFAULT_GATEWAY_IMAGE,
        namespace=spec.namespace,
        owner=context.owner,
        network=spec.network,
        seconds=context.timeouts.start,
        user=spec.user,
        rules=context.rules,
        relabel=spec.pipeline_relabel,
        read_only=spec.pipeline_read_only,
        kernels=spec.kernels,
        engine_socket=context.engine_socket,
        session_start=start_id,
        session_id=spec.session_id,
    )
    unit: Unit | None = None
    with leaves(f"the gateway of session {spec.session_id}"):
        with reporter.phase(Phase.GATEWAY):
            made = make_gateway(context.engine, context.address, request)
        try:
            unit = Unit(context, resolve_gateway(context.engine, made.running.name, seconds=context.timeouts.gateway))
            yield unit
        finally:
            if unit is None or not unit.is_kept:
                with shielded():
                    _remove_unwanted(context, spec.session_id, start_id, made.container_id)


def _remove_unwanted(context: Context, session_id: str, start_id: str, gateway: str) -> None:
    try:
        remove_unit(context.engine, start_id, gateway)
    except EngineError as error:  # what the caller gets is why the start failed
        _log.warning("the gateway of session %s may be left; Launcher.reap removes it: %s", session_id, error)
        note_left(f"the gateway of session {session_id}")


def has_unit(labels: SessionLabels) -> bool:
    """Whether a session was started together with a gateway of its own."""
    return labels.options.get("kernels") is not None


def warn_lost_unit(engine: Engine, labels: SessionLabels) -> tuple[str, ...]:
    """What to say of a session whose own gateway has ended, which it outlives without kernels; nothing of others."""
    gateway = labels.gateway
    if gateway is None or gateway.container_id is None or not has_unit(labels):
        return ()
    try:
        info = engine.inspect(gateway.container_id)
    except EngineError:  # nobody can tell
        return ()
    if info is not None and SessionState.of_container(info.state) is not SessionState.EXITED:
        return ()
    return (f"the session's gateway {gateway.name} has ended, and its kernels with it: stop it, and start it again",)


def find_used(context: Context, labels: SessionLabels) -> dict[str, str]:
    """Containers that run kernels of this session alone, by what ``Stats.kernels`` calls them."""
    if labels.gateway is None or context.swarm is not None:
        return {}
    if not has_unit(labels):
        return {
            item.kernel_id: item.container_id
            for item in kernels_of(context.engine, labels.start_id)
            if item.state == "running"
        }
    parts = find_parts(context.engine, labels.start_id)
    used = {part.labels.kernel_id or part.labels.kernel_name: part.item for part in parts}
    return {name: item.id for name, item in used.items() if name and item.state == "running"}


def remove_session_unit(engine: Engine, labels: SessionLabels) -> tuple[str, ...]:
    """Remove the gateway that is one unit with a session, and all of its parts; what is gone is passed over.

    Returns:
        The ids of the kernels whose containers were removed.

    Raises:
        EngineError: the engine refused; the rest was tried all the same.
    """
    if not has_unit(labels):
        return ()
    return remove_unit(engine, labels.start_id, labels.gateway.container_id if labels.gateway else None)


def remove_unit_of(engine: Engine, gateway: Gateway) -> None:
    """Remove a session's gateway where it is one unit with a session; one that sessions share stays.

    Raises:
        EngineError: the engine refused; the rest was tried all the same.
    """
    info = None if gateway.container_id is None else engine.inspect(gateway.container_id)
    labels = None if info is None else ToolLabels.of_container(info.labels, info.name)
    if info is not None and labels is not None and labels.gateway is not None and labels.gateway.session_start:
        remove_unit(engine, labels.gateway.start, info.id)


def remove_lost_unit(context: Context, session_id: str) -> tuple[str, ...] | None:
    """Remove what is left of the unit of a session that has no container any more: somebody else removed it.

    Not touched: a gateway whose session is just being started, by a process that lives.

    Returns:
        The ids of the kernels whose containers were removed; None where nothing was left.
    """
    found: list[str] | None = None
    for item in context.engine.containers(gateway_filter(context.namespace)):
        labels = ToolLabels.of_container(item.labels, item.name)
        gateway = None if labels is None else labels.gateway
        if labels is None or gateway is None or not gateway.session_start or gateway.session_id != session_id:
            continue
        has_ended = SessionState.of_container(item.state) is SessionState.EXITED
        # Only its maker could have started a session with it after that.
        if has_ended or is_process_dead(labels.process):
            found = [*(found or ()), *remove_unit(context.engine, gateway.start, item.id)]
    return None if found is None else tuple(found)
