"""Fixtures that give tests a real JupyterLab in a container; nothing is imported or started until a test uses one.

Session scope: ``jupyter_launcher``, ``jupyter_launcher_config``, ``jupyter_gateway``,
``jupyter_gateway_dir``. Function scope: ``jupyter_pipeline_dir``, ``jupyter_server``,
``jupyter_server_factory``. Each may be overridden. docker and requests are imported when one of them
is used, so nothing that imports them stands at the top here.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import pytest

from jupyter_launcher.pytest_plugin.config import LauncherConfig

if TYPE_CHECKING:
    from jupyter_launcher.launcher import Launcher
    from jupyter_launcher.models import RunningGateway, Volume
    from jupyter_launcher.pytest_plugin.run import Run
    from jupyter_launcher.sessions.session import Session

__all__ = ["LauncherConfig", "ServerFactory", "skip_or_fail"]

_CHOICES = {"docker": ("auto", "require", "skip"), "keep": ("never", "failed", "always")}
_OUTPUT = "jupyter_launcher"


class ServerFactory(Protocol):
    """What ``jupyter_server_factory`` gives: ``Launcher.start`` with this test's defaults."""

    def __call__(self, pipeline_dir: str | os.PathLike[str] | Volume | None = None, **options: Any) -> Session:
        """Start a session; it is stopped when the test is over."""


class _Summary:
    """Lines of the terminal summary. A worker of pytest-xdist hands them to its controller."""

    def __init__(self, output: dict[str, Any] | None) -> None:
        self.headers: list[str] = []
        self.kept: list[str] = []
        if output is not None:
            output[_OUTPUT] = [self.headers, self.kept]

    def add(self, output: Mapping[str, Any]) -> None:
        headers, kept = output.get(_OUTPUT, ((), ()))
        self.headers += [line for line in headers if line not in self.headers]
        self.kept += kept


_SUMMARY = pytest.StashKey[_Summary]()
_RUN = pytest.StashKey["Run"]()
_FAILED = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Each option is an ini option too: ``--jupyter-keep`` and ``jupyter_keep``."""
    group = parser.getgroup("jupyter-launcher", "JupyterLab in containers")
    for name, default, text in (
        ("docker", "auto", "auto|require|skip: fail or skip without a Docker engine; auto fails where CI is set"),
        ("image", "", "the server's image"),
        ("gateway-image", "", "the gateway's image"),
        ("keep", "never", "never|failed|always: which sessions to leave running after their test"),
        ("start-timeout", "", "seconds for a server to be ready"),
        ("notebooks", "", "GLOB of notebooks, such as '*.ipynb' or 'steps/*.ipynb': each of them is a test"),
    ):
        dest = f"jupyter_{name.replace('-', '_')}"
        group.addoption(f"--jupyter-{name}", dest=dest, choices=_CHOICES.get(name), help=text)
        parser.addini(dest, text, default=default)


def _option(config: pytest.Config, name: str) -> str:
    given = config.getoption(f"jupyter_{name}")
    value = str(config.getini(f"jupyter_{name}") if given is None else given)
    choices = _CHOICES.get(name, (value,))
    if value not in choices:
        msg = f"jupyter_{name} is {value!r}; give one of {', '.join(choices)}"
        raise pytest.UsageError(msg)
    return value


def skip_or_fail(config: pytest.Config, what: str, why: str) -> NoReturn:
    """End a test that cannot run here, as ``--jupyter-docker`` says."""
    mode = _option(config, "docker")
    if mode == "require" or (mode == "auto" and os.environ.get("CI")):
        pytest.fail(f"{why} (--jupyter-docker=skip skips instead)", pytrace=False)
    pytest.skip(f"{what}: {why} (--jupyter-docker=require fails instead)")


def _start_timeout(config: pytest.Config) -> float | None:
    text = _option(config, "start_timeout")
    if not text:
        return None
    with contextlib.suppress(ValueError):
        if float(text) > 0:
            return float(text)
    msg = f"jupyter_start_timeout is {text!r}; give a number of seconds above 0"
    raise pytest.UsageError(msg)


def _is_notebook(config: pytest.Config, path: Path) -> bool:
    glob = _option(config, "notebooks")
    try:
        return bool(glob) and path.match(glob)
    except ValueError:
        msg = f"jupyter_notebooks is {glob!r}; give a pattern of paths, such as '*.ipynb'"
        raise pytest.UsageError(msg) from None


def pytest_configure(config: pytest.Config) -> None:
    """Refuse unusable options before anything runs."""
    for name in _CHOICES:
        _option(config, name)
    _start_timeout(config)
    _is_notebook(config, config.rootpath)
    config.stash[_SUMMARY] = _Summary(getattr(config, "workeroutput", None))


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Notebooks are tests where the option names them; what JupyterLab keeps as their checkpoints is none."""
    if not _is_notebook(parent.config, file_path) or ".ipynb_checkpoints" in file_path.parts:
        return None
    from jupyter_launcher.pytest_plugin.notebooks import NotebookFile

    return NotebookFile.from_parent(parent, path=file_path)


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> list[str]:
    """The engine and the image, where a test needs them."""
    if not any("_jupyter_run" in getattr(item, "fixturenames", ()) for item in items):
        return []
    from jupyter_launcher.pytest_plugin import run

    return [run.describe_engine(_option(config, "image"))]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failed test, its set-up too, what became of the containers."""
    report = yield
    run = item.config.stash.get(_RUN, None)
    if report.failed:
        item.stash[_FAILED] = True
        if run is not None:
            report.sections += run.sections()
    if run is not None and call.when == "teardown":
        run.forget_failed_starts()
    return report


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """A worker of pytest-xdist ended: take its summary, or remove what its crash has left."""
    node.config.stash[_SUMMARY].add(getattr(node, "workeroutput", {}))
    if error:
        from jupyter_launcher.pytest_plugin import run

        run.reap_dead_runs()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """List the sessions that were kept, and how to open and to remove them."""
    summary = config.stash[_SUMMARY]
    for line in summary.headers:
        terminalreporter.write_line(line)
    if summary.kept:
        terminalreporter.section("jupyter sessions that were kept")
        for line in summary.kept:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def jupyter_launcher_config(pytestconfig: pytest.Config) -> LauncherConfig:
    """What the other fixtures start; override it, e.g. with ``dataclasses.replace`` of this one.

    One launcher serves all tests of a process, so override it where all of them see that.
    """
    return LauncherConfig(
        image=_option(pytestconfig, "image") or None, gateway_image=_option(pytestconfig, "gateway_image") or None
    )


@pytest.fixture(scope="session")
def _jupyter_run(
    jupyter_launcher_config: LauncherConfig, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Run]:
    from jupyter_launcher.errors import EngineUnavailableError
    from jupyter_launcher.pytest_plugin.run import Run, describe_engine

    worker: Mapping[str, str] = getattr(pytestconfig, "workerinput", {})
    summary = pytestconfig.stash[_SUMMARY]
    folder = tmp_path_factory.getbasetemp()
    try:
        run = Run(
            jupyter_launcher_config,
            namespace=f"pytest-{worker.get('testrunuid', uuid.uuid4().hex)[:12]}-{worker.get('workerid', 'main')}",
            keep=_option(pytestconfig, "keep"),
            start_timeout=_start_timeout(pytestconfig),
            lock=(folder.parent if worker else folder) / "jupyter-launcher.lock",
        )
    except EngineUnavailableError as error:
        skip_or_fail(pytestconfig, "no JupyterLab in a container", str(error))
    if worker:
        summary.headers.append(describe_engine(run.launcher.image, jupyter_launcher_config))
    pytestconfig.stash[_RUN] = run
    try:
        run.prepare()
        yield run
    finally:
        del pytestconfig.stash[_RUN]
        run.close()
        summary.kept += run.kept


@pytest.fixture(scope="session")
def jupyter_launcher(_jupyter_run: Run) -> Launcher:
    """A ``Launcher`` in a namespace of its own; sessions that tests leave running are stopped at the end."""
    return _jupyter_run.launcher


@pytest.fixture(scope="session")
def jupyter_gateway_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that the kernels of a gateway of ours see at ``/pipeline-dir``; its owner is their user."""
    return tmp_path_factory.mktemp("jupyter-gateway")


