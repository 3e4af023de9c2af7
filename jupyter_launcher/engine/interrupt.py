"""Calls that an interrupt must not cut off."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

__all__ = ["run_uninterrupted"]

T = TypeVar("T")


def run_uninterrupted(call: Callable[[], T]) -> T:
    """Run ``call`` in a thread and return its result.

    A KeyboardInterrupt (Ctrl+C) is raised only after the call has finished, or before it has started. A
    second one is raised at once, because an engine that hangs may hold the call until its time-out.
    """
    # Not a ThreadPoolExecutor: interrupted between starting its thread and recording it, it would leave
    # a thread that is never joined.
    future: Future[T] = Future()

    def run() -> None:
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(call())
            except BaseException as error:  # noqa: BLE001 - raised again below
                future.set_exception(error)

    try:
        threading.Thread(target=run).start()
        return future.result()
    finally:
        if not future.cancel():
            wait([future])
