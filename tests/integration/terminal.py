"""A real terminal for a command: a pseudo terminal that is its controlling one."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Mapping, Sequence

__all__ = ["CTRL_C", "Terminal"]

CTRL_C = "\x03"
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """Runs a command; what it wrote to stdout and stderr is in ``raw``, in the order in which it came."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str], *, columns: int = 110) -> None:
        self.raw = ""
        self.exit_code: int | None = None
        self._pid, self._fd = pty.fork()
        if self._pid == 0:
            for number in (signal.SIGINT, signal.SIGHUP):  # ignored in what a shell runs in the background
                signal.signal(number, signal.SIG_DFL)
            os.execvpe(argv[0], list(argv), {**environment, "TERM": "xterm-256color"})  # noqa: S606 - the test's own
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))

    @property
    def text(self) -> str:
        """What was written, without the escapes that move and colour it."""
        return _ESCAPES.sub("", self.raw)

    def type(self, keys: str) -> None:
        """As from a keyboard: the terminal makes a signal of Ctrl-C."""
        os.write(self._fd, keys.encode())

    def wait_for(self, pattern: str, seconds: float = 60.0) -> str:
        """Read until the text has a match of ``pattern``; gives that."""
        deadline = time.monotonic() + seconds
        while not (found := re.search(pattern, self.text)):
            assert self._read(deadline - time.monotonic()), f"no {pattern!r} in:\n{self.text}"
        return found[0]

    def end(self, seconds: float = 60.0) -> int:
        """Read until the command ends; gives its exit code."""
        deadline = time.monotonic() + seconds
        while self._read(deadline - time.monotonic()):
            pass
        _, status = os.waitpid(self._pid, 0)
        os.close(self._fd)
        self.exit_code = os.waitstatus_to_exitcode(status)
        return self.exit_code

    def kill(self) -> None:
        """End a command that did not end by itself."""
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._fd)

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self._fd], [], [], max(seconds, 0))
        assert ready, f"nothing more came in time after:\n{self.text}"
        try:
            piece = os.read(self._fd, 65536)
        except OSError:  # how Linux says that the other side is closed
            return False
        self.raw += piece.decode(errors="replace")
        return bool(piece)
