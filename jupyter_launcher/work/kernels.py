"""Kernels of a session: ``Kernel``, and the one that ``Session.execute`` uses."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from types import TracebackType
from typing import NoReturn

from jupyter_launcher.acts import run_act, shielded
from jupyter_launcher.errors import (
    CodeError,
    KernelDiedError,
    LauncherError,
    OptionError,
    ServerNotRunningError,
    SessionNotFoundError,
    WorkError,
)
from jupyter_launcher.forks import PerProcess
from jupyter_launcher.models import KernelInfo
from jupyter_launcher.results import ExecuteResult, Output
from jupyter_launcher.server.api import parse_kernel_ids
from jupyter_launcher.waiting import Deadline
from jupyter_launcher.work.channels import check_extra
from jupyter_launcher.work.connection import Connection, KernelGoneError, hold
from jupyter_launcher.work.execution import execute
from jupyter_launcher.work.outputs import Displays, Outputs
from jupyter_launcher.work.place import Place
from jupyter_launcher.work.server import KernelServer, StartedKernel, check_seconds

__all__ = ["KeptKernel", "Kernel", "list_kernels"]

_log = logging.getLogger("jupyter_launcher")
_SHOWN = 500
_NO_INPUT = "StdinNotImplementedError"


class Kernel:
    """A kernel of a session: made by ``Session.kernel``, and a context manager that connects to it.

    Calls from several threads are executed one after another. Leaving the block ends a kernel that it started.
    """

    def __init__(
        self, place: Place, *, name: str | None, path: str | None, kernel_id: str | None, end: Deadline | None = None
    ) -> None:
        check_extra()
        self._end = end
        self._server = KernelServer(place)
        self._name = name
        self._path = path
        self._id = kernel_id
        self._started: StartedKernel | None = None
        self._process = os.getpid()
        self._connection: PerProcess[Connection] | None = None

    def __enter__(self) -> Kernel:
        run_act(self._enter, undo=lambda _: self._leave())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        run_act(self._leave)

    @property
    def id(self) -> str:
        """The kernel's id.

        Raises:
            WorkError: it was not entered yet.
        """
        if self._id is None:
            self._refuse()
        return self._id

    def execute(
        self,
        code: str,
        *,
        timeout: float | None = None,
        check: bool = True,
        on_output: Callable[[Output], object] | None = None,
    ) -> ExecuteResult:
        """Execute code, as ``Session.execute`` does.

        Code that another client has sent to this kernel comes first, and its time counts.
        """
        return self.execute_cell(code, timeout=timeout, check=check, on_output=on_output)

    def execute_cell(
        self,
        code: str,
        *,
        timeout: float | None,
        check: bool,
        on_output: Callable[[Output], object] | None,
        displays: Displays | None = None,
    ) -> ExecuteResult:
        """As ``execute``, for a cell that shares displays with other cells of its notebook."""
        _check_code(code, timeout)
        outputs, connection = Outputs(on_output, displays), self._connected()
        result, asked_input = run_act(lambda: execute(connection, code, timeout, outputs))
        if check:
            self._check(result, asked_input=asked_input)
        return result

    def interrupt(self) -> None:
        """Interrupt what it executes, from another thread.

        Raises:
            WorkError: the kernel is gone.
            ServerError: the server does not answer.
        """
        self._connected()
        run_act(lambda: self._server.interrupt(self.id))

    def restart(self) -> None:
        """Start its process anew: all state is gone. Code that another thread executes ends first.

        Raises:
            WorkError: the kernel is gone, or does not start again.
            ServerError: the server does not answer.
        """
        run_act(self._connected().restart)

    def forget(self) -> None:
        """Close this process's connection. The kernel stays."""
        connection = None if self._connection is None else self._connection.find()
        if connection is not None:
            connection.close()

    def _enter(self) -> None:
        self._process = os.getpid()
        if self._id is None:
            with shielded():  # or a kernel could be left that nobody knows
                self._started = self._server.start(self._name, self._path)
            self._id = self._started.id
        else:
            known = [item.id for item in self._server.kernels()]
            if self._id not in known:
                msg = f"the session has no kernel {self._id}"
                raise WorkError(msg, hint=f"it has: {', '.join(known) or 'none'}", session_id=self._server.session_id)
        server, kernel = self._server, self._id
        self._connection = PerProcess(lambda: Connection(server, kernel))
        try:
            connection = self._connection.get()
            with connection.turn():
                connection.connect(self._end)
        except BaseException as error:
            with shielded():
                is_ours = self._started is not None
                self._leave()
            if is_ours and isinstance(error, KernelGoneError):
                self._raise_not_started(kernel)
            raise

    def _leave(self) -> None:
        self.forget()
        self._connection = None
        started, self._started = self._started, None
        if started is None or self._process != os.getpid():  # a fork does not end its parent's kernel
            return
        self._id = None
        try:
            with shielded():  # nothing is left behind
                self._server.end(started)
        except (ServerNotRunningError, SessionNotFoundError):
            pass  # it has ended with the session
        except LauncherError as error:  # it ends with the session
            _log.warning("kernel %s of session %s was not ended: %s", started.id, self._server.session_id, error)

    def _connected(self) -> Connection:
        if self._connection is None:
            self._refuse()
        return self._connection.get()

    def _raise_not_started(self, kernel: str) -> NoReturn:
        msg = "the kernel died while it started"
        hint = f"the log may tell why: {self._server.log_place}"
        raise KernelDiedError(msg, hint=hint, session_id=self._server.session_id, kernel_id=kernel) from None

    def _refuse(self) -> NoReturn:
        msg = "the kernel is not connected"
        raise WorkError(msg, hint="use it in a with block", session_id=self._server.session_id)

    def _check(self, result: ExecuteResult, *, asked_input: bool) -> None:
        session_id = self._server.session_id
        if result.status == "aborted":
            msg = "the kernel did not execute the code, since code that another client had sent before it failed"
            raise WorkError(msg, hint="execute it again", session_id=session_id)
        error = result.error
        if error is None:
            return
        if asked_input or error.ename == _NO_INPUT:
            msg, hint = "the code asked for an input, and there is nobody to give one", "give it values by variables"
        else:
            line = " ".join(error.evalue.split())[:_SHOWN]
            msg, hint = f"the code raised {error.ename}: {line}", "`traceback` shows where, `result` all that came"
        raise CodeError(
            msg,
            hint=hint,
            session_id=session_id,
            ename=error.ename,
            evalue=error.evalue,
            traceback=error.traceback,
            result=result,
        )


