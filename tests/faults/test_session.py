"""The container, the server, the gateway or the pipeline directory fails."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from jupyter_launcher import (
    Event,
    EventKind,
    GatewayUnreachableError,
    Launcher,
    LauncherError,
    Mount,
    Phase,
    ServerInfo,
    ServerInfoError,
    ServerStartError,
    ServerTimeoutError,
    Session,
    SessionState,
    StopMethod,
    Timeouts,
)
from tests.containers import pause
from tests.faults.own_engine import OwnEngine, eventually, run

FAKE_INFO: dict[str, Any] = {
    "base_url": "/",
    "hostname": "0.0.0.0",
    "password": False,
    "pid": 1,
    "port": 8888,
    "root_dir": "/pipeline-dir",
    "secure": False,
    "token": "",
    "url": "http://x:8888/",
}
# Answers like a Jupyter server as far as a start looks, and ignores SIGTERM.
FAKE_SERVER = """
import http.server, json, os, pathlib, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
token = pathlib.Path(os.environ["JUPYTER_TOKEN_FILE"]).read_text()
info = json.loads(os.environ["FAKE_INFO"]) | {"token": token}
text = json.dumps(info) if os.environ.get("FAKE_TEXT") is None else os.environ["FAKE_TEXT"]
pathlib.Path(os.environ["JUPYTER_RUNTIME_DIR"], "jpserver-1.json").write_text(text)
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
        known = self.headers.get("Authorization") == f"token {token}"
        self.send_response(int(os.environ["FAKE_STATUS"]) if known and self.command == "GET" else 403)
        self.end_headers()
        self.wfile.write(b"[]")
    do_GET = do_POST = answer
http.server.HTTPServer(("", 8888), Handler).serve_forever()
"""


@pytest.fixture
def fake(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Options of a start with a server that is none of Jupyter's."""

    def options(status: int = 200, info: dict[str, Any] | None = None, text: str | None = None) -> dict[str, Any]:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        (folder / "jupyter").write_text("#!/opt/jupyter/bin/python3\n" + FAKE_SERVER)
        (folder / "jupyter").chmod(0o755)
        environment = {
            "PATH": "/fake:/opt/jupyter/bin:/usr/bin:/bin",
            "FAKE_STATUS": str(status),
            "FAKE_INFO": json.dumps(info or FAKE_INFO),
        }
        if text is not None:
            environment["FAKE_TEXT"] = text
        return {"mounts": [Mount(source=str(folder), target="/fake")], "environment": environment}

    return options


def at(phase: Phase, kind: EventKind, action: Callable[[Event], object]) -> Callable[[Event], None]:
    """A listener that acts once, at one point of the flow."""
    done: list[bool] = []

    def listen(event: Event) -> None:
        if (event.phase, event.kind) == (phase, kind) and not done:
            done.append(True)
            action(event)

    return listen


def of(client: Any, session_id: str) -> Any:
    (found,) = client.containers.list(
        all=True, filters={"label": f"jupyter-launcher.session-id={session_id}"}, ignore_removed=True
    )
    return found


def start_kernel(session: Session) -> None:
    headers = {"Authorization": f"token {session.server_info.token}"}
    assert requests.post(f"{session.url}api/kernels", json={}, headers=headers, timeout=30).status_code == 201


# -- the container


@pytest.mark.parametrize("deed", ["kill", "pause", "remove"])
def test_the_container_during_the_start(
    engine: OwnEngine, client: Any, namespace: str, pipeline_dir: Path, timeouts: Timeouts, deed: str
) -> None:
    def act(event: Event) -> None:
        def later() -> None:
            # While the start waits for the server.
            eventually(lambda: bool(client.containers.list(ignore_removed=True)))
            container = of(client, "victim")
            deeds = {"kill": container.kill, "pause": lambda: pause(container)}
            deeds.get(deed, lambda: container.remove(force=True))()

        threading.Timer(0.1, later).start()

    listener = at(Phase.SERVER, EventKind.STARTED, act)
    limits = Timeouts(engine=5, start=4, shutdown=2, terminate=1)
    with Launcher(docker_host=engine.url, namespace=namespace, timeouts=limits, on_event=listener) as launcher:
        with pytest.raises((ServerStartError, ServerTimeoutError)) as caught:
            launcher.start(pipeline_dir, session_id="victim")
        if deed == "kill":
            assert caught.value.exit_code == 137
        assert launcher.list() == []


