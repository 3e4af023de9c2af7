"""The directory of a pipeline: resolved, checked, and as the engine's host sees it."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import EngineError, OptionError, PipelineDirError
from jupyter_launcher.engine.traits import EngineTraits
from jupyter_launcher.host import address, mountinfo, pipeline_dir
from jupyter_launcher.host.address import EngineAddress
from jupyter_launcher.host.links import Link, Step, walk
from jupyter_launcher.host.pipeline_dir import (
    PipelineDir,
    look_identity,
    resolve_pipeline_dir,
)
from jupyter_launcher.host.rules import DirectoryRules
from jupyter_launcher.spec.container import LOOK_TARGET
from tests.unit.fakes import DOCKER, FakeEngine, container, refusal

OWN_ID = "0f" * 32
REMOTE = "tcp://10.0.0.7:2376"


@pytest.fixture(autouse=True)
def _outside_of_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "read_mountinfo", lambda: "")


def inside(monkeypatch: pytest.MonkeyPatch, mounts: dict[str, str], **options: Any) -> FakeEngine:
    """An engine in whose container this process runs."""
    monkeypatch.setattr(address, "read_mountinfo", lambda: f"1 2 3 /x/{OWN_ID}/hostname /etc/hostname rw")
    return FakeEngine(container(id=OWN_ID, name="orchestrator", mounts=mounts), **options)


def resolve(
    engine: FakeEngine, given: Any, user: str | int | None = None, *, groups: tuple[str, ...] = ()
) -> PipelineDir:
    rules, address = DirectoryRules(), EngineAddress(engine)
    return resolve_pipeline_dir(engine, address, given, user, image="image", rules=rules, groups=groups)


def identity_of(path: Path) -> str:
    status = path.stat()
    return f"{status.st_dev}:{status.st_ino}"


def test_the_user_is_the_owner_of_the_directory(tmp_path: Path) -> None:
    status = tmp_path.stat()
    found = resolve(FakeEngine(), tmp_path)
    assert found == PipelineDir(
        path=tmp_path, user=f"{status.st_uid}:{status.st_gid}", identity=f"{status.st_dev}:{status.st_ino}"
    )


@pytest.mark.parametrize(
    ("user", "text"),
    [
        (0, "0:{gid}"),
        (1500, "1500:{gid}"),
        ("1500", "1500:{gid}"),
        ("1:2", "1:2"),
        ("jovyan", "jovyan"),
        ("1500:users", "1500:users"),
    ],
)
def test_another_user_may_be_given(tmp_path: Path, user: str | int, text: str) -> None:
    """A uid alone works with the directory's group."""
    tmp_path.chmod(0o755)
    assert resolve(FakeEngine(), tmp_path, user).user == text.format(gid=tmp_path.stat().st_gid)


@pytest.mark.parametrize("user", ["", "\u00b2", True, -1, 2**40, "1:2:3", 1.5])
def test_a_user_that_cannot_be(tmp_path: Path, user: Any) -> None:
    for engine, given in ((FakeEngine(), tmp_path), (looking("directory 1:2 3:4"), "/far/one")):
        with pytest.raises(OptionError, match="user is ") as caught:
            resolve(engine, given, user)
        assert caught.value.option == "user"
        assert engine.calls == []


