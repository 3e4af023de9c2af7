"""The mounts of this process, from the kernel's list."""

from __future__ import annotations

from pathlib import Path

import pytest

from jupyter_launcher.host import mountinfo
from jupyter_launcher.host.mountinfo import MountTable, Place

TABLE = r"""
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
22 27 0:21 / /proc rw - proc proc rw
25 27 0:23 / /run rw shared:1 master:2 - tmpfs tmpfs rw
30 27 254:0 /etc /srv/a\040b rw - ext4 /dev/vda rw
31 30 0:23 /docker /srv/a\040b/below rw - tmpfs tmpfs rw
32 27 0:30 / /run rw - tmpfs tmpfs rw
nonsense
1 2 3
"""


@pytest.mark.parametrize(
    ("path", "device", "inner"),
    [
        ("/", "254:0", "/"),
        ("/home/me", "254:0", "/home/me"),
        ("/srv/a b", "254:0", "/etc"),
        ("/srv/a b/ssl/x", "254:0", "/etc/ssl/x"),
        ("/srv/a b/below/x", "0:23", "/docker/x"),
        ("/srv/a bc", "254:0", "/srv/a bc"),
        ("/run/x", "0:30", "/x"),
    ],
)
def test_where_a_path_is_in_its_file_system(path: str, device: str, inner: str) -> None:
    """A mount that was made later lies over the one before."""
    assert MountTable(TABLE).find_place(Path(path)) == Place(device, Path(inner))


def test_without_a_list_no_place_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(mountinfo, "_FILE", tmp_path / "none")
    table = MountTable.read()
    assert table.find_place(Path("/etc")) is None
    assert table.find_beneath(Path("/")) == []
    assert not table.is_of_processes("0:21")


def test_what_is_mounted_beneath() -> None:
    found = MountTable(TABLE).find_beneath(Path("/srv"))
    assert [str(mount.point) for mount in found] == ["/srv/a b", "/srv/a b/below"]
    assert [str(mount.point) for mount in MountTable(TABLE).find_beneath(Path("/srv/a b"))] == ["/srv/a b/below"]


def test_which_devices_are_of_processes() -> None:
    assert MountTable(TABLE).is_of_processes("0:21")
    assert not MountTable(TABLE).is_of_processes("254:0")


@pytest.mark.parametrize("odd", ["\x0b", "\x0c", "\r", "\x1c", "\x85", "\u2028"])
def test_a_line_ends_where_the_kernel_ends_it(odd: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "mountinfo").write_bytes(f"1 0 8:1 / /a{odd}b rw - ext4 x rw\n2 0 8:2 / /c rw - ext4 x rw\n".encode())
    monkeypatch.setattr(mountinfo, "_FILE", tmp_path / "mountinfo")
    table = MountTable.read()
    assert table.find_place(Path(f"/a{odd}b/x")) == Place("8:1", Path("/x"))
    assert table.find_place(Path("/c")) == Place("8:2", Path("/"))


def test_a_place_holds_itself_and_what_is_below() -> None:
    place = Place("8:1", Path("/a"))
    assert place.holds(place)
    assert place.holds(Place("8:1", Path("/a/b")))
    assert not place.holds(Place("8:1", Path("/ab")))
    assert not place.holds(Place("8:2", Path("/a")))


def test_the_mounts_of_this_process() -> None:
    assert MountTable.read().find_place(Path("/")) is not None
