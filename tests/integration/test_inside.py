"""What runs inside the container: whose server it is, what its kernels see, and which directory it serves."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import websocket
from run_pipeline import kernel_client

from jupyter_launcher import (
    ExecError,
    Launcher,
    Mount,
    PipelineDirError,
    ServerStartError,
    Session,
    StopMethod,
    Timeouts,
)
from jupyter_launcher.server.process import StartedServer, start_server
from jupyter_launcher.spec.options import SessionSpec
from jupyter_launcher.spec.plan import plan
from jupyter_launcher.waiting import Deadline
from tests.containers import eventually, user_inside, warnings_of
from tests.integration.conftest import executable
from tests.integration.test_session import authorized, in_container, printed, start_kernel

Start = Callable[..., Session]
RUN_DIR = "/run/jupyter-launcher"
PATH = "/own:/opt/jupyter/bin:/usr/bin:/bin"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder that sessions see as ``/own``."""
    folder = tmp_path / "own"
    folder.mkdir()
    return folder


# Whose server it is.

# Another server, as a test suite in a terminal would start it, and what else may lie in its folder.
SECOND_SERVER = """
import os, subprocess
runtime = os.environ["JUPYTER_RUNTIME_DIR"]
second = subprocess.Popen(["jupyter", "server", "--port=9999", "--no-browser", "--allow-root"], start_new_session=True)
os.mkfifo(runtime + "/jpserver-1.json")
os.symlink("/dev/zero", runtime + "/jpserver-2.json")
os.mkdir(runtime + "/jpserver-3.json")
print(f"{runtime}/jpserver-{second.pid}.json")
"""


def test_another_server_in_the_session_changes_nothing(
    start: Start, launcher: Launcher, pipeline_dir: Path, client: Any
) -> None:
    session = start(session_id="two-servers")

    def is_found() -> bool:
        again = launcher.start(pipeline_dir, session_id="two-servers")
        return [launcher.get("two-servers").server_info, again.server_info] == [session.server_info] * 2

    with kernel_client(session) as kernel:
        second = printed(kernel, SECOND_SERVER)
        assert eventually(lambda: '"token"' in in_container(client, session, f"cat {second}"))
        assert session.server_info.token not in in_container(client, session, f"cat {second}")
        assert is_found()
        listed = printed(
            kernel, "print(subprocess.getoutput('rm -r $JUPYTER_RUNTIME_DIR/jpserver-[123].json; jupyter server list'))"
        )
        assert session.server_info.token in listed
        assert ":9999/" in listed
        printed(kernel, "second.kill()")
        in_container(client, session, f"truncate -s 1G {RUN_DIR}/jupyter/jpserver-4.json")
        assert is_found()
    assert session.stop().method is StopMethod.API


def test_a_folder_that_cannot_be_read_is_no_evidence(start: Start, launcher: Launcher, client: Any) -> None:
    session = start(session_id="unreadable")
    in_container(client, session, f"chmod 000 {RUN_DIR}")
    with pytest.raises(ExecError, match="cannot be read"):
        start(session_id="unreadable", timeouts=Timeouts(start=3))
    in_container(client, session, f"chmod 700 {RUN_DIR}")
    assert launcher.get("unreadable").server_info == session.server_info


# What kernels and terminals see.

ODD = {"spark.master": "local[2]", "MY-VAR": "1", "1ST": "x", "ünï": "ö", "_token": "t", "IFS": "x", "FINE": "1"}
SEEN = "import os, json; print(json.dumps(dict(os.environ)))"


@contextlib.contextmanager
def terminal(session: Session) -> Iterator[Any]:
    """A new terminal of the session: its websocket."""
    made = requests.post(f"{session.url}api/terminals", headers=authorized(session), timeout=30).json()
    url = f"{session.url.replace('http', 'ws', 1)}terminals/websocket/{made['name']}"
    with contextlib.closing(websocket.create_connection(url, timeout=30, header=authorized(session))) as connection:
        yield connection


