"""Sockets of engines, whatever their name is."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import Mount, PipelineDirError, Volume
from jupyter_launcher.host import address, mountinfo, sockets
from jupyter_launcher.host.address import EngineAddress
from jupyter_launcher.host.pipeline_dir import check_mount_sources, resolve_pipeline_dir
from jupyter_launcher.host.rules import DirectoryRules
from tests.unit.fakes import FakeEngine, container

OWN_ID = "0f" * 32
REMOTE = "tcp://10.0.0.7:2376"
LOCAL = "tcp://127.0.0.1:2375"
SEEN = "is or holds the engine's socket"


@pytest.fixture(autouse=True)
def _outside_of_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "read_mountinfo", lambda: "")


@pytest.fixture
def engine_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A socket that is known as an engine's."""
    path = tmp_path / "run" / "docker.sock"
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    monkeypatch.setattr(sockets, "_SOCKETS", (str(path),))
    return path


def check(engine: FakeEngine, *sources: Path | str, **rules: Any) -> None:
    mounts = [Mount(source=str(item), target="/m") for item in sources]
    check_mount_sources(EngineAddress(engine), mounts, DirectoryRules(**rules))


def refused(engine: FakeEngine, source: Path | str, seen: str = SEEN) -> str:
    with pytest.raises(PipelineDirError, match=seen) as caught:
        check(engine, "/srv/one", source)
    assert caught.value.hint
    return caught.value.path


@pytest.mark.parametrize("endpoint", ["unix:///another.sock", LOCAL, "ssh://localhost"])
def test_it_is_known_whichever_way_the_launcher_speaks(engine_socket: Path, tmp_path: Path, endpoint: str) -> None:
    engine = FakeEngine(endpoint=endpoint)
    (tmp_path / "link").symlink_to("run")
    (tmp_path / "other.sock").symlink_to(engine_socket)
    os.link(engine_socket, tmp_path / "hard.sock")
    for source in (tmp_path, engine_socket.parent, tmp_path / "link", engine_socket, "/", f"/{engine_socket}"):
        refused(engine, source)
    assert refused(engine, tmp_path / "link") == str(engine_socket.parent)
    refused(engine, tmp_path / "other.sock")
    refused(engine, tmp_path / "hard.sock")
    (tmp_path / "beside").mkdir()
    check(engine, tmp_path / "beside", tmp_path / "run" / "missing", "/srv/one")


def test_who_means_it_may_mount_it(engine_socket: Path) -> None:
    check(FakeEngine(), engine_socket, engine_socket.parent, "/run/containerd", allow_engine_socket=True)


def test_the_launchers_own_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "_SOCKETS", ())
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "folder" / "own.sock"))
    engine = FakeEngine(endpoint=f"unix://{tmp_path / 'link' / 'own.sock'}")
    refused(engine, tmp_path / "folder")
    refused(engine, tmp_path / "folder" / "own.sock")
    check(FakeEngine(), tmp_path / "folder")


@pytest.mark.parametrize("endpoint", ["unix:///another.sock", REMOTE])
@pytest.mark.parametrize(
    "source",
    [
        "/",
        "/run",
        "/var/run",
        "//run",
        "/run/docker.sock",
        "/var/run/docker.sock",
        "/run/x/../docker.sock",
        "/run/containerd",
        "/run/containerd/s/0123",
        "/var/run/containerd/s/0123",
        "/run/docker",
        "/run/docker/plugins/x",
        "/run/docker/runtime-runc/moby",
        "/run/podman/x",
        "/run/crio/x",
        "/run/k3s/x",
        "/run/buildkit/x",
        "/run/user/1000/containerd/x",
        "/run/podman/podman.sock",
        "/run/user",
        "/run/user/1000",
        "/run/user/1000/podman",
        "/run/user/1000/docker.sock",
    ],
)
def test_usual_names_are_known_where_nothing_is_seen(source: str, endpoint: str) -> None:
    refused(FakeEngine(endpoint=endpoint), source)


@pytest.mark.parametrize(
    "source", ["/var", "/srv", "/run/user/1000/pipelines", "/run/pipelines", "/run/docker.sock.d", "/run/dockers/x"]
)
def test_names_beside_them_are_not(source: str) -> None:
    check(FakeEngine(endpoint=REMOTE), source)


