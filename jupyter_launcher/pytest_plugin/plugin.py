"""Fixtures that give tests a real JupyterLab in a container; nothing is imported or started until a test uses one.

Session scope: ``jupyter_launcher``, ``jupyter_launcher_config``, ``jupyter_gateway``,
``jupyter_gateway_dir``. The scope of ``jupyter_scope``, which is function: ``jupyter_pipeline_dir``,
``jupyter_server``, ``jupyter_server_factory``. Each may be overridden. docker and requests are imported when
one of them is used, so nothing that imports them stands at the top here.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from jupyter_launcher.pytest_plugin.config import LauncherConfig
from jupyter_launcher.pytest_plugin.options import (
    check_options,
    find_obstacle,
    is_notebook,
    may_reuse,
    read_kernel_options,
    read_option,
    read_scope,
    read_start_timeout,
    skip_or_fail,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from jupyter_launcher.launcher import Launcher
    from jupyter_launcher.models import RunningGateway, Volume
    from jupyter_launcher.pytest_plugin.reuse import Reuse
    from jupyter_launcher.pytest_plugin.run import Run
    from jupyter_launcher.sessions.session import Session
    from jupyter_launcher.spec.options import StartOptions

__all__ = ["LauncherConfig", "ServerFactory", "has_failed"]

_OUTPUT = "jupyter_launcher"
_NOT_REUSED = "jupyter: no server is reused: "


class ServerFactory(Protocol):
    """What ``jupyter_server_factory`` gives: ``Launcher.start`` with this test's defaults."""

    def __call__(
        self, pipeline_dir: str | os.PathLike[str] | Volume | None = None, **options: Unpack[StartOptions]
    ) -> Session:
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


def _take_reused(config: pytest.Config) -> Reuse | None:
    """The servers of earlier runs; None: none are to be reused, or they cannot be, which the summary tells."""
    if not may_reuse(config):
        return None
    from jupyter_launcher.pytest_plugin.reuse import Reuse

    cache: pytest.Cache = config.cache
    found, why = None, "another run of these tests has them"
    try:
        found = Reuse.take(cache.mkdir("jupyter-launcher"), config.rootpath, _worker_of(config))
    except OSError as error:
        why = str(error)
    if found is None:
        config.stash[_SUMMARY].headers.append(_NOT_REUSED + why)
    return found


def _worker_of(config: pytest.Config) -> str:
    """The worker of pytest-xdist, such as ``gw0``; ``main`` without it."""
    return str(getattr(config, "workerinput", {}).get("workerid", "main"))


def pytest_configure(config: pytest.Config) -> None:
    """Refuse unusable options before anything runs."""
    check_options(config)
    config.stash[_SUMMARY] = _Summary(getattr(config, "workeroutput", None))


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Notebooks are tests where the option names them; what JupyterLab keeps as their checkpoints is none."""
    if not is_notebook(parent.config, file_path) or ".ipynb_checkpoints" in file_path.parts:
        return None
    from jupyter_launcher.pytest_plugin.notebooks import NotebookFile

    return NotebookFile.from_parent(parent, path=file_path)


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> list[str]:
    """The engine and the image, where a test needs them; and why no server is reused, where that is wanted."""
    if not any(_uses_run(item) for item in items):
        return []
    from jupyter_launcher.pytest_plugin import run

    return [run.describe_engine(read_option(config, "image")), *_tell_obstacle(config)]


def _tell_obstacle(config: pytest.Config) -> list[str]:
    obstacle = find_obstacle(config)
    return [_NOT_REUSED + obstacle] if obstacle else []


def _uses_run(item: pytest.Item) -> bool:
    return "_jupyter_run" in getattr(item, "fixturenames", ())


def has_failed(node: pytest.Item | pytest.Collector) -> bool:
    """Whether a test has failed, or one of those in a class, a module or what else has tests."""
    return node.stash.get(_FAILED, False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failed test, its set-up too, what became of the containers."""
    report = yield
    run = item.config.stash.get(_RUN, None)
    if report.failed:
        # Of a wider scope, a session belongs to the class, the module or what else has the test.
        for node in item.listchain() if _uses_run(item) else [item]:
            node.stash[_FAILED] = True
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
        image=read_option(pytestconfig, "image") or None,
        gateway_image=read_option(pytestconfig, "gateway_image") or None,
        **read_kernel_options(pytestconfig),
    )


@pytest.fixture(scope="session")
def _jupyter_reuse(pytestconfig: pytest.Config) -> Iterator[Reuse | None]:
    """What is reused; None: nothing is. It needs no engine, since a test may ask for the directory alone."""
    found = _take_reused(pytestconfig)
    with contextlib.nullcontext() if found is None else contextlib.closing(found):
        yield found


