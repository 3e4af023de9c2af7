"""The engine's containers as the one registry of sessions: what there is, and what to end."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from jupyter_launcher import container, place
from jupyter_launcher.engine import Engine
from jupyter_launcher.engine_types import ListedContainer
from jupyter_launcher.errors import LauncherError
from jupyter_launcher.models import ReapedSession, SessionState, SessionSummary, StopReport
from jupyter_launcher.server import JupyterApi

__all__ = ["reap", "summaries"]

_PROBES = 16
_PROBE_SECONDS = 2.0
_KILLED = 137


def summaries(engine: Engine, namespace: str, start_seconds: float) -> list[SessionSummary]:
    """All sessions of a namespace, newest first.

    One call to the engine, and a request to each server that may run, at the same time. Where one
    gives no answer, the engine is asked for its time: that one may still be starting. Of those
    killed by SIGKILL it is asked whether it was for memory, which its list does not say.
    """
    listed = engine.containers(f"{container.NAMESPACE}={namespace}", container.SESSION_ID)
    if not listed:
        return []
    with ThreadPoolExecutor(max_workers=min(_PROBES, len(listed))) as pool:
        found = list(pool.map(lambda item: _summary(engine, item), listed))
    if any(item.state is SessionState.STARTING for item in found):
        now = engine.now()
        found = [_dead_if_late(item, now - start_seconds) for item in found]
    return found


def _dead_if_late(item: SessionSummary, latest: float) -> SessionSummary:
    late = item.state is SessionState.STARTING and item.created < latest
    return replace(item, state=SessionState.SERVER_DEAD) if late else item


def _summary(engine: Engine, item: ListedContainer) -> SessionSummary:
    if item.state == "created":
        return container.summary(item, SessionState.HALF_MADE)
    if item.state not in ("running", "paused", "restarting"):
        info = engine.inspect(item.id) if item.exit_code == _KILLED else None
        return container.summary(item, SessionState.EXITED, oom_killed=info is not None and info.oom_killed)
    # Without the token, which only an exec could tell: an answer is proof enough of a server.
    if JupyterApi(place.url(engine, item)).is_alive(timeout=_PROBE_SECONDS):
        return container.summary(item, SessionState.READY)
    return container.summary(item, SessionState.STARTING)


def reap(
    engine: Engine,
    sessions: Collection[SessionSummary],
    stop: Callable[[SessionSummary], StopReport],
    *,
    min_age: float,
    keep: Collection[str] | None,
    dry_run: bool,
) -> list[ReapedSession]:
    """End those of ``sessions`` that are dead or orphaned, as ``Launcher.reap`` says."""
    now = engine.now()
    done = []
    for item in sessions:
        reason = _reason(item, keep)
        if reason is None or now - item.created < min_age:
            continue
        report, failed = None, ""
        if not dry_run:
            try:
                report = stop(item)
            except LauncherError as error:  # the others shall not wait for it
                failed = str(error)
        done.append(
            ReapedSession(
                session_id=item.session_id, container_id=item.container_id, reason=reason, report=report, error=failed
            )
        )
    return done


def _reason(item: SessionSummary, keep: Collection[str] | None) -> str | None:
    if item.state in (SessionState.EXITED, SessionState.HALF_MADE):
        return str(item.state.value)
    return "orphaned" if keep is not None and item.session_id not in keep else None
