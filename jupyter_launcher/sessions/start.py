"""Starting a session. ``start_session`` reads top to bottom along the flow of a start."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jupyter_launcher.acts import leaves
from jupyter_launcher.engine.types import ContainerInfo
from jupyter_launcher.errors import LauncherError, PipelineDirError, SessionConflictError, StartCancelledError
from jupyter_launcher.gateway.find import resolve_gateway
from jupyter_launcher.host.look import Look
from jupyter_launcher.host.mounts import check_mount_points
from jupyter_launcher.host.pipeline_dir import PipelineDir, check_home, check_mount_sources, resolve_pipeline_dir
from jupyter_launcher.host.process import process_mark
from jupyter_launcher.host.volumes import DEFAULT_USER, prepare_volume
from jupyter_launcher.models import Gateway, Phase, Timings, Volume
from jupyter_launcher.sessions.context import Context
from jupyter_launcher.sessions.join import (
    find_or_clear,
    find_session,
    join_starting,
    refuse_lost_directory,
    refuse_other_token,
)
from jupyter_launcher.sessions.kernels.unit import check_unit, make_unit, remove_lost_unit, remove_unit_of
from jupyter_launcher.sessions.make import check_limits, make_server, removed_on_failure, warn_unlimited
from jupyter_launcher.sessions.phases import PhaseReporter, StartLimit
from jupyter_launcher.sessions.session import Session
from jupyter_launcher.spec.checks import check_image, check_user
from jupyter_launcher.spec.engine_options import check_groups
from jupyter_launcher.spec.labels import container_name
from jupyter_launcher.spec.options import SessionSpec
from jupyter_launcher.spec.plan import SessionPlan, plan
from jupyter_launcher.waiting import Deadline, NotYetError, attempts

__all__ = [
    "StartRequest",
    "cancelled_start",
    "check_request",
    "find_gateway",
    "plan_session",
    "remove_session",
    "start_checked",
    "start_session",
]

_NOT_COMPARED = (
    "the session keeps the secrets that it was started with; nobody could compare them with the given ones",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRequest:
    """What a start needs besides the options that make a session what it is.

    Attributes:
        pipeline_dir: as the caller gave it.
        user: as the caller gave it; None: the directory's owner.
        session_id: as the caller gave it; None: one is made up, so there is nothing to join.
        image: of the server.
        pull: when to pull or build it.
    """

    pipeline_dir: str | os.PathLike[str] | Volume
    user: str | int | None
    session_id: str | None
    image: str
    pull: str


def start_session(context: Context, limit: StartLimit, request: StartRequest, options: Mapping[str, Any]) -> Session:
    """Join the session of this id, or make one.

    Raises:
        LauncherError: as ``Launcher.start`` says. Nothing that was made stays behind.
    """
    return start_checked(context, limit, request, check_request(context, request, options))


def start_checked(
    context: Context, limit: StartLimit, request: StartRequest, checked: tuple[SessionSpec, str]
) -> Session:
    """As :func:`start_session`, once :func:`check_request` has found nothing wrong."""
    spec, warning = checked
    reporter = context.reporter.for_session(spec.session_id)
    if warning:
        reporter.warn(Phase.CONTAINER, warning)
    with limit.slot(Deadline(context.timeouts.image + context.timeouts.start)):
        gateway = find_gateway(context, spec, reporter)
        for attempt in attempts(Deadline(context.timeouts.start), NotYetError):
            with attempt:
                existing = None if request.session_id is None else find_or_clear(context, spec)
                if existing is None:
                    if spec.kernels is not None and request.session_id is not None:
                        remove_lost_unit(context, spec.session_id)
                    session = _make_session(context, spec, gateway, request, reporter)
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
    hint = f"raise timeouts.start, or try {context.removal(name)}"
    raise SessionConflictError(msg, hint=hint, session_id=spec.session_id)


def remove_session(context: Context, session: Session) -> None:
    """Undo a start that nobody waited for: a session that was made is removed, one that was joined stays."""
    if not session.joined:
        with leaves(f"container {session.container_name}"):
            context.engine.remove(session.container_id)
        if session.gateway is not None:
            with leaves(f"container {session.gateway.name}"):
                remove_unit_of(context.engine, session.gateway)


def cancelled_start(session_id: str, left: str) -> StartCancelledError:
    """The error for a start whose ``cancel`` was set; ``left``: what may be left."""
    what = f"session {session_id}" if session_id else "a session"
    msg = f"the start of {what} was cancelled{f'; {left}' if left else ''}"
    hint = "remove what is left, or let Launcher.reap do it" if left else "start it again if it is wanted"
    return StartCancelledError(msg, hint=hint, session_id=session_id)


def check_request(context: Context, request: StartRequest, options: Mapping[str, Any]) -> tuple[SessionSpec, str]:
    """Check everything that can be checked before anything is made. The second is a warning, or empty.

    Raises:
        OptionError, PipelineDirError: an option, the directory, or the source of a mount cannot be used.
        LauncherError: as ``Launcher.start`` says.
    """
    check_image(request.image, "image")
    # With a volume they are looked at twice, and an iterator would have nothing more the second time.
    options = {name: tuple(given) if isinstance(given, Iterator) else given for name, given in options.items()}
    context.check_given(options)

    def ensure_image() -> None:  # where a container of it looks at the engine's host
        context.ensure_image(request.image, request.pull, context.reporter)

    def find_look_image() -> str:
        if request.session_id is not None:  # a session that runs is joined without the image of a new one
            with contextlib.suppress(LauncherError):
                found, _ = find_session(context, request.session_id)
                if found.running:
                    return found.image
        ensure_image()
        return request.image

    session_id = uuid.uuid4().hex[:12] if request.session_id is None else request.session_id

    def check_options(folder: PipelineDir) -> SessionSpec:
        spec = SessionSpec.from_options(
            session_id=session_id,
            namespace=context.namespace,
            pipeline_dir=folder.path,
            user=folder.user,
            image=request.image,
            pipeline_dir_id=folder.identity,
            **{**options, "host_ip": context.address.choose_publish_ip(options["host_ip"])},
        )
        check_limits(context.engine.traits, spec)
        context.check_mounts(spec.mounts)
        check_mount_sources(context.address, spec.mounts, context.rules)
        check_home(context.address, spec.home, context.rules)
        if spec.kernels is not None:
            check_unit(context, spec.kernels)
        return spec

    if isinstance(request.pipeline_dir, Volume):  # a look makes it where it is not there, so the rest is checked first
        user = DEFAULT_USER if request.user is None else check_user(request.user, "user")
        user = f"{user}:{user}" if user.isdecimal() else user  # the group is only known later
        check_options(PipelineDir(path=request.pipeline_dir, user=user))
    try:
        folder = resolve_pipeline_dir(
            context.engine,
            context.address,
            request.pipeline_dir,
            request.user,
            image=find_look_image,
            rules=context.rules,
            groups=check_groups(options.get("groups", ()), "groups"),
        )
    except PipelineDirError as error:
        if request.session_id is not None:
            refuse_lost_directory(context, request.session_id, error)
        raise
    spec = check_options(folder)
    check_mount_points(context.engine, context.address, spec, ensure_image=ensure_image)
    return spec, folder.warning


def find_gateway(context: Context, spec: SessionSpec, reporter: PhaseReporter) -> Gateway | None:
    """The gateway that is there, and was asked for; None: none was."""
    if spec.kernels is not None:  # one is made with the session
        return None
    with reporter.phase(Phase.GATEWAY):
        if spec.gateway is None:
            return None
        if context.swarm is not None:
            from jupyter_launcher.gateway.service import resolve_service  # only a swarm needs it

            network = spec.network or context.swarm.swarm.network
            return resolve_service(context.swarm.engine, spec.gateway, network)
        return resolve_gateway(context.engine, spec.gateway, spec.network, seconds=context.timeouts.gateway)


def _make_session(
    context: Context, spec: SessionSpec, gateway: Gateway | None, request: StartRequest, reporter: PhaseReporter
) -> Session | None:
    """A new session; None when another launcher took the name in the meantime."""
    start_id = uuid.uuid4().hex
    if spec.kernels is not None:  # then nobody pulls it while a gateway waits for its session
        context.ensure_image(spec.image, request.pull, reporter)
    with make_unit(context, spec, request.pipeline_dir, start_id, request.pull, reporter) as unit:
        gateway = gateway if unit is None else unit.gateway
        pull = request.pull if unit is None else "missing"
        planned = plan_session(context, spec, gateway, pull, reporter, start_id)
        with removed_on_failure(context, planned):
            made = make_server(context, planned, gateway, reporter)
            if made is None:
                return None
            info, server = made
            if unit is not None:
                unit.bind(info)
            _warn(context, planned, info, server.warnings, reporter)
            context.servers.remember(info, server.info)
            session = Session(
                info,
                planned.labels,
                server.info,
                context=context,
                timings=Timings.from_phases(reporter.seconds),
                warnings=tuple(reporter.warnings),
                joined=False,
            )
            if unit is not None:
                unit.is_kept = True
            return session


def plan_session(
    context: Context,
    spec: SessionSpec,
    gateway: Gateway | None,
    pull: str,
    reporter: PhaseReporter,
    start_id: str | None = None,
) -> SessionPlan:
    """All that a new session needs, once its image is there, and its home is its user's.

    ``start_id``: unique to this start; None: one is made up.
    """
    context.ensure_image(spec.image, pull, reporter)
    if isinstance(spec.home, Volume):
        look = Look(engine=context.engine, address=context.address, image=spec.image)
        prepare_volume(look, spec.home, spec.user, context.rules)
    planned = plan(
        spec,
        gateway,
        network=context.address.choose_network(gateway.network if gateway else spec.network),
        start_id=uuid.uuid4().hex if start_id is None else start_id,
        owner=context.owner,
        process=process_mark(),
        proxies=context.engine.proxies,
    )
    return planned if context.swarm is None else context.swarm.adapt(planned)


def _warn(
    context: Context, planned: SessionPlan, info: ContainerInfo, seen: tuple[str, ...], reporter: PhaseReporter
) -> None:
    """Report what works, but not as it was asked for."""
    for text in seen:
        reporter.warn(Phase.SERVER, text)
    if context.swarm is not None:
        for text in context.swarm.find_warnings(planned):
            reporter.warn(Phase.CONTAINER, text)
    elif planned.pipeline_dir_id is None and not isinstance(planned.labels.pipeline_dir, Volume):
        reporter.warn(Phase.CONTAINER, "nobody could see whether the mounted directory is the one that was looked at")
    warn_unlimited(context, info, reporter)
