"""Gateways of ours: nobody uses one without its token, and what dead processes have left is removed."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import docker
import pytest
import requests
import websocket
from run_pipeline import kernel_client

from jupyter_launcher import (
    DEFAULT_GATEWAY_IMAGE,
    DEFAULT_IMAGE,
    Event,
    GatewayUnreachableError,
    Launcher,
    Mount,
    PipelineDirError,
    RunningGateway,
    Session,
    StopMethod,
)
from jupyter_launcher.gateway.make import request as request_module
from jupyter_launcher.host.address import EngineAddress
from jupyter_launcher.host.process import process_mark
from jupyter_launcher.pytest_plugin import ServerFactory as Start
from jupyter_launcher.spec.labels import helper_name
from tests.containers import eventually, log_of, output_of, reaped, recorded_events, user_inside
from tests.integration.conftest import LISTENS, address_of, is_reached
from tests.integration.test_session import authorized, start_kernel

CODE = "import os, json; print(json.dumps(dict(os.environ)))"


@pytest.fixture(scope="module")
def published(
    jupyter_launcher: Launcher, tmp_path_factory: pytest.TempPathFactory, client: Any
) -> Iterator[RunningGateway]:
    """A gateway as it is run where this process does not reach the bridge."""
    with contextlib.ExitStack() as opened:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(EngineAddress, "reaches_network", lambda *_: False)
            gateway = opened.enter_context(jupyter_launcher.run_gateway(tmp_path_factory.mktemp("published")))
        assert client.containers.get(gateway.name).ports["8888/tcp"]
        yield gateway


@dataclass(frozen=True)
class Asked:
    """One request without the gateway's token, and where the gateway is asked."""

    method: str
    path: str
    headers: dict[str, str]
    body: str | None = None


WITHOUT_TOKEN = {
    "to list kernels": Asked("GET", "/api/kernels", {}),
    "to start a kernel": Asked("POST", "/api/kernels", {"Content-Type": "application/json"}, '{"name": "python3"}'),
    "from a form of a web page": Asked("POST", "/api/kernels", {"Content-Type": "text/plain"}, "{}"),
    "with a rebound name": Asked(
        "POST", "/api/kernels", {"Host": "evil.example", "Origin": "http://evil.example"}, "{}"
    ),
    "with another token": Asked("GET", "/api/kernelspecs", {"Authorization": f"token {'0' * 64}"}),
    "with an empty token": Asked("GET", "/api/sessions?token=", {"Authorization": "token "}),
}


def ask(url: str, asked: Asked, **more: str) -> int:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    with contextlib.closing(connection):
        connection.request(asked.method, asked.path, asked.body, {**asked.headers, **more})
        return connection.getresponse().status


@pytest.mark.parametrize("name", WITHOUT_TOKEN)
@pytest.mark.parametrize("place", ["published port", "bridge"])
def test_a_request_without_the_token_is_refused(
    published: RunningGateway, reach: Callable[[str], str], name: str, place: str
) -> None:
    bridge = reach(published.name)
    url = published.url if place == "published port" else bridge
    assert ask(url, WITHOUT_TOKEN[name]) == 401
    kernels = requests.get(f"{bridge}api/kernels", headers={"Authorization": f"token {published.token}"}, timeout=30)
    assert (kernels.status_code, kernels.json()) == (200, [])


@pytest.mark.parametrize("place", ["published port", "bridge"])
def test_a_kernels_websocket_without_the_token_is_refused(
    published: RunningGateway, reach: Callable[[str], str], place: str
) -> None:
    bridge = reach(published.name)
    url = published.url if place == "published port" else bridge
    headers = {"Authorization": f"token {published.token}"}
    kernel = requests.post(f"{bridge}api/kernels", json={}, headers=headers, timeout=60).json()["id"]
    channels = f"{url.replace('http', 'ws', 1)}api/kernels/{kernel}/channels"
    try:
        with pytest.raises(websocket.WebSocketBadStatusException, match=r"401|403"):
            websocket.create_connection(channels, timeout=30)
        websocket.create_connection(channels, timeout=30, header=headers).close()
    finally:
        requests.delete(f"{bridge}api/kernels/{kernel}", headers=headers, timeout=30)


