"""Bad input and bad luck at the start: a typed error with the way out, and nothing left behind."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import (
    AmbiguousNetworkError,
    EngineUnavailableError,
    Event,
    EventKind,
    GatewayError,
    GatewayNotFoundError,
    GatewayNotRunningError,
    GatewayUnreachableError,
    ImageNotFoundError,
    Launcher,
    LauncherError,
    OptionError,
    Phase,
    PipelineDirError,
    PortInUseError,
    RunningGateway,
    ServerInfoError,
    ServerStartError,
    ServerTimeoutError,
    Session,
    Timeouts,
    UnsupportedOptionError,
)
from tests.integration.conftest import address_of, executable

Start = Callable[..., Session]
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become somebody else")


@pytest.fixture
def sleeper(client: Any, launcher: Launcher) -> Iterator[Callable[..., Any]]:
    """Containers that do nothing, to be named as gateways."""
    made = []

    def run(command: str = "sleep 300", **options: Any) -> Any:
        made.append(client.containers.run(launcher.image, command, detach=True, init=True, **options))
        made[-1].reload()
        return made[-1]

    yield run
    for container in made:
        container.remove(force=True)


@pytest.fixture
def networks(client: Any, namespace: str) -> Iterator[list[str]]:
    made = [client.networks.create(f"{namespace}-{letter}", driver="bridge") for letter in "ab"]
    yield [network.name for network in made]
    for network in made:
        network.remove()


@pytest.fixture
def fake_jupyter(tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    """Options of a start whose ``jupyter`` is a script of the test's."""
    from jupyter_launcher import Mount

    def options(script: str) -> dict[str, Any]:
        folder = tmp_path / "bin"
        folder.mkdir()
        executable(folder / "jupyter", script)
        path = "/fake:/opt/jupyter/bin:/usr/local/bin:/usr/bin:/bin"
        return {"mounts": [Mount(source=str(folder), target="/fake")], "environment": {"PATH": path}}

    return options


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("/no/such/folder", "does not exist"),
        ("/etc/hostname", "not a directory"),
        ("/", "whole file system"),
        ("/var/run", "engine's socket"),
        ("/run/docker.sock", "not a directory"),
    ],
)
def test_pipeline_dirs_that_are_refused(start: Start, folder: str, message: str) -> None:
    with pytest.raises(PipelineDirError, match=message):
        start(Path(folder))


def test_an_unreadable_pipeline_dir(start: Start, pipeline_dir: Path) -> None:
    pipeline_dir.chmod(0o000)
    # Root reads it all the same, so the session's user is the one who cannot.
    advice = f"chmod u+rwx {pipeline_dir}" if os.geteuid() == 0 else "cannot be read by this process"
    with pytest.raises(PipelineDirError, match=re.escape(advice)) as caught:
        start()
    pipeline_dir.chmod(0o700)
    assert caught.value.path == str(pipeline_dir)


def test_no_such_gateway(start: Start) -> None:
    with pytest.raises(GatewayNotFoundError, match="docker ps -a") as caught:
        start(gateway="no-such-gateway")
    assert caught.value.gateway == "no-such-gateway"


def test_a_stopped_gateway(start: Start, sleeper: Callable[..., Any]) -> None:
    container = sleeper()
    container.kill()
    container.wait()
    with pytest.raises(GatewayNotRunningError, match="docker start") as caught:
        start(gateway=container.name)
    assert (caught.value.state, caught.value.exit_code) == ("exited", 137)


def test_a_gateway_without_a_network(start: Start, sleeper: Callable[..., Any]) -> None:
    with pytest.raises(GatewayError, match="on no network"):
        start(gateway=sleeper(network_mode="none").name)


@pytest.mark.usefixtures("shares_network")
def test_a_gateway_on_the_hosts_network(start: Start, sleeper: Callable[..., Any]) -> None:
    with pytest.raises(GatewayError, match="host's network"):
        start(gateway=sleeper(network_mode="host").name)


def test_a_gateway_on_another_network(networks: list[str], start: Start, sleeper: Callable[..., Any]) -> None:
    container = sleeper(network=networks[0])
    with pytest.raises(GatewayError, match=f"docker network connect {networks[1]}"):
        start(gateway=container.name, network=networks[1])


def test_a_gateway_on_several_networks(
    networks: list[str], start: Start, client: Any, launcher: Launcher, pipeline_dir: Path
) -> None:
    with launcher.run_gateway(pipeline_dir, network=networks[0]) as gateway:
        client.networks.get(networks[1]).connect(gateway.name)
        with pytest.raises(AmbiguousNetworkError) as caught:
            start(gateway=gateway)
        assert caught.value.networks == tuple(networks)
        session = start(gateway=gateway, network=networks[1])
        assert session.gateway is not None
        assert session.gateway.network == networks[1]
        session.stop()


