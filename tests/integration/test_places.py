"""A launcher that runs in a container itself, with the engine's socket mounted: as orchestrators do."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from docker.types import LogConfig

import jupyter_launcher
from jupyter_launcher import DEFAULT_IMAGE, Launcher
from tests.containers import output_of, user_inside

ROOT = Path(jupyter_launcher.__file__).parent.parent
PACKAGES = Path(sysconfig.get_path("purelib"))
SOCKET = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
START = """
from jupyter_launcher import Launcher, Mount
import json, sys, requests
namespace, folder, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
options["mounts"] = [Mount(**item) for item in options.get("mounts", [])]
with Launcher(namespace=namespace) as launcher:
    session = launcher.start(folder, session_id="inside", **options)
    headers = {"Authorization": f"token {session.server_info.token}"}
    kernel = requests.post(session.url + "api/kernels", json={}, headers=headers, timeout=30).json()["id"]
    found = {
        "url": session.url,
        "host_url": session.host_url,
        "pipeline_dir": str(session.pipeline_dir),
        "listed": [item.state.value for item in launcher.list()],
        "same": launcher.get("inside").server_info == session.server_info,
        "kernel": kernel,
    }
    if "--stop" in sys.argv:
        report = session.stop()
        found["method"], found["gone"] = report.method.value, list(report.kernels_gone)
    print(json.dumps(found))
"""
Inside = Callable[..., Any]


@pytest.fixture
def inside(client: Any, launcher: Launcher, namespace: str) -> Iterator[Inside]:
    """Runs a launcher in a container, which has this package, its dependencies and the engine's socket."""
    made: list[Any] = []

    def run(
        folder: str,
        *more: str,
        mounts: dict[str, str] | None = None,
        network: str = "bridge",
        options: dict[str, Any] | None = None,
    ) -> Any:
        paths = {str(ROOT): str(ROOT), str(PACKAGES): str(PACKAGES), SOCKET: "/var/run/docker.sock"}
        paths |= mounts or {}
        container = client.containers.create(
            launcher.image,
            ["python3", "-c", START, namespace, folder, json.dumps(options or {}), *more],
            user=user_inside(client, Path(SOCKET).parent),  # who may speak to the engine
            environment={"PYTHONPATH": f"{ROOT}:{PACKAGES}", "PYTHONDONTWRITEBYTECODE": "1"},
            volumes={source: {"bind": target, "mode": "rw"} for source, target in paths.items()},
            network=network,
            log_config=LogConfig(type="json-file"),  # it is read, whatever the engine's own driver is
        )
        made.append(container)
        container.start()
        code = container.wait(timeout=120)["StatusCode"]
        printed = container.logs(stdout=True, stderr=code != 0).decode()
        return json.loads(printed) if code == 0 else printed

    yield run
    for container in made:
        container.remove(force=True)


@pytest.fixture
def network(client: Any, namespace: str) -> Iterator[str]:
    made = client.networks.create(f"{namespace}-place", driver="bridge")
    yield made.name
    made.remove()


@pytest.fixture
def volume(client: Any, namespace: str) -> Iterator[Any]:
    made = client.volumes.create(f"{namespace}-place")
    yield made
    made.remove()


def test_a_session_is_reached_over_the_shared_network(
    inside: Inside,
    launcher: Launcher,
    pipeline_dir: Path,
    gateway: str,
    gateway_kernels: Callable[[], set[str]],
) -> None:
    before = gateway_kernels()
    folder = pipeline_dir / "steps"
    folder.mkdir()
    if os.getuid() == 0:
        os.chown(folder, pipeline_dir.stat().st_uid, pipeline_dir.stat().st_gid)
    found = inside("/work/steps", mounts={str(pipeline_dir): "/work"}, options={"gateway": gateway})
    session = launcher.get("inside")
    assert found["pipeline_dir"] == str(folder) == str(session.pipeline_dir)
    assert found["url"] == session.internal_url
    assert found["host_url"] == session.url == session.host_url
    assert (found["listed"], found["same"]) == (["ready"], True)
    assert requests.get(session.lab_url, timeout=10).status_code == 200
    again = inside("/work/steps", "--stop", mounts={str(pipeline_dir): "/work"}, options={"gateway": gateway})
    assert again["method"] == "api"
    assert set(again["gone"]) == {found["kernel"], again["kernel"]}
    assert gateway_kernels() == before


