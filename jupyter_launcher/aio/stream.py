"""``AsyncStream``: what a call tells piece by piece."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import wait
from types import TracebackType
from typing import Generic, TypeVar, cast

import anyio
from anyio.lowlevel import checkpoint

from jupyter_launcher.acts import check_cancelled, close_on_cancel
from jupyter_launcher.aio.loop import Act, LeftError, Loop
from jupyter_launcher.sessions.events import SessionEvents

__all__ = ["AsyncStream"]

_MOST_PIECES = 64
_POLL = 0.05

T = TypeVar("T")


class _Pieces(Generic[T]):
    """The pieces that have come and were not taken. Only the loop touches them."""

    def __init__(self) -> None:
        self.kept: deque[T] = deque()
        self.changed = anyio.Event()
        self.are_all = False

    def push(self, piece: T) -> None:
        self.kept.append(piece)
        self._wake()

    def end(self) -> None:
        self.are_all = True
        self._wake()

    def _wake(self) -> None:
        self.changed.set()
        self.changed = anyio.Event()


class AsyncStream(Generic[T]):
    """What a call tells piece by piece: an async iterator, which ``close`` ends, and so does leaving its block.

    A piece that nobody waits for any more is given to the next one who does. An iterator that nobody has ends, too.
    """

    def __init__(self, found: Iterator[T], loop: Loop) -> None:
        room = threading.Semaphore(_MOST_PIECES)
        pieces = _Pieces[T]()

        def read() -> None:  # it knows nothing of the iterator, or that would never be let go
            with contextlib.ExitStack() as stack:
                events = cast("object", found)
                if isinstance(events, SessionEvents):  # a log closes itself
                    stack.enter_context(events)
                    stack.enter_context(close_on_cancel(events.close))
                for piece in found:
                    while not room.acquire(timeout=_POLL):
                        check_cancelled()
                    loop.soon(functools.partial(pieces.push, piece))

        self._room, self._pieces, self._loop = room, pieces, loop
        self._act = Act(loop, read)
        self._act.result.add_done_callback(lambda _: loop.soon(pieces.end))
        loop.streams.add(self)
        try:
            self._act.begin()
        except BaseException:  # Ctrl-C
            self._act.cancel.set()
            self._act.begin()  # it closes what it would have read
            raise

    def __del__(self) -> None:
        self._act.cancel.set()

    async def __aenter__(self) -> AsyncStream[T]:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __aiter__(self) -> AsyncStream[T]:
        return self

    async def __anext__(self) -> T:
        """Wait for the next piece.

        Raises:
            StopAsyncIteration: there is none, or it was closed.
            LauncherError: what the call raises when it goes on.
        """
        self._loop.check()
        await checkpoint()
        while not self._pieces.kept and not self._pieces.are_all:
            await self._pieces.changed.wait()
        if self._pieces.kept:  # only now is it taken: a task that is cancelled while it waits takes none
            self._room.release()
            return self._pieces.kept.popleft()
        error = self._act.result.exception() if self._act.result.done() else None
        if error is None or isinstance(error, LeftError):
            raise StopAsyncIteration
        raise error

    async def close(self) -> None:
        """End it, and let go of the connection. A task that waits for the next piece gets none."""
        self._loop.check()
        self._act.cancel.set()
        await self._loop.call(functools.partial(wait, [self._act.result]), is_shielded=True)
        self._pieces.kept.clear()
