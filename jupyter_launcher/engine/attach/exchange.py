"""A command in a container whose input and output are open at once, over one connection to the engine."""

from __future__ import annotations

import contextlib
import io
import select
import socket
import ssl
from collections.abc import Iterator, Sequence

import requests
from docker import APIClient

from jupyter_launcher.acts import close_on_cancel, note_left, shielded
from jupyter_launcher.engine.errors import translate_errors
from jupyter_launcher.engine.shapes import parse_exit_code, parse_id
from jupyter_launcher.engine.streams import raise_for_status, shorten
from jupyter_launcher.errors import EngineError, LauncherError
from jupyter_launcher.waiting import Deadline, NotYetError, attempts

__all__ = ["ExecExchange", "attach"]

_PIECE = 2**16
_HEAD = 8
_QUIET_SECONDS = 30.0  # after which the engine is asked whether the command still runs
_END_SECONDS = 12.0
_NO_UPGRADE = (
    "have the proxy upgrade connections, as `docker exec` needs it too; haproxy 2.4 and later do not (haproxy#2684), "
    "haproxy 2.2 does"
)
_NOT_READY = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class ExecExchange:
    """What the protocol's ``Exchange`` says.

    One thread reads and writes, as TLS needs it; nothing of what waits is read before somebody asks for it.
    """

    def __init__(self, api: APIClient, endpoint: str, exec_id: str, connection: socket.socket, read: bytes) -> None:
        self._ended = self._closed = self._is_deaf = False
        self._api = api
        self._endpoint = endpoint
        self._exec_id = exec_id
        self._connection = connection
        self._inbox = bytearray(read)
        self._outbox = bytearray()
        self._was_quiet = False

    def send(self, data: bytes) -> None:
        """Let the next reads send it."""
        self._outbox += data

    def read(self, deadline: Deadline, *, wake: int | None = None) -> tuple[int, bytes] | None:
        """A piece of one of the streams; None: both have ended; 0 and no bytes: ``wake`` can be read."""
        with self._translate():
            while not self._ended:
                if (frame := self._take_frame()) is not None:
                    return frame
                ready = self._wait(deadline, wake)
                if not ready:
                    break
                if wake in ready:
                    return 0, b""
                self._write()
                self._receive()
            if self._ended:
                return None
        raise TimeoutError

    def _translate(self) -> contextlib.AbstractContextManager[None]:
        return translate_errors("talk to a command in a container", self._endpoint)

    def _take_frame(self) -> tuple[int, bytes] | None:
        end = _HEAD + int.from_bytes(self._inbox[4:_HEAD], "big")
        if len(self._inbox) < max(_HEAD, end):
            return None
        frame = self._inbox[0], bytes(self._inbox[_HEAD:end])
        del self._inbox[:end]
        return frame

    def _wait(self, deadline: Deadline, wake: int | None) -> list[int]:
        """Wait until something can be read or sent; which descriptors, and none where the deadline has passed."""
        own = self._connection.fileno()
        if isinstance(self._connection, ssl.SSLSocket) and self._connection.pending():
            return [own]
        poll = select.poll()
        poll.register(own, select.POLLIN | (select.POLLOUT if self._outbox else 0))
        if wake is not None:
            poll.register(wake, select.POLLIN)
        while not deadline.expired():
            if ready := poll.poll(min(deadline.remaining(), _QUIET_SECONDS) * 1000):
                return [descriptor for descriptor, _ in ready]
            if not deadline.expired():
                self._look()
                if self._ended:
                    return [own]
        return []

    def _look(self) -> None:
        """See that the engine and the command are there, since nothing came for long."""
        is_over = parse_exit_code(self._api.exec_inspect(self._exec_id)) is not None
        self._ended = is_over and self._was_quiet
        self._was_quiet = is_over

    def _write(self) -> None:
        if self._is_deaf:
            self._outbox.clear()
        if self._outbox:
            try:
                with contextlib.suppress(*_NOT_READY):
                    del self._outbox[: self._connection.send(self._outbox[:_PIECE])]
            except (BrokenPipeError, ConnectionResetError):  # the command has ended; what it said is still to be read
                self._is_deaf = True

    def _receive(self) -> None:
        try:
            with contextlib.suppress(*_NOT_READY):
                data = self._connection.recv(_PIECE)
                self._inbox += data
                self._ended = self._ended or not data
        except ConnectionResetError:
            if not self._is_deaf:
                raise
            self._ended = True

    def is_over(self) -> bool:
        """Whether the command has ended, and not its connection alone."""
        return self._ended and not self._closed

    def close(self) -> None:
        """End the command's input, and with it the command; another thread's read ends too."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def await_end(self) -> None:
        """Wait until a command whose connection was closed has ended."""
        for attempt in attempts(Deadline(_END_SECONDS), NotYetError, pause=0.1):
            with attempt:
                with self._translate():
                    code = parse_exit_code(self._api.exec_inspect(self._exec_id))
                if code is None:
                    raise NotYetError
                return
        msg = f"it has not ended within {_END_SECONDS:g} s"
        raise EngineError(msg, hint="see whether the session is paused")


@contextlib.contextmanager
def attach(
    api: APIClient, endpoint: str, container: str, argv: Sequence[str], user: str | None
) -> Iterator[ExecExchange]:
    """Run a command whose input and output stay open, as the protocol's ``attach`` says."""
    with translate_errors(f"run a command in container {container[:12]}", endpoint):
        words, variables = shorten(argv)
        answer = api.exec_create(
            container, words, stdin=True, workdir="/", user=user or "", environment=variables or None
        )
        exec_id = parse_id(answer)
        response = _start(api, exec_id)
    with contextlib.closing(response):
        with translate_errors(f"run a command in container {container[:12]}", endpoint):
            connection, read = _take_over(response)
        exchange = ExecExchange(api, endpoint, exec_id, connection, read)
        try:
            with close_on_cancel(exchange.close):
                yield exchange
        finally:
            is_over = exchange.is_over()
            exchange.close()
            if not is_over:
                _settle(exchange, container)


