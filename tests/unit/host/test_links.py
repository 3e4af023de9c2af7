"""A path is walked as the kernel walks it, and its links are told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jupyter_launcher.host.links import walk


def links_of(path: Path) -> list[str]:
    return [str(link.path) for link in walk(path).links]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A few directories and links; ``tmp_path`` itself has no link."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    (tmp_path / "relative").symlink_to("a/b")
    (tmp_path / "absolute").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "up").symlink_to("../relative")
    (tmp_path / "dangling").symlink_to("a/none")
    (tmp_path / "over").symlink_to("dangling")
    (tmp_path / "loop").symlink_to("loop")
    return tmp_path


@pytest.mark.parametrize(
    ("path", "reached", "links"),
    [
        ("a/b", "a/b", []),
        ("a/../a/b/..", "a", []),
        ("relative", "a/b", ["relative"]),
        ("relative/../up", "a/b", ["relative", "relative", "a/up"]),
        ("absolute/b", "a/b", ["absolute"]),
        ("absolute/up", "a/b", ["absolute", "relative", "a/up"]),
        ("file", "file", []),
        ("a/none", "a/none", []),
        ("a/none/../x", "a/x", []),
        ("dangling", "a/none", ["dangling"]),
        ("over/x", "a/none/x", ["dangling", "over"]),
    ],
)
def test_a_walk_ends_where_the_kernels_does(tree: Path, path: str, reached: str, links: list[str]) -> None:
    found = walk(tree / path)
    assert found.path == tree / reached
    assert [str(link.path.relative_to(tree)) for link in found.links] == links
    assert (found.status is not None) == (tree / path).exists()
    if found.status is not None:
        assert os.path.samestat(found.status, (tree / path).stat())


def test_each_step_that_was_made_is_told(tree: Path) -> None:
    parents = [*reversed(tree.parents), tree]
    found = walk(tree / "a" / ".." / "absolute" / "b")
    steps = [*parents, tree / "a", *parents[1:], tree / "a", tree / "a" / "b"]
    assert [step.path for step in found.steps] == steps
    assert all(os.path.samestat(step.status, step.path.stat()) for step in found.steps)
    assert [step.path for step in walk(tree / "a" / "none" / "x").steps] == [*parents, tree / "a"]


def test_the_root_has_no_parent() -> None:
    assert walk(Path("/../..")).path == Path("/")


def test_a_relative_path_begins_here(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree / "a")
    assert walk(Path("up")).path == tree / "a" / "b"


def test_what_is_known_of_a_link(tree: Path) -> None:
    (link,) = walk(tree / "relative").links
    status = (tree / "relative").lstat()
    device = f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"
    assert (link.target, link.owner, link.leads_to, link.device) == ("a/b", os.getuid(), os.getuid(), device)
    assert [link.leads_to for link in walk(tree / "over").links] == [None, None]


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give files to others")
def test_to_whose_files_a_link_leads(tree: Path) -> None:
    os.chown(tree / "a" / "b", 7, 7)
    os.chown(tree / "relative", 8, 8, follow_symlinks=False)
    inner, outer = walk(tree / "a" / "up").links
    assert (inner.owner, inner.leads_to, outer.owner, outer.leads_to) == (8, 7, 0, 7)


@pytest.mark.parametrize("path", ["loop", "file/x"])
def test_steps_that_cannot_be_made(tree: Path, path: str) -> None:
    with pytest.raises(OSError, match=r"Too many levels|Not a directory"):
        walk(tree / path)


def test_no_file_stays_open(tree: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path in ("absolute/up", "dangling", "loop", "file/x"):
        try:
            walk(tree / path)
        except OSError:
            continue
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_who_exchanges_a_directory_for_a_link_is_not_followed(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second step is made from the directory of the first, whatever stands at its path by then."""
    open_file = os.open
    (tree / "a" / "b" / "c").mkdir()
    wanted = (tree / "a" / "b" / "c").stat().st_ino
    (tree / "other" / "c").mkdir(parents=True)

    def exchange(name: str, flags: int, **options: int) -> int:
        if name == "c" and (tree / "a" / "b").is_dir() and not (tree / "a" / "moved").exists():
            (tree / "a" / "b").rename(tree / "a" / "moved")
            (tree / "a" / "b").symlink_to(tree / "other")
        return open_file(name, flags, **options)

    monkeypatch.setattr(os, "open", exchange)
    found = walk(tree / "a" / "b" / "c")
    assert found.status is not None
    assert found.status.st_ino == wanted
    assert links_of(tree / "a" / "b" / "c") == [str(tree / "a" / "b")]
