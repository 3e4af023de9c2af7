"""Mount points that the engine would make: looked at from here, or from a container on the engine's host."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import EngineError, Mount, OptionError
from jupyter_launcher.host import address
from jupyter_launcher.host.address import EngineAddress
from jupyter_launcher.host.mounts import check_mount_points
from jupyter_launcher.spec.container import LOOK_TARGET
from tests.unit.fakes import DOCKER, FakeEngine, container, refusal, session_spec

OWN_ID = "0f" * 32


@pytest.fixture(autouse=True)
def _outside_of_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "read_mountinfo", lambda: "")


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    folder = tmp_path / "pipeline"
    (folder / "data" / "raw").mkdir(parents=True)
    (folder / "file").write_text("")
    (folder / "link").symlink_to("data")
    (tmp_path / "more" / "sub").mkdir(parents=True)
    (tmp_path / "more" / "note").write_text("")
    return folder


def check(pipeline: Path, *mounts: tuple[Path | str, str], engine: FakeEngine | None = None) -> list[str]:
    """What was done besides: the image that was ensured, and the calls of the engine."""
    engine = engine or FakeEngine()
    done: list[str] = []
    spec = session_spec(pipeline, mounts=[Mount(source=str(source), target=target) for source, target in mounts])
    try:
        check_mount_points(engine, EngineAddress(engine), spec, ensure_image=lambda: done.append("image"))
    finally:
        done += [call for call, _ in engine.calls]
    return done


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("more", "/elsewhere"),
        ("more", "/pipeline-dir/data"),
        ("more", "/pipeline-dir/data/raw"),
        ("more/note", "/pipeline-dir/file"),
    ],
)
def test_a_mount_point_that_is_there(pipeline: Path, source: str, target: str) -> None:
    assert check(pipeline, (pipeline.parent / source, target)) == []


@pytest.mark.parametrize(
    ("source", "target", "seen"),
    [
        ("more", "/pipeline-dir/new", "no directory at .*/pipeline/new"),
        ("more", "/pipeline-dir/data/new", "no directory at .*/pipeline/data/new"),
        ("more", "/pipeline-dir/new/new", "no directory"),
        ("more", "/pipeline-dir/file", "no directory"),
        ("more", "/pipeline-dir/file/new", "no directory"),
        ("more/note", "/pipeline-dir/data", "no file"),
        ("more/note", "/pipeline-dir/new", "no file"),
        ("more", "/pipeline-dir/link", "a link"),
        ("more", "/pipeline-dir/link/raw", "a link"),
    ],
)
def test_a_mount_point_that_the_engine_would_make(pipeline: Path, source: str, target: str, seen: str) -> None:
    with pytest.raises(OptionError, match=seen) as caught:
        check(pipeline, (pipeline.parent / source, target))
    assert caught.value.option == "mounts"


def test_a_mount_inside_another_one(pipeline: Path) -> None:
    more = pipeline.parent / "more"
    assert check(pipeline, (more, "/m"), (pipeline, "/m/sub")) == []
    with pytest.raises(OptionError, match=r"no directory at .*/more/other"):
        check(pipeline, (more, "/m"), (pipeline, "/m/other"))


def test_a_linked_source_is_what_it_leads_to(pipeline: Path) -> None:
    assert check(pipeline, (pipeline / "link", "/pipeline-dir/data")) == []


def looking(printed: str, **options: Any) -> FakeEngine:
    """An engine on whose host a container sees this."""
    engine = FakeEngine(**{"endpoint": "tcp://10.0.0.7:2376", **options})
    engine.log = printed
    engine.on_start = engine.end
    return engine


def test_with_a_remote_engine_a_container_looks() -> None:
    engine = looking("directory\ndirectory\n")
    done = check(Path("/far/one"), ("/far/more", "/pipeline-dir/x"), engine=engine)
    assert done[0] == "image"
    ((name, config),) = engine.configs.items()
    assert name.startswith("jupyter-launcher-look.")
    assert (config.image, config.user) == ("image", "1234:1234")
    assert [mount.target for mount in config.mounts] == [f"{LOOK_TARGET}/0/source", f"{LOOK_TARGET}/0/outer"]
    assert engine.known == {}


def test_with_a_remote_engine_nobody_looks_where_nothing_is_to_be_seen() -> None:
    assert check(Path("/far/one"), ("/far/more", "/m"), engine=looking("")) == []


@pytest.mark.parametrize(
    ("printed", "seen"),
    [
        ("directory\ndirectory\nregular file\nnothing\n", "no file at /far/one/y"),
        ("directory\nsymbolic link\nregular file\nregular file\n", "a link on its way, in /far/one"),
        ("directory\n", "could not be seen"),
        ("sh: stat: not found\n", "could not be seen"),
        ("", "could not be seen"),
    ],
)
def test_with_a_remote_engine_what_the_container_saw_decides(printed: str, seen: str) -> None:
    mounts = (("/far/more", "/pipeline-dir/x"), ("/far/note", "/pipeline-dir/y"))
    engine = looking(printed)
    with pytest.raises(OptionError, match=seen) as caught:
        check(Path("/far/one"), *mounts, engine=engine)
    assert caught.value.option == "mounts"
    assert engine.known == {}


@pytest.mark.parametrize("status", [400, 404])
def test_a_source_that_the_engine_cannot_mount(status: int) -> None:
    engine = looking("")
    engine.fail("start", refusal(status, "bind source path does not exist: /far/more"))
    with pytest.raises(OptionError, match="bind source path does not exist: /far/more"):
        check(Path("/far/one"), ("/far/more", "/pipeline-dir/x"), engine=engine)


def test_a_failure_of_the_engine_is_not_the_mounts() -> None:
    engine = looking("")
    engine.fail("start", refusal(500, "disk full"))
    with pytest.raises(EngineError, match="disk full"):
        check(Path("/far/one"), ("/far/more", "/pipeline-dir/x"), engine=engine)


@pytest.mark.parametrize(
    "traits", [DOCKER, replace(DOCKER, same_kernel=None), replace(DOCKER, same_kernel=False)], ids=str
)
def test_what_is_not_here_may_be_on_the_engines_host(pipeline: Path, traits: Any) -> None:
    """Only a mount point inside what this process sees is known to be missing."""
    engine = looking("directory\ndirectory\n", endpoint="unix:///x", traits=traits)
    assert check(pipeline, ("/not/here", "/pipeline-dir/data"), engine=engine)[0] == "image"
    assert check(Path("/not/here"), (pipeline, "/pipeline-dir/data"), engine=engine)[0] == "image"


def test_what_this_process_may_not_see_is_looked_at_from_a_container(
    pipeline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    see = os.stat

    def closed(path: Any, **options: Any) -> os.stat_result:
        if str(path).endswith("/data"):
            raise PermissionError
        return see(path, **options)

    monkeypatch.setattr(os, "stat", closed)
    engine = looking("directory\nnothing\n", endpoint="unix:///x")
    with pytest.raises(OptionError, match=r"no directory at .*/pipeline/data"):
        check(pipeline, (pipeline.parent / "more", "/pipeline-dir/data"), engine=engine)


def test_from_a_container_the_hosts_paths_are_found(pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "read_mountinfo", lambda: f"1 2 3 /x/{OWN_ID}/hostname /etc/hostname rw")
    own = container(id=OWN_ID, name="orchestrator", mounts={str(pipeline.parent): "/host"})
    engine = FakeEngine(own)
    assert "image" not in check(Path("/host/pipeline"), ("/host/more", "/pipeline-dir/data"), engine=engine)
    with pytest.raises(OptionError, match="no directory at /host/pipeline/new"):
        check(Path("/host/pipeline"), ("/host/more", "/pipeline-dir/new"), engine=engine)
    engine = looking("directory\ndirectory\n", endpoint="unix:///x")
    engine.known[own.id] = own
    assert "image" in check(Path("/host/pipeline"), ("/elsewhere", "/pipeline-dir/data"), engine=engine)


def test_a_missing_source_that_the_engine_would_make(pipeline: Path) -> None:
    engine = FakeEngine()
    for source, refused in ((pipeline, False), (pipeline / "missing", True)):
        spec = session_spec(pipeline, mounts=[Mount(source=str(source), target="/x", relabel="z")])
        with pytest.raises(OptionError, match="does not exist") if refused else contextlib.nullcontext():
            check_mount_points(engine, EngineAddress(engine), spec, ensure_image=lambda: None)


def test_podman_would_make_every_source(pipeline: Path) -> None:
    for traits, refused in ((DOCKER, False), (replace(DOCKER, name="Podman"), True)):
        engine = FakeEngine(traits=traits)
        spec = session_spec(pipeline, mounts=[Mount(source=str(pipeline / "missing"), target="/x")])
        with pytest.raises(OptionError, match="does not exist") if refused else contextlib.nullcontext():
            check_mount_points(engine, EngineAddress(engine), spec, ensure_image=lambda: None)


def test_a_volume_is_no_path(pipeline: Path) -> None:
    done: list[str] = []
    for target, relabel in (("/pipeline-dir/data", None), ("/elsewhere", "z")):
        volume = Mount(type="volume", source="cache", target=target, relabel=relabel)  # type: ignore[arg-type]
        spec = session_spec(pipeline, mounts=[volume])
        engine = FakeEngine()
        check_mount_points(engine, EngineAddress(engine), spec, ensure_image=lambda: done.append("image"))
        assert (done, engine.calls) == ([], [])
    spec = session_spec(pipeline, mounts=[Mount(type="volume", source="cache", target="/pipeline-dir/file")])
    with pytest.raises(OptionError, match=r"no directory at .*/pipeline/file"):
        check_mount_points(FakeEngine(), EngineAddress(FakeEngine()), spec, ensure_image=lambda: None)
