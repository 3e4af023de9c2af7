"""What counts as use of a session, and what is told of it: the patches for that, run here."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from jupyter_launcher.spec.server import server_config
from tests.unit.fakes import session_spec

IDLE, BUSY = (False, "then"), (True, "then")


class Handler:
    def __init__(self) -> None:
        self.headers: dict[str, str] = {}

    def set_header(self, name: str, value: str) -> None:
        self.headers[name] = value

    def get(self) -> str:
        return "answer"


class Contents:
    def save(self, model: str, path: str) -> str:
        return f"{model} {path}"

    copy = rename = delete = save


class Kernels:
    """Kernels whose manager answers at once, or later, or not."""

    def __init__(self) -> None:
        self.models: list[dict[str, Any]] = []
        self.error: Exception | None = None
        self.ended: list[str] = []

    async def list_kernels(self) -> list[dict[str, Any]]:
        if self.error is not None:
            raise self.error
        return self.models

    async def shutdown_kernel(self, kernel: str) -> None:
        self.ended.append(kernel)


class Server:
    """A server, as far as the patches look; its clock goes on by what it is asked to sleep, and by ``lost``."""

    def __init__(self) -> None:
        self.written = False
        self.contents_manager = Contents()
        self.kernel_manager = Kernels()
        self.terminals: dict[str, Any] = {}
        self.web_app = SimpleNamespace(settings={"terminal_manager": SimpleNamespace(terminals=self.terminals)})
        self.log = logging.getLogger("unit.server")
        self.io_loop = SimpleNamespace(add_callback=lambda *call: self.callbacks.append(call))
        self.callbacks: list[Any] = []

    def write_server_info_file(self) -> None:
        self.written = True


@pytest.fixture
def patched(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Gives the names in a server's configuration with these limits, and the server, as ``server``."""
    made: Any = type("ServerApp", (Server,), {"write_server_info_file": Server.write_server_info_file})
    handlers: Any = [type(name, (Handler,), {"get": Handler.get}) for name in ("ContentsHandler", "APIStatusHandler")]
    modules = {
        "jupyter_server.serverapp": {"ServerApp": made},
        "jupyter_server.services.contents.handlers": {"ContentsHandler": handlers[0]},
        "jupyter_server.services.api.handlers": {"APIStatusHandler": handlers[1]},
        "tornado.ioloop": {"IOLoop": SimpleNamespace(current=lambda: SimpleNamespace(add_callback=print))},
    }
    packages = {name.rpartition(".")[0] for name in modules} | {"jupyter_server", "jupyter_server.services"}
    for name in packages | set(modules):
        module = ModuleType(name)
        vars(module).update(modules.get(name, {}))
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", "/no/such")

    def load(**limits: Any) -> dict[str, Any]:
        names: dict[str, Any] = {}
        exec(server_config(session_spec(**limits), None).replace("/proc/1/environ", "/no/such"), names)  # noqa: S102 - as the server does
        server = made()
        server.write_server_info_file()
        assert server.written
        return {**names, "server": server, "handlers": [kind() for kind in handlers], "names": names}

    return load


@pytest.fixture
def idleness(patched: Callable[..., dict[str, Any]]) -> Any:
    return patched(idle_timeout=60)["_Idleness"]()


# What counts


def test_seconds_count_from_the_first_look(idleness: Any) -> None:
    for passed, seconds in ((None, 0), (5, 5), (5, 10), (0, 10)):
        idleness.count(passed, {"k": IDLE}, "others", False)
        assert (idleness.seconds, idleness.kernels) == (seconds, {"k": ("then", seconds)})


@pytest.mark.parametrize(
    ("kernels", "others", "has_job", "of_kernel"),
    [
        ({"k": BUSY}, "others", False, 0),
        ({"k": (False, "now")}, "others", False, 0),
        ({"k": IDLE, "another": IDLE}, "others", False, 10),
        ({"k": IDLE}, "changed", False, 10),
        ({"k": IDLE}, "others", True, 10),
    ],
)
def test_use_counts_anew(idleness: Any, kernels: Any, others: str, has_job: bool, of_kernel: int) -> None:  # noqa: FBT001 - pytest's
    for passed in (None, 5):
        idleness.count(passed, {"k": IDLE}, "others", False)
    idleness.count(5, kernels, others, has_job)
    assert (idleness.seconds, idleness.kernels["k"][1]) == (0, of_kernel)


def test_the_end_of_a_kernel_is_no_use(idleness: Any) -> None:
    idleness.count(None, {"k": IDLE}, "others", False)
    idleness.count(5, {}, "others", False)
    assert (idleness.seconds, idleness.kernels) == (5, {})


def test_after_a_pause_everything_counts_anew(idleness: Any) -> None:
    for passed in (None, 50, None, 5):
        idleness.count(passed, {"k": IDLE}, "others", False)
    assert (idleness.seconds, idleness.kernels) == (5, {"k": ("then", 5)})


# The watch


