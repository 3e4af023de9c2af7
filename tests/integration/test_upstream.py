"""The private parts of Jupyter and Python that the patches lean on are there, inside the image."""

from __future__ import annotations

import ast
import textwrap
from importlib import resources
from typing import Any

import pytest

from jupyter_launcher import Launcher
from jupyter_launcher.spec.server import read_script
from tests.containers import output_of

PATCHES = resources.files("jupyter_launcher.server") / "inside" / "patches"
NAMES = sorted(item.name.removesuffix(".py") for item in PATCHES.iterdir() if item.name.endswith(".py"))
FACTS = ("Upstream:", "Leans on:", "Seen with:", "Without it:", "Goes when:")
# What each patch leans on, as an assertion in the server's own Python.
LEANS_ON = {
    "held_settings": """
        import inspect
        from jupyter_server.auth.identity import IdentityProvider, PasswordIdentityProvider
        from jupyter_server.serverapp import ServerApp
        assert "token" in IdentityProvider.class_trait_names(config=True)
        options = {"hashed_password", "password_required"}
        assert options <= set(PasswordIdentityProvider.class_trait_names(config=True))
        options = {"password", "password_required", "base_url", "certfile", "keyfile", "sock", "ssl_options"}
        assert options | {"cli_config"} <= set(ServerApp.class_trait_names())
        # Extensions have read their configuration before, and the identity provider is made after.
        source = inspect.getsource(ServerApp.initialize)
        assert source.index("self.update_config(Config(point.config))") < source.index("self.init_configurables()")
        assert "self.identity_provider_class(" in inspect.getsource(ServerApp.init_configurables)
    """,
    "quiet_look": """
        import inspect
        from jupyter_server.base.handlers import APIHandler, JupyterHandler
        from jupyter_server.log import log_request
        assert isinstance(JupyterHandler.log, property)
        assert "self.log" in inspect.getsource(APIHandler.write_error)
        assert "handler.log" in inspect.getsource(log_request)
    """,
    "checkpoints": """
        import inspect
        from jupyter_server.services.contents import filemanager
        from jupyter_server.services.contents.filecheckpoints import AsyncFileCheckpoints, FileCheckpoints
        assert filemanager.FileCheckpoints is FileCheckpoints
        assert filemanager.AsyncFileCheckpoints is AsyncFileCheckpoints
        source = inspect.getsource(filemanager.AsyncFileContentsManager)
        assert "def _checkpoints_class_default(self):\\n        return AsyncFileCheckpoints" in source
        for kind in (FileCheckpoints, AsyncFileCheckpoints):
            assert "self.checkpoint_path(" in inspect.getsource(kind.create_checkpoint)
        names = list(inspect.signature(FileCheckpoints.checkpoint_path).parameters)
        assert names == ["self", "checkpoint_id", "path"]
        assert inspect.iscoroutinefunction(AsyncFileCheckpoints.rename_all_checkpoints)
    """,
    "collaboration": """
        # No package of this image: one of the docs shows how it is added.
        import importlib.util
        assert importlib.util.find_spec("jupyter_server_ydoc") is None
    """,
    "extension_manager": """
        from jupyterlab.labapp import LabApp
        assert LabApp.extension_manager.default_value == "pypi"
        assert "__init__" not in vars(LabApp)
        from importlib.metadata import entry_points
        assert "readonly" in entry_points(group="jupyterlab.extension_manager_v1").names
    """,
    "login_cookies": """
        # For version 1 alone, which knows no identity provider.
        import jupyter_server.auth.identity
    """,
    "ready_signal": """
        import inspect
        from jupyter_server.serverapp import ServerApp
        assert list(inspect.signature(ServerApp.write_server_info_file).parameters) == ["self"]
        assert "io_loop" in inspect.getsource(ServerApp)
    """,
    "kernel_environment": """
        import inspect
        from jupyter_server.auth.identity import IdentityProvider
        from jupyter_server.serverapp import ServerApp
        assert list(inspect.signature(ServerApp.write_server_info_file).parameters) == ["self"]
        # It reads the token itself, and is called before the loop runs and kernels are started.
        assert "self.server_info()" in inspect.getsource(ServerApp.write_server_info_file)
        assert "self.identity_provider.token" in inspect.getsource(ServerApp.server_info)
        source = inspect.getsource(ServerApp.start)
        assert source.index("self.start_app()") < source.index("self.start_ioloop()")
        assert "self.write_server_info_file()" in inspect.getsource(ServerApp.start_app)
        # Gone when a server takes its token otherwise.
        assert 'os.environ["JUPYTER_TOKEN_FILE"]' in inspect.getsource(IdentityProvider)
    """,
    "trash": """
        from jupyter_server.services.contents.filemanager import FileContentsManager as Contents
        from traitlets.config import Config
        # Gone when files are deleted by default.
        assert Contents.delete_to_trash.default_value is True
        assert Contents.always_delete_dir.default_value is False
        def early(self, *args, **options):
            self.delete_to_trash = False
            super(Contents, self).__init__(*args, **options)
        assert "__init__" not in vars(Contents)
        Contents.__init__ = early
        wanted = Config({"FileContentsManager": {"delete_to_trash": True}})
        assert [Contents().delete_to_trash, Contents(config=wanted).delete_to_trash] == [False, True]
    """,
    "reports": """
        import inspect
        from jupyter_server.serverapp import ServerApp
        from jupyter_server.services.api.handlers import APIStatusHandler
        from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager, LargeFileManager
        from jupyter_server.services.contents.handlers import ContentsHandler
        for handler in (APIStatusHandler, ContentsHandler):
            assert "self" in inspect.signature(handler.get).parameters
        # What handlers call; ``update`` renames.
        for name in ("save", "copy", "rename", "delete"):
            assert callable(getattr(LargeFileManager, name)) and callable(getattr(AsyncLargeFileManager, name))
        source = inspect.getsource(ContentsHandler)
        names = ("manager.save(", "manager.copy(", "manager.new(", "cm.update(", "cm.delete(")
        assert all(name in source for name in names)
        assert "self.rename(" in inspect.getsource(AsyncLargeFileManager.update)
        assert "self.contents_manager = " in inspect.getsource(ServerApp)
        # Gone when writes count by themselves.
        assert "last_write" not in inspect.getsource(APIStatusHandler)
    """,
    "output_limits": """
        import inspect
        from jupyter_server.serverapp import ServerApp
        from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection
        names = {"iopub_data_rate_limit", "iopub_msg_rate_limit"}
        for owner in (ServerApp, ZMQChannelsWebsocketConnection):
            assert names <= set(owner.class_trait_names(config=True))
        source = inspect.getsource(ZMQChannelsWebsocketConnection._limit_rate)
        assert all(f"self.{name} > 0 and" in source for name in names)
        assert callable(ServerApp.init_configurables)
    """,
    "resume": """
        import inspect
        from jupyter_server.gateway.connections import GatewayWebSocketConnection
        from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection
        from jupyter_server.services.kernels.websocket import KernelWebsocketHandler
        from tornado.websocket import WebSocketHandler
        assert list(inspect.signature(KernelWebsocketHandler.pre_get).parameters) == ["self"]
        assert "await self.connection.connect()" in inspect.getsource(KernelWebsocketHandler.open)
        assert "self.connection.disconnect()" in inspect.getsource(KernelWebsocketHandler.on_close)
        assert 'is_authorized(self, user, "execute", "kernels")' in inspect.getsource(KernelWebsocketHandler)
        assert "write_message" not in vars(KernelWebsocketHandler) and "on_ping" not in vars(KernelWebsocketHandler)
        assert callable(WebSocketHandler.on_ping) and callable(WebSocketHandler.write_message)
        for connection in (ZMQChannelsWebsocketConnection, GatewayWebSocketConnection):
            assert "websocket_handler" in connection.class_trait_names()
            assert "self.websocket_handler.write_message" in inspect.getsource(connection)
        # A websocket sends small messages at once: the server takes that back before it is opened.
        from tornado.http1connection import HTTP1Connection
        assert "self.stream.set_nodelay(False)" in inspect.getsource(HTTP1Connection)
        assert "self.set_nodelay(" not in inspect.getsource(KernelWebsocketHandler)
    """,
    "claim": """
        import inspect
        from jupyter_server.serverapp import ServerApp
        assert "root_dir" in ServerApp.class_trait_names() and callable(ServerApp.write_server_info_file)
        assert "self.io_loop = " in inspect.getsource(ServerApp)
        assert "self.web_app = " in inspect.getsource(ServerApp)
        from tornado.web import Application, RequestHandler
        assert callable(Application.log_request)
        assert "application.log_request(self)" in inspect.getsource(RequestHandler._log)
    """,
    "idle": """
        import inspect
        from jupyter_server.gateway.managers import GatewayMappingKernelManager
        from jupyter_server.serverapp import ServerApp
        from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
        from jupyter_server_terminals.app import TerminalsExtensionApp
        from jupyter_server_terminals.handlers import TermSocket
        from ptyprocess import PtyProcess
        model = inspect.getsource(AsyncMappingKernelManager.kernel_model)
        assert all(f'"{name}"' in model for name in ("id", "last_activity", "execution_state"))
        assert inspect.iscoroutinefunction(GatewayMappingKernelManager.list_kernels)
        assert 'settings["terminal_manager"] =' in inspect.getsource(TerminalsExtensionApp)
        assert "].last_activity = " in inspect.getsource(TermSocket)
        assert "self.pid" in inspect.getsource(PtyProcess) and "self.fd" in inspect.getsource(PtyProcess)
        # Gone when the server's own limit counts a terminal's job as use, and an idle kernel as none.
        assert "if len(km) != 0:" in inspect.getsource(ServerApp.shutdown_no_activity)
    """,
    "gateway_token": """
        from jupyter_server.gateway.gateway_client import GatewayClient
        assert {"auth_token", "auth_scheme"} <= set(GatewayClient.class_trait_names(config=True))
        # Gone when the token can come from a file.
        assert not [name for name in GatewayClient.class_trait_names() if name.startswith("auth_token_file")]
    """,
    "gateway_kernels": """
        import inspect
        from jupyter_server.gateway.managers import GatewayKernelManager
        of_kernel = inspect.getsource(GatewayKernelManager.start_kernel)
        assert 'payload_envs.update(kwargs.get("env", {}))' in of_kernel and 'k.startswith("KERNEL_")' in of_kernel
        assert inspect.iscoroutinefunction(GatewayKernelManager.start_kernel)
    """,
    "gateway_shutdown": """
        import inspect
        from jupyter_server.gateway.managers import GatewayMappingKernelManager
        assert "km.start_kernel(" in inspect.getsource(GatewayMappingKernelManager.start_kernel)
        assert list(inspect.signature(GatewayMappingKernelManager.shutdown_all).parameters) == ["self", "now"]
        assert inspect.iscoroutinefunction(GatewayMappingKernelManager.start_kernel)
        from jupyter_server.serverapp import ServerApp
        assert "self.kernel_manager.shutdown_all()" in inspect.getsource(ServerApp.cleanup_kernels)
    """,
    "gateway_messages": """
        import inspect
        from jupyter_server.gateway import connections
        from tornado import websocket
        assert connections.tornado_websocket is websocket
        assert "max_message_size" in inspect.signature(websocket.websocket_connect).parameters
        # Gone when upstream sets a limit itself.
        source = inspect.getsource(connections)
        assert "tornado_websocket.websocket_connect(request)" in source and "max_message_size" not in source
    """,
    "gateway_errors": """
        import inspect
        from jupyter_server.base.handlers import APIHandler
        from jupyter_server.gateway import gateway_client
        from tornado import web
        assert gateway_client.web is web
        assert "raise web.HTTPError(" in inspect.getsource(gateway_client.gateway_request)
        # Gone when upstream puts the error together itself.
        assert "e.log_message or message" in inspect.getsource(APIHandler.write_error)
    """,
    "gateway_buffers": """
        import inspect
        from jupyter_server.gateway.connections import GatewayWebSocketConnection as Connection
        assert list(inspect.signature(Connection._connection_done).parameters) == ["self", "fut"]
        assert "self.ws_future.add_done_callback(self._connection_done)" in inspect.getsource(Connection.connect)
        assert "self.ws.write_message(message)" in inspect.getsource(Connection._write_message)
        source = inspect.getsource(Connection._read_messages)
        assert "await self.ws.read_message()" in source and "self.handle_outgoing_message(" in source
        # Gone when upstream passes binary messages on.
        assert 'message = message.decode("utf8")' in source
    """,
    "partitioned_cookies": """
        from http.cookies import Morsel
        assert isinstance(Morsel._reserved, dict) and isinstance(Morsel._flags, set)
    """,
    "gateway_websocket": """
        import inspect
        from jupyter_server.gateway.connections import GatewayWebSocketConnection as Connection
        assert {"ws", "ws_future", "disconnected"} <= set(Connection.class_trait_names())
        assert list(inspect.signature(Connection.disconnect).parameters) == ["self"]
        from jupyter_server.serverapp import ServerApp
        assert "kernel_websocket_connection_class" in ServerApp.class_trait_names()
        # Gone when upstream closes a connection that was given up while it was being made.
        assert "self.ws_future.cancel()" in inspect.getsource(Connection.disconnect)
    """,
    "rfc3987_syntax": """
        import sys
        sys.modules["rfc3987_syntax"] = None
        import jsonschema
        assert jsonschema.Draft7Validator.FORMAT_CHECKER is not None
    """,
    "yarn_config": """
        import inspect
        from jupyterlab import commands
        source = inspect.getsource(commands._yarn_config)
        assert "subprocess.check_output" in source
        assert '[node, YARN_PATH, "config", "--json"]' in source
        assert commands.YARN_PATH.endswith("yarn.js")
        # Gone when JupyterLab reads what its own yarn prints.
        assert 'info["type"] == "info"' in source
    """,
    "late_imports": """
        import sys
        import jupyter_server.gateway.managers as managers
        import jupyterlab_server.listings_handler as listings
        assert "requests" not in sys.modules and "websocket" not in sys.modules
        assert callable(listings.requests.request) and issubclass(
            managers.websocket.WebSocketConnectionClosedException, Exception
        )
        assert "requests" in sys.modules and "websocket" in sys.modules
        for module, names in ((listings, {"request"}), (managers, set())):
            names |= {"WebSocket", "WebSocketConnectionClosedException", "create_connection"}
            text = open(module.__file__).read()
            used = set(__import__("re").findall(r"\\b(?:requests|websocket)\\.(\\w+)", text))
            assert used <= names, used
    """,
    "extension_client": """
        import inspect, sys
        from jupyterlab.extensions import pypi
        assert "httpx" not in sys.modules
        manager = pypi.PyPIExtensionManager()
        assert "httpx" not in sys.modules
        assert manager._httpx_client.headers["user-agent"].startswith("python-httpx/")
        import httpx
        assert pypi.httpx.__version__ == httpx.__version__
        assert inspect.getsource(pypi).count("httpx.AsyncClient(") == 1
    """,
    "ipython_folder": """
        import os, sys, tempfile
        os.environ["HOME"] = tempfile.mkdtemp()
        os.environ.pop("IPYTHONDIR", None)
        from notebook_shim.traits import NotebookAppTraits
        for folder in (None, os.environ["HOME"] + "/own/", "~/other"):
            if folder is not None:
                os.environ["IPYTHONDIR"] = folder
            seen = NotebookAppTraits().nbextensions_path
            assert "IPython" not in sys.modules
            assert seen == _ask_ipython(NotebookAppTraits())
            for name in [name for name in sys.modules if name.partition(".")[0] == "IPython"]:
                del sys.modules[name]
        os.environ["IPYTHONDIR"] = os.environ["HOME"] + "/not/there"
        import warnings
        warnings.simplefilter("ignore")
        assert NotebookAppTraits().nbextensions_path != seen and "IPython" in sys.modules
    """,
    "quick_exit": """
        import atexit, dbm.dumb, gc, io, threading, zipfile, shelve, sqlite3, tempfile
        # Python's own end calls both, in this order.
        assert callable(threading._shutdown) and callable(atexit._run_exitfuncs)
        kinds = (zipfile.ZipFile, shelve.Shelf, dbm.dumb._Database, sqlite3.Connection, tempfile._TemporaryFileCloser)
        assert all(callable(kind.close) for kind in kinds)
        file = open("/dev/null", "w")
        assert {id(file), id(file.buffer)} <= {id(item) for item in gc.get_objects()}
        assert type(file).__module__ == "_io"
        from anyio._backends._asyncio import WorkerThread
        assert issubclass(WorkerThread, threading.Thread) and callable(WorkerThread.stop)
    """,
    "late_collection": """
        import gc
        assert len(gc.get_threshold()) == 3 and isinstance(gc.callbacks, list)
    """,
}