def test_it_joins_the_network_that_the_launcher_is_on(
    inside: Inside, client: Any, pipeline_dir: Path, network: str, launcher: Launcher
) -> None:
    found = inside("/work", mounts={str(pipeline_dir): "/work"}, network=network)
    container = client.containers.get(launcher.get("inside").container_id)
    address = container.attrs["NetworkSettings"]["Networks"][network]["IPAddress"]
    assert found["url"] == f"http://{address}:8888/"
    launcher.stop("inside")


@pytest.mark.usefixtures("shares_network")
def test_on_the_hosts_network_it_is_reached_as_from_the_host(inside: Inside, pipeline_dir: Path) -> None:
    found = inside("/work", "--stop", mounts={str(pipeline_dir): "/work"}, network="host")
    assert found["url"] == found["host_url"]
    assert found["url"].startswith("http://127.0.0.1:")


def test_a_named_volume_can_be_a_pipeline_dir(volume: Any, inside: Inside) -> None:
    found = inside("/work", "--stop", mounts={volume.name: "/work"})
    assert found["pipeline_dir"] == volume.attrs["Mountpoint"]


@pytest.mark.parts
@pytest.mark.parametrize("isolation", ["environment", "kernel"])
def test_kernels_in_containers_are_started_from_inside_too(inside: Inside, pipeline_dir: Path, isolation: str) -> None:
    """A broker mounts the engine's socket at its path on the host, which this launcher's container tells."""
    options = {"kernels": {"python3": DEFAULT_IMAGE}, "isolation": isolation}
    found = inside("/work", "--stop", mounts={str(pipeline_dir): "/work"}, options=options)
    assert (found["method"], found["gone"]) == ("api", [found["kernel"]])


@pytest.mark.parametrize("source", ["/proc/self/root{socket}", "/proc/1/root/etc", "/dev/fd/3", "/sys/kernel"])
def test_a_source_that_only_the_engine_sees_is_not_of_the_kernel(volume: Any, inside: Inside, source: str) -> None:
    given = source.format(socket=Path(SOCKET).resolve())
    options = {"user": "0:0", "mounts": [{"source": given, "target": "/m"}]}
    printed = inside("/work", "--stop", mounts={volume.name: "/work"}, options=options)
    assert f"PipelineDirError: mount source {given} is in /" in printed


def test_a_network_that_the_launcher_is_not_on(inside: Inside, pipeline_dir: Path, network: str) -> None:
    printed = inside("/work", mounts={str(pipeline_dir): "/work"}, options={"network": network})
    assert "OptionError" in printed
    assert f"docker network connect {network} " in printed


def test_a_directory_of_the_launchers_own_container(inside: Inside) -> None:
    printed = inside("/home")
    assert "PipelineDirError" in printed
    assert "mount a folder of the host into" in printed


def test_the_engines_socket_is_refused_from_inside_too(inside: Inside) -> None:
    folder = str(Path(SOCKET).resolve().parent)
    printed = inside("/host-run", mounts={folder: "/host-run"})
    assert "PipelineDirError" in printed
    assert "holds the engine's socket" in printed


@pytest.mark.skipif(os.getuid() != 0, reason="only root may mount")
def test_a_bind_mount_of_the_sockets_folder_is_refused_from_inside_too(
    inside: Inside, client: Any, launcher: Launcher, tmp_path: Path
) -> None:
    """The path of this folder on the host tells nothing, and neither does its device with its inode."""
    (tmp_path / "bound").mkdir()
    subprocess.run(["mount", "--bind", str(Path(SOCKET).resolve().parent), str(tmp_path / "bound")], check=True)
    try:
        mounts = {str(tmp_path): {"bind": "/work", "mode": "ro"}}
        if not output_of(client, launcher.image, ["ls", "/work/bound"], user="0", volumes=mounts):
            pytest.skip("this engine has mounts of its own, and does not see the one that the test makes")
        printed = inside("/work/bound", mounts={str(tmp_path): "/work"})
    finally:
        subprocess.run(["umount", str(tmp_path / "bound")], check=True)
    assert "PipelineDirError" in printed
    assert "is or holds the engine's socket" in printed


def test_a_directory_of_the_engines_host_is_refused_from_inside_too(inside: Inside) -> None:
    printed = inside("/elsewhere/ssl", mounts={"/etc": "/elsewhere"})
    assert "PipelineDirError: pipeline dir /etc/ssl is in /etc" in printed


def test_on_the_host_there_is_no_container_of_its_own(launcher: Launcher) -> None:
    assert launcher._context.address.find_own_container() is None
