"""An engine behind a real sshd, which answers at the address of the engine's own bridge."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from jupyter_launcher import DEFAULT_IMAGE, EngineUnavailableError, Launcher, OptionError, StopMethod
from jupyter_launcher.models.kernels import Isolation
from tests.containers import eventually
from tests.integration.test_session import start_kernel

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
SOCKET = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
pytestmark = pytest.mark.skipif(
    not Path(SSHD).exists() or os.getuid() != 0, reason="needs root and sshd; `make tools` installs it"
)


def tunnels() -> set[str]:
    """The forwards that ssh holds open for a launcher, by their argv."""
    found = map(read, Path("/proc").glob("[0-9]*/cmdline"))
    return {line.decode() for line in found if b"/docker.sock:/" in line and b"ExitOnForwardFailure" in line}


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # it ended


def folders() -> set[str]:
    return {path.name for path in Path(tempfile.gettempdir()).glob("jupyter-launcher-ssh-*")}


@pytest.fixture
def ssh_host(client: Any, gateway: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """``ssh://`` to this machine; the one who asks has a key, and knows the host."""
    (network,) = client.containers.get(gateway).attrs["NetworkSettings"]["Networks"].values()
    address = network["Gateway"]
    with socket.create_server((address, 0)) as probe:
        port = probe.getsockname()[1]
    for name in ("host", "user"):
        line = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)]
        subprocess.run(line, check=True)
    (tmp_path / "sshd_config").write_text(
        f"Port {port}\nListenAddress {address}\nHostKey {tmp_path}/host\nAuthorizedKeysFile {tmp_path}/user.pub\n"
        "StrictModes no\nUsePAM no\n"
    )
    (tmp_path / "known_hosts").write_text(f"[{address}]:{port} {(tmp_path / 'host.pub').read_text()}")
    (tmp_path / "config").write_text(
        f"Host *\nIdentityFile {tmp_path}/user\nUserKnownHostsFile {tmp_path}/known_hosts\n"
    )
    # ssh takes its configuration from the user's home, whatever HOME says.
    (tmp_path / "bin").mkdir()
    wrapper = tmp_path / "bin" / "ssh"
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {tmp_path}/config "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    Path("/run/sshd").mkdir(exist_ok=True)
    with subprocess.Popen([SSHD, "-D", "-e", "-f", str(tmp_path / "sshd_config")]) as sshd:
        try:
            assert eventually(lambda: socket.socket().connect_ex((address, port)) == 0)
            yield f"ssh://root@{address}:{port}{SOCKET}"
        finally:
            sshd.terminate()


@pytest.mark.usefixtures("needs_information")
def test_a_session_over_ssh(
    ssh_host: str, namespace: str, pipeline_dir: Path, gateway: str, gateway_kernels: Callable[[], set[str]]
) -> None:
    before, left = gateway_kernels(), folders()
    with Launcher(docker_host=ssh_host, namespace=namespace) as launcher:
        session = launcher.start(pipeline_dir, gateway=gateway)
        assert session.url.startswith(f"http://{ssh_host.partition('@')[2].partition(':')[0]}:")
        assert requests.get(session.lab_url, timeout=10).status_code == 200
        assert launcher.get(session.id).server_info == session.server_info
        session.upload(__file__, "copy")
        assert (
            session.run(["sh", "-c", "cat; cat copy"], input="more\n").stdout == f"more\n{Path(__file__).read_text()}"
        )
        kernel = start_kernel(session)
        report = session.stop()
        assert (report.method, report.kernels_gone) == (StopMethod.API, (kernel,))
    assert gateway_kernels() == before
    assert (tunnels(), folders()) == (set(), left)


@pytest.mark.parts
def test_kernels_in_containers_over_ssh(ssh_host: str, namespace: str, pipeline_dir: Path) -> None:
    """The broker mounts the engine's socket there, at a path that nobody guesses here."""
    with Launcher(docker_host=ssh_host, namespace=namespace) as launcher:
        with pytest.raises(OptionError) as caught:
            launcher.start(pipeline_dir, kernels={"py": DEFAULT_IMAGE}, isolation="kernel")
        assert caught.value.option == "engine_socket"
    isolations: tuple[Isolation, ...] = ("environment", "kernel")
    with Launcher(docker_host=ssh_host, namespace=namespace, engine_socket=SOCKET) as launcher:
        for isolation in isolations:
            session = launcher.start(pipeline_dir, kernels={"py": DEFAULT_IMAGE}, isolation=isolation)
            assert session.execute("print(6 * 7)").text == "42\n"
            report = session.stop()
            assert (report.method, len(report.kernels), report.kernels_gone) == (StopMethod.API, 1, report.kernels)


def test_ssh_that_cannot_connect_says_what_it_said(ssh_host: str) -> None:
    left = folders()
    with pytest.raises(EngineUnavailableError, match="Permission denied"):
        Launcher(docker_host=ssh_host.replace("root@", "nobody@"))
    with pytest.raises(EngineUnavailableError, match="docker info"):
        Launcher(docker_host=f"{ssh_host}.not")
    assert (tunnels(), folders()) == (set(), left)


def test_without_ssh_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(EngineUnavailableError, match="install an ssh client"):
        Launcher(docker_host="ssh://somewhere")


def test_a_killed_launchers_ssh_ends(ssh_host: str) -> None:
    left = folders()
    code = (
        "import sys; from jupyter_launcher import Launcher\n"
        f"launcher = Launcher(docker_host={ssh_host!r}); print('up', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        assert len(tunnels()) == 1
        process.send_signal(signal.SIGKILL)
    assert eventually(lambda: tunnels() == set())
    for name in folders() - left:  # nobody was there to remove it
        shutil.rmtree(Path(tempfile.gettempdir()) / name)
