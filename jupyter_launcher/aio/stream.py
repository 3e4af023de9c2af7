"""``AsyncStream``: what a call tells piece by piece."""

from __future__ import annotations

import contextlib
import functools
import math
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Generic, TypeVar, cast

import anyio

from jupyter_launcher.acts import check_cancelled, close_on_cancel
from jupyter_launcher.aio.loop import Act, LeftError, Loop
from jupyter_launcher.sessions.events import SessionEvents

__all__ = ["AsyncStream"]

_MOST_PIECES = 64
_POLL = 0.05

T = TypeVar("T")


class AsyncStream(Generic[T]):
    """What a call tells piece by piece: an async iterator, which ``close`` ends, and so does leaving its block.

    A piece that nobody waits for any more is given to the next one who does. An iterator that nobody has ends, too.
    """

    def __init__(self, found: Iterator[T], loop: Loop) -> None:
        room = threading.Semaphore(_MOST_PIECES)
        send, receive = anyio.create_memory_object_stream[T](math.inf)

        def push(piece: T) -> None:
            with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):  # nobody has it any more
                send.send_nowait(piece)

        def read() -> None:  # it knows nothing of the iterator, or that would never be let go
            with contextlib.ExitStack() as stack:
                events = cast("object", found)
                if isinstance(events, SessionEvents):  # a log closes itself
                    stack.enter_context(events)
                    stack.enter_context(close_on_cancel(events.close))
                for piece in found:
                    while not room.acquire(timeout=_POLL):
                        check_cancelled()
                    loop.soon(functools.partial(push, piece))

        self._room, self._send, self._receive = room, send, receive
        self._act = Act(loop, read)
        self._act.result.add_done_callback(lambda _: loop.soon(send.close))
        loop.streams.add(self)

    def __del__(self) -> None:
        self._act.cancel.set()
        self._close()

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
        with contextlib.suppress(anyio.EndOfStream, anyio.ClosedResourceError):
            piece = await self._receive.receive()
            self._room.release()
            return piece
        error = self._act.result.exception() if self._act.result.done() else None
        if error is None or isinstance(error, LeftError):
            raise StopAsyncIteration
        raise error

    async def close(self) -> None:
        """End it, and let go of the connection. A task that waits for the next piece gets none."""
        self._act.cancel.set()
        await self._act.wait(is_shielded=True)
        self._close()

    def _close(self) -> None:
        self._send.close()
        self._receive.close()
