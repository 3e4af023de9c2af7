"""What the engine tells of containers as time goes by: a log, what one uses, what happens to them."""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import socket
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any

import requests
from docker import APIClient

from jupyter_launcher.engine.errors import translate_errors
from jupyter_launcher.engine.protocol import NO_LOG
from jupyter_launcher.engine.shapes import ContainerEvent, expect_shape
from jupyter_launcher.engine.streams import (
    open_stream,
    raise_for_status,
    read_frames,
    shut_stream,
    socket_of,
    unlimit_read,
)
from jupyter_launcher.errors import EngineError, EngineUnavailableError
from jupyter_launcher.models import Stats
from jupyter_launcher.waiting import Deadline

__all__ = ["EventStream", "decode_log", "parse_stats", "read_events", "read_log", "read_stats", "read_tail"]

_PIECE = 2**16
_LONGEST = 2**20
"""Bytes that one event may have."""
_CLOSING_SECONDS = 2.0
_TAIL_SECONDS = 5.0
_TAIL_SIZE = 64 * 1024  # characters
_LAST_TIME = 253402300799.0  # the end of the year 9999: engines refuse times that their clocks cannot tell
# Longer than an engine's cable may be out without harm to a session.
_ALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}
_NO_LIMIT = 2**62  # bytes; control groups of version 1 have a number in place of none

_HINT = (
    "`docker info -f '{{.LoggingDriver}}'`, or `podman info -f '{{.Host.LogDriver}}'`, shows the engine's logging "
    "driver; not every one can be read"
)


def decode_log(frames: Iterable[tuple[int, bytes]]) -> Iterator[str]:
    """A log's frames as text; a character that two frames share is put together."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for _, piece in frames:
        yield decoder.decode(piece)
    if rest := decoder.decode(b"", final=True):
        yield rest


def read_log(
    api: APIClient,
    endpoint: str,
    container: str,
    tail: int | None = None,
    *,
    follow: bool = False,
    deadline: Deadline | None = None,
) -> Iterator[str]:
    """A container's log in pieces, as the protocol's ``read_log`` says; an error at the deadline, also in a piece."""
    # Not the SDK's call, which would give up after a minute without a line.
    action = f"read the log of container {container[:12]}"
    try:
        with translate_errors(action, endpoint):
            response = api.get(
                f"{api.base_url}/v{api.api_version}/containers/{container}/logs",
                params={"stdout": 1, "stderr": 1, "follow": int(follow), "tail": "all" if tail is None else tail},
                stream=True,
                timeout=None if follow else api.timeout if deadline is None else deadline.remaining(),
            )
            if response.status_code >= 400:
                with contextlib.closing(response):
                    raise_for_status(response)
        if follow:
            _keep_alive(response)
    except EngineError as error:
        # Podman answers 500, and only its text tells.
        if error.status == 501 or (error.status == 500 and "cannot read logs" in error.message):
            raise EngineError(error.message, hint=_HINT, status=501) from error
        raise

    def read_pieces() -> Iterator[str]:
        with translate_errors(action, endpoint), open_stream(response):
            yield from decode_log(read_frames(response, deadline))

    return read_pieces()


def _keep_alive(response: requests.Response) -> None:
    """Let reads of the answer fail where its host has gone without a word, about half a minute later."""
    connection = socket_of(response)
    if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _ALIVE.items():
            if hasattr(socket, option):  # not every system has them
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def read_tail(api: APIClient, endpoint: str, container: str, lines: int) -> str:
    """The last lines of a log, as the protocol's ``log_tail`` says."""
    text, deadline = "", Deadline(_TAIL_SECONDS)
    try:
        for piece in read_log(api, endpoint, container, lines, deadline=deadline):
            text = (text + piece)[-_TAIL_SIZE:]
    except EngineError as error:
        seen = f"it did not end within {deadline.seconds:g} s" if deadline.expired() else error.message
        return f"{text}\n(the log breaks off: {seen})" if text else f"{NO_LOG}{seen})"
    return text


def read_stats(api: APIClient, endpoint: str, container: str) -> Stats:
    """What a container uses, as the protocol's ``stats`` says."""
    with translate_errors(f"ask what container {container[:12]} uses", endpoint):
        return parse_stats(api.stats(container, stream=False))


