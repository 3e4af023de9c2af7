"""One monotonic deadline, handed down through everything that waits for the same thing."""

from __future__ import annotations

import time

__all__ = ["Deadline"]


class Deadline:
    """A point in monotonic time, so a wall clock that jumps changes nothing."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._start = time.monotonic()

    def elapsed(self) -> float:
        """Seconds since the deadline was set."""
        return time.monotonic() - self._start

    def remaining(self) -> float:
        """Seconds left, never below zero."""
        return max(0.0, self.seconds - self.elapsed())

    def expired(self) -> bool:
        """True when no time is left."""
        return self.elapsed() >= self.seconds
