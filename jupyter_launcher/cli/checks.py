"""One thing that the doctor has looked at, and how it ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from jupyter_launcher.cli.spelling import respell
from jupyter_launcher.errors import LauncherError

__all__ = ["Check", "CheckState", "attempt", "failed", "from_error", "ok", "skipped", "warning"]


class CheckState(str, Enum):
    """How a check ended. The values are what the command prints."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that a start needs: what was seen, and a hint what to do where it failed."""

    name: str
    state: CheckState
    detail: str
    hint: str = ""


def ok(name: str, detail: str) -> Check:
    """A check of which nothing is to be fixed."""
    return Check(name=name, state=CheckState.OK, detail=detail)


def warning(name: str, detail: str, hint: str) -> Check:
    """A check of which something is to be known, while sessions can start."""
    return Check(name=name, state=CheckState.WARNING, detail=detail, hint=hint)


def failed(name: str, detail: str, hint: str) -> Check:
    """A check of what keeps sessions from starting, or from working."""
    return Check(name=name, state=CheckState.FAILED, detail=detail, hint=hint)


def skipped(name: str, reason: str) -> Check:
    """A check that could not be made."""
    return Check(name=name, state=CheckState.SKIPPED, detail=reason)


def from_error(name: str, error: LauncherError) -> Check:
    """A check that failed with an error of the library."""
    respell(error)
    return failed(name, error.message, error.hint)


def attempt(name: str, check: Callable[[], Check]) -> Check:
    """A check; an error in it is its failure."""
    try:
        return check()
    except LauncherError as error:
        return from_error(name, error)
