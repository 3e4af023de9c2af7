"""The part of a made-up server that takes connections."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

__all__ = ["Acceptor"]


class Acceptor:
    """Gives a listener's connections to ``take``, in a thread of its own, until it is closed."""

    def __init__(self, listener: socket.socket, take: Callable[[socket.socket], object]) -> None:
        self._listener = listener
        self._take = take
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close the listener after the thread has ended, which else may accept for the next owner of its descriptor."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._take(self._listener.accept()[0])
