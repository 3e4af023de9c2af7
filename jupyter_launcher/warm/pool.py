"""``WarmPool``: servers that run before anybody asked for them, and become sessions within milliseconds."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from jupyter_launcher.acts import Cancel, leaves, run_act
from jupyter_launcher.engine.images import check_pull
from jupyter_launcher.errors import LauncherError
from jupyter_launcher.host.pipeline_dir import check_mount_sources, maps_ids
from jupyter_launcher.models import Phase, Timeouts, Volume
from jupyter_launcher.models.options import HiddenTexts, hide_secrets, show_value
from jupyter_launcher.sessions.context import Context
from jupyter_launcher.sessions.make import check_limits
from jupyter_launcher.sessions.phases import PhaseReporter, StartLimit
from jupyter_launcher.sessions.session import Session
from jupyter_launcher.sessions.start import StartRequest, cancelled_start, check_request, find_gateway
from jupyter_launcher.sessions.stop import remove_containers
from jupyter_launcher.spec.checks import PIPELINE_TARGET, check_age, check_instance, check_user, refuse_option
from jupyter_launcher.spec.labels import SessionLabels, container_name
from jupyter_launcher.spec.options import SessionOptions, SessionSpec
from jupyter_launcher.waiting import Deadline, NotYetError, attempts
from jupyter_launcher.warm.claim import NotClaimedError, WarmServer, claim_server
from jupyter_launcher.warm.mount import Mounter
from jupyter_launcher.warm.servers import WarmServers

__all__ = ["WarmPool"]

_MOST_SERVERS = 64
_MOST_TOLD = 100
_UNIQUE = re.compile("[0-9a-f]{12,}")  # of one container
_PER_CLAIM = ("labels", "lease")
_WITH_KERNELS = ("kernels", "isolation", "max_kernels", "kernel_idle")
_OF_ONE_SESSION = ("constraints", "home", "host_port", "pipeline_read_only", "pipeline_relabel", "token")


class WarmPool:
    """Servers that run, and wait for their directory: ``Launcher.pool`` makes one. A context manager.

    A thread of its own makes them, one after another, while no caller waits for a start. Leaving the block removes
    those that nobody has claimed; sessions stay. Where its process is killed, they end by themselves within about a
    minute, and ``Launcher.reap`` removes what is left of them.

    Attributes:
        size: how many servers it is to have.
    """

    def __init__(
        self,
        context: Context,
        limit: StartLimit,
        start: Callable[..., Session],
        *,
        size: int,
        user: str | int,
        max_age: float,
        options: Mapping[str, Any],
    ) -> None:
        context.refuse_in_swarm("pool")
        options = {name: _copy(given) for name, given in options.items()}
        timeouts = options.get("timeouts")
        if timeouts is not None:
            context = dataclasses.replace(context, timeouts=check_instance(timeouts, Timeouts, "timeouts"))
        self.size = _check_size(size)
        self._user = check_user(user, "user")
        self._given = {"user": self._user, **options}
        self._options = _check_options(options)
        self._pull = check_pull(options.get("pull", "missing"))
        self._context = context
        self._start = start
        self._spec = self._make_spec()
        self._told: set[str] = set()
        self._process = os.getpid()
        self._servers = WarmServers(
            context,
            limit,
            self._spec,
            size=self.size,
            max_age=check_age(max_age, "max_age"),
            pull=self._pull,
            tell=lambda reason: self._tell(reason, what="no server could be made for sessions"),
        )
        self._mounter = Mounter(
            engine=context.engine,
            address=context.address,
            image=lambda: self._servers.helper_image,
            later=self._servers.do_later,
        )

    def __enter__(self) -> WarmPool:
        self._servers.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def ready(self) -> int:
        """How many servers wait for a directory now."""
        return self._servers.ready

    def wait(self, seconds: float) -> bool:
        """Wait until all servers are there that the pool is to have; whether they are.

        Raises:
            OptionError: ``seconds`` is no time.
        """
        for attempt in attempts(Deadline(check_age(seconds, "seconds")), NotYetError):
            with attempt:
                if self.ready < self.size and not self._servers.unusable:
                    raise NotYetError
                return self.ready >= self.size
        return False

    def close(self) -> None:
        """Remove the servers that nobody has claimed, and make no more. Sessions stay."""
        if self._process != os.getpid():  # a fork that leaves the block ends nothing of its parent's
            return
        self._servers.close()

    def start(
        self,
        /,
        pipeline_dir: str | os.PathLike[str] | Volume,
        *,
        session_id: str | None = None,
        labels: Mapping[str, str] | None = None,
        lease: int | None = None,
        cancel: threading.Event | None = None,
        **options: Any,
    ) -> Session:
        """A session for a pipeline, as ``Launcher.start`` gives it with the options of the pool.

        It is a server of the pool where one is ready and fits; then ``Session.timings.claim`` is above 0. Else it is
        started, and an event of the phase ``claim`` says why, once for each reason.

        Args:
            pipeline_dir: a directory.
            session_id: as for ``Launcher.start``.
            labels: as for ``Launcher.start``; they are on the session's record, which is a container of its own.
            lease: as for ``Launcher.start``.
            cancel: as for ``Launcher.start``.
            options: others of ``Launcher.start``, in place of the pool's: then the session is started.

        Raises:
            LauncherError: as ``Launcher.start`` says, and no other.
        """
        options = hide_secrets(options)
        given = {"session_id": session_id, "labels": labels, "lease": lease, "cancel": cancel, **options}
        changed = sorted(name for name in options if name not in self._given or self._given[name] != options[name])
        if changed:
            self._tell(f"the pool has other options than were asked for: {', '.join(changed)}")
        elif isinstance(pipeline_dir, Volume):
            self._tell("a volume cannot be mounted in a server that runs")
        elif cancel is None or (callable(getattr(cancel, "is_set", None)) and not cancel.is_set()):
            request = StartRequest(
                pipeline_dir=pipeline_dir,
                user=self._user,
                session_id=session_id,
                image=self._spec.image,
                pull=self._pull,
            )
            claimed = run_act(
                lambda: self._claim(request, labels, lease),
                undo=self._undo,
                cancel=None if cancel is None else Cancel(cancel, lambda left: cancelled_start(session_id or "", left)),
            )
            if claimed is not None:
                return claimed[0]
        return self._start(pipeline_dir, **{**self._given, **given})

    def _claim(
        self, request: StartRequest, labels: Mapping[str, str] | None, lease: int | None
    ) -> tuple[Session, SessionLabels] | None:
        """A session of the pool; None where one has to be started."""
        context = self._context
        spec, warning = check_request(context, request, {**self._options, "labels": labels, "lease": lease})
        if (
            request.session_id is not None
            and context.engine.inspect(container_name(spec.namespace, spec.session_id)) is not None
        ):
            return None  # it is joined
        reporter = context.reporter.for_session(spec.session_id)
        warm: WarmServer | None = None
        try:
            if spec.user != self._spec.user:
                msg = f"the session's user is to be {spec.user}, and the pool's is {self._spec.user}"
                raise NotClaimedError(msg)
            if self._servers.unusable:
                raise NotClaimedError(self._servers.unusable)
            self._check_owner(spec)
            warm = self._take(spec)
            if warning:
                reporter.warn(Phase.CONTAINER, warning)
            image = self._servers.helper_image or spec.image
            return claim_server(context, warm, spec, self._mounter, image, reporter)
        except NotClaimedError as error:
            if error.is_taken and warm is not None:
                self._servers.put_aside(warm)
            if error.lasts:
                self._servers.unusable = error.reason
            if error.reason:
                self._tell(error.reason, spec.session_id)
            return None
        finally:
            self._servers.wake()  # not before: a new server needs a core

    def _check_owner(self, spec: SessionSpec) -> None:
        """Refuse the directory of another user, where this process sees that, before a server is lost to it."""
        context, path = self._context, spec.pipeline_dir
        here = context.address.find_here(path) if isinstance(path, Path) else None
        uid = spec.user.partition(":")[0]
        if here is None or not uid.isdecimal() or maps_ids(context.engine.traits) is not False:
            return
        with contextlib.suppress(OSError):
            owner = here.stat().st_uid
            if owner != int(uid):
                msg = f"the directory is user {owner}'s, and the pool's sessions are user {uid}'s"
                raise NotClaimedError(msg)

    def _take(self, spec: SessionSpec) -> WarmServer:
        """A server that fits, of which nobody else in this process knows any more."""
        context = self._context
        try:
            image_id = context.engine.images.find(spec.image)
            gateway = find_gateway(context, spec, PhaseReporter(None))
        except LauncherError as error:
            raise NotClaimedError(str(error)) from error
        found = self._servers.take(image_id, gateway)
        if found is None:
            msg = "no server is ready"
            raise NotClaimedError(msg)
        return found

    def _undo(self, claimed: tuple[Session, SessionLabels] | None) -> None:
        if claimed is not None:
            session, labels = claimed
            with leaves(f"container {session.container_name}"):
                remove_containers(self._context.engine, session.container_id, labels)

    def _tell(self, reason: str, session_id: str = "", *, what: str = "the session is started anew, not taken") -> None:
        known = _UNIQUE.sub("", reason.partition("\n")[0])  # what follows is the end of a log, another one each time
        if known not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add(known)
            text = f"{what} from the pool: {reason}"
            self._context.reporter.for_session(session_id).warn(Phase.CLAIM, text)

    def _make_spec(self) -> SessionSpec:
        """What the pool's servers are started with; their directory is a name only."""
        context, user = self._context, self._user
        spec = SessionSpec.from_options(
            session_id="pool",
            namespace=context.namespace,
            pipeline_dir=Path(PIPELINE_TARGET),
            user=f"{user}:{user}" if user.isdecimal() else user,
            image=self._given["image"],
            **{**self._options, "host_ip": context.address.choose_publish_ip(self._options["host_ip"])},
        )
        for mount in spec.mounts:
            if Path(mount.target).is_relative_to(PIPELINE_TARGET):
                seen = f"has {mount.target}, over which the directory of a session would be mounted"
                refuse_option("mounts", seen, "start such sessions without a pool")
        if any(port is not None for port in spec.ports.values()):
            refuse_option("ports", "has a port of the host, which one session alone can have", "give None in its place")
        check_limits(context.engine.traits, spec)
        check_mount_sources(context.address, spec.mounts, context.rules)
        return spec


