"""Roots, folders of the system, and links on a path."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import OptionError, PipelineDirError
from jupyter_launcher.host import address, mountinfo
from jupyter_launcher.host.address import EngineAddress
from jupyter_launcher.host.links import Link, Walk
from jupyter_launcher.host.rules import check_folder, check_kernel, check_links, check_roots, parse_roots
from jupyter_launcher.host.source import Source, View
from tests.unit.fakes import DOCKER, FakeEngine, container

OWN_ID = "0f" * 32
REMOTE = "tcp://10.0.0.7:2376"


@pytest.fixture(autouse=True)
def _outside_of_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "read_mountinfo", lambda: "")


def view(engine: FakeEngine | None = None) -> View:
    return View(EngineAddress(engine or FakeEngine()))


def source(path: str | Path, here: Path | None = None, links: tuple[Link, ...] = ()) -> Source:
    """A pipeline directory; ``here``: as this process sees it."""
    walk = None if here is None else Walk(here, here.stat(), links, ())
    return Source(kind="pipeline dir", path=Path(path), walk=walk)


def check(path: str, here: Path | None = None, **traits: Any) -> None:
    check_kernel(view(), source(path, here))
    check_folder(view(), source(path, here), replace(DOCKER, **traits))


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ("/etc", "is /etc, where the system"),
        ("/etc/ssl/x", "is in /etc, where the system"),
        ("/boot", "is /boot"),
        ("/boot/grub", "is in /boot"),
        ("/proc/1/fd", "is in /proc"),
        ("/sys/kernel", "is in /sys"),
        ("/dev", "is /dev"),
        ("/dev/mapper", "is in /dev"),
        ("/var/lib/docker", "is /var/lib/docker, where the engine"),
        ("/var/lib/docker/overlay2/x", "is in /var/lib/docker, where the engine"),
        ("/var/lib/docker/volumes", "is in /var/lib/docker"),
        ("/var/lib/docker/volumes/one", "is in /var/lib/docker"),
        ("/var/lib/docker/volumes/one/other", "is in /var/lib/docker"),
        ("/", "is /, which holds the files of others"),
        ("/usr", "is /usr, which holds"),
        ("/run", "is /run, which holds"),
        ("/var", "is /var, which holds"),
        ("/var/lib", "is /var/lib, which holds"),
        ("/root", "is /root, which holds"),
        ("/home", "is /home, which holds"),
        ("/tmp", "is /tmp, which holds"),  # noqa: S108
        ("/var/tmp", "is /var/tmp, which holds"),  # noqa: S108
        ("/var/log", "is /var/log, which holds"),
        ("/usr/local", "is /usr/local, which holds"),
        ("/usr/bin", "is /usr/bin, where the system"),
        ("/usr/sbin/x", "is in /usr/sbin, where the system"),
        ("/usr/lib/x", "is in /usr/lib, where the system"),
        ("/usr/lib64", "is /usr/lib64, where the system"),
        ("/bin", "is /bin, where the system"),
        ("/sbin", "is /sbin, where the system"),
        ("/lib", "is /lib, where the system"),
        ("/lib64/x", "is in /lib64, where the system"),
        ("/run/systemd/x", "is in /run/systemd, where the system"),
        ("/var/lib/containerd", "is /var/lib/containerd, where the engine"),
        ("/var/lib/containerd/x/volumes", "is in /var/lib/containerd, where the engine"),
        ("/var/lib/containers/storage/overlay/x", "is in /var/lib/containers, where the engine"),
        ("/var/lib/containers/storage/volumes/x", "is in /var/lib/containers, where the engine"),
        ("/var/lib/docker/overlay2/x/volumes/y/_data", "is in /var/lib/docker, where the engine"),
    ],
)
def test_folders_that_hold_no_pipeline(path: str, seen: str) -> None:
    with pytest.raises(PipelineDirError, match=f"pipeline dir {path} {seen}") as caught:
        check(path)
    assert caught.value.path == path
    assert caught.value.hint.startswith("give the directory that holds the pipeline's files")


@pytest.mark.parametrize(
    "path",
    [
        "/etcetera",
        "/dev/shm/one",  # noqa: S108
        "/usr/local/pipelines",
        "/run/pipelines",
        "/var/pipelines",
        "/var/lib/pipelines",
        "/root/one",
        "/home/me",
        "/tmp/one",  # noqa: S108
        "/var/tmp/one",  # noqa: S108
        "/srv/pipelines/me",
        "/opt/one",
        "/mnt/one",
        "/media/one",
        "/var/log/one",
        "/usr/library",
        "/var/lib/containers/storage/volumes/one/_data",
        "/var/lib/docker/100000.100000/volumes/one/_data/below",
        "/var/lib/docker/volumes/one/_data",
        "/var/lib/docker/volumes/one/_data/below",
    ],
)
def test_folders_that_may_hold_pipelines(path: str) -> None:
    check(path)


def test_the_data_folder_is_the_engines_own() -> None:
    for path, seen in (("/data/engine/x", "in /data/engine"), ("/data", "is /data, which holds")):
        with pytest.raises(PipelineDirError, match=seen):
            check(path, data_root=Path("/data/engine"))
    check("/data/pipelines", data_root=Path("/data/engine"))
    for data in ("/data/engine", "/var/lib/docker/1.1"):  # another engine's, or the same engine's without a map of ids
        for path in ("/var/lib/docker", "/var/lib/docker/x", "/var/lib/containerd/x", "/var/lib/containers/x"):
            with pytest.raises(PipelineDirError, match=r"where the engine has its own files|holds"):
                check(path, data_root=Path(data))
        check("/var/lib/docker/volumes/one/_data", data_root=Path(data))
    check("/var/lib/docker/1.1/volumes/one/_data", data_root=Path("/var/lib/docker/1.1"))
    with pytest.raises(PipelineDirError, match="in /var/lib/docker"):
        check("/var/lib/docker/x", data_root=None)


def test_a_bind_mount_is_what_is_mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a folder within the refused one is mounted, which has another device and inode than that."""
    here = tmp_path.resolve()
    mounts = ["1 0 8:1 / / rw - ext4 x rw", f"2 1 8:1 /etc/ssl {here} rw - ext4 x rw"]
    monkeypatch.setattr(mountinfo, "read_mountinfo", lambda: "\n".join(mounts))
    with pytest.raises(PipelineDirError, match="is in /etc, where the system"):
        check(str(here), here)
    mounts[1] = f"2 1 8:1 /var/lib/docker/volumes/one/_data {here} rw - ext4 x rw"
    check(str(here), here)
    mounts[1] = f"2 1 8:2 /etc/ssl {here} rw - ext4 x rw"
    check(str(here), here)


