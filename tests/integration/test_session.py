"""The main job: start, use, find again, stop."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
import requests
from run_pipeline import execute, kernel_client

from jupyter_launcher import (
    EngineError,
    Event,
    EventKind,
    Launcher,
    Mount,
    Phase,
    ServerNotRunningError,
    ServerStartError,
    Session,
    SessionConflictError,
    SessionNotFoundError,
    SessionState,
    StopMethod,
    Timeouts,
)
from jupyter_launcher.server.api import JupyterApi
from jupyter_launcher.sessions import stop
from jupyter_launcher.waiting import Deadline
from tests.containers import warnings_of
from tests.integration.conftest import OWNER, address_of, executable

Start = Callable[..., Session]


def printed(kernel: Any, code: str) -> str:
    reply = kernel.execute(code)
    assert reply["status"] == "ok", reply
    return "".join(output.get("text", "") for output in reply["outputs"]).strip()


def authorized(session: Session) -> dict[str, str]:
    return {"Authorization": f"token {session.server_info.token}"}


def start_kernel(session: Session) -> str:
    answer = requests.post(f"{session.url}api/kernels", json={}, headers=authorized(session), timeout=30)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def save(session: Session, name: str, text: str) -> int:
    body = {"type": "file", "format": "text", "content": text}
    return requests.put(
        f"{session.url}api/contents/{name}", json=body, headers=authorized(session), timeout=10
    ).status_code


def wait_for_exit(client: Any, session: Session, seconds: float = 20) -> Any:
    """The container's state after it ended by itself."""
    container = client.containers.get(session.container_id)
    container.wait(timeout=seconds)
    container.reload()
    return container.attrs["State"]


def in_container(client: Any, session: Session, script: str) -> str:
    return str(client.containers.get(session.container_id).exec_run(["sh", "-c", script]).output.decode())


def test_a_session_from_start_to_stop(
    start: Start,
    pipeline_dir: Path,
    client: Any,
    reach: Callable[[str], str],
    keeps_logs: bool,  # noqa: FBT001 - pytest's
) -> None:
    session = start()
    info = session.server_info
    assert list(info.to_dict()) == [
        "base_url",
        "hostname",
        "notebook_dir",
        "password",
        "pid",
        "port",
        "secure",
        "token",
        "url",
    ]
    assert (info.base_url, info.notebook_dir, info.port, info.secure) == ("/", "/pipeline-dir", 8888, False)
    assert session.pipeline_dir == pipeline_dir
    assert session.status().state is SessionState.READY
    assert requests.get(session.lab_url, timeout=10).status_code == 200
    assert requests.get(f"{session.url}api/contents", timeout=10).status_code == 403
    assert session.internal_url == f"http://{address_of(client, session.container_id)}:8888/"
    assert requests.get(f"{reach(session.container_id)}api", timeout=10).status_code == 200
    if keeps_logs:
        assert "JupyterLab extension loaded" in session.logs()
        assert len(session.logs(tail=2).splitlines()) == 2
    else:
        with pytest.raises(EngineError, match="logging driver"):
            session.logs()
    assert session.timings.total > 0

    report = session.stop()
    assert report.method is StopMethod.API
    assert session.status().state is SessionState.GONE
    assert session.stop().method is StopMethod.ALREADY_STOPPED
    with pytest.raises(SessionNotFoundError):
        session.logs()


def test_the_hard_coded_settings_are_in_the_servers_argv(start: Start, gateway: str, client: Any) -> None:
    session = start(gateway=gateway)
    argv = in_container(client, session, f"tr '\\0' '\\n' </proc/{session.server_info.pid}/cmdline").splitlines()
    assert session.gateway is not None
    assert {"--ip=0.0.0.0", "--port=8888", "--notebook-dir=/pipeline-dir"} <= set(argv)
    assert f"--gateway-url={session.gateway.url}" in argv
    address = address_of(client, gateway)
    assert session.gateway.url == f"http://{address}:8888"