class Watch:
    """Runs the watch of a server against a clock of its own, for some looks; ``on_look`` is called at each."""

    def __init__(self, names: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        self.server = names["server"]
        self.clock = 0.0
        self.lost = 0.0
        self.looks = 0
        self.pauses: list[float] = []
        self.signals: list[tuple[int, int]] = []
        self.on_look: Callable[[], object] = lambda: None
        self._most = 0
        own = names["names"]
        monkeypatch.setitem(own, "time", SimpleNamespace(monotonic=lambda: self.clock, time=lambda: self.clock))
        monkeypatch.setitem(own, "asyncio", SimpleNamespace(sleep=self._sleep, gather=asyncio.gather))
        killer = SimpleNamespace(start=lambda: None)
        self.timers: list[Any] = []

        def make_timer(*given: Any) -> Any:
            self.timers.append(given)
            return killer

        monkeypatch.setitem(own, "threading", SimpleNamespace(Timer=make_timer))
        monkeypatch.setattr(own["os"], "kill", lambda *given: self.signals.append(given))

    async def _sleep(self, seconds: float) -> None:
        if self.looks == self._most:
            raise asyncio.CancelledError
        self.looks += 1
        self.pauses.append(seconds)
        self.clock += seconds + self.lost
        self.lost = 0
        self.on_look()

    def run(self, looks: int) -> float | None:
        """Seconds after which the session was ended; None: it was not, after so many looks."""
        self._most = looks
        watch, server = self.server.callbacks[-1]
        try:
            asyncio.run(watch(server))
        except asyncio.CancelledError:
            return None
        return self.clock


@pytest.fixture
def watch(patched: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Watch]:
    return lambda **limits: Watch(patched(**limits), monkeypatch)


def model(kernel: str = "k", state: str = "idle", last: str = "then") -> dict[str, Any]:
    return {"id": kernel, "execution_state": state, "last_activity": last}


def test_a_session_that_nobody_uses_is_ended_gracefully_and_then_by_force(watch: Callable[..., Watch]) -> None:
    watched = watch(idle_timeout=10)
    assert watched.run(100) == 11  # the first look only sees what is there
    ((_, number),) = watched.signals
    assert number == 15
    ((seconds, _, (_, forced)),) = watched.timers
    assert (seconds, forced) == (20, 9)


@pytest.mark.parametrize(
    ("limits", "pause"),
    [({"idle_timeout": 1}, 0.2), ({"idle_timeout": 86400}, 15), ({"idle_timeout": 50, "idle_kernel_timeout": 20}, 2)],
)
def test_a_look_is_taken_often_enough_and_no_more(
    watch: Callable[..., Watch], limits: dict[str, int], pause: float
) -> None:
    watched = watch(**limits)
    watched.run(2)
    assert watched.pauses == [pause, pause]


def test_a_kernel_that_is_busy_keeps_the_session(watch: Callable[..., Watch]) -> None:
    watched = watch(idle_timeout=10)
    kernels = watched.server.kernel_manager
    kernels.models = [model(state="busy")]

    def end_the_cell() -> None:
        if watched.looks == 40:
            kernels.models = [model(last="now")]

    watched.on_look = end_the_cell
    assert watched.run(100) == 50


@pytest.mark.parametrize("what", ["a write", "a terminal's output", "a job"])
def test_what_is_done_keeps_the_session(
    watch: Callable[..., Watch], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    watched = watch(idle_timeout=10)
    terminal = SimpleNamespace(last_activity=0, ptyproc=SimpleNamespace(fd=7, pid=100))
    watched.server.terminals["1"] = terminal
    monkeypatch.setattr("os.tcgetpgrp", lambda fd: 200 if what == "a job" else 100 if fd == 7 else 0)

    def use() -> None:
        if what == "a write":
            assert watched.server.contents_manager.save("model", "path") == "model path"
        if what == "a terminal's output":
            terminal.last_activity += 1

    watched.on_look = use
    assert watched.run(50) is None


@pytest.mark.parametrize("how", ["one that runs", "one after another"])
def test_a_command_of_the_launchers_keeps_the_session(
    watch: Callable[..., Watch], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    watched = watch(idle_timeout=10)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "jupyter"))
    (tmp_path / "jupyter").mkdir()
    assert watched.run(5) is None  # there was no command yet
    lock = os.open(tmp_path / "commands", os.O_WRONLY | os.O_CREAT)

    def use() -> None:
        if how == "one that runs":
            fcntl.flock(lock, fcntl.LOCK_SH)
        else:
            os.utime(lock, (watched.looks, watched.looks))

    watched.on_look = use
    assert watched.run(50) is None
    watched.on_look = lambda: fcntl.flock(lock, fcntl.LOCK_UN)
    assert watched.run(100) is not None
    os.close(lock)


def test_a_terminal_in_which_nothing_runs_keeps_nothing(
    watch: Callable[..., Watch], monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = watch(idle_timeout=10)
    ended = SimpleNamespace(ptyproc=SimpleNamespace(fd=-1, pid=100))
    watched.server.terminals.update(
        {"1": SimpleNamespace(ptyproc=SimpleNamespace(fd=7, pid=100)), "2": ended, "3": SimpleNamespace()}
    )

    def find_group(fd: int) -> int:
        if fd < 0:
            raise OSError
        return 100

    monkeypatch.setattr("os.tcgetpgrp", find_group)
    assert watched.run(100) == 11


def test_a_server_without_terminals_is_watched_too(watch: Callable[..., Watch]) -> None:
    watched = watch(idle_timeout=10)
    watched.server.web_app.settings.clear()
    assert watched.run(100) == 11


def test_a_pause_is_not_used_up(watch: Callable[..., Watch]) -> None:
    watched = watch(idle_timeout=10)

    def pause() -> None:
        watched.lost = 3600 if watched.looks == 8 else 0

    watched.on_look = pause
    assert watched.run(100) == 3600 + 9 + 10  # the look after the pause is the first one again


def test_an_error_ends_no_session_and_is_logged_once(
    watch: Callable[..., Watch], caplog: pytest.LogCaptureFixture
) -> None:
    watched = watch(idle_timeout=10)
    kernels = watched.server.kernel_manager
    kernels.error = ValueError("the gateway does not answer")

    def recover() -> None:
        if watched.looks == 30:
            kernels.error = None

    watched.on_look = recover
    assert watched.run(100) == 40
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert "the gateway does not answer" in caplog.text


def test_a_kernel_that_is_idle_is_shut_down_and_the_session_stays(
    watch: Callable[..., Watch], caplog: pytest.LogCaptureFixture
) -> None:
    watched = watch(idle_kernel_timeout=10)
    kernels = watched.server.kernel_manager
    kernels.models = [model("idle"), model("busy", "busy")]

    def end() -> None:
        kernels.models = [item for item in kernels.models if item["id"] not in kernels.ended]

    watched.on_look = end
    assert watched.run(100) is None
    assert kernels.ended == ["idle"]
    assert "kernel idle was idle for 10 s; it ends" in caplog.text
    assert not watched.signals


def test_a_kernel_manager_that_answers_at_once(watch: Callable[..., Watch]) -> None:
    watched = watch(idle_timeout=10, idle_kernel_timeout=5)
    kernels = watched.server.kernel_manager
    kernels.list_kernels = lambda: [] if kernels.ended else [model()]
    kernels.shutdown_kernel = kernels.ended.append
    # The end of the kernel is no use, so the session's own limit goes on.
    assert watched.run(100) == 10.5
    assert kernels.ended == ["k"]


# What is told


def test_the_answers_tell_of_kills_and_of_the_last_write(
    patched: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = patched()
    monkeypatch.setitem(found["names"], "_read_oom_kills", lambda: None)
    for handler in found["handlers"]:
        assert (handler.get(), handler.headers) == ("answer", {})
    monkeypatch.setitem(found["names"], "_read_oom_kills", lambda: 3)
    monkeypatch.setitem(found["names"], "time", SimpleNamespace(time=lambda: 5.5))
    for name in ("save", "copy", "rename", "delete"):
        found["names"]["_writes"].clear()
        assert getattr(found["server"].contents_manager, name)("a", path="b") == "a b"
        for handler in found["handlers"]:
            assert handler.get() == "answer"
            assert handler.headers == {"X-Jupyter-Launcher-OOM-Kills": "3", "X-Jupyter-Launcher-Last-Write": "5.500"}


@pytest.mark.parametrize(
    ("files", "kills"),
    [
        (("low 0\noom 9\noom_kill 2\noom_group_kill 7\n", None), 2),
        ((None, "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"), 1),
        ((None, "oom_kill_disable 0\nunder_oom 0\n"), None),
        (("oom_kill many\n", "oom_kill 1\n"), 1),
        ((None, None), None),
    ],
)
def test_the_counter_is_read_from_both_versions_of_control_groups(
    patched: Callable[..., dict[str, Any]], tmp_path: Any, files: tuple[str | None, ...], kills: int | None
) -> None:
    found = patched()
    paths = {
        path: tmp_path / str(number)
        for number, path in enumerate(("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"))
    }
    for path, text in zip(paths.values(), files, strict=True):
        if text is not None:
            path.write_text(text)
    found["names"]["open"] = lambda path: paths[path].open()
    assert found["_read_oom_kills"]() == kills


def test_a_kill_is_logged(
    patched: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    found = patched()
    counts = iter([1, 1, 3, 3, None])

    def count() -> int | None:
        found_now = next(counts, "end")
        if found_now == "end":
            raise asyncio.CancelledError
        return found_now  # type: ignore[return-value] # a number or None

    async def sleep(_: float) -> None:
        return

    monkeypatch.setitem(found["names"], "_read_oom_kills", count)
    monkeypatch.setitem(found["names"], "asyncio", SimpleNamespace(sleep=sleep))
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(found["_log_oom_kills"](found["server"]))
    assert [record.message for record in caplog.records] == [
        "a process of this session was killed for memory, 3 so far"
    ]
