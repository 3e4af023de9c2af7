"""What a session does and uses: its server and the engine are asked."""

from __future__ import annotations

from jupyter_launcher.engine.types import ContainerInfo
from jupyter_launcher.errors import EngineError, ServerNotRunningError, ServerTimeoutError, SessionNotFoundError
from jupyter_launcher.models import Activity, Stats
from jupyter_launcher.server.activity import read_activity
from jupyter_launcher.server.api import JupyterApi
from jupyter_launcher.sessions.context import Context
from jupyter_launcher.spec.labels import SessionLabels
from jupyter_launcher.waiting import Deadline

__all__ = ["find_activity", "find_stats"]

_SECONDS = 5.0


def find_activity(context: Context, container: str, labels: SessionLabels, token: str) -> Activity:
    """The use of a session, as ``Session.activity`` says."""
    info = _find_running(context, container, labels)
    if info.state == "paused":
        msg = f"session {labels.session_id} is paused, so its server does not answer"
        hint = f"let it go on with `docker unpause {info.name}`"
        raise ServerTimeoutError(msg, hint=hint)
    return read_activity(JupyterApi(context.server_url(info, labels), token), Deadline(_SECONDS))


def find_stats(context: Context, container: str, labels: SessionLabels) -> Stats:
    """What a session uses, as ``Session.stats`` says."""
    _find_running(context, container, labels)
    try:
        stats = context.engine.stats(container)
    except EngineError:
        _find_running(context, container, labels)  # it may have ended meanwhile
        raise
    if stats == Stats():
        _find_running(context, container, labels)
    return stats


def _find_running(context: Context, container: str, labels: SessionLabels) -> ContainerInfo:
    """The container as it is now.

    Raises:
        SessionNotFoundError: it was removed.
        ServerNotRunningError: it has ended.
    """
    info = context.engine.inspect(container)
    if info is None:
        msg = f"session {labels.session_id} is gone: its container was removed"
        raise SessionNotFoundError(msg, hint="start it again", session_id=labels.session_id)
    if not info.running:
        msg = f"session {labels.session_id} does not run ({info.state}, exit code {info.exit_code})"
        raise ServerNotRunningError(
            msg,
            hint="start it again with the same session_id, or stop it",
            exit_code=info.exit_code,
            oom_killed=info.oom_killed,
            session_id=labels.session_id,
        )
    return info
