"""Formats results as JSON or columns."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_launcher.errors import LauncherError
from jupyter_launcher.models import SessionSummary, StopReport, Volume

if TYPE_CHECKING:
    from jupyter_launcher.sessions.session import Session

__all__ = [
    "describe_report",
    "describe_session",
    "error_document",
    "format_columns",
    "format_document",
    "format_line",
    "session_document",
    "summary_document",
    "to_plain",
]


def format_columns(rows: Sequence[Sequence[object]]) -> str:
    """Rows as text, each column as wide as its widest cell; nothing is cut off."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(line.rstrip() for line in lines)


def format_document(value: object) -> str:
    """A value as one JSON document."""
    return json.dumps(to_plain(value), indent=2)


def format_line(value: object) -> str:
    """A value as one JSON document in one line."""
    return json.dumps(to_plain(value))


def to_plain(value: object) -> Any:
    """A value as JSON has it: dataclasses become objects, enums their values, paths and volumes text."""
    if isinstance(value, Volume):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: to_plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): to_plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    return os.fspath(value) if isinstance(value, Path) else value


def error_document(error: LauncherError) -> dict[str, Any]:
    """An error with its typed fields; ``code`` is the command's exit code."""
    return {"error": {"type": type(error).__name__, "code": error.command_exit_code, **to_plain(error)}}


def summary_document(summary: SessionSummary) -> dict[str, Any]:
    """An item of the list; the node is left out where there is no swarm."""
    found: dict[str, Any] = to_plain(summary)
    return found if summary.node else {name: value for name, value in found.items() if name != "node"}


def session_document(session: Session, *, token: bool) -> dict[str, Any]:
    """A running session; without ``token`` what would hold it is left out."""
    info = session.server_info.to_dict()
    if not token:
        del info["token"]
    return {
        "session_id": session.id,
        "container_id": session.container_id,
        "container_name": session.container_name,
        **({"node": session.node} if session.node else {}),
        "pipeline_dir": str(session.pipeline_dir),
        "gateway": session.gateway.name if session.gateway else None,
        "url": session.url,
        **({"lab_url": session.lab_url} if token else {}),
        "internal_url": session.internal_url,
        **({"ports": session.ports} if session.ports else {}),
        "server_info": info,
    }


def describe_session(session: Session, *, token: bool) -> str:
    """A running session in a few aligned lines; without ``token`` the URL has none."""
    from jupyter_launcher.host.address import bracket

    rows = [
        ("session", session.id),
        ("pipeline dir", session.pipeline_dir),
        ("gateway", session.gateway.name if session.gateway else "none: kernels run beside the server"),
        ("container", session.container_name),
        *([("node", session.node)] if session.node else []),
        ("for containers", session.internal_url),
        *((f"port {inside}", f"{bracket(host)}:{port}") for inside, (host, port) in session.ports.items()),
        ("url", session.lab_url if token else f"{session.url}lab"),
    ]
    return format_columns(rows)


def describe_report(name: str, report: StopReport) -> str:
    """How a session or a gateway of this id has ended, in one line."""
    kernels = f"{len(report.kernels_gone)} of {len(report.kernels)} kernels gone" if report.kernels else ""
    return f"{name}  {report.method.value}  {report.seconds:.2f} s  {kernels}".rstrip()