@pytest.mark.parametrize("tune", [True, False])
def test_kernels_and_terminals_have_what_was_asked_for_and_nothing_of_ours(
    start: Start,
    pipeline_dir: Path,
    client: Any,
    tune: bool,  # noqa: FBT001 - pytest hands it over by name
) -> None:
    # A server that is told so does not start where an endpoint of its own lacks its decorator for authentication.
    strict = {"JUPYTER_SERVER_ALLOW_UNAUTHENTICATED_ACCESS": "False"}
    session = start(environment={**ODD, **strict, "JUPYTER_CONFIG_PATH": "/not/there"}, tune=tune)
    assert warnings_of(session) == []
    with kernel_client(session) as kernel:
        of_kernel = json.loads(printed(kernel, SEEN))
        name = printed(kernel, "import os, pwd; print(pwd.getpwuid(os.getuid()).pw_name)")
    assert in_container(client, session, "whoami").strip() == name
    with terminal(session) as connection:
        line = "tr '\\0' '\\n' </proc/$$/environ >/pipeline-dir/seen; mv /pipeline-dir/seen /pipeline-dir/environ\r"
        connection.send(json.dumps(["stdin", line]))
        assert eventually((pipeline_dir / "environ").exists)
    lines = (pipeline_dir / "environ").read_text().splitlines()
    of_terminal = dict(line.split("=", 1) for line in lines if "=" in line)
    for seen in (of_kernel, of_terminal):
        assert {name: seen.get(name) for name in ODD} == ODD
        assert seen["JUPYTER_CONFIG_PATH"] == "/not/there"
        assert seen["JUPYTER_RUNTIME_DIR"] == f"{RUN_DIR}/jupyter"
        assert [name for name in seen if name.startswith(("JUPYTER_TOKEN", "_jl_"))] == []
    of_server = in_container(client, session, f"cat /proc/{session.server_info.pid}/environ").split("\0")
    assert f"JUPYTER_TOKEN_FILE={RUN_DIR}/token" in of_server
    assert [entry for entry in of_server if entry.startswith("_jl_")] == []


@pytest.mark.parametrize("environment", [{}, {"MY-VAR": "1", "IFS": "x", "FINE": "1"}])
def test_variables_that_do_not_reach_the_server_are_told(start: Start, own: Path, environment: dict[str, str]) -> None:
    executable(own / "jupyter", 'exec /opt/jupyter/bin/jupyter "$@"')
    session = start(
        mounts=[Mount(source=str(own), target="/own")], environment={"PATH": PATH, **environment}, tune=False
    )
    warnings = warnings_of(session)
    assert len(warnings) == (1 if environment else 0)
    assert all(text.endswith((": IFS MY-VAR", ": MY-VAR IFS")) for text in warnings)


# Which directory is served.

Attempt = Callable[..., StartedServer]


@pytest.fixture
def attempt(launcher: Launcher, pipeline_dir: Path, namespace: str, client: Any) -> Iterator[Attempt]:
    """Starts a container and a server in it, as a start does, with options that a start would not make up."""
    engine, made = launcher._engine, []

    def run(directory: str | None = None, more: str = "", **options: Any) -> StartedServer:
        spec = SessionSpec.from_options(
            session_id="attempt",
            namespace=namespace,
            pipeline_dir=pipeline_dir,
            pipeline_dir_id=directory,
            user=user_inside(client, pipeline_dir),
            image=launcher.image,
            **options,
        )
        planned = plan(spec, network="bridge", start_id="by-hand")
        planned = dataclasses.replace(planned, command=(*planned.command, *([more] if more else [])))
        made.append(engine.create(planned.container, planned.labels.name))
        engine.start(made[-1])
        return start_server(engine, made[-1], planned, Deadline(30))

    yield run
    for container in made:
        engine.remove(container)


def identity(folder: Path) -> str:
    found = folder.stat()
    return f"{found.st_dev}:{found.st_ino}"


