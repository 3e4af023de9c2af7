"""The settings of a gateway whose kernels run in containers, from what the launcher says in the environment."""

from __future__ import annotations

import sys
from collections.abc import MutableMapping
from typing import Any

import zmq

from jupyter_launcher_kernels.holds import HoldError, take_holds, watch_holds
from jupyter_launcher_kernels.lifeline import watch_session
from jupyter_launcher_kernels.memory import start_counting
from jupyter_launcher_kernels.specs import take_kernels

__all__ = ["use_containers"]

_MAX_KERNELS = "JUPYTER_LAUNCHER_MAX_KERNELS"
_IDLE = "JUPYTER_LAUNCHER_KERNEL_IDLE"
_NO_PART = 73  # an exit code
_NATIVE = "python3"
_CULL_SECONDS = 300  # jupyter_server's own interval, for long idle times


def use_containers(c: Any, environment: MutableMapping[str, str]) -> None:
    """Set all that makes kernels run in containers, hold the parts, and watch them.

    Args:
        c: the configuration.
        environment: of the process; what is the launcher's is taken out of it.

    Raises:
        SystemExit: with code 73, when a part is not there.
    """
    kernels = take_kernels(environment)
    c.KernelGatewayApp.kernel_spec_manager_class = "jupyter_launcher_kernels.specs.ContainerKernelSpecs"
    c.ContainerKernelSpecs.kernels = kernels
    c.KernelGatewayApp.kernel_manager_class = "jupyter_launcher_kernels.manager.ContainerKernelManager"
    c.MultiKernelManager.default_kernel_name = _NATIVE if _NATIVE in kernels else next(iter(kernels))
    c.KernelProvisionerFactory.default_provisioner_name = "jupyter-launcher-remote"
    c.RemoteProvisioner.max_kernels = int(environment.pop(_MAX_KERNELS, "0"))
    c.KernelManager.transport_encryption = "auto" if zmq.has("curve") else "disabled"
    if idle := int(environment.pop(_IDLE, "0")):
        c.MappingKernelManager.cull_idle_timeout = idle
        c.MappingKernelManager.cull_interval = max(1, min(_CULL_SECONDS, idle // 4))
        c.MappingKernelManager.cull_connected = True
    start_counting()
    try:
        watch_holds(take_holds({kernel["address"]: kernel.get("secret", "") for kernel in kernels.values()}))
    except HoldError as error:
        print(f"jupyter-launcher: {error}", file=sys.stderr, flush=True)
        sys.exit(_NO_PART)
    watch_session()