@pytest.fixture
def mounts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The mounts of this process, which a test adds to."""
    lines = ["1 0 8:1 / / rw - ext4 x rw", "2 1 0:21 / /proc rw - proc proc rw", "3 1 0:22 / /sys rw - sysfs x rw"]
    lines += ["4 1 0:6 / /dev rw - devtmpfs x rw", "5 4 0:23 / /dev/shm rw - tmpfs x rw"]
    monkeypatch.setattr(mountinfo, "read_mountinfo", lambda: "\n".join(lines))
    return lines


@pytest.mark.parametrize(
    ("mounted", "root", "seen"),
    [
        ("8:3 / /boot/efi", "8:3 /", "is in /boot, where the system"),
        ("8:3 /a /boot/efi", "8:3 /a/b", "is in /boot, where the system"),
        ("8:3 /a /boot/efi", "8:3 /b", None),
        ("0:30 / /dev/lock", "0:30 /x", "is in /dev, where the system"),
        ("", "0:23 /", None),
        ("", "0:23 /one", None),
        ("0:70 / /var/lib/docker/overlay2/x/merged", "0:70 /etc", "is in /var/lib/docker, where the engine"),
        ("0:80 / /var/lib/docker/volumes/one/_data", "0:80 /", None),
        ("0:80 /exported /var/lib/docker/volumes/one/_data", "0:80 /exported/alice", None),
        ("8:1 /data/pipelines /var/lib/docker/volumes/one/_data", "8:1 /data/pipelines/alice", None),
        ("0:80 / /var/lib/containers/storage/volumes/one/_data", "0:80 /x", None),
    ],
)
def test_what_is_mounted_beneath_a_folder_is_in_it(
    tmp_path: Path, mounts: list[str], mounted: str, root: str, seen: str | None
) -> None:
    here = tmp_path.resolve()
    mounts += [f"6 1 {mounted} rw - ext4 x rw"] * bool(mounted)
    mounts.append(f"7 1 {root} {here} rw - ext4 x rw")
    if seen is None:
        check(str(here), here)
        return
    with pytest.raises(PipelineDirError, match=seen):
        check(str(here), here)


@pytest.mark.parametrize("kind", ["overlay", "fuse.fuse-overlayfs"])
def test_what_a_container_mounts_is_shown_in_the_engines_folder(tmp_path: Path, mounts: list[str], kind: str) -> None:
    """By engines before Docker 23, while somebody copies a file into the container, as a broker does."""
    here, root = tmp_path.resolve(), "/var/lib/docker/overlay2/x/merged"
    mounts += [f"6 1 0:70 / {root} rw - {kind} x rw", f"7 6 8:1 {here} {root}/pipeline-dir rw - ext4 x rw"]
    check(str(here), here)
    mounts[-1] = f"7 1 8:1 {here} /var/lib/docker/elsewhere rw - ext4 x rw"
    with pytest.raises(PipelineDirError, match="in /var/lib/docker, where the engine"):
        check(str(here), here)


def test_what_is_mounted_beneath_a_linked_folder(tmp_path: Path, mounts: list[str]) -> None:
    folder, real, here = tmp_path / "engine", (tmp_path / "real").resolve(), (tmp_path / "here").resolve()
    real.mkdir()
    here.mkdir()
    folder.symlink_to("real")
    mounts += [f"6 1 0:70 / {real}/merged rw - overlay x rw", f"7 1 0:70 /etc {here} rw - overlay x rw"]
    with pytest.raises(PipelineDirError, match="where the engine has its own files"):
        check(str(here), here, data_root=folder)


def test_a_name_in_shared_memory_helps_nobody(mounts: list[str], tmp_path: Path) -> None:
    mounts.append(f"6 5 8:1 /etc {tmp_path.resolve()} rw - ext4 x rw")
    with pytest.raises(PipelineDirError, match="is /etc, where the system"):
        check("/dev/shm/one", tmp_path)  # noqa: S108


@pytest.mark.parametrize(
    "kind",
    [
        *("proc", "sysfs", "cgroup", "cgroup2", "devtmpfs", "devpts", "mqueue", "debugfs", "tracefs", "securityfs"),
        *("bpf", "configfs", "pstore", "efivarfs", "fusectl", "binfmt_misc"),
    ],
)
def test_the_kernels_file_systems_are_known_by_their_types(tmp_path: Path, mounts: list[str], kind: str) -> None:
    here = tmp_path.resolve()
    (here / "below").mkdir()
    mounts.append(f"6 1 0:90 /part {here}/below rw - {kind} x rw")
    for folder, how in ((here / "below", "is in"), (here, "holds")):
        with pytest.raises(
            PipelineDirError, match=rf"{how} {here}/below, a file system of the kernel's own \({kind}\)"
        ):
            check_kernel(view(), source(folder, folder))
    mounts[-1] = f"6 1 0:90 /part {here}/below rw - tmpfs x rw"
    check_kernel(view(), source(here, here))


def test_without_a_list_of_mounts_devices_and_inodes_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "engine" / "images").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "engine")
    monkeypatch.setattr(mountinfo, "read_mountinfo", lambda: "")
    with pytest.raises(PipelineDirError, match="where the engine has its own files"):
        check("/elsewhere/images", tmp_path / "engine" / "images", data_root=tmp_path / "link")
    with pytest.raises(PipelineDirError, match="where the engine has its own files"):  # a volume by its name alone
        check(f"{tmp_path}/link/volumes/one/_data", tmp_path / "engine" / "images", data_root=tmp_path / "link")


def test_a_folder_that_is_not_there_is_compared_by_its_name(tmp_path: Path) -> None:
    check(str(tmp_path), tmp_path, data_root=Path("/no/such/folder"))


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), RuntimeError("a loop of links")])
def test_a_folder_that_nobody_can_resolve_has_no_place(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> Path:
        raise error

    seen = view()
    monkeypatch.setattr(Path, "resolve", refuse)
    assert seen.find_place(Path("/etc")) is None


def link(owner: int, leads_to: int | None, device: str = "8:1") -> Link:
    return Link(Path("/home/alice/link"), "../there", owner, leads_to, device)


@pytest.mark.parametrize(
    ("owner", "leads_to", "seen"),
    [
        (1000, 0, "the link /home/alice/link of uid 1000, which leads to files of uid 0"),
        (1000, 1001, "leads to files of uid 1001"),
        (1000, None, "leads to nothing that is seen here"),
        (0, 1000, None),
        (0, None, None),
        (1000, 1000, None),
    ],
)
def test_whose_links_are_followed(owner: int, leads_to: int | None, seen: str | None, tmp_path: Path) -> None:
    given = source("/x", tmp_path, (link(0, 0), link(owner, leads_to)))
    if seen is None:
        check_links(view(), given)
        return
    with pytest.raises(PipelineDirError, match=seen) as caught:
        check_links(view(), given)
    assert "../there" in caught.value.hint


def test_links_of_processes_are_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mountinfo, "read_mountinfo", lambda: "1 0 0:21 / /proc rw - proc proc rw")
    with pytest.raises(PipelineDirError, match="leads elsewhere for each process"):
        check_links(view(), source("/x", tmp_path, (link(0, 0, device="0:21"),)))


def test_links_that_this_process_does_not_see_are_not_checked() -> None:
    check_links(view(), source("/x"))


@pytest.mark.parametrize(
    ("path", "is_pipeline", "is_allowed"),
    [
        ("/srv/a/one", True, True),
        ("/data/x/y", True, True),
        ("/srv/a", True, False),
        ("/srv/a", False, True),
        ("/srv/ab", False, False),
        ("/srv", False, False),
        ("/other", True, False),
    ],
)
def test_below_the_roots(path: str, is_pipeline: bool, is_allowed: bool) -> None:  # noqa: FBT001 - pytest's
    roots = (Path("/srv/a"), Path("/data"))
    check_roots(source(path), None, is_pipeline=is_pipeline)
    if is_allowed:
        check_roots(source(path), roots, is_pipeline=is_pipeline)
        return
    with pytest.raises(PipelineDirError, match=r"not below a root of this launcher \(/srv/a, /data\)"):
        check_roots(source(path), roots, is_pipeline=is_pipeline)


def parse(given: Any, engine: FakeEngine | None = None) -> tuple[Path, ...] | None:
    return parse_roots(EngineAddress(engine or FakeEngine()), given)


def test_roots_are_resolved_when_they_are_given(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert parse(None) is None
    assert parse([str(tmp_path / "link"), tmp_path]) == (tmp_path / "real", tmp_path)


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ("/srv", "roots is '/srv'"),
        (Path("/srv"), "roots is "),
        (b"/srv", "roots is "),
        (5, "roots is 5"),
        ([], "roots is empty"),
        (["srv"], "roots has 'srv'"),
        ([5], "roots has 5"),
        (["/a\0b"], "roots has "),
        (["/no/such/folder"], "cannot be used"),
        ([__file__], "is not a directory"),
    ],
)
def test_roots_that_cannot_be(given: Any, seen: str) -> None:
    with pytest.raises(OptionError, match=seen) as caught:
        parse(given)
    assert caught.value.option == "roots"
    assert caught.value.hint


def test_roots_on_the_host_of_a_remote_engine_are_texts() -> None:
    assert parse(["//far/./pipelines/"], FakeEngine(endpoint=REMOTE)) == (Path("/far/pipelines"),)
    with pytest.raises(OptionError, match="give an absolute path"):
        parse(["far"], FakeEngine(endpoint=REMOTE))


def test_roots_of_a_launcher_in_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "read_mountinfo", lambda: f"1 2 3 /x/{OWN_ID}/hostname /etc/hostname rw")
    (tmp_path / "one").mkdir()
    engine = FakeEngine(container(id=OWN_ID, mounts={str(tmp_path): "/srv/pipelines"}))
    assert parse([tmp_path / "one"], engine) == (Path("/srv/pipelines/one"),)
    with pytest.raises(OptionError, match="in the file system of this process's own container"):
        parse(["/usr"], engine)
