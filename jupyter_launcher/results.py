"""What comes of work in a session: of code, of a notebook, of a command. The errors of work hold these too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

__all__ = ["CodeFailure", "CommandResult", "ExecuteResult", "NotebookResult", "Output"]

Output: TypeAlias = Mapping[str, Any]
"""One output of a cell as nbformat 4 has it: its ``output_type`` is ``stream``, ``display_data``, ``execute_result``
or ``error``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeFailure:
    """What code raised.

    Attributes:
        ename: the kernel's name of the error, such as ``ZeroDivisionError``.
        evalue: its text.
        traceback: lines joined by line feeds, without the codes that colour a terminal.
    """

    ename: str
    evalue: str
    traceback: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecuteResult:
    """What came of code that a kernel executed.

    Attributes:
        status: ``ok``, ``error`` (the code raised), or ``aborted`` (the kernel did not execute it, because code that
            was sent before it failed).
        text: what was printed to stdout, and the plain text of displays and of the last expression, in their order.
        outputs: in nbformat's shape, in their order; what the code cleared or updated is as it was left.
        error: what the code raised, or None.
        execution_count: the kernel's number of this execution, as ``In [1]`` shows it; None where it tells none.
        truncated: output is missing: a server cut it, because it has a limit, or it had more than 256 MiB, or a lost
            connection could not be resumed.
    """

    status: str
    text: str = ""
    outputs: tuple[Output, ...] = ()
    error: CodeFailure | None = None
    execution_count: int | None = None
    truncated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NotebookResult:
    """What came of a notebook.

    Attributes:
        notebook: the executed notebook, in nbformat's shape.
        seconds: from the start of its kernel to the end of its last cell.
        executed: how many code cells were executed.
        truncated: a server cut the output of a cell, because it has a limit.
    """

    notebook: Mapping[str, Any] = field(repr=False)
    seconds: float
    executed: int
    truncated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandResult:
    """What came of a command in a session.

    Attributes:
        argv: the command.
        exit_code: its own; 128 plus the signal's number for one that a signal ended.
        stdout: the first 8 MiB of what it printed, as UTF-8; what is none is replaced.
        stderr: the same of its other stream.
        truncated: it printed more than that to one of them.
    """

    argv: tuple[str, ...]
    exit_code: int
    stdout: str = field(default="", repr=False)
    stderr: str = field(default="", repr=False)
    truncated: bool = False
