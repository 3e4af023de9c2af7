"""The engine fails: what the caller gets, and that nothing is left over."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import (
    EngineError,
    EngineUnavailableError,
    Event,
    EventKind,
    ExecError,
    Launcher,
    Phase,
    ServerNotRunningError,
    SessionState,
    StopMethod,
    Timeouts,
)
from jupyter_launcher.engine.client import DockerEngine
from jupyter_launcher.waiting import Deadline
from tests.faults.own_engine import OwnEngine, eventually
from tests.faults.proxy import Proxy


@pytest.mark.parametrize("phase", [Phase.IMAGE, Phase.CONTAINER, Phase.SERVER])
def test_killed_in_the_middle_of_a_start(
    engine: OwnEngine, namespace: str, pipeline_dir: Path, phase: Phase, timeouts: Timeouts
) -> None:
    def kill(event: Event) -> None:
        if (event.phase, event.kind) == (phase, EventKind.STARTED):
            engine.kill()

    with Launcher(docker_host=engine.url, namespace=namespace, timeouts=timeouts, on_event=kill) as launcher:
        with pytest.raises(EngineUnavailableError) as caught:
            launcher.start(pipeline_dir, session_id="victim")
        assert caught.value.endpoint == engine.url
    engine.start()
    with Launcher(docker_host=engine.url, namespace=namespace, timeouts=timeouts) as launcher:
        launcher.start(pipeline_dir, session_id="victim").stop()


def test_restarted_while_a_session_runs(engine: OwnEngine, launcher: Launcher, pipeline_dir: Path) -> None:
    session = launcher.start(pipeline_dir, session_id="s")
    engine.restart()
    (item,) = launcher.list()
    assert item.state is SessionState.EXITED
    assert session.status().state is SessionState.EXITED
    with pytest.raises(ServerNotRunningError):
        launcher.get("s")
    again = launcher.start(pipeline_dir, session_id="s")
    assert again.status().state is SessionState.READY
    assert again.stop().method is StopMethod.API


def test_killed_while_a_session_runs(engine: OwnEngine, launcher: Launcher, pipeline_dir: Path) -> None:
    session = launcher.start(pipeline_dir, session_id="s")
    engine.kill()
    with pytest.raises(EngineUnavailableError):
        launcher.list()
    engine.start()
    assert session.status().state is SessionState.EXITED
    assert [item.state for item in launcher.list()] == [SessionState.EXITED]
    assert launcher.stop("s").method is StopMethod.ALREADY_STOPPED


def test_restarted_with_live_restore(engine: OwnEngine, launcher: Launcher, pipeline_dir: Path) -> None:
    engine.restart("--live-restore")
    try:
        session = launcher.start(pipeline_dir, session_id="s")
        engine.kill()
        engine.start("--live-restore")
        assert [item.state for item in launcher.list()] == [SessionState.READY]
        found = launcher.get("s")
        assert (found.server_info, found.url) == (session.server_info, session.url)
        assert found.stop().method is StopMethod.API
    finally:
        engine.restart()


def test_frozen_in_the_middle_of_a_call(engine: OwnEngine, launcher: Launcher, pipeline_dir: Path) -> None:
    engine.signal(signal.SIGSTOP)
    try:
        with pytest.raises(EngineUnavailableError, match="docker info"):
            launcher.start(pipeline_dir)
    finally:
        engine.signal(signal.SIGCONT)
    launcher.start(pipeline_dir).stop()


def test_frozen_in_the_middle_of_a_start(
    engine: OwnEngine, namespace: str, pipeline_dir: Path, timeouts: Timeouts
) -> None:
    def freeze(event: Event) -> None:
        if (event.phase, event.kind) == (Phase.SERVER, EventKind.STARTED):
            engine.signal(signal.SIGSTOP)
            threading.Timer(8, engine.signal, [signal.SIGCONT]).start()

    with Launcher(docker_host=engine.url, namespace=namespace, timeouts=timeouts, on_event=freeze) as launcher:
        with pytest.raises((EngineUnavailableError, ExecError)):
            launcher.start(pipeline_dir)
        assert eventually(engine.answers)
        launcher.reap(min_age=0, keep=[])


def test_a_slow_engine_is_only_slow(proxy: Proxy, namespace: str, pipeline_dir: Path) -> None:
    proxy.delay = 0.3
    with Launcher(docker_host=proxy.url, namespace=namespace) as launcher:
        session = launcher.start(pipeline_dir, session_id="slow")
        assert launcher.get("slow").server_info == session.server_info
        assert session.stop().method is StopMethod.API


def test_an_engine_that_stalls(proxy: Proxy, namespace: str, pipeline_dir: Path) -> None:
    with Launcher(docker_host=proxy.url, namespace=namespace, timeouts=Timeouts(engine=1)) as launcher:
        proxy.stall()
        started = time.monotonic()
        with pytest.raises(EngineUnavailableError):
            launcher.list()
        assert time.monotonic() - started < 30  # not a timed test: it came back at all
        proxy.flow()
        assert launcher.list() == []


def test_a_full_disk(engine: OwnEngine, launcher: Launcher, pipeline_dir: Path) -> None:
    free = engine.fill_disk()
    try:
        with pytest.raises(EngineError, match="refused to create") as caught:
            launcher.start(pipeline_dir)
        assert caught.value.status == 500
    finally:
        free()
    launcher.start(pipeline_dir).stop()


@pytest.fixture
def sleeper(client: Any, launcher: Launcher) -> Any:
    container = client.containers.run(launcher.image, "sleep 300", detach=True, init=True)
    yield container
    container.remove(force=True)


def connected(url: str) -> DockerEngine:
    return DockerEngine.connect(docker_host=url)


def test_exec_output_of_a_mebibyte(engine: OwnEngine, sleeper: Any) -> None:
    line = ["sh", "-c", "head -c 1048576 /dev/zero | tr '\\0' x; echo done >&2"]
    result = connected(engine.url).exec(sleeper.id, line, Deadline(20))
    assert (len(result.stdout), result.stderr, result.exit_code) == (2**20, "done\n", 0)


def test_exec_output_in_two_frames(engine: OwnEngine, sleeper: Any) -> None:
    line = ["sh", "-c", "printf one; sleep 0.3; printf two; exit 3"]
    result = connected(engine.url).exec(sleeper.id, line, Deadline(20), check=False)
    assert (result.stdout, result.exit_code) == ("onetwo", 3)
    with pytest.raises(ExecError, match="onetwo") as caught:
        connected(engine.url).exec(sleeper.id, line, Deadline(20))
    assert (caught.value.started, caught.value.exit_code) == (True, 3)


def test_exec_without_output(engine: OwnEngine, sleeper: Any) -> None:
    result = connected(engine.url).exec(sleeper.id, ["true"], Deadline(20))
    assert (result.stdout, result.stderr, result.exit_code) == ("", "", 0)


def test_exec_output_without_an_end_is_capped(engine: OwnEngine, sleeper: Any) -> None:
    with pytest.raises(ExecError, match="more than 1000000 bytes"):
        connected(engine.url).exec(sleeper.id, ["cat", "/dev/zero"], Deadline(20), limit=1_000_000)


def test_exec_that_stalls(engine: OwnEngine, sleeper: Any) -> None:
    with pytest.raises(ExecError, match="did not answer within 1 s"):
        connected(engine.url).exec(sleeper.id, ["sleep", "60"], Deadline(1))


def test_exec_that_says_its_end_and_stays(engine: OwnEngine, sleeper: Any) -> None:
    line = ["sh", "-c", "printf 'all\\004'; sleep 1; touch /tmp/lived-on; sleep 60"]
    result = connected(engine.url).exec(sleeper.id, line, Deadline(20))
    assert (result.stdout, result.exit_code) == ("all", None)
    # Nobody listens any more, and it goes on all the same.
    assert eventually(lambda: sleeper.exec_run(["test", "-e", "/tmp/lived-on"]).exit_code == 0)  # noqa: S108 - in the container


def test_the_wall_clock_jumps(launcher: Launcher, pipeline_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, calls = time.time, iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: now() + (3600 if next(calls) % 2 else -3600))
    session = launcher.start(pipeline_dir)
    assert time.time() != pytest.approx(now(), abs=1800)
    assert session.status().state is SessionState.READY
    assert session.stop().method is StopMethod.API
