"""The command without an engine: its help, its exit codes, its output."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from jupyter_launcher import (
    EngineError,
    ExecError,
    GatewayNotFoundError,
    ImageBuildError,
    LauncherError,
    OptionError,
    PipelineDirError,
    ServerTimeoutError,
    SessionConflictError,
    StopMethod,
    StopReport,
    launcher,
)
from jupyter_launcher.cli import cli
from jupyter_launcher.cli_output import EXIT_CODES, columns, document, exit_code


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


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OptionError("x"), 2),
        (PipelineDirError("x"), 3),
        (EngineError("x"), 4),
        (ImageBuildError("x"), 4),
        (ExecError("x"), 5),
        (GatewayNotFoundError("x"), 6),
        (ServerTimeoutError("x"), 7),
        (SessionConflictError("x"), 8),
    ],
)
def test_exit_codes(error: LauncherError, code: int) -> None:
    assert exit_code(error) == code


def test_every_branch_has_a_code_of_its_own() -> None:
    assert set(EXIT_CODES) == set(LauncherError.__subclasses__())
    assert len(set(EXIT_CODES.values())) == len(EXIT_CODES)


@pytest.mark.parametrize("verbose", [False, True])
def test_a_bug_of_ours_is_told_in_a_line(
    monkeypatch: pytest.MonkeyPatch,
    verbose: bool,  # noqa: FBT001 - pytest hands it over by name
) -> None:
    def broken(**_: object) -> None:
        msg = "made up"
        raise RuntimeError(msg)

    monkeypatch.setattr(launcher, "Launcher", broken)
    ended = CliRunner().invoke(cli, ["list", *(["-v"] if verbose else [])])
    assert ended.exit_code == 1
    assert "this should not happen" in ended.stderr
    assert "RuntimeError: made up" in ended.stderr
    assert ("Traceback" in ended.stderr) == verbose


def test_documents() -> None:
    value = [StopReport(method=StopMethod.API, kernels=("a",)), {"path": Path("/x")}]
    report = {"method": "api", "kernels": ["a"], "kernels_gone": [], "seconds": 0.0}
    assert json.loads(document(value)) == [report, {"path": "/x"}]


def test_columns_are_aligned_and_never_cut() -> None:
    assert columns([("A", "B"), ("long" * 50, 1)]).splitlines() == [f"A{' ' * 201}B", f"{'long' * 50}  1"]


def test_global_options_are_taken_anywhere() -> None:
    seen: list[object] = []

    @cli.command("seen")
    @click.pass_obj
    def _(state: object) -> None:
        seen.append(state)

    try:
        for line in (["--namespace", "a", "-q", "seen"], ["seen", "-q", "--namespace", "a"]):
            assert CliRunner().invoke(cli, line).exit_code == 0
    finally:
        del cli.commands["seen"]
    assert [(vars(state)["namespace"], vars(state)["quiet"]) for state in seen] == [("a", True)] * 2
