"""The engine's socket as a broker mounts it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from jupyter_launcher import OptionError
from jupyter_launcher.gateway.socket import find_engine_socket
from jupyter_launcher.host import address, mountinfo
from jupyter_launcher.host.address import EngineAddress
from tests.unit.fakes import DOCKER, FakeEngine, container

OWN_ID = "0f" * 32
INSIDE = f"9 8 0:5 /var/lib/docker/containers/{OWN_ID}/hostname /etc/hostname rw - ext4 /dev/vda rw\n"


@pytest.fixture(autouse=True)
def _outside_of_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    be_at(monkeypatch, "")


def be_at(monkeypatch: pytest.MonkeyPatch, mounts: str) -> None:
    """Let this process see these mounts."""
    for module in (address, mountinfo):
        monkeypatch.setattr(module, "read_mountinfo", lambda: mounts)


def find(endpoint: str, given: str | None = None, engine: FakeEngine | None = None) -> str:
    engine = FakeEngine() if engine is None else engine
    engine.endpoint = endpoint
    return find_engine_socket(EngineAddress(engine), given)


def refused(endpoint: str, seen: str, engine: FakeEngine | None = None) -> None:
    with pytest.raises(OptionError, match=seen) as caught:
        find(endpoint, engine=engine)
    assert caught.value.option == "engine_socket"
    assert "Launcher(engine_socket=" in caught.value.hint
    assert 'isolation="environment"' in caught.value.hint


def inside(monkeypatch: pytest.MonkeyPatch, **mounts: str) -> FakeEngine:
    """The engine of the container in which this process runs, with these mounts: a path in it → the host's."""
    be_at(monkeypatch, INSIDE)
    return FakeEngine(container(id=OWN_ID, name="orchestrator", mounts=mounts))


@pytest.mark.parametrize("endpoint", ["unix:///run/x.sock", "tcp://10.0.0.7:2376", "ssh://somewhere"])
def test_a_given_path_is_the_engine_hosts(endpoint: str) -> None:
    assert find(endpoint, "/run/user/1000/docker.sock") == "/run/user/1000/docker.sock"


@pytest.mark.parametrize("name", ["docker.sock", "user/1000/docker.sock", "podman/podman.sock"])
def test_the_socket_through_which_this_process_speaks(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    assert find(f"unix://{path}") == str(path)
    assert find(f"http+unix://{path}") == str(path)


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "docker.sock").touch()
    (tmp_path / "link").symlink_to("run")
    (tmp_path / "docker.sock").symlink_to("link/docker.sock")
    assert find(f"unix://{tmp_path}/docker.sock") == str(tmp_path / "run" / "docker.sock")


def test_a_loop_of_links_is_left_to_the_engine(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert find(f"unix://{tmp_path}/a").startswith(str(tmp_path))


@pytest.mark.parametrize(
    "endpoint",
    ["tcp://127.0.0.1:2375", "http://localhost:2375", "https://10.0.0.7:2376", "ssh://localhost", "ssh://me@10.0.0.7"],
)
def test_nothing_is_guessed_where_it_is_reached_in_another_way(endpoint: str) -> None:
    refused(endpoint, "does not reach the engine through a unix socket")


def test_nothing_is_guessed_of_a_virtual_machine() -> None:
    refused(
        "unix:///home/me/.docker/desktop/docker.sock",
        "virtual machine",
        FakeEngine(traits=replace(DOCKER, same_kernel=False)),
    )


@pytest.mark.parametrize(
    ("endpoint", "mounts", "found"),
    [
        ("/var/run/docker.sock", {"/var/run/docker.sock": "/var/run/docker.sock"}, "/var/run/docker.sock"),
        ("/var/run/docker.sock", {"/var/run/docker.sock": "/run/proxy.sock"}, "/run/proxy.sock"),
        ("/engine/podman.sock", {"/engine": "/run/user/1000/podman"}, "/run/user/1000/podman/podman.sock"),
    ],
)
def test_the_socket_that_is_mounted_here(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, mounts: dict[str, str], found: str
) -> None:
    assert find(f"unix://{endpoint}", engine=inside(monkeypatch, **mounts)) == found


def test_the_socket_that_is_mounted_where_a_link_leads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "var").symlink_to("run")
    engine = inside(monkeypatch, **{f"{tmp_path}/run/docker.sock": "/run/docker.sock"})
    assert find(f"unix://{tmp_path}/var/docker.sock", engine=engine) == "/run/docker.sock"


def test_a_socket_of_this_container_is_not_the_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    refused("unix:///tmp/proxy.sock", "file system of container orchestrator", inside(monkeypatch, **{"/var": "/var"}))


def test_a_container_of_another_engine_has_its_own_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    be_at(monkeypatch, INSIDE)
    refused("unix:///var/run/docker.sock", "is mounted from elsewhere", FakeEngine())


@pytest.mark.parametrize(
    "mount",
    ["9 8 0:23 /proxy.sock {path} rw - tmpfs tmpfs rw", "9 8 0:23 /proxies {folder} rw - tmpfs tmpfs rw"],
)
def test_a_socket_that_is_mounted_into_a_container_that_nobody_knows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mount: str
) -> None:
    """As in a pod: what is at that path of the host may be the engine's own socket, and here is a proxy's."""
    path = tmp_path / "docker.sock"
    be_at(monkeypatch, f"{mount.format(path=path, folder=tmp_path)}\n")
    refused(f"unix://{path}", "is mounted from elsewhere")


def test_a_file_system_that_is_mounted_as_a_whole_is_no_container(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    be_at(monkeypatch, f"9 8 0:23 / {tmp_path} rw - tmpfs tmpfs rw\n5 4 8:1 /@ / rw - btrfs /dev/vda rw\n")
    assert find(f"unix://{tmp_path}/docker.sock") == f"{tmp_path}/docker.sock"
