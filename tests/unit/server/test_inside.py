"""What runs inside the container, run here: the patches, the launch script, and the scripts that need no container."""

from __future__ import annotations

import ast
import asyncio
import functools
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from jupyter_launcher import Gateway
from jupyter_launcher.spec.server import launch_script, read_script, server_config
from jupyter_launcher.waiting import Deadline, NotYetError, attempts
from tests.unit.fakes import http_server, session_spec

INSIDE = Path(str(resources.files("jupyter_launcher.server"))) / "inside"
PATCHES = sorted(path.name for path in (INSIDE / "patches").glob("*.py"))
GATEWAY = Gateway(name="gw", url="http://10.0.0.1:8888")


def run_python(code: str) -> str:
    """What a Python of its own prints, since patches change the standard library."""
    run = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.strip()


def run_script(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", read_script(name), name, *arguments], capture_output=True, text=True, check=False
    )


def held(*, weaker: bool, path: str = os.environ["PATH"], by: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """What no_new_privileges.sh makes of a command that tells whether it can get new privileges."""
    command = (
        "/bin/sh",
        "-c",
        'while read -r key held; do case $key in NoNewPrivs:) echo "$held $1" ;; esac; done </proc/self/status',
    )
    line = [
        *by,
        "/bin/sh",
        "-c",
        read_script("no_new_privileges.sh"),
        "privileges",
        "weaker" if weaker else "",
        *command,
    ]
    return subprocess.run([*line, "x", "a b"], capture_output=True, text=True, check=False, env={"PATH": path})


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="this machine has no setpriv")
def test_privileges_that_the_kernel_keeps_a_container_from() -> None:
    run = held(weaker=False, by=("setpriv", "--no-new-privs"))
    assert (run.returncode, run.stdout, run.stderr) == (0, "1 a b\n", "")


def test_privileges_that_nothing_keeps_a_container_from() -> None:
    run = held(weaker=False)
    assert (run.returncode, run.stdout) == (76, "")
    assert "no-new-privileges" in run.stderr


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="this machine has no setpriv")
def test_privileges_that_the_server_gives_up() -> None:
    run = held(weaker=True)
    assert (run.returncode, run.stdout) == (0, "1 a b\n")
    assert run.stderr.count("\n") == 1
    assert "only the server has it" in run.stderr


def test_privileges_without_setpriv() -> None:
    run = held(weaker=True, path="/nowhere")
    assert (run.returncode, run.stdout) == (0, "0 a b\n")
    assert run.stderr.count("\n") == 1
    assert "programs can get more privileges" in run.stderr


@pytest.mark.parametrize("name", PATCHES)
def test_each_patch_says_what_it_leans_on_and_when_it_goes(name: str) -> None:
    text = ast.get_docstring(ast.parse(read_script(f"patches/{name}"))) or ""
    for part in ("Upstream: ", "Leans on: ", "Seen with: ", "Without it: ", "Goes when: "):
        assert f"\n{part}" in text


@pytest.mark.parametrize(
    "name", sorted(path.name for path in INSIDE.glob("*.py")) + [f"patches/{name}" for name in PATCHES]
)
def test_every_file_is_python_3_8(name: str) -> None:
    ast.parse(read_script(name), feature_version=(3, 8))


@pytest.mark.parametrize("name", ["copy_files.py", "run_command.py"])
def test_what_is_an_argument_of_a_python_is_ascii(name: str) -> None:
    assert read_script(name).isascii()  # whatever the locale of an image is


@pytest.mark.parametrize("name", sorted(path.name for path in INSIDE.glob("*.sh")))
def test_every_script_is_shell(name: str) -> None:
    assert (
        subprocess.run(["sh", "-n"], input=read_script(name), capture_output=True, text=True, check=True).stderr == ""
    )


def test_the_page_on_the_protocol_names_every_file() -> None:
    page = (INSIDE / "README.md").read_text()
    for path in INSIDE.iterdir():
        if path.suffix in (".sh", ".py"):
            assert path.name in page


# The ready signal, and what kernels get to see.

OURS = ("JUPYTER_TOKEN", "JUPYTER_TOKEN_FILE", "JUPYTER_CONFIG_PATH")


class Loop:
    def add_callback(self, callback: object) -> None:
        assert callable(callback)
        callback()


class ServerApp:
    written = False

    def write_server_info_file(self) -> None:
        self.written = True


def server_app(monkeypatch: pytest.MonkeyPatch) -> ServerApp:
    """A server that has read our configuration file."""
    module = ModuleType("jupyter_server.serverapp")
    ours = type("ServerApp", (ServerApp,), {"write_server_info_file": ServerApp.write_server_info_file})
    monkeypatch.setattr(module, "ServerApp", ours, raising=False)
    monkeypatch.setitem(sys.modules, "jupyter_server", ModuleType("jupyter_server"))
    monkeypatch.setitem(sys.modules, "jupyter_server.serverapp", module)
    for name in OURS:
        monkeypatch.setenv(name, "ours")
    config = server_config(session_spec(), None).replace("/proc/1/environ", os.environ.get("OF_CONTAINER", "/no/such"))
    exec(config, {})  # noqa: S102 - as the server does
    app: ServerApp = ours()
    return app


@pytest.fixture
def runtime_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "jupyter"
    folder.mkdir()
    os.mkfifo(tmp_path / "ready")
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(folder))
    return folder


def test_a_server_says_that_it_is_ready(monkeypatch: pytest.MonkeyPatch, runtime_dir: Path) -> None:
    app = server_app(monkeypatch)
    monkeypatch.setattr(app, "io_loop", Loop(), raising=False)
    reader = os.open(runtime_dir.parent / "ready", os.O_RDONLY | os.O_NONBLOCK)
    try:
        app.write_server_info_file()
        assert os.read(reader, 100) == b"ready\n"
    finally:
        os.close(reader)
    assert app.written
    app.write_server_info_file()  # nobody waits any more


def test_a_server_that_has_no_loop_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    app = server_app(monkeypatch)
    app.write_server_info_file()
    assert app.written


