"""Messages with binary buffers, to and from a gateway's kernel: those of widgets, such as images and files.

They are binary messages of a websocket. jupyter_server decodes those of the gateway as text, by which the task ends
that reads them, and sends those of a browser to the gateway as text, by which the gateway closes the websocket.

Upstream: none filed.
Leans on: ``GatewayWebSocketConnection._connection_done``, ``ws`` and ``handle_outgoing_message``; ``_read_messages``
reads by ``ws.read_message`` and calls ``decode`` of what is ``bytes``.
Seen with: jupyter_server 2.21.1, tornado 6.6.
Without it: a notebook whose cell makes a widget with a buffer gets no output any more, of any cell.
Goes when: ``_read_messages`` passes binary messages on.
"""

try:
    from jupyter_server.gateway.connections import GatewayWebSocketConnection as _GatewayConnection

    _gateway_connected = _GatewayConnection._connection_done
    _gateway_outgoing = _GatewayConnection.handle_outgoing_message
except (ImportError, AttributeError):  # another jupyter_server
    pass
else:
    import contextlib

    from tornado.websocket import WebSocketClosedError

    class _Undecoded(bytes):
        def decode(self, *_args, **_options):
            return bytes(self)

    def _take_buffers(self, connecting):
        _gateway_connected(self, connecting)
        websocket = self.ws
        if websocket is None:
            return
        read, write = websocket.read_message, websocket.write_message

        async def read_undecoded():
            message = await read()
            return _Undecoded(message) if isinstance(message, bytes) else message

        websocket.read_message = read_undecoded
        websocket.write_message = lambda message: write(message, binary=isinstance(message, bytes))

    def _send_buffers(self, incoming_msg, *args):
        if not isinstance(incoming_msg, bytes):
            _gateway_outgoing(self, incoming_msg, *args)
            return
        with contextlib.suppress(WebSocketClosedError):  # the browser has gone
            self.websocket_handler.write_message(incoming_msg, binary=True)

    _GatewayConnection._connection_done = _take_buffers
    _GatewayConnection.handle_outgoing_message = _send_buffers
