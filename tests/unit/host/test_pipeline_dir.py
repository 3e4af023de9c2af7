"""The directory of a pipeline: resolved, checked, and as the engine's host sees it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import EngineError, PipelineDirError
from jupyter_launcher.host import address
from jupyter_launcher.host.address import EngineAddress
from jupyter_launcher.host.pipeline_dir import PipelineDir, refuse_engine_socket, resolve_pipeline_dir
from jupyter_launcher.spec.container import LOOK_TARGET
from tests.unit.fakes import FakeEngine, container, refusal

OWN_ID = "0f" * 32
REMOTE = "tcp://10.0.0.7:2376"


@pytest.fixture(autouse=True)
def _outside_of_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "_read_mounts", lambda: "")


def inside(monkeypatch: pytest.MonkeyPatch, mounts: dict[str, str], **options: Any) -> FakeEngine:
    """An engine in whose container this process runs."""
    monkeypatch.setattr(address, "_read_mounts", lambda: f"1 2 3 /x/{OWN_ID}/hostname /etc/hostname rw")
    return FakeEngine(container(id=OWN_ID, name="orchestrator", mounts=mounts), **options)


def resolve(engine: FakeEngine, given: Any, user: str | int | None = None) -> PipelineDir:
    return resolve_pipeline_dir(engine, EngineAddress(engine), given, user, image="image")


def test_the_user_is_the_owner_of_the_directory(tmp_path: Path) -> None:
    status = tmp_path.stat()
    assert resolve(FakeEngine(), tmp_path) == PipelineDir(path=tmp_path, user=f"{status.st_uid}:{status.st_gid}")


@pytest.mark.parametrize(("user", "text"), [(0, "0"), ("1:2", "1:2"), ("jovyan", "jovyan")])
def test_another_user_may_be_given(tmp_path: Path, user: str | int, text: str) -> None:
    tmp_path.chmod(0o755)
    assert PipelineDir.from_path(tmp_path, user).user == text


def test_links_and_home_are_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert PipelineDir.from_path(Path("~/link")).path == tmp_path / "real"


def test_a_loop_of_links(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(PipelineDirError):
        PipelineDir.from_path(tmp_path / "loop")


@pytest.mark.parametrize("given", ["nul\0", "\udcff", None, 7])
def test_what_is_no_path_at_all(given: Any) -> None:
    with pytest.raises(PipelineDirError) as caught:
        PipelineDir.from_path(given)
    assert caught.value.path == repr(given)


@pytest.mark.parametrize(
    ("make", "seen"),
    [
        (lambda folder: folder / "none", "does not exist"),
        (lambda folder: Path(__file__), "is not a directory"),
        (lambda folder: Path("/"), "is the whole file system"),
    ],
)
def test_what_is_no_directory_for_a_pipeline(tmp_path: Path, make: Callable[[Path], Path], seen: str) -> None:
    given = make(tmp_path)
    with pytest.raises(PipelineDirError, match=seen) as caught:
        PipelineDir.from_path(given)
    assert caught.value.path == str(given)


@pytest.mark.parametrize(
    ("mode", "user", "allowed"),
    [
        (0o700, None, True),
        (0o300, None, False),
        (0o750, "4000000:{gid}", True),
        (0o700, "4000000:{gid}", False),
        (0o705, "4000000:4000000", True),
        (0o750, "4000000:4000000", False),
        (0o700, "by-name", True),
        (0o700, "²", True),
        (0o700, "4000000:²", True),
    ],
)
def test_the_servers_user_must_be_able_to_read(tmp_path: Path, mode: int, user: str | None, allowed: bool) -> None:  # noqa: FBT001 - pytest hands it over by name
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o700)
    folder.chmod(mode | 0o500 if os.getuid() else mode)
    given = user and user.format(gid=folder.stat().st_gid)
    if allowed or (os.getuid() and mode == 0o300):
        assert PipelineDir.from_path(folder, given).path == folder
    else:
        with pytest.raises(PipelineDirError, match="can't read"):
            PipelineDir.from_path(folder, given)


def test_in_a_container_it_is_the_path_on_the_engines_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    engine = inside(monkeypatch, {str(tmp_path): "/host/outer", str(tmp_path / "a"): "/host/inner"})
    assert resolve(engine, folder).path == Path("/host/inner/b")


def test_in_a_container_a_directory_of_its_own_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = inside(monkeypatch, {"/elsewhere": "/host", f"{tmp_path}-longer": "/other"})
    with pytest.raises(PipelineDirError, match="file system of container orchestrator") as caught:
        resolve(engine, tmp_path)
    assert caught.value.path == str(tmp_path)
    assert "mount a folder of the host into orchestrator" in caught.value.hint


def looking(seen: str) -> FakeEngine:
    """A remote engine on whose host a look sees this."""
    engine = FakeEngine(endpoint=REMOTE)
    engine.log = seen
    engine.on_start = engine.end
    return engine


@pytest.mark.parametrize(("user", "expected"), [(None, "1234:5"), ("7:8", "7:8"), (0, "0")])
def test_with_a_remote_engine_a_container_looks_at_the_directory(user: str | int | None, expected: str) -> None:
    engine = looking("directory 1234:5\n")
    assert resolve(engine, "/far//pipelines/../one/", user) == PipelineDir(path=Path("/far/one"), user=expected)
    ((name, config),) = engine.configs.items()
    assert name.startswith("jupyter-launcher-look.")
    assert (config.image, config.mounts[0].source, config.mounts[0].target) == ("image", "/far/one", LOOK_TARGET)
    assert engine.known == {}


@pytest.mark.parametrize("given", ["relative", "/", "/a/.."])
def test_with_a_remote_engine_the_path_is_absolute(given: str) -> None:
    engine = looking("directory 0:0")
    with pytest.raises(PipelineDirError, match=r"would be on the engine's host 10\.0\.0\.7"):
        resolve(engine, given)
    assert engine.calls == []


@pytest.mark.parametrize("seen", ["regular file 0:0\n", "", "stat: not found\n"])
def test_with_a_remote_engine_something_else_is_refused(seen: str) -> None:
    engine = looking(seen)
    with pytest.raises(PipelineDirError, match="is no directory on the engine's host") as caught:
        resolve(engine, "/far/one")
    assert caught.value.path == "/far/one"
    assert engine.known == {}


@pytest.mark.parametrize("status", [400, 404])
def test_with_a_remote_engine_a_path_that_cannot_be_mounted(status: int) -> None:
    engine = looking("directory 0:0")
    engine.fail("start", refusal(status, "bind source path does not exist"))
    with pytest.raises(PipelineDirError, match="bind source path does not exist"):
        resolve(engine, "/far/one")
    assert engine.known == {}


def test_with_a_remote_engine_its_own_failure_is_not_the_directorys() -> None:
    engine = looking("directory 0:0")
    engine.fail("start", refusal(500, "disk full"))
    with pytest.raises(EngineError, match="disk full"):
        resolve(engine, "/far/one")


@pytest.fixture
def engine_socket(tmp_path: Path) -> Path:
    path = tmp_path / "run" / "docker.sock"
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    return path


def test_a_folder_that_holds_the_engines_socket_is_refused(engine_socket: Path, tmp_path: Path) -> None:
    found = EngineAddress(FakeEngine(endpoint=f"unix://{engine_socket}"))
    (tmp_path / "link").symlink_to("run")
    for folder in (tmp_path, engine_socket.parent, tmp_path / "link", engine_socket):
        with pytest.raises(PipelineDirError, match="holds the engine's socket") as caught:
            refuse_engine_socket(found, [tmp_path / "other", folder])
        assert caught.value.path == str(folder)
    refuse_engine_socket(found, [tmp_path / "other"])


def test_the_socket_is_looked_for_where_the_engines_host_has_it(
    engine_socket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = inside(monkeypatch, {str(engine_socket): "/run/docker.sock"}, endpoint=f"unix://{engine_socket}")
    refuse_engine_socket(EngineAddress(engine), [engine_socket.parent])
    with pytest.raises(PipelineDirError, match="holds the engine's socket"):
        refuse_engine_socket(EngineAddress(engine), [Path("/run")])


def test_a_socket_in_this_processs_own_container(engine_socket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = inside(monkeypatch, {}, endpoint=f"unix://{engine_socket}")
    with pytest.raises(PipelineDirError):
        refuse_engine_socket(EngineAddress(engine), [engine_socket.parent])


def test_an_engine_without_a_socket_here_has_none_to_refuse() -> None:
    refuse_engine_socket(EngineAddress(FakeEngine(endpoint=REMOTE)), [Path("/")])