@pytest.fixture(scope="session")
def _jupyter_run(
    _jupyter_reuse: Reuse | None,
    jupyter_launcher_config: LauncherConfig,
    pytestconfig: pytest.Config,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Run]:
    from jupyter_launcher.errors import EngineUnavailableError
    from jupyter_launcher.pytest_plugin.run import Run, describe_engine

    worker: Mapping[str, str] = getattr(pytestconfig, "workerinput", {})
    summary = pytestconfig.stash[_SUMMARY]
    folder = tmp_path_factory.getbasetemp()
    try:
        run = Run(
            jupyter_launcher_config,
            namespace=f"pytest-{worker.get('testrunuid', uuid.uuid4().hex)[:12]}-{_worker_of(pytestconfig)}",
            keep=read_option(pytestconfig, "keep"),
            start_timeout=read_start_timeout(pytestconfig),
            lock=(folder.parent if worker else folder) / "jupyter-launcher.lock",
            reuse=_jupyter_reuse,
        )
    except EngineUnavailableError as error:
        skip_or_fail(pytestconfig, "no JupyterLab in a container", str(error))
    if worker:
        summary.headers += [describe_engine(run.launcher.image, jupyter_launcher_config), *_tell_obstacle(pytestconfig)]
    pytestconfig.stash[_RUN] = run
    try:
        run.prepare()
        yield run
    finally:
        del pytestconfig.stash[_RUN]
        run.close()
        summary.kept += run.kept
        summary.headers += [] if _jupyter_reuse is None else _jupyter_reuse.describe()


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


def _uses_own_gateway(request: pytest.FixtureRequest, config: LauncherConfig) -> bool:
    """Whether this test, and not only the configuration, decides on the gateway."""
    return request.scope == "function" and config.gateway is None and "jupyter_gateway" in request.fixturenames


@pytest.fixture(scope=read_scope)
def jupyter_pipeline_dir(
    request: pytest.FixtureRequest,
    _jupyter_reuse: Reuse | None,
    jupyter_launcher_config: LauncherConfig,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Path]:
    """An empty directory: ``tmp_path``, or one for all tests of ``jupyter_scope``.

    For a test that asks for ``jupyter_gateway`` too, and gets one of ours, it is the directory that
    its kernels see; what is in it goes to ``tmp_path`` when the test is over, unless a session of
    the test was kept. With ``--jupyter-reuse`` it is always the same directory, emptied before each test.
    """
    if _uses_own_gateway(request, jupyter_launcher_config):
        folder: Path = request.getfixturevalue("jupyter_gateway_dir")
        tmp_path: Path = request.getfixturevalue("tmp_path")
        yield folder
        run = request.config.stash.get(_RUN, None)
        if run is None or folder not in run.kept_dirs:
            for item in folder.iterdir():
                shutil.move(item, tmp_path)
        return
    if _jupyter_reuse is not None:
        with _jupyter_reuse.directory() as folder:
            yield folder
    elif request.scope == "function":
        yield request.getfixturevalue("tmp_path")
    else:
        yield tmp_path_factory.mktemp("jupyter-pipeline")


@pytest.fixture(scope=read_scope)
def jupyter_server_factory(
    request: pytest.FixtureRequest,
    _jupyter_run: Run,
    jupyter_launcher_config: LauncherConfig,
    jupyter_pipeline_dir: Path,
) -> Iterator[ServerFactory]:
    """Starts sessions, by default for the test's own pipeline dir; they are stopped when the test is over.

    With another ``jupyter_scope``, when all tests of that scope are over.
    """
    from jupyter_launcher.errors import LauncherError

    defaults: dict[str, Any] = {"network": jupyter_launcher_config.network}
    if jupyter_launcher_config.gateway is not None or _uses_own_gateway(request, jupyter_launcher_config):
        defaults["gateway"] = request.getfixturevalue("jupyter_gateway")
    defaults |= jupyter_launcher_config.options
    with contextlib.ExitStack() as stack:

        def start(
            pipeline_dir: str | os.PathLike[str] | Volume | None = None, **options: Unpack[StartOptions]
        ) -> Session:
            __tracebackhide__ = True
            asked = {*options, *(() if pipeline_dir is None else ("pipeline_dir",))} - {"session_id"}
            try:
                given = jupyter_launcher_config.with_kernels({**defaults, **options})
                session = _jupyter_run.start(pipeline_dir or jupyter_pipeline_dir, given, asked=asked)
            except LauncherError as error:
                if request.config.getoption("fulltrace"):
                    raise
                # The message and the report say what failed; the traceback is long, and all in this library.
                raise error.with_traceback(None) from None
            name = request.node.name or "all tests"
            stack.callback(lambda: _jupyter_run.finish(session, name, failed=has_failed(request.node)))
            return session

        yield start


@pytest.fixture(scope=read_scope)
def jupyter_server(jupyter_server_factory: ServerFactory) -> Session:
    """A running ``Session`` of this test's own, or of all tests of ``jupyter_scope``."""
    return jupyter_server_factory()
