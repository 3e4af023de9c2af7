"""Stopping a session: its server, its kernels, its container. The one road for ``Session``, ``Launcher`` and reap."""

from __future__ import annotations

import logging
import time

from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.engine.types import ContainerInfo
from jupyter_launcher.errors import ExecError, ServerError, SessionUnreadableError
from jupyter_launcher.gateway import find_marked_kernels, gateway_api, stop_kernels
from jupyter_launcher.models import Phase, StopMethod, StopReport, Timeouts
from jupyter_launcher.server.api import JupyterApi
from jupyter_launcher.server.process import read_server_info, terminate_server
from jupyter_launcher.sessions.context import Context
from jupyter_launcher.sessions.phases import PhaseReporter
from jupyter_launcher.spec.labels import SessionLabels
from jupyter_launcher.waiting import Deadline

__all__ = ["stop_session"]

_log = logging.getLogger("jupyter_launcher")

_TOKEN_SECONDS = 1.0


def stop_session(
    context: Context, known: ContainerInfo, labels: SessionLabels, *, token: str | None = None
) -> StopReport:
    """Stop whatever still runs of a session, then remove its container.

    The container is removed even when a step before fails, and the session's kernels are looked for on
    the gateway even when somebody else removed the container.

    Args:
        context: the launcher's.
        known: the container as it was seen last; its id says which container is meant.
        labels: of that container.
        token: the server's; None: it is read by exec.

    Raises:
        EngineError: the engine does not answer, or the container cannot be removed.
    """
    reporter = context.reporter.for_session(labels.session_id)
    with reporter.phase(Phase.STOP) as progress:
        report = _stop(context, known, labels, token, reporter)
        progress(report.method.value)
        if left := set(report.kernels) - set(report.kernels_gone):
            gateway = labels.gateway.name if labels.gateway else ""
            reporter.warn(Phase.STOP, f"kernels {', '.join(sorted(left))} were not seen gone on the gateway {gateway}")
    _log.info("session %s ended: %s, %d kernels", labels.session_id, report.method.value, len(report.kernels))
    return report


def _stop(
    context: Context, known: ContainerInfo, labels: SessionLabels, token: str | None, reporter: PhaseReporter
) -> StopReport:
    started = time.monotonic()
    engine = context.engine
    info = engine.inspect(known.id)
    if info is not None and not _is_session(info, labels):
        return StopReport(method=StopMethod.ALREADY_STOPPED, seconds=time.monotonic() - started)
    method = StopMethod.ALREADY_STOPPED
    kernels: tuple[str, ...] = ()
    try:
        if info is not None and info.state == "paused":
            method = StopMethod.KILLED  # a paused process takes no signal, and the removal kills it
        elif info is not None and info.running:
            api = JupyterApi(context.server_url(info, labels), token or _read_token(engine, info.id))
            kernels = api.kernels() or ()
            api.delete_kernels(kernels, timeout=context.timeouts.shutdown)
            method = _stop_server(engine, info.id, api, context.timeouts)
        kernels, gone = _stop_kernels(context, info or known, labels, kernels, reporter)
    finally:
        if info is not None:
            engine.remove(info.id)
    return StopReport(method=method, kernels=kernels, kernels_gone=gone, seconds=time.monotonic() - started)


def _is_session(info: ContainerInfo, labels: SessionLabels) -> bool:
    """Whether a container is the session's: nobody else's container is ever touched."""
    try:
        return SessionLabels.from_labels(info.labels, info.name).start_id == labels.start_id
    except SessionUnreadableError:
        return False


def _read_token(engine: Engine, container: str) -> str | None:
    try:
        return read_server_info(engine, container, Deadline(_TOKEN_SECONDS)).token
    except (ExecError, ServerError) as error:
        _log.info("no token from container %s, so its API will refuse: %s", container[:12], error)
        return None


def _stop_server(engine: Engine, container: str, api: JupyterApi, timeouts: Timeouts) -> StopMethod:
    """Stop the server step by step: its API, SIGTERM, and SIGKILL to the whole container.

    After each step the container's end is what counts: it comes when the server's process has ended.
    Returns the step that did it.
    """
    deadline = Deadline(timeouts.shutdown)
    if api.shutdown(timeout=deadline.remaining()) and engine.wait(container, deadline) is not None:
        return StopMethod.API
    _log.info("server in %s did not end by its API after %.1f s; SIGTERM", container[:12], deadline.elapsed())
    deadline = Deadline(timeouts.terminate)
    if _send_sigterm(engine, container, deadline) and engine.wait(container, deadline) is not None:
        return StopMethod.SIGTERM
    _log.info("server in %s did not end by SIGTERM after %.1f s; SIGKILL", container[:12], deadline.elapsed())
    engine.remove(container)
    return StopMethod.KILLED


def _send_sigterm(engine: Engine, container: str, deadline: Deadline) -> bool:
    """Whether SIGTERM was sent to the server, or may have been."""
    try:
        terminate_server(engine, container, deadline)
    except ExecError as error:
        _log.info("no SIGTERM to the server in %s: %s", container[:12], error)
        return error.started is not False and not error.exit_code
    return True


def _stop_kernels(
    context: Context, info: ContainerInfo, labels: SessionLabels, known: tuple[str, ...], reporter: PhaseReporter
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """All kernels that were the session's, and those of them that are gone."""
    gateway = labels.gateway
    if gateway is None:
        return known, known  # they ran in the container, which has ended
    deadline = Deadline(context.timeouts.gateway)
    left: tuple[str, ...] | None = ()
    if gateway.container_id is not None:
        # A server that was killed told nobody of its kernels, and one that ends while a kernel
        # starts does not know of it itself.
        left = find_marked_kernels(context.engine, gateway.container_id, labels.start_id, deadline)
    if left is None:
        reporter.warn(Phase.STOP, f"nobody could look for the session's kernels in the gateway {gateway.name}")
    kernels = tuple(dict.fromkeys((*known, *(left or ()))))
    if not kernels:
        return (), ()
    token = info.environment.get("JUPYTER_GATEWAY_AUTH_TOKEN")
    return kernels, stop_kernels(gateway_api(context.engine, context.address, gateway, token), kernels, deadline)
