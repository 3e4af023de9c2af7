"""``run-notebook``: what it asks of a session, and what it prints."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jupyter_launcher import CellError, LauncherError, NotebookResult, OptionError, Session
from tests.unit.cli.conftest import Run
from tests.unit.fakes import FakeJupyter, session_info, session_labels


class Asked:
    """What the session was asked for, and what it does."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.result: NotebookResult | LauncherError = NotebookResult(notebook={"cells": []}, seconds=1.5, executed=3)

    def run_notebook(self, session: Session, path: str, **options: Any) -> NotebookResult:
        self.calls.append((session.id, path, options))
        if isinstance(self.result, LauncherError):
            raise self.result
        return self.result


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, jupyter: FakeJupyter) -> Asked:
    found = Asked()
    jupyter.add(session_info(session_labels(session_id="one")))

    def run_notebook(session: Session, path: str, **options: Any) -> NotebookResult:
        return found.run_notebook(session, path, **options)

    monkeypatch.setattr(Session, "run_notebook", run_notebook)
    return found


def test_its_options_are_those_of_the_library(run: Run, asked: Asked) -> None:
    parameters = ("--parameter", "a=1", "--parameter", 'b={"x": "=é"}')
    ended = run("run-notebook", "on", "s/a.ipynb", *parameters, "--output", "b.ipynb", "--timeout", "9")
    assert ended.stdout == "s/a.ipynb: 3 cells executed in 1.50 s\n"
    options = {"parameters": {"a": 1, "b": {"x": "=é"}}, "output": "b.ipynb", "timeout": 9.0, "cell_timeout": None}
    assert asked.calls == [("one", "s/a.ipynb", options)]
    shown = json.loads(run("run-notebook", "one", "a.ipynb", "--cell-timeout", "2", "--format", "json").stdout)
    assert shown == {"notebook": {"cells": []}, "seconds": 1.5, "executed": 3, "truncated": False}
    assert asked.calls[1][2] == {"parameters": {}, "output": None, "timeout": None, "cell_timeout": 2.0}


def test_output_that_was_cut_is_told(run: Run, asked: Asked) -> None:
    asked.result = NotebookResult(notebook={}, seconds=0.0, executed=1, truncated=True)
    assert "was cut" in run("run-notebook", "one", "a.ipynb").stderr


def test_a_cell_that_raises_shows_its_traceback_and_has_the_exit_code_of_work(run: Run, asked: Asked) -> None:
    asked.result = CellError("cell 2 raised E: no", hint="see", traceback="Traceback\nE: no", cell=2, notebook={"a": 1})
    ended = run("run-notebook", "one", "a.ipynb")
    assert (ended.exit_code, ended.stdout) == (9, "")
    assert ended.stderr == "Traceback\nE: no\njupyter-launcher: cell 2 raised E: no; see\n"
    ended = run("run-notebook", "one", "a.ipynb", "--format", "json")
    error = json.loads(ended.stdout)["error"]
    assert (error["type"], error["cell"], error["notebook"]) == ("CellError", 2, {"a": 1})
    assert "Traceback\n" not in ended.stderr


@pytest.mark.parametrize(
    ("word", "told"),
    [("a", "--parameter is 'a', and has no JSON"), ("a=x", "has no JSON"), (f"a={'[' * 99_999}", "has no JSON")],
)
def test_a_parameter_that_is_no_json(run: Run, asked: Asked, word: str, told: str) -> None:
    ended = run("run-notebook", "one", "a.ipynb", "--parameter", word)
    assert ended.exit_code == 2
    assert told in ended.stderr
    assert asked.calls == []


def test_a_refused_option_is_named_as_it_was_given(run: Run, asked: Asked) -> None:
    asked.result = OptionError("parameters has the name 'class'", hint="give another", option="parameters")
    ended = run("run-notebook", "one", "a.ipynb", "--parameter", "class=1")
    assert ended.stderr == "jupyter-launcher: --parameter has the name 'class'; give another\n"
