"""Commands in a session: what ``Session.run`` does."""

from __future__ import annotations

import codecs
import math
import os
import posixpath
import select
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePath

from jupyter_launcher.errors import CommandError, CommandTimeoutError, ExecError
from jupyter_launcher.models.options import is_text, show_value
from jupyter_launcher.results import CommandResult
from jupyter_launcher.spec.checks import PIPELINE_TARGET, check_callback, check_flag, check_user, refuse_option
from jupyter_launcher.spec.texts import check_variables
from jupyter_launcher.waiting import Deadline
from jupyter_launcher.work.commands.remote import RemoteCommand, Request, open_command
from jupyter_launcher.work.place import Place

__all__ = ["check_remote_path", "run_command"]

KEPT = 8 * 2**20
"""Bytes of each stream that the result has."""
_END_SECONDS = 20.0  # the command has 3 s between SIGTERM and SIGKILL
_PIECE = 2**16
_SHOWN = 500  # characters of what it printed, in a message
_NAMES = {1: "stdout", 2: "stderr"}

OnOutput = Callable[[str, str], object]


def run_command(
    place: Place,
    argv: Sequence[str],
    *,
    cwd: str,
    environment: Mapping[str, str] | None,
    given: bytes | str | None,
    given_by: int | None = None,
    timeout: float | None,
    check: bool,
    user: str | int | None,
    on_output: OnOutput | None = None,
    on_bytes: Callable[[str, bytes], object] | None = None,
) -> CommandResult:
    """Run a command, as ``Session.run`` says.

    ``given`` is its input; from ``given_by``, a descriptor, that is read while it runs. ``on_bytes`` gets what is
    decoded for others.
    """
    request = Request(
        argv=_check_argv(argv),
        cwd=check_remote_path(cwd, "cwd"),
        environment=check_variables(environment, "environment"),
        user=None if user is None else check_user(user, "user"),
        input=_cut(given) if given_by is None else _read_input(given_by),
        wake=given_by,
    )
    seconds = _check_timeout(timeout)
    check_flag(check, "check")
    check_callback(on_output, "on_output")
    streams = {number: _Stream(name, on_output, on_bytes) for number, name in _NAMES.items()}
    with open_command(place, request) as command:
        is_late = _read_all(place, command, Deadline(seconds), streams)
    for stream in streams.values():
        stream.finish()
    code = command.exit_code or 0
    result = CommandResult(
        argv=request.argv,
        exit_code=code,
        stdout=streams[1].text(),
        stderr=streams[2].text(),
        truncated=any(stream.truncated for stream in streams.values()),
    )
    if is_late:
        msg = f"`{request.argv[0]}` did not end within {seconds:g} s, and was ended"
        hint = "give more seconds as timeout; the error's result has what it printed"
        raise CommandTimeoutError(msg, hint=hint, session_id=place.session_id, seconds=seconds, result=result)
    if check and code:
        printed = (result.stderr.strip() or result.stdout.strip())[-_SHOWN:]
        msg = f"`{request.argv[0]}` failed with exit code {code}{f': {printed}' if printed else ''}"
        hint = "the error's result has what it printed; check=False returns it in place of the error"
        raise CommandError(msg, hint=hint, session_id=place.session_id, exit_code=code, result=result)
    return result


def _read_all(place: Place, command: RemoteCommand, deadline: Deadline, streams: Mapping[int, _Stream]) -> bool:
    """Read what it prints until it has ended; whether it was ended because its time was over."""
    is_late = False
    while True:
        try:
            found = command.read(deadline)
        except TimeoutError:
            if is_late:
                msg = (
                    f"a command in session {place.session_id} has not ended {_END_SECONDS:g} s after its time was over"
                )
                raise ExecError(
                    msg, hint="see whether the session is paused, or its machine busy", started=True
                ) from None
            is_late, deadline = True, Deadline(_END_SECONDS)
            command.end()
            continue
        left = deadline.remaining()  # the caller's function takes none of it
        if found is None:
            return is_late
        number, piece = found
        streams[number].add(piece)
        if is_late:
            deadline = Deadline(left)


class _Stream:
    """What came of one stream: its first bytes are kept, all of it goes to the caller's function as text."""

    def __init__(self, name: str, on_output: OnOutput | None, on_bytes: Callable[[str, bytes], object] | None) -> None:
        self.truncated = False
        self._name = name
        self._on_output = on_output
        self._on_bytes = on_bytes
        self._kept = bytearray()
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def add(self, piece: bytes) -> None:
        room = KEPT - len(self._kept)
        self._kept += piece[:room]
        self.truncated = self.truncated or len(piece) > room
        if self._on_bytes is not None:
            self._on_bytes(self._name, piece)
        self._tell(self._decoder.decode(piece))

    def finish(self) -> None:
        self._tell(self._decoder.decode(b"", final=True))

    def text(self) -> str:
        return self._kept.decode(errors="replace")

    def _tell(self, text: str) -> None:
        if text and self._on_output is not None:
            self._on_output(self._name, text)


def _check_argv(given: object) -> tuple[str, ...]:
    hint = "give a sequence of texts, one for each word, such as ['ls', '-l']; for a shell: ['sh', '-c', '...']"
    if isinstance(given, (str, bytes)) or not isinstance(given, Sequence):
        refuse_option("argv", f"is {show_value(given)}", hint)
    for word in given:
        if not is_text(word):
            refuse_option("argv", f"has the word {show_value(word)}", f"{hint}; UTF-8 has all characters, and no NUL")
    if not given or not given[0]:
        refuse_option("argv", "names no program", hint)
    return tuple(given)


def check_remote_path(value: object, option: str) -> str:
    """An absolute path in the session of one that may be relative to the pipeline directory."""
    text = str(value) if isinstance(value, PurePath) else value
    if not is_text(text) or not text:
        refuse_option(
            option, f"is {show_value(value)}", f"give a path in the session, such as '{PIPELINE_TARGET}/steps'"
        )
    return posixpath.join(PIPELINE_TARGET, text)


def _check_timeout(value: object) -> float:
    if value is None:
        return math.inf
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        refuse_option("timeout", f"is {show_value(value)}", "give a number of seconds above 0, or None for no limit")
    return float(value)


def _cut(given: object) -> Iterator[bytes] | None:
    """The input in pieces."""
    if given is None:
        return None
    if isinstance(given, str):
        try:
            given = given.encode()
        except UnicodeEncodeError:
            refuse_option("input", "has characters that UTF-8 does not have", "give bytes")
    if not isinstance(given, (bytes, bytearray, memoryview)):
        refuse_option("input", f"is {show_value(given)}", "give bytes, a text, or None")
    view = memoryview(given if not isinstance(given, memoryview) else given.tobytes())
    return (bytes(view[at : at + _PIECE]) for at in range(0, len(view), _PIECE))


def _read_input(descriptor: int) -> Iterator[bytes | None]:
    """What can be read of a descriptor, up to its end; None where a read would wait."""
    _read(descriptor, 0)

    def pieces() -> Iterator[bytes | None]:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while (piece := _read(descriptor, _PIECE) if poll.poll(0) else None) != b"":
            yield piece

    return pieces()


def _read(descriptor: int, size: int) -> bytes | None:
    try:
        return os.read(descriptor, size)
    except BlockingIOError:
        return None
    except OSError as error:
        refuse_option("input", f"cannot be read: {error.strerror}", "give a file, a pipe or a terminal")
