"""The gateway's kernels, each started with the environment of its own request."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

import zmq
from kernel_gateway.services.kernels.manager import SeedingMappingKernelManager

from jupyter_launcher_kernels.connection import WebsocketConnection

__all__ = ["ContainerKernelManager", "KernelManager"]


class _PerRequest:
    """A method that may be replaced for the request alone that replaces it.

    Kernel Gateway hands a request's ``env`` to ``start_kernel`` by replacing that method of the one manager of all
    requests, and puts back what was there before. Of requests at the same time, one would put back another one's
    replacement, and its environment would be in all later kernels whose requests bring none.
    """

    def __init__(self, original: Callable[..., Any]) -> None:
        self._original = original
        self._replacement: ContextVar[Callable[..., Any] | None] = ContextVar("start_kernel", default=None)

    def __get__(self, manager: object, owner: type | None = None) -> Any:
        if manager is None:
            return self
        return self._replacement.get() or self._original.__get__(manager, owner)

    def __set__(self, manager: object, value: Callable[..., Any]) -> None:
        self._replacement.set(value)


class KernelManager(SeedingMappingKernelManager):
    """Keeps the environments of requests apart; tornado handles each request in a context of its own."""

    start_kernel = _PerRequest(SeedingMappingKernelManager.start_kernel)


class ContainerKernelManager(KernelManager):
    """Has what is connected to a kernel follow it to its next address, and lets go of a kernel that is given up."""

    def follow_kernel(self, kernel_id: str, old: Mapping[str, str], new: Mapping[str, str]) -> None:
        """Connect each open stream to where the kernel listens now that it has started again.

        jupyter_server connects anew where a websocket is opened anew and ports have changed. It leaves open websockets
        and its own watch of the kernel's activity as they are, and does not see that an IP has changed.

        Args:
            kernel_id: of the kernel.
            old: the URL of each of its channels so far.
            new: the URL of each from now on.
        """
        for channel, stream in self._streams_of(kernel_id):
            with contextlib.suppress(zmq.ZMQError):  # it has followed already
                stream.socket.disconnect(old[channel])
            stream.socket.connect(new[channel])

    async def shutdown_kernel(self, kernel_id: str, now: bool = False, restart: bool = False) -> None:  # noqa: FBT001, FBT002 - jupyter_client's
        """End a kernel; ``now`` is what a gateway that ends says of one kernel after another.

        Then all end at once, and gracefully, as they do where somebody stops the session: whoever kills a session may
        have files open in its kernels.
        """
        end = super().shutdown_kernel
        if restart or not now:
            await end(kernel_id, now=now, restart=restart)
            return
        await asyncio.gather(*(end(found) for found in self.list_kernel_ids()), return_exceptions=True)

    def _streams_of(self, kernel_id: str) -> Iterator[tuple[str, Any]]:
        """All streams that are connected to a kernel: of websockets, of the buffer between two, and of the watch."""
        watching = getattr(self._kernels.get(kernel_id), "_activity_stream", None)
        open_ = [item.channels for item in WebsocketConnection._open_sockets if item.kernel_id == kernel_id]  # noqa: SLF001
        buffer = self._kernel_buffers.get(kernel_id) or {}
        for streams in [{"iopub": watching}, *open_, buffer.get("channels", {})]:
            for channel, stream in streams.items():
                if stream is not None and not stream.closed():
                    yield channel, stream

    def _handle_kernel_died(self, kernel_id: str) -> None:
        kernel = self.get_kernel(kernel_id)
        super()._handle_kernel_died(kernel_id)
        self._leaving = asyncio.ensure_future(kernel.cleanup_resources())
