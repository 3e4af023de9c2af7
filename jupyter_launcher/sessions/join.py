"""Finding a session that is there, and joining it."""

from __future__ import annotations

import os
import time
from pathlib import Path

from jupyter_launcher.engine.types import ContainerInfo
from jupyter_launcher.errors import (
    EngineUnavailableError,
    ExecError,
    LauncherError,
    PipelineDirError,
    ServerError,
    ServerNotRunningError,
    SessionConflictError,
    SessionNotFoundError,
    SessionUnreadableError,
)
from jupyter_launcher.host.pipeline_dir import look_identity
from jupyter_launcher.host.process import is_process_dead
from jupyter_launcher.models import StopMethod, StopReport, Timings
from jupyter_launcher.server.api import JupyterApi, NoAnswerError
from jupyter_launcher.server.failures import refuse_unreachable
from jupyter_launcher.server.process import read_server_info, was_server_started
from jupyter_launcher.server.ready import wait_until_ready
from jupyter_launcher.sessions.context import Context
from jupyter_launcher.sessions.kernels.unit import remove_lost_unit, warn_lost_unit
from jupyter_launcher.sessions.running import refuse_paused
from jupyter_launcher.sessions.session import Session
from jupyter_launcher.sessions.stop import remove_containers, stop_session
from jupyter_launcher.spec.checks import check_name
from jupyter_launcher.spec.labels import SessionLabels, container_name
from jupyter_launcher.spec.options import SessionSpec, differences
from jupyter_launcher.waiting import Deadline, NotYetError, attempts, within

__all__ = [
    "find_or_clear",
    "find_session",
    "get_session",
    "join_starting",
    "refuse_lost_directory",
    "refuse_other_token",
    "stop_named",
]

# What another launcher has to do between its create and its exec lasts a second or two on a busy engine.
# Where nothing moves for this long, that launcher is gone.
_OTHERS_STEP = 10.0
_GET_SECONDS = 10.0
_PROBE_SECONDS = 2.0
_CAUSE_SECONDS = 2.0  # to find out why a session does not answer


def find_session(context: Context, session_id: str) -> tuple[ContainerInfo, SessionLabels]:
    """The container of a session, in whatever state it is, and its labels.

    Raises:
        OptionError: ``session_id`` cannot be an id.
        SessionNotFoundError: this namespace has no container of this session's name.
        SessionUnreadableError: it has, and its labels cannot be read.
    """
    name = container_name(context.namespace, check_name(session_id, "session_id"))
    info = context.engine.inspect(name)
    if info is None or not SessionLabels.is_session(info.labels, info.name):
        raise _no_session(context, session_id)
    return info, _read_labels(context, info)


def _read_labels(context: Context, info: ContainerInfo) -> SessionLabels:
    """The labels of a session's container, and of its record where it is from a pool.

    Raises:
        SessionUnreadableError: they cannot be read.
    """
    name = SessionLabels.find_record(info.labels)
    record = context.engine.inspect(name) if name else None
    return SessionLabels.of_session(info.labels, info.name, None if record is None else record.labels)


def _refuse_lost_record(info: ContainerInfo, labels: SessionLabels) -> None:
    """Refuse a session of which nobody knows any more what was asked for.

    Raises:
        SessionUnreadableError: its record was removed.
    """
    if labels.has_record or not info.running:
        return
    msg = (
        f"session {labels.session_id} is from a pool, and container {labels.record_name}, which held its directory, "
        "its labels and its lease, was removed"
    )
    hint = (
        "`docker container prune` removes it; the session runs on, and can be listed and stopped: start it again then"
    )
    raise SessionUnreadableError(
        msg, hint=hint, session_id=labels.session_id, container_name=info.name, label="pipeline-dir"
    )


def _no_session(context: Context, session_id: str) -> SessionNotFoundError:
    msg = f"there is no session {session_id!r} in namespace {context.namespace!r}"
    hint = "see which sessions there are: `jupyter-launcher list`, or Launcher.list()"
    claims = context.engine.containers(*SessionLabels.filters(context.namespace, session_id))
    others = [item for item in claims if item.name != container_name(context.namespace, session_id)]
    if not others:
        return SessionNotFoundError(msg, hint=hint, session_id=session_id)
    msg += f"; container {others[0].name} ({others[0].id[:12]}) claims this id in its labels, under another name"
    hint = f"if it is a leftover, remove it with {context.removal(others[0].name, others[0].id[:12])}"
    return SessionNotFoundError(msg, hint=hint, session_id=session_id, container_id=others[0].id)


def stop_named(context: Context, session_id: str) -> StopReport:
    """Stop a session in whatever state it is; where its container is gone, what is left of its own gateway is removed.

    Raises:
        LauncherError: as :func:`find_session` and :func:`stop_session`.
    """
    started = time.monotonic()
    try:
        found = find_session(context, session_id)
    except SessionNotFoundError:
        kernels = None if context.swarm is not None else remove_lost_unit(context, session_id)
        if kernels is None:
            raise
        seconds = time.monotonic() - started
        gone = StopMethod.ALREADY_STOPPED
        return StopReport(method=gone, kernels=kernels, kernels_gone=kernels, seconds=seconds)
    return stop_session(context, *found)


