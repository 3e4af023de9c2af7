"""A command in a session's container: the launcher's side of the protocol of ``server/inside/run_command.py``."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from jupyter_launcher.acts import wait_for_cancel
from jupyter_launcher.engine.protocol import Exchange
from jupyter_launcher.errors import (
    CommandError,
    EngineError,
    EngineUnavailableError,
    ExecError,
    LauncherError,
    ServerNotRunningError,
    SessionNotFoundError,
)
from jupyter_launcher.results import CommandResult
from jupyter_launcher.server.failures import require_running
from jupyter_launcher.spec.checks import RUN_DIR, refuse_option
from jupyter_launcher.spec.server import read_script
from jupyter_launcher.waiting import Deadline
from jupyter_launcher.work.place import Place

__all__ = ["RemoteCommand", "Request", "open_command"]

_START_SECONDS = 60.0
_LAST_SECONDS = 5.0  # from the exit code to the end of the stream
_STATE_SECONDS = 5.0  # from the end of its processes until the engine knows that a container has ended
_PAUSE = 0.2
_MESSAGE = 2**16  # bytes of input in one message
_WINDOW = 16  # messages that may be unanswered; more would keep a call to end the command from arriving
_MOST = 2**20  # bytes of a message from inside
_HEAD = 5
_LOST = "its output was lost"
_NO_PYTHON = "no Python is here"  # of run_python.sh
_HINT_WITHOUT_PYTHON = "leave it out, or take an image with python3 on its PATH: another user sees no Python that runs"
_KEPT = 4096  # bytes of what the runtime, or run_command.py itself, prints


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be run.

    Attributes:
        argv: the command; an empty first word is the Python inside, apart from the user's environment.
        cwd: an absolute path.
        environment: variables besides those of the session's kernels.
        user: another one than the session's, who has the container's own variables in their place.
        input: pieces of what it reads; None: nothing. A piece that is None: the next one is not there yet.
        wake: a descriptor that can be read when the next piece is there.
    """

    argv: tuple[str, ...]
    cwd: str
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    user: str | None = None
    input: Iterator[bytes | None] | None = field(default=None, repr=False)
    wake: int | None = None


class _LostError(Exception):
    """The output ended before the command did."""


@contextlib.contextmanager
def open_command(place: Place, request: Request) -> Iterator[RemoteCommand]:
    """Run a command as long as the block: leaving it ends the command with all that it started.

    Raises:
        CommandError: there is no such program or folder.
        SessionNotFoundError, ServerNotRunningError: the session has ended.
        ExecError: the session is paused, or nobody can tell whether the command ran.
        OptionError: there is no such user.
        EngineError: the engine does not answer.
    """
    user = request.user
    is_started = False
    try:
        argv = ("sh", "-c", read_script("run_python.sh"), "run", read_script("run_command.py"), RUN_DIR)
        with place.engine.attach(place.container, argv, user=user) as exchange:
            command = RemoteCommand(exchange, request, place.session_id)
            command.ask()
            command.begin(Deadline(_START_SECONDS))
            is_started = True
            yield command
    except (EngineError, ExecError, _LostError) as error:
        _raise_for_state(place, error)
        is_told = user is not None and not is_started and str(error) != _LOST  # mostly that there is no such user
        if isinstance(error, _LostError) and not is_told:
            _await_state(place, error)
        if user is not None and not is_started and not isinstance(error, EngineUnavailableError):
            seen = _describe(error)
            hint = _HINT_WITHOUT_PYTHON if _NO_PYTHON in seen else "give a uid"
            refuse_option("user", f"is {user}, as whom nothing can be run here: {seen}", hint)
        if isinstance(error, _LostError):
            raise _not_seen(place, str(error), is_started=is_started) from None
        raise


def _describe(error: Exception) -> str:
    return error.message if isinstance(error, LauncherError) else str(error)


def _raise_for_state(place: Place, error: Exception) -> None:
    """Raise the error that says so where the container is gone, has ended, or is paused."""
    info = place.engine.inspect(place.container)
    try:
        found = require_running(info, place.session_id)
    except (SessionNotFoundError, ServerNotRunningError) as ended:
        raise ended from error
    if found.state == "paused":
        msg = f"session {place.session_id} is paused"
        raise ExecError(msg, hint="resume it: Session.resume, or `jupyter-launcher resume`", started=False) from error


def _await_state(place: Place, error: Exception) -> None:
    """The same as soon as it is seen: the processes of a container end before its state changes."""
    deadline = Deadline(_STATE_SECONDS)
    while not deadline.expired():
        wait_for_cancel(_PAUSE)
        _raise_for_state(place, error)


def _not_seen(place: Place, seen: str, *, is_started: bool) -> ExecError:
    what = "its end was not seen" if is_started else "it is not known to have run"
    msg = f"a command in session {place.session_id}: {what}: {seen}"
    hint = f"see whether the session has memory and processes left, and `docker logs {place.container[:12]}`"
    return ExecError(msg, hint=hint, started=True if is_started else None, output=seen[-500:])


