"""Close the first websocket to the gateway when the browser gives it up while it is still connecting.

A browser asks for a kernel's websocket with a subprotocol that a server with a gateway does not speak
(jupyter_server#1310), gives up, and asks again without. jupyter_server then drops its first websocket to
the gateway while that is still connecting, and never closes it, since tornado's futures cannot be
cancelled (nb2kg#14, from which the code came). Enterprise Gateway 3.3 lets the second websocket wait for
the end of the first; Kernel Gateway 3 now and then waits for the first's kernel info, which never comes.

Upstream: jupyter_server#1310 (closed by enforcing the old protocol), jupyter/nb2kg#14.
Leans on: ``GatewayWebSocketConnection.ws``, ``ws_future``, ``disconnected``, ``disconnect``.
Seen with: jupyter_server 2.21.1, Enterprise Gateway 3.3.0, Kernel Gateway 3.0.1.
Without it: a notebook opened in a browser waits a minute for its kernel, on a Kernel Gateway only now and then.
Goes when: jupyter_server closes a websocket that was given up while connecting.
"""

try:
    from jupyter_server.gateway.connections import GatewayWebSocketConnection
except ImportError:  # before jupyter_server 2.3 the class does not exist, and browsers are served otherwise
    pass
else:

    class ClosingWebSocketConnection(GatewayWebSocketConnection):
        def disconnect(self):
            connecting = getattr(self, "ws_future", None)
            if getattr(self, "ws", None) is not None or connecting is None or connecting.done():
                super().disconnect()
                return
            self.disconnected = True
            connecting.add_done_callback(
                lambda made: None if made.cancelled() or made.exception() else made.result().close()
            )

    get_config().ServerApp.kernel_websocket_connection_class = ClosingWebSocketConnection
