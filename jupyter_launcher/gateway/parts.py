"""What is of a gateway, found by label and removed: agents, broker, kernels, network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.engine.types import ListedContainer
from jupyter_launcher.models import KernelSummary
from jupyter_launcher.spec.kernels.labels import PartLabels

__all__ = ["Part", "find_parts", "kernels_of", "remove_unit", "summarise"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A container that is a part of a gateway, and what its labels say."""

    item: ListedContainer
    labels: PartLabels


def find_parts(engine: Engine, gateway_start: str) -> list[Part]:
    """All parts of one start of a gateway, in every state: one call to the engine."""
    raise NotImplementedError


def kernels_of(engine: Engine, start_id: str) -> list[KernelSummary]:
    """The kernels in containers of their own that a session has asked for, on whichever gateway: one call."""
    raise NotImplementedError


def summarise(listed: Iterable[ListedContainer]) -> list[tuple[KernelSummary, PartLabels]]:
    """The kernels among listed containers."""
    raise NotImplementedError


def remove_unit(engine: Engine, gateway_start: str, gateway: str | None = None) -> tuple[str, ...]:
    """Remove the broker and the agents, then all kernels, then the gateway, then its own network.

    The broker first, so that it makes no kernel meanwhile; the gateway, whose anonymous volume the broker has mounted,
    after it. What is gone already is passed over.

    Args:
        engine: that has them.
        gateway_start: of the gateway's labels.
        gateway: the id of its container; None: it is gone.

    Returns:
        The ids of the kernels whose containers were removed.

    Raises:
        EngineError: the engine refused; the rest was tried all the same.
    """
    raise NotImplementedError