@pytest.fixture(scope="session")
def jupyter_gateway(
    _jupyter_run: Run, jupyter_launcher_config: LauncherConfig, jupyter_gateway_dir: Path
) -> Iterator[str | RunningGateway]:
    """A kernel gateway, as ``gateway=`` takes it: the one that was named, or one of ours (``str()`` is its name)."""
    if jupyter_launcher_config.gateway is not None:
        yield jupyter_launcher_config.gateway
        return
    with _jupyter_run.gateway(jupyter_gateway_dir) as found:
        yield found


@pytest.fixture
def jupyter_pipeline_dir(
    request: pytest.FixtureRequest, jupyter_launcher_config: LauncherConfig, tmp_path: Path
) -> Iterator[Path]:
    """An empty directory: ``tmp_path``.

    For a test that asks for ``jupyter_gateway`` too, and gets one of ours, it is the directory that
    its kernels see; what is in it goes to ``tmp_path`` when the test is over, unless a session of
    the test was kept.
    """
    if "jupyter_gateway" not in request.fixturenames or jupyter_launcher_config.gateway is not None:
        yield tmp_path
        return
    folder: Path = request.getfixturevalue("jupyter_gateway_dir")
    yield folder
    run = request.config.stash.get(_RUN, None)
    if run is None or folder not in run.kept_dirs:
        for item in folder.iterdir():
            shutil.move(item, tmp_path)


@pytest.fixture
def jupyter_server_factory(
    request: pytest.FixtureRequest,
    _jupyter_run: Run,
    jupyter_launcher: Launcher,
    jupyter_launcher_config: LauncherConfig,
    jupyter_pipeline_dir: Path,
) -> Iterator[ServerFactory]:
    """Starts sessions, by default for the test's own pipeline dir; they are stopped when the test is over."""
    from jupyter_launcher.errors import LauncherError

    defaults: dict[str, Any] = {"network": jupyter_launcher_config.network}
    if "jupyter_gateway" in request.fixturenames or jupyter_launcher_config.gateway is not None:
        defaults["gateway"] = request.getfixturevalue("jupyter_gateway")
    defaults |= jupyter_launcher_config.options
    with contextlib.ExitStack() as stack:

        def start(pipeline_dir: str | os.PathLike[str] | Volume | None = None, **options: Any) -> Session:
            __tracebackhide__ = True
            try:
                session = jupyter_launcher.start(pipeline_dir or jupyter_pipeline_dir, **{**defaults, **options})
            except LauncherError as error:
                if request.config.getoption("fulltrace"):
                    raise
                # The message and the report say what failed; the traceback is long, and all in this library.
                raise error.with_traceback(None) from None
            stack.callback(
                lambda: _jupyter_run.finish(session, request.node.name, failed=request.node.stash.get(_FAILED, False))
            )
            return session

        yield start


@pytest.fixture
def jupyter_server(jupyter_server_factory: ServerFactory) -> Session:
    """A running ``Session`` of this test's own."""
    return jupyter_server_factory()
