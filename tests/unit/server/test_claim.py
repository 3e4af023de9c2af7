"""What a server of a pool does when its directory is mounted, and the program that mounts it, run here."""

from __future__ import annotations

import asyncio
import errno
import os
import runpy
import select
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from jupyter_launcher.server.inside import late_mount
from jupyter_launcher.server.inside.late_mount import RefusedError
from jupyter_launcher.spec.server import read_script


class Loop:
    """A server's loop, as far as the patch uses it."""

    READ = select.POLLIN

    def __init__(self) -> None:
        self.handlers: dict[int, Callable[..., None]] = {}

    def add_handler(self, found: int, call: Callable[..., None], events: int) -> None:
        assert events == self.READ
        self.handlers[found] = call

    def remove_handler(self, found: int) -> None:
        del self.handlers[found]


class Server:
    """A server that serves a folder."""

    def __init__(self, root_dir: Path) -> None:
        self.root_dir = str(root_dir)
        self.written = False
        self.io_loop = Loop()
        self.answered: list[object] = []
        self.web_app = SimpleNamespace(log_request=self.answered.append)

    def write_server_info_file(self) -> None:
        self.written = True


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The session's own folder."""
    (tmp_path / "run" / "jupyter").mkdir(parents=True)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "run" / "jupyter"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "run"


@pytest.fixture
def names(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names of the patch, and the server, as ``server``, which waits."""
    made: Any = type("ServerApp", (Server,), {"write_server_info_file": Server.write_server_info_file})
    for name, content in {
        "jupyter_server": {},
        "jupyter_server.serverapp": {"ServerApp": made},
        "tornado": {},
        "tornado.ioloop": {"IOLoop": SimpleNamespace()},
    }.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)

    async def look_for_use(_: object) -> tuple[str, str, bool]:
        return "kernels", "others", False

    found: dict[str, Any] = {"_look_for_use": look_for_use}
    exec(read_script("patches/claim.py"), found)  # noqa: S102 - as the server does
    folder = tmp_path / "folder"
    folder.mkdir()
    found["server"] = made(folder)
    found["server"].write_server_info_file()
    assert found["server"].written
    return found


def ask(names: dict[str, Any], run: Path, word: bytes) -> str:
    """What the server answers."""
    answer = os.open(run / "claim.answer", os.O_RDWR | os.O_NONBLOCK)
    claim = os.open(run / "claim", os.O_WRONLY | os.O_NONBLOCK)
    try:
        os.write(claim, word)
        ((_, call),) = names["server"].io_loop.handlers.items()
        call()
        assert names["server"].io_loop.handlers == {}
        return os.read(answer, 512).decode()
    finally:
        os.close(answer)
        os.close(claim)


def test_the_server_goes_into_its_directory(names: dict[str, Any], run: Path, tmp_path: Path) -> None:
    assert ask(names, run, b"w") == "yes\n"
    assert Path.cwd() == tmp_path / "folder"
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize("is_writable", [True, False])
def test_a_shell_that_says_no_by_mistake(
    names: dict[str, Any], run: Path, monkeypatch: pytest.MonkeyPatch, *, is_writable: bool
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    if not is_writable:
        monkeypatch.setattr("tempfile.mkdtemp", _refuse)
    assert ask(names, run, b"w") == ("yes\n" if is_writable else "read-only\n")


def test_one_that_need_not_write_does_not_try(
    names: dict[str, Any], run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", _refuse)
    assert ask(names, run, b"r") == "yes\n"


def _refuse(*_: object, **__: object) -> str:
    raise OSError(30, "read-only", "it")


def test_a_directory_that_is_closed(names: dict[str, Any], run: Path) -> None:
    names["server"].root_dir = "/no/such"
    assert ask(names, run, b"w") == "No such file or directory\n"


def test_nobody_waits_for_the_answer(names: dict[str, Any], run: Path, tmp_path: Path) -> None:
    ((_, call),) = names["server"].io_loop.handlers.items()
    with (run / "claim").open("wb", buffering=0) as claim:
        claim.write(b"w")
        call()
    assert Path.cwd() == tmp_path / "folder"


def test_to_wait_is_use(names: dict[str, Any], run: Path) -> None:
    look = names["_look_for_use"]
    assert asyncio.run(look(names["server"])) == ("kernels", "others", True)
    ask(names, run, b"w")
    assert asyncio.run(look(names["server"])) == ("kernels", "others", False)


def test_who_has_the_token_was_answered(names: dict[str, Any], run: Path) -> None:
    server, note = names["server"], run / "answered"

    def answer(status: int, path: str) -> None:
        request = SimpleNamespace(get_status=lambda: status, request=SimpleNamespace(path=path))
        server.web_app.log_request(request)
        assert server.answered.pop() is request

    answer(200, "/api/contents")  # as the pool's own look, before the claim
    ask(names, run, b"w")
    for status, path in ((200, "/api"), (403, "/api/contents")):
        answer(status, path)
        assert not note.exists()
    for _ in range(2):
        answer(200, "/base/api/contents")
        assert note.exists()
    assert server.web_app.log_request == server.answered.append


# The program that mounts, as far as it goes without the right to


def container(run: Path, *, state: str = "open") -> int:
    """The folder of a session whose lease runs; gives its descriptor."""
    (run / "lease").write_text(f"{1:20d}\n")
    (run / "lease.state").write_text(f"{state:7}\n")
    return os.open(run, os.O_PATH | os.O_DIRECTORY)


def test_the_lease_is_moved_and_its_length_written(run: Path) -> None:
    folder = container(run)
    late_mount._move_lease(folder, 60)
    text = (run / "lease").read_text()
    up = float(Path("/proc/uptime").read_text().split()[0])
    assert len(text) == 21
    assert up + 50 < int(text) <= up + 60
    late_mount._write_length(folder, 30)
    assert (run / "lease.length").read_text() == "30\n"
    assert not (run / "lease.length.new").exists()
    os.close(folder)


@pytest.mark.parametrize("state", ["ended", "closing"])
def test_a_lease_that_has_passed(run: Path, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late_mount, "_TRIES", 1)
    folder = container(run, state=state)
    with pytest.raises(RefusedError, match="lease has passed") as caught:
        late_mount._move_lease(folder, 60)
    assert caught.value.code == late_mount.ENDING
    os.close(folder)


@pytest.mark.parametrize(
    ("answer", "code"), [("yes\n", None), ("[Errno 13] no\n", late_mount.CLOSED), ("", late_mount.SILENT)]
)
def test_the_servers_answer(run: Path, answer: str, code: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late_mount, "_ANSWER_SECONDS", 0.01)
    os.mkfifo(run / "answer")
    pipe = os.open(run / "answer", os.O_RDWR | os.O_NONBLOCK)
    os.write(pipe, answer.encode())
    found = None
    try:
        late_mount._read_answer(pipe)
    except RefusedError as error:
        found = error.code
    os.close(pipe)
    assert found == code


def test_a_process_of_another_container(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="is not of the container") as caught:
        late_mount.claim(
            *(str(tmp_path), os.getpid(), "/run/jupyter-launcher", "/pipeline-dir"),
            identity="1:2",
            writable=True,
            lease=60,
            length=0,
            container="c" * 64,
        )
    assert caught.value.code == late_mount.OTHER_CONTAINER


def claim(run: Path, source: Path, **changes: Any) -> None:
    """As the program does, in this process."""
    status = run.stat()
    given: dict[str, Any] = {
        "identity": f"{status.st_dev}:{status.st_ino}",
        "writable": True,
        "lease": 60,
        "length": 0,
        "attach": lambda *_: None,
    }
    late_mount.claim(str(source), os.getpid(), str(run), "/no/such", **{**given, **changes})


@pytest.fixture
def ready(names: dict[str, Any], run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a session that waits; a directory can be cloned."""
    os.close(container(run))
    (run / "token").touch()
    monkeypatch.setattr(late_mount, "_clone", os.dup)
    monkeypatch.setattr(late_mount, "_ANSWER_SECONDS", 0.01)
    monkeypatch.setattr(late_mount, "_open_in_root", lambda _, path: os.open(path, os.O_PATH | os.O_DIRECTORY))
    return run


def code_of(run: Path, source: Path, **changes: Any) -> int:
    with pytest.raises(RefusedError) as caught:
        claim(run, source, **changes)
    return caught.value.code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PermissionError(errno.EPERM, "no"), late_mount.IMPOSSIBLE),
        (OSError(errno.ENOSYS, "no"), late_mount.IMPOSSIBLE),
        (FileNotFoundError(errno.ENOENT, "no"), late_mount.FAILED),
    ],
)
def test_where_it_is_not_attached_another_way_may_work(ready: Path, error: OSError, code: int) -> None:
    def attach(*_: object) -> None:
        raise error

    assert code_of(ready, ready, attach=attach) == code
    assert not (ready / "claimed").exists()
    assert code_of(ready, ready) == late_mount.SILENT  # it was attached, and nobody answers
    assert (ready / "claimed").is_dir()


