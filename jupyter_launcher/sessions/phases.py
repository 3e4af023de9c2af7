"""Events for the phases of a session, and a limit on concurrent starts."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import threading
import time
from collections.abc import Callable, Iterator

from jupyter_launcher.acts import CancelledActError, check_cancelled
from jupyter_launcher.engine.protocol import Progress
from jupyter_launcher.errors import OptionError, ServerTimeoutError
from jupyter_launcher.forks import PerProcess
from jupyter_launcher.models import Event, EventKind, Phase
from jupyter_launcher.waiting import Deadline

__all__ = ["PhaseReporter", "StartLimit"]

_log = logging.getLogger("jupyter_launcher")
_DEFAULT_CORES = 2
_SLOT_SECONDS = 0.1  # between two looks whether the start was cancelled
_held: contextvars.ContextVar[tuple[StartLimit, ...]] = contextvars.ContextVar("jupyter_launcher_slots", default=())


class PhaseReporter:
    """Reports to a caller's ``on_event`` and to the log what happens in an act on one session.

    Attributes:
        seconds: of each phase that finished; of one that there was more than once, of all together.
        warnings: what works, but not as it was asked for.
    """

    def __init__(self, on_event: Callable[[Event], None] | None, session_id: str = "") -> None:
        self.seconds: dict[Phase, float] = {}
        self.warnings: list[str] = []
        self._on_event = on_event
        self._session_id = session_id

    def for_session(self, session_id: str) -> PhaseReporter:
        """A reporter for one session, with the same listener."""
        return PhaseReporter(self._on_event, session_id)

    @contextlib.contextmanager
    def phase(self, phase: Phase) -> Iterator[Progress]:
        """Emit 'started' and 'finished' or 'failed' around a block; yields a function that emits 'progress'."""
        started = time.monotonic()
        last = ""

        def emit(kind: EventKind, detail: str, done: int = 0, total: int = 0) -> float:
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
            emit(EventKind.PROGRESS, detail, done, total)

        try:
            emit(EventKind.STARTED, "")  # inside, because an interrupt may come meanwhile
            yield progress
        except BaseException as error:
            emit(EventKind.FAILED, "cancelled" if isinstance(error, CancelledActError) else type(error).__name__)
            raise
        self.seconds[phase] = self.seconds.get(phase, 0.0) + emit(EventKind.FINISHED, last)

    def warn(self, phase: Phase, text: str) -> None:
        """Emit a warning, log it, and keep it for ``Session.warnings``."""
        self.warnings.append(text)
        _log.warning("session %s: %s", self._session_id, text)
        self._emit(Event(session_id=self._session_id, phase=phase, kind=EventKind.WARNING, detail=text))

    def _emit(self, event: Event) -> None:
        _log.debug("%s %s %s %.3f s %s", event.session_id, event.phase, event.kind, event.seconds, event.detail)
        if self._on_event is None:
            return
        try:
            self._on_event(event)
        except Exception:  # noqa: BLE001 - a caller's listener must not end a session
            _log.exception("on_event failed for %s", event)


class StartLimit:
    """A limit on concurrent starts.

    Args:
        most: how many; None: what ``default`` returns when the first start begins.
        default: the number of the engine's cores; None where the engine does not tell.

    Raises:
        OptionError: ``most`` is no number above 0.
    """

    def __init__(self, most: int | None, default: Callable[[], int | None]) -> None:
        if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 1):
            msg = f"max_starts is {most!r}"
            hint = "give a number from 1 up, or None for the number of the engine's cores"
            raise OptionError(msg, hint=hint, option="max_starts")
        # In a fork, the starts of its parent do not count.
        self._slots = PerProcess(lambda: threading.BoundedSemaphore(most or default() or _DEFAULT_CORES))
        self._waiting = PerProcess[list[None]](list)

    @contextlib.contextmanager
    def spare_slot(self) -> Iterator[bool]:
        """Count as a start where one may begin and none waits: whether that is so."""
        slots = self._slots.get()
        is_taken = not self._waiting.get() and slots.acquire(blocking=False)
        try:
            yield is_taken
        finally:
            if is_taken:
                slots.release()

    @contextlib.contextmanager
    def slot(self, deadline: Deadline) -> Iterator[None]:
        """Wait until a start may begin, and count as one meanwhile. A start that is part of a start counts with it.

        Raises:
            ServerTimeoutError: no other start ended before the deadline.
        """
        if self in _held.get():  # a listener of events starts a session
            yield
            return
        slots, waiting = self._slots.get(), self._waiting.get()
        waiting.append(None)
        try:
            while not slots.acquire(timeout=_SLOT_SECONDS):
                check_cancelled()
                if deadline.expired():
                    msg = f"no other start of this launcher ended within {deadline.seconds:g} s"
                    hint = "see why those starts hang, or raise max_starts"
                    raise ServerTimeoutError(msg, hint=hint, seconds=deadline.elapsed())
        finally:
            waiting.pop()
        mark = _held.set((*_held.get(), self))
        try:
            yield
        finally:
            _held.reset(mark)
            slots.release()
