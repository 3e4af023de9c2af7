"""Listing sessions and reaping those that are dead or orphaned: the engine's list is the only record."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from jupyter_launcher.engine.types import ListedContainer
from jupyter_launcher.errors import LauncherError, SessionUnreadableError
from jupyter_launcher.models import ReapedSession, SessionState, SessionSummary
from jupyter_launcher.server.api import JupyterApi
from jupyter_launcher.sessions.context import Context
from jupyter_launcher.sessions.join import find_session
from jupyter_launcher.sessions.stop import stop_session
from jupyter_launcher.spec.labels import SessionLabels, owner_of

__all__ = ["list_ids", "list_sessions", "reap_sessions"]

_PROBES = 16
_PROBE_SECONDS = 2.0
_KILLED = 137


def list_ids(context: Context) -> list[str]:
    """The ids of all sessions of the namespace, in every state; containers that cannot be read are left out."""
    listed = context.engine.containers(*SessionLabels.filters(context.namespace))
    return [labels.session_id for item in listed if isinstance(labels := _read(item), SessionLabels)]


def list_sessions(context: Context) -> list[SessionSummary]:
    """All sessions of the namespace, newest first.

    One call to the engine, and a request to each server that may run, at the same time. For a server that
    does not answer, the engine's clock decides whether it may still be starting. Containers that ended with
    137 are inspected, because the list does not say whether they ran out of memory.
    """
    listed = context.engine.containers(*SessionLabels.filters(context.namespace))
    if not listed:
        return []
    with ThreadPoolExecutor(max_workers=min(_PROBES, len(listed))) as pool:
        found = list(pool.map(lambda item: _summarize(context, item), listed))
    if any(item.state is SessionState.STARTING for item in found):
        latest = context.engine.now() - context.timeouts.start
        found = [_mark_unresponsive(item, latest) for item in found]
    return found


def _read(item: ListedContainer) -> SessionLabels | SessionUnreadableError:
    """A listed container's labels, or why they cannot be taken for a session's."""
    try:
        return SessionLabels.of_session(item.labels, item.name)
    except SessionUnreadableError as error:
        return error


def _summarize(context: Context, item: ListedContainer) -> SessionSummary:
    labels = _read(item)
    if isinstance(labels, SessionUnreadableError):
        return _summary(item, None, SessionState.UNREADABLE, detail=str(labels))
    if (ended := SessionState.of_ended(item.state)) is not None:
        info = context.engine.inspect(item.id) if item.exit_code == _KILLED else None
        return _summary(item, labels, ended, oom_killed=info is not None and info.oom_killed)
    # Without the token, which only an exec could read: an answer is proof enough of a server.
    is_alive = JupyterApi(context.server_url(item, labels)).is_alive(timeout=_PROBE_SECONDS)
    return _summary(item, labels, SessionState.READY if is_alive else SessionState.STARTING)


def _summary(
    item: ListedContainer,
    labels: SessionLabels | None,
    state: SessionState,
    *,
    oom_killed: bool = False,
    detail: str = "",
) -> SessionSummary:
    gateway = labels.gateway if labels else None
    return SessionSummary(
        session_id=labels.session_id if labels else SessionLabels.claimed_id(item.labels),
        container_id=item.id,
        container_name=item.name,
        pipeline_dir=labels.pipeline_dir if labels else None,
        gateway=gateway.name if gateway else None,
        image=item.image,
        created=item.created,
        owner=owner_of(item.labels),
        status=item.status,
        state=state,
        exit_code=item.exit_code,
        oom_killed=oom_killed,
        detail=detail,
    )


def _mark_unresponsive(item: SessionSummary, latest: float) -> SessionSummary:
    late = item.state is SessionState.STARTING and item.created < latest
    return replace(item, state=SessionState.UNRESPONSIVE) if late else item


def reap_sessions(
    context: Context, *, min_age: float, keep: Collection[str] | None, owner: str | None, dry_run: bool
) -> list[ReapedSession]:
    """Stop the sessions that are dead or orphaned, as ``Launcher.reap`` says."""
    sessions = [item for item in list_sessions(context) if owner is None or item.owner == owner]
    now = context.engine.now()
    reaped = []
    for item in sessions:
        reason = _reason(item, keep)
        if reason is not None and now - item.created >= min_age:
            reaped.append(_reap(context, item, reason, dry_run=dry_run))
    return reaped


def _reason(item: SessionSummary, keep: Collection[str] | None) -> str | None:
    if item.state in (SessionState.EXITED, SessionState.CREATED):
        return str(item.state.value)
    if item.state is SessionState.UNREADABLE or keep is None or item.session_id in keep:
        return None
    return "orphaned"


def _reap(context: Context, item: SessionSummary, reason: str, *, dry_run: bool) -> ReapedSession:
    reaped = ReapedSession(session_id=item.session_id, container_id=item.container_id, reason=reason)
    if dry_run:
        return reaped
    try:
        info, labels = find_session(context, item.session_id)
        if info.id != item.container_id:
            return replace(reaped, error="another container has the session's name by now; it was left alone")
        return replace(reaped, report=stop_session(context, info, labels))
    except LauncherError as error:  # the others must not wait for it
        return replace(reaped, error=str(error))
