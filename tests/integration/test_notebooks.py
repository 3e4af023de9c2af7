"""Notebooks that are executed in sessions: beside the server, and on a gateway."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from click.testing import CliRunner

from jupyter_launcher import (
    DEFAULT_GATEWAY_IMAGE,
    CellError,
    Event,
    ExecuteTimeoutError,
    KernelDiedError,
    Launcher,
    OptionError,
    Phase,
    RunningGateway,
    Session,
    WorkError,
)
from jupyter_launcher.cli.commands import cli
from tests.containers import eventually, owned
from tests.unit.work.notebook import code, notebook, text_cell

Listener = Callable[[Event], object]

# Shows something under an id that a later cell can name.
SHOW = "from IPython.display import display\nshown = display({'text/plain': 'first'}, raw=True, display_id='d')"


class Place:
    """A session that all tests here share, and the directory that its kernels see.

    ``in_steps`` is where the kernel of a notebook in the folder ``steps`` works.
    """

    in_steps = "/pipeline-dir/steps"

    def __init__(self, namespace: str, session: Session, folder: Path, listeners: list[Listener]) -> None:
        self.namespace = namespace
        self.session = session
        self.folder = folder
        self.listeners = listeners

    def write(self, name: str, *cells: Any, **metadata: Any) -> Path:
        """Write a notebook; what it makes later belongs to the session's user."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(notebook(*cells, metadata=metadata)))
        owned(path.parent)
        return owned(path)

    def run(self, name: str, *cells: Any, listener: Listener | None = None, **options: Any) -> Any:
        """Write a notebook, and run it."""
        self.write(name, *cells)
        self.listeners[:] = [] if listener is None else [listener]
        return self.session.run_notebook(name, **options)

    def in_lab(self) -> list[str]:
        """The notebooks that JupyterLab shows as running."""
        return [item["path"] for item in self.session.request("GET", "api/sessions").json()]


@contextlib.contextmanager
def shared(launcher: Launcher, name: str, folder: Path, **options: Any) -> Iterator[Place]:
    """A session in a namespace of its own, since it stays from test to test."""
    listeners: list[Listener] = []

    def hear(event: Event) -> None:
        for listen in listeners:
            listen(event)

    with (
        Launcher(namespace=f"{launcher.namespace}-{name}", owner=launcher.owner, on_event=hear) as own,
        own.start(folder, **options) as session,
    ):
        yield Place(own.namespace, session, folder, listeners)


