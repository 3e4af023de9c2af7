"""Messages of the Jupyter protocol, as a websocket carries them. Those of a kernel are hostile until parsed."""

from __future__ import annotations

import json
import struct
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["DEAD", "Message", "build_code", "build_request", "parse_message"]

DEAD = ("dead", "restarting", "autorestarting")
"""States of a kernel whose process has ended by itself."""

_VERSION = "5.3"
_DATE = "1970-01-01T00:00:00Z"  # every message has one; kernels do not read it


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a kernel, or of a server in its name.

    Attributes:
        kind: such as ``stream``.
        parent: the id of the request that it belongs to; empty: to none.
        session: whose it is: of one process of a kernel, or of a server.
        content: depends on the kind.
        size: how many bytes it had.
    """

    kind: str
    parent: str
    session: str
    content: Mapping[str, Any]
    size: int = field(default=0, compare=False)

    @property
    def state(self) -> object:
        """What a kernel does, where the message is about that."""
        return self.content.get("execution_state") if self.kind == "status" else None


def build_request(kind: str, content: Mapping[str, object], session: str, channel: str = "shell") -> tuple[str, str]:
    """A request's id, and its text for the websocket."""
    request = uuid.uuid4().hex
    header = {
        "msg_id": request,
        "msg_type": kind,
        "username": "jupyter-launcher",
        "session": session,
        "version": _VERSION,
        "date": _DATE,
    }
    message = {
        "channel": channel,
        "header": header,
        "parent_header": {},
        "metadata": {},
        "content": content,
        "buffers": [],
    }
    return request, json.dumps(message)


def build_code(code: str, session: str) -> tuple[str, str]:
    """As ``build_request``, for code that a kernel is to execute."""
    content = {
        "code": code,
        "silent": False,
        "store_history": True,
        "user_expressions": {},
        "allow_stdin": False,
        # What others have sent to this kernel is not thrown away where this code fails.
        "stop_on_error": False,
    }
    return build_request("execute_request", content, session)


def parse_message(data: bytes) -> Message | None:
    """A message from what came; None where it is none."""
    try:
        text = data if data[:1] == b"{" else _json_of_binary(data)
        found = json.loads(text)
        header, parent = found["header"], found["parent_header"] or {}
        kind, of, session, content = header["msg_type"], parent.get("msg_id", ""), header["session"], found["content"]
    except (AttributeError, KeyError, MemoryError, RecursionError, TypeError, ValueError, struct.error):
        return None
    if not isinstance(content, dict) or not all(isinstance(text, str) for text in (kind, of, session)):
        return None
    return Message(kind, of, session, content, len(text))


def _json_of_binary(data: bytes) -> bytes:
    """The message itself, without the buffers that came with it."""
    count, begin = struct.unpack("!II", data[:8])
    end = struct.unpack("!I", data[8:12])[0] if count > 1 else len(data)
    return data[begin:end]