def test_which_directory_it_is_follows_links(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert resolve(FakeEngine(), tmp_path / "link").identity == identity_of(tmp_path / "real")


@pytest.mark.parametrize("runtime", ["runsc", "/usr/bin/kata-runtime"])
def test_which_directory_it_is_is_not_known_in_a_sandbox(tmp_path: Path, runtime: str) -> None:
    assert resolve(FakeEngine(traits=replace(DOCKER, runtime=runtime)), tmp_path).identity is None


def test_a_container_looks_which_directory_it_is_for_another_kernel(tmp_path: Path) -> None:
    engine = FakeEngine(traits=replace(DOCKER, same_kernel=False))
    engine.log = "directory 5:6 1:2"
    found = resolve(engine, tmp_path)
    assert (found.identity, found.user) == ("5:6", f"{os.getuid()}:{os.getgid()}")


@pytest.mark.parametrize("traits", [{"same_kernel": None}, {"runtime": None}, {"runtime": "/usr/bin/crun"}])
def test_which_directory_it_is_is_known_in_containers(tmp_path: Path, traits: dict[str, Any]) -> None:
    assert resolve(FakeEngine(traits=replace(DOCKER, **traits)), tmp_path).identity == identity_of(tmp_path)


def test_what_is_at_a_path_now(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    found = EngineAddress(FakeEngine())
    before = look_identity(found, folder)
    assert before == resolve(FakeEngine(), folder).identity == identity_of(folder)
    folder.rename(tmp_path / "moved")
    assert look_identity(found, folder) == ""
    assert look_identity(found, tmp_path / "moved" / "x") == ""
    folder.mkdir()
    assert look_identity(found, folder) not in (before, "", None)
    (tmp_path / "file").write_text("")
    assert look_identity(found, tmp_path / "file") == ""
    assert look_identity(found, tmp_path / "file" / "x") == ""


def test_what_is_at_a_path_that_this_process_may_not_see(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert look_identity(EngineAddress(FakeEngine()), tmp_path / "loop") is None
    assert look_identity(EngineAddress(FakeEngine(endpoint=REMOTE)), tmp_path) is None
    elsewhere = FakeEngine(traits=replace(DOCKER, same_kernel=False))
    assert look_identity(EngineAddress(elsewhere), tmp_path) is None


def test_what_is_at_a_path_seen_from_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one").mkdir()
    found = EngineAddress(inside(monkeypatch, {str(tmp_path): "/host/pipelines"}))
    assert look_identity(found, Path("/host/pipelines/one")) == identity_of(tmp_path / "one")
    assert look_identity(found, Path("/host/pipelines/two")) == ""
    assert look_identity(found, Path("/host/other")) is None


def test_links_and_home_are_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve(FakeEngine(), Path("~/link")).path == tmp_path / "real"


def test_a_loop_of_links(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(PipelineDirError):
        resolve(FakeEngine(), tmp_path / "loop")


@pytest.mark.parametrize("engine", [FakeEngine(), FakeEngine(endpoint=REMOTE)])
def test_an_empty_text_is_no_directory(engine: FakeEngine) -> None:
    """It would be the directory that the process works in."""
    with pytest.raises(PipelineDirError, match=r"is empty|would be on the engine's host"):
        resolve(engine, "")


@pytest.mark.parametrize("given", ["nul\0", "\udcff", None, 7])
def test_what_is_no_path_at_all(given: Any) -> None:
    with pytest.raises(PipelineDirError) as caught:
        resolve(FakeEngine(), given)
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
        resolve(FakeEngine(), given)
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
        (0o700, "4000000:by-name", True),
        (0o750, "4000000", True),
        (0o705, "4000000", False),
    ],
)
def test_the_servers_user_must_be_able_to_read(tmp_path: Path, mode: int, user: str | None, allowed: bool) -> None:  # noqa: FBT001 - pytest hands it over by name
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o700)
    folder.chmod(mode | 0o500 if os.getuid() else mode)
    given = user and user.format(gid=folder.stat().st_gid)
    if allowed or (os.getuid() and mode == 0o300):
        assert resolve(FakeEngine(), folder, given).path == folder
    else:
        with pytest.raises(PipelineDirError, match="can't read"):
            resolve(FakeEngine(), folder, given)


@pytest.mark.parametrize(
    ("mode", "user", "advice"),
    [(0o377, "{uid}:{gid}", "u+rwx"), (0o707, "4000000:{gid}", "g+rwx"), (0o770, "4000000:4000000", "o+rwx")],
)
def test_the_advice_names_the_bits_that_count(tmp_path: Path, mode: int, user: str, advice: str) -> None:
    status = tmp_path.stat()
    tmp_path.chmod(mode)
    if not os.access(tmp_path, os.R_OK | os.X_OK):
        pytest.skip("only root may read it")
    with pytest.raises(PipelineDirError, match="can't read it") as caught:
        resolve(FakeEngine(), tmp_path, user.format(uid=status.st_uid, gid=status.st_gid))
    assert caught.value.hint == f"`chmod {advice} {tmp_path}` or start with another user="


@pytest.mark.parametrize(("groups", "is_open"), [((), False), (("{gid}",), True), (("5",), False), (("users",), True)])
def test_more_groups_open_a_directory(tmp_path: Path, groups: tuple[str, ...], is_open: bool) -> None:  # noqa: FBT001
    tmp_path.chmod(0o770)
    gid = tmp_path.stat().st_gid
    given = tuple(group.format(gid=gid) for group in groups)
    if is_open:  # of a name only the image knows the number
        assert resolve(FakeEngine(), tmp_path, "4000000:4000000", groups=given).user == "4000000:4000000"
    else:
        with pytest.raises(PipelineDirError, match="can't read it"):
            resolve(FakeEngine(), tmp_path, "4000000:4000000", groups=given)


def test_a_directory_that_this_process_cannot_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PipelineDirError, match="cannot be read by this process"):
        resolve(FakeEngine(), tmp_path)


