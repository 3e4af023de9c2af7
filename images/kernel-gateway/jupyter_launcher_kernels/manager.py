"""The gateway's kernels, each started with the environment of its own request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from kernel_gateway.services.kernels.manager import SeedingMappingKernelManager

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
    """Lets go of what a kernel holds in its container when the kernel has ended too often to be started again."""

    def _handle_kernel_died(self, kernel_id: str) -> None:
        kernel = self.get_kernel(kernel_id)
        super()._handle_kernel_died(kernel_id)
        self._leaving = asyncio.ensure_future(kernel.cleanup_resources())
