"""What is to be mounted: a path of the engine's host, and what this process sees there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from jupyter_launcher.errors import PipelineDirError
from jupyter_launcher.host.address import EngineAddress
from jupyter_launcher.host.links import Walk, walk
from jupyter_launcher.host.mountinfo import MountTable, Place

__all__ = ["Source", "View", "clean_path"]


def clean_path(text: str | os.PathLike[str]) -> Path:
    """A path as an engine cleans it: by its text, without ``..`` and without a second slash at its begin."""
    cleaned = os.path.normpath(text)
    return Path("/" + cleaned.lstrip("/") if cleaned.startswith("/") else cleaned)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A path that is to be mounted.

    Attributes:
        kind: ``pipeline dir``, ``mount source`` or ``home``, for messages.
        path: on the engine's host; without links where this process sees it.
        walk: how this process has walked to it; None where this process does not see it.
    """

    kind: str
    path: Path
    walk: Walk | None

    def refuse(self, seen: str, hint: str) -> NoReturn:
        """Raise the error about it: ``seen`` continues the sentence that begins with the path."""
        msg = f"{self.kind} {self.path} {seen}"
        raise PipelineDirError(msg, hint=hint, path=str(self.path)) from None


class View:
    """What this process sees of the engine's host at one moment: paths, devices and inodes, and mounts."""

    def __init__(self, address: EngineAddress) -> None:
        self._address = address
        self.mounts = MountTable.read()
        self._resolved: dict[Path, Path | None] = {}
        self._identities: dict[Path, tuple[int, int] | None] = {}

    def look_at(self, text: str | os.PathLike[str], kind: str = "mount source") -> Source:
        """The source of a mount beside the pipeline; ``kind``: of :class:`Source`.

        Raises:
            PipelineDirError: this process may not look at it, or one of its links leads out of what is seen here.
        """
        path = clean_path(text)
        source = Source(kind=kind, path=path, walk=None)
        here = self._address.find_seen(path)
        if here is None:
            return source
        try:
            walked = walk(here)
        except OSError as error:
            source.refuse(f"cannot be looked at: {error}", "give a path that this process may look at")
        reached = self._address.find_on_host(walked.path)
        if reached is None:
            source.refuse(
                f"leads over a link to {walked.path}, which is in this process's own container",
                "give the path to which the link leads on the engine's host",
            )
        return Source(kind=source.kind, path=reached, walk=walked)

    def find_steps(self, source: Source, folder: Path) -> set[Path]:
        """The steps from a folder of the engine's host down to a source, by each way; none where it is not in there.

        A bind mount makes one folder seen at several paths, and what is mounted beneath a folder is in the folder
        too. So this compares texts, places in file systems, and devices with inodes.
        """
        found = {source.path.relative_to(folder)} if source.path.is_relative_to(folder) else set()
        here = self._address.find_seen(folder)
        if source.walk is None or here is None:
            return found
        reached = source.walk.path
        place = self.find_place(reached)
        if place is not None:
            real, known = self._resolve(here), self.find_place(here)
            if known is not None and known.holds(place):
                found.add(place.path.relative_to(known.path))
            beneath = () if real is None else self.mounts.find_beneath(real)
            for mount in (mount for mount in beneath if mount.place.holds(place)):
                if self.mounts.is_in_container(mount, real or here):
                    continue  # it is shown there for a moment, and is no file of the folder's
                found.add(Path(mount.point).relative_to(real or here) / place.path.relative_to(mount.root))
        identity = self.identify(here)
        parents = (reached, *reached.parents)
        same = (parent for parent in parents if identity is not None and self.identify(parent) == identity)
        return found | {reached.relative_to(parent) for parent in same}

    def find_place(self, path: Path) -> Place | None:
        """The place of a path of this process in its file system, links resolved; None where that cannot be seen."""
        real = self._resolve(path)
        return None if real is None else self.mounts.find_place(real)

    def _resolve(self, path: Path) -> Path | None:
        """A path of this process without links; None where that cannot be seen."""
        if path not in self._resolved:
            try:
                self._resolved[path] = path.resolve()
            except (OSError, RuntimeError):  # a link that this process may not read, a loop of links
                self._resolved[path] = None
        return self._resolved[path]

    def identify(self, path: Path) -> tuple[int, int] | None:
        """The device and the inode of what is at a path of this process; None where that cannot be seen."""
        if path not in self._identities:
            try:
                status = path.stat()
                self._identities[path] = (status.st_dev, status.st_ino)
            except OSError:
                self._identities[path] = None
        return self._identities[path]