class RemoteCommand:
    """A command that runs. Nothing of its output is buffered here beyond one piece.

    Attributes:
        exit_code: None until it has ended.
    """

    def __init__(self, exchange: Exchange, request: Request, session_id: str) -> None:
        self.exit_code: int | None = None
        self._exchange = exchange
        self._request = request
        self._session_id = session_id
        self._input = None if request.input is None else _batch(request.input)
        self._room = 0  # messages of input that may be sent before one is answered
        self._inbox = bytearray()
        self._errors = b""

    def ask(self) -> None:
        """Send what is to be run; a local variable with that would show the environment in a traceback."""
        request = self._request
        message = {
            "argv": request.argv,
            "cwd": request.cwd,
            "more": dict(request.environment),
            "input": request.input is not None,
            "other": request.user is not None,
        }
        self._send(json.dumps(message).encode())

    def begin(self, deadline: Deadline) -> None:
        """Wait until it runs.

        Raises:
            CommandError: there is no such program or folder.
        """
        try:
            found = self._next(deadline)
        except TimeoutError:
            msg = f"it did not begin within {deadline.seconds:g} s"
            raise _LostError(msg) from None
        if found is None or found[0] not in (b"s", b"f"):
            raise _LostError(self._said())
        if found[0] == b"f":
            raise self._describe_refusal(found[1])
        self._room = _WINDOW
        self._feed()

    def read(self, deadline: Deadline, *, renew: bool = False) -> tuple[int, bytes] | None:
        """A piece of its stdout (1) or stderr (2); None: it has ended, and ``exit_code`` is there.

        Args:
            deadline: for a piece.
            renew: it begins anew whenever a piece of input was used.

        Raises:
            TimeoutError: nothing came before the deadline.
        """
        while (found := self._next(Deadline(deadline.seconds) if renew else deadline)) is not None:
            kind, data = found
            if kind in (b"1", b"2"):
                return int(kind), data
            if kind == b"a":
                self._room += 1
                self._feed()
            elif kind == b"e" and data.isdigit() and len(data) < 4:
                self.exit_code = int(data)
                with contextlib.suppress(TimeoutError):
                    self._exchange.read(Deadline(_LAST_SECONDS))
                return None
            else:
                break
        raise _LostError(self._said())

    def end(self) -> None:
        """Have it ended with all that it started: SIGTERM, and after 3 s SIGKILL. What it prints still comes."""
        self._input = None
        self._exchange.send(b"-\n")

    def _next(self, deadline: Deadline) -> tuple[bytes, bytes] | None:
        while True:
            size = int.from_bytes(self._inbox[1:_HEAD], "big")
            if size > _MOST:
                return None
            if len(self._inbox) >= _HEAD + size:
                found = bytes(self._inbox[:1]), bytes(self._inbox[_HEAD : _HEAD + size])
                del self._inbox[: _HEAD + size]
                return found
            frame = self._exchange.read(deadline, wake=self._request.wake if self._input and self._room else None)
            if frame is None:
                return None
            if frame == (0, b""):
                self._feed()
            elif frame[0] == 1:
                self._inbox += frame[1]
            else:
                self._errors = (self._errors + frame[1])[-_KEPT:]

    def _feed(self) -> None:
        """Send as much input as is there, and as may wait."""
        while self._room and self._input is not None:
            piece = next(self._input, b"")
            if piece is None:
                return
            if not piece:
                self._input = None
            self._room -= 1
            self._send(piece)

    def _send(self, data: bytes) -> None:
        # Podman looks for the keys that detach a terminal, 16 and 17, in the input of every exec.
        data = data.replace(b"\x0f", b"\x0f\x01").replace(b"\x10", b"\x0f\x02")
        self._exchange.send(b"%d\n" % len(data) + data)

    def _said(self) -> str:
        """What the runtime printed, where it could not even run `sh`; or what went wrong in run_command.py."""
        text = (bytes(self._inbox[:_KEPT]) + b"\n" + self._errors).decode(errors="replace").strip()
        return text[-500:] or _LOST

    def _describe_refusal(self, data: bytes) -> Exception:
        request = self._request
        try:
            told = json.loads(data)
            code, text, is_folder = int(told["code"]), str(told["text"])[:500], told["what"] == "folder"
        except (ValueError, LookupError, TypeError, RecursionError):
            return _LostError("why it did not begin cannot be read")
        if is_folder:
            msg, hint = f"no command can run in {request.cwd}: {text}", "give a folder of the session as cwd"
        else:
            msg = f"`{request.argv[0]}` cannot be run: {text}"
            hint = "give a program on the PATH of the session's kernels, or its path"
        result = CommandResult(argv=request.argv, exit_code=code)
        return CommandError(msg, hint=hint, session_id=self._session_id, exit_code=code, result=result)


def _batch(pieces: Iterator[bytes | None]) -> Iterator[bytes | None]:
    """The same bytes in larger pieces, since each is answered."""
    waiting = bytearray()
    for piece in pieces:
        if piece is None:
            yield bytes(waiting) or None
            waiting.clear()
            continue
        waiting += piece
        while len(waiting) >= _MESSAGE:
            yield bytes(waiting[:_MESSAGE])
            del waiting[:_MESSAGE]
    if waiting:
        yield bytes(waiting)