def test_kernels_get_what_the_container_had_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "environ").write_bytes(
        b"JUPYTER_CONFIG_PATH=/image=own\0JUPYTER_TOKEN_FILE=\0no variable\0PATH=/other\0"
    )
    monkeypatch.setenv("OF_CONTAINER", str(tmp_path / "environ"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", "stays")
    path = os.environ["PATH"]
    app = server_app(monkeypatch)
    assert [os.environ[name] for name in OURS] == ["ours"] * 3
    app.write_server_info_file()
    assert app.written
    assert [os.environ.get(name) for name in OURS] == [None, "", "/image=own"]
    assert (os.environ["JUPYTER_RUNTIME_DIR"], os.environ["PATH"]) == ("stays", path)


@pytest.mark.parametrize("of_image", [b"", b"JUPYTER_RUNTIME_DIR=/image"])
def test_commands_get_what_kernels_get_without_any_of_ours(
    monkeypatch: pytest.MonkeyPatch, runtime_dir: Path, of_image: bytes
) -> None:
    (runtime_dir / "environ").write_bytes(of_image)
    monkeypatch.setenv("OF_CONTAINER", str(runtime_dir / "environ"))
    monkeypatch.setenv("GIVEN", "a=b\nc")
    mask = os.umask(0o027)
    try:
        server_app(monkeypatch).write_server_info_file()
        assert os.umask(mask) == 0o027
    finally:
        os.umask(mask)
    path = runtime_dir.parent / "kernels.environment"
    assert path.stat().st_mode & 0o777 == 0o600
    first, *entries = path.read_bytes().split(b"\0")
    assert first == b"0027"
    assert b"GIVEN=a=b\nc" in entries
    ours = (*(f"{name}=".encode() for name in OURS), b"JUPYTER_RUNTIME_DIR=")
    assert [entry for entry in entries if entry.startswith(ours)] == ([of_image] if of_image else [])


def test_without_a_look_at_the_containers_environment_ours_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    app = server_app(monkeypatch)
    app.write_server_info_file()
    assert [name for name in OURS if name in os.environ] == []


def test_another_server_is_left_as_it_is() -> None:
    assert run_python(f"{server_config(session_spec(), GATEWAY)}\nprint('read')") == "read"


# The gateway's websocket.


class Connecting:
    """A websocket that is being connected."""

    def __init__(self) -> None:
        self.callbacks: list[Any] = []
        self.outcome: Any = None

    def done(self) -> bool:
        return self.outcome is not None

    def add_done_callback(self, callback: Any) -> None:
        self.callbacks.append(callback)

    def end(self, outcome: Any) -> None:
        self.outcome = outcome
        for callback in self.callbacks:
            callback(self)

    def cancelled(self) -> bool:
        return bool(self.outcome == "cancelled")

    def exception(self) -> Exception | None:
        return self.outcome if isinstance(self.outcome, Exception) else None

    def result(self) -> Any:
        return self.outcome


class GatewayWebSocketConnection:
    ws: Any = None
    ws_future: Any = None
    disconnected = False
    disconnects = 0

    def disconnect(self) -> None:
        self.disconnects += 1


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A connection of the class that our configuration gives to the server."""
    module = ModuleType("jupyter_server.gateway.connections")
    monkeypatch.setattr(module, "GatewayWebSocketConnection", GatewayWebSocketConnection, raising=False)
    for name in ("jupyter_server", "jupyter_server.gateway"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "jupyter_server.gateway.connections", module)
    config = SimpleNamespace(ServerApp=SimpleNamespace())
    exec(read_script("patches/gateway_websocket.py"), {"get_config": lambda: config})  # noqa: S102 - as the server does
    return config.ServerApp.kernel_websocket_connection_class()


def test_a_websocket_that_is_given_up_while_connecting_is_closed_when_it_is_there(connection: Any) -> None:
    closed: list[bool] = []
    connection.ws_future = Connecting()
    connection.disconnect()
    assert (connection.disconnected, connection.disconnects) == (True, 0)
    connection.ws_future.end(SimpleNamespace(close=lambda: closed.append(True)))
    assert closed == [True]


@pytest.mark.parametrize("outcome", ["cancelled", ValueError("refused")])
def test_a_websocket_that_was_never_connected_is_not_closed(connection: Any, outcome: Any) -> None:
    connection.ws_future = Connecting()
    connection.disconnect()
    connection.ws_future.end(outcome)
    assert connection.disconnected


@pytest.mark.parametrize("part", ["ws", "ws_future"])
def test_a_websocket_that_is_connected_is_left_to_the_server(connection: Any, part: str) -> None:
    made = Connecting()
    made.outcome = "connected"
    setattr(connection, part, made)
    connection.disconnect()
    assert (connection.disconnected, connection.disconnects) == (False, 1)


# A gateway's messages.


def test_a_gateways_websocket_takes_large_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    websocket = ModuleType("tornado.websocket")
    asked: list[Any] = []
    monkeypatch.setattr(
        websocket, "websocket_connect", lambda *given, **more: asked.append((given, more)), raising=False
    )
    monkeypatch.setattr(websocket, "WebSocketClosedError", KeyError, raising=False)
    connections = ModuleType("jupyter_server.gateway.connections")
    monkeypatch.setattr(connections, "tornado_websocket", websocket, raising=False)
    package = ModuleType("jupyter_server.gateway")
    monkeypatch.setattr(package, "connections", connections, raising=False)
    monkeypatch.setitem(sys.modules, "jupyter_server", ModuleType("jupyter_server"))
    monkeypatch.setitem(sys.modules, "jupyter_server.gateway", package)
    exec(read_script("patches/gateway_messages.py"), {})  # noqa: S102 - as the server does
    patched: Any = connections.tornado_websocket
    patched.websocket_connect("request")
    assert asked == [(("request",), {"max_message_size": 2**30})]
    assert patched.WebSocketClosedError is KeyError
    assert websocket.websocket_connect is not patched.websocket_connect


# A gateway's errors.


class FakeHTTPError(Exception):
    def __init__(self, status_code: int = 500, log_message: str | None = None, *args: object, **more: object) -> None:
        super().__init__(*args)
        self.status_code, self.log_message, self.more = status_code, log_message, more


def test_a_gateways_error_is_told_in_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    web = ModuleType("tornado.web")
    monkeypatch.setattr(web, "HTTPError", FakeHTTPError, raising=False)
    monkeypatch.setattr(web, "responses", "kept", raising=False)
    client = ModuleType("jupyter_server.gateway.gateway_client")
    monkeypatch.setattr(client, "web", web, raising=False)
    package = ModuleType("jupyter_server.gateway")
    monkeypatch.setattr(package, "gateway_client", client, raising=False)
    monkeypatch.setitem(sys.modules, "jupyter_server", ModuleType("jupyter_server"))
    monkeypatch.setitem(sys.modules, "jupyter_server.gateway", package)
    exec(read_script("patches/gateway_errors.py"), {})  # noqa: S102 - as the server does
    patched: Any = client.web
    error = patched.HTTPError(429, "from a gateway: [%s] %s", "5 kernels run", "100 % of them", reason="x")
    assert isinstance(error, FakeHTTPError)
    assert (error.status_code, error.log_message) == (429, "from a gateway: [5 kernels run] 100 % of them")
    assert (error.args, error.more) == ((), {"reason": "x"})
    assert patched.HTTPError(503, "100 %").log_message == "100 %"
    assert patched.HTTPError(503).log_message is None
    assert "_FormattedError" in "".join(traceback.format_exception(patched.HTTPError(503)))
    assert patched.HTTPError(500, "[%s]", "it printed 50%%").log_message == "[it printed 50%]"
    assert patched.responses == "kept"
    assert web.HTTPError is FakeHTTPError


# The trash.


class Contents:
    """As traitlets do it: a value may be set before ``__init__``, which takes the configuration's."""

    delete_to_trash = True
    always_delete_dir = False

    def __init__(self, **config: bool) -> None:
        for name, value in config.items():
            setattr(self, name, value)


@pytest.mark.parametrize("has_own_init", [True, False])
def test_deleted_files_are_deleted_unless_somebody_wants_the_trash(
    monkeypatch: pytest.MonkeyPatch,
    has_own_init: bool,  # noqa: FBT001 - pytest hands it over by name
) -> None:
    own = {"__init__": Contents.__init__} if has_own_init else {}
    manager: Any = type("FileContentsManager", (Contents,), own)
    later: Any = type("AsyncFileContentsManager", (manager,), {})
    module = ModuleType("jupyter_server.services.contents.filemanager")
    monkeypatch.setattr(module, "FileContentsManager", manager, raising=False)
    for name in ("jupyter_server", "jupyter_server.services", "jupyter_server.services.contents"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "jupyter_server.services.contents.filemanager", module)
    exec(read_script("patches/trash.py"), {})  # noqa: S102 - as the server does
    assert [kind().delete_to_trash for kind in (manager, later)] == [False, False]
    assert [kind().always_delete_dir for kind in (manager, later)] == [True, True]
    assert [kind(delete_to_trash=True).delete_to_trash for kind in (manager, later)] == [True, True]


# The cookies.


def test_the_cookies_that_the_server_is_told_of_are_known() -> None:
    # In a process of its own, since it changes the standard library.
    patch = read_script("patches/partitioned_cookies.py")
    code = f"{patch}\nm = Morsel(); m.set('a', 'b', 'b'); m['partitioned'] = True; print(m)"
    assert run_python(code) == "Set-Cookie: a=b; Partitioned"


# The tunings.


def test_a_module_that_takes_long_to_import_is_skipped() -> None:
    code = "\ntry:\n    import rfc3987_syntax\nexcept ImportError:\n    print('skipped')"
    assert run_python(read_script("patches/rfc3987_syntax.py") + code) == "skipped"


YARN = "['node', '/lab/staging/yarn.js', 'config', '--json']"


@pytest.mark.parametrize(
    ("lab", "command", "answer"),
    [
        ("4.6.6", YARN, "b''"),
        ("3.6.8", YARN, "called"),
        ("", YARN, "called"),
        ("4.6.6", "['git', 'git.js', 'config', '--json']", "called"),
        ("4.6.6", "['node', '/lab/staging/yarn.js', 'install']", "called"),
        ("4.6.6", "'node yarn.js config --json'", "called"),
    ],
)
def test_only_the_question_of_lab_4_to_yarn_is_skipped(lab: str, command: str, answer: str) -> None:
    code = (
        "import subprocess, sys, types\n"
        "subprocess.check_output = lambda *_, **__: 'called'\n"
        f"sys.modules['jupyterlab'] = types.SimpleNamespace(__version__={lab!r})\n"
        f"{read_script('patches/yarn_config.py')}\n"
        f"print(subprocess.check_output({command}))"
    )
    assert run_python(code) == answer


def test_after_its_one_answer_the_standard_library_is_as_it_was() -> None:
    code = (
        "import subprocess, sys, types\nbefore = subprocess.check_output\n"
        "sys.modules['jupyterlab'] = types.SimpleNamespace(__version__='4.6.6')\n"
        f"{read_script('patches/yarn_config.py')}\n"
        f"subprocess.check_output({YARN})\nprint(subprocess.check_output is before)"
    )
    assert run_python(code) == "True"


def test_the_first_collection_restores_the_threshold() -> None:
    code = (
        "import gc\nbefore = gc.get_threshold()\n"
        f"{read_script('patches/late_collection.py')}\n"
        "print(gc.get_threshold()[0], end=' ')\ngc.collect()\nprint(gc.get_threshold() == before)"
    )
    assert run_python(code) == "200000 True"


def test_a_threshold_that_somebody_else_has_set_stays() -> None:
    code = (
        f"import gc\n{read_script('patches/late_collection.py')}\n"
        "gc.set_threshold(7)\ngc.collect()\nprint(gc.get_threshold()[0])"
    )
    assert run_python(code) == "7"


# The launch script.


def test_the_launch_script_becomes_the_script_that_it_is_given(tmp_path: Path) -> None:
    ours = tmp_path / "run"
    ours.mkdir()
    (ours / "launch.py").write_text(launch_script(session_spec()))
    jupyter = tmp_path / "bin"
    jupyter.mkdir()
    (jupyter / "beside.py").write_text("found = 'beside'")
    (jupyter / "jupyter-lab").write_text(
        "import gc, sys, beside\n"
        "print(__name__, sys.argv, sys.path[0], beside.found, gc.get_threshold()[0])\n"
        "print('PYTHONPATH' in __import__('os').environ)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    line = [sys.executable, str(ours / "launch.py"), str(jupyter / "jupyter-lab"), "--ip=0.0.0.0", "x"]
    run = subprocess.run(line, capture_output=True, text=True, check=True, env=environment)
    script = str(jupyter / "jupyter-lab")
    assert run.stdout.splitlines() == [
        f"__main__ {[script, '--ip=0.0.0.0', 'x']} {jupyter} beside 200000",
        "False",
    ]


def test_the_exit_code_of_the_script_is_the_launchers(tmp_path: Path) -> None:
    (tmp_path / "launch.py").write_text(launch_script(session_spec()))
    (tmp_path / "jupyter-lab").write_text("import sys; sys.exit(3)")
    run = subprocess.run([sys.executable, tmp_path / "launch.py", tmp_path / "jupyter-lab"], check=False)
    assert run.returncode == 3


@pytest.mark.parametrize("tune", [True, False])
def test_variables_that_a_shell_drops_are_restored(
    tmp_path: Path,
    tune: bool,  # noqa: FBT001 - pytest hands it over by name
) -> None:
    entries = [
        "spark.master=local[2]",
        "1ST=x",
        "IFS=a=b",
        "ünï=ö",
        "PATH=/other",
        "OPTIND=7",
        "JUPYTER_TOKEN=t",
        "=x",
        "word",
        "",
    ]
    (tmp_path / "environ").write_bytes("\0".join(entries).encode() + b"\0\xff-=\xfe\0")
    script = launch_script(session_spec(tune=tune)).replace("/proc/1/environ", str(tmp_path / "environ"))
    (tmp_path / "launch.py").write_text(script)
    (tmp_path / "jupyter-lab").write_text("import os, sys; sys.stdout.write(ascii(dict(os.environb)))")
    kept = {"PATH": os.environ["PATH"], "LC_ALL": "C", "OPTIND": "a shell's"}
    command = [sys.executable, str(tmp_path / "launch.py"), str(tmp_path / "jupyter-lab")]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=kept)
    seen = {os.fsdecode(name): os.fsdecode(value) for name, value in ast.literal_eval(run.stdout).items()}
    seen.pop("LC_CTYPE", None)  # Python's own
    assert seen == {
        **kept,
        "OPTIND": "7",
        "spark.master": "local[2]",
        "1ST": "x",
        "IFS": "a=b",
        "ünï": "ö",
        "\udcff-": "\udcfe",
    }


# Scripts that are run by exec.

TOKEN = "0123456789abcdef" * 4


def write_info(folder: Path, pid: int = 7, **changes: object) -> str:
    """What a server writes about itself, as Jupyter does."""
    text = json.dumps({"token": TOKEN, "pid": pid, **changes}, indent=2, sort_keys=True)
    (folder / "jupyter" / f"jpserver-{pid}.json").write_text(text)
    return text


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A session's own folder."""
    (tmp_path / "jupyter").mkdir()
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "server.pid").write_text("7\n")
    return tmp_path


def look(folder: Path) -> subprocess.CompletedProcess[str]:
    line = ["sh", "-c", read_script("read_server_info.sh"), "look", str(folder)]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=30)


