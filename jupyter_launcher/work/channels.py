"""``Channels``: the websocket of a kernel. Only this module imports ``websocket``, of the extra ``execute``.

The framing is websocket-client's. The connection and its handshake are those of ``server/api.py``, as for all requests:
no proxy, no cookie, the token in a header, a limit for each wait.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import importlib.util
import os
import selectors
import socket
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from jupyter_launcher.acts import close_on_cancel
from jupyter_launcher.errors import OptionError
from jupyter_launcher.server.api import Channel, JupyterApi, NoAnswerError
from jupyter_launcher.server.connect import shut
from jupyter_launcher.waiting import Deadline
from jupyter_launcher.work.messages import Message, parse_message

if TYPE_CHECKING:
    import websocket

__all__ = ["Channels", "ChannelsLostError", "check_extra"]

_LIMIT = 2**30
"""Bytes that a message may have."""

_SEND_SECONDS = 30.0
_ACKNOWLEDGE = 2**20
"""After so many bytes the server learns what has arrived; see ``server/inside/patches/resume.py``."""

_PING_SECONDS = 10.0
_SILENCE_SECONDS = 30.0
_ACCEPT = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455
_SEEN = "jupyter_launcher_seen"
_NEXT = "x-jupyter-launcher-next"


class ChannelsLostError(Exception):
    """There is no connection any more, or none could be made. ``status``: what the server refused it with."""

    def __init__(self, seen: str, status: int | None = None) -> None:
        super().__init__(seen)
        self.status = status


def check_extra() -> None:
    """Raise OptionError where the extra is not installed."""
    if importlib.util.find_spec("websocket") is None:
        msg = "kernels need the package websocket-client"
        raise OptionError(msg, hint="pip install 'jupyter-launcher[execute]'")


class Channels:
    """A connection to one kernel. A connection that was lost is made anew by another object, with ``seen`` of this one.

    Attributes:
        seen: how many messages have come on this connection and on those that it resumes.
        complete: whether all messages come, none before the first being lost; None: the server cannot tell.
    """

    def __init__(self, channel: Channel, seen: int) -> None:
        import websocket

        self.seen = seen
        following = channel.headers.get(_NEXT)
        self.complete = None if following is None else following == str(seen)
        self._errors = (OSError, websocket.WebSocketException)
        self._timeout = websocket.WebSocketTimeoutException
        self._socket = _BoundedSocket(channel.sock)
        self._websocket: websocket.WebSocket = websocket.WebSocket(skip_utf8_validation=True)
        self._websocket.sock = self._socket  # type: ignore[assignment] # it has all that is used of one
        self._websocket.connected = True
        self._frame: tuple[int, bytes] | None = None  # a cancel kept it from being handed over
        self._unacknowledged = 0
        self._pinged = time.monotonic()

    @classmethod
    def open(cls, api: JupyterApi, kernel: str, session: str, deadline: Deadline, seen: int = 0) -> Channels:
        """Connect to a kernel.

        Args:
            api: of the session's server.
            kernel: its id.
            session: ours, unique; the same to resume.
            deadline: for the connection.
            seen: of the connection that was lost.

        Raises:
            ChannelsLostError: there is no connection.
        """
        key = base64.b64encode(os.urandom(16)).decode()
        path = f"api/kernels/{quote(kernel, safe='')}/channels?session_id={session}&{_SEEN}={seen}"
        try:
            answer = api.open_channel(path, deadline, key)
        except NoAnswerError as error:
            raise ChannelsLostError(str(error)) from None
        if not isinstance(answer, Channel):
            msg = f"the server refused it with status {answer.status}"
            raise ChannelsLostError(msg, answer.status)
        accepted = base64.b64encode(hashlib.sha1(f"{key}{_ACCEPT}".encode(), usedforsecurity=False).digest()).decode()
        if answer.headers.get("sec-websocket-accept") != accepted:
            answer.sock.close()
            msg = "the answer is none of a websocket"
            raise ChannelsLostError(msg)
        answer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(answer, seen)

    def send(self, text: str) -> None:
        """Send a message.

        Raises:
            ChannelsLostError: the connection is lost.
        """
        try:
            with close_on_cancel(self.shut):
                self._socket.limit(_SEND_SECONDS)
                self._websocket.send_text(text)
        except self._errors as error:
            raise ChannelsLostError(type(error).__name__) from None

    def receive(self, seconds: float) -> Message | None:
        """Wait for the next message; None where none came in this time, or none that can be read.

        Raises:
            ChannelsLostError: the connection is lost.
        """
        import websocket

        self._ping()
        try:
            with close_on_cancel(self.shut):
                self._socket.limit(seconds)
                self._frame = self._frame or self._websocket.recv_data(control_frame=True)
            opcode, data = self._frame
        except self._timeout:
            if time.monotonic() - self._socket.heard > _SILENCE_SECONDS:
                msg = f"the server has sent nothing for {_SILENCE_SECONDS:g} s"
                raise ChannelsLostError(msg) from None
            return None
        except self._errors as error:
            raise ChannelsLostError(type(error).__name__) from None
        self._frame = None
        self._unacknowledged += self._socket.restart()
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            msg = "the server closed it"
            raise ChannelsLostError(msg)
        if opcode not in (websocket.ABNF.OPCODE_TEXT, websocket.ABNF.OPCODE_BINARY):
            return None
        self.seen += 1
        return parse_message(data)

    def pending(self) -> bool:
        """Whether something has come, or the connection has ended."""
        plain = self._socket.plain
        if self._frame is not None or plain.fileno() < 0 or getattr(plain, "pending", int)():  # the last: read by TLS
            return True
        with selectors.DefaultSelector() as selector:
            selector.register(plain, selectors.EVENT_READ)
            return bool(selector.select(0))

    def listen_again(self) -> None:
        """The server's silence counts from now on: nobody has listened until now."""
        self._socket.heard = time.monotonic()

    def _ping(self) -> None:
        """Keep the connection alive, and tell the server what has arrived."""
        if self._unacknowledged < _ACKNOWLEDGE and time.monotonic() - self._pinged < _PING_SECONDS:
            return
        self._unacknowledged, self._pinged = 0, time.monotonic()
        try:
            self._socket.limit(_SEND_SECONDS)
            self._websocket.ping(str(self.seen))
        except self._errors as error:
            raise ChannelsLostError(type(error).__name__) from None

    def shut(self) -> None:
        """End the connection as if it were lost, from any thread."""
        shut(self._socket.plain)

    def close(self) -> None:
        """Leave the kernel; the server keeps nothing for this connection."""
        with contextlib.suppress(*self._errors):
            self._socket.limit(1.0)
            self._websocket.send_close()
        self._socket.close()


