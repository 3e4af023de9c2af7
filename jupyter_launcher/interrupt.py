"""Calls that an interrupt must not cut off."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

__all__ = ["to_its_end"]

T = TypeVar("T")


def to_its_end(call: Callable[[], T]) -> T:
    """What a call gives; an interrupt (Ctrl+C) comes out when the call has ended, or was never begun.

    A second one comes out at once, since an engine that hangs may hold a call for its whole time-out.

    An executor won't do: an interrupt between the start of its thread and its note of that leaves a
    thread that nothing waits for.
    """
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
