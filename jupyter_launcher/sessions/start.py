"""Starting a session. ``start_session`` reads top to bottom along the flow of a start."""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jupyter_launcher.acts import leaves, note_left, shielded
from jupyter_launcher.engine.types import ContainerInfo
from jupyter_launcher.errors import (
    EngineError,
    SessionConflictError,
)
from jupyter_launcher.gateway.find import resolve_gateway
from jupyter_launcher.host.look import Look
from jupyter_launcher.host.process import process_mark
from jupyter_launcher.host.volumes import prepare_volume
from jupyter_launcher.models import Gateway, Phase, Timings, Volume
from jupyter_launcher.server.api import JupyterApi
from jupyter_launcher.server.process import (
    StartedServer,
    describe_closed_directory,
    describe_failure,
    renew_lease,
    start_server,
)
from jupyter_launcher.server.ready import check_kernelspecs, check_server_info, wait_until_ready
from jupyter_launcher.sessions.context import Context
from jupyter_launcher.sessions.join import (
    find_or_clear,
    join_starting,
    refuse_other_token,
)
from jupyter_launcher.sessions.phases import PhaseReporter, StartLimit
from jupyter_launcher.sessions.refusals import (
    LIMITS_HINT,
    StartRequest,
    cancelled_start,
    check_request,
    describe_refusal,
    describe_unenforced,
)
from jupyter_launcher.sessions.session import Session
from jupyter_launcher.spec.container import PORT_KEY, find_unenforced
from jupyter_launcher.spec.labels import container_name
from jupyter_launcher.spec.options import SessionSpec
from jupyter_launcher.spec.plan import SessionPlan, plan
from jupyter_launcher.waiting import Deadline, NotYetError, attempts

__all__ = [
    "StartRequest",
    "cancelled_start",
    "check_request",
    "find_gateway",
    "make_server",
    "plan_session",
    "remove_session",
    "removed_on_failure",
    "start_session",
]

_log = logging.getLogger("jupyter_launcher")

_PORT_SECONDS = 1.0
_NOT_FOUND = 127  # the exit code of a container whose program is not there
_NOT_COMPARED = (
    "the session keeps the secrets that it was started with; nobody could compare them with the given ones",
)


def start_session(context: Context, limit: StartLimit, request: StartRequest, options: Mapping[str, Any]) -> Session:
    """Join the session of this id, or make one.

    Raises:
        LauncherError: as ``Launcher.start`` says. Nothing that was made stays behind.
    """
    spec, warning = check_request(context, request, options)
    reporter = context.reporter.for_session(spec.session_id)
    if warning:
        reporter.warn(Phase.CONTAINER, warning)
    with limit.slot(Deadline(context.timeouts.image + context.timeouts.start)):
        gateway = find_gateway(context, spec, reporter)
        for attempt in attempts(Deadline(context.timeouts.start), NotYetError):
            with attempt:
                existing = None if request.session_id is None else find_or_clear(context, spec)
                if existing is None:
                    session = _make_session(context, spec, gateway, request.pull, reporter)
                else:
                    session = join_starting(context, *existing, _NOT_COMPARED if spec.secrets.values else ())
                    refuse_other_token(session, spec)
                if session is None:  # another launcher took the name, or its start failed: look again
                    raise NotYetError
                if session.joined:
                    for text in session.warnings:
                        reporter.warn(Phase.SERVER, text)
                return session
    name = container_name(spec.namespace, spec.session_id)
    msg = (
        f"session {spec.session_id} could neither be joined nor started within {context.timeouts.start:g} s: container "
        f"{name} does not answer, or cannot be removed"
    )
    hint = f"raise timeouts.start, or try `docker rm -f {name}`"
    raise SessionConflictError(msg, hint=hint, session_id=spec.session_id)


def remove_session(context: Context, session: Session) -> None:
    """Undo a start that nobody waited for: a session that was made is removed, one that was joined stays."""
    if not session.joined:
        with leaves(f"container {session.container_name}"):
            context.engine.remove(session.container_id)


def find_gateway(context: Context, spec: SessionSpec, reporter: PhaseReporter) -> Gateway | None:
    """The gateway that was asked for; None: none was."""
    with reporter.phase(Phase.GATEWAY):
        if spec.gateway is None:
            return None
        return resolve_gateway(context.engine, spec.gateway, spec.network, seconds=context.timeouts.gateway)


def _make_session(
    context: Context, spec: SessionSpec, gateway: Gateway | None, pull: str, reporter: PhaseReporter
) -> Session | None:
    """A new session; None when another launcher took the name in the meantime."""
    planned = plan_session(context, spec, gateway, pull, reporter)
    with removed_on_failure(context, planned):
        made = make_server(context, planned, gateway, reporter)
        if made is None:
            return None
        info, server = made
        _warn(context, planned, info, server.warnings, reporter)
        return Session(
            info,
            planned.labels,
            server.info,
            context=context,
            timings=Timings.from_phases(reporter.seconds),
            warnings=tuple(reporter.warnings),
            joined=False,
        )


def plan_session(
    context: Context, spec: SessionSpec, gateway: Gateway | None, pull: str, reporter: PhaseReporter
) -> SessionPlan:
    """All that a new session needs, once its image is there, and its home is its user's."""
    context.ensure_image(spec.image, pull, reporter)
    if isinstance(spec.home, Volume):
        look = Look(engine=context.engine, address=context.address, image=spec.image)
        prepare_volume(look, spec.home, spec.user, context.rules)
    return plan(
        spec,
        gateway,
        network=context.address.choose_network(gateway.network if gateway else spec.network),
        start_id=uuid.uuid4().hex,
        owner=context.owner,
        process=process_mark(),
        proxies=context.engine.proxies,
    )


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
    ports = (PORT_KEY, *config.ports)
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
        _log.warning("container %s may be left, `docker rm -f %s` removes it: %s", name, name, error)
        note_left(f"container {name}")


def _warn(
    context: Context, planned: SessionPlan, info: ContainerInfo, seen: tuple[str, ...], reporter: PhaseReporter
) -> None:
    """Report what works, but not as it was asked for."""
    for text in seen:
        reporter.warn(Phase.SERVER, text)
    if planned.pipeline_dir_id is None and not isinstance(planned.labels.pipeline_dir, Volume):
        reporter.warn(Phase.CONTAINER, "nobody could see whether the mounted directory is the one that was looked at")
    if context.engine.traits.limits_pids is False or info.pids == 0:
        reporter.warn(Phase.CONTAINER, f"the engine does not enforce the limit of processes: {LIMITS_HINT}")
