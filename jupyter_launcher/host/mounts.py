"""Whether a mount can lie inside another one: a look at the mount points, before anything is made."""

from __future__ import annotations

import posixpath
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.errors import EngineError
from jupyter_launcher.host.address import EngineAddress
from jupyter_launcher.host.look import run_look
from jupyter_launcher.models import Mount
from jupyter_launcher.spec.checks import refuse_option
from jupyter_launcher.spec.container import mount_points_config
from jupyter_launcher.spec.mounts import (
    DIRECTORY,
    LINK,
    NOTHING,
    MountPoint,
    check_mount_point,
    find_mount_points,
)
from jupyter_launcher.spec.options import SessionSpec

__all__ = ["check_mount_points", "check_points", "is_missing"]


def check_mount_points(
    engine: Engine, address: EngineAddress, spec: SessionSpec, *, ensure_image: Callable[[], object]
) -> None:
    """See that each mount point inside the pipeline directory, or inside another mount, is there already.

    The engine would make it, as root, in a directory of the user's. Where this process does not see the paths of the
    engine's host, a short-lived container of the session's image looks. The engine would also make the source of a
    mount with ``relabel``, and some engines that of every mount; that is looked for from here alone.

    Args:
        engine: that mounts them.
        address: how this process sees that engine.
        spec: the session.
        ensure_image: called before a container looks.

    Raises:
        OptionError: a mount point is not there, is of the other kind, or cannot be seen.
        EngineError: the engine does not answer.
    """
    check_points(
        engine,
        address,
        find_mount_points(spec.pipeline_dir, spec.mounts, spec.home),
        spec.mounts,
        user=spec.user,
        image=spec.image,
        ensure_image=ensure_image,
    )


def check_points(
    engine: Engine,
    address: EngineAddress,
    points: Sequence[MountPoint],
    mounts: Iterable[Mount],
    *,
    user: str,
    image: str,
    ensure_image: Callable[[], object] = lambda: None,
) -> None:
    """As :func:`check_mount_points`, for the mounts of any container.

    Args:
        engine: that mounts them.
        address: how this process sees that engine.
        points: those of the mounts that lie in what another one mounts.
        mounts: all of them.
        user: who looks from a container.
        image: of that container.
        ensure_image: called before a container looks.

    Raises:
        OptionError: a mount point is not there, is of the other kind, or cannot be seen.
        EngineError: the engine does not answer.
    """
    for mount in mounts:
        is_made = mount.relabel is not None or engine.traits.makes_sources
        if mount.type == "bind" and is_made and is_missing(address, mount.source):
            refuse_option("mounts", f"has the source {mount.source}, which does not exist", "create it first")
    unseen = []
    for point in points:
        seen = _look_from_here(address, point)
        if seen is None:
            unseen.append(point)
        else:
            check_mount_point(point, *seen)
    if unseen:
        ensure_image()
        _look_from_inside(engine, unseen, user, image)


def is_missing(address: EngineAddress, path: str) -> bool:
    """Whether there is nothing at a path of the engine's host; False too where this process cannot tell."""
    return _look_at(address, path, follow=True) == NOTHING


def _look_from_here(address: EngineAddress, point: MountPoint) -> tuple[str, list[str]] | None:
    """What is at the mount's source, and at each step to the mount point; None where this process cannot tell."""
    outer = _look_at(address, point.outer, follow=True)
    is_volume = point.mount.type == "volume"
    source = DIRECTORY if is_volume else _look_at(address, point.mount.source, follow=True)
    if source in (None, NOTHING) or outer in (None, NOTHING):  # the engine may see paths that this process does not
        return None
    paths = [posixpath.join(point.outer, *point.steps[: end + 1]) for end in range(len(point.steps))]
    steps = [_look_at(address, path) for path in paths]
    known = [step for step in steps if step is not None]
    return (source, known) if source is not None and len(known) == len(steps) else None


def _look_at(address: EngineAddress, path: str, *, follow: bool = False) -> str | None:
    """What is at a path of the engine's host, in the words of ``stat``; None where this process cannot tell.

    It cannot in a volume.
    """
    if not path.startswith("/"):
        return None
    here = address.find_here(Path(path))
    if here is None:
        return None
    try:
        mode = here.stat(follow_symlinks=follow).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return NOTHING
    except OSError:
        return None
    return DIRECTORY if stat.S_ISDIR(mode) else LINK if stat.S_ISLNK(mode) else "file"


def _look_from_inside(engine: Engine, points: Sequence[MountPoint], user: str, image: str) -> None:
    try:
        lines = run_look(engine, mount_points_config(points, user, image)).splitlines()
    except EngineError as error:
        if error.status not in (400, 404):
            raise
        # The image is there, so it is about a path.
        refuse_option("mounts", f"cannot be mounted on the engine's host: {error.message}", "create it there first")
    if len(lines) != sum(1 + len(point.steps) for point in points):
        targets = ", ".join(point.mount.target for point in points)
        seen = f"has {targets} inside another mount, and whether that can be mounted could not be seen: {lines}"
        refuse_option("mounts", seen, "take targets that are not inside another mount")
    for point in points:
        source, *steps = lines[: 1 + len(point.steps)]
        del lines[: 1 + len(point.steps)]
        check_mount_point(point, source, steps)
