"""Mounts beside the pipeline: where they may be, and which of their mount points must be there already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import Mount, OptionError, Volume
from jupyter_launcher.engine.types import BindMount
from jupyter_launcher.spec.mounts import (
    DIRECTORY,
    LINK,
    NOTHING,
    MountPoint,
    check_home,
    check_mount_point,
    check_mounts,
    check_tmpfs,
    find_mount_points,
    refuse_tmpfs_targets,
    to_bind,
)
from tests.unit.fakes import session_spec

FILE = "regular file"
POINT = MountPoint(mount=Mount(source="/a", target="/pipeline-dir/x/y"), outer="/pipelines/one", steps=("x", "y"))


def at(target: str) -> tuple[Mount, ...]:
    return check_mounts([Mount(source="/a", target=target)], "mounts")


def test_mounts_may_lie_below_one_another() -> None:
    mounts = (Mount(source="/a", target="/x"), Mount(source="/b", target="/x/y", read_only=True))
    assert check_mounts(mounts, "mounts") == mounts


def test_mounts_may_name_their_places_by_paths() -> None:
    given: Any = Mount(source=Path("/a"), target=Path("/x"))  # type: ignore[arg-type] # as a caller may
    assert check_mounts([given], "mounts") == (Mount(source="/a", target="/x"),)


@pytest.mark.parametrize(
    ("given", "plain"), [("/x/", "/x"), ("//x", "/x"), ("/x/../y", "/y"), ("/x//y/.", "/x/y"), ("/..//x", "/x")]
)
def test_targets_are_spelled_one_way(given: str, plain: str) -> None:
    assert at(given)[0].target == plain


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "//",
        "/x/..",
        "/pipeline-dir",
        "//pipeline-dir/",
        "/run",
        "/run/jupyter-launcher",
        "/run/jupyter-launcher/x",
        "/x/../run/jupyter-launcher",
        "/var/run",
        "/var/run/jupyter-launcher",
        "/etc",
        "/sbin",
        "/usr",
        "/usr/sbin",
        "/proc",
        "/proc/1",
        "/sys",
        "/sys/fs/cgroup",
        "/dev",
        "/dev/log",
    ],
)
def test_targets_that_are_taken(target: str) -> None:
    with pytest.raises(OptionError, match="mounts has the target") as caught:
        at(target)
    assert caught.value.option == "mounts"


@pytest.mark.parametrize(
    "target",
    [
        "/dev/shm",  # noqa: S108 - in the container
        "/dev/shm/x",  # noqa: S108
        "/run/secrets",
        "/run/jupyter",
        "/etc/ssl",
        "/usr/local",
        "/tmp",  # noqa: S108
        "/var",
        "/pipeline-dir/x",
    ],
)
def test_targets_that_are_free(target: str) -> None:
    assert at(target)[0].target == target


@pytest.mark.parametrize(
    "mount",
    [
        Mount(source="/a", target=5),  # type: ignore[arg-type]
        Mount(source=None, target="/x"),  # type: ignore[arg-type]
        Mount(source=b"/a", target="/x"),  # type: ignore[arg-type]
        Mount(source="/a", target="/x", read_only="no"),  # type: ignore[arg-type]
        Mount(source="/a\0", target="/x"),
        Mount(source="/a", target="/x\udcff"),
        Mount(source="", target="/x"),
        Mount(source="/a", target=""),
        "/a:/x",
        None,
    ],
)
def test_what_is_no_mount(mount: Any) -> None:
    with pytest.raises(OptionError, match="mounts has ") as caught:
        check_mounts([mount], "mounts")
    assert caught.value.option == "mounts"
    str(caught.value).encode()


@pytest.mark.parametrize("given", ["/a:/x", b"/a", 5, None, Mount(source="/a", target="/x")])
def test_what_are_no_mounts(given: Any) -> None:
    with pytest.raises(OptionError, match="mounts has"):
        check_mounts(given, "mounts")


def test_mount_points_inside_the_pipeline_and_inside_other_mounts() -> None:
    inner = Mount(source="/i", target="/pipeline-dir/data/raw")
    middle = Mount(source="/m", target="/pipeline-dir/data")
    beside = Mount(source="/b", target="/models")
    below = Mount(source="/c", target="/models/a/b")
    like = Mount(source="/l", target="/models-2")
    assert find_mount_points(Path("/pipelines/one"), [inner, middle, beside, below, like]) == (
        MountPoint(mount=inner, outer="/m", steps=("raw",)),
        MountPoint(mount=middle, outer="/pipelines/one", steps=("data",)),
        MountPoint(mount=below, outer="/b", steps=("a", "b")),
    )


def test_the_path_of_a_mount_point_on_the_host() -> None:
    assert POINT.path == "/pipelines/one/x/y"


@pytest.mark.parametrize(
    ("source", "steps"),
    [(DIRECTORY, [DIRECTORY, DIRECTORY]), (FILE, [DIRECTORY, FILE]), ("socket", [DIRECTORY, "regular empty file"])],
)
def test_mount_points_that_are_there(source: str, steps: list[str]) -> None:
    check_mount_point(POINT, source, steps)


@pytest.mark.parametrize(
    ("source", "steps", "seen"),
    [
        (DIRECTORY, [DIRECTORY, NOTHING], "no directory at /pipelines/one/x/y"),
        (DIRECTORY, [NOTHING, NOTHING], "no directory at /pipelines/one/x/y"),
        (DIRECTORY, [DIRECTORY, FILE], "no directory at /pipelines/one/x/y"),
        (DIRECTORY, [FILE, NOTHING], "no directory at /pipelines/one/x/y"),
        (FILE, [DIRECTORY, DIRECTORY], "no file at /pipelines/one/x/y"),
        (FILE, [DIRECTORY, NOTHING], "no file at /pipelines/one/x/y"),
        (DIRECTORY, [DIRECTORY, LINK], "a link on its way"),
        (DIRECTORY, [LINK, DIRECTORY], "a link on its way"),
    ],
)
def test_mount_points_that_the_engine_would_make(source: str, steps: list[str], seen: str) -> None:
    with pytest.raises(OptionError, match=seen) as caught:
        check_mount_point(POINT, source, steps)
    assert caught.value.option == "mounts"
    assert "/pipeline-dir/x/y" in caught.value.message


@pytest.mark.parametrize("relabel", ["x", "", True, ["z"]])
def test_what_is_no_relabel(relabel: Any) -> None:
    with pytest.raises(OptionError, match="has the relabel") as caught:
        check_mounts([Mount(source="/a", target="/x", relabel=relabel)], "mounts")
    assert "'z', 'Z'" in caught.value.hint


@pytest.mark.parametrize(("source", "target"), [("/a:b", "/x"), ("/a", "/x:y")])
def test_a_relabel_needs_paths_without_a_colon(source: str, target: str) -> None:
    assert check_mounts([Mount(source=source, target=target)], "mounts")
    with pytest.raises(OptionError, match="for a path with ':'"):
        check_mounts([Mount(source=source, target=target, relabel="z")], "mounts")


VOLUME = Mount(type="volume", source="cache-1", target="/v")


def test_volumes_and_propagations() -> None:
    slave = Mount(source="/a", target="/b", propagation="rslave")
    assert check_mounts([VOLUME, slave], "mounts") == (VOLUME, slave)
    assert to_bind(VOLUME) == BindMount(source="cache-1", target="/v", type="volume")
    assert to_bind(slave).to_short_form() == "/a:/b:rw,rslave"


@pytest.mark.parametrize(
    ("mount", "seen"),
    [
        (Mount(type="tmpfs", source="a1", target="/v"), "type 'tmpfs'"),  # type: ignore[arg-type]
        (Mount(type=5, source="a1", target="/v"), "type 5"),  # type: ignore[arg-type]
        (Mount(type="volume", source="/a", target="/v"), "Mount"),
        (Mount(type="volume", source="a", target="/v"), "Mount"),
        (Mount(type="volume", source="a:b", target="/v"), "Mount"),
        (Mount(type="volume", source="a1", target="v"), "Mount"),
        (Mount(type="volume", source="a1", target="/v", propagation="rslave"), "propagation 'rslave' for a volume"),
        (Mount(source="a1", target="/v"), "Mount"),
        (Mount(source="/a", target="/v", propagation="ro"), "propagation 'ro'"),  # type: ignore[arg-type]
        (Mount(source="/a", target="/v", propagation=[]), "propagation"),  # type: ignore[arg-type]
    ],
)
def test_volumes_and_propagations_that_cannot_be(mount: Mount, seen: str) -> None:
    with pytest.raises(OptionError, match=f"mounts has .*{seen}"):
        check_mounts([mount], "mounts")


def test_nothing_is_mounted_inside_of_a_volume() -> None:
    with pytest.raises(OptionError, match="mounts has the target '/v/x', which lies in a volume"):
        check_mounts([VOLUME, Mount(source="/a", target="/v/x")], "mounts")


def test_file_systems_in_memory() -> None:
    given = {"/tmp/": "1g", "/scratch": 4096}  # noqa: S108 - in the container
    assert check_tmpfs(given, "tmpfs") == {"/scratch": 4096, "/tmp": 2**30}  # noqa: S108
    assert check_tmpfs(None, "tmpfs") == {}


@pytest.mark.parametrize(
    "given",
    [
        "/scratch",
        ["/scratch"],
        {"/scratch": None},
        {"/scratch": 0},
        {"/scratch": "much"},
        {"scratch": "1g"},
        {5: "1g"},
        {"/a:b": "1g"},
        {"/a,exec": "1g"},
        {"/": "1g"},
        {"/run": "1g"},
        {"/dev/shm": "1g"},  # noqa: S108
        {"/pipeline-dir/x": "1g"},
        {"/proc": "1g"},
    ],
)
def test_file_systems_in_memory_that_cannot_be(given: Any) -> None:
    with pytest.raises(OptionError, match=r"^tmpfs ") as caught:
        check_tmpfs(given, "tmpfs")
    assert caught.value.option == "tmpfs"


def test_a_file_system_in_memory_lies_in_no_mount() -> None:
    refuse_tmpfs_targets(["/a", "/bb"], [Mount(source="/x", target="/b"), Mount(source="/x", target="/a/x")])
    for path in ("/b", "/b/c"):
        with pytest.raises(OptionError, match=f"tmpfs has {path}, where one of mounts is"):
            session_spec(tmpfs={path: "1m"}, mounts=[Mount(source="/x", target="/b")])


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        (None, None),
        ("/srv//homes/./alice/", "/srv/homes/alice"),
        (Path("/srv/alice"), "/srv/alice"),
        (Volume("alice"), Volume("alice")),
    ],
)
def test_homes(given: Any, plain: str | Volume | None) -> None:
    assert check_home(given, "home") == plain


@pytest.mark.parametrize("given", ["", "relative", "~/home", "volume:alice", b"/x", "/a\0b", 7, ["/x"]])
def test_what_is_no_home(given: Any) -> None:
    with pytest.raises(OptionError, match=r"absolute path of the engine's host, or Volume\('NAME'\)") as caught:
        check_home(given, "home")
    assert caught.value.option == "home"


def test_nothing_takes_the_place_of_a_home() -> None:
    with pytest.raises(OptionError, match="where home= is mounted"):
        session_spec(home="/srv/alice", mounts=[Mount(source="/a", target="/home/jupyter-launcher/")])
    with pytest.raises(OptionError, match="environment sets HOME"):
        session_spec(home="/srv/alice", environment={"HOME": "/x"})
    assert session_spec(environment={"HOME": "/x"}).home is None
    for path in ("/home/jupyter-launcher", "/home/jupyter-launcher/.cache"):
        with pytest.raises(OptionError, match=f"tmpfs has {path}, where home= is mounted"):
            session_spec(home="/srv/alice", tmpfs={path: "1m"})
    assert session_spec(home="/srv/alice", tmpfs={"/home": "1m"}).tmpfs == {"/home": 2**20}
    with pytest.raises(OptionError, match="a volume around /home/jupyter-launcher"):
        session_spec(home="/srv/alice", mounts=[Mount(type="volume", source="homes", target="/home")])


def test_a_home_is_a_mount_like_others() -> None:
    inside, around = Mount(source="/a", target="/home/jupyter-launcher/a"), Mount(source="/b", target="/home")
    assert find_mount_points(Path("/p"), [inside], Volume("alice")) == (
        MountPoint(mount=inside, outer="volume:alice", steps=("a",)),
    )
    (point,) = find_mount_points(Path("/p"), [around], "/srv/alice")
    assert (point.path, point.mount.source) == ("/b/jupyter-launcher", "/srv/alice")
