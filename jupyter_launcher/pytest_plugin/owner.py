"""Find and remove containers of test runs whose process has died.

A run's mark is the ``owner`` of its sessions and gateways: the machine's boot, the pid namespace, the
process id and the time at which that process started. A later run on the same machine sees from the mark
whether the process lives. Where that cannot be seen (another machine, or another container), a container is
removed only when it has ended and is a day old. Sessions that stay for the next run of the same tests have a lease,
and only that ends them; what they leave then is removed as above.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable

from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.engine.types import ListedContainer
from jupyter_launcher.errors import SessionNotFoundError, SessionUnreadableError
from jupyter_launcher.gateway.parts import remove_unit
from jupyter_launcher.host.process import is_process_dead, process_mark
from jupyter_launcher.launcher import Launcher
from jupyter_launcher.spec.kernels.labels import PartLabels
from jupyter_launcher.spec.labels import SessionLabels, ToolLabels, owner_filter, owner_of

__all__ = ["owner_id", "reap_dead_runs"]

_MARK = "pytest"
_KEPT_MARK = "pytest-keep"
_REUSED_MARK = "pytest-reuse"
_DAY = 86400.0


def owner_id(*, keep: bool = False, reuse: bool = False) -> str:
    """The owner to give to containers of this process.

    Args:
        keep: no other run may remove them.
        reuse: no other run may remove sessions that run and have a lease.
    """
    return f"{_KEPT_MARK if keep else _REUSED_MARK if reuse else _MARK}:{process_mark()}"


def reap_dead_runs(engine: Engine, open_launcher: Callable[[str], Launcher]) -> list[str]:
    """Stop the sessions and gateways of runs whose process is dead; returns the containers' names.

    Args:
        engine: where they are.
        open_launcher: makes a launcher of the same engine for a namespace.
    """
    listed = engine.containers(owner_filter())
    dead = [item for item in listed if _is_of_dead_run(engine, item)]
    used = _units(item for item in listed if item not in dead)
    dead.sort(key=lambda item: bool(_unit_of(item)))  # a session's stop removes what is of one unit with it
    return [item.name for item in dead if _unit_of(item) not in used and _end(engine, item, open_launcher)]


def _unit_of(item: ListedContainer) -> str:
    """What all of a gateway has in common: the start that it is of; empty for what is no part of one."""
    part, tool = PartLabels.of_container(item.labels, item.name), ToolLabels.of_container(item.labels, item.name)
    if part is not None:
        return part.gateway_start
    return "" if tool is None or tool.gateway is None else tool.gateway.start


def _units(listed: Iterable[ListedContainer]) -> set[str]:
    """What the gateways, agents and kernels that are of one unit with these sessions have as their gateway's start."""
    found = set()
    for item in listed:
        with contextlib.suppress(SessionUnreadableError):
            found.add(SessionLabels.of_session(item.labels, item.name).start_id)
    return found


def _is_of_dead_run(engine: Engine, item: ListedContainer) -> bool:
    kind, _, run = owner_of(item.labels).partition(":")
    if kind not in (_MARK, _REUSED_MARK) or run.count(":") != 3:
        return False
    has_ended = item.state not in ("running", "paused", "restarting", "unreachable")
    if kind == _REUSED_MARK and not has_ended and _has_lease(item):
        return False
    dead = is_process_dead(run)
    if dead is not None:
        return dead
    return has_ended and engine.now() - item.created > _DAY


def _has_lease(item: ListedContainer) -> bool:
    try:
        labels = SessionLabels.of_session(item.labels, item.name)
    except SessionUnreadableError:  # it is no session
        return False
    return labels.lease is not None


def _end(engine: Engine, item: ListedContainer, open_launcher: Callable[[str], Launcher]) -> bool:
    """Remove what is of a gateway, with all of its parts, or of a pool; stop a session; False for what is neither."""
    if unit := _unit_of(item):
        remove_unit(engine, unit)
        return True
    tool = ToolLabels.of_container(item.labels, item.name)
    if tool is not None and tool.kind != "record":
        engine.remove(item.id)
        return True
    if tool is not None:  # the session's stop removes it, unless that is gone
        info = engine.inspect(tool.of)
        if info is None or not SessionLabels.is_session(info.labels, info.name):
            engine.remove(item.id)
        return True
    try:
        labels = SessionLabels.of_session(item.labels, item.name)
    except SessionUnreadableError:
        return False
    latest = engine.inspect(item.name)
    if latest is None or latest.id != item.id:
        return False
    with open_launcher(labels.namespace) as launcher, contextlib.suppress(SessionNotFoundError):
        launcher.stop(labels.session_id)
    return True