def _settle(exchange: ExecExchange, container: str) -> None:
    with shielded():
        try:
            exchange.await_end()
        except LauncherError:
            note_left(f"a command in container {container[:12]}")


def _start(api: APIClient, exec_id: str) -> requests.Response:
    # Not the SDK's exec_start, which reads past the bytes that came together with the answer's head
    # (docker-py#3332), and has no time limit.
    response = api.post(
        f"{api.base_url}/v{api.api_version}/exec/{exec_id}/start",
        json={"Detach": False, "Tty": False},
        headers={"Connection": "Upgrade", "Upgrade": "tcp"},
        stream=True,
        timeout=api.timeout,
    )
    try:
        raise_for_status(response)
        if response.status_code != 101:
            seen = f"HTTP status {response.status_code} in place of 101"
            msg = f"a proxy on the way to the engine lets no input pass ({seen})"
            raise EngineError(msg, hint=_NO_UPGRADE, status=response.status_code)
    except BaseException:
        response.close()
        raise
    return response


def _take_over(response: requests.Response) -> tuple[socket.socket, bytes]:
    """The connection of an answer that has changed to another protocol, and what of that was read with its head."""
    reader = getattr(getattr(response.raw, "_fp", None), "fp", None)
    if not isinstance(reader, io.BufferedReader) or not isinstance(reader.raw, socket.SocketIO):
        msg = "this transport to the engine cannot be written to"
        raise requests.ConnectionError(msg)
    connection: socket.socket = reader.raw._sock  # type: ignore[attr-defined] # noqa: SLF001 - there is no public way
    connection.settimeout(0)
    read = b""
    with contextlib.suppress(*_NOT_READY):
        read = reader.peek()
    return connection, read
