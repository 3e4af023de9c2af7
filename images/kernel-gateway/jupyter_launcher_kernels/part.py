"""A connection to an agent or a broker, which is one kernel there."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from dataclasses import dataclass
from logging import Logger
from typing import Any

from jupyter_launcher_kernels.memory import count_oom_kill

__all__ = ["End", "PartConnection", "PartError", "socket_address"]

_LEAVE_SECONDS = 15.0
_LINE = 1 << 21  # bytes; a part's lines are shorter than 1 MiB


class PartError(Exception):
    """A part refused a request, or is gone; ``status`` is one of HTTP's."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


_QUIET = (0, 130, 137, 143)
"""How a kernel ends that was asked to, by a message or by SIGINT, SIGKILL, SIGTERM."""


@dataclass(frozen=True)
class End:
    """How a run of a kernel ended.

    Attributes:
        exit_code: of its process, 128 and the signal's number where a signal ended it.
        oom: it was killed because the memory of its container was used up.
        log: the last lines of its output.
    """

    exit_code: int
    oom: bool = False
    log: str = ""

    def describe(self) -> str:
        """Say how it ended, in the words that follow a kernel's name."""
        if self.oom:
            return "was killed: the memory of its container is used up"
        log = f": {self.log.strip()}" if self.log.strip() else ""
        return f"ended with exit code {self.exit_code}{log}"


class PartConnection:
    """Asks one part, and hears of the end of each run.

    The kernel there lives as long as this connection is open.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kernel: str, log: Logger) -> None:
        self.is_closed = False
        self._writer = writer
        self._kernel = kernel
        self._log = log
        self._answers: deque[asyncio.Future[dict[str, Any]]] = deque()
        self._ends: dict[int, asyncio.Future[End]] = {}
        self._reading = asyncio.ensure_future(self._read(reader))

    @classmethod
    async def open(cls, address: str, kernel: str, log: Logger) -> PartConnection:
        """Connect to a part: ``@`` and a name of the abstract namespace, or a path.

        Raises:
            PartError: nothing listens there.
        """
        try:
            reader, writer = await asyncio.open_unix_connection(socket_address(address), limit=_LINE)
        except OSError as error:
            msg = f"nothing listens at {address}: {error}"
            raise PartError(msg, 500) from error
        return cls(reader, writer, kernel, log)

    async def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """Send a request, and return its answer.

        Raises:
            PartError: it was refused, or the connection has ended.
        """
        if self.is_closed:
            raise PartError(_GONE, 500)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers.append(answer)
        self._writer.write(json.dumps({"do": do, **request}).encode() + b"\n")
        found = await answer
        if "error" in found:
            raise PartError(str(found["error"]), int(found.get("status", 500)))
        return found

    def end_of(self, run: int) -> asyncio.Future[End]:
        """The end of a run, which may not have come yet."""
        if run not in self._ends:
            self._ends[run] = asyncio.get_running_loop().create_future()
            if self.is_closed:
                self._ends[run].set_result(End(1, log=_GONE))
        return self._ends[run]

    async def leave(self) -> None:
        """End the kernel, and wait for its part to close the connection: then what was the kernel's is gone."""
        if not self.is_closed:
            with contextlib.suppress(OSError):
                self._writer.write_eof()
            await asyncio.wait([self._reading], timeout=_LEAVE_SECONDS)
        self.close()

    def close(self) -> None:
        """Close the connection: the kernel ends with it."""
        self.is_closed = True
        self._writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                self._take(json.loads(line))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            self._log.warning("kernel %s: its container answered what nobody understands: %r", self._kernel, error)
        self.close()
        for answer in self._answers:
            if not answer.done():
                answer.set_result({"error": _GONE, "status": 500})
        for end in self._ends.values():
            if not end.done():
                end.set_result(End(1, log=_GONE))

    def _take(self, message: dict[str, Any]) -> None:
        if not isinstance(message, dict):
            raise TypeError(message)
        if "ended" not in message:
            answer = self._answers.popleft()
            if not answer.done():
                answer.set_result(message)
            return
        told = message["ended"]
        end = End(int(told["exit_code"]), bool(told.get("oom")), str(told.get("log", "")))
        if end.oom:
            count_oom_kill()
        if end.oom or end.exit_code not in _QUIET:
            self._log.warning("kernel %s %s", self._kernel, end.describe())
        future = self.end_of(int(told["run"]))
        if not future.done():
            future.set_result(end)


_GONE = "the connection to the kernel's container has ended"


def socket_address(address: str) -> str:
    """The address of a unix socket, as the socket module takes it."""
    return "\0" + address[1:] if address.startswith("@") else address
