"""The servers of a pool, until somebody claims them: a thread makes them, renews their leases, and discards them."""

from __future__ import annotations

import contextlib
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
from jupyter_launcher.errors import ServerNotRunningError, StartCancelledError
from jupyter_launcher.models import Gateway
from jupyter_launcher.server.process import renew_lease
from jupyter_launcher.sessions.context import Context
from jupyter_launcher.sessions.make import cancelled_start, make_server, removed_on_failure
from jupyter_launcher.sessions.phases import PhaseReporter, StartLimit
from jupyter_launcher.sessions.start import find_gateway, plan_session
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
        # The methods of both are atomic, so that a fork needs no lock that its parent may have held.
        self._ready: deque[WarmServer] = deque()
        self._chores: deque[Callable[[], object]] = deque()
        self._renewed: dict[str, float] = {}  # a container's id → when its lease was renewed
        self._closed = threading.Event()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def ready(self) -> int:
        """How many wait for a directory."""
        return len(self._ready)

    def open(self) -> None:
        """Begin to make them."""
        self._thread = threading.Thread(target=self._run, name="jupyter-launcher-pool", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Make no more, and remove them all."""
        self._closed.set()
        self._wake.set()
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

    def _run(self) -> None:
        """Keep the pool full, until it is closed."""
        pause, next_try = _PAUSES[0], 0.0
        while not self._closed.is_set():
            self._wake.clear()
            self._do_chores()
            self._look_after()
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

    def _look_after(self) -> None:
        """Renew the leases, and discard what is too old, dead, or of another image."""
        for warm in tuple(self._ready):
            try:
                is_old = warm.age() >= self._max_age
                if is_old or self.unusable or self._context.engine.images.find(self._spec.image) != warm.image_id:
                    self._discard_waiting(warm)
                elif time.monotonic() - self._renewed.get(warm.info.id, warm.made) >= warm.lease / 3:
                    renew_lease(self._context.engine, warm.info.id, warm.lease)
                    self._renewed[warm.info.id] = time.monotonic()
            except ServerNotRunningError:
                self._discard_waiting(warm)
            except Exception as error:  # noqa: BLE001 - the thread goes on
                _log.warning("the lease of container %s was not renewed: %s", warm.info.name, error)

    def _discard_waiting(self, warm: WarmServer) -> None:
        with contextlib.suppress(ValueError):  # somebody has just taken it
            self._ready.remove(warm)
            self._remove(warm)

    def _remove(self, warm: WarmServer) -> None:
        """Remove a server, unless a fork of this process has claimed it, or is about to."""
        self._renewed.pop(warm.info.id, None)
        engine = self._context.engine
        with shielded(), leaves(f"container {warm.info.name}"):
            info = engine.inspect(warm.info.id)
            if info is not None and info.name == warm.info.name and engine.inspect(warm.labels.record_name) is None:
                engine.remove(info.id)

    def do_later(self, call: Callable[[], object]) -> None:
        """Do in the thread what nobody has to wait for, when that wakes: a claim needs the engine meanwhile."""
        self._chores.append(call)
        if self._closed.is_set() or self._process != os.getpid():
            self._do_chores()

    def _do_chores(self) -> None:
        for call in _drain(self._chores):
            _try(call)

    def _end(self) -> None:
        if self._thread is not None:
            self._thread.join()
        self._chores.extend(functools.partial(self._remove, warm) for warm in _drain(self._ready))
        with shielded():
            map_at_once(_try, tuple(_drain(self._chores)), threads=_AT_ONCE)


def _try(call: Callable[[], object]) -> None:
    try:
        call()
    except Exception as error:  # noqa: BLE001 - the others are removed all the same
        _log.warning("a container of a pool may be left: %s", error)


def _drain(items: deque[Any]) -> Iterator[Any]:
    with contextlib.suppress(IndexError):
        while True:
            yield items.popleft()
