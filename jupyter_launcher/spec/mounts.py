"""Mounts beside the pipeline: their check, and the mount points that must be there already. Pure functions."""

from __future__ import annotations

import contextlib
import os
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from jupyter_launcher.engine.types import BindMount
from jupyter_launcher.errors import OptionError
from jupyter_launcher.models import Mount, Volume
from jupyter_launcher.models.options import VOLUME_NAME, is_text, show_value
from jupyter_launcher.spec.checks import HOME_TARGET, PIPELINE_TARGET, RUN_DIR, check_size, refuse_option

__all__ = [
    "DIRECTORY",
    "LINK",
    "NOTHING",
    "MountPoint",
    "check_home",
    "check_mount_point",
    "check_mounts",
    "check_relabel",
    "check_tmpfs",
    "find_mount_points",
    "refuse_beside_home",
    "refuse_tmpfs_targets",
    "to_bind",
]

DIRECTORY, LINK, NOTHING = "directory", "symbolic link", "nothing"
"""What may be at a path, in the words of ``stat -c %F``. Every other word is a file of some kind."""

_HINT = "give Mount(source='/absolute/on/the/host', target='/in/the/container')"
_VOLUME_HINT = "give Mount(type='volume', source='the-name-of-a-volume', target='/in/the/container')"
_PROPAGATIONS = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
# The engine mounts files of its own below these: its init, the files for names. So does the launcher with its
# folder. In a folder of the caller's the engine would make their mount points, as root.
_SHARED = ("/etc", "/run", "/sbin", "/usr", "/usr/sbin", "/var/run")
_KERNELS = ("/proc", "/sys", "/dev")
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - in the container


def check_mounts(given: object, option: str) -> tuple[Mount, ...]:
    """Mounts of absolute paths, no two at one target, and none over what the session itself needs."""
    items = list(given) if isinstance(given, Iterable) and not isinstance(given, (str, bytes)) else [None]
    mounts = tuple(_check_mount(item, option) for item in items)
    targets = {PIPELINE_TARGET}
    for mount in mounts:
        if mount.target in targets:
            seen = f"has the target {show_value(mount.target)}, where something else is mounted too"
            refuse_option(option, seen, "take another target")
        targets.add(mount.target)
    volumes = [mount.target for mount in mounts if mount.type == "volume"]
    for mount in mounts:
        if any(PurePosixPath(volume) in PurePosixPath(mount.target).parents for volume in volumes):
            # The engine would make the mount point there, as root, and nobody could see whether it is there already.
            seen = f"has the target {show_value(mount.target)}, which lies in a volume"
            refuse_option(option, seen, "take a target outside of the volume")
    return mounts


def _check_mount(item: object, option: str) -> Mount:
    paths: list[object] = []
    if isinstance(item, Mount):
        paths = [os.fspath(path) if isinstance(path, os.PathLike) else path for path in (item.source, item.target)]
    texts = [path for path in paths if is_text(path)]
    if not isinstance(item, Mount) or len(texts) < 2 or not isinstance(item.read_only, bool):
        refuse_option(option, f"has {show_value(item)}", _HINT)
    if item.type not in ("bind", "volume"):
        refuse_option(option, f"has the type {show_value(item.type)}", "give 'bind' or 'volume'")
    is_volume = item.type == "volume"
    if not texts[1].startswith("/") or not (VOLUME_NAME.fullmatch(texts[0]) if is_volume else texts[0].startswith("/")):
        refuse_option(option, f"has {show_value(item)}", _VOLUME_HINT if is_volume else _HINT)
    source, target = texts[0], _check_target(texts[1], option)
    check_relabel(item.relabel, option, source + target)
    if item.propagation is not None and (is_volume or item.propagation not in _PROPAGATIONS):
        seen = f"has the propagation {show_value(item.propagation)}{' for a volume' if is_volume else ''}"
        refuse_option(option, seen, f"give one of {', '.join(_PROPAGATIONS)} for a path of the host, or None")
    return replace(item, source=source, target=target)


def check_tmpfs(given: object, option: str) -> dict[str, int]:
    """File systems in memory: their paths in the container, and their sizes in bytes."""
    hint = "give {'/in/the/container': '1g'}"
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        refuse_option(option, f"is {show_value(given)}", hint)
    found: dict[str, int] = {}
    for path, value in given.items():
        size = None
        with contextlib.suppress(OptionError):  # told below, with the path
            size = check_size(value, option)
        if not is_text(path) or not path.startswith("/") or size is None or not set(path).isdisjoint(":,"):
            refuse_option(option, f"has {show_value(path)}: {show_value(value)}", f"{hint}, without ':' and ','")
        target = _check_target(path, option)
        if PurePosixPath(target).is_relative_to(_SHARED_MEMORY):
            refuse_option(option, f"has {target}", "its size is shm_size")
        if PurePosixPath(target).is_relative_to(PIPELINE_TARGET):
            refuse_option(option, f"has {target}, which lies in the pipeline directory", "take a path outside of it")
        found[target] = size
    return dict(sorted(found.items()))


def refuse_tmpfs_targets(tmpfs: Iterable[str], mounts: Iterable[Mount], *, has_home: bool = False) -> None:
    """Refuse a file system in memory where a mount is, or inside of one; a home that was given is one too.

    Raises:
        OptionError: naming the path.
    """
    held = [mount.target for mount in mounts]
    for path in tmpfs:
        if has_home and PurePosixPath(path).is_relative_to(HOME_TARGET):
            refuse_option("tmpfs", f"has {path}, where home= is mounted", "take a path outside of it")
        if any(PurePosixPath(path).is_relative_to(target) for target in held):
            refuse_option("tmpfs", f"has {path}, where one of mounts is", "take a path outside of it")


