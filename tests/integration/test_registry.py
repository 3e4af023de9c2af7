"""Sessions outlive the orchestrator: found, listed, shared, leased and reaped by any process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from jupyter_launcher import (
    Launcher,
    LauncherError,
    ServerStartError,
    Session,
    SessionState,
    StopMethod,
    Timeouts,
)
from jupyter_launcher.spec.options import SessionSpec
from jupyter_launcher.spec.plan import plan
from tests.containers import eventually, pause, reaped, user_inside
from tests.integration.conftest import executable
from tests.integration.test_session import authorized, in_container, start_kernel, wait_for_exit

Start = Callable[..., Session]
Kernels = Callable[[], set[str]]
STOP_SERVER = "kill -STOP $(cat /run/jupyter-launcher/server.pid)"


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def leave_created(client: Any, launcher: Launcher, folder: Path, session_id: str, *, run: bool) -> Any:
    """What a launcher leaves behind that is killed after the create, or after the start."""
    spec = SessionSpec.from_options(
        session_id=session_id,
        namespace=launcher.namespace,
        pipeline_dir=folder,
        user=user_inside(client, folder),
        image=launcher.image,
    )
    planned = plan(spec, network="bridge", start_id="of-the-dead")
    made = launcher._engine.create(planned.container, planned.labels.name)
    if run:
        launcher._engine.start(made)
    return client.containers.get(made)


def test_list_has_every_state(start: Start, client: Any, launcher: Launcher, gateway: str, pipeline_dir: Path) -> None:
    frozen = start(session_id="frozen")
    pause(client.containers.get(frozen.container_id))
    alive = start(session_id="alive", gateway=gateway)
    dead = start(session_id="dead")
    client.containers.get(dead.container_id).kill()
    starved = start(session_id="starved")
    in_container(client, starved, "kill -KILL $(cat /run/jupyter-launcher/server.pid)")
    wait_for_exit(client, starved)
    created = leave_created(client, launcher, pipeline_dir, "created", run=False)
    coming = leave_created(client, launcher, pipeline_dir, "coming", run=True)
    hung = start(session_id="hung")
    in_container(client, hung, STOP_SERVER)
    found = {item.session_id: item for item in launcher.list()}
    assert {name: (item.state, item.exit_code) for name, item in found.items()} == {
        "alive": (SessionState.READY, None),
        "dead": (SessionState.EXITED, 137),
        "starved": (SessionState.EXITED, 137),
        "created": (SessionState.CREATED, None),
        "coming": (SessionState.STARTING, None),
        "frozen": (SessionState.PAUSED, None),
        "hung": (SessionState.STARTING, None),
    }
    with Launcher(namespace=launcher.namespace, timeouts=Timeouts(start=0.1)) as impatient:
        found = {item.session_id: item for item in impatient.list()}
    assert found["hung"].state is SessionState.UNRESPONSIVE
    assert found["alive"].container_id == alive.container_id
    assert found["alive"].gateway == gateway
    assert found["alive"].pipeline_dir == alive.pipeline_dir
    client.containers.get(frozen.container_id).unpause()
    client.containers.get(hung.container_id).kill()  # a stop would wait for its server
    for container in (created, coming):
        container.remove(force=True)


@pytest.mark.usefixtures("needs_limits")
def test_a_server_ended_for_memory_is_listed_so(start: Start, client: Any, launcher: Launcher) -> None:
    session = start(session_id="hungry", memory="160m")
    code = "x = b'x' * 2**30"
    container = client.containers.get(session.container_id)
    container.exec_run(["sh", "-c", f'echo 1000 >/proc/self/oom_score_adj; exec python3 -c "{code}"'])
    in_container(client, session, f"kill -KILL {session.server_info.pid}")
    wait_for_exit(client, session)
    (item,) = launcher.list()
    assert (item.state, item.exit_code, item.oom_killed) == (SessionState.EXITED, 137, True)
    assert session.status().oom_killed


def test_listing_asks_the_engine_once_where_all_answer(start: Start, launcher: Launcher, client: Any) -> None:
    start()
    silent = start()
    asked: list[str] = []
    engine: Any = launcher._engine
    api = engine.api
    send = api.send

    def counted(request: Any, **options: Any) -> Any:
        asked.append(request.url)
        return send(request, **options)

    api.send = counted
    try:
        assert [item.state for item in launcher.list()] == [SessionState.READY] * 2
        assert len(asked) == 1
        in_container(client, silent, STOP_SERVER)
        assert {item.session_id: item.state for item in launcher.list()}[silent.id] is SessionState.STARTING
        assert len(asked) == 3
    finally:
        api.send = send
        client.containers.get(silent.container_id).kill()  # a stop would wait for its server


def test_two_processes_that_start_the_same_session_share_it(
    launcher: Launcher, namespace: str, pipeline_dir: Path
) -> None:
    code = (
        "import sys; from jupyter_launcher import Launcher\n"
        "session = Launcher(namespace=sys.argv[1]).start(sys.argv[2], session_id='shared')\n"
        "print(session.container_id, session.server_info.token)"
    )
    line = [sys.executable, "-c", code, namespace, str(pipeline_dir)]
    processes = [subprocess.Popen(line, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    printed = {process.communicate(timeout=120)[0] for process in processes}
    assert [process.returncode for process in processes] == [0] * 4
    assert len(printed) == 1
    assert printed.pop().split()[0] == launcher.get("shared").container_id
    launcher.stop("shared")


def test_threads_that_start_the_same_session_share_it(launcher: Launcher, pipeline_dir: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        sessions = list(pool.map(lambda _: launcher.start(pipeline_dir, session_id="same"), range(8)))
    assert len({session.container_id for session in sessions}) == 1
    sessions[0].stop()


def test_a_start_that_joined_a_failing_one_fails_for_itself(launcher: Launcher, pipeline_dir: Path) -> None:
    def failing(_: int) -> str:
        try:
            launcher.start(pipeline_dir, session_id="bad", lab_args=["--ServerApp.max_body_size=no-number"])
        except LauncherError as error:
            return type(error).__name__
        return "no error"

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(failing, range(2))) == [ServerStartError.__name__] * 2


@pytest.mark.parametrize("run", [False, True], ids=["created", "started"])
def test_a_session_that_was_never_started_is_started_anew(
    start: Start,
    client: Any,
    launcher: Launcher,
    pipeline_dir: Path,
    run: bool,  # noqa: FBT001 - pytest hands it over by name
) -> None:
    old = leave_created(client, launcher, pipeline_dir, "half", run=run)
    # Until so much time has passed, somebody may still be starting it.
    session = start(session_id="half", timeouts=Timeouts(start=20))
    assert session.container_id != old.id
    assert session.status().state is SessionState.READY


@pytest.mark.usefixtures("needs_logs")
def test_a_session_without_a_renewal_ends_itself(
    start: Start, gateway: str, gateway_kernels: Kernels, client: Any
) -> None:
    before = gateway_kernels()
    session = start(gateway=gateway, lease=3)
    start_kernel(session)
    assert wait_for_exit(client, session)["ExitCode"] == 0
    assert "the lease was not renewed for 3 s" in session.logs()
    assert gateway_kernels() == before


def test_a_session_that_is_renewed_stays(start: Start, launcher: Launcher, client: Any) -> None:
    session = start(lease=4, session_id="leased")
    end = in_container(client, session, "cat /run/jupyter-launcher/lease").strip()
    up = float(Path("/proc/uptime").read_text().split()[0])
    assert eventually(lambda: float(Path("/proc/uptime").read_text().split()[0]) > up + 1)
    launcher.renew("leased")
    assert int(in_container(client, session, "cat /run/jupyter-launcher/lease")) > int(end)


def test_the_context_manager_renews(launcher: Launcher, pipeline_dir: Path, client: Any) -> None:
    threads = threading.active_count()
    with launcher.start(pipeline_dir, lease=3) as session:
        started = time.monotonic()
        assert eventually(lambda: time.monotonic() > started + 7)
        assert session.status().state is SessionState.READY
    assert threading.active_count() == threads


@pytest.mark.parametrize("gently", [True, False], ids=["exit", "sigkill"])
def test_a_session_ends_when_its_orchestrator_is_gone(
    namespace: str,
    pipeline_dir: Path,
    client: Any,
    gateway: str,
    gateway_kernels: Kernels,
    launcher: Launcher,
    gently: bool,  # noqa: FBT001 - pytest hands it over by name
) -> None:
    before = gateway_kernels()
    code = (
        "import sys, os, signal; from jupyter_launcher import Launcher\n"
        "session = Launcher(namespace=sys.argv[1]).start(sys.argv[2], gateway=sys.argv[3], session_id='o', lease=4)\n"
        "session.__enter__()\n"
        "print('up', flush=True)\n"
        "sys.stdin.read()\n"
    )
    line = [sys.executable, "-c", code, namespace, str(pipeline_dir), gateway]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        session = launcher.get("o")
        start_kernel(session)
        process.terminate() if gently else process.kill()
    assert wait_for_exit(client, session)["ExitCode"] == 0
    assert gateway_kernels() == before
    launcher.stop("o")


@pytest.mark.usefixtures("needs_logs")
def test_a_server_that_hangs_ends_with_its_lease_when_the_launcher_was_killed(
    namespace: str, pipeline_dir: Path, tmp_path: Path, client: Any, launcher: Launcher
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    executable(own / "jupyter", "echo it hangs\nexec sleep 300")
    code = (
        "import os, signal, sys; from jupyter_launcher import Launcher, Mount, Timeouts\n"
        "mounts, environment = [Mount(source=sys.argv[3], target='/own')], {'PATH': '/own:/usr/bin:/bin'}\n"
        "launcher = Launcher(namespace=sys.argv[1], timeouts=Timeouts(start=3))\n"
        "engine, remove = launcher._engine, launcher._engine.remove\n"
        "def end(container):\n"
        "    if '.hung' in engine.inspect(container).name:\n"  # and not a look at the engine's host
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    remove(container)\n"
        "engine.remove = end\n"
        "launcher.start(sys.argv[2], session_id='hung', lease=3, mounts=mounts, environment=environment)\n"
    )
    line = [sys.executable, "-c", code, namespace, str(pipeline_dir), str(own)]
    assert subprocess.run(line, check=False, timeout=60).returncode == -signal.SIGKILL
    (item,) = launcher.list()
    client.containers.get(item.container_id).wait(timeout=60)
    assert "it hangs\nthe lease was not renewed for 3 s" in "".join(launcher.logs("hung"))
    launcher.stop("hung")


def test_kernels_of_a_killed_server_are_found_and_deleted(
    start: Start, gateway: str, gateway_kernels: Kernels, client: Any
) -> None:
    before = gateway_kernels()
    others = start(gateway=gateway)
    other = start_kernel(others)
    session = start(gateway=gateway)
    ours = {start_kernel(session), start_kernel(session)}
    in_container(client, session, f"kill -KILL {session.server_info.pid}")
    wait_for_exit(client, session)
    assert ours <= gateway_kernels()
    report = session.stop()
    assert report.method is StopMethod.ALREADY_STOPPED
    assert set(report.kernels) == set(report.kernels_gone) == ours
    assert gateway_kernels() - before == {other}


def test_kernels_of_a_removed_session_are_found_and_deleted(
    start: Start, gateway: str, gateway_kernels: Kernels, client: Any
) -> None:
    before = gateway_kernels()
    session = start(gateway=gateway)
    kernel = start_kernel(session)
    client.containers.get(session.container_id).kill()  # Podman's removal by force is a graceful stop
    client.containers.get(session.container_id).remove(force=True)
    assert session.stop().kernels_gone == (kernel,)
    assert gateway_kernels() == before


def test_a_kernel_that_is_just_starting_is_not_left_behind(
    start: Start, gateway: str, gateway_kernels: Kernels
) -> None:
    before = gateway_kernels()
    session = start(gateway=gateway)
    url, headers = f"{session.url}api/kernels", authorized(session)

    def start_one() -> None:
        try:
            requests.post(url, json={}, headers=headers, timeout=30)
        except requests.RequestException:
            return  # the server ended meanwhile, which is the point

    threads = [threading.Thread(target=start_one) for _ in range(3)]
    for thread in threads:
        thread.start()
    eventually(lambda: gateway_kernels() != before, 5)
    session.stop()
    for thread in threads:
        thread.join()
    assert gateway_kernels() == before


def test_reap_ends_what_is_dead_and_leaves_the_rest(
    start: Start, client: Any, launcher: Launcher, gateway: str, gateway_kernels: Kernels, pipeline_dir: Path
) -> None:
    before = gateway_kernels()
    alive = start(session_id="alive")
    dead = start(session_id="dead", gateway=gateway)
    kernel = start_kernel(dead)
    client.containers.get(dead.container_id).kill()
    leave_created(client, launcher, pipeline_dir, "half", run=False)
    assert launcher.reap() == []  # all are younger than a minute
    planned = launcher.reap(min_age=0, dry_run=True)
    assert {(item.session_id, item.reason, item.report) for item in planned} == {
        ("dead", "exited", None),
        ("half", "created", None),
    }
    assert len(launcher.list()) == 3
    done = {item.session_id: item for item in launcher.reap(min_age=0)}
    report = done["dead"].report
    assert report is not None
    assert report.kernels_gone == (kernel,)
    assert gateway_kernels() == before
    assert [item.session_id for item in launcher.list()] == ["alive"]
    assert alive.status().state is SessionState.READY


def test_reap_ends_orphans_gracefully_and_by_owner(
    start: Start, launcher: Launcher, namespace: str, pipeline_dir: Path
) -> None:
    with Launcher(namespace=namespace, owner="other") as other, other.start(pipeline_dir, session_id="theirs"):
        start(session_id="wanted")
        start(session_id="orphan")
        assert {item.owner for item in launcher.list()} == {launcher.owner, "other"}
        reaped = launcher.reap(min_age=0, keep=["wanted"], owner=launcher.owner)
        assert [(item.session_id, item.reason) for item in reaped] == [("orphan", "orphaned")]
        assert reaped[0].report is not None
        assert reaped[0].report.method is StopMethod.API
        assert {item.session_id for item in launcher.list()} == {"wanted", "theirs"}


def test_reap_goes_on_when_one_fails(start: Start, launcher: Launcher, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = start(session_id="first"), start(session_id="second")
    remove = launcher._engine.remove

    def failing(container: str) -> None:
        if container == first.container_id:
            msg = "made up"
            raise LauncherError(msg, hint="nothing")
        remove(container)

    monkeypatch.setattr(launcher._engine, "remove", failing)
    done = {item.session_id: item for item in launcher.reap(min_age=0, keep=[])}
    monkeypatch.undo()
    assert done["first"].error == "made up; nothing"
    assert done["second"].report is not None
    assert second.status().state is SessionState.GONE


def test_another_namespace_is_not_seen_and_not_reaped(start: Start, launcher: Launcher) -> None:
    session = start()
    with Launcher(namespace=f"{launcher.namespace}-x") as other:
        assert other.list() == []
        assert reaped(other, keep=[]) == []
    assert session.status().state is SessionState.READY


def test_many_threads_of_one_launcher(launcher: Launcher, pipeline_dir: Path) -> None:
    """Many threads start, list and stop more sessions; no connection and no thread more than before."""
    count = 32 if os.environ.get("LONG") else 12

    def cycle(number: int) -> None:
        with launcher.start(pipeline_dir, session_id=f"thread-{number}") as session:
            assert session.id in {item.session_id for item in launcher.list()}
            assert launcher.get(session.id).server_info == session.server_info

    cycle(0)
    threads, files = threading.active_count(), open_files()
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(cycle, range(1, 2 * count + 1)))
    assert launcher.list() == []
    assert threading.active_count() == threads
    assert open_files() - files <= 4  # connections to the engine, which stay for the next calls
