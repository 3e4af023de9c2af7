"""Sockets of container engines. Whoever can write to one of them controls the whole host."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from jupyter_launcher.engine.reach.ssh import TUNNEL_FOLDER
from jupyter_launcher.host.address import EngineAddress
from jupyter_launcher.host.mountinfo import Place
from jupyter_launcher.host.source import Source, View

__all__ = ["EngineSockets"]

# Sockets, and folders in which engines keep theirs, those of their helpers too.
_SOCKETS = (
    "/run/docker.sock",
    "/run/docker",
    "/run/containerd",
    "/run/k3s",
    "/run/podman",
    "/run/crio",
    "/run/buildkit",
    "/run/user/*/docker.sock",
    "/run/user/*/docker",
    "/run/user/*/containerd",
    "/run/user/*/podman",
    "/run/user/*/buildkit",
)
_USERS = Path("/run/user")


class EngineSockets:
    """The engines' sockets that are known: the usual ones of this machine, and the one that the launcher uses.

    So are the folders in which engines keep their sockets, with everything below. A folder that holds one of these
    is recognised by its device and inode, and by its place in its file system: whatever its name is, and whichever
    way the launcher itself speaks to the engine. A hard link of a socket in another folder is not found.
    """

    def __init__(self, view: View, address: EngineAddress) -> None:
        self._view = view
        own = address.socket_path
        self._patterns = list(_SOCKETS)
        if own is not None:  # as the host has it; else it is a socket of this process's own container
            self._patterns.append(_without_var(address.find_on_host(own) or own))
        usual = {path: real for path in _find_usual(address) if (real := _find_real(address.find_seen(path)))}
        self._usual = tuple(usual)
        sockets = [*usual.values(), *filter(None, [_find_real(own)])]
        holders = {holder for socket in sockets for holder in (socket, *socket.parents)}
        if address.is_over_ssh and not address.is_remote:
            holders |= {item for socket in _find_tunnels() for item in (socket, socket.parent)}
        self._identities = {identity for holder in holders if (identity := view.identify(holder)) is not None}
        self._places = [place for path in sockets if (place := view.find_place(path)) is not None]

    def check(self, source: Source) -> None:
        """See that a source is no engine's socket, holds none, and is in no folder of theirs.

        Raises:
            PipelineDirError: it does.
        """
        held = self._find_name(source.path)
        walked = source.walk
        if walked is not None and held is None:
            identity = None if walked.status is None else (walked.status.st_dev, walked.status.st_ino)
            place = self._view.find_place(walked.path)
            if identity in self._identities or any(place.holds(known) for known in self._places if place is not None):
                held = "by another name"
            beneath = self._view.mounts.find_beneath(walked.path)
            found = (mount for mount in beneath if any(_overlap(mount.place, known) for known in self._places))
            held = held or next((f"by the mount at {mount.point}" for mount in found), None)
            held = held or next((f"in {path}" for path in self._usual if self._view.find_steps(source, path)), None)
        if held is not None:
            where = f"is or holds the engine's socket, or is in a folder of such sockets ({held})"
            seen = f"{where}: whoever can write to one controls the whole host"
            source.refuse(seen, "give another directory; Launcher(allow_engine_socket=True) lets this through")

    def _find_name(self, path: Path) -> str | None:
        """The name of a socket, or of a folder of sockets, that a path of the engine's host leads to or into."""
        steps = Path(_without_var(path)).parts
        for pattern in self._patterns:
            if all(part in (step, "*") for step, part in zip(steps, Path(pattern).parts, strict=False)):
                return pattern
        return None


def _overlap(one: Place, other: Place) -> bool:
    return one.holds(other) or other.holds(one)


def _without_var(path: Path) -> str:
    return str(path).removeprefix("/var") if path.is_relative_to("/var/run") else str(path)


def _find_usual(address: EngineAddress) -> Iterator[Path]:
    """The usual sockets, for each user of the machine that has a folder for them."""
    users = address.find_seen(_USERS)
    try:
        names = [] if users is None else [folder.name for folder in users.iterdir()]
    except OSError:
        names = []
    for pattern in _SOCKETS:
        for name in names if "*" in pattern else [""]:
            yield Path(pattern.replace("*", name))
            yield Path("/var" + pattern.replace("*", name))


def _find_real(socket: Path | None) -> Path | None:
    """Where a socket is, links resolved; None where there is none."""
    if socket is None:
        return None
    try:
        socket.lstat()
        return socket.resolve()
    except PermissionError:  # it may be there
        return socket
    except (OSError, RuntimeError):
        return None


def _find_tunnels() -> Iterator[Path]:
    """The sockets of launchers of this machine that reach an engine over ssh."""
    return Path(tempfile.gettempdir()).glob(f"{TUNNEL_FOLDER}*/docker.sock")
