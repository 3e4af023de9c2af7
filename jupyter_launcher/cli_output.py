"""Results on stdout: one JSON document, or aligned columns; and what an error makes of the exit code."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_launcher.errors import (
    EngineError,
    ExecError,
    GatewayError,
    LauncherError,
    OptionError,
    PipelineDirError,
    ServerError,
    SessionError,
)

if TYPE_CHECKING:
    from jupyter_launcher.session import Session

__all__ = ["EXIT_CODES", "columns", "document", "error_document", "exit_code", "plain", "session_document"]

EXIT_CODES: Mapping[type[LauncherError], int] = {
    OptionError: 2,
    PipelineDirError: 3,
    EngineError: 4,
    ExecError: 5,
    GatewayError: 6,
    ServerError: 7,
    SessionError: 8,
}
"""One for each branch of the hierarchy of errors; usage is 2 as for every command."""


def exit_code(error: LauncherError) -> int:
    """The code of the branch that an error is of."""
    return next((code for branch, code in EXIT_CODES.items() if isinstance(error, branch)), 1)


def columns(rows: Sequence[Sequence[object]]) -> str:
    """Rows as text, each column as wide as its widest cell; nothing is cut off."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(line.rstrip() for line in lines)


def document(value: object) -> str:
    """A value of ours as one JSON document."""
    return json.dumps(plain(value), indent=2)


def plain(value: object) -> Any:
    """What JSON can say: values of ours become objects, enums their values, paths text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    return os.fspath(value) if isinstance(value, Path) else value


def error_document(error: LauncherError) -> dict[str, Any]:
    """An error with its typed fields; ``code`` is the command's exit code."""
    return {"error": {"type": type(error).__name__, "code": exit_code(error), **plain(error)}}


def session_document(session: Session, *, token: bool) -> dict[str, Any]:
    """A running session; without ``token`` what would hold it is left out."""
    info = session.server_info.to_dict()
    if not token:
        del info["token"]
    return {
        "session_id": session.id,
        "container_id": session.container_id,
        "container_name": session.container_name,
        "pipeline_dir": str(session.pipeline_dir),
        "gateway": session.gateway.name if session.gateway else None,
        "url": session.url,
        **({"lab_url": session.lab_url} if token else {}),
        "internal_url": session.internal_url,
        "server_info": info,
    }
