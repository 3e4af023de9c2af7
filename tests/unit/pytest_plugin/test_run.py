"""The one launcher of a test process, and what becomes of its sessions."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import (
    DEFAULT_GATEWAY_IMAGE,
    DEFAULT_IMAGE,
    EngineUnavailableError,
    Event,
    EventKind,
    KernelImage,
    Launcher,
    OptionError,
    Phase,
    RunningGateway,
)
from jupyter_launcher.engine.client import DockerEngine
from jupyter_launcher.engine.swarm.engine import SwarmEngine
from jupyter_launcher.models import Swarm
from jupyter_launcher.pytest_plugin import run as run_module
from jupyter_launcher.pytest_plugin.config import LauncherConfig
from jupyter_launcher.pytest_plugin.run import Run, describe_engine
from tests.unit.fakes import HASTY, FakeEngine, FakeJupyter, container, session_info, session_labels

Make = Callable[..., Run]


@pytest.fixture
def jupyter(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeJupyter]:
    with FakeJupyter().serve() as found:
        monkeypatch.setattr(DockerEngine, "connect", lambda **_: found.engine)
        yield found


@pytest.fixture
def engine(jupyter: FakeJupyter) -> FakeEngine:
    return jupyter.engine


@pytest.fixture
def make(engine: FakeEngine, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A run with these options of pytest and this configuration."""

    def call(*, keep: str = "never", start_timeout: float | None = None, **config: Any) -> Run:
        launcher = {"timeouts": HASTY, **config.pop("launcher", {})}
        return Run(
            LauncherConfig(launcher=launcher, **config),
            namespace="unit",
            keep=keep,
            start_timeout=start_timeout,
            lock=tmp_path_factory.mktemp("lock") / "lock",
        )

    return call


def test_the_engine_and_the_image_in_a_line(engine: FakeEngine) -> None:
    line = "jupyter: Docker 28.5.1 (API 1.51) at unix:///var/run/fake-engine.sock, image "
    assert describe_engine() == line + DEFAULT_IMAGE
    assert describe_engine("mine") == line + "mine"
    assert engine.closed


def test_why_there_is_no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    error = EngineUnavailableError("nothing listens there", hint="start Docker")

    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(DockerEngine, "connect", fail)
    assert describe_engine() == "jupyter: nothing listens there; start Docker"
    run_module.reap_dead_runs()  # a crashed worker's; nothing to do without an engine


def test_how_to_reach_the_engine_is_handed_on(monkeypatch: pytest.MonkeyPatch, engine: FakeEngine) -> None:
    seen: list[dict[str, Any]] = []

    def connect(**given: Any) -> FakeEngine:
        seen.append(given)
        return engine

    monkeypatch.setattr(DockerEngine, "connect", connect)
    describe_engine("", LauncherConfig(launcher={"docker_host": "tcp://x", "owner": "me"}))
    assert seen == [{"docker_host": "tcp://x"}]


def test_the_servers_of_a_swarm_are_started_found_and_reaped_there(
    monkeypatch: pytest.MonkeyPatch, engine: FakeEngine, tmp_path: Path
) -> None:
    seen: list[tuple[str, Any]] = []

    def connect(swarm: Swarm, **given: Any) -> FakeEngine:
        seen.append((given["docker_host"], swarm))
        return engine

    def launch(**given: Any) -> None:
        seen.append((given["docker_host"], given["swarm"]))

    monkeypatch.setattr(SwarmEngine, "connect", connect)
    monkeypatch.setattr(run_module, "Launcher", launch)
    swarm = Swarm(publish="all")
    config = LauncherConfig(launcher={"docker_host": "tcp://x"}, swarm=swarm)
    run = Run(config, namespace="unit", keep="never", start_timeout=None, lock=tmp_path / "lock")
    run._open_launcher("other")
    with pytest.raises(OptionError, match="cannot run a gateway in a swarm"), run.gateway(tmp_path):
        pass
    describe_engine("", config)
    assert seen == [("tcp://x", swarm)] * 4


def test_what_a_crashed_worker_left_is_reaped(engine: FakeEngine) -> None:
    labels = {"jupyter-launcher.gateway-of": "unit", "jupyter-launcher.owner": "pytest:boot:1:2:3"}
    left = container(name="kernel-gateway.unit.0123456789ab", labels=labels, state="exited")
    engine.known[left.id] = left
    engine.born[left.id] = engine.clock - 2 * 86400
    run_module.reap_dead_runs()
    assert engine.known == {}


def test_the_image_is_had_before_the_first_test(make: Make, engine: FakeEngine) -> None:
    make(image="mine", options={"pull": "always"}, kernels={"a": "x", "b": KernelImage("y"), "c": "x"}).prepare()
    assert engine.images.ensured == [("mine", "always"), ("x", "always"), ("y", "always")]


@pytest.mark.parametrize(
    ("keep", "mark"), [("never", "pytest:"), ("failed", "pytest-keep:"), ("always", "pytest-keep:")]
)
def test_sessions_are_marked_as_this_runs(make: Make, keep: str, mark: str) -> None:
    launcher = make(keep=keep, start_timeout=33.0).launcher
    assert launcher.owner.startswith(mark)
    assert (launcher.namespace, launcher.image, launcher.timeouts.start) == ("unit", DEFAULT_IMAGE, 33.0)
    assert launcher.timeouts.gateway == HASTY.gateway


def test_a_session_is_stopped_when_its_test_is_over(make: Make, engine: FakeEngine, tmp_path: Path) -> None:
    run = make(keep="failed")
    session = run.launcher.start(tmp_path)
    run.finish(session, "test_x", failed=False)
    assert engine.known == {}
    assert run.kept == []


