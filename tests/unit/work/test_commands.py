"""Commands: the launcher's side and run_command.py, which runs here as it runs in a container."""

from __future__ import annotations

import contextlib
import os
import pwd
import struct
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import (
    CommandError,
    CommandResult,
    CommandTimeoutError,
    EngineError,
    EngineUnavailableError,
    ExecError,
    LauncherError,
    OptionError,
    ServerNotRunningError,
    SessionNotFoundError,
)
from jupyter_launcher.engine.protocol import Exchange
from jupyter_launcher.spec.server import read_script
from jupyter_launcher.waiting import Deadline, NotYetError, attempts
from jupyter_launcher.work.commands import remote
from jupyter_launcher.work.commands import run as commands
from jupyter_launcher.work.commands.run import run_command
from jupyter_launcher.work.place import Place
from tests.unit.fakes import FakeEngine, container, refusal
from tests.unit.strategies import error_of
from tests.unit.work.local import CONTAINER, attach_here, local_engine, make_place, write_environment

ALL_BYTES = bytes(range(256)) * 40
NO_OPTIONS: dict[str, Any] = {
    "environment": None,
    "given": None,
    "timeout": None,
    "check": True,
    "user": None,
    "on_output": None,
}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    write_environment(tmp_path, GIVEN="of the session")
    return make_place(local_engine(tmp_path))


def run(place: Place, *argv: str, **options: Any) -> CommandResult:
    return run_command(place, argv, **{**NO_OPTIONS, "cwd": "/usr", **options})


def shell(place: Place, script: str, **options: Any) -> CommandResult:
    return run(place, "sh", "-c", script, **options)


def carriers(mark: str, where: str = "environ") -> list[str]:
    """The processes that have a text in their environment, or in their command line."""
    found = []
    for path in Path("/proc").glob(f"[0-9]*/{where}"):
        with contextlib.suppress(OSError):
            if mark.encode() in path.read_bytes():
                found.append(path.parent.name)
    return found


