"""``run`` and ``cp``: what they print, and their exit codes."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from jupyter_launcher.cli.commands import cli
from tests.unit.cli.conftest import Run
from tests.unit.fakes import FakeJupyter, session_info, session_labels
from tests.unit.work.local import attach_here, write_environment


@pytest.fixture(autouse=True)
def session(jupyter: FakeJupyter, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    write_environment(folder)
    jupyter.add(session_info(session_labels(session_id="one"), id="0" * 64))
    jupyter.engine.on_attach = attach_here(folder)


def run_with(text: bytes, *line: str) -> Result:
    with tempfile.TemporaryFile() as file:
        file.write(text)
        file.seek(0)
        return CliRunner().invoke(cli, ["--namespace", "unit", *line], input=file)


def test_what_a_command_prints_and_its_exit_code_are_the_commands(run: Run) -> None:
    script = "printf '\\377out'; echo problem >&2; exit 3"
    result = run("run", "o", "--cwd", "/", "--", "sh", "-c", script)
    assert (result.stdout_bytes, result.stderr, result.exit_code) == (b"\xffout", "problem\n", 3)


def test_a_command_reads_stdin_where_that_is_asked_for() -> None:
    line = ("run", "one", "--cwd", "/")
    assert run_with(b"\xff", *line, "-i", "--", "od", "-An", "-tx1").stdout == " ff\n"
    assert run_with(b"text", *line, "--", "cat").stdout == ""


def test_a_stdin_that_is_closed_is_empty(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.setattr("jupyter_launcher.cli.work.sys", SimpleNamespace(stdin=None, stdout=sys.stdout))
    result = run("run", "one", "--cwd", "/", "--format", "json", "-i", "--", "cat")
    assert (result.exit_code, json.loads(result.stdout)["stdout"]) == (0, "")


def test_variables_of_a_command(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_HERE", "here")
    line = ("--env", "A=1", "--env", "FROM_HERE", "--cwd", "/", "--", "sh", "-c", "echo $A $FROM_HERE")
    assert run("run", "one", *line).stdout == "1 here\n"


@pytest.mark.parametrize(
    ("options", "argv", "code", "told"),
    [
        ([], ["no-such-program"], 9, "`no-such-program` cannot be run"),
        (["--timeout", "0.05"], ["sleep", "1000"], 9, "`sleep` did not end within 0.05 s"),
        (["--timeout", "0"], ["ls"], 2, "--timeout is 0"),
        (["--user", "-x"], ["ls"], 2, "--user is '-x'"),
        ([], [], 2, "Missing argument"),
    ],
)
def test_a_command_that_does_not_run_to_its_end(
    run: Run, options: list[str], argv: list[str], code: int, told: str
) -> None:
    result = run("run", "one", "--cwd", "/", *options, "--", *argv)
    assert (result.exit_code, result.stdout) == (code, "")
    assert told in result.stderr


def test_a_result_as_a_document(run: Run) -> None:
    result = run("run", "one", "--format", "json", "--cwd", "/", "--", "sh", "-c", "echo out; exit 3")
    assert result.exit_code == 3
    wanted = {"exit_code": 3, "stdout": "out\n", "stderr": "", "truncated": False}
    assert json.loads(result.stdout).items() >= wanted.items()


def test_files_are_copied_both_ways(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a:b").write_text("text")
    there = tmp_path / "there"
    assert run("cp", "./a:b", f"one:{there}/new").exit_code == 0
    assert run("cp", "./a:b", f"o:{there}/").exit_code == 0
    assert sorted(path.name for path in there.iterdir()) == ["a:b", "new"]
    assert run("cp", f"one:{there}", "back").exit_code == 0
    assert run("cp", f"one:{there}/new", ".").exit_code == 0
    assert run("cp", f"one:{there}/new", "folder/").exit_code == 0
    for name in ("back/new", "new", "folder/new"):
        assert (tmp_path / name).read_text() == "text"
    result = run("--format", "json", "cp", f"one:{there}/new", "last")
    assert json.loads(result.stdout) == {"session_id": "one", "source": f"one:{there}/new", "target": "last"}


@pytest.mark.parametrize(
    ("source", "target", "path"),
    [("x/y.txt", "one:", "y.txt"), (".", "one:in/", "in/here"), ("x", "one:", "x"), ("x/y.txt", "one:z", "z")],
)
def test_where_an_upload_goes(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, target: str, path: str
) -> None:
    found: list[Any] = []
    (tmp_path / "here" / "x").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr("jupyter_launcher.work.session.upload", lambda *given: found.append(given[1:]))
    assert run("cp", source, target).exit_code == 0
    assert found == [(source, path)]


@pytest.mark.parametrize(
    ("path", "name"),
    [("", "pipeline-dir"), (".", "pipeline-dir"), ("x/..", "pipeline-dir"), ("x/y/..", "x"), ("/usr/.", "usr")],
)
def test_a_download_into_a_folder_has_the_name_that_it_has_in_the_session(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, name: str
) -> None:
    found: list[Any] = []
    monkeypatch.setattr("jupyter_launcher.work.session.download", lambda *given: found.append(given[1:]))
    assert run("cp", f"one:{path}", str(tmp_path)).exit_code == 0
    assert found == [(path or "/pipeline-dir", tmp_path / name)]


@pytest.mark.parametrize("line", [("one:/", "new/"), ("one:..", "new/"), ("/", "one:new/")])
def test_what_has_no_name_needs_one(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("cp", *line)
    assert (result.exit_code, "has no name of its own" in result.stderr) == (2, True)
    assert list(tmp_path.glob("new*")) == []


@pytest.mark.parametrize("line", [("a", "b"), ("one:a", "one:b"), ("./one:a", "b")])
def test_one_side_is_a_sessions(run: Run, line: tuple[str, str]) -> None:
    result = run("cp", *line)
    assert result.exit_code == 2
    assert "one of SRC and DST must be ID:PATH" in result.stderr


def test_errors_of_a_copy(run: Run, tmp_path: Path) -> None:
    result = run("cp", f"one:{tmp_path}/none", str(tmp_path / "target"))
    assert (result.exit_code, "there is nothing" in result.stderr) == (9, True)
    result = run("cp", f"{tmp_path}/none", "one:x")
    assert (result.exit_code, "local cannot be read" in result.stderr) == (2, True)
