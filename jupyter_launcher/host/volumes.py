"""Named volumes of the engine: which may be used, and whose they are."""

from __future__ import annotations

from typing import NoReturn

from jupyter_launcher.errors import PipelineDirError
from jupyter_launcher.host.look import Look
from jupyter_launcher.host.rules import DirectoryRules
from jupyter_launcher.models import Volume

__all__ = ["DEFAULT_USER", "check_volume_rules", "prepare_volume"]

DEFAULT_USER = "1000:1000"
"""To whom a volume is given that nobody has used, where the caller names nobody."""


def check_volume_rules(volume: Volume, rules: DirectoryRules) -> None:
    """See that the rules let a volume through: with roots none is, since it lies below no directory.

    Raises:
        PipelineDirError: they do not.
    """
    if rules.roots is not None:
        _refuse_roots(volume)


def _refuse_roots(volume: Volume) -> NoReturn:
    msg = f"{volume} is a volume, and this launcher has roots: a volume's driver may mount any directory of the host"
    hint = "give a directory below one of the roots, or use a launcher without roots="
    raise PipelineDirError(msg, hint=hint, path=str(volume))


def prepare_volume(look: Look, volume: Volume, user: str, rules: DirectoryRules) -> tuple[int, int]:
    """Give a volume that nobody has used to a user, and return whose it is: its uid and gid.

    Args:
        look: by a container of an image that has ``sh``, ``stat``, ``ls`` and ``chown``.
        volume: which one; the engine makes it where it is not there.
        user: ``uid:gid``, ``uid`` (which is the group too) or a name that the image knows.
        rules: of the launcher.

    Raises:
        PipelineDirError: the rules refuse it, it cannot be mounted, or it cannot be given to that user.
        EngineError: the engine does not answer, or has no such image.
    """
    check_volume_rules(volume, rules)
    # As `chown` has it: a name with nothing behind the colon has the group of its login.
    owner = user if ":" in user else f"{user}:{user if user.isdecimal() else ''}"
    return look.prepare_volume(volume, owner).ids