@pytest.mark.parametrize("pid", [7, 8], ids=["the process that was started", "its child"])
def test_our_server_info_is_found_among_all_else_that_lies_there(run_dir: Path, pid: int) -> None:
    beside = run_dir / "jupyter"
    os.mkfifo(beside / "jpserver-1.json")
    (beside / "jpserver-2.json").symlink_to("/dev/zero")
    (beside / "jpserver-3.json").mkdir()
    with (beside / "jpserver-4.json").open("wb") as file:
        file.truncate(2**30)
    write_info(run_dir, 5, token="f" * 64)
    write_info(run_dir, 6, token=f"{TOKEN}0")
    (beside / "jpserver-60.json").write_text(json.dumps({"token": TOKEN})[:-1])
    (beside / "jpserver-9.json").symlink_to("/no/such")
    text = write_info(run_dir, pid)
    found = look(run_dir)
    assert (found.returncode, found.stdout) == (0, f"{TOKEN}\n{text}\n")


def test_the_file_of_our_process_is_read_before_all_others_and_not_many_are(run_dir: Path) -> None:
    text = write_info(run_dir, 7)
    others = [write_info(run_dir, pid, base_url="/forged/") for pid in range(1, 7)]
    assert look(run_dir).stdout == "".join(f"{TOKEN}\n{item}\n" for item in [text, *others[:2]])


