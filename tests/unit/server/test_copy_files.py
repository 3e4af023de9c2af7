"""The tar streams of uploads and downloads: both sides, and what a session may send in place of one."""

from __future__ import annotations

import errno
import io
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_launcher.server.inside.copy_files import DEEPEST, CopyError, pack, unpack
from jupyter_launcher.spec.server import read_script

Member = tuple[tarfile.TarInfo, bytes]


def packed(path: Path) -> bytes:
    return b"".join(pack(str(path)))


def unpacked(data: bytes, target: Path, *, links_out: bool = False) -> Path:
    unpack(io.BytesIO(data).read, str(target), links_out=links_out)
    return target


def listing(folder: Path) -> dict[str, object]:
    """Everything in a folder: a file's content, a link's target, and modes and times."""
    found: dict[str, object] = {}
    for path in [folder, *folder.rglob("*")]:
        status = path.lstat()
        name = str(path.relative_to(folder))
        content: object = (
            str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else "folder"
        )
        found[name] = (content, None if path.is_symlink() else (stat.S_IMODE(status.st_mode), int(status.st_mtime)))
    return found


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "sub" / ("n" * 200) / ("m" * 200)).mkdir(parents=True)
    (folder / "sub" / "ä\n").write_bytes(b"x" * 70_001)
    (folder / "sub" / "program").write_text("#!/bin/sh\n")
    (folder / "sub" / "program").chmod(0o4755)
    (folder / "empty").touch()
    os.utime(folder / "empty", (10, 10))
    (folder / "link").symlink_to("sub/ä\n")
    (folder / "sub" / "up").symlink_to("../empty")
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff")).touch()
    (folder / "closed").mkdir(0o500)
    return folder


def test_what_was_packed_is_unpacked(source: Path, tmp_path: Path) -> None:
    before = listing(source)
    before["sub/program"] = (b"#!/bin/sh\n", (0o755, before["sub/program"][1][1]))  # type: ignore[index] # without setuid
    target = unpacked(packed(source), tmp_path / "new" / "parents" / "target")
    assert listing(target) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "source"]


