"""Messages of any size from a gateway's kernel, as from a kernel beside the server.

Upstream: jupyter/notebook#3468, jupyterlab/jupyterlab#11003: tornado's limit of 10 MiB for a client's websocket.
Leans on: ``jupyter_server.gateway.connections`` calls ``tornado_websocket.websocket_connect`` without a limit.
Seen with: jupyter_server 2.21.1, tornado 6.6.
Without it: an output above 10 MiB is lost without a word, and its cell never ends.
Goes when: jupyter_server passes ``max_message_size``.
"""

try:
    from jupyter_server.gateway import connections as _gateway_connections

    _gateway_websocket = _gateway_connections.tornado_websocket
except (ImportError, AttributeError):  # another jupyter_server, with the limit
    pass
else:
    import functools
    import types

    _gateway_connections.tornado_websocket = types.SimpleNamespace(
        **{
            **vars(_gateway_websocket),
            "websocket_connect": functools.partial(_gateway_websocket.websocket_connect, max_message_size=2**30),
        }
    )
