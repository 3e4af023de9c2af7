"""A gateway with its parts: made, found again, bound to a session, and stopped."""

from __future__ import annotations

from dataclasses import dataclass

from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.gateway.run import GatewayRequest
from jupyter_launcher.host.address import EngineAddress
from jupyter_launcher.models import RunningGateway
from jupyter_launcher.waiting import Deadline

__all__ = ["MadeGateway", "bind_session", "make_gateway"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeGateway:
    """A gateway that answers, and what finds its parts again.

    Attributes:
        running: as callers get it.
        container_id: of the gateway's container.
        start: in the labels of all that is of this start of it.
    """

    running: RunningGateway
    container_id: str
    start: str


def make_gateway(engine: Engine, address: EngineAddress, request: GatewayRequest) -> MadeGateway:
    """Make a gateway and its parts, and wait until it answers. Where it fails, all that was made is removed.

    Raises:
        LauncherError: as ``Launcher.run_gateway`` says.
    """
    raise NotImplementedError


def bind_session(engine: Engine, gateway: str, ip: str, deadline: Deadline) -> None:
    """Tell a gateway that is one unit with a session where that session's server listens.

    From then on, the gateway ends when nothing listens there any more; see ``lifeline.py`` in its image.

    Args:
        engine: that has both.
        gateway: the id of the gateway's container.
        ip: of the session, on the network that both are on.
        deadline: for the exec.

    Raises:
        ExecError: the gateway was not told.
    """
    raise NotImplementedError