@pytest.fixture
def mark() -> Iterator[str]:
    """A text for the environment of a command, of which nothing may be left."""
    found = uuid.uuid4().hex
    yield found
    for attempt in attempts(Deadline(10), NotYetError):
        with attempt:
            if carriers(found):
                raise NotYetError
    assert carriers(found) == []


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL comes at once after SIGTERM."""

    def read(name: str) -> str:
        text = read_script(name)
        assert name != "run_command.py" or "GRACE = 3.0" in text
        return text.replace("GRACE = 3.0", "GRACE = 0.1")

    monkeypatch.setattr("jupyter_launcher.work.commands.remote.read_script", read)


def test_a_command_runs_in_the_environment_of_the_kernels(place: Place) -> None:
    script = 'pwd; umask; echo "$GIVEN $MORE $PWD"; env | grep -c -e _jl_ -e JUPYTER_; echo problem >&2; exit 3'
    result = shell(place, script, environment={"MORE": "ä\nb"}, check=False)
    assert result.stdout == "/usr\n0027\nof the session ä\nb /usr\n0\n"
    assert (result.exit_code, result.stderr, result.truncated) == (3, "problem\n", False)
    assert result.argv == ("sh", "-c", script)


def test_nothing_of_a_command_stands_in_its_exec(place: Place) -> None:
    shell(place, "true # secret-word", environment={"NAME": "secret-word"}, given="secret-word")
    assert "secret-word" not in str(place.engine.execs)  # type: ignore[attr-defined] # a FakeEngine


def test_the_environment_of_a_server_that_did_not_write_it(tmp_path: Path) -> None:
    given = {"PATH": os.environ["PATH"], "OTHER": "x", "JUPYTER_TOKEN_FILE": "/t", "JUPYTER_RUNTIME_DIR": "/r"}
    argv = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(argv, env=given, stdin=subprocess.PIPE, umask=0o077) as server:
        (tmp_path / "server.pid").write_text(f"{server.pid}\n")
        result = shell(make_place(local_engine(tmp_path)), "umask; env | sort")
        server.communicate()
    assert result.stdout.splitlines() == ["0077", "OTHER=x", f"PATH={os.environ['PATH']}", "PWD=/usr"]


def test_a_command_holds_a_lock_that_the_server_sees(place: Place, tmp_path: Path) -> None:
    look = f"flock --nonblock {tmp_path}/commands true; echo $?"
    assert shell(place, look).stdout == "1\n"
    # Neither what has ended holds it, nor what reads for that which stays in the background.
    pid = shell(place, "sleep 1000 & echo $!").stdout
    assert subprocess.run(["sh", "-c", look], capture_output=True, check=True).stdout == b"0\n"
    os.kill(int(pid), 9)


def test_input_of_all_bytes_arrives_while_output_comes(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "KEPT", 1000)
    pieces: list[bytes] = []
    given = ALL_BYTES * 400  # more than all buffers on the way hold
    result = run(place, "cat", given=given, on_bytes=lambda stream, piece: pieces.append(piece))
    assert b"".join(pieces) == given
    assert result.truncated
    assert result.stdout == given[:1000].decode(errors="replace")


@pytest.mark.parametrize(
    ("given", "seen"), [("ä", b"\xc3\xa4"), (b"", b""), (bytearray(b"x"), b"x"), (memoryview(b"abcd")[::2], b"ac")]
)
def test_input_may_be_a_text_or_bytes_of_any_kind(place: Place, given: Any, seen: bytes) -> None:
    assert run(place, "od", "-An", "-tx1", given=given).stdout.split() == [f"{byte:02x}" for byte in seen]


def test_a_command_that_does_not_read_its_input_is_not_waited_for(place: Place) -> None:
    assert run(place, "true", given=ALL_BYTES * 400).exit_code == 0
    assert shell(place, "exec <&-; echo closed", given=ALL_BYTES * 400).stdout == "closed\n"
    assert run(place, "cat").stdout == ""


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    with contextlib.suppress(OSError):
        os.close(writer)


def test_input_is_read_while_the_command_runs(place: Place, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    seen: list[bytes] = []

    def answer(_: str, piece: bytes) -> None:
        seen.append(piece)
        if len(seen) < 40:  # more than may be unanswered
            os.write(writer, b"%d\n" % len(seen))
        else:
            os.close(writer)

    os.write(writer, b"0\n")
    assert run(place, "cat", given_by=reader, on_bytes=answer).exit_code == 0
    assert b"".join(seen).split() == [b"%d" % number for number in range(40)]


def test_input_that_does_not_come_is_not_waited_for(place: Place, pipe: tuple[int, int], mark: str) -> None:
    assert run(place, "true", given_by=pipe[0]).exit_code == 0
    with pytest.raises(CommandTimeoutError):
        run(place, "cat", given_by=pipe[0], timeout=0.05, environment={"MARK": mark})


def test_input_without_an_end(place: Place) -> None:
    with Path("/dev/zero").open("rb") as zeros:
        assert run(place, "head", "-c", "3", given_by=zeros.fileno()).stdout == "\0\0\0"


def test_input_that_cannot_be_read(place: Place, pipe: tuple[int, int]) -> None:
    with pytest.raises(OptionError, match="input cannot be read: Bad file descriptor"):
        run(place, "cat", given_by=pipe[1])
    assert place.engine.execs == []  # type: ignore[attr-defined] # a FakeEngine


def test_output_comes_as_text_of_whole_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[tuple[str, str]] = []
    stream = commands._Stream("stdout", lambda *given: found.append(given), None)
    for piece in (b"a\xc3", b"\xa4b", b"\xff\xe2\x82"):
        stream.add(piece)
    stream.finish()
    assert found == [("stdout", "a"), ("stdout", "äb"), ("stdout", "�"), ("stdout", "�")]
    assert stream.text() == "aäb��"


def test_output_goes_to_the_function(place: Place) -> None:
    found: dict[str, str] = {"stdout": "", "stderr": ""}

    def note(stream: str, text: str) -> None:
        found[stream] += text

    result = shell(place, "echo one; echo two >&2; seq 100000", on_output=note)
    assert found == {"stdout": result.stdout, "stderr": "two\n"}
    assert result.stdout.endswith("\n100000\n")


def test_a_failure_is_an_error_with_its_result(place: Place) -> None:
    with pytest.raises(CommandError, match="`sh` failed with exit code 3: problem") as caught:
        shell(place, "echo out; echo problem >&2; exit 3")
    error = caught.value
    assert (error.exit_code, error.session_id, error.command_exit_code) == (3, "one", 9)
    assert error.result is not None
    assert error.result.stdout == "out\n"
    assert shell(place, "kill -9 $$", check=False).exit_code == 137


@pytest.mark.parametrize(
    ("argv", "options", "code", "told"),
    [
        (("no-such-program",), {}, 127, "`no-such-program` cannot be run: No such file"),
        (("/etc/passwd",), {}, 126, "cannot be run: Permission denied"),
        (("true", "x" * 200_000), {}, 126, "Argument list too long"),
        (("true",), {"cwd": "/no/such"}, 127, "no command can run in /no/such: No such file"),
        (("true",), {"cwd": "steps"}, 127, "no command can run in /pipeline-dir/steps"),
        (("true",), {"cwd": "/etc/passwd"}, 127, "no command can run in /etc/passwd: Not a directory"),
    ],
)
def test_what_cannot_be_run_is_an_error_without_a_check_too(
    place: Place, argv: tuple[str, ...], options: dict[str, Any], code: int, told: str
) -> None:
    with pytest.raises(CommandError, match=told) as caught:
        run(place, *argv, check=False, **options)
    assert caught.value.exit_code == code
    assert caught.value.result == CommandResult(argv=argv, exit_code=code)


STUBBORN = "trap '' TERM; echo ready; (setsid sh -c 'trap \"\" TERM; sleep 1000; sleep 1000' &); sleep 1000; sleep 1000"


@pytest.mark.usefixtures("hasty")
def test_at_the_time_limit_all_of_it_ends(place: Place, mark: str) -> None:
    with pytest.raises(CommandTimeoutError, match=r"did not end within 0\.05 s, and was ended") as caught:
        shell(place, STUBBORN, timeout=0.05, environment={"MARK": mark})
    assert caught.value.seconds == 0.05
    assert caught.value.result is not None


class WhenReady(Deadline):
    """A time limit that is over as soon as the command has printed something."""

    is_over = False

    def remaining(self) -> float:
        return 0.0 if self.is_over else 0.05

    def expired(self) -> bool:
        return self.is_over


def test_what_was_printed_before_the_time_limit_is_there(
    place: Place, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[Deadline] = [WhenReady(1)]
    monkeypatch.setattr(commands, "Deadline", lambda seconds: limits.pop(0) if limits else Deadline(seconds))
    # One that ends when it is asked to, and says so. A shell may miss a signal that comes just before its `wait`.
    script = "trap 'echo asked; exit 5' TERM; echo ready; while :; do sleep 0.05; done"
    with pytest.raises(CommandTimeoutError) as caught:
        shell(
            place,
            script,
            timeout=1,
            environment={"MARK": mark},
            on_output=lambda *_: monkeypatch.setattr(WhenReady, "is_over", True),
        )
    assert caught.value.result is not None
    assert caught.value.result.stdout == "ready\nasked\n"


def test_a_command_that_does_not_read_is_ended_too(place: Place, mark: str) -> None:
    with pytest.raises(CommandTimeoutError):
        run(place, "sleep", "1000", given=ALL_BYTES * 400, timeout=0.05, environment={"MARK": mark})


@pytest.mark.usefixtures("hasty")
def test_a_function_that_raises_ends_the_command(place: Place, mark: str) -> None:
    def refuse(*_: str) -> None:
        msg = "enough"
        raise ValueError(msg)

    with pytest.raises(ValueError, match="enough"):
        shell(place, STUBBORN, on_output=refuse, environment={"MARK": mark})


def test_what_it_leaves_in_the_background_goes_on_and_may_print(place: Place, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    script = f"(read line <{tmp_path}/go; yes | head -c 200000; echo done >{tmp_path}/done) & echo started"
    assert shell(place, script).stdout == "started\n"
    (tmp_path / "go").write_text("go\n")
    for attempt in attempts(Deadline(10), NotYetError):
        with attempt:
            if not (tmp_path / "done").exists():
                raise NotYetError
    assert (tmp_path / "done").exists()


def test_nothing_stays_that_would_read_for_nobody(place: Place, tmp_path: Path) -> None:
    shell(place, "echo out; exec >&- 2>&-; exit 0")
    assert carriers(str(tmp_path), "cmdline") == []
    pid = shell(place, "sleep 1000 & echo $!").stdout
    assert len(carriers(str(tmp_path), "cmdline")) == 1  # what reads for the background
    os.kill(int(pid), 9)
    for attempt in attempts(Deadline(10), NotYetError):
        with attempt:
            if carriers(str(tmp_path), "cmdline"):
                raise NotYetError
    assert carriers(str(tmp_path), "cmdline") == []


def test_what_prints_for_ever_in_the_background_is_not_waited_for(place: Place) -> None:
    result = shell(place, "yes & echo $! >&2")
    os.kill(int(result.stderr), 9)
    assert result.stdout.strip("y\n") == ""


def test_another_user_has_the_variables_of_the_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What the session's user may have written decides nothing.
    write_environment(tmp_path, PATH="/hostile", GIVEN="of the session")
    monkeypatch.setenv("OF_CONTAINER", "yes")
    script = 'echo "$GIVEN$OF_CONTAINER$MORE"; echo "$HOME"'
    result = shell(make_place(local_engine(tmp_path)), script, user=0, environment={"MORE": "!"})
    assert result.stdout == f"yes!\n{pwd.getpwuid(os.getuid()).pw_dir}\n"
    assert not (tmp_path / "commands").exists()


def fails(error: Exception) -> Any:
    def attach(*_: object) -> contextlib.AbstractContextManager[Exchange]:
        raise error

    return attach


@pytest.mark.parametrize(
    ("state", "kind", "told"),
    [
        ("exited", ServerNotRunningError, "session one does not run"),
        ("paused", ExecError, "session one is paused"),
        (None, SessionNotFoundError, "session one is gone"),
        ("running", EngineError, "refused"),
    ],
)
def test_the_state_of_the_session_says_why_nothing_runs(
    place: Place, state: str | None, kind: type[LauncherError], told: str
) -> None:
    engine = FakeEngine(*([] if state is None else [container(id=CONTAINER, state=state)]))
    engine.on_attach = fails(refusal(409))
    with pytest.raises(kind, match=told):
        run(make_place(engine), "true")


def test_a_user_who_is_not_there_is_an_option_that_cannot_work(place: Place) -> None:
    place.engine.on_attach = fails(refusal(400, "unable to find user"))  # type: ignore[attr-defined] # a FakeEngine
    with pytest.raises(OptionError, match="user is nobody-else, as whom nothing can be run here: unable") as caught:
        run(place, "true", user="nobody-else")
    assert caught.value.option == "user"
    gone = EngineUnavailableError("no answer", hint="see", endpoint="x")
    place.engine.on_attach = fails(gone)  # type: ignore[attr-defined]
    assert error_of(EngineUnavailableError, lambda: run(place, "true", user="nobody-else")) is gone


def test_another_user_in_an_image_without_a_python_on_its_path(place: Place, tmp_path: Path) -> None:
    # No capability: /proc shows this user no program of others.
    script = read_script("run_python.sh").replace("/proc/", f"{tmp_path}/")
    attach = attach_here(tmp_path)

    def attach_without(argv: Sequence[str], user: str | None) -> contextlib.AbstractContextManager[Exchange]:
        assert argv[2] == read_script("run_python.sh")
        return attach(["env", f"PATH={tmp_path}", "/bin/sh", "-c", script, *argv[3:]], user)

    place.engine.on_attach = attach_without  # type: ignore[attr-defined] # a FakeEngine
    with pytest.raises(OptionError, match="user is 0, as whom nothing can be run here: no Python is here") as caught:
        run(place, "true", user=0)
    assert "an image with python3 on its PATH" in caught.value.hint


class Scripted:
    """A command's output as it may come; then nothing does."""

    def __init__(self, *frames: tuple[int, bytes]) -> None:
        self.frames = list(frames)

    def send(self, data: bytes) -> None: ...

    def read(self, deadline: Deadline, *, wake: int | None = None) -> tuple[int, bytes] | None:
        return self.frames.pop(0) if self.frames else None


