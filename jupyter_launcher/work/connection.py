"""``Connection``: one kernel, as one process of ours speaks to it."""

from __future__ import annotations

import contextlib
import math
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import NoReturn

from jupyter_launcher.acts import check_cancelled, wait_for_cancel
from jupyter_launcher.errors import ServerError, WorkError
from jupyter_launcher.waiting import Deadline
from jupyter_launcher.work.channels import Channels, ChannelsLostError
from jupyter_launcher.work.messages import DEAD, Message, build_request
from jupyter_launcher.work.server import KernelServer

__all__ = ["Connection", "KernelDeadError", "KernelGoneError", "hold"]

_CONNECT_SECONDS = 90.0
"""A server holds a websocket back until the kernel answers it, for a minute at most."""

_HANDSHAKE_SECONDS = 5.0
"""Meanwhile the kernel may die, so after that time the server is asked about it, and for the websocket again."""

_READY_SECONDS = 60.0
_ASK_AGAIN_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_LOOK_SECONDS = 1.0
_RETRY_SECONDS = 0.2
_POLL = 0.05
_FRESH_SECONDS = 5.0


class KernelGoneError(WorkError):
    """The server has no such kernel any more, or its process does not start again. No code was sent to it."""


class KernelDeadError(Exception):
    """The kernel's process has ended. Raised inside this room, never seen outside."""


@contextlib.contextmanager
def hold(lock: threading.Lock) -> Iterator[None]:
    """Have a lock; an act that is cancelled waits for it no longer."""
    while not lock.acquire(timeout=_POLL):
        check_cancelled()
    try:
        yield
    finally:
        lock.release()


