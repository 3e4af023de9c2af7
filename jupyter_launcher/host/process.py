"""Processes of this machine, by marks that other processes can check later."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["is_process_dead", "process_mark"]

_STARTED = 19  # of /proc/<pid>/stat, counted from the field after the name
_STATE = 0


def process_mark() -> str:
    """This process: the machine's boot, the pid namespace, the process id, and when the process started."""
    return ":".join((*_pid_space(), str(os.getpid()), _start_time(os.getpid()) or ""))


def is_process_dead(mark: str) -> bool | None:
    """Whether the process of a mark has ended; None where this process cannot see that one, or the mark is none."""
    parts = mark.split(":")
    if len(parts) != 4 or tuple(parts[:2]) != _pid_space():
        return None
    pid, started = parts[2:]
    if not started or not (pid.isascii() and pid.isdecimal()):
        return None
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # it is another user's
        pass
    now = _start_time(int(pid))
    return None if now is None else now != started  # /proc may hide other users' processes


def _pid_space() -> tuple[str, str]:
    """Where process ids mean the same: one boot of one machine, one pid namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return boot, str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        return os.uname().nodename, ""


def _start_time(pid: int) -> str | None:
    """When a process started, in the kernel's ticks; empty when it is dead, None when nobody can tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return "" if fields[_STATE] in "ZX" else fields[_STARTED]
