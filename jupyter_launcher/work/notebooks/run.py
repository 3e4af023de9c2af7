"""Notebooks that are executed in a session, cell by cell, by a kernel of their own."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from jupyter_launcher.acts import run_act
from jupyter_launcher.engine.protocol import Progress
from jupyter_launcher.errors import (
    CellError,
    ExecuteTimeoutError,
    KernelDiedError,
    LauncherError,
    ServerTimeoutError,
    WorkError,
)
from jupyter_launcher.models import Phase
from jupyter_launcher.models.options import show_value
from jupyter_launcher.results import ExecuteResult, NotebookResult
from jupyter_launcher.spec.checks import refuse_option
from jupyter_launcher.spec.texts import check_inner_path
from jupyter_launcher.waiting import Deadline
from jupyter_launcher.work.channels import check_extra
from jupyter_launcher.work.connection import KernelGoneError
from jupyter_launcher.work.kernels import Kernel
from jupyter_launcher.work.notebooks.files import Files, refuse_itself
from jupyter_launcher.work.notebooks.ipynb import (
    Notebook,
    cells_to_execute,
    check_code,
    check_parameters,
    clear_outputs,
    has_tag,
    kernel_name_of,
    parse_notebook,
    place_parameters,
    set_result,
)
from jupyter_launcher.work.outputs import Displays
from jupyter_launcher.work.place import Place

__all__ = ["run_notebook"]

_MAY_RAISE = "raises-exception"
_EARLY = 1.0  # so long before its end a wait may give up
_SHOWN = 500  # characters of what the session tells, in a message


def run_notebook(
    place: Place,
    path: str | os.PathLike[str],
    *,
    parameters: Mapping[str, object] | None,
    timeout: float | None,
    cell_timeout: float | None,
    output: str | os.PathLike[str] | None,
) -> NotebookResult:
    """Execute a notebook, as ``Session.run_notebook`` says."""
    check_extra()
    work = _Work(
        place=place,
        path=_check_file(path, "path"),
        parameters=check_parameters(parameters),
        timeout=_check_seconds(timeout, "timeout"),
        cell_timeout=_check_seconds(cell_timeout, "cell_timeout"),
        output=None if output is None else _check_file(output, "output"),
    )
    if work.output == work.path:
        refuse_itself()
    return run_act(work.run)


def _check_file(value: object, option: str) -> str:
    path = check_inner_path(value, option)
    if not path:
        refuse_option(option, f"is {show_value(value)}, the pipeline directory itself", "give the path of a notebook")
    return path


def _check_seconds(value: object, option: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        refuse_option(option, f"is {show_value(value)}", "give a number of seconds above 0, or None for no limit")
    return float(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """One notebook, and what was asked for."""

    place: Place
    path: str
    parameters: Mapping[str, str]
    timeout: float | None
    cell_timeout: float | None
    output: str | None

    def run(self) -> NotebookResult:
        files = Files(self.place)
        try:
            with self.place.phase(Phase.NOTEBOOK) as progress:
                notebook = parse_notebook(files.read(self.path), self.path)
                if self.parameters:
                    files.check_language(self.path, kernel_name_of(notebook))
                    place_parameters(notebook, self.parameters)
                check_code(notebook, self.path)
                clear_outputs(notebook)
                if self.output is not None:
                    files.check_output(self.output, self.path)
                return self._execute(notebook, progress)
        except WorkError as error:
            error.session_id = self.place.session_id
            raise

    def _execute(self, notebook: Notebook, progress: Progress) -> NotebookResult:
        begin = time.monotonic()
        end = None if self.timeout is None else Deadline(self.timeout)
        cells = list(cells_to_execute(notebook))
        truncated = False
        with contextlib.ExitStack() as stack:
            kernel = self._start_kernel(stack, notebook, end)
            displays: Displays = {}
            execute = functools.partial(kernel.execute_cell, check=False, on_output=None, displays=displays)
            try:
                for done, (number, cell) in enumerate(cells):
                    progress(f"{self.path}, cell {number}", done, len(cells))
                    truncated |= self._execute_cell(execute, number, cell, end).truncated
                progress(self.path, len(cells), len(cells))
                seconds = time.monotonic() - begin
            except LauncherError as error:
                if isinstance(error, (CellError, KernelDiedError, ExecuteTimeoutError)):
                    error.notebook = notebook
                self._write_after(error, notebook)
                raise
            self._write(notebook)
        return NotebookResult(notebook=notebook, seconds=seconds, executed=len(cells), truncated=truncated)

    def _start_kernel(self, stack: contextlib.ExitStack, notebook: Notebook, end: Deadline | None) -> Kernel:
        name = kernel_name_of(notebook)
        error: KernelDiedError | ExecuteTimeoutError
        try:
            return stack.enter_context(Kernel(self.place, name=name, path=self.path, kernel_id=None, end=end))
        except KernelDiedError as died:
            error = died
        except ServerTimeoutError:
            if end is None or end.remaining() > _EARLY:
                raise
            msg = f"{self.path} did not end within {self.timeout:g} s; the time was over before its kernel answered"
            error = ExecuteTimeoutError(msg, hint="give it more time", seconds=self.timeout or 0.0)
        error.notebook = notebook
        self._write_after(error, notebook)
        raise error

    def _execute_cell(
        self, execute: Callable[..., ExecuteResult], number: int, cell: Notebook, end: Deadline | None
    ) -> ExecuteResult:
        where = f"cell {number} of {self.path}"
        left = math.inf if end is None else end.remaining()
        seconds = left if self.cell_timeout is None else min(left, self.cell_timeout)
        if not left:
            msg = f"{self.path} did not end within {self.timeout:g} s; the time was over before its cell {number}"
            raise ExecuteTimeoutError(msg, hint="give it more time", seconds=self.timeout or 0.0, cell=number)
        try:
            limit = None if seconds == math.inf else seconds
            result = execute(cell["source"], timeout=limit)
        except ExecuteTimeoutError as error:
            if seconds == self.cell_timeout:
                error.message = f"{where} did not end within {seconds:g} s, and was interrupted"
            else:
                error.message = f"{self.path} did not end within {self.timeout:g} s; its cell {number} was interrupted"
                error.seconds = self.timeout or 0.0
            error.cell = number
            _keep_result(error.result, cell)
            raise
        except KernelDiedError as error:
            error.message, error.cell = f"{where}: {error.message}", number
            _keep_result(error.result, cell)
            raise
        except KernelGoneError:
            msg = f"the kernel ended before {where}"
            raise KernelDiedError(
                msg, hint="see why in the log of the session, and run the notebook again", cell=number
            ) from None
        except WorkError as error:
            error.message = f"{where}: {error.message}"
            raise
        set_result(cell, result)
        if result.status == "aborted":
            msg = f"{where} was not executed: other code, which somebody sent to its kernel, has failed"
            raise WorkError(msg, hint="run the notebook again, and leave its kernel alone meanwhile")
        if result.error is not None and not has_tag(cell, _MAY_RAISE):
            failure = result.error
            msg = " ".join(f"{where} raised {failure.ename}: {failure.evalue}".split())[:_SHOWN]
            raise CellError(
                msg,
                hint="see the traceback; a cell that may raise needs the tag raises-exception",
                ename=failure.ename,
                evalue=failure.evalue,
                traceback=failure.traceback,
                result=result,
                cell=number,
            )
        return result

    def _write(self, notebook: Notebook) -> None:
        if self.output is not None:
            Files(self.place).write(self.output, notebook)

    def _write_after(self, error: LauncherError, notebook: Notebook) -> None:
        """Write the notebook that failed; where that fails too, its error tells."""
        try:
            self._write(notebook)
        except LauncherError as second:
            error.hint = f"{error.hint}; {second.message}"


def _keep_result(result: ExecuteResult | None, cell: Notebook) -> None:
    if result is not None:
        set_result(cell, result)