def break_token(folder: Path) -> None:
    (folder / "token").write_text(TOKEN[:-1])


def replace_token(folder: Path) -> None:
    (folder / "token").unlink()
    os.mkfifo(folder / "token")


def replace_pid(folder: Path) -> None:
    (folder / "server.pid").unlink()
    os.mkfifo(folder / "server.pid")
    (folder / "jupyter" / "jpserver-7.json").unlink()


@pytest.mark.parametrize(
    "change", [break_token, replace_token, replace_pid, lambda folder: write_info(folder, token="f" * 64)]
)
def test_no_server_info_of_ours(run_dir: Path, change: Callable[[Path], object]) -> None:
    write_info(run_dir)
    change(run_dir)
    found = look(run_dir)
    assert (found.returncode, found.stdout) == (45, "")


NOBODY = str(2**30)  # no process has so high an id


@pytest.mark.parametrize(
    ("pid", "code"), [(None, 44), (NOBODY, 44), ("x", 45), ("", 45), (str(os.getpid()), 45)], ids=itertools.count()
)
def test_without_server_info_the_servers_process_is_looked_for(run_dir: Path, pid: str | None, code: int) -> None:
    (run_dir / "server.pid").unlink()
    if pid is not None:
        (run_dir / "server.pid").write_text(f"{pid}\n")
    assert look(run_dir).returncode == code
    (run_dir / "jupyter").rmdir()
    assert look(run_dir).returncode == code


def look_as_nobody(script: str, folder: Path) -> int:
    """The exit code of a look by a user who owns nothing."""
    line = ["sh", "-c", read_script(script), "look", str(folder)]
    as_nobody: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": []} if os.getuid() == 0 else {}
    return subprocess.run(line, capture_output=True, check=False, **as_nobody).returncode


@pytest.mark.parametrize("script", ["was_started.sh", "read_server_info.sh"])
def test_a_folder_that_cannot_be_read_says_nothing_of_a_server(script: str) -> None:
    with tempfile.TemporaryDirectory() as made:  # pytest's own folders are for one user
        folder = Path(made)
        folder.chmod(0o755)
        assert look_as_nobody(script, folder) == 44
        for mode in (0o000, 0o444, 0o111):
            folder.chmod(mode)
            assert look_as_nobody(script, folder) == 1
        folder.chmod(0o755)
        assert look_as_nobody(script, folder / "gone") == 1


def test_whether_a_server_was_started_is_seen_by_its_pid(tmp_path: Path) -> None:
    assert run_script("was_started.sh", str(tmp_path)).returncode == 44
    (tmp_path / "server.pid").write_text("")
    assert run_script("was_started.sh", str(tmp_path)).returncode == 0


def uptime() -> float:
    return float(Path("/proc/uptime").read_text().split()[0])


def renew(folder: Path) -> subprocess.CompletedProcess[str]:
    return run_script("renew_lease.sh", str(folder), "60")


@pytest.mark.parametrize("before", ["12345\n", f"{12345:20}\n", None], ids=["an older watcher's", "ours", "deleted"])
def test_a_renewal_moves_the_end_of_the_lease(tmp_path: Path, before: str | None) -> None:
    if before is not None:
        (tmp_path / "lease").write_text(before)
    inode = (tmp_path / "lease").stat().st_ino if before else None
    began = uptime()
    assert renew(tmp_path).returncode == 0
    text = (tmp_path / "lease").read_text()
    assert int(began) + 60 <= int(text) <= uptime() + 60
    assert (len(text), text[-1]) == (21, "\n")
    assert inode in (None, (tmp_path / "lease").stat().st_ino)
    assert [path.name for path in tmp_path.iterdir()] == ["lease"]
    # As a watcher of an older version reads it.
    line = ["sh", "-c", "echo $(($(cat lease) - 1))"]
    older = subprocess.run(line, cwd=tmp_path, capture_output=True, check=True)
    assert int(older.stdout) == int(text) - 1


