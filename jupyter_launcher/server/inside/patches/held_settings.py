"""What the launcher must know of the server, whatever the image's configuration says: its token, address, directory.

An image, a company's folder or a mounted HOME may have a configuration of its own, as Python or JSON, and with the
names of all versions of Jupyter. Everything else in it holds. This file comes first in JUPYTER_CONFIG_PATH, before all
of them, and holds its settings once more when all are read: JupyterLab puts what was said to ``NotebookApp`` and
``LabApp`` over what was said to ``ServerApp``, arguments of the command included.

Upstream: none; JUPYTER_TOKEN_FILE is a default only, and a password of any configuration opens the server too.
Leans on: ``ServerApp.init_configurables``, ``cli_config``, and options of ``ServerApp``, ``IdentityProvider``,
``PasswordIdentityProvider``, ``FileContentsManager`` and ``MappingKernelManager``.
Seen with: jupyter_server 1.24.0 and 2.21.1.
Without it: a server with a token that everybody knows, with a password, or at another address than the launcher's.
Goes when: jupyter_server has a way to say what no configuration may change.
"""

try:
    from jupyter_server.serverapp import ServerApp
    from traitlets.config import Config

    _init_configurables = ServerApp.init_configurables
except (ImportError, AttributeError):  # another server
    pass
else:
    import os

    _held = Config()
    with open(os.environ["JUPYTER_TOKEN_FILE"]) as _token_file:
        _held_token = _token_file.read()
    try:
        import jupyter_server.auth.identity  # noqa: F401
    except ImportError:  # version 1; in version 2 this name is a warning
        _held.ServerApp.token = _held_token
    else:
        for _provider in (_held.IdentityProvider, _held.PasswordIdentityProvider):
            _provider.token = _held_token
        _held.PasswordIdentityProvider.hashed_password = ""
        _held.PasswordIdentityProvider.password_required = False
    _held.ServerApp.password = ""
    _held.ServerApp.password_required = False
    _held.ServerApp.base_url = "/"  # the command has another one where that was asked for
    _held.ServerApp.certfile = _held.ServerApp.keyfile = _held.ServerApp.sock = ""
    _held.ServerApp.ssl_options = {}
    _held.FileContentsManager.root_dir = _held.MappingKernelManager.root_dir = os.getcwd()
    get_config().merge(_held)

    def _init_as_held(self):
        self.update_config(_held)
        self.update_config(self.cli_config)
        _init_configurables(self)

    ServerApp.init_configurables = _init_as_held
