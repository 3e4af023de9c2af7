"""Listing sessions and reaping those that are dead or orphaned: the engine's list is the only record."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from jupyter_launcher.engine.types import ContainerInfo, ListedContainer
from jupyter_launcher.errors import LauncherError, SessionUnreadableError
from jupyter_launcher.gateway.parts import summarise
from jupyter_launcher.models import ReapedSession, SessionState, SessionSummary
from jupyter_launcher.server.api import JupyterApi
from jupyter_launcher.sessions.context import Context
from jupyter_launcher.sessions.stop import stop_session
from jupyter_launcher.spec.kernels.labels import PartLabels
from jupyter_launcher.spec.labels import SessionLabels, ToolLabels, owner_of
from jupyter_launcher.threads import map_at_once
from jupyter_launcher.waiting import Deadline

__all__ = ["list_ids", "list_sessions", "reap_sessions"]

_PROBES = 16
_PROBE_SECONDS = 2.0
_LIST_SECONDS = 10.0
_KILLED = 137
_DEAD = (SessionState.EXITED, SessionState.CREATED)
_LEFT_ALONE = (SessionState.UNREADABLE, SessionState.UNREACHABLE)
_Read = SessionLabels | SessionUnreadableError


def list_ids(context: Context) -> list[str]:
    """The ids of all sessions of the namespace, in every state; containers that cannot be read are left out."""
    listed = context.engine.containers(*SessionLabels.filters(context.namespace))
    return [labels.session_id for item, labels in _find_sessions(listed) if isinstance(labels, SessionLabels)]


def list_sessions(context: Context, *, probe: bool = True) -> list[SessionSummary]:
    """All sessions of the namespace, newest first.

    Without ``probe``: one call to the engine and nothing more. With it:
    One call to the engine, and a request to each server that may run, at the same time: 2 s for each, and 10 s for
    all. For a server that does not answer, the engine's clock decides whether it may still be starting.
    Containers that ended with 137 are inspected, because the list does not say whether they ran out of memory.
    """
    listed = context.engine.containers(*SessionLabels.filters(context.namespace))
    sessions = _find_sessions(listed)
    deadline = Deadline(_LIST_SECONDS) if probe else None
    found = (
        map_at_once(lambda session: _look_at(context, *session, deadline), sessions, threads=_PROBES)
        if probe
        else [_look_at(context, *session, deadline) for session in sessions]
    )
    if any(item.state is SessionState.STARTING for item in found):
        latest = context.engine.now() - context.timeouts.start
        found = [_mark_unresponsive(item, latest) for item in found]
    return _add_kernels(found, sessions, listed)


def _add_kernels(
    found: list[SessionSummary],
    sessions: Sequence[tuple[ListedContainer, _Read]],
    listed: Sequence[ListedContainer],
) -> list[SessionSummary]:
    """With the kernels that have containers of their own; those of gateways of other namespaces are not listed."""
    kernels = [(kernel, labels.kernel_of) for kernel, labels in summarise(listed) if labels.kernel_of]
    if not kernels:
        return found
    starts = [labels.start_id if isinstance(labels, SessionLabels) else None for _, labels in sessions]
    return [
        replace(item, kernels=tuple(kernel for kernel, of in kernels if of == start))
        for item, start in zip(found, starts, strict=True)
    ]


def _find_sessions(listed: Sequence[ListedContainer]) -> list[tuple[ListedContainer, _Read]]:
    """Of the containers of a namespace the sessions, each with its labels, or why those cannot be a session's."""
    # The image of a kernel may be committed from a session, and have its labels.
    listed = [item for item in listed if PartLabels.of_container(item.labels, item.name) is None]
    tools = ((item, ToolLabels.of_container(item.labels, item.name)) for item in listed)
    records = {tool.of: item for item, tool in tools if tool is not None and tool.of}
    found = [_read(item, records.get(item.id)) for item in listed if SessionLabels.is_session(item.labels, item.name)]
    return sorted(found, key=lambda session: session[0].created, reverse=True)


def _read(item: ListedContainer, record: ListedContainer | None) -> tuple[ListedContainer, _Read]:
    try:
        labels = SessionLabels.of_session(item.labels, item.name, None if record is None else record.labels)
    except SessionUnreadableError as error:
        return item, error
    # A server of a pool was there before anybody asked for the session.
    return (item if record is None or not labels.has_record else replace(item, created=record.created)), labels