def _copy(given: Any) -> Any:
    """An option that stays as it is: an iterator gives its items only once, and what is the caller's may change."""
    if isinstance(given, HiddenTexts):
        return HiddenTexts(_copy(given.values))
    if isinstance(given, Mapping):
        return {name: _copy(value) for name, value in given.items()}
    return tuple(given) if isinstance(given, Iterator) else copy.copy(given) if isinstance(given, list | set) else given


def _check_size(size: object) -> int:
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= _MOST_SERVERS:
        refuse_option("size", f"is {show_value(size)}", f"give a number of servers from 1 to {_MOST_SERVERS}")
    return size


def _check_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Those that make a session what it is; a pool has no others but ``image``, ``pull`` and ``timeouts``."""
    for name in given:
        if name in _PER_CLAIM:
            refuse_option(name, "is of one session", "give it to WarmPool.start")
        if name in _OF_ONE_SESSION:
            refuse_option(name, "is of one session, before that begins", "start such sessions without a pool")
        if name in _WITH_KERNELS:
            hint = "start such sessions without a pool; or give the pool gateway=, of start_gateway(kernels=...)"
            refuse_option(name, "is of a gateway that one session alone has", hint)
        if name not in (*SessionOptions.__annotations__, "image", "pull", "timeouts"):
            refuse_option(name, "is no option of a pool", "give those of Launcher.start that hold for all its sessions")
    return {"host_ip": None, **{name: given[name] for name in given if name in SessionOptions.__annotations__}}
