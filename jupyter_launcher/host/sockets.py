"""Sockets of container engines. Whoever can write to one of them controls the whole host."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from jupyter_launcher.engine.ssh import TUNNEL_FOLDER
from jupyter_launcher.host.address import EngineAddress
from jupyter_launcher.host.source import Source, View

__all__ = ["EngineSockets"]

_SOCKETS = (
    "/run/docker.sock",
    "/run/docker/containerd/containerd.sock",
    "/run/containerd/containerd.sock",
    "/run/k3s/containerd/containerd.sock",
    "/run/podman/podman.sock",
    "/run/crio/crio.sock",
    "/run/buildkit/buildkitd.sock",
    "/run/user/*/docker.sock",
    "/run/user/*/containerd/containerd.sock",
    "/run/user/*/podman/podman.sock",
    "/run/user/*/buildkit/buildkitd.sock",
)
_USERS = Path("/run/user")


class EngineSockets:
    """The engines' sockets that are known: the usual ones of this machine, and the one that the launcher uses.

    A folder that holds one is recognised by its device and inode, and by its place in its file system: whatever its
    name is, and whichever way the launcher itself speaks to the engine. A hard link of a socket in another folder
    is not found.
    """

    def __init__(self, view: View, address: EngineAddress) -> None:
        self._view = view
        own = address.socket_path
        self._patterns = list(_SOCKETS)
        if own is not None:  # as the host has it; else it is a socket of this process's own container
            self._patterns.append(_without_var(address.find_on_host(own) or own))
        usual = [address.find_seen(path) for path in _find_usual(address)]
        sockets = [found for path in (*usual, own) if path is not None and (found := _find_real(path)) is not None]
        holders = {holder for socket in sockets for holder in (socket, *socket.parents)}
        if address.is_over_ssh and not address.is_remote:
            holders |= {item for socket in _find_tunnels() for item in (socket, socket.parent)}
        self._identities = {identity for holder in holders if (identity := view.identify(holder)) is not None}
        self._places = [place for path in sockets if (place := view.find_place(path)) is not None]

    def check(self, source: Source) -> None:
        """See that a source is no engine's socket, and holds none.

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
            found = (mount for mount in beneath if any(mount.place.holds(known) for known in self._places))
            held = held or next((f"by the mount at {mount.point}" for mount in found), None)
        if held is not None:
            seen = f"is or holds the engine's socket ({held}), and with it control of the whole host"
            source.refuse(seen, "give another directory; Launcher(allow_engine_socket=True) lets this through")

    def _find_name(self, path: Path) -> str | None:
        """The name of a socket that is at a path of the engine's host, or below."""
        steps = Path(_without_var(path)).parts
        for pattern in self._patterns:
            parts = Path(pattern).parts
            if len(steps) <= len(parts) and all(part in (step, "*") for step, part in zip(steps, parts, strict=False)):
                return pattern
        return None


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


def _find_real(socket: Path) -> Path | None:
    """Where a socket is, links resolved; None where there is none."""
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
