"""A server that was started before anybody asked for it becomes a session: three steps, and how they are undone."""

from __future__ import annotations

import contextlib
import functools
import logging
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from jupyter_launcher.acts import leaves, note_left, shielded
from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.engine.types import ContainerInfo
from jupyter_launcher.errors import EngineError
from jupyter_launcher.host.process import process_mark
from jupyter_launcher.models import Gateway, Phase, Timings
from jupyter_launcher.server.api import JupyterApi
from jupyter_launcher.server.inside import late_mount
from jupyter_launcher.server.process import StartedServer
from jupyter_launcher.server.ready import check_kernelspecs, wait_until_ready
from jupyter_launcher.sessions.context import Context
from jupyter_launcher.sessions.make import warn_unlimited
from jupyter_launcher.sessions.phases import PhaseReporter
from jupyter_launcher.sessions.session import Session
from jupyter_launcher.spec.container import record_config
from jupyter_launcher.spec.labels import SessionLabels, ToolLabels
from jupyter_launcher.spec.options import SessionSpec
from jupyter_launcher.waiting import Deadline
from jupyter_launcher.warm.mount import Mounter, RefusedError

__all__ = ["NotClaimedError", "WarmServer", "claim_server"]

_log = logging.getLogger("jupyter_launcher")

_READY_SECONDS = 10.0
_TAKEN = "somebody else has claimed the server"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WarmServer:
    """A server of a pool that waits for its directory.

    Attributes:
        info: of its container, with the name that it has until it is claimed.
        labels: of the start; with ``warm``.
        server: what it says of itself.
        gateway: as it was resolved.
        image_id: of the image that it was made from.
        lease: seconds of the lease that it has until it is claimed.
        made: when it was ready, by the monotonic clock.
    """

    info: ContainerInfo
    labels: SessionLabels
    server: StartedServer
    gateway: Gateway | None
    image_id: str | None
    lease: int
    made: float

    def age(self) -> float:
        """Seconds since it was ready."""
        return time.monotonic() - self.made


