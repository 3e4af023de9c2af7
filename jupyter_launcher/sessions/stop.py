"""Stopping a session: its server, its kernels, its container. The one road for ``Session``, ``Launcher`` and reap."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from jupyter_launcher.acts import leaves, shielded
from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.engine.types import ContainerInfo
from jupyter_launcher.errors import EngineError, ExecError, ServerError
from jupyter_launcher.models import Phase, ServerInfo, SessionState, StopMethod, StopReport
from jupyter_launcher.server.api import JupyterApi
from jupyter_launcher.server.process import read_server_info, terminate_server
from jupyter_launcher.sessions.context import Context
from jupyter_launcher.sessions.kernels.ending import end_kernels
from jupyter_launcher.sessions.kernels.unit import has_unit, remove_session_unit
from jupyter_launcher.sessions.phases import PhaseReporter
from jupyter_launcher.spec.labels import SessionLabels
from jupyter_launcher.waiting import Deadline

__all__ = ["remove_containers", "stop_session"]

_log = logging.getLogger("jupyter_launcher")

_INFO_SECONDS = 5.0
_KERNELS_SECONDS = 5.0
_ENDING_SECONDS = 2.0  # from the moment in which a server answers no more to its container's end


def stop_session(
    context: Context, known: ContainerInfo, labels: SessionLabels, server_info: ServerInfo | None = None
) -> StopReport:
    """Stop whatever still runs of a session, then remove its container.

    The container is removed even when a step before fails, and the session's kernels are looked for on
    the gateway even when somebody else removed the container.

    Args:
        context: the launcher's.
        known: the container as it was seen last; its id says which container is meant.
        labels: of that container.
        server_info: of its server; None: it is known, or read by exec.

    Raises:
        EngineError: the engine does not answer, or the container cannot be removed.
    """
    reporter = context.reporter.for_session(labels.session_id)
    with reporter.phase(Phase.STOP) as progress:
        report = _stop(context, known, labels, server_info, reporter)
        context.servers.forget(known.id)
        progress(report.method.value)
        if left := set(report.kernels) - set(report.kernels_gone):
            gateway = labels.gateway.name if labels.gateway else ""
            reporter.warn(Phase.STOP, f"kernels {', '.join(sorted(left))} were not seen gone on the gateway {gateway}")
        if others := report.kernels_of_others:
            seen = "carry the session's mark by a mix-up of the gateway, and were left alone"
            reporter.warn(Phase.STOP, f"kernels {', '.join(others)} {seen}")
        if report.method is StopMethod.UNREACHABLE:
            seen = "nobody reached its node; the swarm ends it, once the node is back"
            reporter.warn(Phase.STOP, f"the session was not seen to end: {seen}")
    _log.info("session %s ended: %s, %d kernels", labels.session_id, report.method.value, len(report.kernels))
    return report


def _stop(
    context: Context,
    known: ContainerInfo,
    labels: SessionLabels,
    server_info: ServerInfo | None,
    reporter: PhaseReporter,
) -> StopReport:
    started = time.monotonic()
    engine = context.engine
    info = engine.inspect(known.id)
    if info is not None and not labels.is_of(info.labels, info.name):  # nobody else's container is ever touched
        return StopReport(method=StopMethod.ALREADY_STOPPED, seconds=time.monotonic() - started)
    method = StopMethod.ALREADY_STOPPED
    # A server that ended by itself has ended its kernels first. Where an ENTRYPOINT of the image stands between, the
    # exit code may be that one's.
    is_servers = labels.options.get("entrypoint") is False or not known.entrypoint
    has_ended = info is not None and info.state == "exited" and info.exit_code == 0 and is_servers
    kernels: tuple[str, ...] | None = () if has_ended else None
    try:
        if info is not None and SessionState.of_container(info.state) in (None, SessionState.PAUSED):
            if info.state == "paused":
                _unpause(engine, info.id)
            with leaves(f"container {info.name}"):
                method, kernels = _stop_on_node(context, info, labels, server_info)
        elif info is not None and SessionState.of_container(info.state) is SessionState.UNREACHABLE:
            method = StopMethod.UNREACHABLE
        ended = end_kernels(context, info or known, labels, kernels, reporter)
    except BaseException:
        with shielded():
            _remove(engine, info, labels)
            # Nobody finds them later: the container is gone, and the mark of its kernels with its labels.
            end_kernels(context, info or known, labels, kernels, reporter)
        raise
    removed = _remove(engine, info, labels)
    if has_unit(labels):  # then all of its kernels are gone with it
        kernels = tuple(dict.fromkeys((*ended.kernels, *removed)))
        ended = replace(ended, kernels=kernels, kernels_gone=kernels)
    return replace(ended, method=method, seconds=time.monotonic() - started)


def _remove(engine: Engine, info: ContainerInfo | None, labels: SessionLabels) -> tuple[str, ...]:
    if info is not None:
        with shielded(), leaves(f"container {info.name}"):
            return remove_containers(engine, info.id, labels)
    if labels.warm:
        with shielded(), leaves(f"container {labels.record_name}"):
            engine.remove(labels.record_name)
    with shielded(), leaves(f"the gateway of session {labels.session_id}"):
        return remove_session_unit(engine, labels)


def remove_containers(engine: Engine, container: str, labels: SessionLabels) -> tuple[str, ...]:
    """Remove a session's container; then its record, where it is from a pool; then its own gateway, with its kernels.

    Returns:
        The ids of the kernels whose containers were removed with that gateway.

    Raises:
        EngineError: the engine refused.
    """
    engine.remove(container)
    if labels.warm:
        engine.remove(labels.record_name)
    return remove_session_unit(engine, labels)


def _unpause(engine: Engine, container: str) -> None:
    try:
        engine.unpause(container)
    except EngineError as error:  # then nothing in it answers, and in the end it is killed
        _log.warning("container %s stays paused: %s", container[:12], error)


def _stop_on_node(
    context: Context, info: ContainerInfo, labels: SessionLabels, server_info: ServerInfo | None
) -> tuple[StopMethod, tuple[str, ...] | None]:
    """As ``_stop_server``. Where nobody reaches the engine of its node in a swarm, the swarm is left to end it.

    On a node that is ready, the swarm ends it by SIGTERM, and the removal that follows waits until it has.
    """
    try:
        return _stop_server(context, info, labels, server_info)
    except EngineError as error:
        if context.swarm is None:
            raise
        _log.warning("the swarm is to end session %s: %s", labels.session_id, error)
    latest = context.engine.inspect(info.id)
    if latest is None:
        return StopMethod.ALREADY_STOPPED, None
    is_away = SessionState.of_container(latest.state) is SessionState.UNREACHABLE
    return StopMethod.UNREACHABLE if is_away else StopMethod.SIGTERM, None


def _stop_server(
    context: Context, info: ContainerInfo, labels: SessionLabels, server_info: ServerInfo | None
) -> tuple[StopMethod, tuple[str, ...] | None]:
    """Stop the kernels, and the server step by step: its API, SIGTERM, and SIGKILL to the whole container.

    After each step the container's end is what counts: it comes when the server's process has ended.
    Returns the step that did it, and the kernels that the server held; None where it did not tell.
    """
    engine, timeouts, container = context.engine, context.timeouts, info.id
    deadline = Deadline(timeouts.shutdown)
    server_info = (
        server_info
        or _find_known(context, info, labels, deadline.shortened(_INFO_SECONDS))
        or _read_server_info(engine, container, deadline.shortened(_INFO_SECONDS))
    )
    api = JupyterApi(context.server_url(info, labels), server_info.token if server_info else None)
    # A part of the time: a server whose gateway is gone takes long to find that out.
    kernels = api.kernels(deadline.shortened(min(_KERNELS_SECONDS, timeouts.shutdown / 4)))
    # Half of the time, so that kernels which do not end leave some for the server, which then ends them.
    api.delete_kernels(kernels or (), deadline.shortened(timeouts.shutdown / 2))
    accepted = api.shutdown(deadline)
    # Without an answer the server may be about to end: another stop may have come before this one.
    patience = deadline.shortened(deadline.seconds if accepted else _ENDING_SECONDS)
    if accepted is not False and engine.wait(container, patience) is not None:
        return StopMethod.API if accepted else StopMethod.ALREADY_STOPPED, kernels
    _log.info("server in %s did not end by its API after %.1f s; SIGTERM", container[:12], deadline.elapsed())
    deadline = Deadline(timeouts.terminate)
    sent = _send_sigterm(engine, container, deadline)
    patience = deadline.shortened(deadline.seconds if sent else _ENDING_SECONDS)
    if engine.wait(container, patience) is not None:
        return StopMethod.SIGTERM if sent else StopMethod.ALREADY_STOPPED, kernels
    _log.info("server in %s did not end by SIGTERM after %.1f s; SIGKILL", container[:12], deadline.elapsed())
    engine.remove(container)
    return StopMethod.KILLED, kernels


def _read_server_info(engine: Engine, container: str, deadline: Deadline) -> ServerInfo | None:
    try:
        return read_server_info(engine, container, deadline)
    except (ExecError, ServerError) as error:
        _log.info("no token from container %s, so its API will refuse: %s", container[:12], error)
        return None


def _find_known(context: Context, info: ContainerInfo, labels: SessionLabels, deadline: Deadline) -> ServerInfo | None:
    """The server as this process knows it, unless it refuses the token that it had then."""
    known = context.servers.find(info)
    if known is None or JupyterApi(context.server_url(info, labels), known.token).takes_token(deadline) is not False:
        return known
    context.servers.forget(info.id)
    return None


def _send_sigterm(engine: Engine, container: str, deadline: Deadline) -> bool:
    """Whether SIGTERM was sent to the server, or may have been."""
    try:
        terminate_server(engine, container, deadline)
    except ExecError as error:
        _log.info("no SIGTERM to the server in %s: %s", container[:12], error)
        return error.started is not False and not error.exit_code
    return True
