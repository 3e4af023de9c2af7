"""Uploads and downloads: the scripts of both sides, run here."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import CommandError, ExecError, OptionError, WorkError
from jupyter_launcher.engine.protocol import Exchange
from jupyter_launcher.server.inside.copy_files import pack
from jupyter_launcher.waiting import Deadline
from jupyter_launcher.work.commands import files
from jupyter_launcher.work.commands.files import download, upload
from jupyter_launcher.work.place import Place
from tests.unit.fakes import FakeEngine, container
from tests.unit.work.local import CONTAINER, local_engine, make_place, write_environment
from tests.unit.work.test_commands import Scripted, message


@pytest.fixture
def place(tmp_path: Path) -> Place:
    folder = tmp_path / "run"
    folder.mkdir()
    write_environment(folder)
    return make_place(local_engine(folder))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "data").write_bytes(bytes(range(256)) * 20_000)
    (folder / "link").symlink_to("sub/data")
    (folder / "program").touch(0o755)
    return folder


def test_a_folder_there_and_back(place: Place, source: Path, tmp_path: Path) -> None:
    upload(place, source, str(tmp_path / "there" / "new"))
    download(place, f"{tmp_path}/there/new", tmp_path / "back")
    for name in ("there/new", "back"):
        target = tmp_path / name
        assert (target / "sub" / "data").read_bytes() == (source / "sub" / "data").read_bytes()
        assert (target / "link").readlink() == Path("sub/data")
        # As with all that a session makes, the umask counts for folders that nobody has copied.
        assert (target / "program").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "there").stat().st_mode & 0o777 == 0o750


def test_a_file_there_and_back(place: Place, source: Path, tmp_path: Path) -> None:
    upload(place, str(source / "sub" / "data"), str(tmp_path / "one"))
    (tmp_path / "two").write_text("old")
    download(place, str(tmp_path / "one"), os.fspath(tmp_path / "two"))
    assert (tmp_path / "two").read_bytes() == (source / "sub" / "data").read_bytes()


@pytest.mark.parametrize(
    ("local", "remote", "told"),
    [
        ("source", "/proc/x", "source was not copied to /proc/x in session one: .*: /proc"),
        ("source", "{}/source/program", "a folder comes for .*/source/program, which is no folder"),
        ("source/program", "{}/source/sub", "a file or a link comes for .*/source/sub, which is a folder"),
    ],
)
def test_what_cannot_be_written_there(
    place: Place, source: Path, tmp_path: Path, local: str, remote: str, told: str
) -> None:
    with pytest.raises(WorkError, match=told) as caught:
        upload(place, tmp_path / local, remote.format(tmp_path))
    assert (caught.value.session_id, caught.value.command_exit_code) == ("one", 9)
    assert (source / "sub" / "data").exists()


def test_what_cannot_be_read_there(place: Place, source: Path, tmp_path: Path) -> None:
    with pytest.raises(WorkError, match="/pipeline-dir/none of session one was not copied: there is nothing"):
        download(place, "none", tmp_path / "target")
    os.mkfifo(source / "sub" / "pipe")
    with pytest.raises(WorkError, match="/source/sub/pipe is neither a file, nor a folder, nor a link"):
        download(place, str(source), tmp_path / "target")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "source"]


def test_links_that_lead_out_are_refused_on_the_way_back(place: Place, source: Path, tmp_path: Path) -> None:
    (source / "sub" / "out").symlink_to("/etc/passwd")
    upload(place, source, str(tmp_path / "there"))
    with pytest.raises(WorkError, match="a link that leads out of it: 'sub/out' to '/etc/passwd'"):
        download(place, str(tmp_path / "there"), tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_what_cannot_be_read_here(place: Place, source: Path, tmp_path: Path) -> None:
    os.mkfifo(source / "sub" / "pipe")
    with pytest.raises(OptionError, match=r"local cannot be copied: .*/sub/pipe is neither") as caught:
        upload(place, source, str(tmp_path / "there"))
    assert caught.value.option == "local"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "source"]


def test_what_cannot_be_written_here(place: Place, source: Path) -> None:
    with pytest.raises(OptionError, match=r"local cannot be written: .*: /proc") as caught:
        download(place, str(source), "/proc/x")
    assert caught.value.option == "local"


@pytest.mark.parametrize(
    ("option", "local", "remote"),
    [
        ("local", "no/such", "x"),
        ("local", "", "x"),
        ("local", "a\0b", "x"),
        ("local", 3, "x"),
        ("local", "/dev/null", "x"),
        ("remote", __file__, ""),
        ("remote", __file__, "a\0b"),
        ("remote", __file__, 3),
        ("remote", __file__, "folder/"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(option: str, local: Any, remote: Any) -> None:
    engine = FakeEngine()
    with pytest.raises(OptionError) as caught:
        upload(make_place(engine), local, remote)
    assert caught.value.option == option
    assert engine.calls == []
    if local not in ("no/such", "/dev/null") and remote != "folder/":
        with pytest.raises(OptionError):
            download(make_place(engine), remote, local)


def answering(*frames: tuple[int, bytes]) -> Place:
    engine = FakeEngine(container(id=CONTAINER))

    @contextlib.contextmanager
    def attach(*_: object) -> Iterator[Exchange]:
        yield Scripted(*frames)

    engine.on_attach = attach
    return make_place(engine)


def test_a_copy_that_does_not_move_on_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stuck(Scripted):
        answers = 100

        def read(self, deadline: Deadline, *, wake: int | None = None) -> tuple[int, bytes] | None:
            assert deadline not in deadlines  # it begins anew with each answer
            deadlines.append(deadline)
            if self.frames:
                return self.frames.pop(0)
            self.answers -= 1
            if not self.answers:
                raise TimeoutError
            return 1, message(b"a")

    deadlines: list[Deadline] = []

    engine = FakeEngine(container(id=CONTAINER))
    engine.on_attach = lambda *_: contextlib.nullcontext(Stuck((1, message(b"s"))))
    monkeypatch.setattr(files, "_STALL_SECONDS", 7.0)
    with pytest.raises(ExecError, match="has not moved on for 7 s in session one"):
        upload(make_place(engine), __file__, "x")
    with pytest.raises(ExecError, match="has not moved on"):
        download(make_place(engine), "x", tmp_path / "target")
    assert list(tmp_path.iterdir()) == []


def test_a_download_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ExecError, match="its end was not seen"):
        download(answering((1, message(b"s") + message(b"1", b"\0" * 100))), "x", tmp_path / "target")
    with pytest.raises(WorkError, match="was not copied: it ended with exit code 3"):
        download(answering((1, message(b"s") + message(b"e", b"3"))), "x", tmp_path / "target")
    with pytest.raises(WorkError, match="what came"):
        download(answering((1, message(b"s") + message(b"e", b"0"))), "x", tmp_path / "target")
    nothing = b"".join(pack(__file__))[-1536:]  # its last member alone
    with pytest.raises(WorkError, match="what came holds nothing") as caught:
        download(answering((1, message(b"s") + message(b"1", nothing) + message(b"e", b"0"))), "x", tmp_path / "target")
    assert "nothing was written" in caught.value.hint
    refused = message(b"f", b'{"what": "program", "code": 127, "text": "no"}')
    with pytest.raises(CommandError):
        download(answering((1, refused)), "x", tmp_path / "target")
    assert list(tmp_path.iterdir()) == []
