"""Commands in real sessions, and files that go in and come out."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import (
    CommandError,
    CommandTimeoutError,
    ExecError,
    Launcher,
    OptionError,
    Session,
    SessionNotFoundError,
    WorkError,
)
from tests.containers import eventually, owned, pause

LOOK_FOR = 'grep -lzxF "MARK=$1" /proc/[0-9]*/environ 2>/dev/null | grep -v -e self -e thread-self -e /$$/'
SLOW = "echo ready; sleep 1000 & sleep 1000"
# Neither a signal nor a session of its own saves it.
STUBBORN = "trap '' TERM; (setsid sh -c 'trap \"\" TERM; sleep 1000; sleep 1000' &); echo ready; sleep 1000; sleep 1000"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return owned(tmp_path_factory.mktemp("commands"))


@pytest.fixture(scope="module")
def session(launcher: Launcher, folder: Path) -> Iterator[Session]:
    """In a namespace of its own, since it stays from test to test."""
    options: dict[str, Any] = {"umask": "0027", "groups": (2000,), "tmpfs": {"/scratch": "64m"}}
    with (
        Launcher(namespace=f"{launcher.namespace}-commands", owner=launcher.owner) as own,
        own.start(folder, session_id="one", environment={"GIVEN": "of the session"}, **options) as found,
    ):
        yield found


@pytest.fixture
def mark(session: Session) -> Iterator[str]:
    """A text for the environment of commands, none of which may be left."""
    found = uuid.uuid4().hex
    yield found
    assert eventually(lambda: session.run(["sh", "-c", LOOK_FOR, "look", found], check=False).exit_code == 1)


@pytest.mark.usefixtures("needs_input")
def test_a_command_runs_as_in_a_terminal_of_the_session(session: Session) -> None:
    script = "id -u; id -G; umask; pwd; echo $GIVEN; echo $MORE; command -v jupyter; env"
    lines = session.run(["sh", "-c", script], environment={"MORE": "ä"}).stdout.splitlines()
    assert lines[0] == session.run(["stat", "-c", "%u", "/run/jupyter-launcher"]).stdout.strip()
    assert "2000" in lines[1].split()
    assert lines[2:6] == ["0027", "/pipeline-dir", "of the session", "ä"]
    assert lines[6].endswith("/jupyter")
    names = {line.partition("=")[0] for line in lines[7:]}
    assert "HOME" in names
    assert {name for name in names if name.startswith(("JUPYTER_TOKEN", "JUPYTER_RUNTIME", "_jl_"))} == set()
    assert session.lab_url.partition("token=")[2] not in "\n".join(lines)


@pytest.mark.usefixtures("needs_input")
def test_much_goes_both_ways(session: Session) -> None:
    # With the keys by which Podman would detach from it.
    given = (b"\x10\x11" + bytes(range(256))) * 20_000
    seen = {"stdout": 0}

    def count(stream: str, text: str) -> None:
        seen[stream] += len(text)

    result = session.run(["sh", "-c", "tee /scratch/copy | od -An -v -tx1"], input=given, on_output=count)
    assert (result.truncated, len(result.stdout)) == (True, 8 * 2**20)
    assert seen["stdout"] > 3 * len(given)
    assert session.run(["wc", "-c", "/scratch/copy"]).stdout.split()[0] == str(len(given))
    assert bytes.fromhex(result.stdout[:3000].rpartition("\n")[0].replace("\n", "")) in given


@pytest.mark.usefixtures("needs_input")
def test_errors_say_what_happened(session: Session) -> None:
    with pytest.raises(CommandError, match="`sh` failed with exit code 3: problem") as caught:
        session.run(["sh", "-c", "echo problem >&2; exit 3"])
    assert caught.value.exit_code == 3
    for argv, options, told in (
        (["no-such"], {}, "`no-such` cannot be run"),
        (["ls"], {"cwd": "none"}, "no command can run in /pipeline-dir/none"),
    ):
        with pytest.raises(CommandError, match=told):
            session.run(argv, check=False, **options)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="user is nobody-here, as whom nothing can be run here"):
        session.run(["id"], user="nobody-here")
    assert session.run(["id", "-u"], user=0, cwd="/").stdout == "0\n"
    other = session.run(["sh", "-c", "id -u; echo $GIVEN"], user="4711:4712", cwd="/")
    assert other.stdout == "4711\nof the session\n"


@pytest.mark.usefixtures("needs_input")
def test_at_the_time_limit_nothing_of_it_stays(session: Session, mark: str) -> None:
    with pytest.raises(CommandTimeoutError) as caught:
        session.run(["sh", "-c", STUBBORN], timeout=2, environment={"MARK": mark})
    assert caught.value.result is not None
    assert caught.value.result.stdout == "ready\n"


@pytest.mark.usefixtures("needs_input")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_launcher_that_ends_leaves_nothing(session: Session, mark: str, number: int, launcher: Launcher) -> None:
    line = [sys.executable, "-c", "import signal; signal.signal(2, signal.default_int_handler)\n", "--namespace"]
    line[2] += "from jupyter_launcher.__main__ import main; main()"
    line += [f"{launcher.namespace}-commands", "run", "one", "-i", "--env", f"MARK={mark}", "--", "sh", "-c", SLOW]
    # As at a terminal, nothing comes on its stdin, and no end.
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.wait(30) == (130 if number == signal.SIGINT else -signal.SIGKILL)


@pytest.mark.usefixtures("needs_input")
def test_a_function_that_raises_ends_the_command(session: Session, mark: str) -> None:
    def refuse(*_: str) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        session.run(["sh", "-c", SLOW], on_output=refuse, environment={"MARK": mark})


@pytest.mark.usefixtures("needs_input")
def test_what_stays_in_the_background_is_not_waited_for(session: Session) -> None:
    pid = session.run(["sh", "-c", "sleep 1000 & echo $!"]).stdout.strip()
    assert session.run(["sh", "-c", f"kill {pid}"]).exit_code == 0


@pytest.mark.usefixtures("needs_input")
def test_files_go_in_and_come_out(session: Session, folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "ä").write_bytes(os.urandom(3 * 2**20))
    (source / "link").symlink_to("sub/ä")
    (source / "program").touch(0o755)
    for remote in ("new/folder", "/scratch/folder"):  # a directory that is mounted, and one in memory
        session.upload(source, remote)
        target = tmp_path / "copies" / remote.lstrip("/")
        session.download(remote, target)
        assert (target / "sub" / "ä").read_bytes() == (source / "sub" / "ä").read_bytes()
        assert (target / "link").readlink() == Path("sub/ä")
        assert (target / "program").stat().st_mode & 0o777 == 0o755
    assert (folder / "new" / "folder" / "sub" / "ä").stat().st_uid == folder.stat().st_uid
    assert session.run(["sh", "-c", "rm -r new; ls -A"]).stdout == ""
    with pytest.raises(WorkError, match="there is nothing"):
        session.download("none", tmp_path / "none")
    with pytest.raises(WorkError, match="was not copied to /proc/folder"):
        session.upload(source, "/proc/folder")
    session.run(["ln", "-s", "/etc/passwd", "/scratch/folder/out"])
    with pytest.raises(WorkError, match="a link that leads out of it"):
        session.download("/scratch/folder", tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.usefixtures("needs_input")
def test_a_paused_session_and_one_that_is_gone(launcher: Launcher, pipeline_dir: Path, client: Any) -> None:
    with launcher.start(pipeline_dir) as session:
        container = client.containers.get(session.container_id)
        with contextlib.ExitStack() as after:
            pause(container)
            after.callback(container.unpause)
            with pytest.raises(ExecError, match="is paused"):
                session.run(["true"])
        with pytest.raises(SessionNotFoundError, match="its container was removed"):
            session.run(["sh", "-c", "echo ready; sleep 1000"], on_output=lambda *_: container.remove(force=True))
