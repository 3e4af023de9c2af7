"""What each process has for itself: a fork does not take its parent's."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["PerProcess"]

T = TypeVar("T")


class PerProcess(Generic[T]):
    """A value that each process makes for itself, at its first use: a fork does not take its parent's."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._values: dict[int, T] = {}  # those of other processes stay as they are
        self._locks: dict[int, threading.Lock] = {}  # one may have been held when the process was forked

    def get(self) -> T:
        """This process's value; other threads wait while one makes it."""
        process = os.getpid()
        with contextlib.suppress(KeyError):
            return self._values[process]
        with self._locks.setdefault(process, threading.Lock()):
            if process not in self._values:
                self._values[process] = self._make()
            return self._values[process]

    def drop(self, value: T) -> None:
        """Let the next use make a new one, unless this process has another than ``value`` by now."""
        with self._locks.setdefault(os.getpid(), threading.Lock()):
            if self._values.get(os.getpid()) is value:
                del self._values[os.getpid()]

    def find(self) -> T | None:
        """This process's value, if it has made one."""
        return self._values.get(os.getpid())
