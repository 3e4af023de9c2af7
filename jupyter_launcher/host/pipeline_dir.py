"""The directory of a pipeline: resolved, checked, as a path of the engine's host, with the user that works in it."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.errors import EngineError, PipelineDirError
from jupyter_launcher.host.address import EngineAddress
from jupyter_launcher.host.look import run_look
from jupyter_launcher.spec.checks import check_user
from jupyter_launcher.spec.container import look_config

__all__ = ["PipelineDir", "look_identity", "refuse_engine_socket", "resolve_pipeline_dir"]

_SEEN = re.compile(r"directory (?P<identity>[0-9]+:[0-9]+) (?P<uid>[0-9]+):(?P<gid>[0-9]+)")
# Where a directory has one of these, the kernel asks it, and the mode does not decide.
_ACCESS_LISTS = {"system.posix_acl_access", "system.nfs4_acl"}
# In these a container sees the devices and inodes of its host; a sandbox with a kernel of its own has others.
_RUNTIMES = ("runc", "crun", "youki", "nvidia", "io.containerd.runc.v2")


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineDir:
    """A directory that can be mounted, and the user that works in it.

    ``identity`` is ``<device>:<inode>`` of the directory, as ``stat -c %d:%i`` prints it in a container; None: not
    known.
    """

    path: Path
    user: str
    identity: str | None = None

    @classmethod
    def from_path(cls, given: str | os.PathLike[str], user: str | int | None = None) -> PipelineDir:
        """Resolve and check a directory of this host.

        Args:
            given: the directory.
            user: ``uid:gid``, ``uid`` (the group is the directory's then), or a name; None: the owner.

        Raises:
            OptionError: ``user`` is none of these.
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
        worker = _choose_user(user, str(status.st_uid), str(status.st_gid))
        _check_access(path, status, worker)
        return cls(path=path, user=worker, identity=f"{status.st_dev}:{status.st_ino}")


def _refuse(path: str | os.PathLike[str], seen: str, hint: str) -> NoReturn:
    msg = f"pipeline dir {os.fspath(path)} {seen}"
    raise PipelineDirError(msg, hint=hint, path=os.fspath(path)) from None


def _choose_user(given: str | int | None, owner: str, group: str) -> str:
    """Who works in a directory: its owner, or who was asked for; a uid alone gets the directory's group."""
    if given is None:
        return f"{owner}:{group}"
    user = check_user(given, "user")
    return f"{user}:{group}" if user.isdecimal() else user


def _check_access(path: Path, status: os.stat_result, user: str) -> None:
    """Refuse what is known to be closed: to this process, or to ``uid:gid``. A name is known to the image alone.

    The server has no capabilities, so the mode counts for uid 0 as for everyone.
    """
    if not os.access(path, os.R_OK | os.X_OK):
        _refuse(path, "cannot be read by this process", "start as a user that may read it, or change its mode")
    uid, _, gid = user.partition(":")
    if not (uid.isdecimal() and gid.isdecimal()) or _has_access_list(path):
        return
    # The kernel takes the first of these that fits, and no other.
    who, shift = ("u", 6) if int(uid) == status.st_uid else ("g", 3) if int(gid) == status.st_gid else ("o", 0)
    if (status.st_mode >> shift) & 0o5 != 0o5:
        seen = (
            f"has mode {stat.S_IMODE(status.st_mode):04o} and owner {status.st_uid}:{status.st_gid}, so user {user} "
            "of the server can't read it"
        )
        _refuse(path, seen, f"`chmod {who}+rwx {path}` or start with another user=")


def _has_access_list(path: Path) -> bool:
    if not hasattr(os, "listxattr"):  # not Linux
        return False
    try:
        return not _ACCESS_LISTS.isdisjoint(os.listxattr(path))
    except OSError:  # a file system that has none
        return False


def resolve_pipeline_dir(
    engine: Engine, address: EngineAddress, given: str | os.PathLike[str], user: str | int | None, *, image: str
) -> PipelineDir:
    """The directory to mount, and the user that works in it.

    With a remote engine the path is on the remote host. It is checked by running ``stat`` in a short-lived
    container of ``image``; so is the identity of a directory where the engine has a kernel of its own.

    Raises:
        OptionError: ``user`` cannot be one.
        PipelineDirError: it cannot be used, or the engine's host cannot mount it.
        EngineError: the engine does not answer, or has no such image.
    """
    if address.is_remote:
        path = _remote_path(address, given)
        if user is not None:
            check_user(user, "user")
        seen = _look_at_owner(engine, address, path, image)
        folder = PipelineDir(path=path, user=_choose_user(user, seen["uid"], seen["gid"]), identity=seen["identity"])
    else:
        folder = PipelineDir.from_path(given, user)
        folder = replace(folder, path=_to_host_path(address, folder.path))
        if not address.shares_kernel:  # another kernel has other numbers for its devices
            folder = replace(folder, identity=_look_at_owner(engine, address, folder.path, image)["identity"])
    runtime = engine.traits.runtime
    return folder if runtime is None or Path(runtime).name in _RUNTIMES else replace(folder, identity=None)


def look_identity(address: EngineAddress, path: Path) -> str | None:
    """What is at a path of the engine's host now, as in ``PipelineDir.identity``.

    ``""`` where nothing is; None where this process cannot tell: the engine is elsewhere, or the path is not mounted
    into the container of this process.
    """
    here = address.find_here(path)
    if here is None:
        return None
    try:
        status = here.stat()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError:
        return None
    return f"{status.st_dev}:{status.st_ino}"


def _to_host_path(address: EngineAddress, path: Path) -> Path:
    """The path on the engine's host of a path that this process sees.

    Raises:
        PipelineDirError: it lies in the file system of this process's own container.
    """
    found = address.find_on_host(path)
    if found is not None:
        return found
    own = address.find_own_container()
    name = "this process" if own is None else own.name
    msg = (
        f"{path} is in the file system of container {name}, in which this launcher runs, and the engine cannot mount "
        "it elsewhere"
    )
    hint = f"mount a folder of the host into {name}, and give a path below it"
    raise PipelineDirError(msg, hint=hint, path=str(path))


def _remote_path(address: EngineAddress, given: str | os.PathLike[str]) -> Path:
    try:
        path = Path(os.path.normpath(given))
        str(path).encode()
    except (TypeError, ValueError) as error:
        msg = f"pipeline dir {given!r} cannot be used: {error}"
        raise PipelineDirError(msg, hint="give an absolute path of the engine's host", path=repr(given)) from error
    if not path.is_absolute() or path == Path(path.anchor) or "\0" in str(path):
        _refuse(given, f"would be on the engine's host {address.host}", "give an absolute path of that host")
    return path


def _look_at_owner(engine: Engine, address: EngineAddress, path: Path, image: str) -> re.Match[str]:
    try:
        seen = run_look(engine, look_config(path, image))
    except EngineError as error:
        if error.status not in (400, 404):
            raise
        # The image is there, so 404 is about the path.
        msg = f"pipeline dir {path} cannot be mounted on the engine's host {address.host}: {error.message}"
        raise PipelineDirError(msg, hint="create it there first", path=str(path)) from error
    found = _SEEN.fullmatch(seen)
    if found is None:
        _refuse(path, f"is no directory on the engine's host {address.host}, but {seen!r}", "give another")
    return found


def refuse_engine_socket(address: EngineAddress, folders: Iterable[Path]) -> None:
    """See that no folder to be mounted holds the engine's socket.

    Raises:
        PipelineDirError: one does, and would give every notebook control of the engine's host.
    """
    socket = address.socket_path
    if socket is None:
        return
    socket = address.find_on_host(socket) or socket  # or a socket of this process's own container
    for folder in folders:
        try:
            is_held = socket.resolve().is_relative_to(folder.resolve())
        except (OSError, RuntimeError) as error:  # a link that this process may not read, a loop of links
            msg = f"{folder} cannot be looked at: {error}"
            raise PipelineDirError(msg, hint="give a directory that you can read", path=str(folder)) from error
        if is_held:
            msg = f"{folder} holds the engine's socket {socket}, and with it control of the whole host"
            raise PipelineDirError(msg, hint="give another directory", path=str(folder))
