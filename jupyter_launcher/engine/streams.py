"""Streams of the engine: a command in a container, its output with its marks and its cap, and a container's log."""

from __future__ import annotations

import contextlib
import math
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import requests
from docker import APIClient
from docker.errors import APIError

from jupyter_launcher.acts import close_on_cancel
from jupyter_launcher.engine.errors import FORBIDDEN, translate_errors
from jupyter_launcher.engine.shapes import parse_exit_code, parse_id
from jupyter_launcher.engine.types import ExecResult
from jupyter_launcher.errors import EngineError, EngineUnavailableError, ExecError
from jupyter_launcher.models.options import HiddenTexts
from jupyter_launcher.waiting import Deadline, NotYetError, attempts, within

__all__ = [
    "END",
    "Command",
    "Output",
    "limit_read",
    "mark",
    "open_stream",
    "raise_for_status",
    "read_frames",
    "read_output",
    "run_exec",
    "shorten",
    "shut_stream",
    "socket_of",
    "unlimit_read",
    "wait_for_json",
]

MARK = b"\x02"
"""Printed before a command runs (ASCII STX). Without it the command did not run, whatever was printed."""

END = b"\x04"
"""A command that keeps running prints this byte (ASCII EOT) after its last output, so that the reader can stop."""

_LAST_MOMENT = 1.0
_GUESSED = 3  # characters; so short a text is no secret, and in too many words
_LEAST_SECONDS = 0.001  # a time-out of 0 means something else
_STDOUT = 1
_STDERR = 2
_SHORT = 256  # bytes of a word that may stand in an event
_MOVABLE = 2**16  # Linux takes twice as many for one variable, with its name
_PRINT_MARK = "printf '\\002'; exec \"$@\""
# The name of the script is the number of seconds. An image without `timeout` has no end for a command that hangs.
_PRINT_MARK_AND_LIMIT = 'printf \'\\002\'; command -v timeout >/dev/null && exec timeout -s KILL "$0" "$@"; exec "$@"'


def mark(argv: Sequence[str], seconds: int | None = None) -> list[str]:
    """The command that prints :data:`MARK`, and then becomes ``argv``, which is killed after ``seconds``."""
    if seconds is None:
        return ["sh", "-c", _PRINT_MARK, "exec", *argv]
    return ["sh", "-c", _PRINT_MARK_AND_LIMIT, str(seconds), *argv]


