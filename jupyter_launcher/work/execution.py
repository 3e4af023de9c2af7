"""``execute``: send code to a kernel, and wait for its end, whatever happens to the kernel and to the connection.

Answers are matched by the id of their request alone. Which process of a kernel has sent a message is told by the
message's session: another one means that the kernel was started anew.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, NoReturn

from jupyter_launcher.acts import shielded
from jupyter_launcher.errors import ExecuteTimeoutError, KernelDiedError, LauncherError, OptionError, WorkError
from jupyter_launcher.results import ExecuteResult
from jupyter_launcher.waiting import Deadline
from jupyter_launcher.work.channels import ChannelsLostError
from jupyter_launcher.work.connection import Connection, KernelDeadError
from jupyter_launcher.work.messages import DEAD, Message, build_code
from jupyter_launcher.work.outputs import Outputs

__all__ = ["execute"]

_LOOK_SECONDS = 1.0
"""How long a kernel may be silent before the server is asked what it does."""

_PROBE_SECONDS = 10.0
_RESUME_SECONDS = 60.0
_BEGIN_SECONDS = 2.0
_AHEAD_SECONDS = 1.0
_INTERRUPT_SECONDS = 10.0
_POLL = 0.05
_MOST_BYTES = 10 * 2**20 - 4096
"""A server takes no longer message."""


def execute(connection: Connection, code: str, timeout: float | None, outputs: Outputs) -> tuple[ExecuteResult, bool]:
    """Execute code, and return its result, and whether it asked for an input.

    Raises:
        KernelGoneError: there is no such kernel.
        KernelDiedError: it ended meanwhile, or by itself since its last use.
        ExecuteTimeoutError: the time is over.
        WorkError: what came of the code was lost.
        ServerError: the server does not answer, or refuses.
        OptionError: the code is too long.
    """
    with connection.turn():
        run = _Execution(connection, code, timeout, outputs)
        try:
            connection.connect()
            connection.count_oom_kills()
            run.complete()
        except KernelDeadError:
            connection.close()
            run.raise_died()
        except LauncherError:
            connection.close()
            raise
        except BaseException:
            run.abandon()
            raise
        return run.result(), run.asked_input


class _EndLostError(WorkError):
    """The kernel is idle, and its answer has not come."""


class _Execution:
    """One execution."""

    def __init__(self, connection: Connection, code: str, timeout: float | None, outputs: Outputs) -> None:
        self.asked_input = False
        self._connection = connection
        self._code = code
        self._timeout = timeout
        self._outputs = outputs
        self._deadline = Deadline(math.inf)
        self._request = ""
        self._backlog: deque[Message] = deque()
        self._begun_by = ""  # the session of the process that has begun the code
        self._ended = self._idle = False
        self._restarted = self._sent_again = False
        self._reply: Mapping[str, Any] | None = None
        self._idle_looks = 0
        self._probes: dict[str, str] = {}
        self._probed = time.monotonic()

    @property
    def _over(self) -> bool:
        return self._idle and self._reply is not None

    def result(self) -> ExecuteResult:
        """What has come of the code."""
        return self._outputs.result(self._reply or {})

    def complete(self) -> None:
        """Send the code, and take what comes until it is over."""
        self._deadline = Deadline(math.inf if self._timeout is None else self._timeout)
        self._send_code()
        while not self._over:
            self._advance(_LOOK_SECONDS)
            if self._deadline.expired() and not self._over:
                self._end_at_limit()

    def abandon(self) -> None:
        """Whoever waited waits no longer: the code is interrupted, and nothing that others execute."""
        with shielded():
            if self._request:
                with contextlib.suppress(ChannelsLostError):
                    self._read_ahead()
            self._connection.close()
            if self._begun_by and not self._ended:
                with contextlib.suppress(LauncherError):
                    self._connection.server.interrupt(self._connection.kernel, _INTERRUPT_SECONDS)

    def raise_died(self) -> NoReturn:
        """Raise that the kernel has died, and why."""
        self._connection.died = True
        for_memory = self._connection.died_for_memory()
        when = "while it executed the code" if self._request else "since its last use, before it got this code"
        msg = f"the kernel died {when}" + (", for want of memory" if for_memory else "")
        msg += self._connection.server.describe_lost_gateway()
        more = "give the session more memory, or the kernel's image in kernels="
        hint = more if for_memory else f"its variables are gone; see the log: {self._connection.server.log_place}"
        raise KernelDiedError(
            msg,
            hint=hint,
            session_id=self._connection.server.session_id,
            kernel_id=self._connection.kernel,
            for_memory=for_memory,
            result=self.result(),
        ) from None

    def _send_code(self) -> None:
        self._request, text = build_code(self._code, self._connection.session)
        if len(text) > _MOST_BYTES:
            msg = f"the code has {len(text)} bytes as a message, and a server takes {_MOST_BYTES}"
            raise OptionError(msg, hint="upload data as a file, and let the code read it")
        try:
            self._connection.channels.send(text)
        except ChannelsLostError:
            self._resume()

    def _advance(self, seconds: float) -> None:
        """Take the next message, or look where none comes."""
        try:
            message = self._backlog.popleft() if self._backlog else self._receive(seconds)
            if message is not None:
                self._take(message)
            elif seconds >= _LOOK_SECONDS and not self._deadline.expired():
                self._look()
        except ChannelsLostError:
            self._resume()

    def _receive(self, seconds: float) -> Message | None:
        """The next message, and what it says about where the code is."""
        message = self._connection.channels.receive(max(min(seconds, self._deadline.remaining()), 0.001))
        if message is not None and message.parent == self._request:
            self._begun_by = self._begun_by or message.session
            self._ended |= message.kind == "execute_reply" or message.state == "idle"
        return message

    def _read_ahead(self) -> None:
        """Read what has come, and hand it over later: a listener that is slow would have us read it too late."""
        end = Deadline(_AHEAD_SECONDS)
        while self._connection.channels.pending() and not end.expired():
            message = self._receive(_POLL)
            if message is not None:
                self._backlog.append(message)

    def _catch_up(self) -> None:
        try:
            self._read_ahead()
        except ChannelsLostError:
            self._resume()

    def _resume(self) -> None:
        """Connect anew, and go on with what has come meanwhile; a session that is paused is waited for."""
        connection, complete = self._connection, None
        while True:
            try:
                complete = connection.resume(Deadline(min(_RESUME_SECONDS, self._deadline.remaining() + _LOOK_SECONDS)))
                break
            except ChannelsLostError as error:
                if self._deadline.expired():
                    self._raise_limit("the server does not answer, so nothing was interrupted")
                if connection.server.check_running():
                    connection.server.fail(f"kernel {connection.kernel}", str(error), _RESUME_SECONDS)
        self._outputs.truncated |= complete is not True
        self._probed = -math.inf

    def _take(self, message: Message) -> None:
        connection, state = self._connection, message.state
        if message.parent == self._request:
            self._idle_looks = 0
            connection.process = connection.process or message.session
            if message.kind == "execute_reply":
                self._reply = message.content
            elif state is not None:
                self._idle = self._idle or state == "idle"
            elif message.kind == "input_request":
                self.asked_input = True
                connection.server.interrupt(connection.kernel, _INTERRUPT_SECONDS)
            else:
                self._outputs.add(message, connection.process)
        elif message.parent in self._probes:
            self._take_of_probe(message)
        elif state in DEAD:
            raise KernelDeadError
        elif state == "starting" and message.session != connection.process:
            if self._begun_by not in ("", message.session):
                raise KernelDeadError
            connection.process, self._restarted = message.session, True  # this one executes the code

    def _take_of_probe(self, message: Message) -> None:
        """What answers a probe comes after all that answers the code, on each of the two ways."""
        is_shell = self._probes[message.parent] == "shell"
        if message.kind == "kernel_info_reply":
            if self._connection.process not in ("", message.session) and self._begun_by != message.session:
                if self._begun_by or is_shell:
                    raise KernelDeadError
                self._probe("shell")  # its answer tells whether the new process has got the code
            elif is_shell and self._reply is None:
                self._probes.clear()
                self._send_again()
        elif is_shell and message.state == "idle" and self._reply is not None:
            self._idle = self._outputs.truncated = True  # the end of its outputs was lost

    def _look(self) -> None:
        """Nothing came: ask what the kernel does, and the kernel itself where the server may not know."""
        state = self._state()
        if state is None:
            self._connection.server.check_running()
            return
        self._idle_looks = self._idle_looks + 1 if state == "idle" else 0
        if self._idle_looks > 1:
            self._probe("shell")
        elif time.monotonic() - self._probed > _PROBE_SECONDS:
            self._probe("control")

    def _state(self) -> str | None:
        """What the server says that the kernel does."""
        state = self._connection.server.state(self._connection.kernel, self._deadline.remaining())
        if state == "" or state in DEAD:
            raise KernelDeadError
        return state

    def _probe(self, channel: str) -> None:
        """Ask the kernel something: another process answers where it was started anew."""
        self._probed = time.monotonic()
        self._probes[self._connection.send("kernel_info_request", {}, channel)] = channel

    def _send_again(self) -> None:
        """The kernel has answered what was asked after the code, so it does not execute the code."""
        if not self._begun_by and self._restarted:
            raise KernelDeadError
        if not self._begun_by and not self._sent_again and self._connection.channels.complete:
            self._sent_again = True
            self._send_code()  # it has never arrived
            return
        msg = "the connection was lost, and with it the end of what the code did"
        if not self._begun_by and self._sent_again:
            msg = "the server did not hand the code on to the kernel, twice"
        hint = "the kernel is idle, and keeps its variables"
        raise _EndLostError(msg, hint=hint, session_id=self._connection.server.session_id)

    def _end_at_limit(self) -> None:
        """The time is over: interrupt the code, and wait until the kernel is idle.

        Code that has ended by itself is not interrupted: the rest of its outputs is still to be taken.
        """
        server, kernel = self._connection.server, self._connection.kernel
        self._deadline = Deadline(math.inf)
        if not server.check_running():
            self._raise_limit("the session is paused, so nothing was interrupted")
        self._await_begin()
        if self._ended:
            return
        try:
            server.interrupt(kernel, _INTERRUPT_SECONDS)
        except LauncherError as error:
            self._raise_limit(f"it could not be interrupted: {error.message}")
        try:
            state = self._await_end()
        except _EndLostError:  # a kernel that is interrupted between two messages may forget the second
            self._raise_limit("it was interrupted")
        if self._over:
            self._raise_limit("it was interrupted")
        if state != "busy":
            self._raise_limit("it was interrupted, and the server does not tell whether it has ended")
        self._connection.close()
        try:
            server.restart(kernel)
        except LauncherError as error:
            self._raise_limit(f"it ignored the interrupt, and the kernel could not be restarted: {error.message}")
        self._raise_limit("it ignored the interrupt, so the kernel was restarted, and its variables are gone")

    def _await_begin(self) -> None:
        """Learn whether the code has begun: else an interrupt would hit what another client executes."""
        begin = Deadline(_BEGIN_SECONDS)
        self._catch_up()
        while not self._begun_by and not begin.expired():
            self._advance(_POLL)
        if not self._begun_by:
            self._raise_limit("it has not begun: the kernel executes what another client sent, and then this code")

    def _await_end(self) -> str | None:
        """Take what comes as long as the kernel is idle, and for some seconds where it is not; returns its state."""
        state, end = None, Deadline(_INTERRUPT_SECONDS)
        while not self._over:
            self._advance(_LOOK_SECONDS)
            if end.expired() and not self._ended:
                self._catch_up()
            if end.expired() and not self._ended:
                state, end = self._state(), Deadline(_INTERRUPT_SECONDS)
                if state != "idle":
                    break
        return state

    def _raise_limit(self, more: str) -> NoReturn:
        while self._backlog:
            self._take(self._backlog.popleft())
        seconds = self._timeout or 0.0
        msg = f"the code did not end within {seconds:g} s; {more}"
        raise ExecuteTimeoutError(
            msg,
            hint="give it more time; `result` has what came of it",
            session_id=self._connection.server.session_id,
            seconds=seconds,
            result=self.result(),
        ) from None