def test_that_it_was_claimed_comes_before_all_else(ready: Path, tmp_path: Path) -> None:
    (ready / "claimed").mkdir()
    assert code_of(ready, tmp_path / "none", identity="1:2") == late_mount.TAKEN


def test_a_directory_that_is_gone_by_now(ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert code_of(ready, tmp_path / "none") == late_mount.FAILED
    assert code_of(ready, ready, identity="1:2") == late_mount.OTHER_DIRECTORY
    known = os.open

    def refuse(path: Any, *given: Any, **more: Any) -> int:
        if path == "/a/disk":  # which is root's no more than others'
            raise PermissionError(errno.EACCES, "no")
        return known(path, *given, **more)

    monkeypatch.setattr(os, "open", refuse)
    assert code_of(ready, Path("/a/disk")) == late_mount.FAILED


def test_a_machine_without_linux_can_import_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "O_PATH")
    monkeypatch.setitem(sys.modules, "ctypes", None)
    runpy.run_path(late_mount.__file__)


def test_a_container_with_something_mounted_there(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="something is mounted at /proc") as caught:
        late_mount.claim(str(tmp_path), os.getpid(), "/run", "/proc", identity="1:2", writable=True, lease=60, length=0)
    assert caught.value.code == late_mount.OBSTRUCTED


def test_the_program_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(tmp_path), "0", "/run", "/pipeline-dir", "1:2", "writable", "60", "0"]
    assert late_mount.main(words) == late_mount.FAILED
    assert late_mount.main(["try", str(tmp_path / "none"), "1", "/tmp"]) == late_mount.FAILED  # noqa: S108 - nowhere
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("FileNotFoundError") for line in lines)
    assert len(lines) == 2