@pytest.fixture(scope="module")
def beside(launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with shared(launcher, "beside", owned(tmp_path_factory.mktemp("notebooks"))) as place:
        yield place


@pytest.fixture(scope="module")
def on_gateway(
    launcher: Launcher,
    jupyter_gateway: RunningGateway,
    jupyter_gateway_dir: Path,
    client: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Place]:
    with shared(launcher, "on-gateway", jupyter_gateway_dir, gateway=jupyter_gateway) as place:
        tags = client.containers.get(jupyter_gateway.name).image.tags
        if not any(tag.endswith(DEFAULT_GATEWAY_IMAGE) for tag in tags):  # Podman's have a registry
            place.in_steps = "/pipeline-dir"  # one of others starts all kernels there
        yield place
    for item in jupyter_gateway_dir.iterdir():  # other modules use it too
        shutil.move(item, tmp_path_factory.mktemp("left"))


@pytest.fixture(params=["beside", pytest.param("on_gateway", marks=pytest.mark.gateway)])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found


def texts(found: Any) -> list[str]:
    outputs = [cell.get("outputs", []) for cell in found["cells"]]
    found = [[item.get("text", item.get("data", {}).get("text/plain", "")) for item in of] for of in outputs]
    return ["".join("".join(text) for text in of) for of in found]


@pytest.mark.usefixtures("needs_input")
def test_a_notebook_is_executed_in_its_folder_as_jupyterlab_does_it(place: Place) -> None:
    lab: list[list[str]] = []

    def look(event: Event) -> None:
        if event.phase is Phase.NOTEBOOK and event.detail.endswith("cell 5"):
            lab.append(place.in_lab())

    place.write("out/report.ipynb")
    source = place.write("steps/report.ipynb")
    cells = [
        text_cell("# Head"),
        code("n = 1", tags=["parameters"]),
        code("import os, sys\nprint(os.getcwd(), n, names)\nprint('warned', file=sys.stderr)", {"output_type": "old"}),
        code(SHOW),
        code("shown.update({'text/plain': 'second'}, raw=True)\nn + 1"),
        code("1 / 0", tags=["raises-exception"]),
    ]
    result = place.run(
        "steps/report.ipynb",
        *cells,
        listener=look,
        parameters={"n": 41, "names": ["ä", None, {"a": True}]},
        timeout=120,
        output="out/report.ipynb",
    )
    shown = f"{place.in_steps} 41 ['ä', None, {{'a': True}}]\nwarned\n"
    assert texts(result.notebook) == ["", "", "", shown, "second", "42", ""]
    assert [cell.get("execution_count") for cell in result.notebook["cells"]] == [None, 1, 2, 3, 4, 5, 6]
    assert result.notebook["cells"][6]["outputs"][0]["ename"] == "ZeroDivisionError"
    assert (result.executed, result.truncated) == (6, False)
    assert 0 < result.seconds < 120
    assert lab == [["steps/report.ipynb"]]
    assert place.session.kernels() == ()
    assert place.in_lab() == []

    written = nbformat.read(place.folder / "out" / "report.ipynb", as_version=4)
    nbformat.validate(written)
    assert texts(written) == texts(result.notebook)
    assert json.loads(source.read_text())["cells"] == cells
    names = [path.name for folder in ("steps", "out") for path in (place.folder / folder).iterdir()]
    assert names == ["report.ipynb", "report.ipynb"], "neither a checkpoint nor anything else"


def test_a_cell_that_raises(place: Place) -> None:
    cells = [code("print('before')\nraise ValueError('no')"), code("print('never')")]
    with pytest.raises(CellError, match=r"cell 1 of raises.ipynb raised ValueError: no") as caught:
        place.run("raises.ipynb", *cells, output="raised.ipynb")
    error = caught.value
    assert (error.ename, error.evalue, error.cell, error.session_id) == ("ValueError", "no", 1, place.session.id)
    assert "ValueError: no" in error.traceback.splitlines()[-1]
    assert "\x1b" not in error.traceback
    assert texts(error.notebook) == ["before\n", ""]
    written = nbformat.read(place.folder / "raised.ipynb", as_version=4)
    assert [len(cell.outputs) for cell in written.cells] == [2, 0]
    assert place.session.kernels() == ()


def test_a_kernel_that_dies(place: Place) -> None:
    with pytest.raises(KernelDiedError, match=r"cell 2 of dies.ipynb: ") as caught:
        place.run("dies.ipynb", code("print('before')"), code("import os\nprint(1, flush=True)\nos._exit(1)"))
    assert caught.value.cell == 2
    assert caught.value.notebook is not None
    assert texts(caught.value.notebook)[0] == "before\n"
    assert place.session.kernels() == ()


def test_a_time_that_is_over(beside: Place) -> None:
    cells = [code("print('before', flush=True)\nwhile True: pass"), code("1")]
    with pytest.raises(ExecuteTimeoutError, match=r"cell 1 of slow.ipynb did not end within 1 s") as caught:
        beside.run("slow.ipynb", *cells, cell_timeout=1)
    assert caught.value.notebook is not None
    assert texts(caught.value.notebook)[0].startswith("before\n")
    assert beside.session.kernels() == ()


def test_a_ctrl_c_leaves_no_kernel(beside: Place) -> None:
    def interrupt(event: Event) -> None:
        if event.detail.endswith("cell 2"):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        beside.run("long.ipynb", code("1"), code("import time; time.sleep(600)"), listener=interrupt)
    assert eventually(lambda: beside.session.kernels() == ())


def test_two_runs_of_one_notebook_have_kernels_of_their_own(beside: Place) -> None:
    again: list[str] = []
    cells = [code("import os; print(os.getpid())"), code("print(os.getpid())")]

    def run_again(event: Event) -> None:
        if event.detail.endswith("cell 2") and not again:
            again.append("")
            again[0] = texts(beside.session.run_notebook("twice.ipynb").notebook)[0]

    first, second = texts(beside.run("twice.ipynb", *cells, listener=run_again).notebook)
    assert first == second != again[0]
    assert again[0].strip().isdecimal()
    assert beside.session.kernels() == ()


def test_the_command(beside: Place) -> None:
    beside.write("command.ipynb", code("print(a)"), code("1 / 0"))
    line = ["--namespace", beside.namespace, "--progress=plain", "run-notebook", beside.session.id, "command.ipynb"]
    ended = CliRunner().invoke(cli, [*line, "--parameter", 'a={"x": 1}', "--output", "made.ipynb"])
    assert (ended.exit_code, ended.stdout) == (9, "")
    assert "ZeroDivisionError: division by zero\n" in ended.stderr
    assert "jupyter-launcher: cell 3 of command.ipynb raised ZeroDivisionError" in ended.stderr
    assert texts(json.loads((beside.folder / "made.ipynb").read_text()))[1] == "{'x': 1}\n"


@pytest.mark.parametrize(
    ("name", "options", "kind", "told"),
    [
        ("none.ipynb", {}, WorkError, "there is no notebook none.ipynb"),
        ("folder", {}, WorkError, "folder cannot be read: the server answered 400"),
        ("bytes.ipynb", {}, WorkError, "bytes.ipynb cannot be read: the server answered 400"),
        ("text.ipynb", {}, WorkError, "text.ipynb cannot be read as a notebook"),
        ("old.ipynb", {}, WorkError, "has the notebook format 3"),
        (".hidden.ipynb", {}, WorkError, "there is no notebook"),
        ("ruby.ipynb", {}, WorkError, "ruby"),
        ("ruby.ipynb", {"parameters": {"a": 1}}, WorkError, "ruby"),
        ("one.ipynb", {"output": "none/one.ipynb"}, WorkError, "there is no folder none"),
        ("one.ipynb", {"output": "text.ipynb/one.ipynb"}, WorkError, "text.ipynb"),
        ("one.ipynb", {"output": "locked/one.ipynb"}, WorkError, "written to locked/one.ipynb: the session's user"),
        ("one.ipynb", {"output": "folder"}, WorkError, "cannot be written to folder: it is a folder"),
        ("one.ipynb", {"output": "one.ipynb"}, OptionError, "is the notebook itself"),
    ],
)
def test_what_cannot_be(beside: Place, name: str, options: Any, kind: type[Exception], told: str) -> None:
    folder = beside.folder
    for inside in ("folder", "locked"):
        (folder / inside).mkdir(exist_ok=True)
    owned(folder / "folder")
    (folder / "locked").chmod(0o555)
    (folder / "bytes.ipynb").write_bytes(b"\xff\xfe")
    (folder / "text.ipynb").write_text("x = 1")
    (folder / "old.ipynb").write_text(json.dumps({"nbformat": 3, "worksheets": []}))
    beside.write(".hidden.ipynb", code("1"))
    beside.write("ruby.ipynb", code("1"), kernelspec={"name": "ruby"})
    beside.write("one.ipynb", code("1"))
    beside.listeners.clear()
    with pytest.raises(kind, match=told):
        beside.session.run_notebook(name, **options)
    assert beside.session.kernels() == ()


@pytest.mark.usefixtures("needs_input")
def test_the_output_is_not_a_link_to_the_notebook(beside: Place) -> None:
    beside.write("one.ipynb", code("1"))
    (beside.folder / "link.ipynb").unlink(missing_ok=True)
    (beside.folder / "link.ipynb").symlink_to("one.ipynb")
    with pytest.raises(OptionError, match="is the notebook itself"):
        beside.session.run_notebook("one.ipynb", output="link.ipynb")
    assert beside.session.kernels() == ()
