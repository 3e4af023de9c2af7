"""``Connection``: one kernel, as one process of ours speaks to it. Code is sent here, and its end is awaited.

Answers are matched by the id of their request alone. Which process of a kernel has sent a message is told by the
message's session: another one means that the kernel was started anew.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from jupyter_launcher.acts import check_cancelled, shielded, wait_for_cancel
from jupyter_launcher.errors import (
    ExecuteTimeoutError,
    KernelDiedError,
    LauncherError,
    OptionError,
    ServerError,
    WorkError,
)
from jupyter_launcher.results import ExecuteResult
from jupyter_launcher.waiting import Deadline
from jupyter_launcher.work.channels import Channels, ChannelsLostError
from jupyter_launcher.work.messages import Message, build_request
from jupyter_launcher.work.outputs import Outputs
from jupyter_launcher.work.server import KernelServer

__all__ = ["Connection", "KernelGoneError"]

_LOOK_SECONDS = 1.0
"""How long a kernel may be silent before the server is asked what it does."""

_CONNECT_SECONDS = 90.0
"""A server holds a websocket back until the kernel answers it, for a minute at most."""

_READY_SECONDS = 60.0
_ASK_AGAIN_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_PROBE_SECONDS = 10.0
_RESUME_SECONDS = 60.0
_BEGIN_SECONDS = 5.0
_INTERRUPT_SECONDS = 10.0
_RETRY_SECONDS = 0.2
_POLL = 0.05
_FRESH_SECONDS = 5.0
_MOST_BYTES = 10 * 2**20 - 4096
"""A server takes no longer message."""

_DEAD = ("dead", "restarting", "autorestarting")


class KernelGoneError(WorkError):
    """The server has no such kernel any more, or its process does not start again. No code was sent to it."""


class _DiedError(Exception):
    """The kernel's process has ended. Raised inside this module, never seen outside."""


class _Run:
    """One execution."""

    def __init__(self, timeout: float | None, outputs: Outputs) -> None:
        self.timeout = timeout
        self.outputs = outputs
        self.deadline = Deadline(math.inf if timeout is None else timeout)
        self.request = ""
        self.begun = self.idle = self.asked_input = False
        self.reply: Mapping[str, Any] | None = None
        self.idle_looks = 0
        self.probes: dict[str, str] = {}
        self.probed = time.monotonic()

    @property
    def over(self) -> bool:
        return self.idle and self.reply is not None

    def result(self) -> ExecuteResult:
        return self.outputs.result(self.reply or {})


