"""``Preparation``: a start that goes on in the background, until somebody takes the session or cancels it."""

from __future__ import annotations

import atexit
import math
import os
import threading
import weakref
from concurrent.futures import Future, wait

from jupyter_launcher.acts import Cancel, begin_act, check_cancelled, run_act
from jupyter_launcher.errors import EngineUnavailableError, ServerTimeoutError, StartCancelledError
from jupyter_launcher.sessions.session import Session
from jupyter_launcher.sessions.start import cancelled_start, check_request, remove_session, start_checked
from jupyter_launcher.spec.checks import check_age
from jupyter_launcher.spec.options import SessionSpec
from jupyter_launcher.threads import map_at_once
from jupyter_launcher.waiting import Deadline
from jupyter_launcher.warm.call import StartCall
from jupyter_launcher.warm.pool import WarmPool

__all__ = ["Preparation", "Preparations"]

_AT_ONCE = 16
_POLL = 0.05


class Preparation:
    """A session that is being started in the background. Returned by ``Launcher.prepare``.

    Whoever calls :meth:`session` first takes the session. One that nobody takes is stopped by :meth:`cancel`, when the
    launcher is closed, and when the process ends. It may be used from many threads, and only in the process that made
    it.
    """

    def __init__(self, call: StartCall, checked: tuple[SessionSpec, str], preparations: Preparations) -> None:
        self._endpoint = call.context.engine.endpoint
        self._session_id = checked[0].session_id
        self._preparations = preparations
        self._process = os.getpid()
        self._cancel = _Cancel(call.cancel)
        self._left = ""
        self._lock = threading.Lock()
        self._is_taken = False
        self._refused: StartCancelledError | None = None
        self._ending = threading.Lock()
        self._has_ended = False
        self._result: Future[Session] = Future()
        self._result.add_done_callback(self._drop_failed)
        try:
            preparations.add(self)
            begin_act(
                lambda: start_checked(call.context, call.limit, call.request, checked),
                self._result,
                undo=lambda session: remove_session(call.context, session),
                cancel=Cancel(self._cancel, self._describe_cancelled),
            )
        except BaseException:  # an interrupt; a start that runs already removes what it made
            self._cancel.set()
            if self._result.cancel():
                preparations.discard(self)
            raise

    def __repr__(self) -> str:
        return f"<Preparation of session {self._session_id}>"

    @property
    def session_id(self) -> str:
        """The id of the session, also where ``prepare`` made it up."""
        return self._session_id

    @property
    def is_mine(self) -> bool:
        """Whether this process made it, and not the one that it was forked from."""
        return self._process == os.getpid()

    def session(self, timeout: float | None = None) -> Session:
        """The session, once it is there. Then it is the caller's to stop. Every later call returns the same one.

        Args:
            timeout: the longest time to wait, seconds; None: as long as the start takes.

        Raises:
            OptionError: ``timeout`` is no time.
            ServerTimeoutError: it is not there in time. The start goes on, so it may be asked for again.
            StartCancelledError: ``cancel`` was called.
            EngineUnavailableError: this process is a fork of the one that prepares.
            LauncherError: as ``Launcher.start`` says: the same error at each call.
        """
        self.wait(timeout)
        session = self._result.result()
        with self._lock:
            if self._refused is not None:
                raise self._refused
            self._is_taken = True
        self._preparations.discard(self)
        return self._preparations.note(session)

    def wait(self, timeout: float | None) -> None:
        """Wait until the start has ended, well or not. It takes nothing.

        Raises:
            OptionError, ServerTimeoutError, EngineUnavailableError: as :meth:`session` says.
        """
        self._refuse_fork()
        deadline = Deadline(math.inf if timeout is None else check_age(timeout, "timeout"))
        while not wait([self._result], min(_POLL, deadline.remaining())).done:
            check_cancelled()
            if deadline.expired():
                msg = f"session {self._session_id} is not there after {timeout:g} s; its start goes on"
                raise ServerTimeoutError(msg, hint="ask again, or cancel it", seconds=timeout or 0.0)

    def cancel(self) -> bool:
        """End the start, or stop the session that nobody has taken; returns when nothing of it is left.

        It may be called again, from any thread. A session that another start had made, and this one has joined, is
        left alone.

        Returns:
            False where somebody has taken the session: then nothing is done, and it runs on. So it is where ``start``,
            ``get`` or another preparation of the same launcher has returned that session.

        Raises:
            StartCancelledError: the clean-up failed, told once; it names what may be left, which ``Launcher.reap``
                removes.
            EngineUnavailableError: this process is a fork of the one that prepares.
            EngineError: the engine does not answer, or the session cannot be stopped.
        """
        self._refuse_fork()
        with self._lock:
            if self._is_taken:
                return False
            self._refused = self._refused or cancelled_start(self._session_id, "")
        self._cancel.set()
        wait([self._result])
        with self._ending:
            if not self._has_ended:
                self._end()
                self._has_ended = True
        self._preparations.discard(self)
        return not self._is_taken

    def cancel_at_exit(self) -> None:
        """As ``cancel``, where this process made it: the exit of a fork ends nothing of its parent's."""
        if self.is_mine:
            self.cancel()

    def _end(self) -> None:
        """Leave nothing of a start that has ended, well or not, unless the session is somebody's by now."""
        error = self._result.exception()
        if error is None:
            session = self._result.result()
            if self._preparations.has_noted(session):
                with self._lock:
                    self._is_taken, self._refused = True, None
            elif not session.joined:
                session.stop()
        elif self._left:
            self._left = ""
            self._drop_failed(self._result)
            raise error

    def _drop_failed(self, result: Future[Session]) -> None:
        """Nothing is left of a start that failed, so nobody has to cancel it."""
        if not result.cancelled() and result.exception() is not None and not self._left:
            self._preparations.discard(self)

    def _describe_cancelled(self, left: str) -> StartCancelledError:
        self._left = left
        return cancelled_start(self._session_id, left)

    def _refuse_fork(self) -> None:
        if not self.is_mine:
            msg = f"session {self._session_id} is prepared by the process that this one was forked from"
            hint = "find it with Launcher.get when it is there, or prepare after the fork"
            raise EngineUnavailableError(msg, hint=hint, endpoint=self._endpoint)


