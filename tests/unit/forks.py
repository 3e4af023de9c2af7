"""What a call does in a fork of the test's process."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable

__all__ = ["in_a_fork"]

_PATIENCE = 30


def in_a_fork(call: Callable[[], object]) -> str:
    """What a call returns, or raises, in a fork of this process, as text."""
    readable, writable = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and newer warn where threads run
        child = os.fork()
    if child == 0:
        signal.alarm(_PATIENCE)  # one that hangs ends without an answer
        try:
            answer = str(call())
        except BaseException as error:  # noqa: BLE001 - it is the answer
            answer = f"{type(error).__name__}: {error}"
        os.write(writable, answer.encode())
        os._exit(0)
    os.close(writable)
    with os.fdopen(readable) as answers:
        text = answers.read()
    os.waitpid(child, 0)
    return text
