"""Start a JupyterLab in a container beside a pipeline, find it again, and stop it with all its kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_launcher._version import __version__

if TYPE_CHECKING:
    from jupyter_launcher.aio.launcher import AsyncLauncher
    from jupyter_launcher.aio.session import AsyncKernel, AsyncSession
    from jupyter_launcher.aio.warm import AsyncPreparation, AsyncWarmPool
    from jupyter_launcher.engine.images import DEFAULT_GATEWAY_IMAGE, DEFAULT_IMAGE
    from jupyter_launcher.errors import (
        AmbiguousNetworkError,
        CellError,
        CodeError,
        CommandError,
        CommandTimeoutError,
        EngineError,
        EngineUnavailableError,
        ExecError,
        ExecuteTimeoutError,
        GatewayConflictError,
        GatewayError,
        GatewayNotFoundError,
        GatewayNotRunningError,
        GatewayUnreachableError,
        ImageBuildError,
        ImageNotFoundError,
        KernelDiedError,
        KernelImageError,
        LauncherError,
        OptionError,
        PipelineDirError,
        PlacementError,
        PortInUseError,
        ServerError,
        ServerInfoError,
        ServerNotRunningError,
        ServerStartError,
        ServerTimeoutError,
        SessionConflictError,
        SessionError,
        SessionNotFoundError,
        SessionUnreadableError,
        StartCancelledError,
        UnsupportedOptionError,
        WorkError,
    )
    from jupyter_launcher.launcher import Launcher
    from jupyter_launcher.models import (
        Activity,
        ApiResponse,
        BuildOptions,
        Event,
        EventKind,
        Gateway,
        GatewaySummary,
        KernelImage,
        KernelInfo,
        KernelSummary,
        Mount,
        Phase,
        ReapedSession,
        RunningGateway,
        Secret,
        ServerInfo,
        SessionEvent,
        SessionEventKind,
        SessionState,
        SessionStatus,
        SessionSummary,
        Stats,
        StopMethod,
        StopReport,
        Swarm,
        SwarmNode,
        Timeouts,
        Timings,
        Volume,
    )
    from jupyter_launcher.results import CodeFailure, CommandResult, ExecuteResult, NotebookResult, Output
    from jupyter_launcher.sessions.session import Session
    from jupyter_launcher.warm.pool import WarmPool
    from jupyter_launcher.warm.preparation import Preparation
    from jupyter_launcher.work.kernels import Kernel

__all__ = [
    "DEFAULT_GATEWAY_IMAGE",
    "DEFAULT_IMAGE",
    "Activity",
    "AmbiguousNetworkError",
    "ApiResponse",
    "AsyncKernel",
    "AsyncLauncher",
    "AsyncPreparation",
    "AsyncSession",
    "AsyncWarmPool",
    "BuildOptions",
    "CellError",
    "CodeError",
    "CodeFailure",
    "CommandError",
    "CommandResult",
    "CommandTimeoutError",
    "EngineError",
    "EngineUnavailableError",
    "Event",
    "EventKind",
    "ExecError",
    "ExecuteResult",
    "ExecuteTimeoutError",
    "Gateway",
    "GatewayConflictError",
    "GatewayError",
    "GatewayNotFoundError",
    "GatewayNotRunningError",
    "GatewaySummary",
    "GatewayUnreachableError",
    "ImageBuildError",
    "ImageNotFoundError",
    "Kernel",
    "KernelDiedError",
    "KernelImage",
    "KernelImageError",
    "KernelInfo",
    "KernelSummary",
    "Launcher",
    "LauncherError",
    "Mount",
    "NotebookResult",
    "OptionError",
    "Output",
    "Phase",
    "PipelineDirError",
    "PlacementError",
    "PortInUseError",
    "Preparation",
    "ReapedSession",
    "RunningGateway",
    "Secret",
    "ServerError",
    "ServerInfo",
    "ServerInfoError",
    "ServerNotRunningError",
    "ServerStartError",
    "ServerTimeoutError",
    "Session",
    "SessionConflictError",
    "SessionError",
    "SessionEvent",
    "SessionEventKind",
    "SessionNotFoundError",
    "SessionState",
    "SessionStatus",
    "SessionSummary",
    "SessionUnreadableError",
    "StartCancelledError",
    "Stats",
    "StopMethod",
    "StopReport",
    "Swarm",
    "SwarmNode",
    "Timeouts",
    "Timings",
    "UnsupportedOptionError",
    "Volume",
    "WarmPool",
    "WorkError",
    "__version__",
]


# Importing docker and requests costs 0.2 s, so a name is fetched when it is first asked for.
def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in __all__:
        modules = (
            "errors",
            "models",
            "results",
            "engine.images",
            "work.kernels",
            "sessions.session",
            "warm.pool",
            "warm.preparation",
            "launcher",
            # Last, since they need an extra.
            "aio.session",
            "aio.warm",
            "aio.launcher",
        )
        for module in modules:
            try:
                found = import_module(f"jupyter_launcher.{module}")
            except ModuleNotFoundError as error:
                if error.name != "anyio":
                    raise
                msg = f"{name} needs anyio; pip install 'jupyter-launcher[async]'"
                raise ImportError(msg, name="anyio") from error
            if name in found.__all__:
                value: object = getattr(found, name)
                return value
    msg = f"module 'jupyter_launcher' has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return __all__
