"""The containers of a gateway's parts, and what the gateway is told of its kernels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jupyter_launcher.engine.types import ContainerConfig
from jupyter_launcher.models import KernelImage, Volume
from jupyter_launcher.models.options import HiddenTexts
from jupyter_launcher.spec.container import NO_PROXIES
from jupyter_launcher.spec.kernels.found import FoundKernel
from jupyter_launcher.spec.kernels.options import KernelOptions

__all__ = ["BROKER_DIR", "agent_config", "broker_config", "gateway_environment", "kernel_config"]

BROKER_DIR = "/run/jupyter-launcher-broker"
"""In the broker's container and the gateway's: the volume with the broker's socket ``broker.sock``."""


def agent_config(
    name: str,
    image: KernelImage,
    found: FoundKernel,
    *,
    pipeline_dir: Any | Volume,
    relabel: str | None,
    user: str,
    gateway: str,
    gateway_start: str,
    labels: Mapping[str, str],
    proxies: HiddenTexts = NO_PROXIES,
) -> ContainerConfig:
    """The container of an environment: an agent as its main process, in the network of its gateway's container.

    Args:
        name: of the kernel in ``kernels=``.
        image: as it was checked.
        found: in it.
        pipeline_dir, relabel, user: as of the gateway.
        gateway: the id of the gateway's container.
        gateway_start: in the name of the agent's abstract socket.
        labels: of an agent.
        proxies: variables that the engine's containers get.
    """
    raise NotImplementedError


def kernel_config(
    name: str,
    image: KernelImage,
    found: FoundKernel,
    *,
    pipeline_dir: Any | Volume,
    relabel: str | None,
    user: str,
    network: str,
    labels: Mapping[str, str],
    proxies: HiddenTexts = NO_PROXIES,
) -> ContainerConfig:
    """The container of each kernel of an image, without what differs from kernel to kernel, which the broker adds."""
    raise NotImplementedError


def broker_config(
    image: str,
    kernels: Mapping[str, Mapping[str, Any]],
    *,
    socket: str,
    volume: str,
    max_kernels: int,
    namespace: str,
    gateway_start: str,
    labels: Mapping[str, str],
    user: str,
    host_users: bool,
) -> ContainerConfig:
    """The container of a broker: no network, read-only, no capability; it alone mounts the engine's socket.

    Args:
        image: the gateway's, whose Python runs it.
        kernels: the name of a kernel → the body with which the engine creates its container.
        socket: the engine's, on the engine's host.
        volume: the name of the gateway's anonymous volume for the broker's socket.
        max_kernels: how many kernels may run at once.
        namespace, gateway_start: of the gateway.
        labels: of a broker.
        user: of the kernels, ``uid:gid``.
        host_users: the engine remaps users, and the broker is to have those of the host.
    """
    raise NotImplementedError


def gateway_environment(options: KernelOptions, found: Mapping[str, FoundKernel], gateway_start: str) -> dict[str, str]:
    """What the gateway is told: a variable ``JUPYTER_LAUNCHER_KERNEL_<n>`` for each kernel, and the limits."""
    raise NotImplementedError