class NotClaimedError(Exception):
    """The session has to be started as any other. Raised inside this package, never seen outside.

    Attributes:
        reason: what keeps it from being claimed; empty: somebody has the session's id, so there is nothing to tell.
        lasts: no server of the pool can be claimed.
        is_taken: the server is somebody else's, so it is left alone.
    """

    def __init__(self, reason: str, *, lasts: bool = False, is_taken: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.lasts = lasts
        self.is_taken = is_taken


def claim_server(
    context: Context,
    warm: WarmServer,
    spec: SessionSpec,
    mounter: Mounter,
    image: str,
    reporter: PhaseReporter,
) -> tuple[Session, SessionLabels]:
    """Make a session of a server that waits.

    First a record is created, whose name is of that server alone: of two that want it, one gets HTTP 409. Then the
    directory is mounted, which guards it inside against a second use. Last, its container gets the session's name: of
    two sessions of one id, one gets HTTP 409.

    Args:
        context: of the launcher.
        warm: the server.
        spec: of the session.
        mounter: of directories.
        image: for the record, of which nothing runs.
        reporter: of the session.

    Raises:
        NotClaimedError: it could not be made, and nothing is left of that server, unless somebody else has it.
    """
    labels = replace(
        SessionLabels.from_spec(spec, warm.gateway, warm.labels.start_id, context.owner, process_mark()),
        warm=warm.labels.warm,
    )
    with reporter.phase(Phase.CLAIM):
        _claim(context, warm, spec, labels, mounter, image)
    for text in warm.server.warnings:
        reporter.warn(Phase.SERVER, text)
    warn_unlimited(context, warm.info, reporter)
    info = replace(warm.info, name=labels.name)
    context.servers.remember(info, warm.server.info)
    session = Session(
        info,
        labels,
        warm.server.info,
        context=context,
        timings=Timings.from_phases(reporter.seconds),
        warnings=tuple(reporter.warnings),
        joined=False,
    )
    return session, labels


def _claim(
    context: Context, warm: WarmServer, spec: SessionSpec, labels: SessionLabels, mounter: Mounter, image: str
) -> None:
    engine, claim, names = context.engine, uuid.uuid4().hex, {warm.info.name}
    if not isinstance(spec.pipeline_dir, Path) or spec.pipeline_dir_id is None:
        msg = "nobody could look whether the directory is the one that was asked for"
        raise NotClaimedError(msg)
    config = record_config(labels, image, warm.info.id, claim, spec.labels)
    with _removed_on_failure(engine, warm, labels, claim, names, mounter.later):
        try:
            engine.create(config, labels.record_name)
        except EngineError as error:
            if error.status == 409:
                raise NotClaimedError(_TAKEN, is_taken=True) from error
            raise
        try:
            mounter.mount(warm.info, spec.pipeline_dir, spec.pipeline_dir_id, lease=warm.lease, length=spec.lease or 0)
        except RefusedError as error:
            if error.code == late_mount.TAKEN:  # and its record was removed
                raise NotClaimedError(_TAKEN, is_taken=True) from error
            lasts = error.code == late_mount.IMPOSSIBLE
            if error.code == late_mount.OBSTRUCTED:  # by the image, unless it is a session
                info = engine.inspect(warm.info.id)
                lasts = info is not None and info.name == warm.info.name
            msg = f"the directory was not mounted: {error}"
            raise NotClaimedError(msg, lasts=lasts) from error
        names.add(labels.name)
        try:
            engine.rename(warm.info.id, labels.name)
        except EngineError as error:
            raise (NotClaimedError("") if error.status == 409 else error) from error
        api = JupyterApi(context.server_url(warm.info, labels), warm.server.info.token)
        wait_until_ready(api, engine, warm.info.id, Deadline(min(_READY_SECONDS, context.timeouts.start)))
        if warm.gateway is not None:
            check_kernelspecs(api, warm.gateway, engine, warm.info, context.timeouts.gateway)


@contextlib.contextmanager
def _removed_on_failure(
    engine: Engine,
    warm: WarmServer,
    labels: SessionLabels,
    claim: str,
    names: Collection[str],
    later: Callable[[Callable[[], object]], object],
) -> Iterator[None]:
    """Whatever goes wrong inside, remove the server's container and its record, unless those are somebody else's.

    ``names``: those that the container may have, unless somebody else has claimed it. ``later``: called with what is to
    be done once more, because the engine did not answer.
    """
    with leaves(f"containers {warm.info.name} and {labels.record_name}"):
        try:
            yield
        except BaseException as error:
            is_taken = isinstance(error, NotClaimedError) and error.is_taken
            undo = functools.partial(_undo, engine, warm, labels, claim, () if is_taken else names)
            with shielded():
                try:
                    undo()
                except EngineError as failure:  # what the caller gets is why it was not claimed
                    left = f"containers {warm.info.id[:12]} and {labels.record_name}"
                    _log.warning("%s may be left: %s", left, failure)
                    note_left(left)
                    later(functools.partial(_undo_unless_joined, engine, warm, labels, undo))
            if isinstance(error, Exception) and not isinstance(error, NotClaimedError):
                msg = f"{type(error).__name__}: {error}"
                raise NotClaimedError(msg) from error
            raise


def _undo(engine: Engine, warm: WarmServer, labels: SessionLabels, claim: str, names: Collection[str]) -> None:
    # By the record, since a create that failed may have made it, and somebody else may have made one before.
    record = engine.inspect(labels.record_name)
    tool = None if record is None else ToolLabels.of_container(record.labels, record.name)
    if tool is not None and tool.claim != claim:
        return
    # Somebody whose record was removed may have claimed it long ago: then it has the name of a session.
    info = engine.inspect(warm.info.id) if names else None
    if info is not None and info.name in names:
        engine.remove(info.id)
    if tool is not None:
        engine.remove(labels.record_name)


def _undo_unless_joined(engine: Engine, warm: WarmServer, labels: SessionLabels, undo: Callable[[], object]) -> None:
    info = engine.inspect(warm.info.id)
    if info is None or info.name != labels.name:  # else a start may have found it meanwhile, as the session that it is
        undo()
