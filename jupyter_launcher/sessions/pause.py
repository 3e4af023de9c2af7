"""Pausing a session, so that it uses no core, and letting it go on."""

from __future__ import annotations

from jupyter_launcher.engine.types import ContainerInfo
from jupyter_launcher.errors import EngineError, ExecError, ServerNotRunningError, SessionNotFoundError
from jupyter_launcher.server.process import renew_lease
from jupyter_launcher.sessions.context import Context
from jupyter_launcher.spec.labels import SessionLabels
from jupyter_launcher.waiting import Deadline, NotYetError, attempts

__all__ = ["pause_session", "refuse_paused", "resume_session"]

_PAUSE_SECONDS = 10.0
"""On a busy machine with control groups of version 1, an engine may have to try more than once."""


def pause_session(context: Context, container: str, labels: SessionLabels) -> None:
    """Stop all processes of a session's container where they are; nothing happens where they are.

    Raises:
        SessionNotFoundError: the container was removed.
        ServerNotRunningError: it has ended, or was never started.
        EngineError: the engine does not answer, or cannot pause.
    """
    _find_running(context, container, labels)
    refused: EngineError | None = None
    for attempt in attempts(Deadline(_PAUSE_SECONDS), NotYetError):
        with attempt:
            try:
                context.engine.pause(container)
            except EngineError as error:
                if error.status != 500:  # else the kernel did not freeze all processes in time, perhaps
                    raise
                refused = error
                raise NotYetError from error
            return
    if refused is not None:
        raise refused


def resume_session(context: Context, container: str, labels: SessionLabels) -> None:
    """Let a paused session go on, and start its lease anew; a session that runs only gets its lease.

    Raises:
        SessionNotFoundError: the container was removed.
        ServerNotRunningError: it has ended, was never started, or is ending since its lease was over.
        ExecError: the lease did not move, although the session runs.
        EngineError: the engine does not answer.
    """
    if _find_running(context, container, labels).state == "paused":
        context.engine.unpause(container)
    if labels.lease is not None:
        renew_lease(context.engine, container, labels.lease)


def refuse_paused(info: ContainerInfo, labels: SessionLabels) -> None:
    """Say of a paused session that it is: no command runs in it, so nobody can tell more.

    Raises:
        ExecError: it is paused.
    """
    if info.state == "paused":
        msg = f"session {labels.session_id} is paused"
        hint = (
            "resume it: Launcher.resume, or `jupyter-launcher resume`; while a `docker commit` runs, wait for its end"
        )
        raise ExecError(msg, hint=hint, started=False)


def _find_running(context: Context, container: str, labels: SessionLabels) -> ContainerInfo:
    info = context.engine.inspect(container)
    if info is None:
        msg = f"session {labels.session_id} is gone: its container was removed"
        raise SessionNotFoundError(msg, hint="start it again", session_id=labels.session_id)
    if not info.running:
        msg = f"no server runs in session {labels.session_id} ({info.state}, exit code {info.exit_code})"
        hint = "start it again with the same session_id, or stop it"
        raise ServerNotRunningError(msg, hint=hint, exit_code=info.exit_code, session_id=labels.session_id)
    return info
