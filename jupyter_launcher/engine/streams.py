"""Streams of the engine: a command's output with its marks and its cap, and a container's log."""

from __future__ import annotations

import codecs
import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import requests
from docker.errors import APIError

from jupyter_launcher.waiting import Deadline

__all__ = ["END", "Output", "decode_log", "mark", "raise_for_status", "read_frames", "read_output"]

MARK = b"\x02"
"""Printed before a command runs (ASCII STX). Without it the command did not run, whatever was printed."""

END = b"\x04"
"""A command that keeps running prints this byte (ASCII EOT) after its last output, so that the reader can stop."""

_STDOUT = 1
_STDERR = 2
_PRINT_MARK = "printf '\\002'; exec \"$@\""


def mark(argv: Sequence[str]) -> list[str]:
    """The command that prints :data:`MARK`, and then becomes ``argv``."""
    return ["sh", "-c", _PRINT_MARK, "exec", *argv]


@dataclass(slots=True)
class Output:
    """What came of a command's two streams so far.

    Attributes:
        started: the mark was seen.
        ended: the command said that its output is complete, and may go on.
        truncated: the cap was reached; what came after it was not read.
    """

    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    started: bool = False
    ended: bool = False
    truncated: bool = False

    def add(self, stream: int, piece: bytes, limit: int) -> None:
        """Take one frame in; ``limit`` is the most bytes that both streams together may have."""
        if stream == _STDOUT and not self.started and not self.stdout and piece.startswith(MARK):
            self.started = True
            piece = piece.removeprefix(MARK)
        target = self.stderr if stream == _STDERR else self.stdout
        room = limit - len(self.stdout) - len(self.stderr)
        target.extend(piece[:room])
        self.truncated = len(piece) > room
        if self.started and self.stdout.endswith(END):
            self.ended = True
            del self.stdout[-len(END) :]

    def fault(self, exit_code: int | None, limit: int, *, secret: bool = False) -> tuple[str, bool | None] | None:
        """What went wrong with the exec itself, and whether the command started; None: it ran.

        Args:
            exit_code: of the exec; None: the command continues.
            limit: the cap, for the text.
            secret: as in :meth:`text`.
        """
        if self.truncated:
            return f"printed more than {limit} bytes", self.started
        if self.started:
            return None if self.ended or exit_code is not None else ("closed its output and continues", True)
        if not exit_code:
            # docker-py#3332: a busy engine may lose the output of a command that ran.
            return "may have run: its output was lost", None
        return f"did not run: {self.text(secret=secret)}", False

    def text(self, *, secret: bool = False) -> str:
        """The end of both streams, for a message; of a command that prints a ``secret``, only stderr."""
        # What is printed without the mark is the runtime's.
        stdout = b"" if secret and self.started else bytes(self.stdout)
        return (stdout + b"\n" + bytes(self.stderr)).decode(errors="replace").strip()[-500:]


def read_output(response: requests.Response, output: Output, deadline: Deadline, limit: int) -> None:
    """Read frames into ``output`` until the stream or the output is complete, or the cap is reached.

    Raises:
        TimeoutError: the deadline passed. It is checked after each frame, so a command that stalls may take
            up to twice the remaining time.
    """
    with contextlib.closing(response):
        raise_for_status(response)
        for stream, piece in read_frames(response):
            output.add(stream, piece, limit)
            if output.ended or output.truncated:
                return
            if deadline.expired():
                raise TimeoutError


def read_frames(response: requests.Response) -> Iterator[tuple[int, bytes]]:
    """The stream's number and what was written to it: the engine's framing of output without a terminal."""
    while len(head := response.raw.read(8)) == 8:
        yield head[0], response.raw.read(int.from_bytes(head[4:], "big"))


def decode_log(frames: Iterable[tuple[int, bytes]]) -> Iterator[str]:
    """A log's frames as text; a character that two frames share is put together."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for _, piece in frames:
        yield decoder.decode(piece)
    if rest := decoder.decode(b"", final=True):
        yield rest


def raise_for_status(response: requests.Response) -> None:
    """Raise the SDK's own error for a status of 400 or more.

    Raises:
        APIError: with the engine's explanation, or with what a proxy said in its place.
    """
    if response.status_code < 400:
        return
    try:
        explanation = str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        explanation = response.text[:500]
    raise APIError(response.text, response=response, explanation=explanation)
