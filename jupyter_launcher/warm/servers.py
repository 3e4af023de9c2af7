"""The servers of a pool, until somebody claims them: one thread makes them, another looks after them."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import logging
import os
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from jupyter_launcher.acts import Cancel, leaves, run_act, shielded
from jupyter_launcher.engine.images import DEFAULT_IMAGE
from jupyter_launcher.errors import EngineUnavailableError, OptionError, ServerNotRunningError, StartCancelledError
from jupyter_launcher.host.process import is_process_dead
from jupyter_launcher.models import Gateway
from jupyter_launcher.server.process import renew_lease
from jupyter_launcher.sessions.context import Context
from jupyter_launcher.sessions.make import make_server, removed_on_failure
from jupyter_launcher.sessions.phases import PhaseReporter, StartLimit
from jupyter_launcher.sessions.start import cancelled_start, find_gateway, plan_session
from jupyter_launcher.spec.labels import ToolLabels
from jupyter_launcher.spec.options import SessionSpec
from jupyter_launcher.spec.plan import plan_warm
from jupyter_launcher.threads import map_at_once
from jupyter_launcher.warm.claim import WarmServer

__all__ = ["WarmServers"]

_log = logging.getLogger("jupyter_launcher")

_LEASE = 60
"""Seconds after which a server of a pool ends, unless the pool's process renews it."""
_TICK = 5.0
_BUSY_PAUSE = 0.5  # between two looks whether a caller waits for a start
_AT_ONCE = 8
_PAUSES = (5.0, 60.0)  # after a server that could not be made: the first, and the longest
# Whose thread this is, or what it has started: there nobody can wait for its end.
_own: contextvars.ContextVar[WarmServers | None] = contextvars.ContextVar("jupyter_launcher_pool", default=None)


