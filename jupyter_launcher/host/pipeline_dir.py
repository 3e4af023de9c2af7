"""The directory of a pipeline: resolved, checked, as a path of the engine's host, with the user that works in it."""

from __future__ import annotations

import contextlib
import os
import stat
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.errors import EngineError, PipelineDirError
from jupyter_launcher.host.address import EngineAddress
from jupyter_launcher.spec.container import look_config
from jupyter_launcher.waiting import Deadline

__all__ = ["PipelineDir", "refuse_engine_socket", "resolve_pipeline_dir"]

_LOOK_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineDir:
    """A directory that can be mounted, and the user that works in it."""

    path: Path
    user: str

    @classmethod
    def from_path(cls, given: str | os.PathLike[str], user: str | int | None = None) -> PipelineDir:
        """Resolve and check a directory of this host; ``user`` is ``uid[:gid]`` or a name, None: the owner.

        Raises:
            PipelineDirError: missing, no directory, the root, or not readable by that user.
        """
        try:
            path = Path(given).expanduser().resolve()
            str(path).encode()
            status = path.stat()
        except FileNotFoundError:
            _refuse(given, "does not exist", "create it first, nothing is created for you")
        except (OSError, RuntimeError, ValueError, TypeError) as error:
            msg = f"pipeline dir {given!r} cannot be used: {error}"
            raise PipelineDirError(msg, hint="give a directory that you can read", path=repr(given)) from error
        if not stat.S_ISDIR(status.st_mode):
            _refuse(path, "is not a directory", "give the directory that holds the pipeline's files")
        if path == Path(path.anchor):
            _refuse(path, "is the whole file system", "give the directory that holds the pipeline's files")
        owner = f"{status.st_uid}:{status.st_gid}" if user is None else str(user)
        if not _may_enter(status, owner) or not os.access(path, os.R_OK | os.X_OK):
            seen = (
                f"has mode {stat.S_IMODE(status.st_mode):04o} and owner {status.st_uid}:{status.st_gid}, so user "
                f"{owner} of the server can't read it"
            )
            _refuse(path, seen, f"`chmod u+rwx {path}` or start with another user=")
        return cls(path=path, user=owner)


def _refuse(path: str | os.PathLike[str], seen: str, hint: str) -> NoReturn:
    msg = f"pipeline dir {os.fspath(path)} {seen}"
    raise PipelineDirError(msg, hint=hint, path=os.fspath(path)) from None


def _may_enter(status: os.stat_result, user: str) -> bool:
    """Whether ``uid[:gid]`` may list and enter; True for names, which only the image knows.

    The server has no capabilities, so the mode counts for uid 0 as for everyone.
    """
    uid, _, gid = user.partition(":")
    if not uid.isdecimal() or (gid and not gid.isdecimal()):
        return True
    if int(uid) == status.st_uid:
        return status.st_mode & 0o500 == 0o500
    if int(gid or 0) == status.st_gid:
        return status.st_mode & 0o050 == 0o050
    return status.st_mode & 0o005 == 0o005


def resolve_pipeline_dir(
    engine: Engine, address: EngineAddress, given: str | os.PathLike[str], user: str | int | None, *, image: str
) -> PipelineDir:
    """The directory to mount, and the user that works in it.

    With a remote engine the path is on the remote host. It is checked by running ``stat`` in a short-lived
    container of ``image``.

    Raises:
        PipelineDirError: it cannot be used, or the engine's host cannot mount it.
        EngineError: the engine does not answer, or has no such image.
    """
    if address.is_remote:
        path = _remote_path(address, given)
        owner = _look_at_owner(engine, address, path, image)
        return PipelineDir(path=path, user=owner if user is None else str(user))
    folder = PipelineDir.from_path(given, user)
    return replace(folder, path=_to_host_path(address, folder.path))


def _to_host_path(address: EngineAddress, path: Path) -> Path:
    """The path on the engine's host of a path that this process sees.

    Raises:
        PipelineDirError: it lies in the file system of this process's own container.
    """
    own = address.find_own_container()
    if own is None:
        return path
    for target in sorted(own.mounts, key=len, reverse=True):
        if path.is_relative_to(target):
            return Path(own.mounts[target]) / path.relative_to(target)
    msg = (
        f"{path} is in the file system of container {own.name}, in which this launcher runs, and the engine cannot "
        "mount it elsewhere"
    )
    hint = f"mount a folder of the host into {own.name}, and give a path below it"
    raise PipelineDirError(msg, hint=hint, path=str(path))


def _remote_path(address: EngineAddress, given: str | os.PathLike[str]) -> Path:
    path = Path(os.path.normpath(given))
    if not path.is_absolute() or path == Path(path.anchor):
        _refuse(given, f"would be on the engine's host {address.host}", "give an absolute path of that host")
    return path


def _look_at_owner(engine: Engine, address: EngineAddress, path: Path, image: str) -> str:
    try:
        with engine.temporary(look_config(path, image), f"jupyter-launcher-look.{uuid.uuid4().hex[:12]}") as container:
            engine.wait(container, Deadline(_LOOK_SECONDS))
            seen = engine.logs(container).strip()
    except EngineError as error:
        if error.status not in (400, 404):
            raise
        # The image is there, so 404 is about the path.
        msg = f"pipeline dir {path} cannot be mounted on the engine's host {address.host}: {error.message}"
        raise PipelineDirError(msg, hint="create it there first", path=str(path)) from error
    kind, _, owner = seen.rpartition(" ")
    if kind != "directory":
        _refuse(path, f"is no directory on the engine's host {address.host}, but {seen!r}", "give another")
    return owner


def refuse_engine_socket(address: EngineAddress, folders: Iterable[Path]) -> None:
    """See that no folder to be mounted holds the engine's socket.

    Raises:
        PipelineDirError: one does, and would give every notebook control of the engine's host.
    """
    socket = address.socket_path
    if socket is None:
        return
    with contextlib.suppress(PipelineDirError):  # a socket of this process's own container
        socket = _to_host_path(address, socket)
    for folder in folders:
        if socket.resolve().is_relative_to(folder.resolve()):
            msg = f"{folder} holds the engine's socket {socket}, and with it control of the whole host"
            raise PipelineDirError(msg, hint="give another directory", path=str(folder))
