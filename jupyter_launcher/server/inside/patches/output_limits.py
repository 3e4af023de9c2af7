"""A kernel's output is not cut, unless somebody has set a limit.

Upstream: jupyter_server limits what a websocket gets to 1 MB and 1000 messages a second, and drops the rest.
Leans on: ``ServerApp.init_configurables``, and the options ``iopub_data_rate_limit`` and ``iopub_msg_rate_limit`` of
``ZMQChannelsWebsocketConnection``, before jupyter_server 2 of ``ServerApp``.
Seen with: jupyter_server 1.24.0 and 2.21.1.
Without it: code that prints 40 MB loses most of them.
Goes when: jupyter_server slows a kernel down in place of dropping what it says.
"""

try:
    from jupyter_server.serverapp import ServerApp

    _init_before_limits = ServerApp.init_configurables
except (ImportError, AttributeError):  # another server
    pass
else:

    def _init_without_limits(self):
        for name in ("iopub_data_rate_limit", "iopub_msg_rate_limit"):
            owners = ("ServerApp", "NotebookApp", "LabApp", "ZMQChannelsWebsocketConnection")
            if not any(name in self.config[owner] for owner in owners):
                self.config.ZMQChannelsWebsocketConnection[name] = 0
                if self.has_trait(name):
                    self.set_trait(name, 0)
        _init_before_limits(self)

    ServerApp.init_configurables = _init_without_limits
