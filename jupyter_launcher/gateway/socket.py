"""The path of the engine's socket on the engine's host, which a broker mounts."""

from __future__ import annotations

from jupyter_launcher.host.address import EngineAddress

__all__ = ["find_engine_socket"]


def find_engine_socket(address: EngineAddress, given: str | None) -> str:
    """The given path; else that of the unix socket through which this process speaks, as the engine's host sees it.

    Raises:
        OptionError: none was given, and this process reaches the engine in another way.
    """
    raise NotImplementedError
