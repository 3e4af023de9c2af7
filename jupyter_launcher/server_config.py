"""A configuration file of ours for the server, for what its arguments can't say. It runs in the server."""

from __future__ import annotations

from jupyter_launcher import origin
from jupyter_launcher.models import Gateway
from jupyter_launcher.spec import SessionSpec

__all__ = ["PARTITIONED_COOKIES", "config_file"]

PARTITIONED_COOKIES = """
# The standard library knows partitioned cookies from Python 3.14 on; before, they are made known here.
from http.cookies import Morsel

Morsel._reserved.setdefault("partitioned", "Partitioned")
Morsel._flags.add("partitioned")
"""

# A browser asks for a kernel's websocket with a subprotocol, which a server with a gateway does not speak,
# gives up, and asks again without. jupyter_server (2.21) then forgets its first connection to the gateway
# while that is made, and Enterprise Gateway (3.3) makes the second one wait for the first one's end: a
# minute, until it times out. So it is ended as soon as it is there.
_GATEWAY_CONNECTION = """
try:
    from jupyter_server.gateway.connections import GatewayWebSocketConnection
except ImportError:  # a server that has it elsewhere does not need it
    pass
else:
    class EndedConnection(GatewayWebSocketConnection):
        def disconnect(self):
            making = getattr(self, "ws_future", None)
            if getattr(self, "ws", None) is not None or making is None or making.done():
                super().disconnect()
                return
            self.disconnected = True
            making.add_done_callback(
                lambda made: None if made.cancelled() or made.exception() else made.result().close()
            )

    get_config().ServerApp.kernel_websocket_connection_class = EndedConnection
"""


def config_file(spec: SessionSpec, gateway: Gateway | None) -> str:
    """The file's text; empty: the server needs none."""
    third_party = spec.allow_origin is not None and origin.wants_third_party_cookies(spec.allow_origin)
    return PARTITIONED_COOKIES * third_party + _GATEWAY_CONNECTION * (gateway is not None)
