"""A new container and the server in it that answers; and the errors where an engine refuses it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence

from jupyter_launcher.acts import leaves, note_left, shielded
from jupyter_launcher.engine.traits import EngineTraits
from jupyter_launcher.engine.types import ContainerInfo
from jupyter_launcher.errors import EngineError
from jupyter_launcher.gateway.limits import LIMITS_HINT, describe_refusal, describe_unenforced, refuse_unenforced
from jupyter_launcher.models import Gateway, Phase
from jupyter_launcher.server.api import JupyterApi
from jupyter_launcher.server.failures import describe_closed_directory, describe_failure
from jupyter_launcher.server.process import StartedServer, renew_lease, start_server
from jupyter_launcher.server.ready import check_kernelspecs, check_server_info, wait_until_ready
from jupyter_launcher.sessions.context import Context
from jupyter_launcher.sessions.phases import PhaseReporter
from jupyter_launcher.spec.container import PORT_KEY, find_unenforced
from jupyter_launcher.spec.options import SessionSpec
from jupyter_launcher.spec.plan import SessionPlan
from jupyter_launcher.waiting import Deadline, NotYetError, attempts

__all__ = ["check_limits", "make_server", "removed_on_failure", "warn_unlimited"]

_log = logging.getLogger("jupyter_launcher")

_PORT_SECONDS = 1.0
_NOT_FOUND = 127  # the exit code of a container whose program is not there


def check_limits(traits: EngineTraits, spec: SessionSpec) -> None:
    """Refuse limits that the engine does not enforce, by its own information.

    Raises:
        OptionError: names the limit.
    """
    refuse_unenforced(traits, memory=spec.memory, cpus=spec.cpus)


def warn_unlimited(context: Context, info: ContainerInfo, reporter: PhaseReporter) -> None:
    """Report a session that may have any number of processes, though it was given a limit."""
    if context.engine.traits.limits_pids is False or info.pids == 0:
        reporter.warn(Phase.CONTAINER, f"the engine does not enforce the limit of processes: {LIMITS_HINT}")


def make_server(
    context: Context, planned: SessionPlan, gateway: Gateway | None, reporter: PhaseReporter
) -> tuple[ContainerInfo, StartedServer] | None:
    """A new container, and the server in it that answers; None when another launcher took the name meanwhile.

    Raises:
        LauncherError: as ``Launcher.start`` says. See :func:`removed_on_failure`.
    """
    engine = context.engine
    with reporter.phase(Phase.CONTAINER):
        container_id = _create_container(context, planned)
        if container_id is None:
            return None
        info = _start_container(context, container_id, planned)
    deadline = Deadline(context.timeouts.start)
    with reporter.phase(Phase.SERVER):
        server = start_server(engine, info.id, planned, deadline, entrypoint=planned.find_entrypoint(info))
        check_server_info(server.info, planned.labels.base_url, engine, info.id)
    with reporter.phase(Phase.READY):
        api = JupyterApi(context.server_url(info, planned.labels), server.info.token)
        wait_until_ready(api, engine, info.id, deadline)
        if gateway is not None:
            check_kernelspecs(api, gateway, engine, info, context.timeouts.gateway)
        if planned.lease is not None:
            renew_lease(engine, info.id, planned.lease)
    return info, server


def _create_container(context: Context, planned: SessionPlan) -> str | None:
    """The id of a new container; None when another launcher has created one of this name."""
    try:
        return context.engine.create(planned.container, planned.name)
    except EngineError as error:
        if error.status != 409:
            raise describe_refusal(planned.container, error) or error from error.__cause__
        return None


def _start_container(context: Context, container_id: str, planned: SessionPlan) -> ContainerInfo:
    """Start a created container, and look at where it is reached.

    Raises:
        PortInUseError: the host port is taken.
        PipelineDirError: the container's user may not enter the directory.
        ServerStartError: the container has ended already, with its exit code and log.
        OptionError: the container is without something that was asked for.
        EngineError: the engine could not start it, or its network cannot publish.
    """
    config = planned.container
    asked = [port for port in (config.host_port, *config.ports.values()) if port is not None]
    try:
        context.engine.start(container_id, host_ports=asked)
    except EngineError as error:
        found = describe_closed_directory(planned.labels.pipeline_dir, error) or describe_refusal(config, error)
        raise found or error from error.__cause__
    ports = () if config.container_port is None else (PORT_KEY, *config.ports)
    info = _look_at_ports(context, container_id, ports)
    if info is None or not info.running:
        entrypoint = () if info is None else planned.find_entrypoint(info)
        is_missing = info is not None and info.exit_code == _NOT_FOUND and not entrypoint
        seen = f"its first process has ended{': the image has no `sh` on its PATH' if is_missing else ''}"
        raise describe_failure(context.engine, container_id, seen, Deadline(0.0), entrypoint=entrypoint)
    for option in find_unenforced(planned.container, info):
        raise describe_unenforced(option)
    if not all(map(info.ports.get, ports)):
        msg = f"container {info.name} has no published port on network {info.network_mode!r}"
        raise EngineError(msg, hint="use a bridge network that can publish: one with IPv4, and no internal one")
    return info


def _look_at_ports(context: Context, container_id: str, ports: Sequence[str]) -> ContainerInfo | None:
    """The started container; an engine may show its published ports a moment later."""
    info: ContainerInfo | None = None
    for attempt in attempts(Deadline(_PORT_SECONDS), NotYetError):
        with attempt:
            info = context.engine.inspect(container_id)
            if info is not None and info.running and not all(map(info.ports.get, ports)):
                raise NotYetError
    return info


@contextlib.contextmanager
def removed_on_failure(context: Context, planned: SessionPlan) -> Iterator[None]:
    """Whatever goes wrong inside, remove the container of this start, if there is one."""
    with leaves(f"container {planned.name}"):
        try:
            yield
        except BaseException:
            with shielded():
                _remove_own(context, planned)
            raise


def _remove_own(context: Context, planned: SessionPlan) -> None:
    # By name, since a create that failed returned no id; by its labels, since another launcher may hold the
    # name by now.
    name = planned.name
    try:
        info = context.engine.inspect(name)
        if info is not None and planned.labels.is_of(info.labels, info.name):
            context.engine.remove(info.id)
    except EngineError as error:  # what the caller gets is why the start failed
        _log.warning("container %s may be left, %s removes it: %s", name, context.removal(name), error)
        note_left(f"container {name}")
