"""The links on a path: whose they are, and to whose files they lead. The path is walked as the kernel walks it."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections import deque
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Link", "Step", "Walk", "walk"]

_MOST_LINKS = 40  # as the kernel has it
# A file that is opened so is only looked at: it may be a link, and nobody must be allowed to read it.
_ONLY_LOOK = getattr(os, "O_PATH", 0) | os.O_NOFOLLOW


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link.

    Attributes:
        path: its own, without links before it.
        target: its text.
        owner: the uid that owns it.
        leads_to: the uid that owns what it leads to; None: nothing that can be seen is there.
        device: where it is, ``major:minor``.
    """

    path: Path
    target: str
    owner: int
    leads_to: int | None
    device: str


@dataclass(frozen=True, slots=True)
class Step:
    """What was there at one step of a walk, other than a link: ``path`` without links, and its ``status``."""

    path: Path
    status: os.stat_result


@dataclass(frozen=True, slots=True)
class Walk:
    """Where a path leads.

    Attributes:
        path: without links, absolute.
        status: of what is there; None: nothing is there.
        links: that were followed.
        steps: that were made, from the root on: those to links, and those of links, too.
    """

    path: Path
    status: os.stat_result | None
    links: tuple[Link, ...]
    steps: tuple[Step, ...]


def walk(path: Path) -> Walk:
    """Follow a path step by step, each one from where the one before has led.

    Whoever exchanges a directory for a link meanwhile is not followed: the status is that of what was walked to.

    Raises:
        OSError: a step may not be made, or there are too many links.
    """
    with contextlib.suppress(OSError):
        path.stat()  # mounts what is mounted on demand; the steps below would not
    links: list[Link] = []
    names: deque[str | Link] = deque(path.absolute().parts[1:])
    with contextlib.ExitStack() as opened:
        at = [_Opened("/", None, opened)]
        steps = [Step(Path("/"), at[0].status)]
        while names:
            name = names.popleft()
            if isinstance(name, Link):  # the steps of its target have been made
                links.append(Link(name.path, name.target, name.owner, at[-1].status.st_uid, name.device))
            elif name == "..":
                at = at[:-1] or at
            else:
                here = Path(*(item.name for item in at))
                try:
                    found = _Opened(name, at[-1].descriptor, opened)
                except FileNotFoundError:
                    links += (item for item in names if isinstance(item, Link))
                    rest = [item for item in names if isinstance(item, str)]
                    return Walk(Path(os.path.normpath(here.joinpath(name, *rest))), None, tuple(links), tuple(steps))
                if not stat.S_ISLNK(found.status.st_mode):
                    at.append(found)
                    steps.append(Step(here / name, found.status))
                    continue
                if len(links) + sum(isinstance(item, Link) for item in names) >= _MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
                link = found.read_link(here / name)
                target = Path(link.target)
                if target.is_absolute():
                    del at[1:]
                names.extendleft(reversed([*target.parts[target.is_absolute() :], link]))
        return Walk(Path(*(item.name for item in at)), at[-1].status, tuple(links), tuple(steps))


class _Opened:
    """One name of a path, held open."""

    def __init__(self, name: str, folder: int | None, opened: contextlib.ExitStack) -> None:
        self.name = name
        self.descriptor = os.open(name, _ONLY_LOOK, dir_fd=folder)
        opened.callback(os.close, self.descriptor)
        self.status = os.fstat(self.descriptor)

    def read_link(self, path: Path) -> Link:
        status = self.status
        target = os.readlink("", dir_fd=self.descriptor)
        return Link(path, target, status.st_uid, None, f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}")