def test_sockets_of_users_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("1000", "1001"):
        (tmp_path / "user" / name / "podman").mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "user" / "1001" / "podman" / "podman.sock"))
    monkeypatch.setattr(sockets, "_SOCKETS", (f"{tmp_path}/user/*/podman/podman.sock",))
    monkeypatch.setattr(sockets, "_USERS", tmp_path / "user")
    os.link(tmp_path / "user" / "1001" / "podman" / "podman.sock", tmp_path / "hard.sock")
    refused(FakeEngine(), tmp_path / "hard.sock")
    monkeypatch.setattr(sockets, "_USERS", tmp_path / "none")
    check(FakeEngine(), tmp_path / "hard.sock")


def table(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    """The mounts of this process, beside the root."""
    mounts = ["1 0 8:1 / / rw - ext4 x rw", *(f"2 1 {line} rw - ext4 x rw" for line in lines)]
    monkeypatch.setattr(mountinfo, "read_mountinfo", lambda: "\n".join(mounts))


@pytest.mark.parametrize("shown", ["{folder}/run/docker.sock", "{folder}/run", "{folder}", "/"])
def test_a_mount_beneath(engine_socket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: str) -> None:
    folder = tmp_path / "pipeline"
    folder.mkdir()
    check(FakeEngine(), folder)
    table(monkeypatch, f"8:1 {shown.format(folder=tmp_path)} {folder}/a/b")
    assert refused(FakeEngine(), folder, rf"socket.* \(by the mount at {folder}/a/b\)") == str(folder)
    if not shown.endswith(".sock"):
        check(FakeEngine(), folder / "a" / "b" / "c")
    table(monkeypatch, f"8:2 {shown.format(folder=tmp_path)} {folder}/a/b", f"8:1 {folder} {folder}/c")
    check(FakeEngine(), folder)


def test_a_folder_of_sockets_is_refused_with_everything_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name, its inode and its place; a part of it and what is mounted beneath it too."""
    known, bound = tmp_path / "run" / "containerd", tmp_path / "bound"
    for folder in (known / "s", bound / "below", tmp_path / "link"):
        folder.mkdir(parents=True)
    (tmp_path / "link" / "s").symlink_to(known / "s")
    monkeypatch.setattr(sockets, "_SOCKETS", (str(known),))
    table(monkeypatch)
    for source in (known.parent, known, known / "s", known / "missing", tmp_path / "link" / "s"):
        refused(FakeEngine(), source)
    check(FakeEngine(), bound)
    table(monkeypatch, f"8:1 {known}/s {bound}")
    refused(FakeEngine(), bound / "below", rf"\(in {known}\)")
    refused(FakeEngine(), bound.parent)
    table(monkeypatch, f"0:50 / {known}/s", f"0:50 /part {bound}")
    refused(FakeEngine(), bound, rf"\(in {known}\)")
    table(monkeypatch, f"8:1 {known}/s/part {bound}/below")
    refused(FakeEngine(), bound, rf"\(by the mount at {bound}/below\)")
    table(monkeypatch, f"8:1 {known}/s {known}/t", f"8:2 {known}/s {bound}")
    check(FakeEngine(), bound)


def test_a_folder_of_sockets_by_its_inode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "containerd" / "s").mkdir(parents=True)
    (tmp_path / "name").symlink_to("containerd")
    monkeypatch.setattr(sockets, "_SOCKETS", (str(tmp_path / "name"),))
    monkeypatch.setattr(mountinfo, "read_mountinfo", lambda: "")
    refused(FakeEngine(), tmp_path / "containerd" / "s")


def test_a_mount_of_the_folder_itself_by_its_place(
    engine_socket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A launcher in a container sees neither the host's folders nor their names, but where a mount is taken from."""
    (tmp_path / "mounted").mkdir()
    table(monkeypatch, f"8:1 {tmp_path}/run {tmp_path}/mounted")
    refused(FakeEngine(), tmp_path / "mounted", r"socket.* \(by another name\)")


def test_a_folder_that_cannot_be_looked_at(engine_socket: Path, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert refused(FakeEngine(), tmp_path / "loop", "cannot be looked at") == str(tmp_path / "loop")


def test_links_on_the_path_of_a_source_are_checked(tmp_path: Path) -> None:
    refused(FakeEngine(), f"/proc/self/root{tmp_path}", "leads elsewhere for each process")


def test_a_socket_that_may_not_be_seen_is_known(engine_socket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look = Path.lstat

    def closed(path: Path) -> os.stat_result:
        if path == engine_socket:
            raise PermissionError(13, "Permission denied")
        return look(path)

    monkeypatch.setattr(Path, "lstat", closed)
    monkeypatch.setattr(sockets.EngineSockets, "_find_name", lambda *_: None)
    refused(FakeEngine(), engine_socket.parent)


def test_tunnels_over_ssh_have_sockets_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "jupyter-launcher-ssh-x"
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "docker.sock"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    refused(FakeEngine(endpoint="ssh://localhost"), folder)
    refused(FakeEngine(endpoint="ssh://localhost"), folder / "docker.sock")
    check(FakeEngine(endpoint="ssh://localhost"), tmp_path)
    check(FakeEngine(endpoint="ssh://far.example"), folder)
    check(FakeEngine(endpoint=LOCAL), folder)


def inside(monkeypatch: pytest.MonkeyPatch, mounts: dict[str, str], **options: Any) -> FakeEngine:
    """An engine in whose container this process runs."""
    monkeypatch.setattr(address, "read_mountinfo", lambda: f"1 2 3 /x/{OWN_ID}/hostname /etc/hostname rw")
    return FakeEngine(container(id=OWN_ID, name="orchestrator", mounts=mounts), **options)


@pytest.mark.parametrize(
    "source",
    ["/proc/self/root/run/docker.sock", "/proc/1/cwd", "//proc", "/dev/fd/3", "/srv/../sys/kernel", "/dev/sda"],
)
@pytest.mark.parametrize("is_remote", [True, False])
def test_a_source_that_is_not_seen_is_not_of_the_kernel(
    source: str,
    monkeypatch: pytest.MonkeyPatch,
    is_remote: bool,  # noqa: FBT001 - pytest's
) -> None:
    """The engine would follow a link of ``/proc`` as a process of its own."""
    engine = FakeEngine(endpoint=REMOTE) if is_remote else inside(monkeypatch, {"/vol": "/srv/vol"})
    refused(engine, source, "where the system has its own files")
    check(engine, "/dev/shm", "/dev/shm/x", "/srv/unseen", "/process")  # noqa: S108


def test_the_socket_is_looked_for_where_the_engines_host_has_it(
    engine_socket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = inside(monkeypatch, {str(engine_socket): "/made-up/engine.sock"}, endpoint=f"unix://{engine_socket}")
    monkeypatch.setattr(sockets, "_SOCKETS", ())
    check(engine, engine_socket.parent)
    refused(engine, "/made-up")


def test_a_socket_in_this_processs_own_container(engine_socket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = inside(monkeypatch, {}, endpoint=f"unix://{engine_socket}")
    monkeypatch.setattr(sockets, "_SOCKETS", ())
    refused(engine, engine_socket.parent)


def test_a_link_out_of_what_a_container_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "seen").mkdir()
    (tmp_path / "seen" / "link").symlink_to(tmp_path)
    engine = inside(monkeypatch, {str(tmp_path / "seen"): "/srv/seen"})
    refused(engine, "/srv/seen/link", "which is in this process's own container")
    check(engine, "/srv/seen", "/srv/unseen")


def test_a_pipeline_directory_is_looked_at_in_the_same_way(engine_socket: Path, tmp_path: Path) -> None:
    found = EngineAddress(FakeEngine(endpoint=LOCAL))
    (tmp_path / "link").symlink_to("run")

    def resolve(**rules: Any) -> Path | Volume:
        engine = FakeEngine(endpoint=LOCAL)
        given = tmp_path / "link"
        return resolve_pipeline_dir(engine, found, given, None, image="image", rules=DirectoryRules(**rules)).path

    with pytest.raises(PipelineDirError, match=SEEN):
        resolve()
    assert resolve(allow_engine_socket=True) == engine_socket.parent
