"""Servers that stay for the next run: which one a test gets, what it finds there, and when there is another."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jupyter_launcher import (
    DEFAULT_IMAGE,
    EngineError,
    EngineUnavailableError,
    Launcher,
    OptionError,
    PipelineDirError,
    ServerNotRunningError,
    Session,
    SessionConflictError,
)
from jupyter_launcher.engine.client import DockerEngine
from jupyter_launcher.pytest_plugin import reuse as reuse_module
from jupyter_launcher.pytest_plugin.reuse import Reuse
from jupyter_launcher.server.api import JupyterApi
from tests.unit.fakes import HASTY, FakeEngine, FakeJupyter, refusal

NOT_ON_CI = ("CI", "PYTEST_XDIST_WORKER", "PYTEST_XDIST_TESTRUNUID", "PYTEST_ADDOPTS")
USES_IT = "def test_it(jupyter_server):\n    print('joined:', jupyter_server.joined)"


@pytest.fixture(autouse=True)
def locks(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the locks are. Not on CI, and not a worker of ours."""
    for name in NOT_ON_CI:
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path_factory.mktemp("locks")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder / f"jupyter-launcher-pytest-{os.getuid()}"


class WithTerminals(FakeJupyter):
    """A server that has terminals too."""

    def __init__(self) -> None:
        super().__init__()
        self.terminals: set[str] = set()

    def answer(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        if method == "GET" and path.partition("?")[0].endswith("/api/kernels"):
            kernel = {"name": "python3", "execution_state": "idle", "last_activity": "2026-01-01T00:00:00Z"}
            status = 200 if self.lists else 503
            return status, json.dumps([{**kernel, "id": item, "connections": 0} for item in self.kernels]).encode()
        _, name, rest = path.partition("/api/terminals")
        if not name:
            return super().answer(method, path, headers)
        if method == "DELETE":
            self.terminals.remove(rest.removeprefix("/"))
            return 204, b""
        return 200, json.dumps([{"name": terminal} for terminal in sorted(self.terminals)]).encode()


@pytest.fixture
def jupyter(monkeypatch: pytest.MonkeyPatch) -> Iterator[WithTerminals]:
    found = WithTerminals()
    with found.serve():
        found.engine.images.known.add(DEFAULT_IMAGE)
        monkeypatch.setattr(DockerEngine, "connect", lambda **_: found.engine)
        yield found


@pytest.fixture
def engine(jupyter: WithTerminals) -> FakeEngine:
    return jupyter.engine


@pytest.fixture
def launcher(engine: FakeEngine) -> Launcher:
    return Launcher(namespace="unit", timeouts=HASTY)


@pytest.fixture
def reuse(tmp_path: Path) -> Iterator[Reuse]:
    found = take(tmp_path)
    yield found
    for renewer in list(found._renewers.values()):
        renewer.stop()
    found.close()


def take(folder: Path, worker: str = "main") -> Reuse:
    found = Reuse.take(folder, folder, worker)
    assert found is not None
    return found


class OfTest:
    """A test that starts sessions."""

    def __init__(self, reuse: Reuse, launcher: Launcher, engine: FakeEngine, folder: Path) -> None:
        self._known = (reuse, launcher, engine, folder)
        self._sessions: list[Any] = []

    def start(self, **options: Any) -> Any:
        reuse, launcher, engine, folder = self._known
        asked = {*options} - {"session_id"}
        self._sessions.append(reuse.start(launcher, engine, folder, options, asked=asked))
        return self._sessions[-1]

    def end(self, *, stays: bool = True) -> list[bool]:
        return [self._known[0].release(session, stays=stays) for session in self._sessions]


@pytest.fixture
def of_test(reuse: Reuse, launcher: Launcher, engine: FakeEngine, tmp_path: Path) -> Any:
    return lambda: OfTest(reuse, launcher, engine, tmp_path)


def inside(pytester: pytest.Pytester, test: str, *options: str) -> pytest.RunResult:
    pytester.makepyfile(test_it=test)
    return pytester.runpytest_inprocess("-s", "--jupyter-reuse", *options)


def creates(engine: FakeEngine) -> int:
    return [call for call, _ in engine.calls].count("create")


# Runs


def test_the_next_run_finds_the_server(pytester: pytest.Pytester, jupyter: WithTerminals) -> None:
    first = inside(pytester, USES_IT)
    first.stdout.fnmatch_lines(["*joined: False*", "jupyter: 1 server stays up to an hour for the next run*stop --all"])
    (info,) = jupyter.engine.known.values()
    assert re.fullmatch(r"jupyter-server\.pytest-reuse-[0-9a-f]{12}-main\.server-1", info.name)
    jupyter.kernels, jupyter.terminals = {"k"}, {"1"}  # as of a run that was killed
    second = inside(pytester, USES_IT)
    second.stdout.fnmatch_lines(["*joined: True*"])
    assert list(jupyter.engine.known) == [info.id]
    assert (jupyter.kernels, jupyter.terminals) == (set(), set())


def test_an_ini_option_does_it_too(pytester: pytest.Pytester, engine: FakeEngine) -> None:
    pytester.makeini("[pytest]\njupyter_reuse = true")
    for _ in range(2):
        pytester.makepyfile(test_it=USES_IT)
        pytester.runpytest_inprocess().assert_outcomes(passed=1)
    assert creates(engine) == 1


FILES = """
def test_one(jupyter_pipeline_dir, tmp_path):
    (jupyter_pipeline_dir / "folder").mkdir()
    (jupyter_pipeline_dir / "folder" / "file").write_text("x")
    (jupyter_pipeline_dir / "link").symlink_to(tmp_path)
    (tmp_path / "mine").write_text("x")

def test_two(jupyter_pipeline_dir, tmp_path):
    print("found:", jupyter_pipeline_dir, list(jupyter_pipeline_dir.iterdir()))
    assert next(tmp_path.parent.glob("test_one*/mine")).read_text() == "x"
    (jupyter_pipeline_dir / "left").write_text("x")
"""


def test_each_test_finds_the_directory_empty(pytester: pytest.Pytester, engine: FakeEngine) -> None:
    for _ in range(2):
        ended = inside(pytester, FILES)
        ended.assert_outcomes(passed=2)
        ended.stdout.fnmatch_lines(["*found: */.pytest_cache/d/jupyter-launcher/*-main/pipeline-dir-1 []"])


def test_a_directory_that_cannot_be_emptied_is_an_error(reuse: Reuse, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        raise PermissionError(path)

    with reuse.directory() as folder:
        (folder / "left").mkdir()
    monkeypatch.setattr(reuse_module, "shutil", SimpleNamespace(rmtree=fail))
    with pytest.raises(PipelineDirError, match="cannot be removed") as caught, reuse.directory():
        pass
    assert (caught.value.path, caught.value.hint) == (str(folder), "remove it")


def test_two_at_once_have_their_own(reuse: Reuse, of_test: Any) -> None:
    """As those of a package and of one that is in it."""
    with reuse.directory() as one, reuse.directory() as two:
        outer, inner = of_test(), of_test()
        assert one != two
        assert outer.start().id != inner.start().id
        outer.end()
        inner.end()
    with reuse.directory() as again:
        assert again == one


def test_an_id_is_free_again_after_a_start_that_failed(of_test: Any, engine: FakeEngine) -> None:
    engine.fail("create", refusal(500))
    with pytest.raises(EngineError):
        of_test().start()
    assert of_test().start().id == "server-1"


@pytest.mark.parametrize(
    ("ci", "options", "why"),
    [
        ("true", (), "the variable CI is set"),
        ("", ("--jupyter-keep=failed",), "jupyter_keep is failed"),
        ("", ("-p", "no:cacheprovider"), "pytest has no cache here"),
    ],
)
def test_why_no_server_is_reused(
    pytester: pytest.Pytester,
    engine: FakeEngine,
    monkeypatch: pytest.MonkeyPatch,
    ci: str,
    options: tuple[str, ...],
    why: str,
) -> None:
    monkeypatch.setenv("CI", ci)
    ended = inside(
        pytester, "def test_it(jupyter_server, tmp_path):\n    assert jupyter_server.lease is None", *options
    )
    ended.assert_outcomes(passed=1)
    ended.stdout.fnmatch_lines([f"jupyter: no server is reused: {why}"])
    assert engine.known == {}


def test_another_run_at_the_same_time_has_servers_of_its_own(pytester: pytest.Pytester, engine: FakeEngine) -> None:
    inside(pytester, USES_IT)
    held = Reuse.take(pytester.path / ".pytest_cache" / "d" / "jupyter-launcher", pytester.path, "main")
    assert held is not None
    ended = inside(pytester, USES_IT)
    ended.stdout.fnmatch_lines(["*joined: False*", "jupyter: no server is reused: another run of these tests has them"])
    assert len(engine.known) == 1
    held.close()


def test_another_run_that_clears_the_cache_takes_nothing_but_files(
    pytester: pytest.Pytester, engine: FakeEngine
) -> None:
    held = Reuse.take(pytester.path / ".pytest_cache" / "d" / "jupyter-launcher", pytester.path, "main")
    assert held is not None
    with held.directory() as before:
        ended = inside(pytester, USES_IT, "--cache-clear")
        assert not before.exists()
    ended.stdout.fnmatch_lines(["jupyter: no server is reused: another run of these tests has them"])
    assert engine.known == {}
    with held.directory() as after:
        assert (after, list(after.iterdir())) == (before, [])
    held.close()


def test_a_cache_that_cannot_be_written(pytester: pytest.Pytester, engine: FakeEngine) -> None:
    (pytester.path / "file").touch()
    ended = inside(pytester, USES_IT, "-W", "ignore::pytest.PytestCacheWarning", "-o", "cache_dir=file/cache")
    ended.assert_outcomes(passed=1)
    ended.stdout.fnmatch_lines(["*joined: False*", "jupyter: no server is reused: *file*"])
    assert engine.known == {}


def test_locks_that_others_can_write_are_not_trusted(
    pytester: pytest.Pytester, engine: FakeEngine, locks: Path
) -> None:
    locks.mkdir()
    locks.chmod(0o777)
    ended = inside(pytester, USES_IT)
    ended.assert_outcomes(passed=1)
    ended.stdout.fnmatch_lines([f"jupyter: no server is reused: {locks} is no folder that only this user can write"])
    locks.rmdir()
    locks.symlink_to(pytester.path)
    inside(pytester, USES_IT).stdout.fnmatch_lines(["jupyter: no server is reused: *"])


def test_runs_with_one_cache_have_directories_of_their_own(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    one, two = (Reuse.take(tmp_path / "cache", folder, "main") for folder in folders)
    assert one is not None
    assert two is not None
    with one.directory() as first, two.directory() as second:
        assert first != second
    one.close()
    two.close()


def test_the_directory_alone_needs_no_engine(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        msg = "nothing listens there"
        raise EngineUnavailableError(msg, hint="start Docker")

    monkeypatch.setattr(DockerEngine, "connect", fail)
    inside(pytester, FILES).assert_outcomes(passed=2)


def test_servers_that_no_test_uses_are_not_in_the_report(pytester: pytest.Pytester, engine: FakeEngine) -> None:
    test = (
        "def test_more(jupyter_server_factory): jupyter_server_factory(memory='1g')\n"
        "def test_it(jupyter_server): assert False"
    )
    ended = inside(pytester, test)
    ended.stdout.fnmatch_lines(["*jupyter session server-1 *", "*2 servers stay*"])
    ended.stdout.no_fnmatch_line("*jupyter session server-memory-1 *")


def test_a_server_with_a_gateway_of_this_run_ends_with_it(pytester: pytest.Pytester, engine: FakeEngine) -> None:
    inside(pytester, "def test_it(jupyter_gateway, jupyter_server): pass").assert_outcomes(passed=1)
    assert engine.known == {}


def test_what_a_test_starts_with_the_launcher_is_stopped(pytester: pytest.Pytester, engine: FakeEngine) -> None:
    inside(pytester, "def test_it(jupyter_launcher, tmp_path): jupyter_launcher.start(tmp_path)")
    assert engine.known == {}


# Which server a test gets


def test_tests_that_ask_for_the_same_find_the_same(of_test: Any) -> None:
    one, two = of_test(), of_test()
    ids = [one.start().id, one.start().id, one.start(memory="1g").id, one.start(cpus=1, memory="1g").id]
    assert ids == ["server-1", "server-2", "server-memory-1", "server-cpus-memory-1"]
    assert one.end() == [True] * 4
    session = two.start(memory="1g")
    assert (session.id, session.joined, session.lease) == ("server-memory-1", True, 3600)
    session = two.start(memory="1g")
    assert (session.id, session.joined) == ("server-memory-2", False)
    assert two.end() == [True] * 2


def test_a_folder_of_the_tests_has_its_own_server(
    reuse: Reuse, launcher: Launcher, engine: FakeEngine, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    def find_id(folder: Path) -> str:
        session = reuse.start(launcher, engine, folder, {}, asked={"pipeline_dir"})
        reuse.release(session, stays=True)
        return session.id

    folders = [tmp_path / "one", tmp_path / "two", tmp_path_factory.mktemp("temporary")]
    for folder in folders:
        folder.mkdir(exist_ok=True)
    one, two, temporary = map(find_id, folders)
    assert re.fullmatch("server-[0-9a-f]{8}-pipeline_dir-1", one)
    assert one != two
    assert temporary == "server-pipeline_dir-1"


def test_many_options_make_no_id_that_is_too_long(of_test: Any) -> None:
    test = of_test()
    options = {"environment": {}, "idle_timeout": 3600, "read_only": False, "shm_size": "1g"}
    assert re.fullmatch("server-[0-9a-f]{12}-1", test.start(**options).id)
    assert test.end() == [True]


def test_other_values_make_it_anew(of_test: Any, engine: FakeEngine) -> None:
    one, two = of_test(), of_test()
    before = one.start(memory="1g")
    one.end()
    after = two.start(memory="2g")
    assert (after.id, after.joined) == (before.id, False)
    assert list(engine.known) == [after.container_id]
    two.end()


def test_an_image_that_was_built_anew_makes_it_anew(
    of_test: Any, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = of_test(), of_test()
    one.start(labels={"mine": "1"})
    one.end()
    monkeypatch.setattr(engine.images, "find", lambda _: "sha256:another")
    assert not two.start(labels={"mine": "1"}).joined
    two.end()


def test_an_image_of_its_kernels_that_was_built_anew_makes_it_anew(
    of_test: Any, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Launcher.start
    monkeypatch.setattr(Launcher, "start", lambda own, place, kernels, **given: start(own, place, **given))
    found: dict[str, str] = {}
    monkeypatch.setattr(engine.images, "find", lambda name: found.get(name, "sha256:0"))
    one, two, three = of_test(), of_test(), of_test()
    one.start(kernels={"py": "x"})
    one.end()
    assert two.start(kernels={"py": "x"}).joined
    two.end()
    found["x"] = "sha256:1"
    assert not three.start(kernels={"py": "x"}).joined
    three.end()
    assert ("x", "missing") in engine.images.ensured


def test_one_test_cannot_take_its_own_session_with_other_options(of_test: Any) -> None:
    test = of_test()
    test.start(session_id="mine")
    assert test.start(session_id="mine").joined
    with pytest.raises(SessionConflictError):
        test.start(session_id="mine", memory="1g")
    test.end()


@pytest.mark.parametrize("options", [{"session_id": 5}, {"labels": "no mapping"}])
def test_options_that_cannot_be_are_refused(of_test: Any, engine: FakeEngine, options: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        of_test().start(**options)
    assert engine.known == {}


def test_a_lease_is_renewed_when_it_is_old(of_test: Any, jupyter: WithTerminals, reuse: Reuse) -> None:
    for _ in range(2):
        test = of_test()
        test.start()
        test.end()
    assert jupyter.leases == ["3600"]  # by the start
    reuse._renewed.clear()
    test = of_test()
    test.start()
    test.end()
    assert jupyter.leases == ["3600"] * 2


def test_a_session_whose_lease_is_just_over_is_made_anew(
    of_test: Any, reuse: Reuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(session: Session) -> None:
        msg = "it is ending"
        raise ServerNotRunningError(msg, hint="start it again")

    one, two = of_test(), of_test()
    one.start()
    one.end()
    reuse._renewed.clear()
    monkeypatch.setattr(Session, "renew", fail)
    assert not two.start().joined
    two.end()


# When a test has ended


def test_kernels_and_terminals_end_with_their_test(of_test: Any, jupyter: WithTerminals) -> None:
    test = of_test()
    test.start()
    jupyter.kernels, jupyter.terminals = {"k"}, {"1"}
    assert test.end() == [True]
    assert (jupyter.kernels, jupyter.terminals) == (set(), set())


def test_a_session_without_a_lease_does_not_stay(of_test: Any) -> None:
    test = of_test()
    test.start(lease=None)
    assert test.end() == [False]


def test_a_session_that_does_not_answer_any_more_does_not_stay(
    of_test: Any, reuse: Reuse, jupyter: WithTerminals
) -> None:
    test = of_test()
    test.start()
    jupyter.lists = False
    assert test.end() == [False]
    told = "jupyter: server server-1 does not stay for the next test: it does not list api/kernels (status 503)"
    assert (reuse.idle, reuse.describe()) == (set(), [told])


def test_a_session_that_a_test_leaves_paused_is_not_asked(
    pytester: pytest.Pytester, jupyter: WithTerminals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Session, "close_kernel", lambda _: pytest.fail("it would wait for an answer"))
    monkeypatch.setattr(Session, "request", lambda *_, **__: pytest.fail("it would wait for an answer"))
    ended = inside(pytester, "def test_it(jupyter_server):\n    jupyter_server.pause()")
    ended.assert_outcomes(passed=1)
    told = "jupyter: server server-1 does not stay for the next test: it does not answer (its state is paused)"
    ended.stdout.fnmatch_lines([told])
    assert jupyter.engine.known == {}


def test_that_a_test_has_stopped_its_session_is_not_told(of_test: Any, reuse: Reuse) -> None:
    test = of_test()
    test.start().stop()
    assert test.end() == [False]
    assert reuse.describe() == []


# The next run


def test_sessions_of_the_last_run_that_cannot_be_used_are_stopped(
    reuse: Reuse, launcher: Launcher, jupyter: WithTerminals, tmp_path: Path
) -> None:
    launcher.start(tmp_path, session_id="with", lease=60)
    launcher.start(tmp_path, session_id="without")
    ended = launcher.start(tmp_path, session_id="ended", lease=60)
    jupyter.engine.end(ended.container_id)
    jupyter.kernels = {"k"}
    reuse.prepare(launcher, jupyter.engine)
    assert jupyter.kernels == set()
    assert launcher.ids() == ["with"]
    assert reuse.idle == {"with"}


def test_a_server_of_the_last_run_that_does_not_answer_is_not_waited_for(
    pytester: pytest.Pytester, jupyter: WithTerminals, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside(pytester, USES_IT)
    (before,) = jupyter.engine.known
    monkeypatch.setattr(JupyterApi, "is_alive", lambda *_: False)
    monkeypatch.setattr(Launcher, "get", lambda *_: pytest.fail("it would wait for an answer"))
    monkeypatch.setattr(Launcher, "stop", lambda *_: pytest.fail("it would wait for an answer"))
    ended = inside(pytester, USES_IT)
    ended.assert_outcomes(passed=1)
    ended.stdout.fnmatch_lines(
        [
            "*joined: False*",
            "jupyter: server server-1 of an earlier run was stopped: it does not answer (its state is starting)",
            "jupyter: 1 server stays *",
        ]
    )
    assert before not in jupyter.engine.known


def test_another_folder_at_the_same_path_is_another_one(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    names = []
    for worker in ("main", "main", "gw1"):
        found = Reuse.take(tmp_path, root, worker)
        assert found is not None
        names.append(found.namespace)
        found.close()
    assert names[0] == names[1]
    assert names[2] == names[0].replace("main", "gw1")
    root.rename(tmp_path / "old")
    root.mkdir()
    found = Reuse.take(tmp_path, root, "main")
    assert found is not None
    assert found.namespace != names[0]
    found.close()
