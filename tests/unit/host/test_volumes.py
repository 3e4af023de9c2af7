"""Named volumes: given to a user while nobody has used them, else left to whom they belong."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from pathlib import Path

import pytest

from jupyter_launcher import EngineError, Mount, OptionError, PipelineDirError, Volume
from jupyter_launcher.engine.types import BindMount
from jupyter_launcher.host.address import EngineAddress
from jupyter_launcher.host.pipeline_dir import PipelineDir, check_mount_sources, resolve_pipeline_dir
from jupyter_launcher.host.rules import DirectoryRules
from jupyter_launcher.spec.container import LOOK_TARGET, volume_config
from tests.unit.fakes import FakeEngine, refusal

VOLUME = Volume("pipeline-7")


def resolve(engine: FakeEngine, user: str | int | None = None, *, roots: tuple[Path, ...] | None = None) -> PipelineDir:
    engine.on_start = engine.end
    rules = DirectoryRules(roots=roots)
    return resolve_pipeline_dir(engine, EngineAddress(engine), VOLUME, user, image="image", rules=rules)


@pytest.mark.parametrize("endpoint", ["unix:///var/run/fake-engine.sock", "tcp://10.0.0.7:2376"])
def test_its_owner_works_in_a_volume(endpoint: str) -> None:
    engine = FakeEngine(endpoint=endpoint)
    engine.log = "directory 7:8 1500:1600"
    assert resolve(engine) == PipelineDir(path=VOLUME, user="1500:1600")
    (config,) = engine.configs.values()
    assert config.mounts == (BindMount(source="pipeline-7", target=LOOK_TARGET, type="volume", no_copy=True),)
    assert (config.user, config.capabilities, config.network) == ("0:0", ("CHOWN",), "none")
    assert engine.known == {}


@pytest.mark.parametrize(
    ("user", "owner"),
    [(None, "1000:1000"), (1500, "1500:1500"), ("1500", "1500:1500"), ("1:2", "1:2"), ("jovyan", "jovyan:")],
)
def test_to_whom_a_volume_is_given(user: str | int | None, owner: str) -> None:
    engine = FakeEngine()
    engine.log = "directory 7:8 1000:1000"
    found = resolve(engine, user)
    (config,) = engine.configs.values()
    assert config.entrypoint is not None
    assert config.entrypoint[-1] == owner
    assert found.user == {None: "1000:1000", 1500: "1500:1000", "1500": "1500:1000"}.get(user, user)


def test_a_volume_of_roots_that_holds_something_is_told() -> None:
    engine = FakeEngine()
    engine.log = "directory 7:8 0:0"
    found = resolve(engine)
    assert found.user == "0:0"
    assert "the server runs as root, because volume:pipeline-7 belongs to root" in found.warning
    assert resolve(engine, "0:0").warning == ""


def test_an_owner_whom_the_engine_does_not_have() -> None:
    engine = FakeEngine()
    engine.traits = dataclasses.replace(engine.traits, rootless=True)
    engine.log = "directory 7:8 65534:65534"
    with pytest.raises(PipelineDirError, match="volume:pipeline-7 belongs to a user whom the engine's user namespace"):
        resolve(engine)
    assert resolve(engine, 1000).user == "1000:1000"


def test_with_roots_no_volume_is_possible(tmp_path: Path) -> None:
    engine = FakeEngine()
    with pytest.raises(PipelineDirError, match="volume:pipeline-7 is a volume, and this launcher has roots") as caught:
        resolve(engine, roots=(tmp_path,))
    assert caught.value.path == "volume:pipeline-7"
    assert engine.calls == []


def test_a_user_that_cannot_be_makes_no_volume() -> None:
    engine = FakeEngine()
    with pytest.raises(OptionError):
        resolve(engine, "-1")
    assert engine.calls == []


@pytest.mark.parametrize("seen", ["chown: changing ownership: Operation not permitted", "regular file 7:8 0:0", ""])
def test_a_volume_that_cannot_be_given_away(seen: str) -> None:
    engine = FakeEngine()
    engine.log = seen
    with pytest.raises(PipelineDirError, match="could not be given to 1000:1000") as caught:
        resolve(engine)
    assert repr(seen) in caught.value.message
    assert "user=" in caught.value.hint


def test_a_volume_that_cannot_be_mounted_or_looked_at() -> None:
    engine = FakeEngine()
    engine.fail("start", refusal(400, "no such driver"))
    with pytest.raises(PipelineDirError, match="no such driver"):
        resolve(engine)
    engine.fail("start", refusal(400, 'exec: "sh": executable file not found in $PATH'))
    with pytest.raises(EngineError, match="image image has no `stat` or no `sh`"):
        resolve(engine)
    engine.fail("start", refusal(500, "mount failed"))
    with pytest.raises(EngineError, match="mount failed"):
        resolve(engine)
    assert engine.known == {}


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give a directory to others")
@pytest.mark.parametrize(
    ("owner", "names", "given"),
    [
        (0, (), True),
        (0, ("lost+found",), True),
        (0, ("lost+found", "a.ipynb"), False),
        (0, (".hidden",), False),
        (1500, (), False),
    ],
)
def test_a_volume_is_given_away_while_nobody_has_used_it(
    tmp_path: Path, owner: int, names: tuple[str, ...], *, given: bool
) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    for name in names:
        (volume / name).touch()
    os.chown(volume, owner, owner)
    script, name = volume_config(VOLUME, "1000:1001", "image").entrypoint[2:4]  # type: ignore[index] # it has one
    ended = subprocess.run(
        ["sh", "-c", script, name, str(volume), "1000:1001"], stdout=subprocess.PIPE, text=True, check=True
    )
    found = volume.stat()
    assert (found.st_uid, found.st_gid) == ((1000, 1001) if given else (owner, owner))
    assert ended.stdout == f"directory {found.st_dev}:{found.st_ino} {found.st_uid}:{found.st_gid}\n"


@pytest.mark.parametrize("name", ["", "a", "-a", "a/b", "../x", "a b", "a:b", "x" * 256, None, 7, Path("ab")])
def test_names_that_no_volume_has(name: object) -> None:
    with pytest.raises(OptionError) as caught:
        Volume(name)  # type: ignore[arg-type] # what a caller may give
    assert caught.value.option == "volume"


def test_the_text_of_a_volume_is_read_again() -> None:
    assert Volume.from_text(str(VOLUME)) == VOLUME
    assert Volume.from_text("/volume:ab") is None
    with pytest.raises(OptionError):
        Volume.from_text("volume:a/b")


def test_a_volume_in_the_engines_words() -> None:
    mount = BindMount(source="ab", target="/t", read_only=True, relabel="z", type="volume", no_copy=True)
    assert mount.to_short_form() == "ab:/t:ro,z,nocopy"


def test_a_launcher_with_roots_mounts_no_volume(tmp_path: Path) -> None:
    engine = FakeEngine()
    mounts = [Mount(type="volume", source="models", target="/models")]
    check_mount_sources(EngineAddress(engine), mounts, DirectoryRules())
    with pytest.raises(PipelineDirError, match="volume:models"):
        check_mount_sources(EngineAddress(engine), mounts, DirectoryRules(roots=(tmp_path,)))
