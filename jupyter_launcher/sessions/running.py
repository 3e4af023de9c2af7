"""What is done with a session that runs: it is asked for its use, paused, and let go on."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.engine.types import ContainerInfo
from jupyter_launcher.errors import EngineError, ExecError, ServerTimeoutError
from jupyter_launcher.models import Activity, Stats
from jupyter_launcher.server.activity import read_activity
from jupyter_launcher.server.api import JupyterApi
from jupyter_launcher.server.failures import refuse_unreachable, require_running
from jupyter_launcher.server.process import renew_lease
from jupyter_launcher.sessions.context import Context
from jupyter_launcher.sessions.kernels.unit import find_used
from jupyter_launcher.spec.labels import SessionLabels
from jupyter_launcher.threads import map_at_once
from jupyter_launcher.waiting import Deadline, NotYetError, attempts

__all__ = [
    "find_activity",
    "find_stats",
    "pause_session",
    "refuse_paused",
    "resume_session",
]

_SECONDS = 5.0
_AT_ONCE = 32

_PAUSE_SECONDS = 10.0
"""On a busy machine with control groups of version 1, an engine may have to try more than once."""


def pause_session(context: Context, container: str, labels: SessionLabels) -> None:
    """Stop all processes of a session's container where they are; nothing happens where they are.

    Raises:
        OptionError: the sessions are in a swarm, where nothing can be paused.
        SessionNotFoundError: the container was removed.
        ServerNotRunningError: it has ended, or was never started.
        EngineError: the engine does not answer, or cannot pause.
    """
    context.refuse_in_swarm("pause")
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
        OptionError: the sessions are in a swarm, where nothing can be paused.
        SessionNotFoundError: the container was removed.
        ServerNotRunningError: it has ended, was never started, or is ending since its lease was over.
        ExecError: the lease did not move, although the session runs.
        EngineError: the engine does not answer.
    """
    context.refuse_in_swarm("resume")
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


def find_activity(context: Context, container: str, labels: SessionLabels, token: str) -> Activity:
    """The use of a session, as ``Session.activity`` says."""
    info = _find_running(context, container, labels)
    if info.state == "paused":
        msg = f"session {labels.session_id} is paused, so its server does not answer"
        hint = "let it go on: Session.resume, or `jupyter-launcher resume`"
        raise ServerTimeoutError(msg, hint=hint)
    return read_activity(JupyterApi(context.server_url(info, labels), token), Deadline(_SECONDS))


def find_stats(context: Context, container: str, labels: SessionLabels) -> Stats:
    """What a session and its kernels in containers use, as ``Session.stats`` says; all are asked at once."""
    _find_running(context, container, labels)
    kernels = find_used(context, labels)
    asked = {"": container, **kernels}
    results = map_at_once(partial(_ask, context.engine), list(asked.values()), threads=_AT_ONCE)
    found = dict(zip(asked, results, strict=True))
    stats = found.pop("")
    if isinstance(stats, EngineError):
        _find_running(context, container, labels)  # it may have ended meanwhile
        raise stats
    if stats == Stats():
        _find_running(context, container, labels)
    # A kernel may have ended meanwhile too, and then its use is none.
    used = {name: item for name, item in found.items() if isinstance(item, Stats) and item != Stats()}
    return replace(stats, kernels=used)


def _ask(engine: Engine, container: str) -> Stats | EngineError:
    try:
        return engine.stats(container)
    except EngineError as error:
        return error


def _find_running(context: Context, container: str, labels: SessionLabels) -> ContainerInfo:
    """The container as it is now.

    Raises:
        SessionNotFoundError: it was removed.
        ServerNotRunningError: it has ended.
        EngineUnavailableError: its node is away.
    """
    info = require_running(context.engine.inspect(container), labels.session_id)
    refuse_unreachable(info, labels.session_id)
    return info
