"""The login's cookie for a frame of another site, where the server is of version 1.

The command has it for version 2, as ``IdentityProvider.cookie_options``.

Upstream: none; the option moved between the versions.
Leans on: ``ServerApp.cookie_options`` of jupyter_server 1, and ``jupyter_server.auth.identity`` of version 2.
Seen with: jupyter_server 1.24.0.
Without it: nobody who opens the server in a frame of another site is ever logged in.
Goes when: JupyterLab 4 is the oldest in use.
"""

try:
    import jupyter_server.auth.identity  # noqa: F401
except ImportError:
    get_config().ServerApp.cookie_options = {"samesite": "None", "secure": True, "partitioned": True}
