"""What our configuration file does inside servers of other versions than the image's."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from jupyter_launcher.server_config import config_file
from tests.unit.test_spec import spec


class Loop:
    def add_callback(self, callback: object) -> None:
        assert callable(callback)
        callback()


class ServerApp:
    written = False

    def write_server_info_file(self) -> None:
        self.written = True


def server_app(monkeypatch: pytest.MonkeyPatch, folder: Path) -> ServerApp:
    """A server that has read our configuration file."""
    module = ModuleType("jupyter_server.serverapp")
    ours = type("ServerApp", (ServerApp,), {"write_server_info_file": ServerApp.write_server_info_file})
    monkeypatch.setattr(module, "ServerApp", ours, raising=False)
    monkeypatch.setitem(sys.modules, "jupyter_server", ModuleType("jupyter_server"))
    monkeypatch.setitem(sys.modules, "jupyter_server.serverapp", module)
    exec(config_file(spec(folder), None), {})  # noqa: S102 - as the server does
    app: ServerApp = ours()
    return app


@pytest.fixture
def runtime_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "jupyter"
    folder.mkdir()
    os.mkfifo(tmp_path / "word")
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(folder))
    return folder


def test_a_server_gives_its_word(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, runtime_dir: Path) -> None:
    app = server_app(monkeypatch, tmp_path)
    monkeypatch.setattr(app, "io_loop", Loop(), raising=False)
    reader = os.open(runtime_dir.parent / "word", os.O_RDONLY | os.O_NONBLOCK)
    try:
        app.write_server_info_file()
        assert os.read(reader, 100) == b"ready\n"
    finally:
        os.close(reader)
    assert app.written
    app.write_server_info_file()  # nobody waits any more


def test_a_server_that_has_no_loop_yet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    app = server_app(monkeypatch, tmp_path)
    app.write_server_info_file()
    assert app.written