@pytest.mark.parametrize("deed", ["kill", "pause", "remove"])
def test_the_container_while_it_runs(launcher: Launcher, client: Any, pipeline_dir: Path, deed: str) -> None:
    session = launcher.start(pipeline_dir)
    container = client.containers.get(session.container_id)
    deeds = {"kill": container.kill, "pause": lambda: pause(container), "remove": lambda: container.remove(force=True)}
    deeds[deed]()
    states = {"kill": SessionState.EXITED, "pause": SessionState.PAUSED, "remove": SessionState.GONE}
    assert session.status().state is states[deed]
    assert session.stop().method is (StopMethod.API if deed == "pause" else StopMethod.ALREADY_STOPPED)


def test_too_little_memory_for_the_server(launcher: Launcher, pipeline_dir: Path) -> None:
    with pytest.raises(ServerStartError, match="raise memory=") as caught:
        launcher.start(pipeline_dir, memory="24m")
    assert caught.value.oom_killed


def test_many_who_stop_at_once(launcher: Launcher, pipeline_dir: Path) -> None:
    session = launcher.start(pipeline_dir)
    errors: list[Exception] = []

    def stop() -> None:
        try:
            session.stop()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is shown
            errors.append(error)

    threads = [threading.Thread(target=stop) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert session.status().state is SessionState.GONE


# -- the server


def test_a_server_that_ignores_sigterm(
    launcher: Launcher, pipeline_dir: Path, fake: Callable[..., dict[str, Any]]
) -> None:
    session = launcher.start(pipeline_dir, **fake())
    assert session.status().state is SessionState.READY
    assert session.stop().method is StopMethod.KILLED


def test_a_server_that_answers_500(launcher: Launcher, pipeline_dir: Path, fake: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(ServerTimeoutError, match="HTTP 500"):
        launcher.start(pipeline_dir, **fake(status=500), timeouts=Timeouts(start=3))


def test_server_info_with_unknown_fields(
    launcher: Launcher, pipeline_dir: Path, fake: Callable[..., dict[str, Any]]
) -> None:
    session = launcher.start(pipeline_dir, **fake(info={**FAKE_INFO, "new_in_version_9": [1, 2]}))
    assert isinstance(session.server_info, ServerInfo)
    session.stop()


def test_server_info_with_missing_fields(
    launcher: Launcher, pipeline_dir: Path, fake: Callable[..., dict[str, Any]]
) -> None:
    lacking = {name: value for name, value in FAKE_INFO.items() if name != "port"}
    with pytest.raises(ServerInfoError, match="port"):
        launcher.start(pipeline_dir, **fake(info=lacking))


def test_server_info_that_stays_half_written(
    launcher: Launcher, pipeline_dir: Path, fake: Callable[..., dict[str, Any]]
) -> None:
    with pytest.raises((ServerInfoError, ServerTimeoutError)):
        launcher.start(pipeline_dir, **fake(text='{"base_url": "/", "tok'), timeouts=Timeouts(start=3))


# -- the gateway


def fail(container: Any, deed: str) -> None:
    pause(container) if deed == "pause" else container.kill()


@pytest.mark.parametrize("deed", ["kill", "pause"])
def test_the_gateway_fails_during_the_start(
    engine: OwnEngine, client: Any, namespace: str, pipeline_dir: Path, timeouts: Timeouts, gateway: str, deed: str
) -> None:
    listener = at(Phase.SERVER, EventKind.STARTED, lambda _: fail(client.containers.get(gateway), deed))
    with Launcher(docker_host=engine.url, namespace=namespace, timeouts=timeouts, on_event=listener) as launcher:
        with pytest.raises(GatewayUnreachableError):
            launcher.start(pipeline_dir, gateway=gateway)
        assert launcher.list() == []


@pytest.mark.parametrize("deed", ["kill", "pause"])
def test_the_gateway_fails_while_the_server_holds_kernels(
    launcher: Launcher, client: Any, pipeline_dir: Path, gateway: str, kernels: Callable[[], list[str]], deed: str
) -> None:
    session = launcher.start(pipeline_dir, gateway=gateway)
    start_kernel(session)
    container = client.containers.get(gateway)
    fail(container, deed)
    report = session.stop()
    # Such a server never ends when it is asked.
    assert report.method is StopMethod.KILLED
    assert session.status().state is SessionState.GONE
    if deed == "pause":
        container.unpause()
        # Nobody could be asked while it was frozen; what is left is found by its mark.
        report = session.stop()
        assert report.kernels == report.kernels_gone
        assert eventually(lambda: kernels() == [])


def test_the_gateway_dies_while_no_kernel_runs(
    launcher: Launcher, client: Any, pipeline_dir: Path, gateway: str
) -> None:
    session = launcher.start(pipeline_dir, gateway=gateway, session_id="s")
    client.containers.get(gateway).kill()
    assert session.status().state is SessionState.READY
    assert launcher.get("s").server_info == session.server_info
    assert session.stop().method is StopMethod.API


def test_a_removal_that_is_under_way(launcher: Launcher, client: Any, pipeline_dir: Path) -> None:
    session = launcher.start(pipeline_dir, session_id="s")
    remover = threading.Thread(target=client.containers.get(session.container_id).remove, kwargs={"force": True})
    remover.start()
    again = launcher.start(pipeline_dir, session_id="s")
    remover.join()
    assert again.status().state in (SessionState.READY, SessionState.GONE)
    again.stop()


@pytest.fixture
def network(client: Any) -> Iterator[str]:
    made = client.networks.create("jl-faults-net", driver="bridge")
    link = f"br-{made.id[:12]}"
    run("iptables", "-I", "FORWARD", "-i", link, "-o", link, "-j", "ACCEPT")
    yield made.name
    run("iptables", "-D", "FORWARD", "-i", link, "-o", link, "-j", "ACCEPT")
    made.remove()


def test_a_gateway_that_comes_back_on_another_ip(
    network: str, launcher: Launcher, client: Any, pipeline_dir: Path
) -> None:
    """Named by its container it is lost; by its DNS name on a user-defined network it is found again."""
    with launcher.run_gateway(pipeline_dir, network=network) as gateway:
        by_name = launcher.start(pipeline_dir, gateway=gateway, network=network)
        by_dns = launcher.start(pipeline_dir, gateway=f"http://{gateway}:8888", network=network)
        container = client.containers.get(gateway.name)
        container.stop(timeout=5)
        squatter = client.containers.run(launcher.image, "sleep 100", detach=True, init=True, network=network)
        container.start()
        container.reload()
        assert by_name.gateway is not None
        address = container.attrs["NetworkSettings"]["Networks"][network]["IPAddress"]
        assert f"http://{address}:8888" != by_name.gateway.url

        def kernel_specs(session: Session) -> int:
            headers = {"Authorization": f"token {session.server_info.token}"}
            try:
                return requests.get(f"{session.url}api/kernelspecs", headers=headers, timeout=5).status_code
            except requests.RequestException:
                return 0

        assert eventually(lambda: kernel_specs(by_dns) == 200, 30)
        assert kernel_specs(by_name) != 200
        by_name.stop()
        by_dns.stop()
        squatter.remove(force=True)


# -- the pipeline directory


def test_the_pipeline_dir_is_removed_while_the_session_runs(launcher: Launcher, pipeline_dir: Path) -> None:
    session = launcher.start(pipeline_dir)
    pipeline_dir.rmdir()
    assert session.stop().method is StopMethod.API


def test_the_pipeline_dir_becomes_unreadable(launcher: Launcher, pipeline_dir: Path) -> None:
    session = launcher.start(pipeline_dir, session_id="s")
    pipeline_dir.chmod(0)
    with pytest.raises(LauncherError):
        launcher.start(pipeline_dir, session_id="s")
    report = session.stop()
    pipeline_dir.chmod(0o700)
    assert report.method is StopMethod.API


def test_the_pipeline_dir_is_on_a_full_disk(launcher: Launcher, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=64k,mode=777", "none", str(folder))
    try:
        os.truncate(os.open(folder / "ballast", os.O_CREAT | os.O_WRONLY), 0)
        subprocess.run(["/bin/sh", "-c", f"cat /dev/zero >{folder}/ballast"], capture_output=True, check=False)
        session = launcher.start(folder)
        body = {"type": "file", "format": "text", "content": "x" * 10000}
        headers = {"Authorization": f"token {session.server_info.token}"}
        answer = requests.put(f"{session.url}api/contents/x.txt", json=body, headers=headers, timeout=10)
        assert answer.status_code == 500
        assert session.status().state is SessionState.READY
        assert session.stop().method is StopMethod.API
    finally:
        run("umount", "-l", str(folder))
