"""Kernels of a session: ``Kernel``, and the one that ``Session.execute`` uses."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from jupyter_launcher.models import KernelInfo
from jupyter_launcher.results import ExecuteResult, Output
from jupyter_launcher.work.place import Place

__all__ = ["Kernel", "list_kernels"]


class Kernel:
    """A kernel of a session: made by ``Session.kernel``, and a context manager that connects to it.

    Calls from several threads are executed one after another.
    """

    def __init__(self, place: Place, *, name: str | None, path: str | None, kernel_id: str | None) -> None:
        raise NotImplementedError

    def __enter__(self) -> Kernel:
        raise NotImplementedError

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        raise NotImplementedError

    @property
    def id(self) -> str:
        """The kernel's id."""
        raise NotImplementedError

    def execute(
        self,
        code: str,
        *,
        timeout: float | None = None,
        check: bool = True,
        on_output: Callable[[Output], object] | None = None,
    ) -> ExecuteResult:
        """Execute code, as ``Session.execute`` does."""
        raise NotImplementedError

    def interrupt(self) -> None:
        """Interrupt what it executes, from another thread."""
        raise NotImplementedError

    def restart(self) -> None:
        """Start its process anew: all state is gone."""
        raise NotImplementedError


def list_kernels(place: Place) -> tuple[KernelInfo, ...]:
    """The kernels of a session, as ``Session.kernels`` says."""
    raise NotImplementedError
