"""The gateway's settings; an option of the command line wins over them."""

import logging
import os
import re

c = get_config()

c.KernelGatewayApp.ip = "0.0.0.0"
c.KernelGatewayApp.port = 8888
c.KernelGatewayApp.port_retries = 0
# Off by default, and then the server's own listing of kernels is refused with 403.
c.JupyterWebsocketPersonality.list_kernels = True

# Kernels whose request brings no environment have the gateway's, so the token leaves it. Enterprise Gateway's
# variable is for those who set both.
token = os.environ.pop("KG_AUTH_TOKEN", "")
os.environ.pop("EG_AUTH_TOKEN", None)
if token:
    c.KernelGatewayApp.auth_token = token

c.KernelGatewayApp.kernel_manager_class = "jupyter_launcher_kernels.manager.KernelManager"
c.KernelGatewayApp.kernel_websocket_connection_class = "jupyter_launcher_kernels.connection.WebsocketConnection"
c.KernelProvisionerFactory.default_provisioner_name = "jupyter-launcher"

# What the launcher says of kernels in containers; without it, they run beside the gateway.
if "JUPYTER_LAUNCHER_KERNEL_0" in os.environ:
    from jupyter_launcher_kernels.settings import use_containers

    use_containers(c, os.environ)

# Outputs are limited by who shows them: JupyterLab, or the server between.
c.ZMQChannelsWebsocketConnection.limit_rate = False


def hide_tokens(record):
    """Take tokens out of the requests that tornado logs: a client may send one in the query."""
    record.msg, record.args = re.sub(r"([?&]token=)[^&\s'\"]*", r"\1...", record.getMessage()), None
    return True


for name in ("access", "application", "general"):
    logging.getLogger(f"tornado.{name}").addFilter(hide_tokens)