class _Cancel(threading.Event):
    """What ends a preparation: this event, or the caller's own."""

    def __init__(self, given: threading.Event | None) -> None:
        super().__init__()
        self._given = given

    def is_set(self) -> bool:
        return super().is_set() or (self._given is not None and self._given.is_set())


class Preparations:
    """What one launcher began before anybody asked for it: preparations that nobody has taken or cancelled, pools."""

    def __init__(self) -> None:
        self._open: set[Preparation] = set()
        self._pools: weakref.WeakSet[WarmPool] = weakref.WeakSet()
        self._noted: set[str] = set()

    def begin(self, call: StartCall) -> Preparation:
        """Look at what is asked for, and begin to start it.

        Raises:
            LauncherError: as ``Launcher.prepare`` says.
        """
        checked = run_act(lambda: check_request(call.context, call.request, call.options), cancel=call.cancelled())
        return Preparation(call, checked, self)

    def add(self, item: Preparation) -> None:
        """Let it be cancelled with all, at the latest when the process ends."""
        self._open.add(item)
        atexit.register(item.cancel_at_exit)

    def add_pool(self, pool: WarmPool) -> WarmPool:
        """Let a pool be closed with all."""
        self._pools.add(pool)
        return pool

    def discard(self, item: Preparation) -> None:
        """It is somebody's, or nothing is left of it."""
        self._open.discard(item)
        atexit.unregister(item.cancel_at_exit)
        if not self._open:
            self._noted.clear()

    def note(self, session: Session) -> Session:
        """The session, which somebody gets now: a preparation that has made it leaves it alone."""
        if self._open:
            self._noted.add(session.container_id)
        return session

    def has_noted(self, session: Session) -> bool:
        """Whether somebody got the session."""
        return session.container_id in self._noted

    def cancel_all(self) -> None:
        """Close the pools, and cancel the preparations of this process, some at the same time.

        Raises:
            LauncherError: as ``Preparation.cancel`` says, after all were tried.
        """
        for pool in tuple(self._pools):
            pool.close()
        map_at_once(Preparation.cancel, [item for item in tuple(self._open) if item.is_mine], threads=_AT_ONCE)