# Those that are asked what they do, not what they lean on.
APPLIED = {
    "late_imports": ("late_imports",),
    "extension_client": ("late_imports", "extension_client"),
    "ipython_folder": ("ipython_folder",),
}


def test_every_patch_has_its_assertion() -> None:
    assert sorted(LEANS_ON) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_patch_says_why_it_is_there_and_when_it_goes(name: str) -> None:
    docstring = ast.get_docstring(ast.parse(read_script(f"patches/{name}.py")))
    assert docstring is not None
    assert [fact for fact in FACTS if f"\n{fact} " not in docstring] == []


@pytest.mark.parametrize("name", NAMES)
def test_what_a_patch_leans_on_is_in_the_image(name: str, client: Any, launcher: Launcher) -> None:
    applied = [read_script(f"patches/{patch}.py") for patch in APPLIED.get(name, ())]
    code = "\n".join([*applied, textwrap.dedent(LEANS_ON[name])])
    assert run_beside_server(client, launcher, code) == ""


# Run in the server's Python, after the patch: a websocket that is opened, by a browser and by a client of ours.
OPENED = """
import asyncio
from unittest import mock
from jupyter_server.services.kernels.websocket import KernelWebsocketHandler
for record in (None, mock.Mock(connection=mock.Mock(), handler=None, messages=[])):
    handler = mock.Mock(spec=KernelWebsocketHandler, _launcher_record=record, connection=mock.AsyncMock())
    try:
        asyncio.run(KernelWebsocketHandler.open(handler, "kernel"))
    except (TypeError, KeyError, AttributeError):  # it is none, behind the first line
        pass
    handler.set_nodelay.assert_called_once_with(True)
"""


def test_a_websocket_sends_small_messages_at_once(client: Any, launcher: Launcher) -> None:
    assert run_beside_server(client, launcher, read_script("patches/resume.py") + OPENED) == ""


def run_beside_server(client: Any, launcher: Launcher, code: str) -> str:
    """What code prints in the Python that the server has."""
    command = ["sh", "-c", 'exec "$(head -n 1 "$(command -v jupyter-lab)" | cut -c 3-)" -c "$1"', "sh", code]
    return output_of(client, launcher.image, command).strip()
