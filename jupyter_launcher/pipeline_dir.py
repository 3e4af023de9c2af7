"""The directory of a pipeline: resolved, checked, and with the user that works in it."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from jupyter_launcher.errors import PipelineDirError

__all__ = ["PipelineDir"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineDir:
    """A directory that can be mounted, and the user that works in it."""

    path: Path
    user: str

    @classmethod
    def from_path(cls, given: str | os.PathLike[str], user: str | int | None = None) -> PipelineDir:
        """Resolve and check a directory; ``user`` is ``uid[:gid]`` or a name, None: the owner.

        Raises:
            PipelineDirError: missing, no directory, the root, or not readable by that user.
        """
        try:
            path = Path(given).expanduser().resolve()
            str(path).encode()
            status = path.stat()
        except FileNotFoundError:
            msg = f"pipeline dir {given} does not exist; create it first, nothing is created for you"
            raise PipelineDirError(msg, path=str(given)) from None
        except (OSError, RuntimeError, ValueError, TypeError) as error:
            msg = f"pipeline dir {given!r} can't be used: {error}; give a directory that you can read"
            raise PipelineDirError(msg, path=repr(given)) from error
        if not stat.S_ISDIR(status.st_mode):
            msg = f"pipeline dir {path} is not a directory; give the directory that holds the pipeline's files"
            raise PipelineDirError(msg, path=str(path))
        if path == Path(path.anchor):
            msg = f"pipeline dir {path} is the whole file system; give the directory that holds the pipeline's files"
            raise PipelineDirError(msg, path=str(path))
        owner = f"{status.st_uid}:{status.st_gid}" if user is None else str(user)
        if not _may_enter(status, owner) or not os.access(path, os.R_OK | os.X_OK):
            msg = (
                f"pipeline dir {path} has mode {stat.S_IMODE(status.st_mode):04o} and owner "
                f"{status.st_uid}:{status.st_gid}, so user {owner} of the server can't read it; "
                f"`chmod u+rwx {path}` or start with another user="
            )
            raise PipelineDirError(msg, path=str(path))
        return cls(path=path, user=owner)


def _may_enter(status: os.stat_result, user: str) -> bool:
    """Whether ``uid[:gid]`` may list and enter; True for names, which only the image knows.

    The server has no capabilities, so to uid 0 the mode counts as to everyone.
    """
    uid, _, gid = user.partition(":")
    if not uid.isdigit() or (gid and not gid.isdigit()):
        return True
    if int(uid) == status.st_uid:
        return status.st_mode & 0o500 == 0o500
    if int(gid or 0) == status.st_gid:
        return status.st_mode & 0o050 == 0o050
    return status.st_mode & 0o005 == 0o005