def test_a_directory_that_was_exchanged_before_the_mount_is_not_served(
    attempt: Attempt, pipeline_dir: Path, client: Any, namespace: str
) -> None:
    with pytest.raises(PipelineDirError, match="led to another directory") as caught:
        attempt(identity(pipeline_dir.parent))
    assert caught.value.path == str(pipeline_dir)
    assert identity(pipeline_dir) in str(caught.value)
    (container,) = client.containers.list(
        filters={"label": f"jupyter-launcher.namespace={namespace}"}, ignore_removed=True
    )
    assert container.exec_run(["ls", RUN_DIR]).output.decode().split() == ["alive"]


def test_the_directory_that_was_looked_at_is_served(attempt: Attempt, pipeline_dir: Path) -> None:
    assert attempt(identity(pipeline_dir)).warnings == ()


def test_an_image_that_cannot_compare_directories_is_told(attempt: Attempt, own: Path) -> None:
    executable(own / "stat", "exit 127")
    server = attempt("1:1", mounts=[Mount(source=str(own), target="/own")], environment={"PATH": PATH})
    (warning,) = server.warnings
    assert "stat" in warning


def test_an_argument_that_is_too_long_is_named_as_the_cause(attempt: Attempt) -> None:
    with pytest.raises(ServerStartError, match=r"(?i)argument list too long") as caught:
        attempt(more="x" * 200_000)
    assert caught.value.exit_code
    assert "128 KiB" in caught.value.hint


# What is done to files and messages.


@pytest.mark.parametrize("wanted", ["nobody", "an argument", "a configuration file"])
def test_deleted_files_are_deleted_unless_somebody_wants_the_trash(
    start: Start, pipeline_dir: Path, own: Path, wanted: str
) -> None:
    setting = "FileContentsManager.delete_to_trash"
    (own / "jupyter_server_config.py").write_text(f"c.{setting} = True\n" if wanted.endswith("file") else "")
    (pipeline_dir / "folder").mkdir()
    (pipeline_dir / "folder" / "file.txt").write_text("text")
    (pipeline_dir / "file.txt").write_text("text")
    for path in pipeline_dir.rglob("*"):
        os.chown(path, pipeline_dir.stat().st_uid, pipeline_dir.stat().st_gid)
    session = start(
        mounts=[Mount(source=str(own), target="/own")],
        environment={"JUPYTER_CONFIG_PATH": "/own"},
        lab_args=[f"--{setting}=True"] if wanted == "an argument" else [],
    )
    for name in ("file.txt", "folder"):
        answer = requests.delete(f"{session.url}api/contents/{name}", headers=authorized(session), timeout=30)
        assert answer.status_code == 204
    left = sorted(path.name for path in pipeline_dir.rglob("*.txt"))
    assert left == ([] if wanted == "nobody" else ["file.txt", "file.txt"])
    assert any(pipeline_dir.glob(".Trash*")) == (wanted != "nobody")


def receive_outputs(session: Session, code: str) -> list[str]:
    """The texts that code displays in a new kernel, by websocket, as a browser gets them."""
    url = f"{session.url.replace('http', 'ws', 1)}api/kernels/{start_kernel(session)}/channels"
    header = {"msg_id": "m1", "msg_type": "execute_request", "username": "", "session": "s1", "version": "5.3"}
    request = {"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": {"code": code}}
    shown: list[str] = []
    deadline = Deadline(60)
    # The check of UTF-8 is Python's, and slow.
    connected = websocket.create_connection(url, timeout=20, header=authorized(session), skip_utf8_validation=True)
    with contextlib.closing(connected) as connection:
        connection.send(json.dumps(request))
        while not deadline.expired():
            message = json.loads(connection.recv())
            if message["msg_type"] == "display_data":
                shown.append(message["content"]["data"]["text/plain"])
            elif message["content"].get("execution_state") == "idle" and message["parent_header"].get("msg_id") == "m1":
                return shown
    return pytest.fail(f"the cell did not end; it showed {len(shown)} outputs")


def test_a_message_of_40_million_characters_comes_from_a_gateway(start: Start, gateway: str) -> None:
    code = "from IPython.display import display; display({'text/plain': 'x' * 40_000_000}, raw=True); display(6 * 7)"
    large, after = receive_outputs(start(gateway=gateway), code)
    assert (len(large), after) == (40_000_000, "42")
