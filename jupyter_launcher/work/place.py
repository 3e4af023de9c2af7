"""``Place``: the session in which work is done, as this room knows it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from jupyter_launcher.engine.protocol import Engine, Progress
from jupyter_launcher.models import Gateway, Phase

__all__ = ["Place"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A session's container and its server.

    Attributes:
        engine: where the container is.
        container: its full id.
        session_id: of the session.
        url: the server as this process reaches it, with a slash at its end.
        token: the server's.
        gateway: where the kernels are; None: beside the server.
        phase: tells the launcher's ``on_event`` what happens in a block; see ``sessions/phases.py``.
    """

    engine: Engine
    container: str
    session_id: str
    url: str
    token: str = field(repr=False)
    gateway: Gateway | None
    phase: Callable[[Phase], AbstractContextManager[Progress]]