def parse_stats(raw: Mapping[str, Any]) -> Stats:
    """What a container uses; what the engine leaves out is None, and so is what makes no sense.

    Raises:
        EngineError: it has an unexpected shape.
    """
    with expect_shape("what a container uses"):
        memory, cpu, before = (raw.get(name) or {} for name in ("memory_stats", "cpu_stats", "precpu_stats"))
        details = memory.get("stats") or {}
        usage, limit = _whole(memory.get("usage")), _whole(memory.get("limit"))
        # In version 1 of control groups the first is of the group and those below it; version 2 has only the second.
        cache = _whole(details.get("total_inactive_file", details.get("inactive_file"))) or 0
        return Stats(
            memory=None if usage is None else max(0, usage - cache),
            memory_limit=limit if limit and limit < _NO_LIMIT else None,
            cpus=_cores(cpu, before),
            pids=_whole((raw.get("pids_stats") or {}).get("current")),
        )


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None


def _cores(now: Mapping[str, Any], before: Mapping[str, Any]) -> float | None:
    """Cores in use between two samples of a container's time and of its host's."""
    used = _between(*((sample.get("cpu_usage") or {}).get("total_usage") for sample in (before, now)))
    of_host = _between(before.get("system_cpu_usage"), now.get("system_cpu_usage"))
    cores = _whole(now.get("online_cpus"))
    return used / of_host * cores if used is not None and of_host and cores else None


def _between(before: object, now: object) -> int | None:
    early, late = _whole(before), _whole(now)
    return None if early is None or late is None or late < early else late - early


def read_events(api: APIClient, endpoint: str, labels: Sequence[str], since: float | None) -> EventStream:
    """What happens to containers, as the protocol's ``events`` says."""
    action = "read what happens to containers"
    # Not the SDK's call, which would give up after a minute without an event.
    with translate_errors(action, endpoint):
        response = api.get(
            f"{api.base_url}/v{api.api_version}/events",
            params={
                "filters": json.dumps({"type": ["container"], "label": list(labels)}),
                **({} if since is None else {"since": f"{min(since, _LAST_TIME):.9f}"}),
            },
            stream=True,
            timeout=api.timeout,
        )
        if response.status_code >= 400:
            with contextlib.closing(response):
                raise_for_status(response)
    unlimit_read(response)  # the next event may be hours away
    return EventStream(response, action, endpoint)


class EventStream:
    """The engine's events of containers, as they come."""

    def __init__(self, response: requests.Response, action: str, endpoint: str) -> None:
        self._response = response
        self._events = self._read(action, endpoint)
        self._reading = threading.Lock()
        self._closed = False
        self._process = os.getpid()

    def __iter__(self) -> EventStream:
        return self

    def __next__(self) -> ContainerEvent:
        with self._reading:
            return next(self._events)

    def close(self) -> None:
        """End it, also from another thread than the one that waits for an event; that one then gets no more."""
        if os.getpid() != self._process:  # a fork that leaves the block ends nothing
            return
        self._closed = True
        shut_stream(self._response)
        # A transport without a socket of its own goes on until the next event.
        if self._reading.acquire(timeout=_CLOSING_SECONDS):
            try:
                self._events.close()
                self._response.close()
            finally:
                self._reading.release()

    def _read(self, action: str, endpoint: str) -> Generator[ContainerEvent, None, None]:
        try:
            with translate_errors(action, endpoint), contextlib.closing(self._response):
                for line in _split_lines(self._response.iter_content(_PIECE)):
                    yield ContainerEvent.from_event(json.loads(line))
        except EngineError:
            if not self._closed:
                raise
        if not self._closed:
            msg = f"the engine at {endpoint} has ended its stream of events"
            hint = "ask again, with since= the time of the last event"
            raise EngineUnavailableError(msg, hint=hint, endpoint=endpoint)


def _split_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The lines in pieces of a stream, without those that are empty; the rest after the last one is left out."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > _LONGEST:
            msg = f"an event has more than {_LONGEST} bytes"
            raise ValueError(msg)
        yield from filter(bytes.strip, lines)