class Connection:
    """One kernel, as this process speaks to it. What several threads ask is done one after another.

    Args:
        server: that holds the kernel.
        kernel: its id.
    """

    def __init__(self, server: KernelServer, kernel: str) -> None:
        self._server = server
        self._kernel = kernel
        self._lock = threading.Lock()
        self._holder: int | None = None
        self._channels: Channels | None = None
        self._session = ""  # ours
        self._process = ""  # the session of the kernel's process; empty: not known
        self._died = False
        self._oom_kills: int | None = None
        self._oom_looked = -math.inf

    def close(self) -> None:
        """Leave the kernel as it is."""
        channels, self._channels = self._channels, None
        if channels is not None:
            channels.close()

    def connect(self) -> None:
        """Wait until the kernel answers.

        Raises:
            KernelGoneError: there is no such kernel.
            KernelDiedError: it ends instead.
            ServerError: the server does not answer, or refuses.
        """
        with self._turn():
            self._connect()

    def restart(self) -> None:
        """Start the kernel's process anew, when what other threads execute is over."""
        with self._turn():
            self.close()
            self._server.restart(self._kernel)
            self._connect()

    def execute(self, code: str, timeout: float | None, outputs: Outputs) -> tuple[ExecuteResult, bool]:
        """Execute code, and return its result, and whether it asked for an input.

        Raises:
            KernelGoneError: there is no such kernel.
            KernelDiedError: it ended meanwhile.
            ExecuteTimeoutError: the time is over.
            WorkError: what came of the code was lost.
            ServerError: the server does not answer, or refuses.
            OptionError: the code is too long.
        """
        with self._turn():
            self._connect()
            self._count_oom_kills()
            run = _Run(timeout, outputs)
            try:
                self._send_code(run, code)
                while not run.over:
                    self._advance(run, code)
                    if run.deadline.expired() and not run.over:
                        self._end_at_limit(run, code)
            except _DiedError:
                self.close()
                self._raise_died(run)
            except LauncherError:
                self.close()
                raise
            except BaseException:
                self._abandon(run)
                raise
            return run.result(), run.asked_input

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        if self._holder == threading.get_ident():
            msg = "this kernel executes the code whose output is just being handed over"
            raise WorkError(msg, hint="use the kernel after that, or another one")
        while not self._lock.acquire(timeout=_POLL):
            check_cancelled()
        self._holder = threading.get_ident()
        try:
            yield
        finally:
            self._holder = None
            self._lock.release()

    # -- The connection

    def _connect(self) -> None:
        """Have a connection on which the kernel answers; what has come since its last use is dropped."""
        if self._channels is not None:
            try:
                while self._channels.pending():
                    self._channels.receive(_RETRY_SECONDS)
            except ChannelsLostError:
                self.close()
            else:
                return
        if self._died and self._server.state(self._kernel) in ("", "dead"):
            self._raise_gone()
        deadline = Deadline(_CONNECT_SECONDS)
        self._session = uuid.uuid4().hex
        self._process = ""
        try:
            while self._channels is None:
                self._channels = self._open(deadline, 0)
            self._await_answer(deadline.shortened(_READY_SECONDS))
        except _DiedError:
            self.close()
            self._raise_gone()
        except ChannelsLostError as error:
            self.close()
            self._server.fail(f"kernel {self._kernel}", str(error), deadline.seconds)
        except BaseException:
            self.close()
            raise
        self._died = False

    def _open(self, deadline: Deadline, seen: int) -> Channels | None:
        """A connection; None where another attempt may make one.

        Raises:
            _DiedError: there is no such kernel.
        """
        try:
            return Channels.open(self._server.api, self._kernel, self._session, deadline, seen)
        except ChannelsLostError as error:
            if error.status == 404:
                raise _DiedError from None
            if error.status in (401, 403):
                msg = f"the server refuses a connection to kernel {self._kernel}: {error}"
                raise ServerError(msg, hint="see its log: `Launcher.logs`") from None
            if self._server.check_running() and deadline.expired():
                self._server.fail(f"kernel {self._kernel}", str(error), deadline.seconds)
        wait_for_cancel(_RETRY_SECONDS)
        return None

    def _await_answer(self, deadline: Deadline) -> None:
        """Wait until what the kernel answers comes back on all ways.

        A kernel that has just started may not be heard yet, so it is asked again. One that executes the code of another
        client answers later; the code waits for it just as well.
        """
        probes: set[str] = set()
        answered = idle = False
        pauses = iter(_ASK_AGAIN_SECONDS)
        pause, looks = 0.0, 0
        ask_at = look_at = time.monotonic()
        while not (answered and idle):
            now = time.monotonic()
            if deadline.expired():
                msg = f"the kernel has not answered for {deadline.seconds:g} s"
                raise ChannelsLostError(msg)
            if now >= ask_at:
                probes.add(self._send("kernel_info_request", {}))
                pause = next(pauses, _ASK_AGAIN_SECONDS[-1])
                ask_at = now + pause
            message = self._current.receive(min(pause, _LOOK_SECONDS))
            if message is None and time.monotonic() > look_at + _LOOK_SECONDS:
                look_at, state = time.monotonic(), self._server.state(self._kernel)
                if state in ("", "dead"):
                    raise _DiedError
                looks = looks + 1 if state == "busy" else 0
                if looks > 1:
                    return
            if message is not None and message.parent in probes:
                if message.kind == "kernel_info_reply":
                    answered, self._process = True, message.session
                elif message.kind == "status":
                    idle = idle or message.content.get("execution_state") == "idle"

    @property
    def _current(self) -> Channels:
        if self._channels is None:
            msg = "the connection was closed"
            raise ChannelsLostError(msg)
        return self._channels

    def _send(self, kind: str, content: Mapping[str, object], channel: str = "shell") -> str:
        request, text = build_request(kind, content, self._session, channel)
        self._current.send(text)
        return request

    def _resume(self, run: _Run) -> None:
        """Connect anew, and go on with what has come meanwhile."""
        lost, self._channels = self._current, None
        lost.close()
        deadline = Deadline(_RESUME_SECONDS)
        while self._channels is None:
            self._channels = self._open(deadline, lost.seen)
            if self._channels is None and run.deadline.expired():
                self._raise_limit(run, "the server does not answer, so nothing was interrupted")
        run.outputs.truncated |= self._channels.complete is not True
        run.probed = -math.inf

    # -- One execution

    def _send_code(self, run: _Run, code: str) -> None:
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            # What others have sent to this kernel is not thrown away where this code fails.
            "stop_on_error": False,
        }
        run.request, text = build_request("execute_request", content, self._session)
        if len(text) > _MOST_BYTES:
            msg = f"the code has {len(text)} bytes as a message, and a server takes {_MOST_BYTES}"
            raise OptionError(msg, hint="upload data as a file, and let the code read it")
        try:
            self._current.send(text)
        except ChannelsLostError:
            self._resume(run)

    def _advance(self, run: _Run, code: str, seconds: float = _LOOK_SECONDS) -> None:
        """Take the next message, or look where none comes."""
        message = None
        try:
            message = self._current.receive(max(min(seconds, run.deadline.remaining()), 0.001))
            if message is None:
                self._look(run)
            else:
                self._take(run, message, code)
        except ChannelsLostError:
            self._resume(run)

    def _take(self, run: _Run, message: Message, code: str) -> None:
        state = message.content.get("execution_state") if message.kind == "status" else None
        if message.parent == run.request:
            run.begun, run.idle_looks = True, 0
            self._process = self._process or message.session
            if message.kind == "execute_reply":
                run.reply = message.content
            elif state is not None:
                run.idle = run.idle or state == "idle"
            elif message.kind == "input_request":
                run.asked_input = True
                self._server.interrupt(self._kernel)
            else:
                run.outputs.add(message, self._process)
        elif message.parent in run.probes and message.kind == "kernel_info_reply":
            if self._process and message.session != self._process:
                raise _DiedError
            if run.probes.pop(message.parent) == "shell" and run.reply is None:
                self._send_again(run, code)
        elif state in _DEAD or (state == "starting" and message.session not in (self._process, self._session)):
            raise _DiedError

    def _look(self, run: _Run) -> None:
        """Nothing came: ask what the kernel does, and the kernel itself where the server does not know better."""
        if run.deadline.expired():
            return
        state = self._server.state(self._kernel)
        if state == "" or state in _DEAD:
            raise _DiedError
        if state is None:
            self._server.check_running()
            return
        run.idle_looks = run.idle_looks + 1 if state == "idle" else 0
        if run.idle_looks > 1 and run.reply is not None:
            run.idle = run.outputs.truncated = True  # the end of its outputs was lost
        elif run.idle_looks > 1:
            self._probe(run, "shell")
        elif time.monotonic() - run.probed > _PROBE_SECONDS:
            self._probe(run, "control")

    def _probe(self, run: _Run, channel: str) -> None:
        """Ask the kernel something: another process answers where it was started anew.

        On the channel of the code, the answer comes after that of the code.
        """
        run.probed = time.monotonic()
        run.probes[self._send("kernel_info_request", {}, channel)] = channel

    def _send_again(self, run: _Run, code: str) -> None:
        """The kernel has answered what was asked after the code, so it does not execute the code."""
        if not run.begun and self._current.complete:
            self._send_code(run, code)  # it has never arrived
            return
        msg = "the connection was lost, and with it the end of what the code did"
        raise WorkError(msg, hint="the kernel is idle, and keeps its variables", session_id=self._server.session_id)

    def _end_at_limit(self, run: _Run, code: str) -> None:
        """The time is over: interrupt the code, and wait until the kernel is idle. Always raises."""
        run.deadline = Deadline(math.inf)
        begin = Deadline(_BEGIN_SECONDS)
        while not run.begun and not begin.expired():
            self._advance(run, code, _POLL)
        if not run.begun:
            # Else the interrupt would hit what another client executes.
            self._raise_limit(run, "it has not begun: the kernel executes what another client sent, and then this code")
        try:
            self._server.interrupt(self._kernel, _INTERRUPT_SECONDS)
        except LauncherError as error:
            self._raise_limit(run, f"it could not be interrupted: {error.message}")
        end = Deadline(_INTERRUPT_SECONDS)
        while not run.over and not end.expired():
            self._advance(run, code, _POLL)
        if run.over:
            self._raise_limit(run, "", connected=True)
        self.close()
        self._server.restart(self._kernel)
        self._raise_limit(run, "it ignored the interrupt, so the kernel was restarted, and its variables are gone")

    def _raise_limit(self, run: _Run, more: str, *, connected: bool = False) -> NoReturn:
        if not connected:
            self.close()
        seconds = run.timeout or 0.0
        msg = f"the code did not end within {seconds:g} s" + (f"; {more}" if more else ", and was interrupted")
        hint = "give it more time; `result` has what came of it"
        raise ExecuteTimeoutError(
            msg, hint=hint, session_id=self._server.session_id, seconds=seconds, result=run.result()
        )

    def _abandon(self, run: _Run) -> None:
        """Whoever waited waits no longer: the code is interrupted."""
        self.close()
        if run.request and not run.over:
            with shielded(), contextlib.suppress(LauncherError):
                self._server.interrupt(self._kernel, _INTERRUPT_SECONDS)

    def _count_oom_kills(self) -> None:
        if time.monotonic() - self._oom_looked > _FRESH_SECONDS * self._server.patience:
            self._oom_kills, self._oom_looked = self._server.oom_kills(), time.monotonic()

    def _raise_died(self, run: _Run) -> NoReturn:
        self._died = True
        before, after = self._oom_kills, self._server.oom_kills()
        self._oom_looked = -math.inf
        if after is None:
            self._server.check_running()
        for_memory = None if before is None or after is None else after > before
        msg = "the kernel died while it executed the code" + (", for want of memory" if for_memory else "")
        hint = "give the session more memory" if for_memory else "its variables are gone; see the log: `Launcher.logs`"
        raise KernelDiedError(
            msg,
            hint=hint,
            session_id=self._server.session_id,
            kernel_id=self._kernel,
            for_memory=for_memory,
            result=run.result(),
        )

    def _raise_gone(self) -> NoReturn:
        msg = f"there is no kernel {self._kernel} any more"
        raise KernelGoneError(msg, hint="start another one", session_id=self._server.session_id)
