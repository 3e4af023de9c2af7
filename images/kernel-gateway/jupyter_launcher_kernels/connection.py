"""A websocket's connection to its kernel."""

from __future__ import annotations

import uuid
from typing import Any

from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection

__all__ = ["WebsocketConnection"]


class WebsocketConnection(ZMQChannelsWebsocketConnection):
    """Has a ZeroMQ identity of its own, where jupyter_server takes the client's session id.

    A browser's page opens two websockets with one session id at nearly the same time when a server stands before the
    gateway (jupyter_server#1310), and gives up the first. A kernel sends its answers to the connection of an identity
    that came last: with one identity for both, that is now and then the first, and the page waits for ever.
    """

    def connect(self) -> Any:
        """Connect to the kernel, and send each message to the client at once.

        tornado gathers small messages again as soon as it has answered the request for the websocket.
        """
        self.websocket_handler.set_nodelay(True)
        return super().connect()

    def create_stream(self) -> None:
        """Connect to the kernel; one identity for all channels, since a kernel asks for input by the request's."""
        identity = uuid.uuid4().hex.encode()
        for channel in ("iopub", "shell", "control", "stdin"):
            stream = getattr(self.kernel_manager, f"connect_{channel}")(identity=identity)
            stream.channel = channel
            self.channels[channel] = stream
