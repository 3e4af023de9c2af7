"""Kernels in containers of their own, asked for from an agent or a broker."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Mapping
from typing import Any, ClassVar
from weakref import WeakSet

import zmq
from jupyter_client.connect import KernelConnectionInfo, port_names
from jupyter_client.provisioning import KernelProvisionerBase
from tornado.web import HTTPError
from traitlets import Integer

from jupyter_launcher_kernels.part import End, PartConnection, PartError
from jupyter_launcher_kernels.provisioner import listens

__all__ = ["RemoteProvisioner"]

_PORTS = ("hb_port", "shell_port", "control_port", "iopub_port")
_PATIENCE = 30.0  # seconds
_PAUSE = 0.01
_PORT_TRIES = 3
_PORT_TAKEN = "Address already in use"
_VARIABLE_NAME = re.compile(r"KERNEL_[A-Za-z0-9_]{1,250}")


class RemoteProvisioner(KernelProvisionerBase):
    """Starts a kernel over a connection that is as long as the kernel's life, and waits until it listens.

    A kernel that ends before it listens fails its start with what it printed last. At a restart it does not: then the
    gateway's restarter sees that it has ended, tries again, and gives up in the end, as with a process.
    """

    max_kernels = Integer(0, config=True, help="How many kernels may run at once; 0: as many as are asked for.")

    _holders: ClassVar[WeakSet[RemoteProvisioner]] = WeakSet()
    """Those that have a kernel, or a place for one while it starts again."""
    _part: PartConnection | None = None
    _end: asyncio.Future[End] | None = None
    _has_run = False
    _urls: Mapping[str, str] = {}

    @property
    def has_process(self) -> bool:
        """Whether a kernel was started whose end nobody has waited for."""
        return self._end is not None

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Make the keys of an encrypted kernel; a restart keeps them."""
        kwargs.pop("extra_arguments", None)
        manager = self.parent
        if (
            manager.transport_encryption != "disabled"
            and manager.curve_publickey is None
            and manager._kernel_supports_curve_encryption()  # noqa: SLF001 - as LocalProvisioner
        ):
            manager.curve_publickey, manager.curve_secretkey = zmq.curve_keypair()
        return await super().pre_launch(cmd=list(self.kernel_spec.argv), **kwargs)

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:  # noqa: ARG002 - not ours
        """Start the kernel.

        Raises:
            HTTPError: 429, when as many kernels run as may; else the kernel could not be started, or ended at once.
        """
        env: Mapping[str, str] = kwargs.get("env", {})
        self._take_place()
        try:
            await self._launch(env, env.get("KERNEL_WORKING_DIR") or kwargs.get("cwd"))
        except PartError as error:
            if not self._has_run:
                await self._leave()
                raise HTTPError(error.status, f"{error}") from error
            self.log.warning("%s", error)
            self._end = _ended(End(1, log=str(error)))
        except BaseException:
            self._drop()
            raise
        self._has_run = True
        return self.connection_info

    async def post_launch(self, **kwargs: Any) -> None:  # noqa: ARG002 - nothing of it is needed
        """Have open websockets follow a kernel that listens elsewhere than before it started again."""
        old, self._urls = self._urls, _urls_of(self.connection_info)
        if old and old != self._urls and hasattr(self.parent.parent, "follow_kernel"):
            self.parent.parent.follow_kernel(self.kernel_id, old, self._urls)

    async def poll(self) -> int | None:
        """The kernel's exit code; None while it runs."""
        if self._end is None:
            return 0
        return self._end.result().exit_code if self._end.done() else None

    async def wait(self) -> int | None:
        """Wait for the kernel's end, and return its exit code."""
        if self._end is None:
            return 0
        await asyncio.wait([self._end])
        end, self._end = self._end.result(), None
        return end.exit_code

    async def send_signal(self, signum: int) -> None:
        """Send a signal to the kernel's processes; to none, where it has ended."""
        if signum < 1 or self._part is None or self._end is None or self._end.done():
            return
        try:
            await self._part.ask("signal", signal=int(signum))
        except PartError as error:
            self.log.warning("kernel %s: signal %d was not sent: %s", self.kernel_id, signum, error)

    async def kill(self, restart: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - jupyter_client's
        """End the kernel at once."""
        await self.send_signal(signal.SIGKILL)

    async def terminate(self, restart: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - jupyter_client's
        """Ask the kernel to end."""
        await self.send_signal(signal.SIGTERM)

    async def cleanup(self, restart: bool = False) -> None:  # noqa: FBT001, FBT002 - jupyter_client's
        """Close the connection, unless the kernel is to start again."""
        if not restart:
            await self._leave()

    def _take_place(self) -> None:
        if self not in self._holders and 0 < self.max_kernels <= len(self._holders):
            msg = f"{len(self._holders)} kernels run, and max_kernels is {self.max_kernels}: shut one down first"
            raise HTTPError(429, msg)
        self._holders.add(self)

    async def _leave(self) -> None:
        """Give the place back when the kernel is gone: then there is one in a broker's count too."""
        try:
            if self._part is not None:
                await self._part.leave()
        finally:
            self._drop()

    def _drop(self) -> None:
        self._holders.discard(self)
        if self._part is not None:
            self._part.close()
        self._part = self._end = None

    async def _launch(self, env: Mapping[str, str], folder: str | None) -> None:
        name = self.kernel_spec.name
        for _ in range(_PORT_TRIES):
            end = await self._start(name, env, folder)
            await self._wait_until_it_listens(end)
            if not end.done():
                return
            if _PORT_TAKEN not in end.result().log:
                break
        msg = f"kernel {name} {end.result().describe()}"
        raise PartError(msg, 500)

    async def _start(self, name: str, env: Mapping[str, str], folder: str | None) -> asyncio.Future[End]:
        manager = self.parent
        info = {"signature_scheme": manager.session.signature_scheme, "kernel_name": name}
        if manager.curve_publickey is not None:
            info["curve_publickey"] = manager.curve_publickey.decode()
            info["curve_secretkey"] = manager.curve_secretkey.decode()
        if self._part is None or self._part.is_closed:
            self._part = await PartConnection.open(self.kernel_spec.address, self.kernel_id, self.log)
        answer = await self._part.ask(
            "start",
            kernel=self.kernel_id,
            name=name,
            secret=self.kernel_spec.secret,
            env={key: value for key, value in env.items() if _VARIABLE_NAME.fullmatch(key)},
            folder=folder,
            connection={"key": manager.session.key.decode(), **info},
        )
        try:
            ports = {port: int(answer["ports"][port]) for port in port_names}
            self._end = self._part.end_of(int(answer["run"]))
            self.connection_info = {
                "ip": str(answer["ip"]),
                "transport": "tcp",
                "key": manager.session.key,
                **ports,
                **info,
            }
        except (KeyError, TypeError, ValueError) as error:
            msg = f"the container of kernel {name} answered what nobody understands: {error!r}"
            raise PartError(msg, 500) from error
        return self._end

    async def _wait_until_it_listens(self, end: asyncio.Future[End]) -> None:
        """Wait for the kernel to listen or to end; one that does neither for long goes on all the same."""
        probing = asyncio.ensure_future(self._probe())
        await asyncio.wait([probing, end], timeout=_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        if not probing.done():
            probing.cancel()
            if not end.done():
                self.log.warning("kernel %s does not listen after %g s", self.kernel_id, _PATIENCE)

    async def _probe(self) -> None:
        ip = self.connection_info["ip"]
        for port in _PORTS:
            while not ip or not await listens(ip, self.connection_info[port]):  # noqa: ASYNC110 - sockets
                await asyncio.sleep(_PAUSE)


def _urls_of(info: KernelConnectionInfo) -> dict[str, str]:
    """The URL of each channel that a client may be connected to."""
    return {name: f"tcp://{info['ip']}:{info[f'{name}_port']}" for name in ("shell", "iopub", "stdin", "control")}


def _ended(end: End) -> asyncio.Future[End]:
    future: asyncio.Future[End] = asyncio.get_running_loop().create_future()
    future.set_result(end)
    return future