@pytest.mark.parametrize(("keep", "failed"), [("failed", True), ("always", False), ("always", True)])
def test_a_session_that_is_kept_is_reported(
    make: Make,
    engine: FakeEngine,
    tmp_path: Path,
    keep: str,
    failed: bool,  # noqa: FBT001 - pytest's
) -> None:
    run = make(keep=keep)
    session = run.launcher.start(tmp_path, session_id="one")
    run.finish(session, "test_x", failed=failed)
    assert run.kept[0] == f"test_x: {session.url}lab"
    assert "Launcher(namespace='unit').get('one')" in run.kept[1]
    assert "docker stop jupyter-server.unit.one && docker rm -v jupyter-server.unit.one" in run.kept[2]
    assert run.kept_dirs == {tmp_path}
    assert not any(session.server_info.token in line for line in run.kept)
    run.close()
    assert [info.name for info in engine.known.values()] == ["jupyter-server.unit.one"]


def test_at_the_end_everything_else_is_stopped(make: Make, engine: FakeEngine, tmp_path: Path) -> None:
    run = make()
    run.launcher.start(tmp_path)
    run.launcher.start(tmp_path)
    stray = container(
        id="5" * 64,
        name="stray",
        labels={
            "jupyter-launcher.namespace": "unit",
            "jupyter-launcher.session-id": "stray",
        },
    )
    engine.known[stray.id] = stray
    run.close()
    assert list(engine.known) == [stray.id]
    assert engine.closed


def test_at_the_end_everything_else_is_reported_where_all_are_kept(
    make: Make, engine: FakeEngine, tmp_path: Path
) -> None:
    run = make(keep="always")
    run.launcher.start(tmp_path, session_id="one")
    run.close()
    assert run.kept[0] == f"of {tmp_path}"
    assert len(engine.known) == 1


@pytest.mark.parametrize(
    ("keep", "failed", "kept"),
    [("never", True, False), ("failed", False, False), ("failed", True, True), ("always", False, True)],
)
def test_a_gateway_stays_with_a_session_that_uses_it(
    make: Make,
    engine: FakeEngine,
    tmp_path: Path,
    keep: str,
    failed: bool,  # noqa: FBT001 - pytest's
    kept: bool,  # noqa: FBT001 - pytest's
) -> None:
    run = make(keep=keep)
    with run.gateway(tmp_path) as gateway:
        session = run.launcher.start(tmp_path, gateway=gateway)
        run.finish(session, "test_x", failed=failed)
    assert (DEFAULT_GATEWAY_IMAGE, "missing") in engine.images.ensured
    assert {info.name for info in engine.known.values()} == ({gateway.name, session.container_name} if kept else set())
    assert (f"their gateway: docker rm -f -v {gateway.name}" in run.kept) == kept


def test_a_gateway_of_another_image(make: Make, engine: FakeEngine, tmp_path: Path) -> None:
    with make(gateway_image="team/gateway:7").gateway(tmp_path) as gateway:
        assert engine.configs[gateway.name].image == "team/gateway:7"
    assert engine.images.ensured == [("team/gateway:7", "missing")] * 2


def test_a_gateway_has_the_kernels_of_the_configuration(
    make: Make, engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Any]] = []

    @contextlib.contextmanager
    def run_gateway(_: Launcher, folder: Path, *, keep: Any, **given: Any) -> Iterator[RunningGateway]:
        seen.append(given)
        yield RunningGateway(name="kernel-gateway.unit.0123456789ab", url="http://x", token="t")
        assert keep("kernel-gateway.unit.0123456789ab")

    monkeypatch.setattr(Launcher, "run_gateway", run_gateway)
    run = make(keep="always", kernels={"py": "x"}, isolation="kernel")
    with run.gateway(tmp_path):
        pass
    known = {"kernels": {"py": "x"}, "isolation": "kernel", "network": None, "image": DEFAULT_GATEWAY_IMAGE}
    assert seen == [known]
    (line,) = run.kept
    assert "Launcher(namespace='unit').stop_gateway('0123456789ab')" in line


def test_a_session_with_kernels_of_its_own_is_kept_with_them(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Launcher.start
    monkeypatch.setattr(Launcher, "start", lambda own, place, kernels, **given: start(own, place, **given))
    run = make(keep="always")
    session = run.start(tmp_path, {"kernels": {"py": "x"}, "session_id": "one"}, asked=())
    run.finish(session, "test_x", failed=False)
    assert "Launcher(namespace='unit').stop('one')" in run.kept[2]
    assert "docker" not in run.kept[2]


def test_a_failed_start_is_shown_while_its_container_is_there(make: Make, engine: FakeEngine) -> None:
    heard: list[Event] = []
    run = make(launcher={"on_event": heard.append})
    info = session_info(session_labels())
    engine.known[info.id] = info
    for phase in (Phase.GATEWAY, Phase.SERVER):
        run._watch(Event(session_id="one", phase=phase, kind=EventKind.FAILED))
    engine.known.clear()
    ((title, text),) = run.sections()
    assert title == "jupyter session one, which failed to start"
    assert "container jupyter-server.unit.one" in text
    assert len(heard) == 2
    run.forget_failed_starts()
    assert run.sections() == []


def test_sessions_that_are_there_are_shown(make: Make, tmp_path: Path) -> None:
    run = make()
    run.launcher.start(tmp_path, session_id="one")
    assert [title for title, _ in run.sections()] == ["jupyter session one"]