def write_notebook(folder: Path) -> Path:
    """One that reads a file beside it, and says where it runs."""
    (folder / "numbers.csv").write_text("1\n2\n39\n")
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [
        nbformat.v4.new_code_cell("total = sum(int(line) for line in open('numbers.csv'))"),
        nbformat.v4.new_code_cell("import socket; print(total, socket.gethostname())"),
    ]
    nbformat.write(notebook, folder / "sum.ipynb")
    return folder / "sum.ipynb"


def test_a_notebook_runs_on_the_gateway(
    start: Start, gateway: str, pipeline_dir: Path, gateway_kernels: Callable[[], set[str]], client: Any
) -> None:
    notebook = write_notebook(pipeline_dir)
    before = gateway_kernels()
    session = start(gateway=gateway)
    assert execute(session, notebook).split() == [
        "42",
        client.containers.get(gateway).id[:12],
    ]
    assert gateway_kernels() == before


def test_without_a_gateway_kernels_run_beside_the_server(start: Start, pipeline_dir: Path) -> None:
    notebook = write_notebook(pipeline_dir)
    session = start()
    assert execute(session, notebook).split() == ["42", session.container_id[:12]]
    with kernel_client(session) as kernel:
        printed(kernel, "open('made-by-kernel', 'w').close()")
    assert (pipeline_dir / "made-by-kernel").stat().st_uid == pipeline_dir.stat().st_uid


def test_stop_ends_our_kernels_on_the_gateway_and_no_others(
    start: Start, gateway: str, gateway_kernels: Callable[[], set[str]]
) -> None:
    before = gateway_kernels()
    others = start(gateway=gateway)
    session = start(gateway=gateway)
    with kernel_client(others) as other:
        ours = {start_kernel(session) for _ in range(3)}
        assert gateway_kernels() - before == {other.id, *ours}
        report = session.stop()
        assert report.method is StopMethod.API
        assert set(report.kernels) == ours
        assert set(report.kernels_gone) == set(report.kernels)
        assert gateway_kernels() - before == {other.id}
        assert printed(other, "print(6 * 7)") == "42"


def test_docker_stop_from_outside_is_graceful(
    start: Start, gateway: str, gateway_kernels: Callable[[], set[str]], client: Any
) -> None:
    before = gateway_kernels()
    session = start(gateway=gateway)
    start_kernel(session)
    assert gateway_kernels() != before
    client.containers.get(session.container_id).stop()
    assert wait_for_exit(client, session)["ExitCode"] == 0
    assert gateway_kernels() == before
    assert session.status().state is SessionState.EXITED
    assert session.stop().method is StopMethod.ALREADY_STOPPED


def test_stop_goes_on_to_sigterm_when_the_api_refuses(
    start: Start, gateway: str, gateway_kernels: Callable[[], set[str]]
) -> None:
    before = gateway_kernels()
    session = start(gateway=gateway)
    start_kernel(session)
    session._server_info = dataclasses.replace(session.server_info, token="wrong")
    assert session.stop().method is StopMethod.SIGTERM
    assert gateway_kernels() == before


