"""What is left of gateways that end by no word of a session: which parts and networks nobody needs any more."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from jupyter_launcher.engine.traits import ListedNetwork
from jupyter_launcher.engine.types import ListedContainer
from jupyter_launcher.errors import EngineError, EngineUnavailableError
from jupyter_launcher.host.process import is_process_dead
from jupyter_launcher.models import ReapedSession, SessionState
from jupyter_launcher.sessions.context import Context
from jupyter_launcher.spec.kernels.labels import PartLabels, part_filter, start_filter
from jupyter_launcher.spec.labels import ToolLabels

__all__ = ["Gateways", "find_lost_networks", "find_lost_parts", "has_live_gateway", "list_networks"]

_log = logging.getLogger("jupyter_launcher")

_MAKING_SECONDS = 60.0
"""From an own network to the gateway that is to be on it: one call of the engine, or two."""
_ORDER = ("broker", "agent", "kernel")  # a broker makes kernels, so it is the first to go


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateways:
    """The gateways of a namespace, as they were listed after their parts.

    Attributes:
        states: the start of a gateway → its container's state.
        leaving: starts whose gateways are removed, with all of their parts.
        kept: starts whose gateways are to be kept by name.
    """

    states: Mapping[str, str]
    leaving: Collection[str] = ()
    kept: Collection[str] = ()

    def needs(self, gateway_start: str) -> bool:
        """Whether what is of a start of a gateway stays: with its gateway, or until that is removed with all of it."""
        state = self.states.get(gateway_start)
        if state is None:
            return False
        # What is created is just being made, or is removed itself once its maker is seen to be dead.
        has_ended = SessionState.of_container(state) is SessionState.EXITED
        return not has_ended or gateway_start in self.leaving or gateway_start in self.kept


def find_lost_parts(
    listed: Sequence[ListedContainer], gateways: Gateways, *, now: float, min_age: float, owner: str | None
) -> list[tuple[ListedContainer, ReapedSession]]:
    """Parts whose gateway has ended or is gone, and is not itself removed now with all that is of it."""
    found = [
        (item, labels)
        for item in listed
        if (labels := PartLabels.of_container(item.labels, item.name)) is not None
        and owner in (None, labels.owner)
        and now - item.created >= min_age
        and not gateways.needs(labels.gateway_start)
    ]
    found.sort(key=lambda part: _ORDER.index(part[1].kind) if part[1].kind in _ORDER else len(_ORDER))
    return [(item, _describe(item)) for item, _ in found]


def _describe(item: ListedContainer) -> ReapedSession:
    state = SessionState.of_container(item.state)
    reason = state.value if state in (SessionState.EXITED, SessionState.CREATED) else "orphaned"
    return ReapedSession(session_id="", container_id=item.id, reason=reason, kind="part", name=item.name)


def has_live_gateway(context: Context, item: ListedContainer) -> bool:
    """Whether the gateway of a part runs, or may still be started."""
    labels = PartLabels.of_container(item.labels, item.name)
    return labels is not None and any(
        ToolLabels.of_container(found.labels, found.name) is not None
        and SessionState.of_container(found.state) is not SessionState.EXITED
        for found in context.engine.containers(start_filter(labels.gateway_start))
    )


def list_networks(context: Context) -> list[ListedNetwork]:
    """The own networks of gateways; none where something before the engine does not let anybody ask.

    Raises:
        EngineUnavailableError: the engine does not answer.
    """
    if context.swarm is not None:
        return []
    try:
        return context.engine.networks(part_filter())
    except EngineUnavailableError:
        raise
    except EngineError as error:
        _log.info("nobody looked for networks that are left: %s", error)
        return []


def find_lost_networks(
    networks: Iterable[ListedNetwork],
    gateways: Gateways,
    namespace: str,
    *,
    now: float,
    min_age: float,
    owner: str | None,
) -> list[ReapedSession]:
    """Own networks of a namespace whose gateway is gone.

    A network is there a moment before its gateway, so one whose maker is not seen to be dead has a minute.
    """
    found = []
    for network in networks:
        labels = PartLabels.of_container(network.labels, network.name)
        if labels is None or labels.kind != "network" or labels.namespace != namespace:
            continue
        least = min_age if is_process_dead(labels.process) else max(min_age, _MAKING_SECONDS)
        is_needed = labels.gateway_start in gateways.states or owner not in (None, labels.owner)
        if not is_needed and now - network.created >= least:
            found.append(
                ReapedSession(
                    session_id="", container_id=network.id, reason="orphaned", kind="network", name=network.name
                )
            )
    return found
