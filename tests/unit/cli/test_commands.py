"""The command's verbs: their help, their output, their exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from jupyter_launcher import DEFAULT_IMAGE, EngineError, __version__
from jupyter_launcher.__main__ import main
from jupyter_launcher.cli.commands import cli
from jupyter_launcher.engine.shapes import ContainerEvent
from jupyter_launcher.spec.labels import gateway_labels
from tests.unit.cli.conftest import Run
from tests.unit.fakes import (
    NOW,
    TOKEN,
    FakeEngine,
    FakeEvents,
    FakeJupyter,
    container,
    refusal,
    session_info,
    session_labels,
)

Add = Callable[..., str]


@pytest.fixture
def add(jupyter: FakeJupyter) -> Add:
    """Have a session of this id; returns its container's id."""

    def call(session_id: str, state: str = "running", **changes: object) -> str:
        labels = session_labels(session_id=session_id)
        made = jupyter.add(session_info(labels, id=session_id.ljust(64, "0"), state=state, **changes))
        jupyter.engine.born[made.id] = NOW - 1000
        return made.id

    return call


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_help_has_an_example(name: str) -> None:
    shown = CliRunner().invoke(cli, [name, "--help"])
    assert shown.exit_code == 0
    assert "Example: " in shown.output
    assert "Global options:" in shown.output


