"""Find and remove containers of test runs whose process has died.

A run's mark is the ``owner`` of its sessions and gateways: the machine's boot, the pid namespace, the
process id and the time at which that process started. A later run on the same machine sees from the mark
whether the process lives. Where that cannot be seen (another machine, or another container), a container is
removed only when it has ended and is a day old.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from jupyter_launcher.engine.client import DockerEngine
from jupyter_launcher.engine.types import ListedContainer
from jupyter_launcher.errors import SessionNotFoundError, SessionUnreadableError
from jupyter_launcher.launcher import Launcher
from jupyter_launcher.models import SessionState
from jupyter_launcher.spec.labels import SessionLabels, is_gateway, owner_filter, owner_of

__all__ = ["owner_id", "reap_dead_runs"]

_MARK = "pytest"
_KEPT_MARK = "pytest-keep"
_DAY = 86400.0
_STARTED = 19  # of /proc/<pid>/stat, counted from the field after the name
_STATE = 0


def owner_id(*, keep: bool = False) -> str:
    """The owner to give to containers of this process; ``keep``: no other run may remove them."""
    return ":".join((_KEPT_MARK if keep else _MARK, *_pid_space(), str(os.getpid()), _start_time(os.getpid()) or ""))


def reap_dead_runs(engine: DockerEngine) -> list[str]:
    """Stop the sessions and gateways of runs whose process is dead; returns the containers' names."""
    return [
        item.name for item in engine.containers(owner_filter()) if _is_of_dead_run(engine, item) and _end(engine, item)
    ]


def _is_of_dead_run(engine: DockerEngine, item: ListedContainer) -> bool:
    kind, *run = owner_of(item.labels).split(":")
    if kind != _MARK or len(run) != 4:
        return False
    *space, pid, started = run
    if started and pid.isdecimal() and tuple(space) == _pid_space():
        return _start_time(int(pid)) != started
    return SessionState.of_ended(item.state) is not None and engine.now() - item.created > _DAY


def _end(engine: DockerEngine, item: ListedContainer) -> bool:
    """Remove a gateway, stop a session; False for a container that is neither, or has another's name."""
    if is_gateway(item.labels):
        engine.remove(item.id)
        return True
    try:
        labels = SessionLabels.of_session(item.labels, item.name)
    except SessionUnreadableError:
        return False
    latest = engine.inspect(item.name)
    if latest is None or latest.id != item.id:
        return False
    with (
        Launcher(client=engine.client, namespace=labels.namespace) as launcher,
        contextlib.suppress(SessionNotFoundError),
    ):
        launcher.stop(labels.session_id)
    return True


def _pid_space() -> tuple[str, str]:
    """Where process ids mean the same: one boot of one machine, one pid namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return boot, str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        return os.uname().nodename, ""


def _start_time(pid: int) -> str | None:
    """When a process started, in the kernel's ticks; None when it is dead."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[_STATE] in "ZX" else fields[_STARTED]
