"""``AsyncSession`` and its kernels."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

from jupyter_launcher.aio.forward import Async, Same, awaited, direct, direct_as, leave
from jupyter_launcher.sessions.session import Session
from jupyter_launcher.work.kernels import Kernel

__all__ = ["AsyncKernel", "AsyncSession", "undo_start"]

T = TypeVar("T")


def _of_session(read: Callable[[Session], T]) -> Same[Session, T]:
    return Same(read)


class AsyncKernel(Async[Kernel], like=Kernel):
    """A kernel of a session: :class:`Kernel`, awaited. ``async with session.kernel()`` connects to it."""

    async def __aenter__(self) -> AsyncKernel:
        kernel, loop = self._parts
        await loop.call(kernel.__enter__, undo=leave)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        kernel, loop = self._parts
        await loop.call(functools.partial(leave, kernel), is_shielded=True)

    id = Same[Kernel, str](lambda kernel: kernel.id)
    execute = awaited(Kernel.execute, is_limited=False)
    interrupt = awaited(Kernel.interrupt)
    restart = awaited(Kernel.restart)


class AsyncSession(Async[Session], like=Session):
    """A pipeline's container, its JupyterLab server and their kernels: :class:`Session`, awaited.

    As an async context manager it renews its lease, if it has one, and stops on leaving, also where the task was
    cancelled. A ``stop`` whose task is cancelled kills what is left of the session.
    """

    async def __aenter__(self) -> AsyncSession:
        session, loop = self._parts
        loop.check()
        session.__enter__()  # it blocks nothing; and a task that is cancelled here would not leave the block
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        session, loop = self._parts
        await loop.call(functools.partial(leave, session), is_shielded=True)

    id = _of_session(lambda session: session.id)
    container_id = _of_session(lambda session: session.container_id)
    container_name = _of_session(lambda session: session.container_name)
    node = _of_session(lambda session: session.node)
    pipeline_dir = _of_session(lambda session: session.pipeline_dir)
    gateway = _of_session(lambda session: session.gateway)
    server_info = _of_session(lambda session: session.server_info)
    joined = _of_session(lambda session: session.joined)
    warnings = _of_session(lambda session: session.warnings)
    timings = _of_session(lambda session: session.timings)
    lease = _of_session(lambda session: session.lease)
    url = _of_session(lambda session: session.url)
    host_url = _of_session(lambda session: session.host_url)
    lab_url = _of_session(lambda session: session.lab_url)
    client_url = _of_session(lambda session: session.client_url)
    internal_url = _of_session(lambda session: session.internal_url)
    headers = _of_session(lambda session: session.headers)
    ports = _of_session(lambda session: session.ports)
    published = direct(Session.published)
    lab_url_of = direct(Session.lab_url_of)

    status = awaited(Session.status)
    activity = awaited(Session.activity)
    stats = awaited(Session.stats)
    logs = awaited(Session.logs)
    wait = awaited(Session.wait, is_limited=False)
    renew = awaited(Session.renew)
    pause = awaited(Session.pause)
    resume = awaited(Session.resume)
    stop = awaited(Session.stop, is_limited=False)

    request = awaited(Session.request)
    execute = awaited(Session.execute, is_limited=False)
    close_kernel = awaited(Session.close_kernel, is_shielded=True)
    kernels = awaited(Session.kernels)
    run_notebook = awaited(Session.run_notebook, is_limited=False)
    run = awaited(Session.run, is_limited=False)
    upload = awaited(Session.upload)
    download = awaited(Session.download)
    install = awaited(Session.install, is_limited=False)
    kernel = direct_as(AsyncKernel, Session.kernel)


def undo_start(session: Session) -> None:
    """Stop a session that nobody gets, unless it was there before."""
    if not session.joined:
        session.stop()
