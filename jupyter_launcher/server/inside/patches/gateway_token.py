"""The token of the gateway, from a file that only this user can read.

Upstream: none; jupyter_server takes the token from an argument, a variable or a configuration file. Everyone on the
machine sees the first, and every kernel and terminal the second.
Leans on: ``GatewayClient.auth_token``, ``GatewayClient.auth_scheme``: public options.
Seen with: jupyter_server 2.21.1.
Without it: a gateway of the launcher's own refuses the server.
Goes when: jupyter_server takes the gateway's token from a file, as it does its own (``JUPYTER_TOKEN_FILE``).
"""

import os

with open(os.environ["JUPYTER_RUNTIME_DIR"] + "/../gateway.token") as _file:
    get_config().GatewayClient.auth_token = _file.read()
get_config().GatewayClient.auth_scheme = "token"
