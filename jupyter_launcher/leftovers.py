"""Test runs as owners of containers: marked with the process they belong to, so that one that died is known.

The mark is the ``owner`` of a run's sessions and gateways: the machine's boot, the pid namespace, the
process id and when that process started. A later run on the same machine sees from it whether the
process lives. Where it can't see that (another machine, or another container), it removes only what
has ended and is a day old.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from jupyter_launcher import container
from jupyter_launcher.engine import Engine
from jupyter_launcher.errors import SessionNotFoundError
from jupyter_launcher.gateway_container import GATEWAY_OF
from jupyter_launcher.launcher import Launcher

__all__ = ["mark", "reap"]

_MARK = "pytest"
_KEPT_MARK = "pytest-keep"
_DAY = 86400.0
_STARTED = 19  # of /proc/<pid>/stat, counted from the field after the name
_STATE = 0


def mark(*, keep: bool = False) -> str:
    """The owner to give to containers of this process; ``keep``: no other run shall reap them."""
    return ":".join((_KEPT_MARK if keep else _MARK, *_place(), str(os.getpid()), _started(os.getpid()) or ""))


def reap(engine: Engine) -> list[str]:
    """End the sessions and gateways of runs whose process is dead; gives the containers' names."""
    done = []
    now = None
    for item in engine.containers(container.OWNER):
        kind, *run = item.labels[container.OWNER].split(":")
        if kind != _MARK or len(run) != 4:
            continue
        *place, pid, started = run
        if started and tuple(place) == _place():
            dead = _started(int(pid)) != started
        else:
            now = engine.now() if now is None else now
            dead = item.state in ("exited", "created", "dead") and now - item.created > _DAY
        if dead:
            done.append(item.name)
            if GATEWAY_OF in item.labels:
                engine.remove(item.id)
                continue
            with (
                Launcher(client=engine.client, namespace=item.labels[container.NAMESPACE]) as launcher,
                contextlib.suppress(SessionNotFoundError),
            ):
                launcher.stop(item.labels[container.SESSION_ID])
    return done


def _place() -> tuple[str, str]:
    """Where process ids mean the same: one boot of one machine, one namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return boot, str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        return os.uname().nodename, ""


def _started(pid: int) -> str | None:
    """When a process started, in the kernel's ticks; None when it is dead."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[_STATE] in "ZX" else fields[_STARTED]
