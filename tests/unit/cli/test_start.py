"""``start``: its result, the foreground, the browser, and signals."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import Launcher, Session
from jupyter_launcher.cli import browser
from tests.unit.cli.conftest import Run
from tests.unit.fakes import TOKEN, FakeEngine, FakeJupyter, refusal


def test_a_start_prints_where_the_session_is(run: Run, jupyter: FakeJupyter, tmp_path: Path) -> None:
    ended = run("start", tmp_path, "--session-id", "one", "--memory", "1g", "--cpus", "1.5", "--progress", "plain")
    assert ended.exit_code == 0
    assert ended.stdout.splitlines()[-1].endswith(f"{jupyter.url}lab?token={TOKEN}")
    assert "ready: finished after" in ended.stderr
    config = jupyter.engine.configs["jupyter-server.unit.one"]
    assert (config.memory, config.cpus) == (2**30, 1.5)
    assert jupyter.engine.named("jupyter-server.unit.one").running


def test_a_volume_is_named_in_place_of_a_directory(
    run: Run, engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.log = "directory 7:8 1000:1000"
    engine.on_start = lambda name: engine.end(name) if "look" in engine.known[name].name else None
    assert run("start", "volume:pipeline-7", "--session-id", "one").exit_code == 0
    assert "volume:pipeline-7" in run("list").stdout
    mount = engine.configs["jupyter-server.unit.one"].mounts[0]
    assert (mount.type, mount.source, mount.target) == ("volume", "pipeline-7", "/pipeline-dir")
    assert run("start", "volume:").exit_code == 2
    (tmp_path / "volume:pipeline-7").mkdir()
    monkeypatch.chdir(tmp_path)
    assert run("start", "./volume:pipeline-7", "--session-id", "beside").exit_code == 0
    assert engine.configs["jupyter-server.unit.beside"].mounts[0].type == "bind"
    assert run("start", tmp_path, "--home", "volume:alice", "--session-id", "two").exit_code == 0
    assert run("start", tmp_path, "--home", tmp_path, "--session-id", "three").exit_code == 0
    homes = [engine.configs[f"jupyter-server.unit.{name}"].mounts[1] for name in ("two", "three")]
    assert [(item.type, item.source) for item in homes] == [("volume", "alice"), ("bind", str(tmp_path))]


def test_a_token_comes_from_a_file(run: Run, engine: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t0ken-" * 6 + "\n")
    assert run("start", tmp_path, "--token-file", tmp_path / "token").exit_code == 0
    assert {"_jl_secret_1": "t0ken-" * 6} in engine.environments
    (tmp_path / "token").write_text("short")
    ended = run("start", tmp_path, "--token-file", tmp_path / "token")
    assert (ended.exit_code, "short" in ended.stderr) == (2, False)


def test_a_start_as_a_document(run: Run, tmp_path: Path) -> None:
    ended = run("start", tmp_path, "--session-id", "one", "--format", "json", "-q")
    found = json.loads(ended.stdout)
    assert (found["session_id"], found["server_info"]["token"]) == ("one", TOKEN)
    assert ended.stderr == ""


def test_who_may_work_where(run: Run, engine: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    given = ["start", tmp_path / "one", "--session-id", "one"]
    assert run(*given, "--root", tmp_path / "one", "--user", "0:0").exit_code == 3
    assert run(*given, "--root", "relative").exit_code == 2
    assert run(*given, "--root", tmp_path / "one", "--root", tmp_path, "--user", "0:0").exit_code == 0
    assert engine.configs["jupyter-server.unit.one"].user == "0:0"


def test_an_engines_socket_must_be_meant(run: Run, engine: FakeEngine, tmp_path: Path) -> None:
    engine.endpoint = f"unix://{tmp_path}/engine.sock"
    assert run("start", tmp_path).exit_code == 3
    assert run("start", tmp_path, "--allow-engine-socket").exit_code == 0


def test_the_socket_for_kernels_of_their_own_is_the_launchers(
    run: Run, engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[str | None] = []
    start = Launcher.start

    def record(launcher: Launcher, place: str, **options: Any) -> Session:
        found.append(launcher._context.engine_socket)
        return start(launcher, place, **options)

    monkeypatch.setattr(Launcher, "start", record)
    assert run("start", tmp_path, "--engine-socket", "/run/engine.sock").exit_code == 0
    assert run("start", tmp_path).exit_code == 0
    assert found == ["/run/engine.sock", None]


@pytest.mark.parametrize(
    ("line", "code"), [(["--memory", "much"], 2), (["--session-id", "No"], 2), (["--gateway", "nowhere"], 6)]
)
def test_a_start_that_fails_has_the_exit_code_of_its_error(
    run: Run, engine: FakeEngine, tmp_path: Path, line: list[str], code: int
) -> None:
    assert run("start", tmp_path, *line).exit_code == code
    assert engine.known == {}


def test_in_the_foreground_it_stays_until_the_session_ends(run: Run, engine: FakeEngine, tmp_path: Path) -> None:
    engine.on_wait = lambda found: engine.end(found, 0)
    ended = run("start", tmp_path, "--foreground")
    assert ended.exit_code == 0
    assert "Ctrl-C stops the session" in ended.stderr
    assert "the session was stopped" in ended.stderr
    assert engine.known == {}


@pytest.mark.parametrize(("oom", "hint"), [(False, "see its log"), (True, "give it more with --memory")])
def test_in_the_foreground_a_session_that_dies_is_an_error(
    run: Run,
    engine: FakeEngine,
    tmp_path: Path,
    oom: bool,  # noqa: FBT001 - pytest's
    hint: str,
) -> None:
    def die(found: str) -> None:
        engine.end(found, 137)
        engine.change(found, oom_killed=oom)

    engine.on_wait = die
    ended = run("start", tmp_path, "--foreground")
    assert ended.exit_code == 7
    assert "ended by itself with exit code 137" in ended.stderr
    assert hint in ended.stderr
    assert "The log ends:\nthe log" in ended.stderr


def test_in_the_foreground_a_session_that_dies_may_have_no_log(run: Run, engine: FakeEngine, tmp_path: Path) -> None:
    def die(found: str) -> None:
        engine.end(found, 1)
        engine.fail("logs", refusal(501))

    engine.on_wait = die
    ended = run("start", tmp_path, "--foreground")
    assert ended.exit_code == 7
    assert "The log ends" not in ended.stderr


def test_ctrl_c_in_the_foreground_stops_gracefully(
    run: Run, jupyter: FakeJupyter, engine: FakeEngine, tmp_path: Path
) -> None:
    waits: list[str] = []

    def interrupt(found: str) -> None:
        waits.append(found)
        if len(waits) == 1:
            raise KeyboardInterrupt

    engine.on_wait = interrupt
    ended = run("start", tmp_path, "--foreground")
    assert ended.exit_code == 130
    assert "stopping the session; Ctrl-C again kills it" in ended.stderr
    assert ("POST", "/api/shutdown") in jupyter.asked
    assert engine.known == {}


def test_a_second_ctrl_c_ends_it_at_once(run: Run, jupyter: FakeJupyter, engine: FakeEngine, tmp_path: Path) -> None:
    waits: list[str] = []

    def interrupt(found: str) -> None:
        waits.append(found)
        if len(waits) <= 2:
            raise KeyboardInterrupt

    jupyter.heeds_shutdown = False
    engine.on_wait = interrupt
    assert run("start", tmp_path, "--foreground").exit_code == 130
    assert not any("terminate" in argv for argv in engine.execs)
    assert engine.known == {}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_end_the_foreground_as_ctrl_c_does(
    run: Run, engine: FakeEngine, tmp_path: Path, number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    waits: list[str] = []

    def send(found: str) -> None:
        waits.append(found)
        if len(waits) == 1:
            os.kill(os.getpid(), number)

    engine.on_wait = send
    assert run("start", tmp_path, "--foreground").exit_code == 130
    assert engine.known == {}
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("opened", [True, False])
def test_the_browser_is_opened(
    run: Run,
    jupyter: FakeJupyter,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    opened: bool,  # noqa: FBT001 - pytest's
) -> None:
    urls: list[str] = []

    def open_once(url: str, **_: Any) -> bool:
        urls.append(url)
        return opened

    monkeypatch.setattr(browser, "open_once", open_once)
    ended = run("start", tmp_path, "--open", "--session-id", "one")
    assert urls == [f"{jupyter.url}lab?token={TOKEN}"]
    told = "open it yourself: jupyter-launcher --namespace unit url one --show-token"
    assert (told in ended.stderr) != opened