@pytest.mark.parametrize(
    ("names", "is_refused"),
    [
        (["system.posix_acl_access"], False),
        (["system.nfs4_acl", "user.x"], False),
        (["system.posix_acl_default"], True),
    ],
)
def test_with_an_access_list_the_kernel_decides(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    names: list[str],
    is_refused: bool,  # noqa: FBT001 - pytest's
) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setattr(os, "listxattr", lambda _: names)
    if is_refused:
        with pytest.raises(PipelineDirError, match="can't read it"):
            resolve(FakeEngine(), tmp_path, "4000000:4000000")
    else:
        assert resolve(FakeEngine(), tmp_path, "4000000:4000000").user == "4000000:4000000"


def test_without_access_lists_the_mode_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: object) -> list[str]:
        raise OSError

    tmp_path.chmod(0o700)
    monkeypatch.setattr(os, "listxattr", unknown)
    with pytest.raises(PipelineDirError, match="can't read it"):
        resolve(FakeEngine(), tmp_path, "4000000:4000000")
    monkeypatch.delattr(os, "listxattr")
    with pytest.raises(PipelineDirError, match="can't read it"):
        resolve(FakeEngine(), tmp_path, "4000000:4000000")


@pytest.fixture
def of_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that seems to be root's, as all folders on its path do."""
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o755)
    look = os.fstat

    def pretend(descriptor: int) -> os.stat_result:
        status = look(descriptor)
        return os.stat_result((*status[:4], 0, 0, *status[6:]))

    monkeypatch.setattr(os, "fstat", pretend)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return folder


def test_root_chooses_root_for_a_directory_of_root(of_root: Path) -> None:
    assert resolve(FakeEngine(), of_root).user == "0:0"