class KeptKernel:
    """The one kernel of a ``Session`` object: started when code comes, and anew when it is gone."""

    def __init__(self, place: Callable[[], Place]) -> None:
        self._place = place
        self._kernel: Kernel | None = None
        self._starting = PerProcess(threading.Lock)

    def execute(
        self,
        code: str,
        *,
        timeout: float | None,
        check: bool,
        on_output: Callable[[Output], object] | None,
    ) -> ExecuteResult:
        """Execute code; see ``Session.execute``."""
        _check_code(code, timeout)
        kernel = self._find()
        try:
            return kernel.execute(code, timeout=timeout, check=check, on_output=on_output)
        except KernelGoneError:
            self._drop(kernel)
        return self._find().execute(code, timeout=timeout, check=check, on_output=on_output)

    def close(self) -> None:
        """End the kernel; nothing happens where there is none."""
        kernel = self._kernel
        if kernel is not None:
            self._drop(kernel)

    def forget(self) -> None:
        """Close the connection, because the session ends."""
        kernel, self._kernel = self._kernel, None
        if kernel is not None:
            kernel.forget()

    def _find(self) -> Kernel:
        with hold(self._starting.get()):
            if self._kernel is None:
                kernel = Kernel(self._place(), name=None, path=None, kernel_id=None)
                self._kernel = kernel.__enter__()
            return self._kernel

    def _drop(self, kernel: Kernel) -> None:
        with hold(self._starting.get()):
            if self._kernel is kernel:
                self._kernel = None
                kernel.__exit__(None, None, None)


def list_kernels(place: Place) -> tuple[KernelInfo, ...]:
    """The kernels of a session, as ``Session.kernels`` says."""
    return KernelServer(place).kernels()


def check_kernel_id(kernel_id: object) -> str:
    """A kernel's id, as a caller gives it."""
    if not isinstance(kernel_id, str) or parse_kernel_ids([kernel_id]) is None:
        msg = f"no kernel id: {kernel_id!r}"
        raise OptionError(msg, hint="`Session.kernels()` has those of the session")
    return kernel_id


def check_kernel_name(name: object) -> str:
    """The name of a kernel spec, as a caller gives it."""
    if not isinstance(name, str) or not name or not name.isprintable():
        msg = f"no name of a kernel spec: {name!r}"
        raise OptionError(msg, hint="give one such as 'python3', or None for the server's default")
    return name


def _check_code(code: object, timeout: object) -> None:
    if not isinstance(code, str):
        msg = f"code is {type(code).__name__}, and has to be a text"
        raise OptionError(msg, hint="give the code as a str")
    try:
        code.encode()
    except UnicodeEncodeError as error:
        msg = f"code has a character at {error.start} that UTF-8 cannot have: half of a pair of surrogates"
        raise OptionError(msg, hint="write it as an escape in the code") from None
    if timeout is not None:
        check_seconds(timeout)
