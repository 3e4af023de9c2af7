"""What happens when: the phases of a session's life, and how many starts there are at once."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from jupyter_launcher.errors import OptionError
from jupyter_launcher.models import Event, EventKind, Phase

__all__ = ["Flow", "Progress", "Starts"]

_log = logging.getLogger(__name__)


class Progress(Protocol):
    """Reports how a phase goes, in words; ``done`` of ``total`` where that is known."""

    def __call__(self, detail: str, done: int = 0, total: int = 0) -> None:
        """Tell it."""


class Flow:
    """Tells a caller's ``on_event`` and the log what happens to one session.

    ``seconds`` has those of each phase that finished.
    """

    def __init__(self, on_event: Callable[[Event], None] | None, session_id: str = "") -> None:
        self.seconds: dict[str, float] = {}
        self._on_event = on_event
        self._session_id = session_id

    def of(self, session_id: str) -> Flow:
        """A flow of its own for a session, with the same listener."""
        return Flow(self._on_event, session_id)

    @contextlib.contextmanager
    def phase(self, phase: Phase) -> Iterator[Progress]:
        """Mark a phase; yields what reports its progress, or how it went."""
        started = time.monotonic()
        last = ""

        def tell(kind: EventKind, detail: str, done: int = 0, total: int = 0) -> float:
            seconds = time.monotonic() - started
            event = Event(
                session_id=self._session_id,
                phase=phase,
                kind=kind,
                seconds=seconds,
                detail=detail,
                done=done,
                total=total,
            )
            self._emit(event)
            return seconds

        def progress(detail: str, done: int = 0, total: int = 0) -> None:
            nonlocal last
            last = detail
            tell(EventKind.PROGRESS, detail, done, total)

        try:
            tell(EventKind.STARTED, "")  # an interrupt may come while it is told
            yield progress
        except BaseException as error:
            tell(EventKind.FAILED, type(error).__name__)
            raise
        self.seconds[phase.value] = tell(EventKind.FINISHED, last)

    def _emit(self, event: Event) -> None:
        _log.debug("%s %s %s %.3f s %s", event.session_id, event.phase, event.kind, event.seconds, event.detail)
        if self._on_event is None:
            return
        try:
            self._on_event(event)
        except Exception:  # noqa: BLE001 - a caller's listener must not end a session
            _log.exception("on_event failed for %s", event)


class Starts:
    """A bound on the starts under way at once, asked of ``default`` when none is given."""

    def __init__(self, most: int | None, default: Callable[[], int]) -> None:
        if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 1):
            msg = f"max_starts is {most!r}; give a number from 1 up, or None for the engine's cores"
            raise OptionError(msg, option="max_starts")
        self._most = most
        self._default = default
        self._lock = threading.Lock()
        self._slots: threading.BoundedSemaphore | None = None

    @contextlib.contextmanager
    def slot(self) -> Iterator[None]:
        """Wait for a place among the starts under way, and hold it."""
        with self._lock:
            if self._slots is None:
                self._slots = threading.BoundedSemaphore(self._most or max(1, self._default()))
        with self._slots:
            yield