def test_who_is_not_root_must_say_root(of_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(PipelineDirError, match="belongs to root, and this process does not run as root") as caught:
        resolve(FakeEngine(), of_root)
    assert 'start with user="0:0"' in caught.value.hint
    assert caught.value.path == str(of_root)
    assert resolve(FakeEngine(), of_root, "0:0").user == "0:0"
    assert resolve(FakeEngine(), of_root, 0).user == "0:0"


ROOTLESS, REMAPPED = replace(DOCKER, rootless=True), replace(DOCKER, remapped=True)
UNTOLD = replace(DOCKER, rootless=None, remapped=None)
MAPPING = pytest.mark.parametrize("traits", [ROOTLESS, REMAPPED, UNTOLD], ids=["rootless", "remapped", "untold"])


def mapping(seen: str, traits: EngineTraits = ROOTLESS, **options: Any) -> FakeEngine:
    """An engine whose containers see this owner."""
    engine = FakeEngine(traits=traits, **options)
    engine.log = f"directory 1:2 {seen}\n"

    def look(container: str) -> None:
        source = Path(list(engine.configs.values())[-1].mounts[0].source)
        if traits.same_kernel and source.exists():
            status = source.stat()
            engine.log = re.sub(r"\d+:\d+ ", f"{status.st_dev}:{status.st_ino} ", engine.log, count=1)
        engine.end(container)

    engine.on_start = look
    return engine


def test_where_the_engine_maps_ids_nobody_is_root_of_the_host(of_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for traits in (ROOTLESS, REMAPPED):
        assert resolve(mapping("0:0", traits), of_root).user == "0:0"
    with pytest.raises(PipelineDirError, match="belongs to root"):
        resolve(mapping("0:0", UNTOLD), of_root)


@MAPPING
def test_where_the_engine_maps_ids_the_owner_is_the_one_that_it_sees(tmp_path: Path, traits: EngineTraits) -> None:
    engine = mapping("7:8", traits)
    assert resolve(engine, tmp_path) == PipelineDir(path=tmp_path, user="7:8", identity=identity_of(tmp_path))
    (config,) = engine.configs.values()
    assert (config.image, config.mounts[0].source, config.mounts[0].read_only) == ("image", str(tmp_path), True)
    assert engine.known == {}


@pytest.mark.parametrize(
    ("user", "text", "looks"), [("9", "9:8", 1), (0, "0:8", 1), ("9:9", "9:9", 0), ("jovyan", "jovyan", 0)]
)
@MAPPING
def test_where_the_engine_maps_ids_a_given_user_is_one_of_its_own(
    tmp_path: Path, traits: EngineTraits, user: str | int, text: str, looks: int
) -> None:
    """So the mode of the host does not decide."""
    tmp_path.chmod(0o700)
    engine = mapping("7:8", traits)
    assert resolve(engine, tmp_path, user).user == text
    assert len(engine.configs) == looks


@MAPPING
def test_where_the_engine_maps_ids_the_look_must_see_the_same_directory(tmp_path: Path, traits: EngineTraits) -> None:
    engine = FakeEngine(traits=traits)
    engine.log = "directory 1:2 0:0\n"
    engine.on_start = engine.end
    found = EngineAddress(engine)
    with pytest.raises(PipelineDirError, match="is not the directory that a container sees"):
        resolve_pipeline_dir(engine, found, tmp_path, None, image="image", rules=DirectoryRules())
    assert found.ids_inside == {}
    # A sandbox with a kernel of its own has other numbers.
    engine.traits = replace(traits, runtime="runsc")
    assert resolve(engine, tmp_path, None).user == "0:0"


def test_a_look_needs_stat(tmp_path: Path) -> None:
    engine = mapping("7:8")
    engine.fail("start", refusal(400, 'exec: "stat": executable file not found in $PATH'))
    with pytest.raises(EngineError, match="image image has no `stat`"):
        resolve(engine, tmp_path, None)


@MAPPING
def test_where_the_engine_maps_ids_it_is_asked_once_for_each_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, traits: EngineTraits
) -> None:
    engine, images = mapping("7:8", traits), []
    found = EngineAddress(engine)

    def find_image() -> str:
        images.append(1)
        return "image"

    def again() -> str:
        return resolve_pipeline_dir(engine, found, tmp_path, None, image=find_image, rules=DirectoryRules()).user

    assert [again(), again()] == ["7:8", "7:8"]
    assert (len(engine.configs), images) == (1, [1])
    look = os.fstat

    def pretend(descriptor: int) -> os.stat_result:
        status = look(descriptor)
        return os.stat_result((*status[:5], status.st_gid + 1, *status[6:]))

    monkeypatch.setattr(os, "fstat", pretend)
    engine.log = "directory 1:2 7:9"
    assert [again(), again()] == ["7:9", "7:9"]
    assert len(engine.configs) == 2


@MAPPING
def test_an_owner_whom_the_engine_does_not_have(tmp_path: Path, traits: EngineTraits) -> None:
    engine = mapping("65534:65534", traits)
    with pytest.raises(PipelineDirError, match="a user whom the engine's user namespace does not have") as caught:
        resolve(engine, tmp_path)
    assert f"`chown` {tmp_path}" in caught.value.hint
    assert "user=" in caught.value.hint
    assert caught.value.path == str(tmp_path)
    assert resolve(engine, tmp_path, "5:6").user == "5:6"


@pytest.mark.parametrize(("user", "text"), [(None, "7:7"), ("5", "5:5")])
@MAPPING
def test_a_group_that_the_engine_does_not_have_is_told(
    tmp_path: Path, traits: EngineTraits, user: str | None, text: str
) -> None:
    found = resolve(mapping("7:65534", traits), tmp_path, user)
    assert found.user == text
    assert "does not have the group" in found.warning
    assert f"has group {text[0]} there" in found.warning


def test_the_owners_own_mode_counts_where_the_engine_maps_ids(tmp_path: Path) -> None:
    tmp_path.chmod(0o377)
    if not os.access(tmp_path, os.R_OK | os.X_OK):
        pytest.skip("only root may read it")
    engine = mapping("7:8")
    with pytest.raises(PipelineDirError, match="has mode 0377"):
        resolve(engine, tmp_path)
    assert engine.configs == {}


def test_an_engine_that_maps_ids_and_has_another_kernel(tmp_path: Path) -> None:
    engine = mapping("7:8", replace(ROOTLESS, same_kernel=False))
    found = resolve(engine, tmp_path)
    assert (found.identity, found.user) == ("1:2", "7:8")
    assert len(engine.configs) == 1


def test_a_remote_engine_that_maps_ids() -> None:
    engine = mapping("65534:65534", endpoint=REMOTE)
    with pytest.raises(PipelineDirError, match="does not have"):
        resolve(engine, "/far/one")
    found = resolve(mapping("7:65534", endpoint=REMOTE), "/far/one")
    assert (found.user, bool(found.warning)) == ("7:7", True)


def test_without_its_image_no_look_tells_of_the_directory() -> None:
    engine = looking("directory 1:2 0:0")
    engine.images.known.clear()
    engine.fail("create", refusal(404, "no such image"))
    with pytest.raises(EngineError, match="no such image") as caught:
        resolve(engine, "/far/one")
    assert not isinstance(caught.value, PipelineDirError)


def test_root_is_not_chosen_over_a_link_of_somebody_else(of_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    walked = walk(of_root)
    link = Link(Path("/home/alice/link"), "real", 1000, 1000, "8:1")
    monkeypatch.setattr(pipeline_dir, "walk", lambda _: replace(walked, links=(link,)))
    with pytest.raises(PipelineDirError, match="belongs to root, and /home/alice/link is a link of uid 1000"):
        resolve(FakeEngine(), of_root)
    assert resolve(FakeEngine(), of_root, "0:0").user == "0:0"


@pytest.mark.parametrize(
    ("changed", "mode", "owner", "seen"),
    [
        (0, 0o755, (4001, 0), "belongs to uid 4001"),
        (0, 0o700, (4001, 4001), "belongs to uid 4001"),
        (0, 0o1777, (4001, 0), "belongs to uid 4001"),
        (0, 0o777, (0, 0), "everybody may write to"),
        (0, 0o775, (0, 50), "others may write to"),
        (0, 0o757, (0, 0), "everybody may write to"),
        (1, 0o777, (0, 0), "everybody may write to"),
        (1, 0o1777, (0, 0), "everybody may write to"),
        (1, 0o2775, (0, 50), "others may write to"),
        (0, 0o1777, (0, 0), None),
        (0, 0o1775, (0, 50), None),
        (0, 0o775, (0, 0), None),
        (0, 0o755, (0, 50), None),
        (1, 0o775, (0, 0), None),
        (1, 0o750, (0, 50), None),
    ],
)
def test_root_in_a_folder_of_others_is_told(
    of_root: Path, monkeypatch: pytest.MonkeyPatch, changed: int, mode: int, owner: tuple[int, int], seen: str | None
) -> None:
    """0: the folder that holds the directory; 1: the directory."""
    walked = walk(of_root)
    steps = list(walked.steps)
    at = len(steps) - 2 + changed
    status = steps[at].status
    steps[at] = Step(steps[at].path, os.stat_result((stat.S_IFDIR | mode, *status[1:4], *owner, *status[6:])))
    monkeypatch.setattr(pipeline_dir, "walk", lambda _: replace(walked, steps=tuple(steps)))
    found = resolve(FakeEngine(), of_root)
    assert found.user == "0:0"
    if seen is None:
        assert found.warning == ""
        return
    assert "the server runs as root" in found.warning
    assert f"{steps[at].path} {seen}" in found.warning or f"{seen} {steps[at].path}" in found.warning
    assert resolve(FakeEngine(), of_root, "0:0").warning == ""


def test_an_access_list_may_let_others_write(of_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is one, the bits of the group are the most that it gives to anyone."""
    monkeypatch.setattr(os, "listxattr", lambda path: ["system.posix_acl_access"] * (Path(path) == of_root))
    assert resolve(FakeEngine(), of_root).warning == ""
    of_root.chmod(0o775)
    assert "or an access list" in resolve(FakeEngine(), of_root).warning


def test_with_a_remote_engine_the_look_decides_whether_root_is_chosen() -> None:
    assert resolve(looking("directory 1:2 0:0"), "/far/one").user == "0:0"


@pytest.mark.parametrize(
    "given", ["/etc", "//etc/x", "/home", "/var/lib/docker/x", "/run/docker", "/proc/1/root/srv", "/dev/x"]
)
def test_with_a_remote_engine_its_folders_are_refused_by_their_names(given: str) -> None:
    engine = looking("directory 1:2 0:0")
    with pytest.raises(PipelineDirError, match=r"where the|holds"):
        resolve(engine, given)
    assert engine.known == {}


def test_a_file_system_of_the_kernels_is_no_pipeline_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mountinfo, "read_mountinfo", lambda: f"1 0 0:21 / {tmp_path} rw - proc proc rw")
    with pytest.raises(PipelineDirError, match="a file system of the kernel's own"):
        resolve(FakeEngine(), tmp_path, "0:0")


def test_in_a_container_it_is_the_path_on_the_engines_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    engine = inside(monkeypatch, {str(tmp_path): "/host/outer", str(tmp_path / "a"): "/host/inner"})
    found = resolve(engine, folder)
    assert (found.path, found.identity) == (Path("/host/inner/b"), identity_of(folder))


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


@pytest.mark.parametrize(
    ("user", "expected"), [(None, "1234:5"), ("7:8", "7:8"), (0, "0:5"), ("7", "7:5"), ("jovyan", "jovyan")]
)
def test_with_a_remote_engine_a_container_looks_at_the_directory(user: str | int | None, expected: str) -> None:
    engine = looking("directory 2049:131 1234:5\n")
    found = resolve(engine, "/far//pipelines/../one/", user)
    assert found == PipelineDir(path=Path("/far/one"), user=expected, identity="2049:131")
    ((name, config),) = engine.configs.items()
    assert name.startswith("jupyter-launcher-look.")
    assert (config.image, config.mounts[0].source, config.mounts[0].target) == ("image", "/far/one", LOOK_TARGET)
    assert engine.known == {}


def test_with_a_remote_engine_of_sandboxes_it_is_not_known_which_directory_it_is() -> None:
    engine = looking("directory 2049:131 1234:5\n")
    engine.traits = replace(DOCKER, runtime="runsc")
    assert resolve(engine, "/far/one").identity is None


@pytest.mark.parametrize("given", [5, None, b"/far", "/far\udcff"])
def test_with_a_remote_engine_what_is_no_path_at_all(given: Any) -> None:
    engine = looking("directory 1:2 0:0")
    with pytest.raises(PipelineDirError, match="pipeline dir"):
        resolve(engine, given)
    assert engine.calls == []


@pytest.mark.parametrize("given", ["relative", "/", "/a/..", "/a\0b"])
def test_with_a_remote_engine_the_path_is_absolute(given: str) -> None:
    engine = looking("directory 1:2 0:0")
    with pytest.raises(PipelineDirError, match=r"would be on the engine's host 10\.0\.0\.7"):
        resolve(engine, given)
    assert engine.calls == []


@pytest.mark.parametrize("seen", ["regular file 1:2 0:0\n", "", "stat: not found\n", "directory 1:2 0:?"])
def test_with_a_remote_engine_something_else_is_refused(seen: str) -> None:
    engine = looking(seen)
    with pytest.raises(PipelineDirError, match="is no directory on the engine's host") as caught:
        resolve(engine, "/far/one")
    assert caught.value.path == "/far/one"
    assert engine.known == {}


@pytest.mark.parametrize("status", [400, 404])
def test_with_a_remote_engine_a_path_that_cannot_be_mounted(status: int) -> None:
    engine = looking("directory 1:2 0:0")
    engine.fail("start", refusal(status, "bind source path does not exist"))
    with pytest.raises(PipelineDirError, match="bind source path does not exist"):
        resolve(engine, "/far/one")
    assert engine.known == {}


def test_with_a_remote_engine_its_own_failure_is_not_the_directorys() -> None:
    engine = looking("directory 1:2 0:0")
    engine.fail("start", refusal(500, "disk full"))
    with pytest.raises(EngineError, match="disk full"):
        resolve(engine, "/far/one")
