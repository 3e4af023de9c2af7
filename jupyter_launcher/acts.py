"""Acts that can be cancelled.

An act (a start, a stop, a reap) runs in a thread of its own with a cancel token. Each wait of the act looks at the
token, and a read that blocks is closed by it. The caller's thread only waits for the act, and no exception of a
signal reaches the act's own thread, so the act always comes to its clean-up.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from types import FrameType
from typing import Generic, TypeVar

from jupyter_launcher.threads import run_in_thread

__all__ = [
    "Cancel",
    "CancelledActError",
    "begin_act",
    "check_cancelled",
    "close_on_cancel",
    "leaves",
    "note_left",
    "run_act",
    "shielded",
    "wait_for_cancel",
]

T = TypeVar("T")

_log = logging.getLogger("jupyter_launcher")
_POLL = 0.05
_CLEAN_UP_SECONDS = 15.0
_MOST_REASONS = 100  # a user who does not let go of Ctrl-C has fewer
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_token: contextvars.ContextVar[_CancelToken | None] = contextvars.ContextVar("jupyter_launcher_token", default=None)


class CancelledActError(BaseException):
    """Raised inside an act that was cancelled, at its next wait; never seen outside."""


def _current() -> _CancelToken | None:
    """The token of the act that runs here."""
    token = _token.get()
    return None if token is None or token.over else token


def wait_for_cancel(seconds: float) -> None:
    """Sleep, as part of the act that runs here.

    Raises:
        CancelledActError: the act was cancelled.
    """
    token = _current()
    if token is None:
        time.sleep(seconds)
    elif token.wait(seconds):
        raise CancelledActError


class _CancelToken:
    """Says that an act was cancelled, wakes its waits, and closes what it reads from.

    ``over`` is True when the act has ended: tasks that a listener of events has scheduled may have its context.
    ``leftovers`` are what the act and those inside it may leave behind.
    """

    def __init__(self, outer: _CancelToken | None = None) -> None:
        self.over = False
        self.leftovers: list[str] = []
        self._outer = outer
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._closers: list[Callable[[], object]] = []

    def is_set(self) -> bool:
        return self._event.is_set()

    def note(self, what: str) -> None:
        self.leftovers.append(what)
        if self._outer is not None:
            self._outer.note(what)

    def forget(self, what: str) -> None:
        self.leftovers.remove(what)
        if self._outer is not None:
            self._outer.forget(what)

    def wait(self, seconds: float) -> bool:
        return self._event.wait(seconds)

    def cancel(self) -> None:
        self._event.set()
        with self._lock:  # what is registered no more may be read by another act by now
            for close in self._closers:
                close()

    @contextlib.contextmanager
    def closing(self, close: Callable[[], object]) -> Iterator[None]:
        with self._lock:
            self._closers.append(close)
        try:
            if not self.is_set():  # else the cancel may have missed the closer
                yield
        except Exception:
            if not self.is_set():
                raise
        finally:
            with self._lock:
                self._closers.remove(close)
        if self.is_set():
            raise CancelledActError


def close_on_cancel(close: Callable[[], object]) -> contextlib.AbstractContextManager[None]:
    """While the block runs, a cancel of the act calls ``close`` from another thread, to end a read that blocks.

    Raises:
        CancelledActError: the act was cancelled, whatever the block made of the closed read.
    """
    token = _current()
    return contextlib.nullcontext() if token is None else token.closing(close)


def check_cancelled() -> None:
    """Raise CancelledActError where the act was cancelled."""
    token = _current()
    if token is not None and token.is_set():
        raise CancelledActError


@contextlib.contextmanager
def shielded() -> Iterator[None]:
    """What runs inside is clean-up: its waits do not end because the act was cancelled."""
    mark = _token.set(_CancelToken(_current()))
    try:
        yield
    finally:
        _token.reset(mark)


def note_left(what: str) -> None:
    """Say that ``what`` may be left behind, because its clean-up failed."""
    token = _current()
    if token is not None:
        token.note(what)


@contextlib.contextmanager
def leaves(what: str) -> Iterator[None]:
    """While the block runs, ``what`` may be left behind if the engine does not answer the clean-up."""
    token = _current()
    if token is not None:
        token.note(what)
    try:
        yield
    finally:
        if token is not None:
            token.forget(what)


@dataclass(frozen=True, slots=True)
class Cancel:
    """What cancels an act from outside, and what its caller then gets.

    Attributes:
        event: set by another thread.
        error: makes the caller's error of what may be left behind; that text may be empty.
    """

    event: threading.Event
    error: Callable[[str], BaseException]


def run_act(call: Callable[[], T], *, undo: Callable[[T], object] | None = None, cancel: Cancel | None = None) -> T:
    """Run an act, and return its result. An act inside an act is a part of that one, and ends with it.

    An interrupt (Ctrl-C) or ``cancel`` ends the act's waits, and the act cleans up. The interrupt is raised when
    that is done; further interrupts change nothing. A clean-up that needs more than 15 s goes on without its
    caller, who is told what may be left.

    Args:
        call: the act. What it raises is raised here.
        undo: called with the result of an act that had ended well when the interrupt came.
        cancel: another reason to cancel the act.
    """
    if _current() is not None and cancel is None:
        return call()
    act = _Act(call, undo, cancel)
    signals = _Signals()
    reason: BaseException | None = None
    for _ in range(_MOST_REASONS):
        try:
            reason = signals.hold(functools.partial(act.complete, signals, reason))
            if reason is not None or not signals.seen:
                break
            reason = KeyboardInterrupt()  # it came after the act's last look
        except BaseException as error:  # noqa: BLE001 - of a handler of the caller's, or while the handlers change
            reason = error
    return act.deliver(reason)


def begin_act(
    call: Callable[[], T],
    result: Future[T],
    *,
    undo: Callable[[T], object] | None = None,
    cancel: Cancel | None = None,
    first: threading.Lock | None = None,
) -> None:
    """Run an act in the background, as :func:`run_act` runs it, and give its result, or what it raises, to ``result``.

    It is no part of an act that runs here. A future that was cancelled before the act begins prevents it. Where no
    thread can be started, the act runs at once. Of those that are begun with the same lock ``first`` only one runs: for
    a caller who cannot know whether it has begun, since a signal has raised meanwhile.
    """

    def run() -> None:
        if (first is not None and not first.acquire(blocking=False)) or not result.set_running_or_notify_cancel():
            return
        try:
            result.set_result(run_act(call, undo=undo, cancel=cancel))
        except BaseException as error:  # noqa: BLE001 - raised again by the future
            result.set_exception(error)

    contextvars.Context().run(run_in_thread, run)


class _Act(Generic[T]):
    """One call in a thread of its own."""

    def __init__(self, call: Callable[[], T], undo: Callable[[T], object] | None, cancel: Cancel | None) -> None:
        self.results: list[T] = []
        self.error: BaseException | None = None
        self._call = call
        self._undo = undo
        self._cancel = cancel
        self._token = _CancelToken(_current())
        self._done = threading.Event()
        self._started = False

    def complete(self, signals: _Signals, reason: BaseException | None) -> BaseException | None:
        """Run the act to its end, or cancel it for a reason. The reason why it was cancelled, or None."""
        if reason is None:
            self._start(self._call, self.results.append)
            reason = self._watch(signals)
        return None if reason is None else self._abort(reason)

    def _start(self, call: Callable[[], T], keep: Callable[[T], object]) -> None:
        self._started = True
        self._done.clear()
        token = self._token

        def run() -> None:
            _token.set(token)
            try:
                keep(call())
            except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
                self.error = error
            finally:
                token.over = True
                self._done.set()

        run_in_thread(run)

    def _watch(self, signals: _Signals) -> BaseException | None:
        try:
            while not self._done.wait(_POLL):
                if signals.seen:
                    break
                if self._cancel is not None and self._cancel.event.is_set():
                    return self._cancel.error("")
                check_cancelled()  # of the act around this one
        except BaseException as error:  # noqa: BLE001 - raised by a signal handler of the caller's
            return error
        return KeyboardInterrupt() if signals.seen else None

    def _abort(self, reason: BaseException) -> BaseException:
        """Cancel the act, wait for its clean-up, and undo what it did. The error for the caller."""
        if not self._started:
            return reason
        end = time.monotonic() + _CLEAN_UP_SECONDS
        self._token.cancel()
        if self._wait(end) and self.results and self._undo is not None:
            undo, result, self._token = self._undo, self.results.pop(), _CancelToken(_current())
            self._start(lambda: result, undo)
            self._wait(end)
        left = ", ".join(dict.fromkeys(self._token.leftovers))
        if not left:
            return reason
        why = "failed" if self._done.is_set() else f"has not ended within {_CLEAN_UP_SECONDS:g} s"
        text = f"the clean-up {why}; this may be left: {left}"
        _log.warning("%s", text)
        if self._cancel is not None and not isinstance(reason, KeyboardInterrupt):
            return self._cancel.error(text)
        if hasattr(reason, "add_note"):  # from Python 3.11 on
            reason.add_note(text)
        return reason

    def deliver(self, reason: BaseException | None) -> T:
        """The result; else what the act raised, or the reason why it was cancelled."""
        failure, self.error = self.error, None  # or the act and its error would hold each other
        try:
            if reason is not None:
                raise reason from (None if isinstance(failure, CancelledActError) else failure)
            if failure is not None:
                raise failure
            return self.results.pop()
        finally:
            del failure, reason

    def _wait(self, end: float) -> bool:
        while not self._done.is_set() and (left := end - time.monotonic()) > 0:
            # A signal handler of the caller's may raise again and again; one reason is enough.
            with contextlib.suppress(BaseException):
                self._done.wait(left)
        return self._done.is_set()


class _Signals:
    """The signals that would raise KeyboardInterrupt in this thread."""

    def __init__(self) -> None:
        self.seen = 0
        self._process = os.getpid()

    def hold(self, call: Callable[[], T]) -> T:
        """Count these signals while ``call`` runs, instead of raising KeyboardInterrupt."""
        held: list[signal.Signals] = []
        try:
            if threading.current_thread() is threading.main_thread():
                for number in _SIGNALS:
                    if signal.getsignal(number) is signal.default_int_handler:
                        held.append(number)
                        signal.signal(number, self._count)
            return call()
        finally:
            for number in reversed(held):
                signal.signal(number, signal.default_int_handler)

    def _count(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a fork has no act that would look at the count
            signal.default_int_handler(number, frame)
        self.seen += 1