def find_or_clear(context: Context, spec: SessionSpec) -> tuple[ContainerInfo, SessionLabels] | None:
    """The container of this session, in which a server runs or is about to, and its labels.

    None when there is none, or when it was removed: containers that have ended or were never started are.

    Raises:
        SessionConflictError: the name is another's, its labels cannot be read, or the session runs with other
            options.
        ExecError: nobody can tell whether a server runs in it. It is left alone.
        EngineUnavailableError: the same, because its node is away.
    """
    engine = context.engine
    info = engine.inspect(container_name(spec.namespace, spec.session_id))
    if info is None:
        return None
    labels = _read_own_labels(context, info, spec)
    # A launcher that is seen dead does nothing more, and one that is seen alive may need all of its time.
    deadline = Deadline(_patience(context, info, labels))
    if info.state == "created":
        info = _wait_for_its_start(context, info, deadline)
    if info is not None and info.running:
        _refuse_other_options(info, labels, spec)
        refuse_paused(info, labels)
        refuse_unreachable(info, labels.session_id)
        if was_server_started(engine, info.id, deadline):
            _refuse_other_directory(info, labels, spec)
            return info, labels
        _refuse_unknown_server(context, info, labels)
    if info is not None:
        remove_containers(engine, info.id, labels)
    return None


def _patience(context: Context, info: ContainerInfo, labels: SessionLabels) -> float:
    """Seconds that the launcher which created a container may still need."""
    dead = is_process_dead(labels.process)
    if dead:
        return 0.0
    age = 0.0 if dead is False else context.engine.now() - info.created
    return max(_OTHERS_STEP if dead is None else 0.0, context.timeouts.start - age)


def _refuse_unknown_server(context: Context, info: ContainerInfo, labels: SessionLabels) -> None:
    """Refuse a running container in which no server was started, and in which one answers or may answer."""
    seen = "answers"
    try:
        deadline = Deadline(_PROBE_SECONDS)
        JupyterApi(context.server_url(info, labels)).request("GET", "api", deadline, authenticated=False)
    except NoAnswerError as error:
        if str(error) != TimeoutError.__name__:
            return
        seen = "takes connections" if error.connected else "may run (no connection to its port came about in time)"
    msg = f"in session {labels.session_id} a server {seen}, and nobody could see that it was started by a launcher"
    hint = f"stop the session, or look what runs in container {info.name}"
    raise SessionConflictError(msg, hint=hint, session_id=labels.session_id, container_id=info.id)


def _read_own_labels(context: Context, info: ContainerInfo, spec: SessionSpec) -> SessionLabels:
    """The labels of the container that has this session's name."""
    msg = f"the name {info.name} belongs to container {info.id[:12]}"
    hint = f"remove it with {context.removal(info.name, info.id[:12])} if nobody needs it, or take another session_id"
    seen = ", which is no session of ours"
    if SessionLabels.is_session(info.labels, info.name):
        try:
            labels = _read_labels(context, info)
            _refuse_lost_record(info, labels)
        except SessionUnreadableError as error:
            seen = f", whose labels cannot be read: {error.message}"
        else:
            return labels
    raise SessionConflictError(msg + seen, hint=hint, session_id=spec.session_id, container_id=info.id)


def _wait_for_its_start(context: Context, info: ContainerInfo, deadline: Deadline) -> ContainerInfo | None:
    """The container once another launcher has started it; as it is when none does."""
    latest: ContainerInfo | None = info
    for attempt in attempts(deadline, NotYetError):
        with attempt:
            latest = context.engine.inspect(info.id)
            if latest is not None and latest.state == "created":
                raise NotYetError
    return latest


def _refuse_other_options(info: ContainerInfo, labels: SessionLabels, spec: SessionSpec) -> None:
    found = differences(labels.options, spec.to_options())
    if found:
        msg = f"session {spec.session_id} already runs with other options: {'; '.join(found)}"
        hint = "stop it first, or take another session_id"
        raise SessionConflictError(msg, hint=hint, session_id=spec.session_id, container_id=info.id, differences=found)


def refuse_other_token(session: Session | None, spec: SessionSpec) -> None:
    """Refuse a session that was joined, and has another token than the given one.

    Raises:
        SessionConflictError: it has.
    """
    if session is None or spec.token is None or session.server_info.token == spec.token.text:
        return
    msg = f"session {session.id} already runs with another token"
    raise SessionConflictError(
        msg,
        hint="stop it first, give the token that it has, or take another session_id",
        session_id=session.id,
        container_id=session.container_id,
        differences=("token is another one",),
    )


