"""``gateway``, ``gateways``, ``stop-gateway``, and what ``list`` shows of them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from jupyter_launcher import (
    GatewaySummary,
    KernelImage,
    KernelSummary,
    Launcher,
    OptionError,
    RunningGateway,
    SessionState,
    SessionSummary,
    StopMethod,
    StopReport,
    Volume,
)
from jupyter_launcher.cli.commands import cli
from jupyter_launcher.errors import GatewayNotFoundError
from tests.unit.cli.conftest import Run
from tests.unit.fakes import TOKEN, FakeEngine

RUNNING = RunningGateway(
    name="kernel-gateway.unit.team",
    url="http://172.17.0.2:8888/",
    token=TOKEN,
    gateway_id="team",
    kernels=("py", "torch"),
)
GIVEN = ["--kernel", "py=team/py:7", "--kernel", "torch=team/torch:2,memory=8g", "--isolation", "kernel"]
ASKED = {
    "kernels": {"py": "team/py:7", "torch": KernelImage("team/torch:2", memory="8g")},
    "isolation": "kernel",
    "max_kernels": 4,
    "kernel_idle": 600,
    "network": "own",
    "user": "7:8",
}
LINE = [*GIVEN, "--max-kernels", "4", "--kernel-idle", "600", "--network", "own", "--user", "7:8"]


class Calls(list[tuple[str, object, dict[str, Any]]]):
    """What was asked of a launcher that makes no gateway."""

    def __init__(self) -> None:
        self.made: list[Launcher] = []


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, engine: FakeEngine) -> Calls:
    found = Calls()

    @contextlib.contextmanager
    def run_gateway(launcher: Launcher, place: object, **options: Any) -> Iterator[RunningGateway]:
        found.append(("run", place, options))
        found.made.append(launcher)
        yield RUNNING
        found.append(("left", place, {}))

    def start_gateway(launcher: Launcher, place: object, **options: Any) -> RunningGateway:
        found.append(("start", place, options))
        found.made.append(launcher)
        return RUNNING

    monkeypatch.setattr(Launcher, "run_gateway", run_gateway)
    monkeypatch.setattr(Launcher, "start_gateway", start_gateway)
    engine.on_wait = lambda _: None
    monkeypatch.setattr(engine, "wait", lambda *_: -1)
    return found


def test_a_gateway_in_the_foreground(run: Run, calls: Calls, tmp_path: Path) -> None:
    ended = run("gateway", tmp_path, *LINE)
    assert ended.exit_code == 0, ended.output
    assert calls == [("run", str(tmp_path), ASKED), ("left", str(tmp_path), {})]
    lines = dict(line.split(maxsplit=1) for line in ended.stdout.splitlines())
    assert lines == {"gateway": RUNNING.name, "id": "team", "kernels": "py, torch", "url": RUNNING.url}
    assert f"use it with: jupyter-launcher --namespace unit start {tmp_path} --gateway {RUNNING.name}" in ended.stderr
    assert "the gateway was stopped" in ended.stderr
    assert TOKEN not in ended.output


def test_a_gateway_that_stays(run: Run, calls: Calls, tmp_path: Path) -> None:
    ended = run("gateway", tmp_path, *LINE, "--detach", "--id", "team")
    assert ended.exit_code == 0, ended.output
    assert calls == [("start", str(tmp_path), {**ASKED, "gateway_id": "team"})]
    assert "stop it with: jupyter-launcher --namespace unit stop-gateway team" in ended.stderr
    run("gateway", tmp_path, "-d")
    assert calls.pop() == ("start", str(tmp_path), {"gateway_id": None})


def test_its_token_is_shown_to_who_asks(run: Run, calls: Calls, tmp_path: Path) -> None:
    found = run("gateway", tmp_path, "-d", "--format", "json")
    assert json.loads(found.stdout) == {
        "name": RUNNING.name,
        "url": RUNNING.url,
        "gateway_id": "team",
        "kernels": ["py", "torch"],
        "joined": False,
    }
    assert json.loads(run("gateway", tmp_path, "-d", "--format", "json", "--show-token").stdout)["token"] == TOKEN
    assert f"token    {TOKEN}" in run("gateway", tmp_path, "-d", "--show-token").stdout


def test_its_launcher_has_the_rules_that_were_given(run: Run, calls: Calls, tmp_path: Path) -> None:
    given = ["--engine-socket", "/run/engine.sock", "--timeout", "start=7", "--root", tmp_path, "--allow-engine-socket"]
    ended = run("gateway", "volume:pipeline-7", "-d", *given)
    assert ended.exit_code == 0, ended.output
    assert calls[0][1] == Volume("pipeline-7")
    context = calls.made[0]._context
    assert (context.engine_socket, context.timeouts.start) == ("/run/engine.sock", 7.0)
    assert (context.rules.roots, context.rules.allow_engine_socket) == ((tmp_path,), True)
    assert run("gateway", tmp_path, "-d", "--engine-socket", "engine.sock").exit_code == 2


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        (["--id", "team"], "--id is for --detach"),
        (["--kernel", "py"], "--kernel is 'py'; give NAME=IMAGE[,...]"),
        (["--max-kernels", "many"], "'many' is not a valid integer"),
    ],
)
def test_what_cannot_be_asked_for(run: Run, calls: Calls, tmp_path: Path, line: list[str], seen: str) -> None:
    ended = run("gateway", tmp_path, *line)
    assert (ended.exit_code, seen in ended.stderr, calls) == (2, True, [])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signals_end_the_foreground(
    run: Run, calls: Calls, engine: FakeEngine, tmp_path: Path, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "wait", lambda *_: os.kill(os.getpid(), number))
    before = signal.getsignal(number)
    ended = run("gateway", tmp_path)
    assert (ended.exit_code, "stopping the gateway" in ended.stderr) == (130, True)
    assert signal.getsignal(number) == before


def test_a_gateway_that_ends_by_itself_is_an_error(run: Run, engine: FakeEngine, tmp_path: Path) -> None:
    engine.log = "the broker has ended"

    def end(name: str) -> None:
        engine.end(engine.named(name).id, 0)

    engine.on_wait = end
    ended = run("gateway", tmp_path, "--image", "gateway")
    assert ended.exit_code == 6
    assert "ended with exit code 0" in ended.stderr
    assert "the broker has ended" in ended.stderr
    assert engine.known == {}


def kernel(kernel_id: str) -> KernelSummary:
    return KernelSummary(kernel_id=kernel_id, name="py", image="team/py:7", container_id="9", state="running")


def gateway(gateway_id: str, **changes: Any) -> GatewaySummary:
    known: dict[str, Any] = {
        "name": f"kernel-gateway.unit.{gateway_id}",
        "container_id": "c" * 64,
        "image": "gateway:1",
        "created": 5.0,
        "owner": "",
        "state": "running",
        "status": "Up 2 minutes",
        "gateway_id": gateway_id,
    }
    return GatewaySummary(**{**known, **changes})


OWN = gateway("abc", isolation="kernel", kernel_images={"py": "team/py:7"}, kernels=(kernel("k"),), session_id="one")
SHARED = gateway("abd", isolation="environment", kernel_images={"py": "team/py:7", "r": "team/r:1"})


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch, engine: FakeEngine) -> Callable[..., None]:
    """Have these gateways, and sessions."""

    def call(*gateways: GatewaySummary, sessions: tuple[SessionSummary, ...] = ()) -> None:
        monkeypatch.setattr(Launcher, "gateways", lambda _: gateways)
        monkeypatch.setattr(Launcher, "list", lambda _, probe: sessions)

    return call


def session(session_id: str, *kernels: KernelSummary) -> SessionSummary:
    return SessionSummary(
        session_id=session_id,
        container_id="d" * 64,
        container_name=f"jupyter-server.unit.{session_id}",
        pipeline_dir=Path("/p"),
        gateway="gw",
        image="server:1",
        owner="",
        state=SessionState.READY,
        status="Up",
        created=5.0,
        kernels=kernels,
    )


def test_gateways_in_columns(run: Run, there: Callable[..., None]) -> None:
    there(OWN, SHARED, gateway("x", state="exited"))
    heading, *rows = (line.split() for line in run("gateways").stdout.splitlines())
    assert heading == ["GATEWAY", "STATE", "STATUS", "ISOLATION", "RUNNING", "SESSION", "IMAGE", "KERNELS"]
    assert rows[0][-5:] == ["kernel", "1", "one", "gateway:1", "py=team/py:7"]
    assert rows[1][-6:] == ["environment", "-", "-", "gateway:1", "py=team/py:7", "r=team/r:1"]
    assert rows[2][-5:] == ["-", "-", "-", "gateway:1", "-"]


def test_gateways_as_a_document(run: Run, there: Callable[..., None]) -> None:
    there(OWN)
    (found,) = json.loads(run("gateways", "--format", "json").stdout)
    assert (found["gateway_id"], found["isolation"], found["session_id"]) == ("abc", "kernel", "one")
    assert (found["kernel_images"], found["kernels"][0]["kernel_id"]) == ({"py": "team/py:7"}, "k")


def test_list_shows_gateways_that_are_of_no_session_below(run: Run, there: Callable[..., None]) -> None:
    there(OWN, SHARED, sessions=(session("one", kernel("k"), kernel("l")), session("two")))
    sessions, gateways = run("list").stdout.split("\n\n")
    assert [line.split()[3] for line in sessions.splitlines()] == ["KERNELS", "2", "-"]
    assert [line.split()[0] for line in gateways.splitlines()] == ["GATEWAY", SHARED.name]
    there(OWN, sessions=(session("two"),))
    assert OWN.name in run("list").stdout, "its session is gone"
    assert "KERNELS  GATEWAY" not in run("list").stdout
    there(OWN, sessions=(session("one", kernel("k")),))
    assert OWN.name not in run("list").stdout
    (document,) = json.loads(run("list", "--format", "json").stdout)
    assert document["kernels"][0]["image"] == "team/py:7"


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch, there: Callable[..., None]) -> list[str]:
    """The ids of the gateways that are stopped."""
    there(OWN, SHARED)
    found: list[str] = []

    def stop(_: Launcher, gateway_id: str) -> StopReport:
        found.append(gateway_id)
        if gateway_id == "abc":
            msg = "the gateway abc is of one unit with session one"
            raise OptionError(msg, hint="stop session_id=one", option="gateway_id")
        if gateway_id != "abd":
            msg = f"there is no gateway {gateway_id}"
            raise GatewayNotFoundError(msg, hint="see gateways()", gateway=gateway_id)
        return StopReport(method=StopMethod.API, kernels=("a", "b"), kernels_gone=("a", "b"), seconds=1.0)

    monkeypatch.setattr(Launcher, "stop_gateway", stop)
    return found


@pytest.mark.parametrize("given", ["abd", SHARED.name])
def test_a_gateway_is_stopped(run: Run, stopped: list[str], given: str) -> None:
    ended = run("stop-gateway", given)
    assert (ended.exit_code, ended.stdout) == (0, "abd  api  1.00 s  2 of 2 kernels gone\n")
    assert stopped == ["abd"]


def test_each_is_tried_and_the_first_error_counts(run: Run, stopped: list[str]) -> None:
    ended = run("stop-gateway", "abc", "zz", "abd", "--format", "json")
    assert (ended.exit_code, stopped) == (2, ["abc", "zz", "abd"])
    first, second, third = json.loads(ended.stdout)
    assert (first["gateway_id"], first["error"]["type"]) == ("abc", "OptionError")
    assert (second["error"]["type"], third["report"]["method"]) == ("GatewayNotFoundError", "api")
    assert "jupyter-launcher: the gateway abc is of one unit with session one; stop --session-id" in ended.stderr


def test_ids_of_gateways_may_be_shortened_while_they_are_clear(run: Run, stopped: list[str]) -> None:
    ended = run("stop-gateway", "ab")
    assert (ended.exit_code, stopped) == (6, [])
    assert "the beginning of several gateways' ids: abc, abd" in ended.stderr
    assert run("stop-gateway").exit_code == 2


@pytest.mark.usefixtures("stopped")
def test_ids_of_gateways_are_completed() -> None:
    line = "jupyter-launcher --namespace unit stop-gateway ab"
    environment = {"_JUPYTER_LAUNCHER_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": "4"}
    ended = CliRunner().invoke(
        cli, [], prog_name="jupyter-launcher", complete_var="_JUPYTER_LAUNCHER_COMPLETE", env=environment
    )
    assert [line.partition(",")[2] for line in ended.stdout.splitlines()] == ["abc", "abd"]
