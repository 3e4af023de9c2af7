"""The values that callers give and get: frozen, parsed once, no I/O."""

from __future__ import annotations

from jupyter_launcher.models.activity import Activity, KernelInfo, SessionEvent, SessionEventKind, Stats
from jupyter_launcher.models.events import Event, EventKind, Phase
from jupyter_launcher.models.kernels import KernelImage, KernelSummary
from jupyter_launcher.models.options import BuildOptions, Mount, Secret, Timeouts, Volume
from jupyter_launcher.models.server import ApiResponse, Gateway, GatewaySummary, RunningGateway, ServerInfo
from jupyter_launcher.models.session import (
    ReapedSession,
    SessionState,
    SessionStatus,
    SessionSummary,
    StopMethod,
    StopReport,
    Timings,
)
from jupyter_launcher.models.swarm import Swarm, SwarmNode

__all__ = [
    "Activity",
    "ApiResponse",
    "BuildOptions",
    "Event",
    "EventKind",
    "Gateway",
    "GatewaySummary",
    "KernelImage",
    "KernelInfo",
    "KernelSummary",
    "Mount",
    "Phase",
    "ReapedSession",
    "RunningGateway",
    "Secret",
    "ServerInfo",
    "SessionEvent",
    "SessionEventKind",
    "SessionState",
    "SessionStatus",
    "SessionSummary",
    "Stats",
    "StopMethod",
    "StopReport",
    "Swarm",
    "SwarmNode",
    "Timeouts",
    "Timings",
    "Volume",
]