def message(kind: bytes, data: bytes = b"") -> bytes:
    return kind + struct.pack(">I", len(data)) + data


def scripted(*frames: tuple[int, bytes]) -> Place:
    engine = FakeEngine(container(id=CONTAINER))
    engine.on_attach = lambda *_: contextlib.nullcontext(Scripted(*frames))
    return make_place(engine)


STARTED = message(b"s")


def test_messages_may_come_in_any_pieces() -> None:
    stream = STARTED + message(b"1", b"out") + message(b"a") + message(b"2", b"err") + message(b"e", b"0")
    result = run(scripted(*((1, stream[at : at + 1]) for at in range(len(stream)))), "true")
    assert (result.stdout, result.stderr) == ("out", "err")


@pytest.mark.parametrize(
    ("frames", "started", "told"),
    [
        ([], None, "it is not known to have run: its output was lost"),
        ([(1, b"OCI runtime exec failed: no sh")], None, "OCI runtime exec failed: no sh"),
        ([(2, b"Traceback: no memory")], None, "Traceback: no memory"),
        ([(1, b"s\xff\xff\xff\xff")], None, "not known to have run"),
        ([(1, message(b"f", b"{}"))], None, "why it did not begin cannot be read"),
        ([(1, message(b"f", b"[" * 100_000))], None, "why it did not begin cannot be read"),
        ([(1, STARTED)], True, "its end was not seen: its output was lost"),
        ([(1, STARTED), (2, b"Killed")], True, "its end was not seen: Killed"),
        ([(1, STARTED + message(b"e", b"-1"))], True, "its end was not seen"),
        ([(1, STARTED + message(b"e", b"1" * 5000))], True, "its end was not seen"),
        ([(1, STARTED + message(b"?"))], True, "its end was not seen"),
        ([(1, STARTED + message(b"1", b"x")[:-1])], True, "its end was not seen"),
    ],
)
def test_output_that_breaks_off_or_lies_is_an_error(
    frames: list[tuple[int, bytes]], started: object, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_STATE_SECONDS", 0.0)
    with pytest.raises(ExecError, match=told) as caught:
        run(scripted(*frames), "true")
    assert caught.value.started is started


@pytest.mark.parametrize(("change", "kind"), [("exited", ServerNotRunningError), ("gone", SessionNotFoundError)])
@pytest.mark.parametrize("frames", [[], [(1, STARTED)]])
def test_the_state_of_a_session_that_ends_changes_later_than_its_commands(
    frames: list[tuple[int, bytes]], change: str, kind: type[LauncherError], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = scripted(*frames)
    engine: FakeEngine = place.engine  # type: ignore[assignment]

    def wait(_: float) -> None:
        assert engine.calls[-1][0] == "inspect"
        engine.end(CONTAINER, 137) if change == "exited" else engine.known.clear()

    monkeypatch.setattr(remote, "wait_for_cancel", wait)
    with pytest.raises(kind) as caught:
        run(place, "true")
    assert getattr(caught.value, "exit_code", 137) == 137


class Clock:
    """A time that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


def test_a_slow_function_takes_no_time_from_the_end_of_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    class Late(Scripted):
        """Each frame comes after a second."""

        def read(self, deadline: Deadline, *, wake: int | None = None) -> tuple[int, bytes] | None:
            clock.now += 1
            if deadline.expired():
                raise TimeoutError
            return super().read(deadline)

    def take(_: str, text: str) -> None:
        clock.now += 15

    clock = Clock()
    monkeypatch.setattr("jupyter_launcher.waiting.time", clock)
    engine = FakeEngine(container(id=CONTAINER))
    pieces = [(1, message(b"1", b"x"))] * 4
    engine.on_attach = lambda *_: contextlib.nullcontext(Late((1, STARTED), *pieces, (1, message(b"e", b"143"))))
    with pytest.raises(CommandTimeoutError) as caught:
        run(make_place(engine), "true", timeout=5, on_output=take)
    assert caught.value.result is not None
    assert caught.value.result.stdout == "xxxx"
    engine.on_attach = lambda *_: contextlib.nullcontext(Late((1, STARTED), *pieces * 10))
    with pytest.raises(ExecError, match="has not ended 20 s after its time was over"):
        run(make_place(engine), "true", timeout=5, on_output=take)


def test_a_command_that_cannot_be_ended_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(Scripted):
        def read(self, deadline: Deadline, *, wake: int | None = None) -> tuple[int, bytes] | None:
            if self.frames:
                return self.frames.pop(0)
            raise TimeoutError

    engine = FakeEngine(container(id=CONTAINER))
    engine.on_attach = lambda *_: contextlib.nullcontext(Silent((1, STARTED)))
    with pytest.raises(ExecError, match="has not ended 20 s after its time was over"):
        run(make_place(engine), "true", timeout=1)
    engine.on_attach = lambda *_: contextlib.nullcontext(Silent())
    monkeypatch.setattr(remote, "_STATE_SECONDS", 0.0)
    with pytest.raises(ExecError, match="it did not begin within 60 s"):
        run(make_place(engine), "true")


def test_input_waits_for_answers() -> None:
    class Counting(Scripted):
        sent = 0

        def send(self, data: bytes) -> None:
            self.sent += 1

        def read(self, deadline: Deadline, *, wake: int | None = None) -> tuple[int, bytes] | None:
            counts.append(self.sent)
            return super().read(deadline, wake=wake)

    counts: list[int] = []
    answers = [message(b"a"), message(b"a"), message(b"e", b"0")]
    engine = FakeEngine(container(id=CONTAINER))
    engine.on_attach = lambda *_: contextlib.nullcontext(Counting(*((1, data) for data in (STARTED, *answers))))
    run(make_place(engine), "true", given=b"x" * 2**23)
    assert counts == [1, 17, 18, 19, 19]  # the request, a window of 16, and then one for each answer


@pytest.mark.parametrize(
    ("option", "changes"),
    [
        ("argv", {"argv": "ls -l"}),
        ("argv", {"argv": b"ls"}),
        ("argv", {"argv": []}),
        ("argv", {"argv": [""]}),
        ("argv", {"argv": ["ls", 3]}),
        ("argv", {"argv": ["ls", "a\0b"]}),
        ("argv", {"argv": ["\udc80"]}),
        ("argv", {"argv": {"ls": 1}}),
        ("argv", {"argv": None}),
        ("cwd", {"cwd": ""}),
        ("cwd", {"cwd": "a\0"}),
        ("cwd", {"cwd": 3}),
        ("environment", {"environment": {"": "x"}}),
        ("environment", {"environment": {"A=B": "x"}}),
        ("environment", {"environment": {"A": 1}}),
        ("environment", {"environment": ["A=1"]}),
        ("input", {"given": 3}),
        ("input", {"given": "\udc80"}),
        ("timeout", {"timeout": 0}),
        ("timeout", {"timeout": -1}),
        ("timeout", {"timeout": True}),
        ("timeout", {"timeout": float("nan")}),
        ("timeout", {"timeout": float("inf")}),
        ("timeout", {"timeout": "5"}),
        ("check", {"check": "yes"}),
        ("user", {"user": "-u root"}),
        ("user", {"user": -1}),
        ("user", {"user": True}),
        ("on_output", {"on_output": 3}),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(option: str, changes: dict[str, Any]) -> None:
    engine = FakeEngine()
    given = {"argv": ["ls"], "cwd": "/", **NO_OPTIONS, **changes}
    with pytest.raises(OptionError) as caught:
        run_command(make_place(engine), given.pop("argv"), **given)
    assert caught.value.option == option
    assert engine.calls == []


def test_variables_that_only_the_server_may_not_have_are_fine(place: Place) -> None:
    assert shell(place, "echo $JUPYTER_TOKEN", environment={"JUPYTER_TOKEN": "x"}).stdout == "x\n"
