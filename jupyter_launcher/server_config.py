"""A configuration file of ours for the server, for what its arguments can't say. It runs in the server."""

from __future__ import annotations

from jupyter_launcher import origin
from jupyter_launcher.models import Gateway
from jupyter_launcher.spec import SessionSpec

__all__ = ["PARTITIONED_COOKIES", "config_file"]

# So that start.sh need not poll: its first word comes when the server's loop runs.
_WORD = """
try:
    from jupyter_server.serverapp import ServerApp

    _write_server_info_file = ServerApp.write_server_info_file
except (ImportError, AttributeError):  # another server, for which start.sh looks now and then
    pass
else:
    import os

    def _give_word():
        try:
            word = os.open(os.environ["JUPYTER_RUNTIME_DIR"] + "/../word", os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody waits for it any more
            return
        os.write(word, b"ready\\n")
        os.close(word)

    def _write_and_give_word(self):
        _write_server_info_file(self)
        loop = getattr(self, "io_loop", None)
        if loop is not None:  # before jupyter_server 1.9 it is made later
            loop.add_callback(_give_word)

    ServerApp.write_server_info_file = _write_and_give_word
"""

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
    """The file's text."""
    third_party = spec.allow_origin is not None and origin.wants_third_party_cookies(spec.allow_origin)
    return _WORD + PARTITIONED_COOKIES * third_party + _GATEWAY_CONNECTION * (gateway is not None)
