"""The path of the engine's socket on the engine's host, which a broker mounts."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from jupyter_launcher.host.address import EngineAddress, is_in_container
from jupyter_launcher.host.mountinfo import MountTable
from jupyter_launcher.spec.checks import refuse_option

__all__ = ["find_engine_socket"]

_HINT = (
    "give Launcher(engine_socket=...), its path on the engine's host, such as /var/run/docker.sock; or "
    'isolation="environment", which needs none'
)


def find_engine_socket(address: EngineAddress, given: str | None) -> str:
    """The given path; else that of the unix socket through which this process speaks, as the engine's host sees it.

    Nothing else is guessed: what a launcher speaks through may be an operator's proxy, and what that refuses must not
    be had in another way.

    Raises:
        OptionError: none was given, and this process reaches the engine in another way, or cannot tell where its socket
            is on the engine's host.
        EngineError: the engine does not answer.
    """
    if given is not None:
        return given
    socket = address.socket_path
    if socket is None or not socket.is_absolute():
        _refuse("this launcher does not reach the engine through a unix socket")
    if not address.shares_kernel:
        _refuse("the engine is in a virtual machine, where its socket has a path of its own")
    real = _resolve(socket)
    own = address.find_own_container()
    if own is None:
        if is_in_container() or _is_mounted(real):
            _refuse(f"{socket} is mounted from elsewhere, and this launcher's container is none of this engine's")
        return str(real)
    # A mount may be at the path itself, or where its links lead.
    found = address.find_on_host(socket) or address.find_on_host(real)
    if found is None:
        _refuse(f"{socket} is in the file system of container {own.name}, in which this launcher runs")
    return str(found)


def _refuse(seen: str) -> NoReturn:
    refuse_option("engine_socket", f'is not given, and isolation="kernel" needs it: {seen}', _HINT)


def _is_mounted(path: Path) -> bool:
    """Whether a path is mounted from elsewhere, as into a container of which this engine knows nothing."""
    mount = MountTable.read().find_mount(path)
    return mount is not None and (mount.point == str(path) or (mount.kind == "tmpfs" and mount.root != "/"))


def _resolve(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # a loop of links, of which the engine will tell
        return path
