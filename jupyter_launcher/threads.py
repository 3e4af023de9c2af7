"""Threads that are part of what starts them: they have its context variables, so its act and its deadline."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["map_at_once", "run_in_thread"]

S = TypeVar("S")
T = TypeVar("T")


def run_in_thread(call: Callable[[], None]) -> None:
    """Run a call in a thread of its own, as part of the act that runs here; where none can be started, at once."""
    run = _in_this_context(call)
    if not sys.is_finalizing():  # a thread would never run
        # A daemon, since an engine that hangs must not hold up the end of the process.
        with contextlib.suppress(RuntimeError):  # no thread can be started any more
            threading.Thread(target=run, name="jupyter-launcher", daemon=True).start()
            return
    run()


def map_at_once(call: Callable[[S], T], items: Sequence[S], *, threads: int) -> list[T]:
    """The result of a call for each item, some at the same time; each may be part of the act that runs here.

    Where no thread can be started, as while the interpreter ends, the calls come one after another.
    """
    if not items:
        return []
    calls: list[Callable[[], T]] = [_in_this_context(functools.partial(call, item)) for item in items]
    if sys.is_finalizing():  # a thread would never run
        return [item() for item in calls]
    with ThreadPoolExecutor(max_workers=min(threads, len(calls))) as pool:
        results: list[Callable[[], T]] = []
        for item in calls:
            try:
                results.append(pool.submit(item).result)
            except RuntimeError:  # no thread can be started: the interpreter ends, or there are too many
                results.append(item)
        return [result() for result in results]


def _in_this_context(call: Callable[[], T]) -> Callable[[], T]:
    context = contextvars.copy_context()
    return lambda: context.run(call)