def test_a_file_is_replaced_and_a_folder_is_filled(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    (target / "sub").mkdir(parents=True)
    (target / "sub" / "stays").touch()
    (target / "empty").write_text("old")
    unpacked(packed(source), target)
    assert (target / "sub" / "stays").exists()
    assert (target / "empty").read_text() == ""
    unpacked(packed(source / "sub" / "program"), target / "empty")
    assert (target / "empty").read_text() == "#!/bin/sh\n"
    assert [path.name for path in target.rglob(".jupyter-launcher*")] == []


def test_links_at_the_top_are_followed(source: Path, tmp_path: Path) -> None:
    (tmp_path / "here").symlink_to(source)
    (tmp_path / "there").mkdir()
    (tmp_path / "over").symlink_to("there")
    assert (unpacked(packed(tmp_path / "here"), tmp_path / "over") / "empty").exists()
    assert (tmp_path / "over").is_symlink()
    assert (unpacked(packed(source / "link"), tmp_path / "file")).read_bytes() == b"x" * 70_001


@pytest.mark.parametrize(
    ("comes", "there", "told"),
    [
        ("source", "file", "a folder comes for .*/file, which is no folder"),
        ("source/empty", "folder", "a file or a link comes for .*/folder, which is a folder"),
        ("source", "clash", "a folder comes for .*/clash/sub, which is no folder"),
    ],
)
def test_a_file_and_a_folder_do_not_replace_each_other(
    source: Path, tmp_path: Path, comes: str, there: str, told: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "clash").mkdir()
    (tmp_path / "clash" / "sub").symlink_to(tmp_path / "folder")
    before = listing(tmp_path)
    with pytest.raises(CopyError, match=told):
        unpacked(packed(tmp_path / comes), tmp_path / there)
    after = listing(tmp_path)
    assert {name: value[0] for name, value in after.items()} == {  # type: ignore[index]
        name: value[0]  # type: ignore[index]
        for name, value in before.items()
    }


def test_another_file_system_below_the_target(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Renames fail but for those within one folder."""
    rename = os.rename

    def rename_within(*names: bytes, src_dir_fd: int, dst_dir_fd: int) -> None:
        if not os.path.samestat(os.stat("..", dir_fd=src_dir_fd), os.stat(dst_dir_fd)):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(*names, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr("os.rename", rename_within)
    (tmp_path / "other").mkdir()
    (tmp_path / "target" / "sub").mkdir(parents=True)
    (tmp_path / "target" / "sub" / "program").symlink_to(tmp_path / "other")
    target = unpacked(packed(source), tmp_path / "target")
    assert list((tmp_path / "other").iterdir()) == []
    found, before = listing(target), listing(source)
    assert {name: found[name] for name in ("sub/up", "sub/ä\n", "closed")} == {
        name: before[name] for name in ("sub/up", "sub/ä\n", "closed")
    }
    assert (target / "sub" / "program").read_text() == "#!/bin/sh\n"
    assert not list(tmp_path.rglob(".jupyter-launcher*"))


def test_what_is_no_file_is_refused_by_its_name(source: Path) -> None:
    os.mkfifo(source / "sub" / "pipe")
    with pytest.raises(CopyError, match="/source/sub/pipe is neither a file, nor a folder, nor a link"):
        packed(source)


def test_a_file_that_becomes_shorter_is_refused(source: Path) -> None:
    (source / "empty").write_bytes(b"x" * 100_000)
    pieces = pack(str(source / "empty"))
    assert [next(pieces)[:1], next(pieces)[:1]] == [b".", b"x"]
    os.truncate(source / "empty", 10)
    with pytest.raises(CopyError, match="/empty has become shorter while it was read"):
        next(pieces)


def test_what_vanishes_meanwhile_is_left_out(source: Path, tmp_path: Path) -> None:
    pieces = pack(str(source))
    data = next(pieces)
    (source / "empty").unlink()
    target = unpacked(data + b"".join(pieces), tmp_path / "target")
    assert not (target / "empty").exists()
    assert (target / "link").is_symlink()


def test_a_stream_that_is_cut_off_leaves_nothing(source: Path, tmp_path: Path) -> None:
    data = packed(source)
    for size in {*range(0, len(data) - 1024, 8192), *range(len(data) - 4096, len(data) - 1024, 512)}:
        with pytest.raises(CopyError, match=r"cut off|no tar stream"):
            unpacked(data[:size], tmp_path / "target")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


# What a session may do meanwhile, in a folder that it can write to.


def exchange(path: Path, target: Path) -> Path:
    """Put a link in place of a folder, and give the new path of that."""
    away = path.with_name("away")
    path.rename(away)
    path.symlink_to(target)
    return away


def test_a_link_in_place_of_the_new_folder_is_not_followed(source: Path, tmp_path: Path) -> None:
    other, place = tmp_path / "other", tmp_path / "place"
    (other / "item").mkdir(parents=True)
    (other / "item" / "file").write_text("theirs")
    place.mkdir()
    data = io.BytesIO(packed(source))

    def read(size: int) -> bytes:
        for staging in place.glob(".jupyter-launcher-*/item/sub"):
            exchange(staging.parent.parent, other)
        return data.read(min(size, 512))

    before = listing(other)
    unpack(read, str(place / "target"))
    assert listing(other) == before
    assert listing(place / "target").keys() == listing(source).keys()
    assert list((place / "away").iterdir()) == []


def test_a_link_in_place_of_a_folder_that_comes_is_not_followed(source: Path, tmp_path: Path) -> None:
    other, place = tmp_path / "other", tmp_path / "place"
    other.mkdir()
    place.mkdir()
    data = io.BytesIO(packed(source))

    def read(size: int) -> bytes:
        for sub in place.glob(".jupyter-launcher-*/item/sub"):
            if not sub.is_symlink():
                exchange(sub, other)
        return data.read(min(size, 512))

    unpack(read, str(place / "target"))
    assert list(other.iterdir()) == []


def test_a_link_in_place_of_a_folder_that_stays_is_not_followed(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, target = tmp_path / "other", tmp_path / "target"
    other.mkdir()
    (target / "sub").mkdir(parents=True)
    rename = os.rename

    def rename_late(*names: bytes, **fields: Any) -> None:
        if not (target / "sub").is_symlink() and b"sub" not in names:
            monkeypatch.setattr("os.rename", rename)
            exchange(target / "sub", other)
        rename(*names, **fields)

    monkeypatch.setattr("os.rename", rename_late)
    with pytest.raises((OSError, CopyError)):
        unpacked(packed(source), target)
    assert list(other.iterdir()) == []


@pytest.mark.parametrize("changes", ["sub", ".jupyter-launcher-*/item", ".jupyter-launcher-*/item/sub"])
def test_what_becomes_a_link_before_it_is_opened_is_not_followed(
    changes: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, target = tmp_path / "other", tmp_path / "target"
    other.mkdir()
    (target / "sub").mkdir(parents=True)
    real = os.open

    def open_late(path: bytes, *fields: Any, dir_fd: int | None = None) -> int:
        if dir_fd is not None:
            item = Path(f"/proc/self/fd/{dir_fd}").resolve() / os.fsdecode(path)
            if fnmatch(str(item.relative_to(target)), changes) and not item.is_symlink():
                exchange(item, other)
        return real(path, *fields, dir_fd=dir_fd)

    data = packed(source)
    monkeypatch.setattr("os.open", open_late)
    with pytest.raises(NotADirectoryError):
        unpacked(data, target)
    assert list(other.iterdir()) == []


@pytest.mark.parametrize("changes", ["empty", "sub"])
def test_what_becomes_a_link_while_it_is_read_is_not_followed(
    changes: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "secret").write_text("theirs")
    real = os.open

    def open_late(path: bytes, flags: int, **fields: Any) -> int:
        item = source / changes
        if Path(os.fsdecode(path)).name == changes and not item.is_symlink():
            exchange(item, tmp_path / "other" / ("secret" if changes == "empty" else ""))
        return real(path, flags, **fields)

    monkeypatch.setattr("os.open", open_late)
    with pytest.raises((CopyError, OSError), match=f"/source/{changes}"):
        packed(source)


def test_a_file_that_does_not_tell_its_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CopyError, match="/proc/self/status does not tell its size"):
        packed(Path("/proc/self/status"))


def test_the_deepest_folder(tmp_path: Path) -> None:
    (tmp_path / "source" / "/".join("d" * DEEPEST)).mkdir(parents=True)
    for _ in range(2):
        unpacked(packed(tmp_path / "source"), tmp_path / "target")
    assert (tmp_path / "target" / "/".join("d" * DEEPEST)).exists()
    (tmp_path / "source" / "/".join("d" * (DEEPEST + 1))).mkdir()
    with pytest.raises(CopyError, match="/d/d is in more than 256 folders"):
        packed(tmp_path / "source")


@pytest.fixture
def bound() -> Iterator[Path]:
    """A folder of a user whom modes bind: root acts as another."""
    folder, user = Path(tempfile.mkdtemp()), os.geteuid()
    if user == 0:
        os.chown(folder, 65534, -1)
        os.seteuid(65534)
    try:
        yield folder
    finally:
        os.seteuid(user)
        subprocess.run(["chmod", "-R", "u+w", folder], check=True)
        shutil.rmtree(folder)


def test_folders_that_may_not_be_written_to(bound: Path) -> None:
    source, target = bound / "source", bound / "target"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "file").write_text("new")
    (source / "before").write_text("new")
    for folder in (source / "sub", source):
        folder.chmod(0o555)
    for place in (target / "new", target):
        unpacked(packed(source), place)
        assert {name: found for name, found in listing(place).items() if name in listing(source)} == (
            listing(source) if place.name == "new" else {**listing(source), ".": listing(target)["."]}
        )
    (target / "sub" / "file").chmod(0o600)
    (target / "before").write_text("old")
    with pytest.raises(PermissionError) as caught:
        unpacked(packed(source), target)
    assert caught.value.filename == os.fsencode(target / "sub")
    assert (target / "before").read_text() == "old"
    closed = stream(member(".", tarfile.DIRTYPE, mode=0), member("a", tarfile.DIRTYPE, mode=0), member("a/b", mode=0))
    assert stat.S_IMODE((unpacked(closed, bound / "closed") / "a").stat().st_mode) == 0o500


# What a session may send.


def member(name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", **fields: object) -> Member:
    found = tarfile.TarInfo(name)
    found.type, found.size = kind, len(data)
    for field, value in fields.items():
        setattr(found, field, value)
    return found, data


def stream(*members: Member) -> bytes:
    blocks = []
    for found, data in (*members, member("end", b"E")):
        blocks += [found.tobuf(tarfile.PAX_FORMAT), data, b"\0" * (-len(data) % 512)]
    return b"".join([*blocks, b"\0" * 1024])


TOP = member(".", tarfile.DIRTYPE)
FOLDER = member("a", tarfile.DIRTYPE)


def link(name: str, target: str) -> Member:
    return member(name, tarfile.SYMTYPE, linkname=target)


@pytest.mark.parametrize(
    "members",
    [
        [member("/etc/passwd", data=b"x")],
        [TOP, member("/abs")],
        [TOP, member("../out")],
        [TOP, FOLDER, member("a/../../out")],
        [TOP, FOLDER, member("a/..")],
        [TOP, member("a//b")],
        [TOP, member("no/folder")],
        [TOP, FOLDER, member("b"), member("a/late")],
        [TOP, TOP],
        [member("."), member(".")],
        [TOP, member("a"), member("a")],
        [TOP, link("a", "b"), member("a")],
        [TOP, link("a", "/etc"), member("a/x")],
        [TOP, link("a", "."), member("a/x")],
        [link(".", "/etc")],
        [TOP, link("a", "/etc")],
        [TOP, link("a", "..")],
        [TOP, link("a", "")],
        [TOP, FOLDER, link("a/b", "../..")],
        [TOP, link("d", "."), link("x", "d/../etc")],
        [TOP, member("a", tarfile.LNKTYPE, linkname="/etc/passwd")],
        [TOP, member("a", tarfile.LNKTYPE, linkname=".")],
        [TOP, member("a", tarfile.CHRTYPE, devmajor=1, devminor=3)],
        [TOP, member("a", tarfile.BLKTYPE)],
        [TOP, member("a", tarfile.FIFOTYPE)],
        [TOP, member("a", tarfile.CONTTYPE)],
        [TOP, member("a", b"Z")],
        [TOP, member("a", tarfile.GNUTYPE_SPARSE)],
        [TOP, member("a", pax_headers={"GNU.sparse.major": "0", "GNU.sparse.size": "1000000000000"})],
        [TOP, member("a", pax_headers={"size": "-5"})],
        [TOP, member("a", pax_headers={"path": "b\0c"})],
        [TOP, member("a", pax_headers={"comment": "x" * 2**21})],
        [member("g", tarfile.XGLTYPE, data=b"11 a=bcdef\n"), TOP],
        [TOP, member("g", tarfile.XGLTYPE, data=b"11 a=bcdef\n"), member("a")],
        [],
        [TOP, *(member("/".join("d" * depth), tarfile.DIRTYPE) for depth in range(1, 400))],
    ],
)
def test_what_leads_out_or_is_no_file_is_refused_and_leaves_nothing(members: list[Member], tmp_path: Path) -> None:
    with pytest.raises(CopyError, match="what came"):
        unpacked(stream(*members), tmp_path / "target")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", ["b", "./b", "a/b", "a/./b/c"])
def test_links_that_stay_inside_are_kept(target: str, tmp_path: Path) -> None:
    unpacked(stream(TOP, FOLDER, link("a/x", f"../{target}"), link("y", target)), tmp_path / "target")
    assert (tmp_path / "target" / "y").readlink() == Path(target)


def test_rights_and_times_that_nobody_has(tmp_path: Path) -> None:
    strange = member("a", mode=0o7777, pax_headers={"mtime": "1e300"})
    unpacked(stream(TOP, strange, member("b", pax_headers={"mtime": "nan"})), tmp_path / "target")
    assert stat.S_IMODE((tmp_path / "target" / "a").stat().st_mode) == 0o777


def test_many_members_do_not_fill_the_memory(tmp_path: Path) -> None:
    data = stream(TOP, *(member(f"f{number}") for number in range(3000)))
    tracemalloc.start()
    unpacked(data, tmp_path / "target")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20  # an object for each member has about 800 bytes


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 4000), put=st.binary(min_size=1, max_size=20))
def test_a_stream_with_a_fault_is_unpacked_or_refused(at: int, put: bytes, tmp_path: Path) -> None:
    data = stream(TOP, FOLDER, member("a/b", data=b"text"), link("c", "a"))
    spoiled = data[:at] + put + data[at + len(put) :]
    try:
        target = unpacked(spoiled, tmp_path / "target")
    except CopyError:
        pass
    else:
        subprocess.run(["rm", "-rf", target], check=True)
    assert list(tmp_path.iterdir()) == []


# As run_command.py runs it.


def run_text(action: str, path: Path, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    line = [sys.executable, "-I", "-S", "-c", read_script("copy_files.py"), action, str(path)]
    return subprocess.run(line, input=data, capture_output=True, check=False)


def test_the_other_side_sends_and_receives(source: Path, tmp_path: Path) -> None:
    sent = run_text("send", source)
    assert (sent.stdout, sent.returncode, sent.stderr) == (packed(source), 0, b"")
    (source / "out").symlink_to("/etc")
    assert run_text("receive", tmp_path / "target", packed(source)).returncode == 0
    assert (tmp_path / "target" / "out").readlink() == Path("/etc")


@pytest.mark.parametrize(
    ("call", "code", "told"),
    [
        (lambda path: run_text("send", path / "none"), 44, "No such file or directory: "),
        (lambda path: run_text("send", Path("/dev/null")), 45, "/dev/null is neither a file, nor a folder, nor a link"),
        (lambda path: run_text("receive", path / "x", b"x" * 600), 45, "what came is no tar stream"),
        (lambda path: run_text("receive", Path("/proc/x"), packed(path)), 45, ": /proc\n"),
    ],
)
def test_the_other_side_says_what_is_wrong(
    call: Callable[[Path], subprocess.CompletedProcess[bytes]], code: int, told: str, tmp_path: Path
) -> None:
    run = call(tmp_path)
    assert run.returncode == code
    assert told in run.stderr.decode()


def test_the_other_side_leaves_nothing_when_it_is_ended(source: Path, tmp_path: Path) -> None:
    line = [sys.executable, "-I", "-S", "-c", read_script("copy_files.py"), "receive", str(tmp_path / "target")]
    with subprocess.Popen(line, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(packed(source)[:80_000])
        process.stdin.flush()
        while not list(tmp_path.glob(".jupyter-launcher-*/item/*")):
            assert process.poll() is None
        process.terminate()
        assert process.wait() == 45
        process.stdin.close()
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
