"""Events: how an act on a session, or a build, proceeds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["Event", "EventKind", "Phase"]


class Phase(str, Enum):
    """The phases of a session's life."""

    GATEWAY = "gateway"
    IMAGE = "image"
    CONTAINER = "container"
    SERVER = "server"
    READY = "ready"
    CLAIM = "claim"
    """A session of a pool gets its directory; that was started before. In place of the five above."""
    NOTEBOOK = "notebook"
    """A notebook is run; ``done`` of ``total`` cells."""
    STOP = "stop"


class EventKind(str, Enum):
    """What happened in a phase."""

    STARTED = "started"
    PROGRESS = "progress"
    WARNING = "warning"
    """Something works, but not as it was asked for. ``Session.warnings`` has the same texts of the start."""
    FINISHED = "finished"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Handed to ``on_event``.

    Attributes:
        session_id: empty where no session is concerned, such as in a build.
        phase: the phase that the event belongs to.
        kind: what happened in it.
        seconds: since the phase started.
        detail: a text for people.
        done, total: progress of a build (steps) or a pull (bytes); 0 and 0 where it is not known.
    """

    session_id: str
    phase: Phase
    kind: EventKind
    seconds: float = 0.0
    detail: str = ""
    done: int = 0
    total: int = 0
