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
import threading
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any, Generic, TypeVar
from weakref import WeakSet

import anyio
from anyio.lowlevel import current_token

from jupyter_launcher.acts import Cancel, begin_act, check_cancelled
from jupyter_launcher.errors import EngineUnavailableError, OptionError
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
    """An act that an event loop waits for. It begins once: by ``begin``, or when it is waited for."""

    def __init__(self, loop: Loop, call: Callable[[], T], undo: Callable[[T], object] | None = None) -> None:
        self.cancel = threading.Event()
        self.result: Future[T] = Future()
        self._done = done = anyio.Event()
        self.result.add_done_callback(lambda _: loop.soon(done.set))
        self._first = first = threading.Lock()
        cancel = Cancel(self.cancel, LeftError)
        self._begin = functools.partial(begin_act, call, self.result, undo=undo, cancel=cancel, first=first)

    def begin(self) -> None:
        """Begin it, if it has not begun."""
        if not self._first.locked():
            self._begin()

    async def wait(self) -> None:
        """Wait for its end."""
        self.begin()
        await self._done.wait()

    async def finish(self) -> None:
        """Wait for its end, whatever comes meanwhile: for a task that has been cancelled."""
        while not self._done.is_set():
            with (
                contextlib.suppress(Exception, KeyboardInterrupt, anyio.get_cancelled_exc_class()),
                anyio.CancelScope(shield=True),
            ):
                await self.wait()


class Loop:
    """The event loop of an :class:`AsyncLauncher`, as the threads of its acts know it."""

    def __init__(self) -> None:
        self._native = native = _running()
        self._is_asyncio = hasattr(native, "call_soon_threadsafe")  # else it is trio's; both keep the order
        self._soon: Callable[[Callable[[], object]], object] = (
            native.call_soon_threadsafe if self._is_asyncio else native.run_sync_soon
        )
        self._context = contextvars.copy_context()
        self._limits: defaultdict[str, anyio.CapacityLimiter] = defaultdict(lambda: anyio.CapacityLimiter(_AT_ONCE))
        self.streams: WeakSet[Any] = WeakSet()  # of AsyncStream, which is above

    def check(self) -> None:
        """Refuse another loop, in which nobody would be told that an act has ended.

        Raises:
            EngineUnavailableError: another one runs here.
        """
        if _running() is not self._native:
            msg = "this belongs to another event loop, whose `async with` block of an AsyncLauncher it is from"
            hint = "await it in that loop, or make an AsyncLauncher in this one, and find the session with its `get`"
            raise EngineUnavailableError(msg, hint=hint)

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
            except BaseException as error:  # noqa: BLE001 - raised again in the act, so by the call
                answer.set_exception(error)

        self._soon(run)
        while not wait([answer], _POLL).done:
            check_cancelled()
        return answer.result()

    def tell(self, listener: Callable[[Event], object], event: Event) -> None:
        """Let the loop call a listener of events. Nobody waits for that, so a loop that has ended holds nothing up.

        What ends a process ends asyncio's loop; trio has no way for that.
        """

        def run() -> None:
            try:
                self._context.copy().run(listener, event)
            except BaseException as error:
                _log.exception("on_event failed for %s", event)
                if self._is_asyncio and isinstance(error, KeyboardInterrupt | SystemExit):
                    raise

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
        is_shielded: bool = False,
    ) -> T:
        """The result of a call that blocks.

        Args:
            call: made as an act.
            kind: at most 64 calls of one kind run at once; empty: it begins at once, in a task that is cancelled too.
            undo: called with the result that nobody gets, because the task was cancelled when it was there.
            is_shielded: it is not cancelled, but comes to its end before its task is told.

        Raises:
            EngineUnavailableError: this is not the loop that runs here.
        """
        self.check()
        async with self._limits[kind] if kind else contextlib.nullcontext():
            act = Act(self, call, undo)
            try:
                await act.wait()
            except GeneratorExit:  # the loop has ended, so nobody can wait
                act.cancel.set()
                raise
            except BaseException as reason:
                if not is_shielded:
                    act.cancel.set()
                await act.finish()
                await self._take_back(act.result, undo, reason)
                raise
            try:
                return act.result.result()
            finally:
                del act  # or it and its error would hold each other

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
    """The same function of the caller's, which raises where it has to be awaited after all.

    Raises:
        OptionError: it has to be, as can be seen of it.
    """
    msg = f"{option} is {value!r}, which has to be awaited"
    error = functools.partial(
        OptionError, msg, hint="give a plain function; it may begin a task, or fill a queue", option=option
    )
    if any(
        inspect.iscoroutinefunction(item) or inspect.isasyncgenfunction(item) for item in (value, type(value).__call__)
    ):
        raise error()

    def plain(*given: Any) -> T:
        result = value(*given)
        if inspect.iscoroutine(result):
            result.close()
            raise error()
        return result

    return plain


def _running() -> Any:
    """The event loop that runs here: asyncio's, or trio's token of it."""
    token: Any = current_token()
    return getattr(token, "native_token", token)  # from anyio 4.11 on
