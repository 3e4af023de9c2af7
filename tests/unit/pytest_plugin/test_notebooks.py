"""Notebooks as tests, in runs within this process that need no engine and no kernel."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import CellError, LauncherError, NotebookResult, ServerError, Session
from jupyter_launcher.pytest_plugin.notebooks import describe_failure
from tests.unit.fakes import FakeEngine
from tests.unit.pytest_plugin.test_plugin import engine, outside
from tests.unit.work.notebook import code, notebook, text_cell

__all__ = ["engine", "outside"]

CONFTEST = """
    import pytest

    @pytest.fixture(autouse=True, scope="module")
    def of_module(request):
        print("module:", request.node.name)
"""


@pytest.fixture
def folder(pytester: pytest.Pytester) -> Path:
    """A folder with notebooks."""
    pytester.makeconftest(CONFTEST)
    for name in ("a.ipynb", "steps/b.ipynb", "steps/.ipynb_checkpoints/b-checkpoint.ipynb"):
        path = pytester.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}")
    return pytester.path


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """What is run: of which session, and which notebook. One whose text is no ``{}`` fails."""
    found: list[tuple[object, ...]] = []

    def run_notebook(session: Session, path: str) -> NotebookResult:
        found.append((session.pipeline_dir, path))
        if isinstance(session.pipeline_dir, Path) and (session.pipeline_dir / path).read_text() != "{}":
            raise failure()
        return NotebookResult(notebook={}, seconds=0.0, executed=1)

    monkeypatch.setattr(Session, "run_notebook", run_notebook)
    return found


def failure() -> CellError:
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": "before\n"},
        {"output_type": "display_data", "data": {"text/plain": "<Figure>"}},
        {"output_type": "error", "ename": "ValueError", "evalue": "no", "traceback": ["\x1b[31m"]},
    ]
    return CellError(
        "cell 2 of a.ipynb raised ValueError: no",
        hint="see the traceback",
        traceback="ValueError: no",
        cell=2,
        notebook=notebook(text_cell("# Head"), code("x = 'no'\nraise ValueError(x)", *outputs)),
    )


def inside(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", "-o", "norecursedirs=", *options)


def test_each_notebook_is_a_test_with_a_session_of_its_own(
    pytester: pytest.Pytester, folder: Path, engine: FakeEngine, executed: list[tuple[object, ...]]
) -> None:
    ended = inside(pytester, "-v", "--jupyter-notebooks=*.ipynb")
    ended.assert_outcomes(passed=2)
    ended.stdout.fnmatch_lines(["jupyter: Docker *", "a.ipynb::a PASSED*", "steps/b.ipynb::b PASSED*"])
    assert executed == [(folder, "a.ipynb"), (folder / "steps", "b.ipynb")]
    mounts = [mount for config in engine.configs.values() for mount in config.mounts if mount.target == "/pipeline-dir"]
    assert [(mount.source, mount.read_only) for mount in mounts] == [(str(folder), True), (str(folder / "steps"), True)]
    assert engine.known == {}


@pytest.mark.usefixtures("folder", "engine")
def test_a_notebook_that_fails_shows_the_cell(pytester: pytest.Pytester, executed: list[tuple[object, ...]]) -> None:
    (pytester.path / "a.ipynb").write_text("fails")
    ended = inside(pytester, "--jupyter-notebooks=*.ipynb")
    ended.assert_outcomes(passed=1, failed=1)
    ended.stdout.fnmatch_lines(
        [
            "*_ a _*",
            "cell 2 of a.ipynb raised ValueError: no; see the traceback",
            "*- source -*",
            "raise ValueError(x)",
            "*- outputs -*",
            "before",
            "<Figure>",
            "*- traceback -*",
            "ValueError: no",
            "*jupyter session *",
        ]
    )
    ended.stdout.no_fnmatch_line("*CellError*")
    ended.stdout.no_fnmatch_line("*# Head*")
    inside(pytester, "--full-trace", "--jupyter-notebooks=a.ipynb").stdout.fnmatch_lines(["*raise failure()*"])


@pytest.mark.parametrize("scope", ["package", "session"])
@pytest.mark.usefixtures("folder")
def test_its_session_ends_with_the_notebook_in_every_scope(
    pytester: pytest.Pytester,
    engine: FakeEngine,
    executed: list[tuple[object, ...]],
    monkeypatch: pytest.MonkeyPatch,
    scope: str,
) -> None:
    there: list[int] = []
    run_notebook = Session.run_notebook

    def count(session: Session, path: str) -> NotebookResult:
        there.append(len(engine.known))
        return run_notebook(session, path)

    monkeypatch.setattr(Session, "run_notebook", count)
    inside(pytester, f"--jupyter-scope={scope}", "--jupyter-notebooks=*.ipynb").assert_outcomes(passed=2)
    assert there == [1, 1]
    assert engine.known == {}


def test_the_session_of_one_that_failed_is_kept_by_its_name(
    pytester: pytest.Pytester, folder: Path, engine: FakeEngine, executed: list[tuple[object, ...]]
) -> None:
    (folder / "a.ipynb").write_text("fails")
    ended = inside(pytester, "--jupyter-scope=session", "--jupyter-keep=failed", "--jupyter-notebooks=*.ipynb")
    ended.stdout.fnmatch_lines(["*jupyter sessions that were kept*", "a: http*"])
    ended.stdout.no_fnmatch_line("b: http*")
    assert len(engine.known) == 1


@pytest.mark.usefixtures("folder", "engine")
def test_without_the_option_they_are_none(pytester: pytest.Pytester, executed: list[tuple[object, ...]]) -> None:
    assert inside(pytester).ret == pytest.ExitCode.NO_TESTS_COLLECTED
    inside(pytester, "-o", "jupyter_notebooks=a.ipynb").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("option", "outcome"), [("auto", {"skipped": 1}), ("skip", {"skipped": 1}), ("require", {"failed": 1})]
)
@pytest.mark.usefixtures("folder", "engine")
def test_without_the_extra_it_is_told(
    pytester: pytest.Pytester,
    executed: list[tuple[object, ...]],
    monkeypatch: pytest.MonkeyPatch,
    option: str,
    outcome: dict[str, int],
) -> None:
    find: Callable[..., Any] = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "websocket" else find(name))
    ended = inside(pytester, "-rs", f"--jupyter-docker={option}", "--jupyter-notebooks=a.ipynb")
    ended.assert_outcomes(**outcome)
    ended.stdout.fnmatch_lines(["*pip install 'jupyter-launcher[[]execute[]]'*"])
    assert executed == []


def test_a_pattern_that_cannot_be(pytester: pytest.Pytester) -> None:
    ended = inside(pytester, "--jupyter-notebooks=.")
    assert ended.ret == pytest.ExitCode.USAGE_ERROR
    ended.stderr.fnmatch_lines(["*jupyter_notebooks is '.'; give a pattern*"])


@pytest.mark.parametrize("error", [LauncherError("it failed", hint="see why"), ServerError("gone", hint="see why")])
def test_an_error_without_a_cell_is_its_message(error: LauncherError) -> None:
    assert describe_failure(error) == str(error)


def test_of_long_outputs_the_end_is_shown() -> None:
    error = failure()
    error.notebook["cells"][1]["outputs"][0]["text"] = "begin" + "x" * 20_000 + "end\n"
    shown = describe_failure(error)
    assert "begin" not in shown
    assert "xend\n" in shown
    assert len(shown) < 12_000
