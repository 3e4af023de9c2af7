"""Deadlines and retries. Only this module imports ``tenacity``."""

from __future__ import annotations

import contextlib
import contextvars
import queue
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import tenacity

from jupyter_launcher.acts import CancelledActError, check_cancelled, wait_for_cancel
from jupyter_launcher.threads import run_in_thread

__all__ = ["Deadline", "NotYetError", "attempts", "call_within", "shorten", "within"]

T = TypeVar("T")

_PAUSE = 0.02
_POLL = 0.05
_LEAST_SECONDS = 1.0  # what an engine that lives needs to answer


class Deadline:
    """A point in monotonic time, so that a wall clock that jumps changes nothing."""

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

    def shortened(self, seconds: float) -> Deadline:
        """A deadline ``seconds`` from now, or this one's end if that is sooner."""
        return Deadline(min(seconds, self.remaining()))


_within: contextvars.ContextVar[Deadline | None] = contextvars.ContextVar("jupyter_launcher_deadline", default=None)


@contextlib.contextmanager
def within(deadline: Deadline) -> Iterator[None]:
    """Each request to the engine inside the block has at most what remains of the deadline."""
    outer = _within.get()
    mark = _within.set(deadline if outer is None or deadline.remaining() < outer.remaining() else outer)
    try:
        yield
    finally:
        _within.reset(mark)


def shorten(seconds: float | None) -> float | None:
    """The time of one request: ``seconds`` (None: without an end), or what remains where :func:`within` says less."""
    deadline = _within.get()
    if deadline is None:
        return seconds
    left = max(deadline.remaining(), _LEAST_SECONDS)
    return left if seconds is None else min(seconds, left)


def call_within(deadline: Deadline, call: Callable[[], T]) -> T:
    """The result of a call that nothing can interrupt: the look-up of a name, a look at a network disk that is gone.

    The call is made in a thread of its own, and goes on there where its time is over.

    Raises:
        TimeoutError: there is no result within the deadline.
    """
    results: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            results.put((call(), None))
        except (Exception, CancelledActError) as error:  # noqa: BLE001 - raised again in the thread that waits
            results.put((None, error))

    run_in_thread(run)
    while True:
        with contextlib.suppress(queue.Empty):
            result, error = results.get(timeout=min(_POLL, deadline.remaining()))
            if error is not None:
                raise error
            return result  # type: ignore[return-value] # it is what the call returned
        check_cancelled()
        if deadline.expired():
            msg = f"no result after {deadline.seconds:g} s"
            raise TimeoutError(msg)


class NotYetError(Exception):
    """Raised inside an attempt when the awaited state is not reached yet; never seen outside."""


def attempts(
    deadline: Deadline,
    errors: type[Exception] | tuple[type[Exception], ...],
    *,
    at_least: int = 1,
    pause: float = _PAUSE,
    longest: float | None = None,
) -> Iterable[tenacity.AttemptManager]:
    """Attempts until one raises none of ``errors``; after the deadline the loop just ends.

    Args:
        deadline: no attempt begins after it.
        errors: an attempt that raises one of these is repeated.
        at_least: how many attempts are made even after the deadline.
        pause: seconds between two attempts.
        longest: each pause is longer than the one before by a tenth of the first, up to this; None: all are the same.
    """

    def is_over(state: tenacity.RetryCallState) -> bool:
        return state.attempt_number >= at_least and deadline.expired()

    retrying = tenacity.Retrying(
        stop=is_over,
        wait=tenacity.wait_incrementing(pause, pause / 10, pause if longest is None else longest),
        retry=tenacity.retry_if_exception_type(errors),
        sleep=wait_for_cancel,
    )
    try:
        yield from retrying
    except tenacity.RetryError:
        return
