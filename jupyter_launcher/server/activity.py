"""What a server tells of its use. All of it is the word of a session's user, so it is parsed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from jupyter_launcher.engine.shapes import parse_time
from jupyter_launcher.errors import ServerError, ServerTimeoutError
from jupyter_launcher.models import Activity, KernelInfo
from jupyter_launcher.server.api import JupyterApi, NoAnswerError, Response, parse_kernel_ids
from jupyter_launcher.waiting import Deadline

__all__ = ["parse_kernels", "parse_oom_kills", "read_activity"]

_SHOWN = 200  # characters of a kernel's name or state
_MOST = 2**31
_MOMENT = re.compile(r"[0-9]{1,11}\.[0-9]{3}")


def parse_oom_kills(answer: Response) -> int | None:
    """How many processes of the session were killed for memory, by an answer of our server; None: not known."""
    text = answer.headers.get("x-jupyter-launcher-oom-kills", "")
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else None


def parse_kernels(answer: Response) -> tuple[KernelInfo, ...]:
    """The kernels of a server, by its answer to ``api/kernels``; any error of parsing where they cannot be read."""
    if answer.status != 200:
        msg = "no answer with 200"
        raise ValueError(msg)
    found = tuple(_parse_kernel(item) for item in _parse_list(answer.body))
    if parse_kernel_ids([item.id for item in found]) is None:
        msg = "no ids"
        raise ValueError(msg)
    return found


def read_activity(api: JupyterApi, deadline: Deadline) -> Activity:
    """Ask a server for its use. No request counts as one.

    Raises:
        ServerTimeoutError: it does not answer in time.
        ServerError: what it answers is none.
    """
    try:
        status, kernels, terminals = (
            api.request("GET", path, deadline) for path in ("api/status", "api/kernels", "api/terminals")
        )
    except NoAnswerError as error:
        msg = f"the server does not tell what it does: {error}"
        hint = "ask again; `Session.status()` shows whether the server lives"
        raise ServerTimeoutError(msg, hint=hint, seconds=deadline.seconds) from None
    try:
        return _parse_activity(status, kernels, terminals)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        seen = f"status {status.status}, {kernels.status} and {terminals.status}; {type(error).__name__}"
        msg = f"the server's answers about what it does cannot be read ({seen})"
        raise ServerError(msg, hint="see its log; where kernels run on a gateway, that is asked too") from None


def _parse_activity(status: Response, kernels: Response, terminals: Response) -> Activity:
    if status.status != 200:
        msg = "no answer with 200"
        raise ValueError(msg)
    # A server without terminals answers 404.
    open_terminals = _parse_list(terminals.body) if terminals.status == 200 else ()
    found = parse_kernels(kernels)
    write = status.headers.get("x-jupyter-launcher-last-write", "")
    moments = (
        parse_time(status.body["started"]),
        *(item.last_activity for item in found),
        *(parse_time(item["last_activity"]) for item in open_terminals if item.get("last_activity")),
        *([float(write)] if _MOMENT.fullmatch(write) else []),
    )
    return Activity(
        last=max(moments),
        kernels=found,
        terminals=len(open_terminals),
        connections=_parse_count(status.body["connections"]),
    )


def _parse_list(body: object) -> Sequence[Mapping[str, Any]]:
    if not isinstance(body, list):
        msg = "no list"
        raise TypeError(msg)
    return body


def _parse_kernel(item: Mapping[str, Any]) -> KernelInfo:
    return KernelInfo(
        id=item["id"],
        name=_parse_word(item["name"]),
        state=_parse_word(item.get("execution_state", "unknown")),
        last_activity=parse_time(item["last_activity"]),
        connections=_parse_count(item.get("connections", 0)),
    )


def _parse_word(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable() or len(value) > _SHOWN:
        msg = "no word"
        raise TypeError(msg)
    return value


def _parse_count(value: object) -> int:
    if not isinstance(value, int) or not 0 <= value < _MOST:
        msg = "no count"
        raise TypeError(msg)
    return int(value)