def test_stop_kills_a_server_that_ignores_everything_and_deletes_its_kernels(
    start: Start,
    gateway: str,
    gateway_kernels: Callable[[], set[str]],
    client: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = gateway_kernels()
    session = start(gateway=gateway, timeouts=Timeouts(gateway=3, shutdown=2, terminate=1))
    start_kernel(session)
    kernels = gateway_kernels() - before
    frozen = f"kill -STOP {session.server_info.pid}"

    # Frozen only after it told its kernels: nobody can ask it any more afterwards.
    def api(*given: Any) -> _FreezesAfterListing:
        return _FreezesAfterListing(JupyterApi(*given), lambda: in_container(client, session, frozen))

    monkeypatch.setattr(stop, "JupyterApi", api)
    report = session.stop()
    assert report.method is StopMethod.KILLED
    assert set(report.kernels_gone) == kernels
    assert gateway_kernels() == before


class _FreezesAfterListing:
    def __init__(self, api: Any, freeze: Callable[[], object]) -> None:
        self._api = api
        self._freeze = freeze

    def __getattr__(self, name: str) -> Any:
        return getattr(self._api, name)

    def kernels(self, deadline: Deadline) -> Any:
        found = self._api.kernels(deadline)
        self._freeze()
        return found


def test_looking_is_not_use(start: Start, launcher: Launcher, gateway: str) -> None:
    """So that Jupyter's own settings end a server that nobody uses."""
    session = start(session_id="watched", gateway=gateway)

    def last_activity() -> str:
        answer = requests.get(f"{session.url}api/status", headers=authorized(session), timeout=10)
        return str(answer.json()["last_activity"])

    before = last_activity()
    session.status()
    session.renew()
    launcher.list()
    launcher.get("watched")
    assert start(session_id="watched", gateway=gateway).joined
    assert last_activity() == before
    requests.get(f"{session.url}api/contents?content=0", headers=authorized(session), timeout=10)
    assert last_activity() > before


def test_a_removed_session_is_already_stopped(start: Start, client: Any) -> None:
    session = start()
    client.containers.get(session.container_id).remove(force=True)
    assert session.status().state is SessionState.GONE
    assert session.stop().method is StopMethod.ALREADY_STOPPED


def test_a_container_without_our_labels_is_never_touched(start: Start, client: Any, launcher: Launcher) -> None:
    session = start()
    foreign = client.containers.run(launcher.image, ["sleep", "60"], detach=True)
    try:
        own, session._info = session._info, dataclasses.replace(session._info, id=foreign.id)
        assert session.stop().method is StopMethod.ALREADY_STOPPED
        foreign.reload()
        assert foreign.status == "running"
        session._info = own
    finally:
        foreign.remove(force=True)


def test_a_killed_server_ends_its_container_with_its_exit_code(start: Start, client: Any, launcher: Launcher) -> None:
    session = start()
    in_container(client, session, f"kill -KILL {session.server_info.pid}")
    assert wait_for_exit(client, session)["ExitCode"] == 137
    status = session.status()
    assert (status.state, status.exit_code) == (SessionState.EXITED, 137)
    with pytest.raises(ServerNotRunningError) as caught:
        launcher.get(session.id)
    assert caught.value.exit_code == 137
    assert launcher.stop(session.id).method is StopMethod.ALREADY_STOPPED
    with pytest.raises(SessionNotFoundError):
        launcher.stop(session.id)


def test_a_server_killed_together_with_its_shell_ends_its_container(start: Start, client: Any) -> None:
    session = start()
    in_container(client, session, f"kill -KILL $(cut -d' ' -f4 /proc/{session.server_info.pid}/stat)")
    assert session.status().state is SessionState.READY
    in_container(client, session, f"kill -KILL {session.server_info.pid}")
    assert wait_for_exit(client, session)["ExitCode"] == 137


def test_another_process_finds_the_session(start: Start, namespace: str) -> None:
    session = start(session_id="found-again")
    code = (
        "import json, sys; from jupyter_launcher import Launcher; "
        "session = Launcher(namespace=sys.argv[1]).get('found-again'); "
        "print(json.dumps([session.server_info.to_dict(), session.url, session.internal_url, str(session.gateway)]))"
    )
    run = subprocess.run([sys.executable, "-c", code, namespace], capture_output=True, text=True, check=True)
    assert json.loads(run.stdout) == [
        session.server_info.to_dict(),
        session.url,
        session.internal_url,
        str(session.gateway),
    ]


def test_starting_the_same_id_again(start: Start, launcher: Launcher, pipeline_dir: Path) -> None:
    session = start(session_id="again")
    assert launcher.start(pipeline_dir, session_id="again").container_id == session.container_id
    with pytest.raises(SessionConflictError) as caught:
        launcher.start(pipeline_dir, session_id="again", shm_size="1g", base_url="/x")
    assert [difference.partition(" ")[0] for difference in caught.value.differences] == ["base_url", "shm_size"]
    assert session.status().state is SessionState.READY


def test_a_dead_session_is_made_anew(start: Start, client: Any) -> None:
    first = start(session_id="anew")
    client.containers.get(first.container_id).kill()
    second = start(session_id="anew")
    assert second.container_id != first.container_id
    assert second.status().state is SessionState.READY


def test_the_name_of_a_foreign_container_is_left_alone(
    client: Any, launcher: Launcher, namespace: str, pipeline_dir: Path
) -> None:
    name = f"jupyter-server.{namespace}.taken"
    foreign = client.containers.create(launcher.image, name=name)
    try:
        with pytest.raises(SessionConflictError) as caught:
            launcher.start(pipeline_dir, session_id="taken")
        assert caught.value.container_id == foreign.id
        assert name in str(caught.value)
        foreign.reload()
    finally:
        foreign.remove()


@pytest.mark.parametrize("name", ["with space", "ünïcødé-管道", "with:colon", "with,comma", "with'quote\"$HOME"])
def test_any_folder_name_works(start: Start, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "here.txt").write_text("found")
    session = start(folder)
    got = requests.get(f"{session.url}api/contents/here.txt", headers=authorized(session), timeout=10).json()
    assert got["content"] == "found"


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to hand a directory over to another owner")
@pytest.mark.parametrize("owner", [0, OWNER])
def test_saved_files_belong_to_the_owner_of_the_pipeline_dir(
    start: Start, tmp_path: Path, owner: int, gateway: str
) -> None:
    folder = tmp_path / "owned"
    folder.mkdir()
    os.chown(folder, owner, owner)
    session = start(folder, gateway=gateway)
    assert save(session, "saved.txt", "text") == 201
    status = (folder / "saved.txt").stat()
    assert (status.st_uid, status.st_gid) == (owner, owner)
    # The gateway refuses kernels to the user name root.
    with kernel_client(session) as kernel:
        assert printed(kernel, "print('runs')") == "runs"


def test_a_relative_path_is_resolved(start: Start, pipeline_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(pipeline_dir.parent)
    assert start(Path(pipeline_dir.name)).pipeline_dir == pipeline_dir


def test_options_reach_the_container(
    start: Start,
    client: Any,
    tmp_path: Path,
    enforces_limits: bool,  # noqa: FBT001 - pytest's
) -> None:
    limits: dict[str, Any] = {"memory": "1g", "cpus": 1.5} if enforces_limits else {}
    more = tmp_path / "more"
    more.mkdir()
    (more / "data").write_text("from the mount")
    session = start(
        base_url="/a/b",
        environment={"FLAVOUR": "salt", "config": "own", "pid": "own", "line": "own"},
        mounts=[
            Mount(source=str(more), target="/more", read_only=True),
            Mount(source=str(more), target="/labelled", relabel="z"),
        ],
        pipeline_relabel="z",
        **limits,
        shm_size="128m",
        read_only=True,
        labels={"team": "blue"},
        lab_args=["--ServerApp.max_body_size=12345678"],
    )
    assert session.url.endswith("/a/b/")
    assert session.server_info.base_url == "/a/b/"
    raw = client.containers.get(session.container_id).attrs
    host = raw["HostConfig"]
    assert (host["Memory"], host["NanoCpus"]) == ((2**30, 1_500_000_000) if enforces_limits else (0, 0))
    assert host["ShmSize"] == 2**27
    assert raw["Config"]["Labels"]["team"] == "blue"
    if not client.version()["Components"][0]["Name"].startswith("Podman"):  # it tells that only where SELinux is
        assert all("z" in item.split(",") for item in host["Binds"])
    assert in_container(client, session, "cat /labelled/data") == "from the mount"
    with kernel_client(session) as kernel:
        assert printed(kernel, "print(open('/more/data').read())") == "from the mount"
        code = "import os; print([os.environ[name] for name in ('FLAVOUR', 'config', 'pid', 'line')])"
        assert printed(kernel, code) == "['salt', 'own', 'own', 'own']"
        assert printed(kernel, "import os; print([name for name in os.environ if 'PYTHONPATH' in name])") == "[]"
        code = "try:\n    open('/more/x', 'w')\nexcept OSError as error:\n    print(error.strerror)"
        assert printed(kernel, code) == "Read-only file system"
        assert printed(kernel, code.replace("/more/x", "/opt/x")) == "Read-only file system"


def test_the_container_has_no_powers(start: Start, client: Any, launcher: Launcher) -> None:
    session = start()
    status = in_container(client, session, f"cat /proc/{session.server_info.pid}/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["CapEff"].strip() == "0" * 16
    assert fields["CapBnd"].strip() == "0" * 16
    assert fields["NoNewPrivs"].strip() == "1"
    assert fields["Seccomp"].strip() == "2"
    mounts = [line.split() for line in in_container(client, session, "cat /proc/self/mounts").splitlines()]
    groups = [options for _, _, kind, options, *_ in mounts if kind in ("cgroup", "cgroup2")]
    assert groups
    # In a remapped engine, they are mounted to be written, and belong to nobody in the container.
    read_only = all("ro" in options.split(",") for options in groups)
    assert read_only or in_container(client, session, "find /sys/fs/cgroup -writable -not -type l") == ""
    host = client.containers.get(session.container_id).attrs["HostConfig"]
    if launcher._engine.traits.limits_pids is not False:  # as with a rootless engine
        assert host["PidsLimit"] > 0
    assert [item["HostIp"] for item in host["PortBindings"]["8888/tcp"]] == ["127.0.0.1"]


def test_an_exec_that_runs_before_the_containers_main_process(start: Start, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    # The main process makes its pipe late.
    late = "tr '\\0' '\\n' </proc/$PPID/cmdline | grep -qx supervise && sleep 1"
    executable(own / "mkfifo", late + '\nexec /usr/bin/mkfifo "$@"')
    session = start(
        mounts=[Mount(source=str(own), target="/own")], environment={"PATH": "/own:/opt/jupyter/bin:/usr/bin:/bin"}
    )
    assert session.stop().method is StopMethod.API


def test_interrupting_works_in_kernels_and_their_children(start: Start, client: Any) -> None:
    session = start()
    status = in_container(client, session, f"cat /proc/{session.server_info.pid}/status")
    ignored = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigIgn"))
    assert not ignored & 1 << 1, "SIGINT is ignored, and so it would be in every terminal"


def test_any_user_and_a_home_that_cannot_be_written(start: Start, client: Any, pipeline_dir: Path) -> None:
    pipeline_dir.chmod(0o777)
    session = start(user="4321:4321", environment={"HOME": "/no/such/home"})
    assert in_container(client, session, "id -u").strip() == "4321"
    with kernel_client(session) as kernel:
        assert printed(kernel, "print('runs')") == "runs"
    assert save(session, "shared.txt", "text") == 201


def test_events_come_in_the_order_of_the_flow(start: Start, gateway: str, events: list[Event]) -> None:
    events.clear()
    session = start(gateway=gateway)
    session.stop()
    mine = [event for event in events if event.session_id == session.id]
    assert [event.phase for event in mine if event.kind is EventKind.STARTED] == [
        Phase.GATEWAY,
        Phase.IMAGE,
        Phase.CONTAINER,
        Phase.SERVER,
        Phase.READY,
        Phase.STOP,
    ]
    assert len([event for event in mine if event.kind is EventKind.FINISHED]) == 6
    assert not any(session.server_info.token in str(event) for event in events)


def test_a_session_that_is_left_by_an_exception_is_stopped(launcher: Launcher, pipeline_dir: Path) -> None:
    with pytest.raises(ZeroDivisionError), launcher.start(pipeline_dir) as session:
        1 / 0  # noqa: B018 - raises on purpose
    assert session.status().state is SessionState.GONE


def test_a_server_is_noticed_dead_within_a_second_or_so(launcher: Launcher, pipeline_dir: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(ServerStartError):
        launcher.start(pipeline_dir, lab_args=["--ServerApp.max_body_size=no-number"])
    # Not a timed test: the point is that the start did not wait for its time-out of a minute.
    assert time.monotonic() - started < 30


# An extension that prints how it finds the server: at its load, and after a collection.
PROBE = """
import gc, subprocess

def _load_jupyter_server_extension(app):
    print("collected after", gc.get_threshold()[0], subprocess.check_output.__module__, flush=True)
    gc.collect()
    print("later after", gc.get_threshold()[0], flush=True)
    gc.set_threshold(1234)
    gc.collect()
    print("at last after", gc.get_threshold()[0], flush=True)
"""


@pytest.mark.parametrize("tune", [True, False])
@pytest.mark.usefixtures("needs_logs")
def test_tuning_is_for_the_server_alone(
    start: Start,
    tmp_path: Path,
    client: Any,
    tune: bool,  # noqa: FBT001 - pytest hands it over by name
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "rfc3987_syntax.py").write_text("print('the grammar is built', flush=True)\n")
    (own / "sitecustomize.py").write_text("print('of the image', flush=True)\n")
    (own / "probe.py").write_text(PROBE)
    executable(own / "node", "echo 'node was asked' >/proc/1/fd/1")
    session = start(
        mounts=[Mount(source=str(own), target="/own")],
        environment={"PYTHONPATH": "/own", "PATH": "/opt/jupyter/bin:/usr/bin:/bin:/own"},
        lab_args=["--ServerApp.jpserver_extensions={'probe': True}"],
        tune=tune,
    )
    default = in_container(client, session, "python -Ic 'import gc; print(gc.get_threshold()[0])'").strip()
    log = session.logs()
    assert "of the image" in log
    assert f"later after {default}" in log
    assert "at last after 1234" in log
    assert ("the grammar is built" in log) == (not tune)
    assert ("node was asked" in log) == (not tune)
    assert f"collected after {200000 if tune else default} subprocess" in log
    with kernel_client(session) as kernel:
        code = "import os, rfc3987_syntax; print(os.environ['PYTHONPATH'])"
        assert printed(kernel, code).splitlines()[-1] == "/own"
        assert printed(kernel, "import gc; print(gc.get_threshold()[0])").splitlines()[-1] == default


def test_the_server_says_when_it_is_there(start: Start, client: Any) -> None:
    # The timer's look may come before the server's signal, so more than one start may be needed.
    reasons = (in_container(client, start(), "cat /run/jupyter-launcher/reported").strip() for _ in range(5))
    assert "ready" in reasons


def test_a_server_that_does_not_read_our_configuration_is_found(start: Start, client: Any, pipeline_dir: Path) -> None:
    (pipeline_dir / "own.py").write_text("c = get_config()\n")
    session = start(lab_args=["--config=/pipeline-dir/own.py"])
    assert in_container(client, session, "cat /run/jupyter-launcher/reported").strip() == "tick"


@pytest.mark.parametrize("kind", ["wrapper", "wrapper beside a jupyter-lab", "link beside a jupyter-lab"])
def test_a_jupyter_command_of_ones_own_is_run(start: Start, client: Any, tmp_path: Path, kind: str) -> None:
    own = tmp_path / "own"
    own.mkdir()
    if kind.startswith("link"):
        (own / "jupyter").symlink_to("/opt/jupyter/bin/jupyter")
    else:
        executable(own / "jupyter", 'exec /opt/jupyter/bin/jupyter "$@"')
    if kind.endswith("jupyter-lab"):
        executable(own / "jupyter-lab", "echo another one; exit 1")
    session = start(
        mounts=[Mount(source=str(own), target="/own")], environment={"PATH": "/own:/opt/jupyter/bin:/usr/bin:/bin"}
    )
    line = in_container(client, session, "tr '\\0' ' ' </proc/$(cat /run/jupyter-launcher/server.pid)/cmdline")
    tuned = kind.startswith("link")
    launch = "/run/jupyter-launcher/launch.py " if tuned else ""
    assert line.startswith(f"/opt/jupyter/bin/python3 {launch}/opt/jupyter/bin/jupyter-lab --ip=0.0.0.0")
    warnings = warnings_of(session)
    assert len(warnings) == (0 if tuned else 1)
    assert all("not tuned" in warning for warning in warnings)