def _look_at(context: Context, item: ListedContainer, labels: _Read, deadline: Deadline | None) -> SessionSummary:
    """One session, of which nobody is asked where there is no deadline; whatever is wrong with it is its own matter."""
    if isinstance(labels, SessionUnreadableError):
        return _summary(item, None, SessionState.UNREADABLE, detail=str(labels))
    known = SessionState.of_container(item.state)
    if deadline is None:
        return _summary(item, labels, known or SessionState.UNPROBED)
    try:
        if known is not None:
            detail = item.status if known is SessionState.UNREACHABLE else ""
            return _summary(item, labels, known, oom_killed=_was_out_of_memory(context, item), detail=detail)
        if deadline.expired():
            detail = f"nobody looked at its server: the sessions before it took {deadline.seconds:g} s"
            return _summary(item, labels, SessionState.UNRESPONSIVE, detail=detail)
        # Without the token, which only an exec could read: an answer is proof enough of a server.
        api = JupyterApi(context.server_url(item, labels))
        is_alive = api.is_alive(deadline.shortened(_PROBE_SECONDS))
        return _summary(item, labels, SessionState.READY if is_alive else SessionState.STARTING)
    except Exception as error:  # noqa: BLE001 - the others are listed all the same
        return _summary(item, labels, known or SessionState.UNRESPONSIVE, detail=f"{type(error).__name__}: {error}")


def _was_out_of_memory(context: Context, item: ListedContainer) -> bool:
    info = context.engine.inspect(item.id) if item.exit_code == _KILLED else None
    return info is not None and info.oom_killed


def _summary(
    item: ListedContainer,
    labels: SessionLabels | None,
    state: SessionState,
    *,
    oom_killed: bool = False,
    detail: str = "",
) -> SessionSummary:
    gateway = labels.gateway if labels else None
    if labels is not None and not labels.has_record:
        detail = detail or f"container {labels.record_name} was removed, which held its directory, labels and lease"
    return SessionSummary(
        session_id=labels.session_id if labels else SessionLabels.claimed_id(item.labels),
        container_id=item.id,
        container_name=item.name,
        pipeline_dir=labels.pipeline_dir if labels and labels.has_record else None,
        gateway=gateway.name if gateway else None,
        image=item.image,
        created=item.created,
        owner=owner_of(item.labels),
        status=item.status,
        state=state,
        exit_code=item.exit_code,
        oom_killed=oom_killed,
        detail=detail,
        node=item.node,
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
            reaped.append(_reap(context, item, reason, keep, dry_run=dry_run))
    return reaped


def _reason(item: SessionSummary, keep: Collection[str] | None) -> str | None:
    if item.state in _DEAD:
        return str(item.state.value)
    if item.state in _LEFT_ALONE or keep is None or item.session_id in keep:
        return None
    return "orphaned"


def _reap(
    context: Context, item: SessionSummary, reason: str, keep: Collection[str] | None, *, dry_run: bool
) -> ReapedSession:
    """Stop the container that was judged, after another look at it: those before it may have taken long."""
    reaped = ReapedSession(
        session_id=item.session_id, container_id=item.container_id, reason=reason, name=item.container_name
    )
    if dry_run:
        return reaped
    try:
        info = context.engine.inspect(item.container_id)
        if info is None:
            return replace(reaped, error="somebody else removed it meanwhile")
        why = _why_not(item, info, keep)
        if why:
            return replace(reaped, error=f"{why} by now; it was left alone")
        labels = SessionLabels.of_session(info.labels, info.name)
        return replace(reaped, report=stop_session(context, info, labels))
    except LauncherError as error:
        return replace(reaped, error=str(error))
    except Exception as error:  # noqa: BLE001 - the others must not wait for it
        return replace(reaped, error=f"{type(error).__name__}: {error}")


def _why_not(item: SessionSummary, info: ContainerInfo, keep: Collection[str] | None) -> str:
    """Why a container that was to be reaped is not any more; empty where it still is."""
    state = SessionState.of_container(info.state)
    if state is SessionState.UNREACHABLE or (item.state in _DEAD and state not in _DEAD):
        return f"its container is {info.state}"
    if item.state in _DEAD:
        return ""
    return "it is to be kept" if keep is not None and item.session_id in keep else ""
