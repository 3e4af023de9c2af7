"""The event loop, and the acts that it waits for.

Each call is an act (see :mod:`jupyter_launcher.acts`) in a thread of its own, and the event loop only waits for it.
Where the waiting task is cancelled, the act is cancelled, and the task goes on once that has cleaned up.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import inspect
import logging
import math
import threading
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any, Generic, TypeVar
from weakref import WeakSet

import anyio
from anyio.lowlevel import current_token

from jupyter_launcher.acts import Cancel, begin_act, check_cancelled
from jupyter_launcher.errors import OptionError
from jupyter_launcher.models import Event
from jupyter_launcher.models.options import hide_secrets

__all__ = ["Act", "LeftError", "Loop", "check_plain"]

_log = logging.getLogger("jupyter_launcher")

_AT_ONCE = 64
_POLL = 0.05
_CALLBACKS = ("on_output", "keep")

T = TypeVar("T")


class LeftError(Exception):
    """An act was cancelled. Its text is what may be left behind; empty: nothing."""


class Act(Generic[T]):
    """An act that an event loop waits for."""

    def __init__(self, loop: Loop, call: Callable[[], T], undo: Callable[[T], object] | None = None) -> None:
        self.cancel = threading.Event()
        self.result: Future[T] = Future()
        self._done = done = anyio.Event()
        self.result.add_done_callback(lambda _: loop.soon(done.set))
        begin_act(call, self.result, undo=undo, cancel=Cancel(self.cancel, LeftError))

    async def wait(self, *, is_shielded: bool = False) -> None:
        """Wait for its end. If the waiting task is cancelled, so is the act, unless it is shielded; it ends first."""
        try:
            await self._done.wait()
        except GeneratorExit:  # the loop has ended, so nobody can wait
            self.cancel.set()
            raise
        except BaseException:
            if not is_shielded:
                self.cancel.set()
            await self.finish()
            raise

    async def finish(self) -> None:
        """Wait for its end, whatever comes meanwhile: for a task that has been cancelled."""
        while not self._done.is_set():
            with (
                contextlib.suppress(Exception, KeyboardInterrupt, anyio.get_cancelled_exc_class()),
                anyio.CancelScope(shield=True),
            ):
                await self._done.wait()


class Loop:
    """The event loop of an :class:`AsyncLauncher`, as the threads of its acts know it."""

    def __init__(self) -> None:
        token: Any = current_token()
        native = getattr(token, "native_token", token)  # from anyio 4.11 on
        # asyncio's, or trio's; both keep the order.
        self._soon: Callable[[Callable[[], object]], object] = (
            native.call_soon_threadsafe if hasattr(native, "call_soon_threadsafe") else native.run_sync_soon
        )
        self._context = contextvars.copy_context()
        self._limits: defaultdict[str, anyio.CapacityLimiter] = defaultdict(lambda: anyio.CapacityLimiter(_AT_ONCE))
        self._limits[""] = anyio.CapacityLimiter(math.inf)
        self.streams: WeakSet[Any] = WeakSet()  # of AsyncStream, which is above

    def soon(self, call: Callable[[], object]) -> None:
        """Let the loop call something, from any thread; nothing happens where it has ended."""
        with contextlib.suppress(RuntimeError):
            self._soon(call)

    def ask(self, call: Callable[..., T], *given: Any) -> T:
        """What a function of the caller's returns or raises in the loop, for an act.

        Raises:
            CancelledActError: the act was cancelled.
        """
        answer: Future[T] = Future()

        def run() -> None:
            try:
                answer.set_result(self._context.copy().run(call, *given))
            except Exception as error:  # noqa: BLE001 - raised again in the act
                answer.set_exception(error)

        self._soon(run)
        while not wait([answer], _POLL).done:
            check_cancelled()
        return answer.result()

    def tell(self, listener: Callable[[Event], object], event: Event) -> None:
        """Let the loop call a listener of events. Nobody waits for that, so a loop that has ended holds nothing up."""

        def run() -> None:
            try:
                self._context.copy().run(listener, event)
            except Exception:  # noqa: BLE001 - as the sessions' own reporter does
                _log.exception("on_event failed for %s", event)

        self.soon(run)

    def adapt(self, options: dict[str, Any]) -> dict[str, Any]:
        """Options of a call, whose functions are called in the loop."""
        return {
            name: functools.partial(self.ask, check_plain(value, name))
            if name in _CALLBACKS and callable(value)
            else value
            for name, value in hide_secrets(options).items()
        }

    async def call(
        self,
        call: Callable[[], T],
        *,
        kind: str = "",
        undo: Callable[[T], object] | None = None,
        is_end: bool = False,
        is_shielded: bool = False,
    ) -> T:
        """The result of a call that blocks.

        Args:
            call: made as an act.
            kind: at most 64 calls of one kind run at once; empty: without a limit.
            undo: called with the result that nobody gets, because the task was cancelled when it was there.
            is_end: it begins in a task that is cancelled, too.
            is_shielded: it is not cancelled, but comes to its end before its task is told.
        """
        limiter = self._limits[kind]
        try:
            limiter.acquire_on_behalf_of_nowait(call)
        except anyio.WouldBlock:
            with anyio.CancelScope(shield=is_end or is_shielded):
                await limiter.acquire_on_behalf_of(call)
        try:
            act = Act(self, call, undo)
            try:
                await act.wait(is_shielded=is_shielded)
            except GeneratorExit:
                raise
            except BaseException as reason:
                await self._take_back(act.result, undo, reason)
                raise
            try:
                return act.result.result()
            finally:
                del act  # or it and its error would hold each other
        finally:
            limiter.release_on_behalf_of(call)

    async def _take_back(self, result: Future[T], undo: Callable[[T], object] | None, reason: BaseException) -> None:
        """Leave nothing of an act that has ended, and whose task was cancelled for a reason."""
        error = result.exception()
        left = str(error) if isinstance(error, LeftError) else ""
        if error is None and undo is not None:
            undoing = Act(self, functools.partial(undo, result.result()))
            await undoing.finish()
            error = undoing.result.exception()
            if error is not None:
                left = f"what was made could not be undone: {error}"
                _log.warning("%s", left)
        if left and hasattr(reason, "add_note"):  # from Python 3.11 on
            reason.add_note(left)


def check_plain(value: Callable[..., T], option: str) -> Callable[..., T]:
    """Refuse a function of the caller's that has to be awaited.

    Raises:
        OptionError: it has.
    """
    if inspect.iscoroutinefunction(value):
        msg = f"{option} is {value!r}, which has to be awaited"
        raise OptionError(msg, hint="give a plain function; it may begin a task, or fill a queue", option=option)
    return value
