"""What a manager tells of its whole swarm, for people: the nodes, whether a quorum is there, the heartbeat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from docker import APIClient

from jupyter_launcher.engine.shapes import expect_shape, parse_number, parse_text
from jupyter_launcher.models import SwarmNode

__all__ = ["NodeReport", "OverlayReport", "SwarmReport", "look_at_overlay", "look_at_swarm"]

_NANOSECONDS = 1e9
_DEFAULT_HEARTBEAT = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReport:
    """One node.

    Attributes:
        node: which one.
        state: the swarm's word, such as ``ready``, ``down`` or ``unknown``.
        availability: ``active``, ``pause`` or ``drain``.
        reachability: of a manager, the swarm's word, such as ``reachable``; empty for a worker.
        is_leader: it leads the managers.
        is_here: it is the manager that was asked.
    """

    node: SwarmNode
    state: str
    availability: str
    reachability: str = ""
    is_leader: bool = False
    is_here: bool = False

    @classmethod
    def from_answer(cls, raw: Mapping[str, Any], here: str) -> NodeReport:
        """Parse one node of a manager's list; ``here``: the id of the manager's own node."""
        engine = raw["Description"].get("Engine") or {}
        manager = raw.get("ManagerStatus") or {}
        node = SwarmNode(
            id=parse_text(raw["ID"]),
            hostname=parse_text(raw["Description"]["Hostname"]),
            address=parse_text(raw["Status"].get("Addr") or ""),
            labels={parse_text(name): parse_text(text) for name, text in (raw["Spec"].get("Labels") or {}).items()},
            engine_version=parse_text(engine.get("EngineVersion") or ""),
        )
        return cls(
            node=node,
            state=parse_text(raw["Status"]["State"]),
            availability=parse_text(raw["Spec"]["Availability"]),
            reachability=parse_text(manager.get("Reachability") or ""),
            is_leader=manager.get("Leader") is True,
            is_here=node.id == here,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SwarmReport:
    """A swarm.

    Attributes:
        nodes: all of them, in whatever state.
        heartbeat: seconds after which the nodes tell the managers that they live; a node that is silent for about
            three of them counts as ``down``.
    """

    nodes: tuple[NodeReport, ...]
    heartbeat: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlayReport:
    """A network, as a manager tells of it: its driver and scope, and whether plain containers may join it."""

    driver: str
    scope: str
    attachable: bool


def look_at_swarm(api: APIClient, here: str) -> SwarmReport:
    """Ask a manager for its swarm: two calls.

    Args:
        api: of the manager.
        here: the id of the manager's own node.

    Raises:
        EngineError: an answer has an unexpected shape. Errors of the SDK are raised as they are.
    """
    swarm, nodes = api.inspect_swarm(), api.nodes()
    with expect_shape("the swarm"):
        period = (swarm["Spec"].get("Dispatcher") or {}).get("HeartbeatPeriod")
        found = sorted((NodeReport.from_answer(raw, here) for raw in nodes), key=lambda item: item.node.hostname)
        return SwarmReport(
            nodes=tuple(found),
            heartbeat=parse_number(period) / _NANOSECONDS if period else _DEFAULT_HEARTBEAT,
        )


def look_at_overlay(api: APIClient, name: str) -> OverlayReport:
    """Ask a manager for a network: one call.

    Raises:
        EngineError: the answer has an unexpected shape. Errors of the SDK are raised as they are.
    """
    raw = api.inspect_network(name)
    with expect_shape(f"network {name}"):
        return OverlayReport(
            driver=parse_text(raw["Driver"]),
            scope=parse_text(raw.get("Scope") or ""),
            attachable=raw.get("Attachable") is True,
        )