def test_a_lease_is_watched_while_its_watchers_process_lives(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    (tmp_path / "lease").write_text(f"{12345:20}\n")
    note = tmp_path / "lease.watcher"
    line = Path(f"/proc/{sleeper.pid}/stat").read_text()
    note.write_text(line)
    assert renew(tmp_path).returncode == 0
    # Another process that got the same id.
    fields = line.split()
    note.write_text(" ".join([*fields[:21], str(int(fields[21]) - 1), *fields[22:]]) + "\n")
    assert renew(tmp_path).returncode == 4
    note.write_text(line)
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    ended = renew(tmp_path)  # while nobody has waited for it
    assert (ended.returncode, ended.stderr) == (4, "nobody watches the lease\n")
    sleeper.wait()
    assert renew(tmp_path).returncode == 4
    (tmp_path / "lease.state").write_text("ended  \n")
    assert renew(tmp_path).returncode == 3


def test_a_renewal_that_cannot_be_written_fails(tmp_path: Path) -> None:
    (tmp_path / "lease").mkdir()
    ended = renew(tmp_path)
    assert ended.returncode == 1
    assert "lease" in ended.stderr


@pytest.mark.parametrize("written", [True, False])
def test_a_renewal_in_the_last_grace_says_so(tmp_path: Path, written: bool) -> None:  # noqa: FBT001 - pytest's
    (tmp_path / "lease.state").write_text("ended  \n")
    if not written:
        (tmp_path / "lease").mkdir()
    assert renew(tmp_path).returncode == 3


def test_a_renewal_of_a_session_that_does_not_decide_knows_nothing(tmp_path: Path) -> None:
    (tmp_path / "lease.state").write_text("closing\n")
    ended = renew(tmp_path)
    assert (ended.returncode, "has not decided" in ended.stderr) == (1, True)


# The end of a lease: watch_lease.sh, whose `sleep` is the test's.

_SLEEP = r"""#!/bin/sh
echo "$1" >>sleeps
case $MOMENT:$(wc -l <sleeps) in
  "in a wait:4") sh ./renew ;;
  "deleted:1") rm lease ;;
  "beside its last read:5") while [ ! -e codes ]; do /bin/sleep 0.05; done ;;
esac
"""
_RENEW = """
{ sh -c "$RENEW" renew . 60; echo $? >code; } 2>/dev/null
/bin/mv code codes
"""
_HAS_WRITTEN = "until grep -qv 12345 lease; do /bin/sleep 0.05; done"
MOMENTS = {
    "before its last read": (
        "    write_state closing\n",
        "    [ -e once ] || sh ./renew; touch once\n    write_state closing\n",
    ),
    "beside its last read": (
        "    write_state closing\n",
        f"    write_state closing; [ -e once ] || {{ sh ./renew & {_HAS_WRITTEN}; }}; touch once\n",
    ),
    "after its last read": ("  write_state ended\n", f"  sh ./renew & {_HAS_WRITTEN}\n  write_state ended\n"),
    "after the end": ("  write_state ended\n", "  write_state ended; sh ./renew\n"),
}
"""What runs inside the script at a moment, in place of what."""


def watch(folder: Path, moment: str, lease: int = 3) -> list[int]:
    """The waits of the watcher until it ends the session; something happens at one moment."""
    script = read_script("watch_lease.sh")
    loop = script[: script.index('  echo "the lease was not renewed')] + "fi\ntrap - EXIT\n"
    if moment in MOMENTS:
        assert MOMENTS[moment][0] in loop
        loop = loop.replace(*MOMENTS[moment])
    for name, text in {"sleep": _SLEEP, "renew": _RENEW}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    (folder / "lease").write_text(f"{12345:20}\n")
    (folder / "lease.state").write_text("open   \n")
    environment = {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "RENEW": read_script("renew_lease.sh").replace("sleep", "/bin/sleep"),
        "MOMENT": moment,
    }
    line = ["sh", "-c", loop, "watch", ".", str(lease), str(lease + 1), "", "no-python"]
    subprocess.run(line, cwd=folder, env=environment, check=True, timeout=60)
    assert (folder / "lease.state").read_text() == "ended  \n"
    return [int(line) for line in (folder / "sleeps").read_text().split()]


def wait_for_code(folder: Path) -> int:
    """The exit code of the renewal."""
    deadline = Deadline(20)
    while not (folder / "codes").exists() and not deadline.expired():
        threading.Event().wait(0.05)
    return int((folder / "codes").read_text())


@pytest.mark.parametrize(
    ("lease", "waits"), [(3, [1] * 4), (6, [2, 2, 2, 1]), (20, [5] * 4 + [1]), (21, [5] * 4 + [2])]
)
def test_a_lease_counts_short_waits(tmp_path: Path, lease: int, waits: list[int]) -> None:
    # So a machine that was suspended, or a container that was paused, has used up one of them.
    assert watch(tmp_path, "never", lease) == waits


def test_a_claimed_sessions_own_lease_begins_with_the_first_answer(tmp_path: Path) -> None:
    (tmp_path / "lease.length").write_text("6\n")
    assert watch(tmp_path, "never") == [1] * 4
    (tmp_path / "sleeps").unlink()
    (tmp_path / "answered").touch()
    assert watch(tmp_path, "never") == [2, 2, 2, 1]


@pytest.mark.parametrize("moment", ["in a wait", "before its last read", "beside its last read"])
def test_a_renewal_that_came_in_time_is_counted(tmp_path: Path, moment: str) -> None:
    assert watch(tmp_path, moment) == [1] * 8
    assert wait_for_code(tmp_path) == 0


@pytest.mark.parametrize("moment", ["after its last read", "after the end"])
def test_a_renewal_that_came_too_late_says_so(tmp_path: Path, moment: str) -> None:
    assert watch(tmp_path, moment) == [1] * 4
    assert wait_for_code(tmp_path) == 3


def test_a_deleted_lease_neither_ends_nor_lengthens_a_session(tmp_path: Path) -> None:
    assert watch(tmp_path, "deleted") == [1] * 4


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_the_end_of_a_lease_ends_the_server(
    tmp_path: Path, sleeper: subprocess.Popen[bytes], sent: signal.Signals
) -> None:
    (tmp_path / "server.pid").write_text(f"{sleeper.pid}\n")
    (tmp_path / "sleep").write_text("#!/bin/sh\n")
    (tmp_path / "sleep").chmod(0o755)
    if sent == signal.SIGKILL:  # the script was here before, and goes on
        (tmp_path / "lease.state").write_text("ended  \n")
    line = ["sh", "-c", read_script("watch_lease.sh"), "watch", str(tmp_path), "3", "0", "", "no-python"]
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(line, env=environment, capture_output=True, check=False)
    assert sleeper.wait(10) == -sent


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that stays, with an environment of its own."""
    environment = {"PATH": os.environ["PATH"], "KERNEL_JUPYTER_LAUNCHER": "start-1", "KERNEL_ID": "k1"}
    with sleep_as(environment) as process:
        yield process


@contextmanager
def sleep_as(environment: dict[str, str], *argv: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that stays, with this environment, and with this in its argv."""
    line = ["sh", "-c", "trap : TERM; sleep 60 & wait $!", "kernel", *argv] if argv else ["sleep", "60"]
    with subprocess.Popen(line, env=environment, start_new_session=True) as process:
        yield process
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_sigterm_goes_to_the_servers_process(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    (tmp_path / "server.pid").write_text(f"{sleeper.pid}\n")
    assert run_script("terminate.sh", str(tmp_path)).returncode == 0
    assert sleeper.wait(10) == -signal.SIGTERM


def test_sigterm_without_a_server_fails(tmp_path: Path) -> None:
    assert run_script("terminate.sh", str(tmp_path)).returncode != 0


@pytest.mark.usefixtures("sleeper")
@pytest.mark.parametrize(
    ("mark", "found"),
    [
        ("KERNEL_JUPYTER_LAUNCHER=start-1", ["k1"]),
        ("KERNEL_JUPYTER_LAUNCHER=start-2", []),
        ("KERNEL_JUPYTER_LAUNCHER=start", []),
        ("KERNEL_JUPYTER_LAUNCHER=start..", []),
    ],
)
def test_kernels_are_found_by_the_whole_mark_in_their_environment(mark: str, found: list[str]) -> None:
    ended = run_script("find_kernels.sh", mark)
    assert ([line.split()[0] for line in ended.stdout.splitlines()], ended.returncode) == (found, 0)


def test_a_kernel_is_printed_with_its_number_and_its_age(tmp_path: Path) -> None:
    connection = tmp_path / "kernel-k1.json"
    connection.write_text("{}")
    os.utime(connection, ns=(0, 1_795_651_868_082_000_001))
    mark, number = f"start-{os.getpid()}", f"1795651868.081-{'1' * 32}"
    known = {"PATH": os.environ["PATH"], "KERNEL_JUPYTER_LAUNCHER": mark}
    kernel = {**known, "KERNEL_ID": "k1", "KERNEL_JUPYTER_LAUNCHER_START": number}
    with sleep_as(kernel, "-f", str(connection)), sleep_as({**known, "KERNEL_ID": "k2"}), sleep_as(known):
        find = functools.partial(run_script, "find_kernels.sh", f"KERNEL_JUPYTER_LAUNCHER={mark}")
        # The shell, and the `sleep` that it has started.
        assert eventually(lambda: len(find().stdout.splitlines()) == 3)
        lines = {" ".join(line.split()[:3]) for line in find().stdout.splitlines()}
        ages = [int(line.split()[3]) for line in find().stdout.splitlines()]
    assert lines == {f"k1 {number} 1795651868.082000001", f"k1 {number} -", "k2 - -"}
    assert all(0 < age <= float(Path("/proc/uptime").read_text().split()[0]) * 100 + 100 for age in ages)


def eventually(holds: Callable[[], bool]) -> bool:
    for attempt in attempts(Deadline(10), NotYetError):
        with attempt:
            if not holds():
                raise NotYetError
            return True
    return False


# A gateway of ours.


def run_gateway_script(run_dir: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """In a folder of its own for what a restart keeps."""
    line = ["sh", "-c", read_script("start_gateway.sh"), "gateway", str(run_dir), ".", "", *argv]
    with tempfile.TemporaryDirectory() as kept:
        environment = {**os.environ, "TMPDIR": kept}
        return subprocess.run(line, capture_output=True, text=True, check=False, env=environment)


def test_a_gateway_keeps_its_token_over_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    tokens = []
    for _ in range(2):
        assert run_script("start_gateway.sh", str(tmp_path), ".", "", "true").returncode == 0
        tokens.append((tmp_path / "token").read_text())
        (tmp_path / "token").unlink()
    assert tokens[0] == tokens[1]
    (kept,) = tmp_path.glob(".jupyter*")
    assert kept.stat().st_mode & 0o777 == 0o600
    kept.write_text("bad\n")
    assert run_script("start_gateway.sh", str(tmp_path), ".", "", "true").returncode == 70


def test_a_gateway_serves_only_the_directory_that_was_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    folder = tmp_path / "folder"
    folder.mkdir()
    identity = f"{folder.stat().st_dev}:{folder.stat().st_ino}"
    seen = run_script("start_gateway.sh", str(tmp_path), str(folder), identity, "pwd")
    assert (seen.returncode, seen.stdout) == (0, f"{folder}\n")
    (tmp_path / "token").unlink()
    other = run_script("start_gateway.sh", str(tmp_path), str(folder), "1:1", "echo", "it runs")
    assert (other.returncode, other.stderr) == (71, "")
    assert other.stdout.startswith("jupyter-launcher: the launcher looked at directory 1:1, and directory")
    assert not (tmp_path / "token").exists()


def test_a_gateway_whose_image_cannot_compare_directories_runs_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("#!/bin/sh\nexit 127\n")
    (tmp_path / "stat").chmod(0o755)
    line = ["sh", "-c", read_script("start_gateway.sh"), "gateway", str(tmp_path), ".", "1:1", "echo", "it runs"]
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    ended = subprocess.run(line, capture_output=True, text=True, check=True, env=path)
    assert ended.stdout.startswith("nobody looked")
    assert ended.stdout.endswith("it runs\n")


def test_a_gateway_runs_with_a_token_that_nobody_else_sees(tmp_path: Path) -> None:
    code = "import os, sys; print(os.environ['KG_AUTH_TOKEN'], os.environ['EG_AUTH_TOKEN'], *sys.argv[1:], sep='|')"
    ended = run_gateway_script(tmp_path, sys.executable, "-c", code, "an argument", "$x")
    kg, eg, *arguments = ended.stdout.strip().split("|")
    assert re.fullmatch(r"[0-9a-f]{64}", kg)
    assert eg == kg == (tmp_path / "token").read_text()
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
    assert arguments == ["an argument", "$x"]
    assert run_gateway_script(tmp_path, "true").returncode == 0
    assert (tmp_path / "token").read_text() != kg


def test_a_gateway_takes_the_place_of_the_script(tmp_path: Path) -> None:
    ended = run_gateway_script(tmp_path, "sh", "-c", "umask; exit 7")
    assert (ended.returncode, ended.stdout) == (7, run_script_line("umask"))


def run_script_line(line: str) -> str:
    return subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True).stdout


def test_a_gateway_without_a_token_is_not_run(tmp_path: Path) -> None:
    ended = run_gateway_script(tmp_path / "none", "echo", "it runs")
    assert (ended.returncode, ended.stdout) == (70, "")
    (tmp_path / "od").write_text("#!/bin/sh\n")
    (tmp_path / "od").chmod(0o755)
    line = ["sh", "-c", read_script("start_gateway.sh"), "gateway", str(tmp_path), ".", "", "echo", "it runs"]
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    without = subprocess.run(line, capture_output=True, text=True, check=False, env=path)
    assert (without.returncode, without.stdout) == (70, "")
    assert "no random bytes" in without.stderr


# The look at the pipeline directory.

STRANGER = 4321


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A directory to which a stranger comes; this process's own folders are for one user."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        (Path(name) / "pipeline").mkdir(mode=0o755)
        yield Path(name) / "pipeline"


def look_as_stranger(name: str, folder: Path, *values: str, script: str = "") -> subprocess.CompletedProcess[str]:
    """Run a script as somebody whom modes hold, where this process is root's; there is no folder for its files."""
    who: Any = {"user": STRANGER, "group": STRANGER, "extra_groups": []} if os.getuid() == 0 else {}
    run_dir = str(folder / "no" / "such")
    numbers = ("1", "0") if name == "start.sh" else ()
    line = ["sh", "-c", script or read_script(name), name, run_dir, *numbers, str(folder), *values]
    return subprocess.run(line, capture_output=True, text=True, check=False, **who)


NOT_PREPARED = 70
"""What the scripts end with as there is no folder for their files: the look has let them through."""


@pytest.mark.parametrize(
    ("mode", "writable", "exit_code", "seen"),
    [
        (0o777, "writable", NOT_PREPARED, ""),
        (0o555, "", NOT_PREPARED, ""),
        (0o555, "writable", 73, "cannot write to it"),
        (0o666, "writable", 72, "cannot enter it"),
        (0o333, "writable", 72, "cannot read it"),
        (0o333, "", 72, "cannot read it"),
    ],
)
def test_a_server_looks_what_it_may_do_in_its_directory(
    folder: Path, mode: int, writable: str, exit_code: int, seen: str
) -> None:
    folder.chmod(mode)
    status = folder.stat()
    ended = look_as_stranger("start.sh", folder, "", writable, "", "", "", "", "true")
    folder.chmod(0o755)
    assert ended.returncode == exit_code
    assert seen in ended.stderr
    if seen:
        assert f"mode and owner {mode:o} {status.st_uid}:{status.st_gid}" in ended.stderr
    assert list(folder.iterdir()) == []


def test_a_shell_that_cannot_tell_whether_it_may_write_tries_it(folder: Path) -> None:
    """A seccomp profile that does not know the system call refuses it, and then the shell says no."""
    folder.chmod(0o777)
    script = read_script("start.sh")
    denied = script.replace("[ ! -w . ]", "true").replace("[ -r . ]", "false")
    assert denied != script
    ended = look_as_stranger("start.sh", folder, "", "writable", "", "", "", "", "true", script=denied)
    assert ended.returncode == NOT_PREPARED
    assert list(folder.iterdir()) == []


def test_a_gateway_looks_whether_it_may_enter_its_directory(folder: Path) -> None:
    folder.chmod(0o666)
    ended = look_as_stranger("start_gateway.sh", folder, "", "echo", "it runs")
    assert (ended.returncode, ended.stderr) == (72, "")
    assert re.fullmatch(r"jupyter-launcher: user \d+:\d+ of the gateway cannot enter it\n", ended.stdout)
    folder.chmod(0o755)
    assert look_as_stranger("start_gateway.sh", folder, "", "echo", "it runs").returncode == NOT_PREPARED


# What a gateway of ours has left.


def test_the_token_of_a_gateway_is_read(tmp_path: Path) -> None:
    assert run_script("read_gateway_token.sh", str(tmp_path)).returncode != 0
    (tmp_path / "token").write_text("a" * 64)
    ended = run_script("read_gateway_token.sh", str(tmp_path))
    assert (ended.returncode, ended.stdout) == (0, "a" * 64)
    (tmp_path / "token").unlink()
    (tmp_path / "token").symlink_to("/dev/zero")
    assert run_script("read_gateway_token.sh", str(tmp_path)).returncode != 0


@pytest.mark.parametrize(
    ("address", "backlog", "read"), [("0.0.0.0", 1, "a" * 64), ("127.0.0.1", 1, ""), ("0.0.0.0", None, "")]
)
def test_a_token_waits_until_its_gateway_listens(tmp_path: Path, address: str, backlog: int | None, read: str) -> None:
    (tmp_path / "token").write_text("a" * 64)
    with socket.socket() as opened:
        opened.bind((address, 0))
        if backlog:
            opened.listen(backlog)
        ended = run_script("read_gateway_token.sh", str(tmp_path), f"{opened.getsockname()[1]:04X}")
    assert (ended.returncode == 0, ended.stdout) == (bool(read), read)


# Secrets.


def take(folder: Path, secrets: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    values = {f"_jl_secret_{number}": text for number, text in enumerate(secrets.values(), start=1)}
    line = ["sh", "-c", read_script("take_secrets.sh"), "take", str(folder), " ".join(secrets), *command]
    return subprocess.run(line, capture_output=True, text=True, check=False, env={**os.environ, **values})


ODD = 'it\'s a "value" with $x `y` \\n %s\nand lines\n\n'


def test_secrets_are_in_files_and_in_no_environment(tmp_path: Path) -> None:
    given = {"gateway.token": "t0ken", "secrets/db": ODD, "secrets/a.b-c": "", "secrets/-n": "-n"}
    code = "import os; print(*(name for name in os.environ if '_jl' in name)); print(open('/proc/self/environ').read())"
    ended = take(tmp_path, given, sys.executable, "-c", code)
    assert ended.returncode == 0
    assert {name: (tmp_path / name).read_text() for name in given} == given
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in given} == {0o600}
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    assert "_jl" not in ended.stdout
    assert "t0ken" not in ended.stdout


def test_no_process_sees_secrets_in_its_environment(tmp_path: Path) -> None:
    """The first process of the script is ``mkdir``."""
    folder = tmp_path / "bin"
    folder.mkdir()
    real = shutil.which("mkdir")
    (folder / "mkdir").write_text(f'#!/bin/sh\ncat "/proc/$$/environ" >"{tmp_path}/seen"\nexec {real} "$@"\n')
    (folder / "mkdir").chmod(0o755)
    line = ["sh", "-c", read_script("take_secrets.sh"), "take", str(tmp_path), "secrets/db", "true"]
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", "_jl_secret_1": "s3cret", "KNOWN": "x"}
    subprocess.run(line, check=True, env=environment)
    seen = (tmp_path / "seen").read_text()
    assert "KNOWN=x" in seen
    assert "s3cret" not in seen


def test_the_command_after_secrets_is_as_without(tmp_path: Path) -> None:
    ended = take(tmp_path, {"secrets/db": "x"}, "sh", "-c", 'umask; echo "$*"; exit 7', "sh", "*", "a  b")
    assert (ended.returncode, ended.stdout) == (7, f"{run_script_line('umask')}* a  b\n")


def test_secrets_of_an_earlier_start_are_gone(tmp_path: Path) -> None:
    assert take(tmp_path, {"gateway.token": "t", "secrets/old": "x"}, "true").returncode == 0
    assert take(tmp_path, {"secrets/new": "y"}, "true").returncode == 0
    assert [path.name for path in (tmp_path / "secrets").iterdir()] == ["new"]
    assert not (tmp_path / "gateway.token").exists()


def test_where_secrets_cannot_be_written_nothing_is_started(tmp_path: Path) -> None:
    ended = take(tmp_path / "none", {"secrets/db": "s3cret"}, "echo", "it runs")
    assert (ended.returncode, ended.stdout) == (70, "")
    assert "s3cret" not in ended.stderr


def test_the_server_has_the_gateways_token_from_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gateway.token").write_text("t0ken")
    (tmp_path / "jupyter").mkdir()
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "jupyter"))
    config = SimpleNamespace(GatewayClient=SimpleNamespace())
    exec(read_script("patches/gateway_token.py"), {"get_config": lambda: config})  # noqa: S102 - as the server does
    assert vars(config.GatewayClient) == {"auth_token": "t0ken", "auth_scheme": "token"}


