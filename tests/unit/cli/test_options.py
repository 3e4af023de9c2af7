"""Global options, and what an error makes of the exit code."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from jupyter_launcher import EngineUnavailableError, LauncherError, OptionError, SessionConflictError, launcher
from jupyter_launcher.cli.commands import cli
from jupyter_launcher.cli.options import CommandContext, pass_context

Invoke = Callable[..., Result]


@pytest.fixture
def seen() -> Iterator[Callable[[Callable[[CommandContext], object]], None]]:
    """Have a command ``seen`` that does this."""

    def add(act: Callable[[CommandContext], object]) -> None:
        @cli.command("seen")
        @pass_context
        def _(state: CommandContext) -> None:
            act(state)

    yield add
    cli.commands.pop("seen", None)


def invoke(*line: str) -> Result:
    return CliRunner().invoke(cli, line)


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


def test_what_is_not_given_has_its_default(seen: Any) -> None:
    found: list[CommandContext] = []
    seen(found.append)
    invoke("seen")
    (state,) = found
    assert (state.format, state.context, state.namespace, state.progress) == ("table", None, "default", "auto")
    assert (state.json, state.verbose, state.quiet) == (False, False, False)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ([], "jupyter-launcher"),
        (["--namespace", "a"], "jupyter-launcher --namespace a"),
        (["--context", "far", "--namespace", "a"], "jupyter-launcher --context far --namespace a"),
    ],
)
def test_how_a_further_call_begins(seen: Any, line: list[str], shown: str) -> None:
    seen(lambda state: click.echo(state.line))
    assert invoke(*line, "seen").stdout.strip() == shown


@pytest.mark.parametrize(("line", "noted"), [([], "a remark\n"), (["-q"], "")])
def test_remarks_stand_on_stderr_unless_it_is_quiet(seen: Any, line: list[str], noted: str) -> None:
    seen(lambda state: state.note("a remark"))
    ended = invoke(*line, "seen")
    assert (ended.stdout, ended.stderr) == ("", noted)


def test_a_result_is_text_or_a_document(seen: Any) -> None:
    seen(lambda state: state.result({"a": 1}, "the text"))
    assert invoke("seen").stdout == "the text\n"
    assert json.loads(invoke("seen", "--format", "json").stdout) == {"a": 1}


def test_an_empty_result_prints_nothing(seen: Any) -> None:
    seen(lambda state: state.result([], ""))
    assert invoke("seen").stdout == ""
    assert json.loads(invoke("seen", "--format", "json").stdout) == []


def raising(error: BaseException) -> Callable[[CommandContext], None]:
    def act(_: CommandContext) -> None:
        raise error

    return act


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OptionError("what", hint="next", option="x"), 2),
        (EngineUnavailableError("what", hint="next"), 4),
        (SessionConflictError("what", hint="next"), 8),
    ],
)
def test_an_error_is_a_line_and_the_exit_code_of_its_branch(seen: Any, error: LauncherError, code: int) -> None:
    seen(raising(error))
    ended = invoke("seen")
    assert (ended.exit_code, ended.stdout, ended.stderr) == (code, "", "jupyter-launcher: what; next\n")


def test_an_error_is_a_document_too(seen: Any) -> None:
    seen(raising(OptionError("what", hint="next", option="memory")))
    ended = invoke("seen", "--format", "json")
    assert json.loads(ended.stdout) == {
        "error": {"type": "OptionError", "code": 2, "message": "what", "hint": "next", "option": "memory"}
    }
    assert ended.stderr == "jupyter-launcher: what; next\n"


def test_an_error_with_v_has_its_traceback(seen: Any) -> None:
    seen(raising(OptionError("what", hint="next")))
    logger = logging.getLogger("jupyter_launcher")
    level = logger.level
    try:
        assert "Traceback" in invoke("-v", "seen").stderr
    finally:
        logger.setLevel(level)


def test_ctrl_c_is_130(seen: Any) -> None:
    seen(raising(KeyboardInterrupt()))
    ended = invoke("seen")
    assert (ended.exit_code, ended.stderr) == (130, "jupyter-launcher: interrupted\n")


@pytest.mark.parametrize("verbose", [False, True])
def test_a_bug_of_ours_is_told_in_a_line(
    monkeypatch: pytest.MonkeyPatch,
    verbose: bool,  # noqa: FBT001 - pytest hands it over by name
) -> None:
    def broken(**_: object) -> None:
        msg = "made up"
        raise RuntimeError(msg)

    monkeypatch.setattr(launcher, "Launcher", broken)
    monkeypatch.setattr(logging.getLogger("jupyter_launcher"), "level", logging.NOTSET)
    ended = CliRunner().invoke(cli, ["list", *(["-v"] if verbose else [])])
    assert ended.exit_code == 1
    assert "internal error, please report it" in ended.stderr
    assert "RuntimeError: made up" in ended.stderr
    assert ("Traceback" in ended.stderr) == verbose


def test_usage_errors_are_clicks_own() -> None:
    ended = invoke("list", "--nonsense")
    assert ended.exit_code == 2
    assert "No such option" in ended.stderr


def test_the_help_names_every_exit_code() -> None:
    shown = " ".join(invoke("--help").stdout.split())
    for branch in LauncherError.__subclasses__():
        assert f" {branch.command_exit_code} {branch.__name__}" in shown
    assert "Global options:" in shown