def shorten(argv: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """A command that becomes ``argv``, and the variables that it takes for that: the long words, such as scripts.

    The engine tells everyone who listens to its events the whole command of an exec, and nobody its variables. The
    process that ``argv`` becomes has none of them.
    """
    moved = {f"_jl_word_{at}": word for at, word in enumerate(argv) if _SHORT < len(word.encode()) <= _MOVABLE}
    if not moved:
        return list(argv), {}
    rest: list[str] = []
    words: list[str] = []
    for at, word in enumerate(argv):
        name = f"_jl_word_{at}"
        if name not in moved:
            rest.append(word)
            name = str(len(rest))
        words.append(f'"${{{name}}}"')
    return ["sh", "-c", f'set -- {" ".join(words)}; unset {" ".join(moved)}; exec "$@"', "sh", *rest], moved


@dataclass(slots=True)
class Output:
    """What came of a command's two streams so far.

    Attributes:
        started: the mark was seen.
        ended: the command said that its output is complete, and may go on.
        truncated: the cap was reached; what came after it was not read.
    """

    stdout: bytearray = field(default_factory=bytearray, repr=False)
    stderr: bytearray = field(default_factory=bytearray, repr=False)
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

    def fault(
        self, exit_code: int | None, limit: int, *, check: bool = True, secret: bool = False
    ) -> tuple[str, bool | None, str] | None:
        """What went wrong with an exec, whether its command started, and a hint; None: nothing.

        Args:
            exit_code: of the exec; None: the command continues.
            limit: the cap, for the text.
            check: an exit code other than 0 is a fault.
            secret: as in :meth:`text`.
        """
        if self.truncated:
            return f"printed more than {limit} bytes", self.started, ""
        if self.started:
            if exit_code and check:
                return f"failed with exit code {exit_code}: {self.text(secret=secret)}", True, ""
            return None if self.ended or exit_code is not None else ("closed its output and continues", True, "")
        if not exit_code:
            # docker-py#3332: a busy engine may lose the output of a command that ran.
            return "may have run: its output was lost", None, ""
        return f"did not run: {self.text(secret=secret)}", False, ""

    def text(self, *, secret: bool = False) -> str:
        """The end of both streams, for a message; of a command that prints a ``secret``, only stderr."""
        # What is printed without the mark is the runtime's.
        stdout = b"" if secret and self.started else bytes(self.stdout)
        return (stdout + b"\n" + bytes(self.stderr)).decode(errors="replace").strip()[-500:]


def read_output(response: requests.Response, output: Output, deadline: Deadline, limit: int) -> None:
    """Read frames into ``output`` until the stream or the output is complete, or the cap is reached.

    Raises:
        TimeoutError: the deadline passed. A read that had begun before raises the transport's own error then.
    """
    with open_stream(response):
        # What was read is no local variable here: it may hold a secret, and a traceback shows those.
        while not (output.ended or output.truncated) and _add_frame(response, output, deadline, limit):
            pass


def _add_frame(response: requests.Response, output: Output, deadline: Deadline, limit: int) -> bool:
    frame = _read_frame(response, deadline)
    if frame is not None:
        output.add(*frame, limit)
    return frame is not None


@contextlib.contextmanager
def open_stream(response: requests.Response) -> Iterator[None]:
    """Check the status of an answer that is read in pieces; close it at the end, and when the act is cancelled."""
    with contextlib.closing(response):
        raise_for_status(response)
        connection = socket_of(response)
        if connection is None:
            yield
            return
        with close_on_cancel(lambda: _shut_down(connection)):
            yield


def limit_read(response: requests.Response, deadline: Deadline) -> None:
    """Let the next read of the answer end with the deadline.

    Raises:
        TimeoutError: it has passed.
    """
    if deadline.expired():
        raise TimeoutError
    connection = socket_of(response)
    if connection is not None:
        connection.settimeout(deadline.remaining() + _LEAST_SECONDS)


def unlimit_read(response: requests.Response) -> None:
    """Let reads of the answer wait for as long as it takes."""
    connection = socket_of(response)
    if connection is not None:
        connection.settimeout(None)


def wait_for_json(api: APIClient, url: str, deadline: Deadline) -> Any:
    """What a POST gives whose body comes late. The SDK's own call cannot be cancelled."""
    response = api.post(url, stream=True, timeout=deadline.remaining())
    with open_stream(response):
        limit_read(response, deadline)
        return response.json()


def socket_of(response: requests.Response) -> socket.socket | None:
    """The socket of an answer: there is no public way to it, and other transports have none."""
    found = response.raw
    for name in ("_fp", "fp", "raw", "_sock"):
        found = getattr(found, name, None)
    return found if isinstance(found, socket.socket) else None


def shut_stream(response: requests.Response) -> None:
    """End a read of an answer that blocks in another thread."""
    connection = socket_of(response)
    if connection is not None:
        _shut_down(connection)


def _shut_down(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def read_frames(response: requests.Response, deadline: Deadline | None = None) -> Iterator[tuple[int, bytes]]:
    """The stream's number and what was written to it: the engine's framing of output without a terminal.

    Raises:
        TimeoutError: the deadline passed. A read that had begun before raises the transport's own error then.
    """
    while (frame := _read_frame(response, deadline)) is not None:
        yield frame


def _read_frame(response: requests.Response, deadline: Deadline | None) -> tuple[int, bytes] | None:
    if deadline is not None:
        limit_read(response, deadline)
    head = response.raw.read(8)
    return (head[0], response.raw.read(int.from_bytes(head[4:], "big"))) if len(head) == 8 else None


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command to run in a container; the attributes are those of the protocol's ``exec``."""

    container: str
    argv: tuple[str, ...]
    workdir: str
    limit: int
    secret: bool
    stays: bool
    environment: HiddenTexts


def run_exec(api: APIClient, endpoint: str, command: Command, deadline: Deadline, *, check: bool) -> ExecResult:
    """Run a command and read what it prints, as the protocol's ``exec`` says."""
    container = command.container
    output = Output()
    # The exec's own time inside the container, beyond the deadline: an answer may be on its way.
    seconds = None if command.stays else math.ceil(deadline.remaining()) + 1
    fault: tuple[str, bool | None, str] | None = None
    lost: EngineError | None = None
    code = None
    try:
        with translate_errors(f"run a command in container {container[:12]}", endpoint), within(deadline):
            argv, words = shorten(command.argv)
            exec_id = parse_id(
                api.exec_create(
                    container,
                    mark(argv, seconds),
                    workdir=command.workdir,
                    environment={**command.environment.values, **words},
                )
            )
            read_output(_start(api, exec_id, deadline), output, deadline, command.limit)
            code = None if output.ended or output.truncated else _exit_code(api, exec_id, deadline)
    except EngineUnavailableError as error:
        if not deadline.expired():
            seen = _hide(error.message, command.environment)
            lost = EngineUnavailableError(seen, hint=error.hint, endpoint=error.endpoint)
        fault = f"did not answer within {deadline.seconds:g} s", True if output.started else None, error.hint
    except EngineError as error:
        if error.status in FORBIDDEN:  # nothing about this container: no exec at all is allowed
            lost = EngineError(_hide(error.message, command.environment), hint=error.hint, status=error.status)
        seen = "ran, but its end was not seen" if output.started else "did not run"
        fault = f"{seen}: {_hide(error.message, command.environment)}", output.started, error.hint
    except Exception as error:
        if not command.environment.values:
            raise
        # The frames of the SDK hold the environment.
        fault = f"did not run: {type(error).__name__}", None, ""
    # Not raised in the blocks above: what a traceback shows of them may hold a secret.
    if lost is not None:
        raise lost
    fault = fault or output.fault(code, command.limit, check=check, secret=command.secret)
    if fault is not None:
        seen, started, hint = fault
        hint = hint or f"see `docker ps -a --filter id={container[:12]}` and `docker logs {container[:12]}`"
        msg = f"command `{command.argv[0]}` in container {container[:12]} {seen}"
        printed = output.text(secret=command.secret)
        raise ExecError(msg, hint=hint, started=started, exit_code=code, output=printed)
    stdout, stderr = (stream.decode(errors="replace") for stream in (output.stdout, output.stderr))
    return ExecResult(exit_code=code, stdout=stdout, stderr=stderr)


def _hide(text: str, hidden: HiddenTexts) -> str:
    """A text of the engine's, which may repeat what it was sent."""
    for value in hidden.values.values():
        if len(value) > _GUESSED:
            text = text.replace(value, "...")
    return text


def _exit_code(api: APIClient, exec_id: str, deadline: Deadline) -> int | None:
    """The exit code of a command whose output has ended, which may be a moment before the command has.

    None: the command closed its output and continues.
    """
    for attempt in attempts(Deadline(min(_LAST_MOMENT, deadline.remaining())), NotYetError):
        with attempt:
            code = parse_exit_code(api.exec_inspect(exec_id))
            if code is None:
                raise NotYetError
            return code
    return None


def _start(api: APIClient, exec_id: str, deadline: Deadline) -> requests.Response:
    # Not the SDK's exec_start: it asks for an upgrade of the connection, and then reads past the bytes
    # that came together with the response's head (docker-py#3332). Without the upgrade the engine sends
    # the same stream as a plain body, which ends when the command's output does. It also lets the read
    # have a time-out.
    return api.post(
        f"{api.base_url}/v{api.api_version}/exec/{exec_id}/start",
        json={"Detach": False, "Tty": False},
        stream=True,
        timeout=max(deadline.remaining(), 0.001),
    )
