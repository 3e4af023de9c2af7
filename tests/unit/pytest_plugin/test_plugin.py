"""The plugin's hooks and fixtures, in test runs within this process that need no engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jupyter_launcher import DEFAULT_IMAGE, EngineUnavailableError, KernelImage, OptionError
from jupyter_launcher.engine.client import DockerEngine
from jupyter_launcher.pytest_plugin import LauncherConfig, plugin, run
from jupyter_launcher.pytest_plugin.config import images_of
from tests.unit.fakes import FakeEngine, FakeJupyter

USES_IT = "def test_it(jupyter_server):\n    assert jupyter_server.url"


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of somebody else's: not on CI, and not a worker of ours."""
    for name in ("CI", "PYTEST_XDIST_WORKER", "PYTEST_XDIST_TESTRUNUID", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    """An engine for the runs within."""
    with FakeJupyter().serve() as jupyter:
        jupyter.engine.images.known.add(DEFAULT_IMAGE)
        monkeypatch.setattr(DockerEngine, "connect", lambda **_: jupyter.engine)
        yield jupyter.engine


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    error = EngineUnavailableError("nothing listens there", hint="start Docker")

    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(DockerEngine, "connect", fail)


def inside(pytester: pytest.Pytester, test: str, *options: str) -> pytest.RunResult:
    pytester.makepyfile(test_it=test)
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", *options)


def test_a_run_that_does_not_use_it_shows_nothing(pytester: pytest.Pytester) -> None:
    ended = inside(pytester, "def test_it(): pass")
    ended.assert_outcomes(passed=1)
    ended.stdout.no_fnmatch_line("*jupyter:*")


def test_a_test_gets_a_server_and_it_is_stopped(pytester: pytest.Pytester, engine: FakeEngine) -> None:
    ended = inside(pytester, USES_IT)
    ended.assert_outcomes(passed=1)
    ended.stdout.fnmatch_lines([f"jupyter: Docker 28.5.1 (API 1.51) at *, image {DEFAULT_IMAGE}"])
    assert engine.known == {}
    assert engine.closed


def test_a_failed_test_shows_the_containers_and_not_the_token(pytester: pytest.Pytester, engine: FakeEngine) -> None:
    ended = inside(pytester, "def test_it(jupyter_server):\n    assert not jupyter_server.id")
    ended.assert_outcomes(failed=1)
    ended.stdout.fnmatch_lines(["*jupyter session *", "container jupyter-server.pytest-*", "*the log*"])
    ended.stdout.no_fnmatch_line("*0123456789abcdef*")
    assert engine.known == {}


def test_a_failed_start_is_an_error_without_a_long_traceback(pytester: pytest.Pytester, engine: FakeEngine) -> None:
    engine.port = None
    ended = inside(pytester, USES_IT)
    ended.assert_outcomes(errors=1)
    ended.stdout.fnmatch_lines(["*EngineError*no published port*", "*jupyter session *, which failed to start*"])
    ended.stdout.no_fnmatch_line("*start_session*")
    assert engine.known == {}


def test_the_full_traceback_is_there_for_who_asks(pytester: pytest.Pytester, engine: FakeEngine) -> None:
    engine.port = None
    inside(pytester, USES_IT, "--full-trace").stdout.fnmatch_lines(["*start_session*"])


def test_sessions_that_are_kept_are_listed(pytester: pytest.Pytester, engine: FakeEngine) -> None:
    ended = inside(pytester, "def test_it(jupyter_server):\n    assert not jupyter_server.id", "--jupyter-keep=failed")
    ended.stdout.fnmatch_lines(["*jupyter sessions that were kept*", "test_it: http*", "*to remove it:*"])
    assert len(engine.known) == 1


@pytest.mark.usefixtures("no_engine")
@pytest.mark.parametrize(
    ("options", "ci", "outcome"),
    [
        ((), "", {"skipped": 1}),
        ((), "true", {"errors": 1}),
        (("--jupyter-docker=require",), "", {"errors": 1}),
        (("--jupyter-docker=skip",), "true", {"skipped": 1}),
    ],
)
def test_without_an_engine(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    ci: str,
    outcome: dict[str, int],
) -> None:
    monkeypatch.setenv("CI", ci)
    ended = inside(pytester, USES_IT, "-rs", *options)
    ended.assert_outcomes(**outcome)
    ended.stdout.fnmatch_lines(["*nothing listens there*"])


@pytest.mark.parametrize(
    "option",
    [
        "jupyter_docker=sometimes",
        "jupyter_isolation=some",
        "jupyter_keep=some",
        "jupyter_scope=modul",
        "jupyter_start_timeout=0",
        "jupyter_start_timeout=x",
    ],
)
def test_ini_options_that_cannot_be(pytester: pytest.Pytester, option: str) -> None:
    ended = inside(pytester, "def test_it(): pass", "-o", option)
    assert ended.ret == pytest.ExitCode.USAGE_ERROR
    ended.stderr.fnmatch_lines([f"*{option.partition('=')[0]} is '{option.partition('=')[2]}'*"])


def test_the_time_of_a_start_may_be_given(pytester: pytest.Pytester, engine: FakeEngine) -> None:
    ended = inside(
        pytester,
        "def test_it(jupyter_launcher):\n    assert jupyter_launcher.timeouts.start == 33",
        "--jupyter-start-timeout=33",
    )
    ended.assert_outcomes(passed=1)


ONE = """
import pytest

@pytest.fixture
def of_one_test(jupyter_server_factory):
    return jupyter_server_factory

class TestIt:
    def test_one(self, jupyter_server, jupyter_pipeline_dir, tmp_path):
        assert jupyter_server.pipeline_dir == jupyter_pipeline_dir != tmp_path
        (jupyter_pipeline_dir / jupyter_server.id).touch()

    def test_two(self, jupyter_server, jupyter_pipeline_dir, of_one_test):
        assert [path.name for path in jupyter_pipeline_dir.iterdir()] == [jupyter_server.id]
        assert of_one_test().id != jupyter_server.id

def test_three(jupyter_server, jupyter_pipeline_dir, jupyter_launcher):
    print("servers:", len(jupyter_launcher.list(probe=False)), "files:", len(list(jupyter_pipeline_dir.iterdir())))
"""


@pytest.mark.parametrize(("scope", "seen"), [("class", "servers: 1 files: 0"), ("module", "servers: 2 files: 1")])
def test_a_server_lasts_as_long_as_its_scope(
    pytester: pytest.Pytester, engine: FakeEngine, scope: str, seen: str
) -> None:
    ended = inside(pytester, ONE, "-s", f"--jupyter-scope={scope}")
    ended.assert_outcomes(passed=3)
    ended.stdout.fnmatch_lines([f"*{seen}*"])
    assert engine.known == {}


WIDE = """
def test_unused(): assert False

def test_fails(jupyter_server): assert not jupyter_server.id

def test_passes(jupyter_server): pass
"""


@pytest.mark.parametrize("scope", ["module", "package", "session"])
def test_a_wider_scope_is_kept_if_one_of_its_tests_has_failed(
    pytester: pytest.Pytester, engine: FakeEngine, scope: str
) -> None:
    ended = inside(pytester, WIDE, "-o", f"jupyter_scope={scope}", "--jupyter-keep=failed")
    ended.assert_outcomes(failed=2, passed=1)
    ended.stdout.fnmatch_lines(["*jupyter session *", "*the log*", "*jupyter sessions that were kept*", "*to remove*"])
    assert len(engine.known) == 1
    engine.known.clear()
    inside(pytester, WIDE, "-o", f"jupyter_scope={scope}", "--jupyter-keep=failed", "--deselect=test_it.py::test_fails")
    assert engine.known == {}


def test_beyond_a_test_the_gateway_is_that_of_the_configuration(pytester: pytest.Pytester, engine: FakeEngine) -> None:
    test = "def test_it(jupyter_gateway, jupyter_server):\n    assert jupyter_server.gateway is None"
    inside(pytester, test, "--jupyter-scope=module").assert_outcomes(passed=1)


GATEWAY = """
def test_it(jupyter_gateway, jupyter_gateway_dir, jupyter_pipeline_dir, tmp_path):
    assert str(jupyter_gateway).startswith("kernel-gateway.")
    assert jupyter_pipeline_dir == jupyter_gateway_dir
    (jupyter_pipeline_dir / "made").write_text("x")

def test_what_is_left(jupyter_gateway, jupyter_gateway_dir):
    assert list(jupyter_gateway_dir.iterdir()) == []
"""


def test_a_gateway_is_shared_and_its_directory_is_each_tests_own(pytester: pytest.Pytester, engine: FakeEngine) -> None:
    inside(pytester, GATEWAY).assert_outcomes(passed=2)
    assert engine.known == {}


NAMED = """
import pytest
from jupyter_launcher.pytest_plugin import LauncherConfig

@pytest.fixture(scope="session")
def jupyter_launcher_config():
    return LauncherConfig(gateway="gw", image="mine", launcher={"owner": "me"})

def test_it(jupyter_gateway, jupyter_launcher, jupyter_pipeline_dir, tmp_path):
    assert jupyter_gateway == "gw"
    assert (jupyter_launcher.image, jupyter_launcher.owner) == ("mine", "me")
    assert jupyter_pipeline_dir == tmp_path
"""


def test_a_gateway_that_was_named_is_taken(pytester: pytest.Pytester, engine: FakeEngine) -> None:
    inside(pytester, NAMED).assert_outcomes(passed=1)
    assert "create" not in [call for call, _ in engine.calls]


KERNELS = """
import pytest
from jupyter_launcher import Launcher

def test_config(jupyter_launcher_config):
    assert jupyter_launcher_config.kernels == {"py": "team/py:7", "r": "team/r:1"}
    assert jupyter_launcher_config.isolation == "kernel"

@pytest.fixture
def given(monkeypatch):
    found = []
    start = Launcher.start

    def record(launcher, place, *, kernels=None, isolation=None, **options):
        found.append((kernels, isolation))
        return start(launcher, place, **options)

    monkeypatch.setattr(Launcher, "start", record)
    return found

def test_sessions_have_them(given, jupyter_server_factory):
    jupyter_server_factory()
    jupyter_server_factory(kernels=None)
    jupyter_server_factory(kernels={"own": "x"})
    known = {"py": "team/py:7", "r": "team/r:1"}
    assert given == [(known, "kernel"), (None, None), ({"own": "x"}, None)]

def test_a_gateway_is_in_their_place(given, jupyter_server_factory):
    with pytest.raises(Exception, match="nowhere"):
        jupyter_server_factory(gateway="nowhere")
    assert given == [(None, None)]
"""


@pytest.mark.parametrize("by", ["ini", "line"])
def test_kernels_in_containers(pytester: pytest.Pytester, engine: FakeEngine, by: str) -> None:
    lines = ["py=team/py:7", "r = team/r:1"]
    if by == "ini":
        pytester.makeini("\n    ".join(["[pytest]\njupyter_isolation = kernel\njupyter_kernels =", *lines]))
        ended = inside(pytester, KERNELS)
    else:
        ended = inside(
            pytester, KERNELS, "--jupyter-isolation=kernel", *(f"--jupyter-kernels={line}" for line in lines)
        )
    ended.assert_outcomes(passed=3)
    assert ("team/py:7", "missing") in engine.images.ensured
    assert engine.known == {}


@pytest.mark.parametrize("lines", [["py"], ["=x"], ["py="], ["py=x", "py=y"]])
def test_kernels_that_cannot_be(pytester: pytest.Pytester, lines: list[str]) -> None:
    ended = inside(pytester, "def test_it(): pass", *(f"--jupyter-kernels={line}" for line in lines))
    assert ended.ret == pytest.ExitCode.USAGE_ERROR
    ended.stderr.fnmatch_lines([f"*jupyter_kernels is '{lines[-1]}'; give NAME=IMAGE*"])


class Config:
    """The controller's, when a worker has ended."""

    def __init__(self, summary: Any) -> None:
        self.stash = pytest.Stash()
        self.stash[plugin._SUMMARY] = summary


def test_a_workers_summary_comes_to_its_controller() -> None:
    output: dict[str, Any] = {}
    worker, controller = plugin._Summary(output), plugin._Summary(None)
    worker.headers.append("engine")
    worker.kept.append("session")
    for _ in range(2):
        plugin.pytest_testnodedown(SimpleNamespace(config=Config(controller), workeroutput=output), None)
    assert (controller.headers, controller.kept) == (["engine"], ["session", "session"])


def test_what_a_crashed_worker_left_is_reaped(monkeypatch: pytest.MonkeyPatch) -> None:
    reaped: list[bool] = []
    monkeypatch.setattr(run, "reap_dead_runs", lambda: reaped.append(True))
    plugin.pytest_testnodedown(SimpleNamespace(config=Config(plugin._Summary(None))), "crashed")
    assert reaped == [True]


def test_the_plugin_hands_on_every_hook_and_fixture() -> None:
    from jupyter_launcher import pytest_plugin

    names = {name for name in vars(plugin) if name.startswith(("pytest_", "jupyter_", "_jupyter_"))}
    assert names - {"pytest_plugin"} <= set(pytest_plugin.__all__)
    assert Path(plugin.__file__).name == "plugin.py"


def test_options_that_start_does_not_have_are_refused_with_the_nearest_one() -> None:
    assert LauncherConfig(options={"memory": "1g", "ports": {6006: None}, "cancel": None}).options
    with pytest.raises(OptionError, match="no option of Launcher") as caught:
        LauncherConfig(options={"memmory": "1g"})
    assert (caught.value.option, caught.value.hint) == ("options", "give 'memory'")
    with pytest.raises(OptionError, match="see the options"):
        LauncherConfig(options={"zzz": 1})


def test_kernels_and_a_gateway_exclude_each_other() -> None:
    with pytest.raises(OptionError, match="gateway='gw' has kernels of its own"):
        LauncherConfig(gateway="gw", kernels={"py": "x"})


def test_the_images_of_kernels() -> None:
    config = LauncherConfig(kernels={"a": "x", "b": KernelImage("y", memory="1g"), "c": "x"})
    assert config.kernel_images == ("x", "y")
    assert images_of(5) == images_of({"a": 5}) == images_of(None) == ()
