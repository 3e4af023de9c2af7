"""``AsyncLauncher``: the public class."""

from __future__ import annotations

import contextlib
import functools
import inspect
from types import TracebackType
from typing import Any

from jupyter_launcher.aio.forward import Async, Same, awaited, awaited_as, entered, taking
from jupyter_launcher.aio.loop import Loop, check_plain
from jupyter_launcher.aio.session import AsyncSession, undo_start
from jupyter_launcher.aio.stream import AsyncStream
from jupyter_launcher.aio.warm import AsyncPreparation, AsyncWarmPool
from jupyter_launcher.launcher import Launcher
from jupyter_launcher.models import RunningGateway, SessionEvent, Timeouts
from jupyter_launcher.sessions.events import SessionEvents
from jupyter_launcher.warm.preparation import Preparation

__all__ = ["AsyncLauncher"]


def _undo_gateway(launcher: Launcher, gateway: RunningGateway) -> None:
    """Stop a gateway that nobody gets, unless it was there before."""
    if not gateway.joined:
        launcher.stop_gateway(gateway.gateway_id)


class AsyncLauncher(Async[Launcher], like=Launcher):
    """Starts sessions on one Docker engine and finds them again: :class:`Launcher`, awaited. Needs the extra ``async``.

    It connects at the begin of its ``async with`` block, and belongs to the event loop there: asyncio's or trio's. What
    is awaited blocks no loop. A task that is cancelled goes on when what it waits for has cleaned up: nothing that was
    made stays behind. Leaving a block always comes to its end.

    Args:
        options: those of :class:`Launcher`. ``on_event`` is a plain function, which is called in the loop, in the order
            of the events. So is ``on_output`` of other calls, which wait for it.

    Attributes:
        namespace, owner, image, timeouts: in its block, as they were given, or their defaults.

    Raises:
        OptionError: ``on_event`` has to be awaited. Entering the block raises what :class:`Launcher` raises.
    """

    @taking(Launcher.__init__)
    def __init__(self, **options: Any) -> None:
        inspect.signature(Launcher).bind(**options)
        if callable(options.get("on_event")):
            options["on_event"] = check_plain(options["on_event"], "on_event")
        self._options = options

    async def __aenter__(self) -> AsyncLauncher:
        while self._made is None:
            loop, options = Loop(), dict(self._options)
            if callable(options.get("on_event")):
                options["on_event"] = functools.partial(loop.tell, options["on_event"])
            launcher = await loop.call(functools.partial(Launcher, **options), undo=Launcher.close)
            self._made = self._made or (launcher, loop)
            if self._made[0] is not launcher:  # another task was faster
                await loop.call(launcher.close, is_shielded=True)
        self._made[1].check()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:  # noqa: D102 - as Launcher's
        if self._made is not None:
            self._made[1].check()
            (launcher, loop), self._made = self._made, None
            async with contextlib.AsyncExitStack() as ends:
                ends.push_async_callback(loop.call, launcher.close, is_shielded=True)
                for stream in tuple(loop.streams):
                    ends.push_async_callback(stream.close)

    functools.update_wrapper(close, Launcher.close)

    namespace = Same[Launcher, str](lambda launcher: launcher.namespace)
    owner = Same[Launcher, str](lambda launcher: launcher.owner)
    image = Same[Launcher, str](lambda launcher: launcher.image)
    timeouts = Same[Launcher, Timeouts](lambda launcher: launcher.timeouts)

    start = awaited_as(AsyncSession, Launcher.start, undo=undo_start)
    prepare = awaited_as(AsyncPreparation, Launcher.prepare, undo=Preparation.cancel)
    pool = awaited_as(AsyncWarmPool, Launcher.pool)
    get = awaited_as(AsyncSession, Launcher.get)
    list = awaited(Launcher.list)
    ids = awaited(Launcher.ids)
    stop = awaited(Launcher.stop, is_limited=False)
    pause = awaited(Launcher.pause)
    resume = awaited_as(AsyncSession, Launcher.resume)
    renew = awaited(Launcher.renew)
    reap = awaited(Launcher.reap)
    logs = awaited_as(AsyncStream[str], Launcher.logs)
    events = awaited_as(AsyncStream[SessionEvent], Launcher.events, undo=SessionEvents.close)
    ensure_image = awaited(Launcher.ensure_image)
    build_image = awaited(Launcher.build_image)
    run_gateway = entered(Launcher.run_gateway)
    start_gateway = awaited(Launcher.start_gateway, take_back=_undo_gateway)
    stop_gateway = awaited(Launcher.stop_gateway, is_limited=False)
    gateways = awaited(Launcher.gateways)
