"""``AsyncPreparation`` and ``AsyncWarmPool``: what is begun before a session is asked for."""

from __future__ import annotations

import functools
from types import TracebackType

from jupyter_launcher.aio.forward import Async, Same, awaited, awaited_as, like
from jupyter_launcher.aio.session import AsyncSession, undo_start
from jupyter_launcher.warm.pool import WarmPool
from jupyter_launcher.warm.preparation import Preparation

__all__ = ["AsyncPreparation", "AsyncWarmPool"]


class AsyncPreparation(Async[Preparation], like=Preparation):
    """A session that is being started in the background: :class:`Preparation`, awaited."""

    session_id = Same[Preparation, str](lambda preparation: preparation.session_id)
    cancel = awaited(Preparation.cancel, is_shielded=True)

    async def session(self, timeout: float | None = None) -> AsyncSession:  # noqa: D102 - as Preparation's
        preparation, loop = self._parts
        await loop.call(functools.partial(preparation.wait, timeout))
        return AsyncSession(preparation.session(0), loop)  # at once: a task that is cancelled before takes nothing

    like(session, Preparation.session, "AsyncSession")


class AsyncWarmPool(Async[WarmPool], like=WarmPool):
    """Servers that run, and wait for their directory: :class:`WarmPool`, awaited.

    Attributes:
        size: how many servers it is to have.
    """

    async def __aenter__(self) -> AsyncWarmPool:
        pool, loop = self._parts
        await loop.call(pool.__enter__, undo=WarmPool.close)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pool, loop = self._parts
        await loop.call(pool.close, is_shielded=True)

    size = Same[WarmPool, int](lambda pool: pool.size)
    ready = Same[WarmPool, int](lambda pool: pool.ready)
    wait = awaited(WarmPool.wait, is_limited=False)
    start = awaited_as(AsyncSession, WarmPool.start, undo=undo_start)
    close = awaited(WarmPool.close, is_shielded=True)