def test_another_container_needs_the_token(jupyter_gateway: RunningGateway, client: Any) -> None:
    url = f"http://{address_of(client, jupyter_gateway.name)}:8888/api/kernels"
    code = f"import urllib.request as r; r.urlopen({url!r})"
    with pytest.raises(docker.errors.ContainerError, match="401"):
        output_of(client, DEFAULT_IMAGE, ["python3", "-c", code], user="65534")


@pytest.mark.usefixtures("needs_information")
def test_where_the_bridge_is_reached_nothing_is_published(jupyter_gateway: RunningGateway, client: Any) -> None:
    container, address = client.containers.get(jupyter_gateway.name), address_of(client, jupyter_gateway.name)
    if not is_reached(address):
        pytest.skip("this host does not reach the IPs of the engine's containers")
    assert container.attrs["HostConfig"]["PortBindings"] in ({}, None)
    assert jupyter_gateway.url == f"http://{address}:8888/"


def places_of(container: Any) -> dict[str, str]:
    """Where others could see a secret of a container."""
    api = container.client.api
    known = api.inspect_container(container.id)
    argv = ["ps", "-eo", "args", "-ww"]
    return {
        "inspect": json.dumps(known),
        "inspect of its execs": json.dumps([api.exec_inspect(item) for item in known["ExecIDs"] or ()]),
        "argv of every process": subprocess.run(argv, capture_output=True, text=True, check=True).stdout,
        "docker logs": log_of(container),
    }


