"""When a gateway of ours answers, and what is said where it or a part of it ended before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from jupyter_launcher.engine.protocol import NO_LOG, Engine
from jupyter_launcher.engine.types import ContainerInfo
from jupyter_launcher.errors import GatewayError, GatewayNotRunningError, GatewayUnreachableError, LauncherError
from jupyter_launcher.gateway.find import read_token
from jupyter_launcher.host.address import EngineAddress
from jupyter_launcher.models import RunningGateway, Volume
from jupyter_launcher.server.api import JupyterApi
from jupyter_launcher.server.failures import CLOSED_DIRECTORY, OTHER_DIRECTORY, describe_directory
from jupyter_launcher.server.ready import find_kernelspecs
from jupyter_launcher.waiting import Deadline, NotYetError, attempts

__all__ = ["Awaited", "find_url_of", "require_gateway", "wait_until_ready"]

_REQUEST_SECONDS = 5.0
_TOKEN_SECONDS = 5.0
_OURS = "jupyter-launcher: "
"""How the last line begins that start_gateway.sh prints where it refuses the directory, or a gateway without parts."""
_NO_ENGINE = 74
"""Of a broker to which the engine does not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Awaited:
    """A gateway of ours that was started.

    Attributes:
        container: its id.
        name: of its container.
        gateway_id: the last part of its name.
        find_url: where this process reaches it; None: nowhere.
        pipeline_dir: mounted there, for errors.
        kernels: the names of its kernel specs; None: what its image has.
        parts: the id of a part's container → what it is, for errors. Where one ends, the gateway does.
    """

    container: str
    name: str
    gateway_id: str
    find_url: Callable[[ContainerInfo], str | None]
    pipeline_dir: Path | Volume
    kernels: tuple[str, ...] | None = None
    parts: Mapping[str, str] = field(default_factory=dict)


def find_url_of(address: EngineAddress, host_ip: str, network: str) -> Callable[[ContainerInfo], str | None]:
    """How this process reaches a gateway on a network: at its container's IP, or published at an address of the host.

    The function gives None for a gateway that has neither; it is ``address.bridge_url`` where nothing is published.
    """
    return address.bridge_url if address.reaches_network(network) else partial(_published_url, address, host_ip)


def _published_url(address: EngineAddress, host_ip: str, info: ContainerInfo) -> str | None:
    return address.server_url(info, host_ip) if address.reaches(info) else None


def wait_until_ready(engine: Engine, awaited: Awaited, deadline: Deadline) -> RunningGateway:
    """Wait until a gateway of ours has made its token, and answers a request for its kernel specs that carries it.

    Raises:
        GatewayError: its network gives it no address and no published port, or it has other kernel specs.
        GatewayNotRunningError: it ended, or a part of it did.
        GatewayUnreachableError: it made no token, or gave no kernel specs, in time.
        PipelineDirError: it saw another directory, or cannot enter it.
    """
    ready: RunningGateway | None = None
    name = awaited.name
    for attempt in attempts(deadline, NotYetError):
        with attempt:
            for part, what in awaited.parts.items():  # first, since they tell why the gateway ended
                _require_part(engine, part, what, name)
            info = require_gateway(engine, awaited)
            url = awaited.find_url(info)
            if url is None:
                msg = f"the gateway {name} has no address and no published port on network {info.network_mode!r}"
                raise GatewayError(msg, hint="use a bridge network that can publish", gateway=name)
            ready = ready or _read_running(engine, awaited, info, url, deadline)
            if ready is None or not _is_ready(ready, awaited.kernels, deadline):
                raise NotYetError
            return ready
    msg = f"the gateway {name} gave no kernel specs within {deadline.seconds:g} s"
    if ready is None:
        msg = f"the gateway {name} made no token within {deadline.seconds:g} s, or does not listen itself"
    hint = "see that its image has sh and od, and raise timeouts.start if it only needs longer"
    raise GatewayUnreachableError(msg, hint=hint, gateway=name, log_tail=engine.log_tail(awaited.container))


def _read_running(
    engine: Engine, awaited: Awaited, info: ContainerInfo, url: str, deadline: Deadline
) -> RunningGateway | None:
    token = read_token(engine, info, deadline.shortened(_TOKEN_SECONDS))
    if token is None:
        return None
    return RunningGateway(
        name=info.name, url=url, token=token, gateway_id=awaited.gateway_id, kernels=awaited.kernels or ()
    )


def _is_ready(gateway: RunningGateway, kernels: tuple[str, ...] | None, deadline: Deadline) -> bool:
    """Whether it answers with its kernel specs.

    Raises:
        GatewayError: they are not those of ``kernels``.
    """
    limit = Deadline(max(0.1, min(_REQUEST_SECONDS, deadline.remaining())))
    specs = find_kernelspecs(JupyterApi(gateway.url, gateway.token), limit)
    if specs is None or kernels is None or specs == set(kernels):
        return specs is not None
    msg = f"the gateway {gateway.name} does not offer the kernels {', '.join(kernels)}: its image has not our package"
    hint = "kernels= needs the image `kernel-gateway` of the launcher, or one that is built upon it"
    raise GatewayError(msg, hint=hint, gateway=gateway.name)


def _require_part(engine: Engine, container: str, what: str, gateway: str) -> None:
    """See that a part runs.

    Raises:
        GatewayNotRunningError: it does not.
    """
    info = engine.inspect(container)
    if info is not None and info.running:
        return
    state, code = ("gone", None) if info is None else (info.state, info.exit_code)
    if code == 0:
        return  # it has ended since the gateway did, which is seen next
    log = engine.log_tail(container)
    last = log.rstrip().rpartition("\n")[2].removeprefix(_OURS)
    msg = f"{what} ended with exit code {code}: {last}"
    hint = "its log tells why"
    if code == _NO_ENGINE:
        hint = "give Launcher(engine_socket=...) the path that the engine's socket has on the engine's host"
    raise GatewayNotRunningError(msg, hint=hint, gateway=gateway, state=state, exit_code=code, log_tail=log)


def require_gateway(engine: Engine, awaited: Awaited) -> ContainerInfo:
    """See that the gateway itself runs.

    Raises:
        GatewayNotRunningError: it does not.
        PipelineDirError: since it saw another directory, or cannot enter it.
    """
    info = engine.inspect(awaited.container)
    if info is None or not info.running:
        raise _describe_ended(engine, awaited, info)
    return info


def _describe_ended(engine: Engine, awaited: Awaited, info: ContainerInfo | None) -> LauncherError:
    state, code = ("gone", None) if info is None else (info.state, info.exit_code)
    name = awaited.name
    log = engine.log_tail(awaited.container)
    last = log.rstrip().rpartition("\n")[2]
    # A gateway's own exit codes may be the same, so where there is a log, its last line decides.
    is_ours = last.startswith((_OURS, NO_LOG))
    why = f": {last.removeprefix(_OURS)}" if is_ours else ""
    error = GatewayNotRunningError(
        f"the gateway {name} ended with exit code {code}{why}",
        hint="see that its image runs a kernel gateway",
        gateway=name,
        state=state,
        exit_code=code,
        log_tail=log,
    )
    if is_ours and code in (OTHER_DIRECTORY, CLOSED_DIRECTORY):
        seen = last.removeprefix(_OURS)
        if seen.startswith(NO_LOG) and code == CLOSED_DIRECTORY:
            seen = f"the user of the gateway cannot enter it {seen}"
        directory = describe_directory(awaited.pipeline_dir, code, seen)
        if directory is not None:
            directory.__cause__ = error
            return directory
    return error