def check_home(given: object, option: str) -> str | Volume | None:
    """An absolute path of the engine's host, or a volume; None: the image's own folder is HOME."""
    text = os.fspath(given) if isinstance(given, os.PathLike) else given
    if given is None or isinstance(given, Volume):
        return given
    if not (is_text(text) and text.startswith("/")):
        hint = "give an absolute path of the engine's host, or Volume('NAME')"
        refuse_option(option, f"is {show_value(given)}", hint)
    return "/" + posixpath.normpath(text).strip("/")


def refuse_beside_home(mounts: Iterable[Mount], environment: Mapping[str, str]) -> None:
    """See that nothing else takes the place of a home that was given.

    Raises:
        OptionError: a mount has its target, or ``environment`` sets HOME.
    """
    if any(mount.target == HOME_TARGET for mount in mounts):
        refuse_option("mounts", f"has the target {HOME_TARGET}, where home= is mounted", "leave one of them out")
    if any(item.type == "volume" and PurePosixPath(HOME_TARGET).is_relative_to(item.target) for item in mounts):
        refuse_option("mounts", f"has a volume around {HOME_TARGET}, where home= is mounted", "take another target")
    if "HOME" in environment:
        refuse_option("environment", f"sets HOME, which home= sets to {HOME_TARGET}", "leave one of them out")


def check_relabel(given: object, option: str, paths: Path | Volume | str = "") -> str | None:
    """How SELinux labels are changed: ``z``, ``Z`` or not at all. Engines take it with paths without a colon alone."""
    if given not in (None, "z", "Z"):
        refuse_option(option, f"has the relabel {show_value(given)}", "give 'z', 'Z' or None")
    if given is not None and not isinstance(paths, Volume) and ":" in str(paths):
        hint = "use a path without ':', or label the files yourself, with `chcon -R -t container_file_t`"
        refuse_option(option, f"has the relabel {given!r} for a path with ':'", hint)
    return given


def to_bind(mount: Mount) -> BindMount:
    """The mount as the engine's seam has it."""
    return BindMount(
        source=mount.source,
        target=mount.target,
        read_only=mount.read_only,
        relabel=mount.relabel,
        type=mount.type,
        propagation=mount.propagation,
    )


def _check_target(text: str, option: str) -> str:
    target = "/" + posixpath.normpath(text).strip("/")
    path = PurePosixPath(target)
    seen = f"has the target {show_value(target)}"
    if target == "/":
        refuse_option(option, seen, "take another target: the image's own files are there")
    if path.is_relative_to(RUN_DIR) or path.is_relative_to(f"/var{RUN_DIR}") or target in _SHARED:
        hint = "take another target: the engine and the launcher mount files of their own there"
        refuse_option(option, seen, hint)
    if any(path.is_relative_to(held) for held in _KERNELS) and not path.is_relative_to(_SHARED_MEMORY):
        refuse_option(option, seen, f"take another target: the kernel's own files are there (but for {_SHARED_MEMORY})")
    return target


@dataclass(frozen=True, slots=True, kw_only=True)
class MountPoint:
    """Where one mount lies in what another one mounts.

    Attributes:
        mount: the mount that needs the mount point.
        outer: the path on the engine's host that the other one mounts, or ``volume:NAME``.
        steps: the names from ``outer`` to the mount point.
    """

    mount: Mount
    outer: str
    steps: tuple[str, ...]

    @property
    def path(self) -> str:
        """The mount point on the engine's host."""
        return posixpath.join(self.outer, *self.steps)


def find_mount_points(
    pipeline_dir: Path | Volume, mounts: Iterable[Mount], home: str | Volume | None = None
) -> tuple[MountPoint, ...]:
    """The mount points that lie in the pipeline directory, or in what another mount mounts, the home too.

    The engine would make one that is not there, as root. The mounts are as :func:`check_mounts` returned them.
    """
    mounts = (*mounts, *([] if home is None else [Mount(source=str(home), target=HOME_TARGET)]))
    sources = {PIPELINE_TARGET: str(pipeline_dir), **{mount.target: mount.source for mount in mounts}}
    found = []
    for mount in mounts:
        target = PurePosixPath(mount.target)
        outer = next((str(parent) for parent in target.parents if str(parent) in sources), None)
        if outer is not None:
            steps = target.relative_to(outer).parts
            found.append(MountPoint(mount=mount, outer=sources[outer], steps=steps))
    return tuple(found)


def check_mount_point(point: MountPoint, source: str, steps: Sequence[str]) -> None:
    """See that a mount can lie on its mount point, and that the engine has nothing to make.

    Args:
        point: which one.
        source: what is at the mount's source: :data:`DIRECTORY`, or a word for a file.
        steps: the same for each step from ``outer`` to the mount point, links not followed.

    Raises:
        OptionError: something is not there, is of the other kind, or is a link.
    """
    wanted = "directory" if source == DIRECTORY else "file"
    if LINK in steps:
        # It would lead somewhere else inside the container.
        seen = f"has the target {point.mount.target}, and there is a link on its way, in {point.outer}"
        refuse_option("mounts", seen, "give the path to which the link leads, or take another target")
    reached = all(step == DIRECTORY for step in steps[:-1]) and steps[-1] != NOTHING
    if not reached or (steps[-1] == DIRECTORY) != (source == DIRECTORY):
        seen = f"has the target {point.mount.target}, and there is no {wanted} at {point.path} to mount it on"
        hint = f"create that {wanted} first (the engine would make it, as root), or take a target of its own"
        refuse_option("mounts", seen, hint)