class GatewayKernelManager:
    async def start_kernel(self, **options: Any) -> dict[str, Any]:
        await asyncio.sleep(options.pop("seconds", 0.0))
        return options


class GatewayMappingKernelManager:
    def __init__(self) -> None:
        self.known: list[dict[str, Any]] = []

    async def start_kernel(self, **options: Any) -> str:
        self.known.append(await GatewayKernelManager().start_kernel(**options))
        return "k1"

    async def shutdown_all(self, now: bool = False) -> list[dict[str, Any]]:  # noqa: FBT001, FBT002 - Jupyter's
        return self.known


@pytest.fixture
def gateway_managers(monkeypatch: pytest.MonkeyPatch) -> GatewayMappingKernelManager:
    """The kernels of a server that has read our configuration file."""
    module = ModuleType("jupyter_server.gateway.managers")
    of_kernel = type(
        "GatewayKernelManager", (GatewayKernelManager,), {"start_kernel": GatewayKernelManager.start_kernel}
    )
    of_all = type("GatewayMappingKernelManager", (GatewayMappingKernelManager,), {})
    monkeypatch.setattr(module, "GatewayKernelManager", of_kernel, raising=False)
    monkeypatch.setattr(module, "GatewayMappingKernelManager", of_all, raising=False)
    for name in ("jupyter_server", "jupyter_server.gateway"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(globals(), "GatewayKernelManager", of_kernel)
    for name in ("kernels", "shutdown"):
        exec(read_script(f"patches/gateway_{name}.py"), {})  # noqa: S102 - as the server does
    found: GatewayMappingKernelManager = of_all()
    return found


def test_each_start_of_a_kernel_has_an_id(gateway_managers: GatewayMappingKernelManager) -> None:
    before = time.time()
    for options in ({}, {"env": None}, {"env": {"A": "b"}, "kernel_name": "python3"}):
        assert asyncio.run(gateway_managers.start_kernel(**options)) == "k1"
    ids = [item["env"].pop("KERNEL_JUPYTER_LAUNCHER_START") for item in gateway_managers.known]
    assert gateway_managers.known == [{"env": {}}, {"env": {}}, {"env": {"A": "b"}, "kernel_name": "python3"}]
    assert len(set(ids)) == 3
    for start in ids:
        assert re.fullmatch(r"[0-9]+\.[0-9]{3}-[0-9a-f]{32}", start)
        assert before - 1 < float(start.partition("-")[0]) < time.time() + 1


def test_a_server_ends_when_no_kernel_is_starting_any_more(gateway_managers: GatewayMappingKernelManager) -> None:
    async def start_and_end() -> list[dict[str, Any]]:
        request = asyncio.ensure_future(gateway_managers.start_kernel(seconds=0.1, kernel_name="late"))
        await asyncio.sleep(0)
        request.cancel()  # its client has gone
        return await gateway_managers.shutdown_all(now=True)

    (found,) = asyncio.run(start_and_end())
    assert found["kernel_name"] == "late"


@pytest.mark.parametrize("name", ["kernels", "shutdown"])
def test_without_a_gateways_manager_the_patch_does_nothing(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, "jupyter_server", None)
    exec(read_script(f"patches/gateway_{name}.py"), {})  # noqa: S102 - as the server does


@pytest.mark.usefixtures("sleeper")
@pytest.mark.parametrize(("script", "code"), [("exit 1", 2), ("exit 2", 2), ("exit 127", 127), ("kill -9 $$", 137)])
def test_without_a_grep_that_works_nobody_knows_of_kernels(tmp_path: Path, script: str, code: int) -> None:
    (tmp_path / "grep").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "grep").chmod(0o755)
    line = ["sh", "-c", read_script("find_kernels.sh"), "find", "KERNEL_JUPYTER_LAUNCHER=start-1"]
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    ended = subprocess.run(line, capture_output=True, text=True, check=False, env=environment)
    assert (ended.returncode, ended.stdout) == (code, "")
    assert "grep -z" in ended.stderr