def _refuse_other_directory(info: ContainerInfo, labels: SessionLabels, spec: SessionSpec) -> None:
    """Refuse a session that has another directory than the one which is at its path by now."""
    before, now = labels.pipeline_dir_id, spec.pipeline_dir_id
    if before and now and before != now:
        raise _lost_directory(info, labels, "the session does not see the one that is there now")


def refuse_lost_directory(context: Context, session_id: str, refused: PipelineDirError) -> None:
    """Refuse a start whose directory cannot be used, because a session of this id runs with what was there before.

    Raises:
        SessionConflictError: such a session runs.
    """
    path = Path(os.path.realpath(Path(refused.path).expanduser()))
    try:
        info, labels = find_session(context, session_id)
    except LauncherError:
        return  # what is wrong with the directory is the better answer
    if not (info.running and labels.has_record) or labels.pipeline_dir not in (
        path,
        context.address.find_on_host(path),
    ):
        return
    now = look_identity(context.address, labels.pipeline_dir)
    if labels.pipeline_dir_id and now not in (None, labels.pipeline_dir_id):
        raise _lost_directory(info, labels, f"there is none now that can be used: {refused.message}") from refused


def _lost_directory(info: ContainerInfo, labels: SessionLabels, now: str) -> SessionConflictError:
    msg = (
        f"session {labels.session_id} runs with the directory that was at {labels.pipeline_dir} when it started; it "
        f"was deleted or replaced since then, and {now}"
    )
    hint = "stop the session, and start it again with the new directory"
    return SessionConflictError(msg, hint=hint, session_id=labels.session_id, container_id=info.id)


def get_session(context: Context, session_id: str) -> Session:
    """A session that is there, within 10 s; while it is younger than the time of a start, within that.

    Raises:
        LauncherError: as :func:`find_session` and :func:`join_session`.
    """
    info, labels = find_session(context, session_id)
    _refuse_lost_record(info, labels)
    refuse_paused(info, labels)
    refuse_unreachable(info, labels.session_id)
    longest = context.timeouts.start
    deadline = Deadline(min(_GET_SECONDS, longest))
    try:
        with within(Deadline(deadline.seconds + _CAUSE_SECONDS)):
            return join_session(context, info, labels, deadline)
    except (ServerError, ExecError, EngineUnavailableError):
        left = longest - (context.engine.now() - info.created)
        if not deadline.expired() or left <= 0:
            raise
        return join_session(context, info, labels, Deadline(min(left, longest - deadline.elapsed())))


def join_session(
    context: Context, info: ContainerInfo, labels: SessionLabels, deadline: Deadline, warnings: tuple[str, ...] = ()
) -> Session:
    """A session whose container is there, once its server answers: what ``start`` and ``get`` have in common.

    A server that has answered here before is asked with the token that it had then, and no command is run for that.

    Raises:
        SessionNotFoundError: the container was removed meanwhile.
        ServerNotRunningError: no server runs in it.
        ServerError: its server does not answer as it should.
        ExecError: nobody can tell, because no command runs in the container, although the container does.
    """
    engine = context.engine
    warnings = (*warnings, *warn_lost_unit(engine, labels))
    known = context.servers.find(info)
    if known is not None:
        api = JupyterApi(context.server_url(info, labels), known.token)
        takes_token = api.takes_token(deadline.shortened(_PROBE_SECONDS))
        if takes_token:
            return Session(info, labels, known, context=context, timings=Timings(), warnings=warnings, joined=True)
        if takes_token is False:
            context.servers.forget(info.id)
    try:
        server_info = read_server_info(engine, info.id, deadline)
    except ServerError as error:
        latest = engine.inspect(info.id)
        if latest is None:
            raise _no_session(context, labels.session_id) from error
        if latest.running and not isinstance(error, ServerNotRunningError):  # nobody has seen that none runs
            raise
        memory = ", out of memory" if latest.oom_killed else ""
        msg = (
            f"no server runs in session {labels.session_id} ({latest.state}, exit code {latest.exit_code}{memory}): "
            f"{error.message}"
        )
        raise ServerNotRunningError(
            msg,
            hint="start it again with the same session_id, or stop it",
            exit_code=None if latest.running else latest.exit_code,
            oom_killed=latest.oom_killed,
            log_tail=engine.log_tail(info.id),
            session_id=labels.session_id,
        ) from error
    api = JupyterApi(context.server_url(info, labels), server_info.token)
    wait_until_ready(api, engine, info.id, deadline, is_new=False)
    context.servers.remember(info, server_info)
    return Session(info, labels, server_info, context=context, timings=Timings(), warnings=warnings, joined=True)


def join_starting(
    context: Context, info: ContainerInfo, labels: SessionLabels, warnings: tuple[str, ...]
) -> Session | None:
    """The session that another launcher has started, or is just starting; None when that start failed."""
    try:
        return join_session(context, info, labels, Deadline(context.timeouts.start), warnings)
    except (ServerError, SessionNotFoundError):
        latest = context.engine.inspect(info.id)
        if latest is not None and latest.running:
            raise
        return None
