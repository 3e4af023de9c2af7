"""Files into a session and out of it: what ``Session.upload`` and ``Session.download`` do."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from jupyter_launcher.errors import ExecError, LauncherError, WorkError
from jupyter_launcher.models.options import show_value
from jupyter_launcher.server.inside.copy_files import NOTHING, CopyError, describe, pack, unpack
from jupyter_launcher.spec.checks import refuse_option
from jupyter_launcher.spec.server import read_script
from jupyter_launcher.waiting import Deadline
from jupyter_launcher.work.commands.remote import RemoteCommand, Request, open_command
from jupyter_launcher.work.commands.run import check_remote_path
from jupyter_launcher.work.place import Place

__all__ = ["download", "upload"]

_KEPT = 4096  # bytes of what the other side says
_STALL_SECONDS = 300.0
_LAST_READS = 4
_LAST_SECONDS = 5.0


def upload(place: Place, local: str | os.PathLike[str], remote: str) -> None:
    """Copy a file or a folder into a session, as ``Session.upload`` says."""
    source = _check_local(local)
    target = _check_remote(remote, is_file=Path(source).is_file())
    pieces = _pack(source)
    first = next(pieces)  # what is not there at all is seen before anything is run
    with open_command(place, _request("receive", target, _chain(first, pieces))) as command:
        said = _Said()
        while (found := _read(command, place)) is not None:
            said.add(*found)
    if command.exit_code:
        msg = f"{source} was not copied to {target} in session {place.session_id}: {said.text(command)}"
        raise WorkError(msg, hint="see what is at the path, and who owns it", session_id=place.session_id)


def download(place: Place, remote: str, local: str | os.PathLike[str]) -> None:
    """Copy a file or a folder out of a session, as ``Session.download`` says."""
    target = _check_local(local)
    source = _check_remote(remote, is_file=False)
    with open_command(place, _request("send", source)) as command:
        reader = _Reader(command, place, source)
        try:
            unpack(reader.read, target)
        except LauncherError:
            raise
        except CopyError as error:
            msg = f"{source} of session {place.session_id} was not copied: {error}"
            hint = f"nothing was written to {target}"
            raise WorkError(msg, hint=hint, session_id=place.session_id) from None
        except OSError as error:
            refuse_option("local", f"cannot be written: {describe(error)}", "give a path that this user can write to")
        reader.finish()


def _read(command: RemoteCommand, place: Place) -> tuple[int, bytes] | None:
    try:
        return command.read(Deadline(_STALL_SECONDS), renew=True)
    except TimeoutError:
        msg = f"a copy has not moved on for {_STALL_SECONDS:g} s in session {place.session_id}"
        hint = "see whether the session is paused, or a disk does not answer"
        raise ExecError(msg, hint=hint, started=True) from None


def _request(action: str, path: str, pieces: Iterator[bytes] | None = None) -> Request:
    return Request(argv=("", "-c", read_script("copy_files.py"), action, path), cwd="/", input=pieces)


def _pack(source: str) -> Iterator[bytes]:
    try:
        yield from pack(source)
    except CopyError as error:
        refuse_option(
            "local", f"cannot be copied: {error}", "leave it out of the folder, or copy it when nobody writes"
        )
    except OSError as error:
        refuse_option("local", f"cannot be read: {describe(error)}", "give a file or a folder that this user can read")


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _check_local(value: object) -> str:
    try:
        text = os.fsdecode(value)  # type: ignore[arg-type] # another type is a TypeError
    except TypeError:
        text = ""
    if not text or "\0" in text:
        refuse_option("local", f"is {show_value(value)}", "give the path of a file or a folder of this machine")
    return text


def _check_remote(value: object, *, is_file: bool) -> str:
    path = check_remote_path(value, "remote")
    if is_file and path.endswith("/"):
        refuse_option("remote", f"is {show_value(value)}, a folder", "give the new path of the file itself")
    return path


class _Said:
    """The end of what the other side prints to stderr."""

    def __init__(self) -> None:
        self._bytes = b""

    def add(self, number: int, piece: bytes) -> None:
        if number == 2:
            self._bytes = (self._bytes + piece)[-_KEPT:]

    def text(self, command: RemoteCommand) -> str:
        said = self._bytes.decode(errors="replace").strip()
        return said or f"it ended with exit code {command.exit_code}"


class _Reader:
    """The stdout of a command, for somebody who reads it."""

    def __init__(self, command: RemoteCommand, place: Place, source: str) -> None:
        self._command = command
        self._place = place
        self._source = source
        self._said = _Said()
        self._rest = memoryview(b"")

    def read(self, size: int) -> bytes:
        """At most so many bytes; none: it has ended well."""
        while not self._rest:
            found = _read(self._command, self._place)
            if found is None:
                self._raise_for_code()
                return b""
            if found[0] == 1:
                self._rest = memoryview(found[1])
            else:
                self._said.add(*found)
        piece, self._rest = self._rest[:size], self._rest[size:]
        return bytes(piece)

    def finish(self) -> None:
        """Read what is left; a command that goes on all the same is ended."""
        with contextlib.suppress(TimeoutError):
            for _ in range(_LAST_READS):
                if self._command.exit_code is not None or self._command.read(Deadline(_LAST_SECONDS)) is None:
                    return

    def _raise_for_code(self) -> None:
        if not self._command.exit_code:
            return
        seen = "there is nothing" if self._command.exit_code == NOTHING else self._said.text(self._command)
        msg = f"{self._source} of session {self._place.session_id} was not copied: {seen}"
        hint = f"see what the session has there: `jupyter-launcher run {self._place.session_id} -- ls -la`"
        raise WorkError(msg, hint=hint, session_id=self._place.session_id)