class _BoundedSocket:
    """A socket as websocket-client uses it. It waits no longer, and takes no more for one message, than it may."""

    def __init__(self, plain: socket.socket) -> None:
        self.plain = plain
        self.heard = time.monotonic()
        self._end = 0.0
        self._taken = 0
        self.fileno = plain.fileno
        self.close = functools.partial(_close, plain)
        self.shutdown = plain.shutdown

    def limit(self, seconds: float) -> None:
        """What is read or sent from now on has so much time."""
        self._end = time.monotonic() + seconds

    def restart(self) -> int:
        """A message is complete; returns how many bytes it had."""
        taken, self._taken = self._taken, 0
        return taken

    def gettimeout(self) -> float:
        return max(self._end - time.monotonic(), 0.001)

    def recv(self, size: int) -> bytes:
        self.plain.settimeout(self.gettimeout())
        data = self.plain.recv(size)
        self.heard = time.monotonic()
        self._taken += len(data)
        if self._taken > _LIMIT:
            msg = f"a message of more than {_LIMIT} bytes"
            raise OSError(msg)
        return data

    def send(self, data: Any) -> int:
        self.plain.settimeout(self.gettimeout())
        return self.plain.send(data)


def _close(plain: socket.socket) -> None:
    with contextlib.suppress(OSError):
        plain.close()