class Connection:
    """One kernel, as this process speaks to it. What several threads ask is done one after another.

    Attributes:
        server: that holds the kernel.
        kernel: its id.
        session: ours, of the connection that there is.
        process: the session of the kernel's process, by which its messages are known; empty: not known.
        died: whether the kernel has died since it answered last.
    """

    def __init__(self, server: KernelServer, kernel: str) -> None:
        self.server = server
        self.kernel = kernel
        self.session = ""
        self.process = ""
        self.died = False
        self._lock = threading.Lock()
        self._holder: int | None = None
        self._channels: Channels | None = None
        self._seen = 0
        self._oom_kills: int | None = None
        self._oom_looked = -math.inf

    @property
    def channels(self) -> Channels:
        """The websocket.

        Raises:
            ChannelsLostError: there is none.
        """
        if self._channels is None:
            msg = "the connection was closed"
            raise ChannelsLostError(msg)
        return self._channels

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """What runs inside has the kernel for itself, as far as this process is concerned."""
        if self._holder == threading.get_ident():
            msg = "this kernel executes the code whose output is just being handed over"
            raise WorkError(msg, hint="use the kernel after that, or another one", session_id=self.server.session_id)
        with hold(self._lock):
            self._holder = threading.get_ident()
            try:
                yield
            finally:
                self._holder = None

    def connect(self, end: Deadline | None = None) -> None:
        """Wait until the kernel answers, no longer than ``end``; what has come since its last use is dropped.

        Raises:
            KernelDeadError: the kernel's process has ended by itself since its last use.
            KernelGoneError: there is no such kernel.
            ServerError: the server does not answer, or refuses.
        """
        if self._channels is not None and self._drain():
            return
        if self.died and self.server.state(self.kernel) in ("", "dead"):
            self._raise_gone()
        deadline = (end or Deadline(math.inf)).shortened(_CONNECT_SECONDS)
        try:
            while not self._greet(deadline):
                pass
        except KernelDeadError:
            self.close()
            self._raise_gone()
        except ChannelsLostError as error:
            self.close()
            self.server.fail(f"kernel {self.kernel}", str(error), deadline.seconds)
        except BaseException:
            self.close()
            raise
        self.died = False

    def restart(self) -> None:
        """Start the kernel's process anew, when what other threads execute is over."""
        with self.turn():
            self.close()
            self.server.restart(self.kernel)
            self.connect()

    def resume(self, deadline: Deadline) -> bool | None:
        """Make a lost connection anew.

        Returns:
            Whether all that has come meanwhile will be read; None: nobody can tell.

        Raises:
            KernelDeadError: there is no such kernel any more.
            ChannelsLostError: there was no connection before the deadline.
            ServerError: the server refuses, or its session has ended.
        """
        if self._channels is not None:
            self._seen = self._channels.seen
            self.close()
        while self._channels is None:
            self._channels = self._open(deadline, self._seen)
        return self._channels.complete

    def send(self, kind: str, content: Mapping[str, object], channel: str = "shell") -> str:
        """Send a request, and return its id."""
        request, text = build_request(kind, content, self.session, channel)
        self.channels.send(text)
        return request

    def close(self) -> None:
        """Leave the kernel as it is."""
        channels, self._channels = self._channels, None
        if channels is not None:
            channels.close()

    def count_oom_kills(self) -> None:
        """Note how many processes have been killed for memory until now."""
        if time.monotonic() - self._oom_looked > _FRESH_SECONDS * self.server.patience:
            self._oom_kills, self._oom_looked = self.server.oom_kills(), time.monotonic()

    def died_for_memory(self) -> bool | None:
        """Whether more processes have been killed for memory since then; None: nobody can tell.

        Raises:
            SessionNotFoundError, ServerNotRunningError: the session itself has ended.
        """
        before, after = self._oom_kills, self.server.oom_kills()
        self._oom_looked = -math.inf
        if after is None:
            self.server.check_running()
        return None if before is None or after is None else after > before

    def _drain(self) -> bool:
        """Drop what has come; False: the connection was lost, or the kernel was started anew and may not answer yet."""
        try:
            self.channels.listen_again()
            while self.channels.pending():
                message = self.channels.receive(_RETRY_SECONDS)
                if message is None:
                    continue
                if message.state in DEAD:
                    raise KernelDeadError
                if message.state == "starting" and message.session != self.process:
                    self.close()
                    return False
        except ChannelsLostError:
            self.close()
            return False
        return True

    def _greet(self, deadline: Deadline) -> bool:
        """Connect, and wait for the kernel's answer; False where another attempt may get one."""
        self.session, self.process = uuid.uuid4().hex, ""
        self._channels = self._open(deadline, 0)
        if self._channels is None:
            return False
        try:
            self._await_answer(deadline.shortened(_READY_SECONDS))
        except ChannelsLostError as error:
            self.close()
            self._bear(error, deadline)
            return False
        return True

    def _open(self, deadline: Deadline, seen: int) -> Channels | None:
        """A connection; None where another attempt may make one."""
        try:
            limit = deadline.shortened(_HANDSHAKE_SECONDS)
            return Channels.open(self.server.api, self.kernel, self.session, limit, seen)
        except ChannelsLostError as error:
            if error.status == 404:
                raise KernelDeadError from None
            if error.status in (401, 403):
                msg = f"the server refuses a connection to kernel {self.kernel}: {error}"
                raise ServerError(msg, hint="see its log: `Launcher.logs`") from None
            self._bear(error, deadline)
        return None

    def _bear(self, error: ChannelsLostError, deadline: Deadline) -> None:
        """Wait for the next attempt, where one may help."""
        if self.server.check_running() and self.server.state(self.kernel) in ("", "dead"):
            raise KernelDeadError from None
        if deadline.remaining() < _RETRY_SECONDS:
            raise error
        wait_for_cancel(_RETRY_SECONDS)

    def _await_answer(self, deadline: Deadline) -> None:
        """Wait until what the kernel answers comes back on all ways.

        A kernel that has just started may not be heard yet, so it is asked again. One that executes the code of another
        client answers later, and code waits for that just as well.
        """
        greeting = _Greeting()
        pauses = iter(_ASK_AGAIN_SECONDS)
        pause, looks = 0.0, 0
        ask_at = look_at = time.monotonic()
        while not greeting.over:
            if deadline.expired():
                msg = f"the kernel has not answered for {deadline.seconds:g} s"
                raise ChannelsLostError(msg)
            if time.monotonic() >= ask_at:
                greeting.probes.add(self.send("kernel_info_request", {}))
                pause = next(pauses, _ASK_AGAIN_SECONDS[-1])
                ask_at = time.monotonic() + pause
            message = self.channels.receive(min(pause, _LOOK_SECONDS))
            if message is not None:
                greeting.take(message)
            elif time.monotonic() > look_at + _LOOK_SECONDS:
                look_at, state = time.monotonic(), self.server.state(self.kernel)
                if state in ("", "dead"):
                    raise KernelDeadError
                # Of a process that has died, a server tells that it is busy, until another one says otherwise.
                looks = looks + 1 if state == "busy" and not self.died else 0
                if looks > 1:
                    break
        self.process = greeting.process

    def _raise_gone(self) -> NoReturn:
        msg = f"kernel {self.kernel} is gone, or its process does not start"
        hint = "start another one; the log may tell why it ended: `Launcher.logs`"
        raise KernelGoneError(msg, hint=hint, session_id=self.server.session_id)


class _Greeting:
    """What a kernel answers to the first question, and to the same one again."""

    def __init__(self) -> None:
        self.probes: set[str] = set()
        self.process = ""
        self._idle = False

    @property
    def over(self) -> bool:
        return bool(self.process) and self._idle

    def take(self, message: Message) -> None:
        if message.parent not in self.probes:
            if message.state == "dead":
                raise KernelDeadError
        elif message.kind == "kernel_info_reply":
            self.process = message.session
        else:
            self._idle = self._idle or message.state == "idle"