@pytest.mark.parametrize("line", [["--help"], ["start", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(line: list[str]) -> None:
    code = (
        "import sys; from jupyter_launcher.__main__ import main\n"
        "try:\n    main()\nfinally:\n"
        "    print('heavy:', *sorted({'docker', 'requests', 'tenacity', 'rich'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code, *line], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1].strip() == "heavy:"


@pytest.mark.parametrize(("error", "code"), [(None, 0), (KeyboardInterrupt(), 130)])
def test_the_command_as_a_module(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException | None, code: int
) -> None:
    def interrupted(**_: object) -> None:
        assert error is not None
        raise error

    monkeypatch.setattr(sys, "argv", ["jupyter-launcher", "--version"])
    if error is not None:
        monkeypatch.setattr(cli, "main", interrupted)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == code
    assert (__version__ in capsys.readouterr().out) == (error is None)


def document(ended: Result) -> Any:
    assert ended.exit_code == 0, ended.output
    return json.loads(ended.stdout)


def test_list_shows_every_state_in_columns(run: Run, add: Add, engine: FakeEngine) -> None:
    add("one")
    add("two", "exited", exit_code=3)
    labels = {"jupyter-launcher.namespace": "unit", "jupyter-launcher.session-id": "stray"}
    engine.known["5"] = container(id="5" * 64, name="stray", labels=labels)
    lines = [line.split() for line in run("list").stdout.splitlines()]
    assert lines[0] == ["ID", "STATE", "STATUS", "GATEWAY", "PIPELINE", "DIR"]
    rows = {line[0]: line for line in lines[1:]}
    assert (rows["one"][1], rows["one"][-1]) == ("ready", "/pipelines/one")
    assert rows["two"][1] == "exited"
    assert (rows["stray"][1], rows["stray"][-1]) == ("unreadable", "-")


def test_list_as_a_document(run: Run, add: Add) -> None:
    add("one")
    (item,) = document(run("list", "--format", "json"))
    assert (item["session_id"], item["state"], item["pipeline_dir"]) == ("one", "ready", "/pipelines/one")
    assert "node" not in item, "it is for swarms"


def test_list_without_probes_asks_no_server(run: Run, add: Add, engine: FakeEngine) -> None:
    add("one")
    engine.calls.clear()
    (item,) = document(run("list", "--no-probe", "--format", "json"))
    assert (item["session_id"], item["state"]) == ("one", "unprobed")
    assert engine.calls == [("containers", "")]


def test_info_hides_the_token_unless_it_is_asked_for(run: Run, add: Add) -> None:
    add("one")
    assert TOKEN not in run("info", "one").stdout
    assert TOKEN not in run("info", "one", "--format", "json").stdout
    assert TOKEN in run("info", "one", "--show-token").stdout


def test_a_url_in_a_pipe_has_the_token(run: Run, add: Add, jupyter: FakeJupyter) -> None:
    add("one")
    assert run("url", "one").stdout == f"{jupyter.url}lab?token={TOKEN}\n"


def test_a_url_on_a_terminal_has_none(
    run: Run, add: Add, jupyter: FakeJupyter, monkeypatch: pytest.MonkeyPatch
) -> None:
    add("one")
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _: True)
    ended = run("url", "one", "--progress", "plain")
    assert ended.stdout == f"{jupyter.url}lab\n"
    assert "--show-token shows it" in ended.stderr
    assert TOKEN in run("url", "one", "--show-token", "--progress", "plain").stdout


def test_ids_may_be_shortened_while_they_are_clear(run: Run, add: Add) -> None:
    add("abc")
    add("abd")
    add("ab")
    assert run("info", "abc").exit_code == 0
    assert "abc" in run("info", "abc").stdout
    assert run("info", "ab").exit_code == 0  # one of this id
    ended = run("info", "a")
    assert ended.exit_code == 8
    assert "the beginning of several session ids: ab, abc, abd" in ended.stderr
    assert run("info", "x").exit_code == 8


def test_logs(run: Run, add: Add, engine: FakeEngine) -> None:
    add("one", "exited")
    engine.log = "one\ntwo\n"
    assert run("logs", "one", "--tail", "5").stdout == "one\ntwo\n"
    assert run("logs", "one", "-f").stdout == "one\ntwo\n"
    assert document(run("logs", "one", "--format", "json")) == {"session_id": "one", "log": "one\ntwo\n"}
    assert run("logs", "one", "-f", "--format", "json").exit_code == 2


def test_events_are_printed_as_they_come(run: Run, engine: FakeEngine) -> None:
    labels = session_labels()
    known: dict[str, Any] = {"id": "c" * 64, "name": labels.name, "labels": labels.to_labels(), "time": NOW}
    happened = [
        ContainerEvent(action=action, exit_code=code, **known)
        for action, code in (("oom", None), ("die", 3), ("destroy", None))
    ]
    engine.happened = FakeEvents(*happened)
    lines = [line.split(maxsplit=1) for line in run("events").stdout.splitlines()]
    assert [text for _, text in lines] == ["one  out-of-memory", "one  ended  exit code 3", "one  removed"]
    assert {datetime.fromisoformat(time).timestamp() for time, _ in lines} == {NOW}
    engine.happened = FakeEvents(*happened)
    ended = run("events", "--format", "json")
    assert [json.loads(line)["kind"] for line in ended.stdout.splitlines()] == ["out-of-memory", "ended", "removed"]
    engine.fail("events", refusal(403))
    assert run("events").exit_code == EngineError.command_exit_code


def test_stop_reports_each_session(run: Run, add: Add, jupyter: FakeJupyter) -> None:
    add("one")
    jupyter.kernels = {"a"}
    ended = run("stop", "one")
    assert ended.exit_code == 0
    assert ended.stdout.startswith("one  api  ")
    assert ended.stdout.endswith("1 of 1 kernels gone\n")
    assert jupyter.engine.known == {}


def test_a_session_is_paused_and_resumed(run: Run, add: Add, engine: FakeEngine) -> None:
    container_id = add("one")
    assert run("pause", "on").stdout == "one  paused\n"
    assert engine.known[container_id].state == "paused"
    ended = run("info", "one")
    assert (ended.exit_code, "jupyter-launcher resume" in ended.stderr) == (5, True)
    assert json.loads(run("resume", "one", "--format", "json").stdout) == {"session_id": "one", "state": "ready"}
    assert engine.known[container_id].state == "running"


def test_stop_all_goes_on_after_an_error(run: Run, add: Add, engine: FakeEngine) -> None:
    add("one", "exited")
    add("two", "exited")
    engine.fail("remove", refusal(500, "device busy"))
    ended = run("stop", "--all", "--format", "json")
    assert ended.exit_code == 4
    outcomes = {item["session_id"]: item for item in json.loads(ended.stdout)}
    assert {outcomes["one"].get("error", {}).get("type"), outcomes["two"].get("error", {}).get("type")} == {
        "EngineError",
        None,
    }
    assert "device busy" in ended.stderr
    assert len(engine.known) == 1


@pytest.mark.parametrize("line", [[], ["one", "--all"]])
def test_stop_takes_ids_or_all(run: Run, line: list[str]) -> None:
    assert run("stop", *line).exit_code == 2


def test_reap_says_what_it_does(run: Run, add: Add, engine: FakeEngine) -> None:
    add("one", "exited")
    add("two")
    assert run("reap", "--dry-run").stdout == "one  exited  would be removed\n"
    assert run("reap", "--min-age", "2000").stdout == ""
    assert run("reap").stdout == "one  exited  removed\n"
    assert len(engine.known) == 1


def test_gateways_are_listed_and_reaped(run: Run, engine: FakeEngine) -> None:
    labels = gateway_labels("unit", "", "other-boot:1:2:3")
    name = "kernel-gateway.unit.0123456789ab"
    engine.known["9" * 64] = container(id="9" * 64, name=name, labels=labels, state="exited")
    engine.born["9" * 64] = NOW - 1000
    assert run("gateways").stdout.splitlines()[1].split()[:2] == [name, "exited"]
    assert json.loads(run("gateways", "--format", "json").stdout)[0]["container_id"] == "9" * 64
    assert run("reap", "--dry-run").stdout == f"{name}  exited  would be removed\n"
    assert run("reap").stdout == f"{name}  exited  removed\n"
    assert engine.known == {}


def test_reap_that_fails_says_so_by_its_exit_code(run: Run, add: Add, engine: FakeEngine) -> None:
    add("one", "exited")
    engine.fail("remove", refusal(500, "device busy"))
    ended = run("reap")
    assert ended.exit_code == 8
    assert "device busy" in ended.stdout


def test_build_prints_the_tag(run: Run, engine: FakeEngine, tmp_path: Path) -> None:
    ended = run("build", "--tag", "mine", "--proxy", "http://p", "--ca-certificate", tmp_path / "x.crt", "--force")
    assert ended.stdout == "mine\n"
    assert engine.images.built == [("jupyter-server", "mine", True)]
    assert document(run("build", "--format", "json")) == {"image": DEFAULT_IMAGE}
    run("build", "kernel-gateway", "--no-require-hashes")
    (tmp_path / "r.txt").write_text("pandas\n")
    printed = run("build", "kernel-gateway", "--requirement", tmp_path / "r.txt").stdout
    assert printed.startswith("jupyter-launcher/kernel-gateway-packages:")
    assert engine.images.built.pop()[:2] == ("kernel-gateway", printed.strip())
    assert engine.images.options.pop().requirements == tmp_path / "r.txt"
    assert run("build", "--requirement", tmp_path / "none.txt").exit_code == 2
    assert [options.require_hashes for options in engine.images.options] == [True, True, False]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(run: Run, shell: str) -> None:
    assert "_JUPYTER_LAUNCHER_COMPLETE" in run("completion", shell).stdout


def completed(begun: str) -> list[str]:
    """What the shell offers for the beginning of an id."""
    line = ["jupyter-launcher", "--namespace", "unit", "info", begun]
    environment = {"_JUPYTER_LAUNCHER_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(line), "COMP_CWORD": "4"}
    ended = CliRunner().invoke(
        cli, [], prog_name="jupyter-launcher", complete_var="_JUPYTER_LAUNCHER_COMPLETE", env=environment
    )
    return [found for line in ended.stdout.splitlines() if (found := line.partition(",")[2])]


@pytest.mark.usefixtures("engine")
def test_ids_of_the_namespace_are_completed(add: Add) -> None:
    for session_id in ("abd", "abc", "x"):
        add(session_id)
    assert completed("a") == ["abc", "abd"]


def test_an_engine_that_does_not_answer_completes_nothing(add: Add, engine: FakeEngine) -> None:
    add("abc")
    engine.fail("containers", refusal(500))
    assert completed("a") == []


def test_the_doctor_looks_at_no_volume(run: Run, engine: FakeEngine) -> None:
    found = run("doctor", "volume:pipeline-7")
    assert found.exit_code == 2
    assert "DIR is volume:pipeline-7, a volume" in found.stderr
    assert engine.calls == []
