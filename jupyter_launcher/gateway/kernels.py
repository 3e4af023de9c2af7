"""The kernels of a gateway: which are a session's, and their end."""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.engine.types import ContainerInfo
from jupyter_launcher.errors import EngineUnavailableError, ExecError
from jupyter_launcher.host.address import EngineAddress
from jupyter_launcher.models import Gateway
from jupyter_launcher.server.api import JupyterApi, NoAnswerError, parse_kernel_ids
from jupyter_launcher.server.exec_api import ExecApi
from jupyter_launcher.spec.container import KERNEL_MARK
from jupyter_launcher.spec.server import read_script
from jupyter_launcher.waiting import Deadline, NotYetError, attempts

__all__ = ["MarkedKernels", "find_marked_kernels", "gateway_api", "stop_kernels"]

_KERNEL_SECONDS = 120.0
"""From a server's request for a kernel to the kernel's connection file. A kernel whose file is younger belongs to
another request.
"""
_START = re.compile(r"[0-9]{1,12}\.[0-9]{3}-[0-9a-f]{32}")
_PROCESS = re.compile(
    r"(?P<kernel>\S+) (?P<start>\S+) (?:(?P<made>[0-9]{1,12}\.[0-9]{1,9})|-) (?P<started>[0-9]{1,18})"
)
"""A line of find_kernels.sh."""


def gateway_api(
    engine: Engine,
    address: EngineAddress,
    gateway: Gateway,
    token: str | None,
    *,
    container: ContainerInfo | None,
    networks: Iterable[str],
) -> JupyterApi | None:
    """The gateway's REST API, from inside its container where this process is not seen to reach the container's IP.

    None where the gateway was named by a URL with an IP of a network that this process does not reach: that IP may be
    another container's here.

    Args:
        engine: that has the gateway's container.
        address: how this process reaches containers.
        gateway: as the session knows it.
        token: what each request carries; None: what the gateway's container has.
        container: the gateway's, as it is now; None where it is gone, or where only its URL is known.
        networks: of the session.
    """
    host = urlsplit(gateway.url).hostname or ""
    if gateway.container_id is None:
        return None if address.is_hidden_ip(host, networks) else JupyterApi(gateway.url, token)
    # An IP that the container does not have any more may be another container's.
    shared = [name for name, ip in (container.networks if container else {}).items() if ip == host]
    if any(map(address.reaches_network, shared)):
        return JupyterApi(gateway.url, token)
    return ExecApi(engine, gateway.container_id, gateway.url, token)


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkedKernels:
    """The kernels that carry the mark of a session.

    Attributes:
        own: ids of those that the session started.
        of_others: ids of those that most likely have the session's environment by a mix-up of the gateway's.
    """

    own: tuple[str, ...] = ()
    of_others: tuple[str, ...] = ()


def find_marked_kernels(engine: Engine, container_id: str, start_id: str, deadline: Deadline) -> MarkedKernels | None:
    """The kernels that carry a session's mark, and that run in the gateway's container.

    Found by the mark in their environment, so a kernel whose start nobody waited for is found too. Of several kernels
    with the id of one start only the oldest is the session's: the gateway gave its environment to the others.
    Empty where the container does not run, or the kernels run elsewhere; None where the look failed, or the
    container printed something else.
    """
    command = ("sh", "-c", read_script("find_kernels.sh"), "find", f"{KERNEL_MARK}={start_id}")
    try:
        return _parse_marked(engine.exec(container_id, command, deadline).stdout.splitlines())
    except EngineUnavailableError:  # its node of a swarm is away
        return None
    except ExecError:
        info = engine.inspect(container_id)
        return None if info is not None and info.running else MarkedKernels()


def _parse_marked(lines: Iterable[str]) -> MarkedKernels | None:
    """From the lines of find_kernels.sh; None where one of them is none."""
    found = [_PROCESS.fullmatch(line) for line in lines if line]
    processes = [item for item in found if item is not None]
    ids = parse_kernel_ids(sorted({item["kernel"] for item in processes}))
    if ids is None or len(processes) < len(found):
        return None
    starts: defaultdict[str, set[str]] = defaultdict(set)
    for item in processes:
        if _START.fullmatch(item["start"]):  # else it has none, or a kernel has made up one for itself
            starts[item["start"]].add(item["kernel"])
    own = {_find_own(start, kernels, processes) for start, kernels in starts.items()}
    with_id = {kernel for kernels in starts.values() for kernel in kernels}
    others = tuple(kernel for kernel in ids if kernel in with_id - own)
    return MarkedKernels(own=tuple(kernel for kernel in ids if kernel not in others), of_others=others)


def _find_own(start: str, kernels: Iterable[str], processes: Iterable[re.Match[str]]) -> str | None:
    """Which of the kernels with the id of one start is the session's: the oldest. None where that one is gone.

    A kernel is as old as its connection file, which a restart keeps; where that is not seen, as its first process.
    """
    made: dict[str, float] = {}
    started: dict[str, int] = {}
    for item in processes:
        if item["made"]:
            made[item["kernel"]] = float(item["made"])
        started[item["kernel"]] = min(int(item["started"]), started.get(item["kernel"], sys.maxsize))
    ages = made if made.keys() >= set(kernels) else started
    oldest = min(kernels, key=lambda kernel: ages[kernel])
    asked = float(start.partition("-")[0])
    return oldest if made.get(oldest, asked) - asked <= _KERNEL_SECONDS else None


def stop_kernels(api: JupyterApi, kernels: tuple[str, ...], deadline: Deadline) -> tuple[str, ...]:
    """See that kernels are gone on the gateway, deleting what is left; return those that were seen to be gone.

    Only these kernels are touched: others may use the gateway too. Where the gateway does not tell which kernels it
    has (it is down, or must not list), these are deleted all the same, and only those count that were seen to be gone
    before. Where no connection to the gateway can be made, nothing more is tried. All within the deadline.
    """
    gone: tuple[str, ...] = ()
    for attempt in attempts(deadline, NotYetError):
        with attempt:
            try:
                alive = api.list_kernels(deadline)
            except NoAnswerError as error:
                if not error.connected:
                    return gone
                alive = None
            if alive is None:
                api.delete_kernels([kernel for kernel in kernels if kernel not in gone], deadline)
                return gone
            gone = tuple(kernel for kernel in kernels if kernel not in alive)
            if len(gone) < len(kernels):
                api.delete_kernels(set(kernels) & set(alive), deadline)
                raise NotYetError
    return gone
