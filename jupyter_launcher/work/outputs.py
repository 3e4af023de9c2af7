"""What a kernel's messages about one execution add up to: outputs in nbformat's shape, and their text."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jupyter_launcher.results import CodeFailure, ExecuteResult, Output
from jupyter_launcher.work.messages import Message

__all__ = ["Displays", "Outputs"]

_MOST_BYTES = 2**28
_MOST_OUTPUTS = 100_000
_STATUSES = {"ok": "ok", "aborted": "aborted", "abort": "aborted"}
_COLOURS = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
_CUT = re.compile(r"IOPub (?:data|message) rate exceeded\.\n")


@dataclass(slots=True, eq=False)
class _Display:
    """An output that has a display id, how many bytes it counts, and for whom."""

    output: dict[str, Any]
    size: int
    of: Outputs


Displays = dict[str, list[_Display]]
"""What each display id shows. Cells of one notebook share it, since one may update what another has shown."""


class Outputs:
    """Collects the outputs of one execution.

    Args:
        on_output: called with each output as it comes; a stream's in pieces.
        displays: where outputs are known by their display id.
    """

    def __init__(self, on_output: Callable[[Output], object] | None = None, displays: Displays | None = None) -> None:
        self.truncated = False
        self._on_output = on_output
        self._displays: Displays = {} if displays is None else displays
        self._outputs: list[dict[str, Any]] = []
        self._pieces: list[str] = []  # of the last output, where that is a stream
        self._shown: set[str] = set()  # ids of displays
        self._bytes = 0
        self._clear_before_next = False

    def add(self, message: Message, kernel: str) -> None:
        """Take a message of the execution; ``kernel``: the session of the process that executes it."""
        output = _OF_KIND[message.kind](message.content) if message.kind in _OF_KIND else None
        if output is not None:
            if output["output_type"] == "stream" and message.session != kernel and _CUT.match(output["text"]):
                self.truncated = True
            # Many small messages may be one text, so of a stream only that counts.
            size = len(output["text"]) if output["output_type"] == "stream" else message.size
            self._append(output, size, _display_id(message.content))
        elif message.kind == "clear_output":
            self._clear_before_next = message.content.get("wait") is True
            if not self._clear_before_next:
                self._clear()
        elif message.kind == "update_display_data":
            self._update(message.content, message.size)

    def result(self, reply: Mapping[str, Any]) -> ExecuteResult:
        """All that has come, and the kernel's reply."""
        self._join()
        status, count = _STATUSES.get(str(reply.get("status")), "error"), reply.get("execution_count")
        return ExecuteResult(
            status=status,
            text=_text_of(self._outputs),
            outputs=tuple(self._outputs),
            error=self._failure(reply) if reply and status == "error" else None,
            execution_count=count if isinstance(count, int) else None,
            truncated=self.truncated,
        )

    def _failure(self, reply: Mapping[str, Any]) -> CodeFailure:
        # A reply may be without the traceback that the output has.
        found = next((item for item in reversed(self._outputs) if item["output_type"] == "error"), None)
        error = _error(reply) if found is None or reply.get("traceback") else found
        lines = "\n".join(error["traceback"])
        return CodeFailure(ename=error["ename"], evalue=error["evalue"], traceback=_COLOURS.sub("", lines))

    def _append(self, output: dict[str, Any], size: int, display: str | None) -> None:
        if self._clear_before_next:
            self._clear()
        if self._on_output is not None:
            self._on_output(dict(output))
        self._bytes += size
        if self._bytes > _MOST_BYTES or len(self._outputs) >= _MOST_OUTPUTS:
            self.truncated = True
            return
        last = self._outputs[-1] if self._outputs else {}
        if output["output_type"] == "stream" and last.get("name") == output["name"]:
            self._pieces.append(output["text"])
            return
        self._join()
        self._outputs.append(output)
        if output["output_type"] == "stream":
            self._pieces.append(output["text"])
        if display is not None:
            self._displays.setdefault(display, []).append(_Display(output, size, self))
            self._shown.add(display)

    def _join(self) -> None:
        """Join the pieces of a stream at once: one after another would cost the square of their length."""
        if self._pieces:
            self._outputs[-1]["text"] = "".join(self._pieces)
            self._pieces = []

    def _clear(self) -> None:
        self._clear_before_next = False
        self._pieces = []
        self._outputs = []
        self._bytes = 0
        for display in self._shown:
            self._displays[display] = [item for item in self._displays[display] if item.of is not self]
        self._shown = set()

    def _update(self, content: Mapping[str, Any], size: int) -> None:
        new = _display(content)
        for item in self._displays.get(_display_id(content) or "", ()):
            total = item.of._bytes - item.size + size  # noqa: SLF001 - another one of this class
            if total > _MOST_BYTES:
                self.truncated = True
                continue
            item.of._bytes, item.size = total, size  # noqa: SLF001
            item.output["data"], item.output["metadata"] = new["data"], new["metadata"]


def _stream(content: Mapping[str, Any]) -> dict[str, Any]:
    name = "stderr" if content.get("name") == "stderr" else "stdout"
    return {"output_type": "stream", "name": name, "text": _string(content.get("text"))}


def _display(content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "output_type": "display_data",
        "data": _dict(content.get("data")),
        "metadata": _dict(content.get("metadata")),
    }


def _execute_result(content: Mapping[str, Any]) -> dict[str, Any]:
    count = content.get("execution_count")
    return {
        **_display(content),
        "output_type": "execute_result",
        "execution_count": count if isinstance(count, int) else None,
    }


def _error(content: Mapping[str, Any]) -> dict[str, Any]:
    lines = content.get("traceback")
    return {
        "output_type": "error",
        "ename": _string(content.get("ename")),
        "evalue": _string(content.get("evalue")),
        "traceback": [_string(line) for line in lines] if isinstance(lines, list) else [],
    }


_OF_KIND: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "stream": _stream,
    "display_data": _display,
    "execute_result": _execute_result,
    "error": _error,
}


def _string(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _display_id(content: Mapping[str, Any]) -> str | None:
    found = _dict(content.get("transient")).get("display_id")
    return found if isinstance(found, str) else None


def _text_of(outputs: list[dict[str, Any]]) -> str:
    """What was printed, with the plain text of each display on lines of its own."""
    pieces: list[str] = []
    open_line = shown = False
    for output in outputs:
        if output["output_type"] == "stream":
            text, is_display = (output["text"] if output["name"] == "stdout" else ""), False
        else:
            plain = output.get("data", {}).get("text/plain", "")
            text, is_display = ("".join(plain) if _is_lines(plain) else _string(plain)), True
        if not text:
            continue
        if open_line and (is_display or shown):
            pieces.append("\n")
        pieces.append(text)
        open_line, shown = not text.endswith("\n"), is_display
    return "".join(pieces)


def _is_lines(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(line, str) for line in value)