def test_a_container_that_is_no_gateway(
    start: Start, sleeper: Callable[..., Any], log_says: Callable[[str], str]
) -> None:
    with pytest.raises(GatewayUnreachableError) as caught:
        start(gateway=sleeper().name, timeouts=Timeouts(gateway=3))
    assert caught.value.gateway_url in str(caught.value)
    assert log_says("is running at") in caught.value.log_tail


def test_a_server_that_is_no_gateway(start: Start, sleeper: Callable[..., Any]) -> None:
    container = sleeper("python3 -m http.server 8888")
    with pytest.raises(GatewayUnreachableError) as caught:
        start(gateway=container.name, timeouts=Timeouts(gateway=3))
    assert caught.value.status is not None


@pytest.mark.parametrize("url", ["ftp://host", "http://", "http://host:99999", "http://user:secret@host"])
def test_gateway_urls_that_are_refused(start: Start, url: str) -> None:
    with pytest.raises(GatewayError) as caught:
        start(gateway=url)
    assert "secret" not in repr(caught.value)


def test_a_gateway_by_url(start: Start, jupyter_gateway: RunningGateway, client: Any) -> None:
    address = address_of(client, jupyter_gateway.name)
    token = {"JUPYTER_GATEWAY_AUTH_TOKEN": jupyter_gateway.token}
    session = start(gateway=f"http://{address}:8888", environment=token)
    assert session.gateway is not None
    assert (session.gateway.url, session.gateway.container_id) == (f"http://{address}:8888", None)


def test_a_missing_image_that_may_not_be_pulled(start: Start) -> None:
    with pytest.raises(ImageNotFoundError) as caught:
        start(image="no.such.registry.invalid/nothing", pull="never")
    assert caught.value.image == "no.such.registry.invalid/nothing"


def test_a_missing_image_that_cannot_be_pulled(start: Start) -> None:
    with pytest.raises(ImageNotFoundError, match="cannot be pulled"):
        start(image="no.such.registry.invalid/nothing")


def test_a_port_taken_by_a_process(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUseError, match=str(port)) as caught:
            start(host_port=port)
    assert caught.value.host_port == port


def test_a_port_taken_by_a_session(start: Start, tmp_path: Path) -> None:
    port = int(start().url.rpartition(":")[2].rstrip("/"))
    with pytest.raises(PortInUseError):
        start(host_port=port)


def test_a_port_that_is_free_is_taken(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    assert start(host_port=port).url == f"http://127.0.0.1:{port}/"


def test_no_engine() -> None:
    with pytest.raises(EngineUnavailableError, match="start Docker") as caught:
        Launcher(docker_host="unix:///no/such.sock")
    assert caught.value.endpoint == "unix:///no/such.sock"


def test_no_such_context() -> None:
    with pytest.raises(OptionError, match="docker context ls"):
        Launcher(context="no-such-context")


@needs_root
def test_an_engine_that_this_user_may_not_use() -> None:
    def stranger(found: Any) -> None:
        os.setgid(65534)
        os.setgroups([])
        os.setuid(65534)
        try:
            Launcher()
        except LauncherError as error:
            found.put((type(error).__name__, str(error)))

    context = multiprocessing.get_context("fork")
    found = context.Queue()
    process = context.Process(target=stranger, args=(found,))
    process.start()
    kind, message = found.get(timeout=30)
    process.join()
    assert kind == "EngineUnavailableError"
    assert "group `docker`" in message


def test_a_server_that_dies_at_start(start: Start, log_says: Callable[[str], str]) -> None:
    with pytest.raises(ServerStartError) as caught:
        start(lab_args=["--ServerApp.max_body_size=no-number"])
    assert log_says("max_body_size") in caught.value.log_tail
    assert caught.value.exit_code == 1
    assert not caught.value.oom_killed


def test_an_image_without_jupyter(
    start: Start, fake_jupyter: Callable[[str], dict[str, Any]], log_says: Callable[[str], str]
) -> None:
    with pytest.raises(ServerStartError) as caught:
        start(environment={"PATH": "/usr/bin:/bin"})
    assert caught.value.exit_code == 127
    assert log_says("not found") in caught.value.log_tail


@pytest.mark.usefixtures("needs_limits")
def test_too_little_memory(start: Start) -> None:
    with pytest.raises(ServerStartError, match="raise memory=") as caught:
        start(memory="24m")
    assert caught.value.oom_killed


@pytest.mark.parametrize("options", [{"memory": "2g"}, {"cpus": 0.9}], ids=["memory", "cpus"])
def test_a_limit_is_enforced_or_refused(
    start: Start,
    client: Any,
    launcher: Launcher,
    options: dict[str, Any],
    enforces_limits: bool,  # noqa: FBT001 - pytest's
) -> None:
    if enforces_limits:
        session = start(**options)
        info = launcher._engine.inspect(session.container_id)
        assert info is not None
        assert (info.memory, info.cpus) == (2**31 * ("memory" in options), options.get("cpus", 0))
        return
    (name,) = options
    with pytest.raises(OptionError, match=f"does not enforce {name}") as caught:
        start(**options)
    assert caught.value.option == name


@pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="this machine has a GPU")
@pytest.mark.parametrize("gpus", [1, "all"])
def test_gpus_that_are_not_there(start: Start, gpus: int | str) -> None:
    with pytest.raises(UnsupportedOptionError, match=r"gpus cannot be given") as caught:
        start(gpus=gpus)
    assert caught.value.option == "gpus"