def test_the_gateways_token_is_nowhere_to_be_found(
    launcher: Launcher,
    jupyter_gateway: RunningGateway,
    start: Start,
    client: Any,
    events: list[Event],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    session = start(gateway=jupyter_gateway)
    container, gateway = client.containers.get(session.container_id), client.containers.get(jupyter_gateway.name)
    with kernel_client(session) as kernel:
        seen = json.loads("".join(item["text"] for item in kernel.execute(CODE)["outputs"]))
    read = "cat /proc/[0-9]*/environ | tr '\\0' '\\n'"
    places = {
        **places_of(gateway),
        **{f"{name} of the session": text for name, text in places_of(container).items()},
        "environment of every process of the session": container.exec_run(["sh", "-c", read]).output.decode(),
        "environment of a kernel": json.dumps(seen),
        "the session": repr(session) + repr(session.gateway) + repr(launcher.list()) + repr(launcher.gateways()),
        "the gateway": repr(jupyter_gateway),
        "our events": repr(events),
        "log records": "\n".join(record.getMessage() for record in caplog.records),
    }
    assert "--gateway-url" in places["argv of every process"], "the processes were not seen at all"
    assert "--notebook-dir" in places["inspect of its execs of the session"], "the execs were not seen at all"
    assert "KERNEL_ID" in places["environment of a kernel"], "the environment was not seen at all"
    assert [place for place, text in places.items() if jupyter_gateway.token in text] == []
    folder = "/run/jupyter-launcher"
    modes = container.exec_run(["stat", "-c", "%a", folder, f"{folder}/gateway.token"]).output.decode().split()
    assert modes == ["700", "600"]


def test_terminals_and_kernels_do_not_inherit_secrets(
    launcher: Launcher, pipeline_dir: Path, client: Any, events: list[Event], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with recorded_events() as engine_events:
        given = {"db": "s3cret value\nof 'two' lines $x", "api.key": "s3cret too"}
        with launcher.start(pipeline_dir, secrets=given, session_id="secrets") as session:
            container = client.containers.get(session.container_id)
            with kernel_client(session) as kernel:
                reply = kernel.execute("print(open('/run/jupyter-launcher/secrets/db').read(), end='')")
                seen = kernel.execute(CODE)["outputs"][0]["text"]
            assert reply["outputs"][0]["text"] == given["db"]
            read = "cat /proc/[0-9]*/environ | tr '\\0' '\\n'"
            places = {
                **places_of(container),
                "environment of every process": container.exec_run(["sh", "-c", read]).output.decode(),
                "environment of a kernel": seen,
                "ours": repr(session) + repr(launcher.list()) + repr(events) + json.dumps(container.labels),
            }
            listing = ["sh", "-c", "cd /run/jupyter-launcher; stat -c '%a %u %n' secrets secrets/*"]
            owner = user_inside(client, pipeline_dir).partition(":")[0]
            assert container.exec_run(listing).output.decode().splitlines() == [
                f"700 {owner} secrets",
                f"600 {owner} secrets/api.key",
                f"600 {owner} secrets/db",
            ]
            assert launcher.start(pipeline_dir, secrets={"db": "other", "api.key": ""}, session_id="secrets").joined
    places |= {
        "the engine's events": "\n".join(engine_events),
        "log records": "\n".join(record.getMessage() for record in caplog.records),
    }
    assert session.container_id[:12] in places["the engine's events"], "the events were not seen at all"
    assert [place for place, text in places.items() if "s3cret" in text] == []


# -- the kernels of others


def mix_up(sessions: dict[str, Session], gateway: RunningGateway, url: str, client: Any) -> tuple[str, str, set[str]]:
    """Start kernels at once; then one of a client that is no session, until it has a session's environment.

    Returns that kernel, the session's name, and the session's own kernels.
    """
    own: dict[str, set[str]] = {name: set() for name in sessions}
    headers = {"Authorization": f"token {gateway.token}"}
    marks = {session._labels.start_id: name for name, session in sessions.items()}
    container = client.containers.get(gateway.name)
    for _ in range(5):
        threads = [
            threading.Thread(target=lambda name=name: own[name].add(start_kernel(sessions[name])))
            for name in [*sessions, *sessions]
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        kernel = requests.post(f"{url}api/kernels", json={"name": "python3"}, headers=headers, timeout=60).json()["id"]
        read = f"grep -lz KERNEL_ID={kernel} /proc/[0-9]*/environ | xargs cat"
        environment = container.exec_run(["sh", "-c", read]).output.decode(errors="replace")
        for mark, name in marks.items():
            if mark in environment:
                return kernel, name, own[name]
        requests.delete(f"{url}api/kernels/{kernel}", headers=headers, timeout=60)
    pytest.skip("this gateway keeps the environments of requests apart")


@pytest.mark.parametrize("end", ["answers", "killed", "restarted and killed", "stopped from outside"])
def test_another_clients_kernel_outlives_a_session(
    start: Start,
    jupyter_gateway: RunningGateway,
    gateway_kernels: Callable[[], set[str]],
    client: Any,
    events: list[Event],
    end: str,
    reach: Callable[[str], str],
) -> None:
    if DEFAULT_GATEWAY_IMAGE in client.containers.get(jupyter_gateway.name).image.tags:
        pytest.skip("our gateway keeps the environments of requests apart; `make test-eg` tries one that does not")
    url = reach(jupyter_gateway.name)
    sessions = {name: start(gateway=jupyter_gateway) for name in ("a", "b")}
    foreign, name, own = mix_up(sessions, jupyter_gateway, url, client)
    session = sessions[name]
    container = client.containers.get(session.container_id)
    try:
        if end == "restarted and killed":  # so that the processes of its own kernels are the younger ones
            for kernel in own:
                path = f"{session.url}api/kernels/{kernel}/restart"
                requests.post(path, json={}, headers=authorized(session), timeout=60).raise_for_status()
            assert own <= gateway_kernels()
        if "killed" in end:
            container.kill()
        if end == "stopped from outside":
            container.stop()
        report = session.stop()
        assert report.method is (StopMethod.API if end == "answers" else StopMethod.ALREADY_STOPPED)
        assert foreign in gateway_kernels()
        assert not own & gateway_kernels()
        if end != "stopped from outside":
            assert set(report.kernels) == set(report.kernels_gone) == own
        if "killed" in end:
            assert report.kernels_of_others == (foreign,)
    finally:
        requests.delete(
            f"{url}api/kernels/{foreign}", headers={"Authorization": f"token {jupyter_gateway.token}"}, timeout=30
        )


def test_a_directory_that_is_exchanged_before_the_mount_is_not_served(
    launcher: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, other = tmp_path / "pipeline", tmp_path / "other"
    folder.mkdir()
    other.mkdir()
    before = [item.name for item in launcher.gateways()]
    find_argv = request_module._find_argv

    def exchange(engine: Any, image: str) -> tuple[str, ...]:
        folder.rename(tmp_path / "kept")
        folder.symlink_to(other)
        return find_argv(engine, image)

    monkeypatch.setattr(request_module, "_find_argv", exchange)
    with pytest.raises(PipelineDirError, match="led to another directory"), launcher.run_gateway(folder):
        pytest.fail("it serves another directory")
    assert [item.name for item in launcher.gateways()] == before


@pytest.mark.usefixtures("needs_logs")
def test_a_token_in_a_query_does_not_get_into_the_log(jupyter_gateway: RunningGateway, client: Any) -> None:
    if "kernel-gateway" not in client.containers.get(jupyter_gateway.name).attrs["Config"]["Image"]:
        pytest.skip("the gateway of ours alone hides it")
    for path in ("api/kernels", "no/such/page", "api/swagger.json"):
        for method in ("GET", "HEAD"):
            query = {"token": jupyter_gateway.token, "mark": "asked"}
            requests.request(method, f"{jupyter_gateway.url}{path}", params=query, timeout=30)
    log = client.containers.get(jupyter_gateway.name).logs().decode()
    assert "mark=asked" in log
    assert jupyter_gateway.token not in log


# -- what dead processes leave

LEFT = """
import sys
from jupyter_launcher import Launcher
launcher = Launcher(namespace=sys.argv[1])
gateway = launcher.run_gateway(sys.argv[2], network=sys.argv[3] or None)
print(gateway.__enter__(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def alone(namespace: str) -> str:
    """A namespace in which nobody else has a gateway."""
    return f"{namespace}-alone"


@pytest.fixture
def killed(alone: str, pipeline_dir: Path) -> str:
    """The name of the gateway that a killed process has left."""
    return run_and_kill(alone, pipeline_dir)


def run_and_kill(alone: str, pipeline_dir: Path, network: str = "") -> str:
    line = [sys.executable, "-c", LEFT, alone, str(pipeline_dir), network]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        name = process.stdout.readline().strip()
        os.kill(process.pid, signal.SIGKILL)
    return name


def test_a_gateway_that_a_killed_process_has_left_is_listed_and_reaped(
    alone: str, killed: str, pipeline_dir: Path, client: Any
) -> None:
    with Launcher(namespace=alone) as launcher:
        assert [(item.name, item.state) for item in launcher.gateways()] == [(killed, "running")]
        assert launcher.list() == []
        with launcher.start(pipeline_dir, gateway=killed):
            assert reaped(launcher) == []
            assert reaped(launcher, dry_run=True) == []
        assert launcher.reap() == []  # it is too young
        (item,) = reaped(launcher)
        assert (item.kind, item.name, item.reason, item.error) == ("gateway", killed, "orphaned", "")
        assert launcher.gateways() == []
    with pytest.raises(docker.errors.NotFound):
        client.containers.get(killed)


def test_a_container_with_a_copy_of_a_gateways_labels_is_left_alone(alone: str, killed: str, client: Any) -> None:
    gateway = client.containers.get(killed)
    image = gateway.commit(repository=f"{alone}-copy", pause=False).tags[
        0
    ]  # its labels, as every image of a container has them
    made = client.containers.create(image, ["600"], name=f"{alone}-database", entrypoint=["sleep"])
    try:
        assert made.labels.items() >= gateway.labels.items()
        with Launcher(namespace=alone) as launcher:
            assert [item.name for item in launcher.gateways()] == [killed]
            assert [item.name for item in reaped(launcher)] == [killed]
        made.start()
        with Launcher(namespace=alone) as launcher:
            assert reaped(launcher) == []
        made.reload()
        assert made.status == "running"
    finally:
        made.remove(force=True)
        client.images.remove(image)
        with contextlib.suppress(docker.errors.NotFound):
            gateway.remove(force=True)


def test_a_gateway_that_a_session_names_by_an_alias_stays(alone: str, pipeline_dir: Path, client: Any) -> None:
    network = client.networks.create(f"{alone}-alias", driver="bridge")
    try:
        killed = run_and_kill(alone, pipeline_dir, network.name)
        gateway = client.containers.get(killed)
        network.disconnect(gateway)
        network.connect(gateway, aliases=["gw"])
        token = gateway.exec_run(["cat", "/run/jupyter-launcher/token"]).output.decode()
        with Launcher(namespace=alone) as launcher:
            environment = {"JUPYTER_GATEWAY_AUTH_TOKEN": token}
            url = "http://gw:8888"
            with pytest.raises(GatewayUnreachableError, match="JUPYTER_GATEWAY_AUTH_TOKEN"):
                launcher.start(pipeline_dir, gateway=url, network=network.name)
            with launcher.start(pipeline_dir, gateway=url, network=network.name, environment=environment) as session:
                assert start_kernel(session)
                assert reaped(launcher) == []
            assert [item.name for item in reaped(launcher)] == [killed]
    finally:
        for container in client.containers.list(
            all=True, filters={"label": f"jupyter-launcher.gateway-of={alone}"}, ignore_removed=True
        ):
            container.remove(force=True)
        network.remove()


@pytest.fixture
def secure(client: Any, alone: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What a start needs for a gateway by https, below a base URL, with a name that only its network knows."""
    folder = tmp_path_factory.mktemp("tls")
    folder.chmod(0o755)
    line = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=gw -addext subjectAltName=DNS:gw"
    subprocess.run(
        [*line.split(), "-keyout", "key.pem", "-out", "cert.pem"], cwd=folder, capture_output=True, check=True
    )
    (folder / "key.pem").chmod(0o644)
    options = {
        "ip": "0.0.0.0",
        "port": "8888",
        "base_url": "/gw",
        "certfile": "/tls/cert.pem",
        "keyfile": "/tls/key.pem",
    }
    network = client.networks.create(f"{alone}-secure", driver="bridge")
    made = client.containers.create(
        DEFAULT_GATEWAY_IMAGE,
        ["jupyter-kernelgateway", *(f"--KernelGatewayApp.{name}={value}" for name, value in options.items())],
        network=network.name,
        volumes={str(folder): {"bind": "/tls", "mode": "ro"}},
        init=True,
    )
    try:
        network.disconnect(made)
        network.connect(made, aliases=["gw"])
        made.start()
        assert eventually(lambda: made.exec_run(["python3", "-c", LISTENS]).exit_code == 0)
        yield {
            "gateway": "https://gw:8888/gw",
            "network": network.name,
            "mounts": [Mount(source=str(folder), target="/tls", read_only=True)],
            "environment": {"SSL_CERT_FILE": "/tls/cert.pem"},
        }
    finally:
        made.remove(force=True)
        network.remove()


def test_a_gateway_by_https_below_a_base_url_by_an_alias(
    launcher: Launcher, pipeline_dir: Path, client: Any, secure: dict[str, Any]
) -> None:
    """Neither its name nor its certificate is known to this process. The session is stopped, and then killed."""
    with launcher.start(pipeline_dir, **secure) as session:
        kernel = start_kernel(session)
        report = session.stop()
    assert (report.kernels, report.kernels_gone) == ((kernel,), (kernel,))
    session = launcher.start(pipeline_dir, **secure)
    kernel = start_kernel(session)
    client.containers.get(session.container_id).kill()
    report = session.stop()
    assert (report.kernels, report.kernels_gone) == ((kernel,), (kernel,))


@pytest.mark.usefixtures("needs_information")  # else its URL is that of a port of this host
def test_the_url_of_a_gateway_of_ours_is_enough(
    start: Start, jupyter_gateway: RunningGateway, gateway_kernels: Callable[[], set[str]], client: Any
) -> None:
    if not is_reached(address_of(client, jupyter_gateway.name)):
        pytest.skip("its URL is that of a port of this host, which no container reaches")
    session = start(gateway=jupyter_gateway.url)
    assert session.gateway is not None
    assert session.gateway.name == jupyter_gateway.url
    kernel = start_kernel(session)
    assert kernel in gateway_kernels()
    session.stop()
    assert kernel not in gateway_kernels()


def test_a_gateway_whose_process_lives_stays(launcher: Launcher, jupyter_gateway: RunningGateway) -> None:
    launcher.reap(min_age=0, keep=[item.session_id for item in launcher.list()])
    assert jupyter_gateway.name in [item.name for item in launcher.gateways()]


@pytest.mark.alone  # any other reap would remove it too
def test_a_look_that_a_killed_process_has_left_is_reaped(alone: str, client: Any) -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    mark = ":".join([*process_mark().split(":")[:2], str(process.pid), "1"])
    labels = {"jupyter-launcher.purpose": "look", "jupyter-launcher.process": mark}
    name = helper_name("look", uuid.uuid4().hex)
    made = client.containers.create(DEFAULT_IMAGE, ["true"], labels=labels, name=name)
    try:
        with Launcher(namespace=alone) as launcher:
            eventually(lambda: made.id in [item.container_id for item in launcher.reap(min_age=0)], 10)
        with pytest.raises(docker.errors.NotFound):
            made.reload()
    finally:
        with contextlib.suppress(docker.errors.NotFound):
            made.remove(force=True)