class WarmServers:
    """The servers of one pool that nobody has claimed.

    Attributes:
        unusable: why none of them can be claimed, so that no more are made; empty: they can be.
        helper_image: ours, by its id, for the containers that mount; None: the engine did not have it when the last
            server was made. It is never built for them.
    """

    def __init__(
        self,
        context: Context,
        limit: StartLimit,
        spec: SessionSpec,
        *,
        size: int,
        max_age: float,
        pull: str,
        tell: Callable[[str], object],
    ) -> None:
        self.unusable = ""
        self.helper_image: str | None = None
        self._process = os.getpid()
        self._context = context
        self._limit = limit
        self._spec = spec
        self._size = size
        self._max_age = max_age
        self._pull = pull
        self._tell = tell
        # The methods of these are atomic, so that a fork needs no lock that its parent may have held.
        self._ready: deque[WarmServer] = deque()
        self._aside: deque[WarmServer] = deque()
        self._chores: deque[Callable[[], object]] = deque()
        self._renewed: dict[str, float] = {}  # a container's id → when its lease was renewed
        self._closed = threading.Event()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._ends_itself = False

    @property
    def ready(self) -> int:
        """How many wait for a directory."""
        return len(self._ready)

    def open(self) -> None:
        """Begin to make them, and to look after them; where no thread can be started, there are none.

        Raises:
            OptionError: that was done before.
        """
        if self._closed.is_set() or self._thread is not None:
            msg = "this pool was entered before"
            raise OptionError(msg, hint="make another one with Launcher.pool", option="pool")
        try:
            keeper = threading.Thread(target=self._keep, name="jupyter-launcher-pool-leases", daemon=True)
            keeper.start()
            thread = threading.Thread(target=self._run, args=(keeper,), name="jupyter-launcher-pool", daemon=True)
            thread.start()
        except RuntimeError as error:
            self._closed.set()
            self.unusable = str(error)
        else:
            self._thread = thread

    def close(self) -> None:
        """Make no more, and remove them all; where the pool's own thread calls a listener that does it, at its end."""
        self._closed.set()
        self._wake.set()
        if _own.get() is self:
            self._ends_itself = True
        else:
            run_act(self._end)  # so that an interrupt comes when nothing is left

    def wake(self) -> None:
        """See at once whether one is to be made."""
        if self._process == os.getpid():  # a fork has no thread that would, and perhaps a lock that nobody gives back
            self._wake.set()

    def take(self, image_id: str | None, gateway: Gateway | None) -> WarmServer | None:
        """One of that image and that gateway, of which nobody else in this process knows any more; None: none is."""
        while True:
            try:
                warm = self._ready.popleft()
            except IndexError:
                return None
            if warm.age() < self._max_age and (warm.image_id, warm.gateway) == (image_id, gateway):
                return warm
            self.do_later(functools.partial(self._remove, warm))

    def put_aside(self, warm: WarmServer) -> None:
        """Somebody else has claimed it, who may come to nothing: then it is removed when it has ended."""
        self._aside.append(warm)

    def _run(self, keeper: threading.Thread) -> None:
        """Keep the pool full, until it is closed."""
        _own.set(self)
        pause, next_try = _PAUSES[0], 0.0
        while not self._closed.is_set():
            self._wake.clear()
            wait = min(_TICK, max(0.0, next_try - time.monotonic())) or _TICK
            if self.ready < self._size and not self.unusable and time.monotonic() >= next_try:
                with self._limit.spare_slot() as is_spare:
                    if is_spare and self._try_to_make():
                        wait, pause = 0.0, _PAUSES[0]
                    elif is_spare:
                        wait, next_try, pause = 0.0, time.monotonic() + pause, min(2 * pause, _PAUSES[1])
                    else:
                        wait = _BUSY_PAUSE
            self._wake.wait(wait)
        keeper.join()
        if self._ends_itself:
            self._remove_all()

    def _try_to_make(self) -> bool:
        try:
            cancel = Cancel(self._closed, lambda left: cancelled_start("", left))
            self._ready.append(run_act(self._make, undo=self._remove, cancel=cancel))
        except StartCancelledError as error:
            _log.debug("%s", error)
        except Exception as error:  # noqa: BLE001 - one that fails must not be the last
            self._tell(str(error))
            return False
        return True

    def _make(self) -> WarmServer:
        """A new server that waits for its directory."""
        context, spec, reporter = self._context, self._spec, PhaseReporter(None)
        gateway = find_gateway(context, spec, reporter)
        planned = plan_session(context, spec, gateway, self._pull, context.reporter)
        self.helper_image = context.engine.images.find(DEFAULT_IMAGE)
        image = context.engine.images.inspect(spec.image)
        planned = plan_warm(planned, uuid.uuid4().hex[:12], _LEASE, {} if image is None else image.labels)
        with removed_on_failure(context, planned):
            made = make_server(context, planned, gateway, reporter)
            if made is None:
                msg = f"container {planned.name} is there already"
                raise RuntimeError(msg)
            info, server = made
            return WarmServer(
                info=info,
                labels=planned.labels,
                server=server,
                gateway=gateway,
                image_id=None if image is None else image.id,
                lease=_LEASE,
                made=time.monotonic(),
            )

    def _keep(self) -> None:
        """Look after those that wait, until the pool is closed: to make one more may take longer than a lease."""
        while not self._closed.wait(_TICK):
            self._look_after()
            self._do_chores()

    def _look_after(self) -> None:
        """Renew the leases, and discard what is too old, dead, or of another image."""
        waiting = tuple(self._ready)
        for unknown in {*self._renewed} - {warm.info.id for warm in waiting}:
            del self._renewed[unknown]
        for warm in (*waiting, *self._aside):
            try:
                self._look_at(warm)
            except ServerNotRunningError:
                self._discard_waiting(warm)
            except Exception as error:  # noqa: BLE001 - the thread goes on
                _log.warning("the lease of container %s was not renewed: %s", warm.info.name, error)
        if waiting:
            _try(self._discard_old_images)

    def _look_at(self, warm: WarmServer) -> None:
        info = self._context.engine.inspect(warm.info.id)
        if info is None or info.name != warm.info.name:  # a fork has claimed it
            _drop(warm, self._ready, self._aside)
        elif warm in self._aside:
            if not info.running:
                self._remove(warm)
        elif self.unusable or warm.age() >= self._max_age:
            self._discard_waiting(warm)
        elif time.monotonic() - self._renewed.get(warm.info.id, warm.made) >= warm.lease / 3:
            renew_lease(self._context.engine, warm.info.id, warm.lease)
            self._renewed[warm.info.id] = time.monotonic()

    def _discard_old_images(self) -> None:
        image_id = self._context.engine.images.find(self._spec.image)
        for warm in tuple(self._ready):
            if warm.image_id != image_id:
                self._discard_waiting(warm)

    def _discard_waiting(self, warm: WarmServer) -> None:
        if _drop(warm, self._ready):  # else somebody has just taken it
            self._remove(warm)

    def _remove(self, warm: WarmServer) -> None:
        """Remove a server, unless a fork of this process has claimed it, or is about to."""
        engine = self._context.engine
        with shielded(), leaves(f"container {warm.info.name}"):
            info = engine.inspect(warm.info.id)
            if info is None or info.name != warm.info.name:
                return
            record = engine.inspect(warm.labels.record_name)
            if record is not None:
                tool = ToolLabels.of_container(record.labels, record.name)
                if tool is None or not is_process_dead(tool.process):
                    return
                engine.remove(record.id)
            engine.remove(info.id)

    def do_later(self, call: Callable[[], object]) -> None:
        """Do in a thread what nobody has to wait for, when that wakes: a claim needs the engine meanwhile."""
        self._chores.append(call)
        if self._closed.is_set() or self._process != os.getpid():
            self._do_chores()

    def _do_chores(self) -> None:
        failed = [call for call in _drain(self._chores) if not _try(call)]
        self._chores.extend(failed)  # the engine is away: once more at the next look

    def _end(self) -> None:
        if self._thread is not None:
            self._thread.join()
        self._remove_all()

    def _remove_all(self) -> None:
        self._chores.extend(
            functools.partial(self._remove, warm) for warm in (*_drain(self._ready), *_drain(self._aside))
        )
        with shielded():
            map_at_once(_try, tuple(_drain(self._chores)), threads=_AT_ONCE)


def _try(call: Callable[[], object]) -> bool:
    """Whether it need not be tried again: it was done, or the engine has refused it."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 - the others are removed all the same
        _log.warning("a container of a pool may be left: %s", error)
        return not isinstance(error, EngineUnavailableError)
    return True


def _drop(warm: WarmServer, *places: deque[WarmServer]) -> bool:
    found = False
    for place in places:
        with contextlib.suppress(ValueError):
            place.remove(warm)
            found = True
    return found


def _drain(items: deque[Any]) -> Iterator[Any]:
    with contextlib.suppress(IndexError):
        while True:
            yield items.popleft()
