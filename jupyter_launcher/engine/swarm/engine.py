"""``SwarmEngine``: a swarm as one engine."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from jupyter_launcher.models import Swarm, SwarmNode

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from jupyter_launcher.engine.connection import ConnectOptions

__all__ = ["SwarmEngine"]


class SwarmEngine:
    """A swarm as one engine: what :class:`~jupyter_launcher.engine.protocol.Engine` says, with a service a container.

    A container of ours is a service of one task, whose label ``jupyter-launcher.name`` is the container's name. Methods
    that take a container take its name, the id of its service, or its own id. Commands run through the engine of the
    node that its task is on. A container whose node is not ready is in state ``unreachable``, and no call is made to
    that node.
    """

    @classmethod
    def connect(cls, swarm: Swarm, **given: Unpack[ConnectOptions]) -> SwarmEngine:
        """Reach a manager.

        Raises:
            OptionError: what answers is no manager of a swarm, or an option cannot be used.
            EngineError: as :meth:`DockerEngine.connect` says.
        """
        raise NotImplementedError

    def constrained(self, constraints: Collection[str]) -> SwarmEngine:
        """The same swarm, with more constraints for what is created; it shares all connections and what is known."""
        raise NotImplementedError

    def nodes(self) -> list[SwarmNode]:
        """All nodes, in whatever state: one call to the manager."""
        raise NotImplementedError
