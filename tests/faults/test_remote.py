"""An engine on another host, by its address: over TLS, with paths and ports that are its own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from jupyter_launcher import (
    EngineUnavailableError,
    Launcher,
    OptionError,
    PipelineDirError,
    SessionState,
    StopMethod,
)
from tests.faults.own_engine import ADDRESS, OwnEngine
from tests.integration.test_session import save, start_kernel

HOST = ADDRESS.partition("/")[0]
URL = f"tcp://{HOST}:2376"


def openssl(folder: Path, *line: str) -> None:
    subprocess.run(["openssl", *line], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, and a certificate and key of the engine and of its client each."""
    folder = tmp_path_factory.mktemp("certificates")
    new = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    by_authority = ["-CA", "ca.pem", "-CAkey", "ca-key.pem", "-addext", "basicConstraints=CA:FALSE"]
    openssl(folder, *new, "-subj", "/CN=test authority", "-keyout", "ca-key.pem", "-out", "ca.pem")
    for name, usage in (("server", "serverAuth"), ("client", "clientAuth")):
        extensions = ["-addext", f"subjectAltName=IP:{HOST}", "-addext", f"extendedKeyUsage={usage}"]
        files = ["-keyout", f"{name}-key.pem", "-out", f"{name}.pem"]
        openssl(folder, *new, "-subj", f"/CN={name}", *by_authority, *extensions, *files)
    (folder / "cert.pem").symlink_to("client.pem")  # the names that DOCKER_CERT_PATH wants
    (folder / "key.pem").symlink_to("client-key.pem")
    return folder


@pytest.fixture(scope="module")
def remote(engine: OwnEngine, certificates: Path) -> Iterator[OwnEngine]:
    engine.restart(
        *("--host", URL, "--tlsverify", "--tlscacert", str(certificates / "ca.pem")),
        *("--tlscert", str(certificates / "server.pem"), "--tlskey", str(certificates / "server-key.pem")),
    )
    yield engine
    engine.restart()


@pytest.fixture
def far(remote: OwnEngine, certificates: Path, namespace: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Launcher]:
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(certificates))
    with Launcher(docker_host=URL, namespace=namespace) as launcher:
        yield launcher


def test_a_session_on_an_engine_of_another_host(far: Launcher, pipeline_dir: Path) -> None:
    with far.run_gateway(pipeline_dir) as gateway, far.start(pipeline_dir, gateway=gateway) as session:
        assert session.url.startswith(f"http://{HOST}:")
        assert session.url == session.host_url
        assert requests.get(session.lab_url, timeout=10).status_code == 200
        assert save(session, "saved.txt", "text") == 201
        assert (pipeline_dir / "saved.txt").stat().st_uid == pipeline_dir.stat().st_uid
        assert [item.state for item in far.list()] == [SessionState.READY]
        assert far.get(session.id).server_info == session.server_info
        kernel = start_kernel(session)
        report = session.stop()
        assert (report.method, report.kernels_gone) == (StopMethod.API, (kernel,))


def test_kernels_of_a_killed_server_are_deleted_there_too(far: Launcher, pipeline_dir: Path) -> None:
    with far.run_gateway(pipeline_dir) as gateway, far.start(pipeline_dir, gateway=gateway) as session:
        kernel = start_kernel(session)
        far._engine.remove(session.container_id)
        report = session.stop()
        assert (report.method, report.kernels_gone) == (StopMethod.ALREADY_STOPPED, (kernel,))


def test_a_context_with_tls(
    remote: OwnEngine,
    certificates: Path,
    namespace: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pipeline_dir: Path,
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (tmp_path / "config.json").write_text("{}")  # without it the SDK looks for contexts elsewhere
    files = ",".join(f"{name}={certificates / f'{name}.pem'}" for name in ("ca", "cert", "key"))
    subprocess.run(["docker", "context", "create", "far", "--docker", f"host={URL},{files}"], check=True)
    with Launcher(context="far", namespace=namespace) as launcher, launcher.start(pipeline_dir) as session:
        assert requests.get(session.lab_url, timeout=10).status_code == 200


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("relative/path", "absolute path of that host"),
        ("/", "absolute path of that host"),
        ("/no/such/dir", "create it there first"),
        ("/etc/hostname", "no directory on the engine's host"),
    ],
)
def test_pipeline_dirs_that_are_refused(far: Launcher, given: str, message: str) -> None:
    with pytest.raises(PipelineDirError, match=message):
        far.start(given)


def test_the_loopback_there_is_refused(far: Launcher, pipeline_dir: Path) -> None:
    with pytest.raises(OptionError, match="does not reach"):
        far.start(pipeline_dir, host_ip="127.0.0.1")


@pytest.mark.usefixtures("remote")
def test_without_its_certificates_the_engine_is_not_available() -> None:
    with pytest.raises(EngineUnavailableError, match=HOST):
        Launcher(docker_host=URL)