def ask(method: str, url: str, *, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-c", read_script("request.py"), method, url, "5"]
    return subprocess.run(line, capture_output=True, text=True, check=False, env={**os.environ, **(environment or {})})


@pytest.mark.parametrize(
    ("environment", "authorization"),
    [({"EG_AUTH_TOKEN": "e"}, "token e"), ({"KG_AUTH_TOKEN": "k"}, "token k"), ({"EG_AUTH_TOKEN": ""}, None)],
)
def test_a_request_from_inside_takes_the_gateways_own_token(
    environment: dict[str, str], authorization: str | None
) -> None:
    seen: list[tuple[str, str, str | None]] = []

    def answer(method: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        seen.append((method, path, headers.get("Authorization")))
        return 200, b'{"a": 1}'

    proxies = {"http_proxy": "http://127.0.0.1:1", "no_proxy": ""}
    with http_server(answer) as url:
        assert ask("DELETE", f"{url}api/kernels/a", environment={**proxies, **environment}).stdout == '200\n{"a": 1}\n'
    assert seen == [("DELETE", "/api/kernels/a", authorization)]


def test_a_request_from_inside_that_is_refused_prints_the_status() -> None:
    with http_server(lambda *_: (403, b"no")) as url:
        assert ask("GET", url).stdout == "403\nno\n"


def test_a_request_from_inside_is_never_plain_where_another_scheme_was_given() -> None:
    asked: list[str] = []

    def answer(_: str, path: str, __: dict[str, str]) -> tuple[int, bytes]:
        asked.append(path)
        return 200, b""

    with http_server(answer) as url:
        ended = ask("GET", url.replace("http:", "https:"), environment={"KG_AUTH_TOKEN": "k"})
    assert (ended.stdout, ended.returncode, ended.stderr) == ("", 1, "https is not asked from inside, only http\n")
    assert asked == []


def test_a_request_from_inside_that_takes_any_certificate_is_still_not_plain() -> None:
    with http_server(lambda *_: (200, b"")) as url:
        line = [sys.executable, "-c", read_script("request.py"), "GET", url.replace("http:", "https:"), "5"]
        ended = subprocess.run([*line, "any-certificate"], capture_output=True, text=True, check=False)
    assert (ended.stdout, ended.returncode) == ("", 7)
    assert "SSL" in ended.stderr


def test_a_request_from_inside_that_nobody_answers_fails() -> None:
    with http_server(lambda *_: (200, b"")) as url:
        pass
    ended = ask("GET", url)
    assert (ended.stdout, ended.returncode) == ("", 7)
    assert "refused" in ended.stderr


def run_inside(path: str) -> subprocess.CompletedProcess[str]:
    line = ["/bin/sh", "-c", read_script("run_python.sh"), "run", "import sys; print(sys.argv[1:])", "a b", "c"]
    return subprocess.run(line, capture_output=True, text=True, check=False, env={"PATH": path})


@pytest.mark.parametrize("path", ["", os.environ["PATH"]], ids=["nothing", "python3"])
def test_a_script_inside_is_run_by_the_python_that_is_there(tmp_path: Path, path: str) -> None:
    """Without one on the PATH, by that of a process: this one."""
    (tmp_path / "readlink").symlink_to(str(shutil.which("readlink")))
    ended = run_inside(path or str(tmp_path))
    assert (ended.returncode, ended.stdout) == (0, "['a b', 'c']\n")


def test_a_script_inside_needs_a_python(tmp_path: Path) -> None:
    ended = run_inside(str(tmp_path))
    assert (ended.returncode, ended.stdout, ended.stderr) == (127, "", "no Python is here\n")


# The supervisor.


@contextmanager
def supervised(folder: Path, patience: str) -> Iterator[subprocess.Popen[bytes]]:
    """The container's main process; what it leaves, the end of the container would end."""
    line = ["sh", "-c", read_script("supervise.sh"), "supervise", str(folder), patience]
    with (folder / "log").open("w") as log, subprocess.Popen(line, stdout=log, start_new_session=True) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):  # nothing is left
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize(("written", "code"), [("3\n", 3), ("0\n", 0), ("", 137)])
def test_the_container_ends_as_its_server_did(tmp_path: Path, written: str, code: int) -> None:
    os.mkfifo(tmp_path / "alive")
    (tmp_path / "server.pid").write_text("1")
    with supervised(tmp_path, "30") as process:
        with (tmp_path / "alive").open("w") as pipe:  # opens when the supervisor reads
            pipe.write(written)
        assert process.wait(10) == code


def test_without_a_server_the_container_ends(tmp_path: Path) -> None:
    with supervised(tmp_path, "0") as process:
        assert process.wait(10) == 143
    assert "no server came within 0 s" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["to the process", "to its group"])
def test_a_stop_of_the_container_reaches_the_server(
    tmp_path: Path, sleeper: subprocess.Popen[bytes], send: Callable[[int, int], None]
) -> None:
    os.mkfifo(tmp_path / "alive")
    (tmp_path / "server.pid").write_text(str(sleeper.pid))
    with supervised(tmp_path, "30") as process:
        with (tmp_path / "alive").open("w") as pipe:  # the trap is set before the supervisor reads
            send(process.pid, signal.SIGTERM)
            assert sleeper.wait(10) == -signal.SIGTERM
            pipe.write("0\n")
        assert process.wait(10) == 0