def test_a_server_that_never_answers(
    start: Start, fake_jupyter: Callable[[str], dict[str, Any]], hasty: Timeouts, log_says: Callable[[str], str]
) -> None:
    with pytest.raises(ServerTimeoutError, match=r"timeouts\.start") as caught:
        start(**fake_jupyter("echo here I hang; exec sleep 300"), timeouts=hasty)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.seconds >= hasty.start
    assert log_says("here I hang") in caught.value.log_tail


# A server_info of ours, of a server that does nothing else.
WRITE_INFO = (
    'printf \'{"base_url": "/", "hostname": "x", "password": false, "pid": 1, "port": 8888, '
    '"root_dir": "/pipeline-dir", "secure": false, "token": "%s", "url": "http://x:8888/"}\' '
    '"$(cat "$JUPYTER_TOKEN_FILE")" >"$JUPYTER_RUNTIME_DIR/jpserver-1.json"'
)


def test_a_server_that_never_listens(
    start: Start, fake_jupyter: Callable[[str], dict[str, Any]], hasty: Timeouts
) -> None:
    with pytest.raises(ServerTimeoutError, match=r"it gave (Connection(Reset|Refused)Error|RemoteDisconnected)"):
        start(**fake_jupyter(f"{WRITE_INFO}; exec sleep 300"), timeouts=hasty)


def test_a_server_that_dies_after_its_server_info(start: Start, fake_jupyter: Callable[[str], dict[str, Any]]) -> None:
    with pytest.raises(ServerStartError) as caught:
        start(**fake_jupyter(f"{WRITE_INFO}; sleep 1; exit 7"))
    assert caught.value.exit_code == 7


def test_a_server_at_another_address_is_not_waited_for(
    start: Start, fake_jupyter: Callable[[str], dict[str, Any]]
) -> None:
    other = WRITE_INFO.replace('"base_url": "/"', '"base_url": "/x/"')
    with pytest.raises(ServerInfoError, match="base_url '/x/' where '/' was asked for"):
        start(**fake_jupyter(f"{other}; exec sleep 300"))


@pytest.mark.parametrize("session_id", ["", "Upper", "a/b", "-a", "a" * 49, "ä"])
def test_session_ids_that_are_refused(start: Start, session_id: str) -> None:
    with pytest.raises(OptionError, match="session_id"):
        start(session_id=session_id)


@pytest.mark.parametrize("phase", [Phase.GATEWAY, Phase.IMAGE, Phase.CONTAINER, Phase.SERVER, Phase.READY])
@pytest.mark.parametrize("kind", [EventKind.STARTED, EventKind.FINISHED])
def test_an_interrupt_at_any_step_leaves_nothing(
    namespace: str, pipeline_dir: Path, gateway: str, phase: Phase, kind: EventKind
) -> None:
    def interrupt(event: Event) -> None:
        if (event.phase, event.kind) == (phase, kind):
            raise KeyboardInterrupt

    with Launcher(namespace=namespace, on_event=interrupt) as launcher, pytest.raises(KeyboardInterrupt):
        launcher.start(pipeline_dir, gateway=gateway)


@pytest.mark.parametrize("phase", ["container", "server"])
def test_ctrl_c_in_the_middle_of_a_step_leaves_nothing(namespace: str, pipeline_dir: Path, phase: str) -> None:
    code = (
        "import signal, sys\n"
        "from jupyter_launcher import Launcher\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "tell = lambda event: print(event.phase.value, event.kind.value, flush=True)\n"
        "Launcher(namespace=sys.argv[1], on_event=tell).start(sys.argv[2])\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, namespace, str(pipeline_dir)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.split() == [phase, "started"]:
                process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert "KeyboardInterrupt" in process.stderr.read()
    assert process.returncode in {-signal.SIGINT, 130}
