"""Kernels as processes beside the gateway."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning import LocalProvisioner

__all__ = ["Provisioner", "listens"]

_PORTS = ("hb_port", "shell_port", "control_port", "iopub_port")
_PATIENCE = 10.0  # seconds
_PAUSE = 0.01


class Provisioner(LocalProvisioner):
    """Starts a kernel in the folder of its notebook, with its id in the environment, and waits until it listens.

    The launcher finds the kernels of a server that was killed by ``KERNEL_ID``. The folder is what Jupyter Server's
    gateway client sends as ``KERNEL_WORKING_DIR``. A websocket that is opened before the kernel listens misses the
    kernel's first answer, and jupyter_server asks for another one only half a second later.
    """

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Set the kernel's id and folder."""
        kwargs = await super().pre_launch(**kwargs)
        kwargs["env"]["KERNEL_ID"] = self.kernel_id
        folder = kwargs["env"].get("KERNEL_WORKING_DIR", "")
        if Path(folder).is_absolute() and Path(folder).is_dir():  # noqa: ASYNC240 - a look
            kwargs["cwd"] = folder
        return kwargs

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Start the process; a kernel that does not listen within 10 s goes on all the same."""
        info = await super().launch_kernel(cmd, **kwargs)
        if info.get("transport") == "tcp":
            try:
                await asyncio.wait_for(self._wait_until_it_listens(info), _PATIENCE)
            except asyncio.TimeoutError:
                self.log.warning("kernel %s does not listen after %g s", self.kernel_id, _PATIENCE)
        return info

    async def _wait_until_it_listens(self, info: KernelConnectionInfo) -> None:
        for port in _PORTS:
            while await self.poll() is None and not await listens(info["ip"], info[port]):  # noqa: ASYNC110 - sockets
                await asyncio.sleep(_PAUSE)


async def listens(ip: str, port: int) -> bool:
    """Whether a connection to a port can be made."""
    try:
        _, writer = await asyncio.open_connection(ip, port)
    except OSError:
        return False
    writer.close()
    return True
