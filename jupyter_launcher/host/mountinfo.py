"""The mounts that this process sees: where each one is, and which part of which file system it shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MountTable", "Place", "Seen", "read_mountinfo"]

_FILE = Path("/proc/self/mountinfo")
_CONTAINER_ROOTS = ("overlay", "fuse.fuse-overlayfs", "aufs")
_ESCAPED = re.compile(r"\\([0-7]{3})")


def read_mountinfo() -> str:
    """The kernel's list of mounts; empty where there is none: not Linux."""
    try:
        return _FILE.read_bytes().decode("utf-8", "surrogateescape")  # a line may hold a carriage return
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is in its file system: the same for each mount that shows it.

    Attributes:
        device: of the file system, ``major:minor``.
        path: from the root of the file system.
    """

    device: str
    path: Path

    def holds(self, other: Place) -> bool:
        """Whether the other is here, or below."""
        return self.device == other.device and other.path.is_relative_to(self.path)


@dataclass(frozen=True, slots=True)
class Seen:
    """One mount: at ``point`` is seen what is at ``root`` of the file system on ``device``; ``kind`` is its type."""

    point: str
    device: str
    root: str
    kind: str

    @property
    def place(self) -> Place:
        """What is seen there."""
        return Place(self.device, Path(self.root))


class MountTable:
    """The mounts of this process at one moment. There may be thousands: each container has some."""

    def __init__(self, text: str) -> None:
        self._mounts = tuple(_parse(text))
        self._by_point = {mount.point: mount for mount in self._mounts}  # the last that was made lies over the others

    @classmethod
    def read(cls) -> MountTable:
        """The mounts as they are now."""
        return cls(read_mountinfo())

    def find_mount(self, path: Path) -> Seen | None:
        """The mount in which a path without links lies; None where no mount is known."""
        folders = (path, *path.parents)
        return next((found for folder in folders if (found := self._by_point.get(str(folder))) is not None), None)

    def find_place(self, path: Path) -> Place | None:
        """The place of a path without links; None where no mount is known."""
        over = self.find_mount(path)
        return None if over is None else Place(over.device, over.place.path / path.relative_to(over.point))

    def find_beneath(self, path: Path) -> list[Seen]:
        """The mounts below a path, each of which an engine mounts with it."""
        begin = f"{path}/" if path.name else str(path)
        return [mount for mount in self._mounts if mount.point.startswith(begin) and mount.point != begin]

    def is_in_container(self, mount: Seen, folder: Path) -> bool:
        """Whether a mount below a folder is in a container's root file system, which an engine keeps in that folder.

        Engines before Docker 23 mount there, for this process to see, what a container mounts, as long as somebody
        copies files into it or out of it.
        """
        roots = (found.point for found in self.find_beneath(folder) if found.kind in _CONTAINER_ROOTS)
        return any(mount.point.startswith(f"{root}/") for root in roots)

    def is_of_processes(self, device: str) -> bool:
        """Whether a device is a file system of type ``proc``: its links lead elsewhere for each process."""
        return any(mount.kind == "proc" and mount.device == device for mount in self._mounts)


def _parse(text: str) -> Iterator[Seen]:
    # 36 35 98:0 /root/of/mount /mount/point rw,noatime master:1 - ext3 /dev/root rw
    for line in text.split("\n"):  # the kernel escapes this one in a path, and no other end of a line
        front, _, back = line.partition(" - ")
        fields = front.split(" ")
        if len(fields) > 4 and ":" in fields[2]:
            root, point = (_ESCAPED.sub(lambda found: chr(int(found[1], 8)), item) for item in fields[3:5])
            yield Seen(point, fields[2], root, back.partition(" ")[0])
