"""How a notebook is executed: by a made-up kernel, on a made-up server."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import unquote

import pytest

from jupyter_launcher import (
    ApiResponse,
    CellError,
    CodeFailure,
    CommandResult,
    Event,
    ExecuteResult,
    ExecuteTimeoutError,
    KernelDiedError,
    LauncherError,
    NotebookResult,
    OptionError,
    WorkError,
)
from jupyter_launcher.acts import wait_for_cancel
from jupyter_launcher.sessions.phases import PhaseReporter
from jupyter_launcher.waiting import Deadline
from jupyter_launcher.work.connection import KernelGoneError
from jupyter_launcher.work.kernels import Kernel
from jupyter_launcher.work.notebooks import files as files_module
from jupyter_launcher.work.notebooks import run as run_module
from jupyter_launcher.work.notebooks.run import run_notebook
from jupyter_launcher.work.outputs import Displays
from jupyter_launcher.work.place import Place
from tests.unit.fakes import TOKEN, FakeEngine
from tests.unit.work.jupyter import FakeKernel as ServedKernel
from tests.unit.work.jupyter import place_of
from tests.unit.work.notebook import code, notebook, text_cell

SPECS: dict[str, Any] = {"python3": {"spec": {"language": "python"}}, "ir": {"spec": {"language": "R"}}}


class FakeServer:
    """The part of a Jupyter server that a notebook needs: its files, by their paths, and its kernel specs."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {"a.ipynb": json.dumps(notebook(code("1")))}
        self.folders: dict[str, bool] = {"": True, "out": True, "locked": False}
        self.specs: object = {"default": "python3", "kernelspecs": SPECS}
        self.answers: dict[tuple[str, str], ApiResponse] = {}
        self.asked: list[tuple[str, str]] = []

    def request(
        self, method: str, path: str, *, json: Any = None, params: Mapping[str, str] | None = None, timeout: float = 30
    ) -> ApiResponse:
        self.asked.append((method, path))
        if (method, path) in self.answers:
            return self.answers[method, path]
        if path == "api/kernelspecs":
            return answer(200, self.specs)
        name = unquote(path).removeprefix("api/contents").removeprefix("/")
        if method == "PUT":
            assert (json["type"], json["format"]) == ("file", "text"), "it makes no checkpoint"
            self.files[name] = json["content"]
            return answer(201, {})
        assert params is not None
        if params.get("type") != "file" and name in self.folders:
            return answer(200, {"type": "directory", "writable": self.folders[name]})
        if params.get("type") != "directory" and name in self.files:
            return answer(200, {"content": self.files[name]})
        return answer(404, {"message": "nothing there"})


def answer(status: int, found: object) -> ApiResponse:
    return ApiResponse(status=status, body=json.dumps(found).encode())


Code = Callable[[float | None], ExecuteResult]


class FakeKernel:
    """Executes what the test has for a source; a source that is not known is printed."""

    made: list[FakeKernel]
    codes: dict[str, Code]

    def __init__(
        self, place: Place, *, name: str | None, path: str | None, kernel_id: str | None, end: Deadline | None
    ) -> None:
        assert kernel_id is None
        self.name, self.path = name, path
        self.executed: list[tuple[str, float | None]] = []
        self.ended = False
        self.displays: dict[str, Displays] = {}
        self.made.append(self)

    def __enter__(self) -> FakeKernel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended = True

    def execute_cell(
        self, source: str, *, timeout: float | None, check: bool, on_output: object, displays: Displays
    ) -> ExecuteResult:
        assert not check
        assert displays is self.displays.setdefault("", displays), "all cells share them"
        assert not self.ended
        self.executed.append((source, timeout))
        found = self.codes[source](timeout) if source in self.codes else prints(source)
        return ExecuteResult(
            status=found.status,
            outputs=found.outputs,
            error=found.error,
            truncated=found.truncated,
            execution_count=len(self.executed),
        )


def prints(text: str) -> ExecuteResult:
    return ExecuteResult(status="ok", outputs=({"output_type": "stream", "name": "stdout", "text": text},))


def raises(_: float | None) -> ExecuteResult:
    failure = CodeFailure(ename="ValueError", evalue="no", traceback="Traceback\nValueError: no")
    output = {"output_type": "error", "ename": "ValueError", "evalue": "no", "traceback": []}
    return ExecuteResult(status="error", outputs=(output,), error=failure)


def dies(_: object) -> ExecuteResult:
    msg = "the kernel died"
    raise KernelDiedError(msg, hint="see its log", kernel_id="k", for_memory=True, result=prints("until then"))


def lasts(timeout: float | None) -> ExecuteResult:
    msg = "it did not end"
    raise ExecuteTimeoutError(msg, hint="give it more time", seconds=timeout or 0.0, result=prints("until then"))


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> list[FakeKernel]:
    monkeypatch.setattr(run_module, "Kernel", FakeKernel)
    FakeKernel.made, FakeKernel.codes = [], {"raise": raises, "die": dies, "last": lasts}
    return FakeKernel.made


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    found = FakeServer()
    monkeypatch.setattr(files_module, "request", lambda _, *given, **options: found.request(*given, **options))
    return found


@pytest.fixture
def events() -> list[Event]:
    return []


Run = Callable[..., NotebookResult]


@pytest.fixture
def run(server: FakeServer, kernels: list[FakeKernel], events: list[Event]) -> Run:
    """Run a notebook of these cells, or the one that is there."""
    place = Place(
        engine=FakeEngine(),
        container="c" * 64,
        session_id="unit",
        url="http://127.0.0.1:1/",
        token=TOKEN,
        gateway=None,
        phase=PhaseReporter(events.append, "unit").phase,
    )
    nothing: dict[str, Any] = dict.fromkeys(("parameters", "timeout", "cell_timeout", "output"))

    def call(
        *cells: Any, path: str = "a.ipynb", metadata: Any = None, place: Place = place, **options: Any
    ) -> NotebookResult:
        if cells:
            server.files[path] = json.dumps(notebook(*cells, metadata=metadata or {}))
        return run_notebook(place, path, **{**nothing, **options})

    return call


def texts(found: Mapping[str, Any]) -> list[str]:
    return ["".join(output.get("text", "") for output in cell.get("outputs", ())) for cell in found["cells"]]


def test_cells_are_executed_one_after_another(
    run: Run, server: FakeServer, kernels: list[FakeKernel], events: list[Event]
) -> None:
    before = dict(server.files)
    result = run(text_cell("# Head"), code("a"), code(""), code("b"), path="steps/b.ipynb")
    (kernel,) = kernels
    assert (kernel.name, kernel.path, kernel.ended) == (None, "steps/b.ipynb", True)
    assert kernel.executed == [("a", None), ("b", None)]
    assert texts(result.notebook) == ["", "a", "", "b"]
    assert [cell.get("execution_count") for cell in result.notebook["cells"]] == [None, 1, None, 2]
    assert (result.executed, result.truncated) == (2, False)
    assert [(event.phase.value, event.kind.value, event.done, event.total) for event in events] == [
        ("notebook", "started", 0, 0),
        ("notebook", "progress", 0, 2),
        ("notebook", "progress", 1, 2),
        ("notebook", "progress", 2, 2),
        ("notebook", "finished", 0, 0),
    ]
    assert events[2].detail == "steps/b.ipynb, cell 4"
    assert dict(server.files) == {**before, "steps/b.ipynb": server.files["steps/b.ipynb"]}
    assert "PUT" not in {method for method, _ in server.asked}


def test_the_executed_notebook_is_written_where_it_was_asked_for(run: Run, server: FakeServer) -> None:
    source = code("a", {"output_type": "stream", "name": "stdout", "text": "old"})
    result = run(source, output="out/é b.ipynb")
    assert json.loads(server.files["a.ipynb"])["cells"] == [source]
    written = json.loads(server.files["out/é b.ipynb"])
    assert written["cells"][0]["outputs"][0]["text"] == ["a"]
    assert texts(result.notebook) == ["a"]
    assert ("PUT", "api/contents/out/%C3%A9%20b.ipynb") in server.asked


def test_output_that_was_cut_is_told(run: Run, kernels: list[FakeKernel]) -> None:
    FakeKernel.codes["much"] = lambda _: ExecuteResult(status="ok", truncated=True)
    assert run(code("much"), code("a")).truncated


def test_a_cell_that_raises_ends_it(run: Run, server: FakeServer, kernels: list[FakeKernel]) -> None:
    with pytest.raises(CellError) as caught:
        run(code("a"), code("raise"), code("b"), output="out/a.ipynb")
    error = caught.value
    assert error.message == "cell 2 of a.ipynb raised ValueError: no"
    assert (error.ename, error.evalue, error.cell, error.session_id) == ("ValueError", "no", 2, "unit")
    assert error.traceback == "Traceback\nValueError: no"
    assert error.result is not None
    assert error.result.status == "error"
    assert [source for source, _ in kernels[0].executed] == ["a", "raise"]
    assert kernels[0].ended
    written = json.loads(server.files["out/a.ipynb"])
    for found in (error.notebook, written):
        assert [len(cell["outputs"]) for cell in found["cells"]] == [1, 1, 0]
        assert found["cells"][1]["outputs"][0]["ename"] == "ValueError"


def test_a_cell_that_may_raise_does_not(run: Run) -> None:
    result = run(code("raise", tags=["raises-exception"]), code("b"))
    assert texts(result.notebook) == ["", "b"]
    assert result.notebook["cells"][0]["outputs"][0]["ename"] == "ValueError"


def test_a_kernel_that_dies_ends_it(run: Run, server: FakeServer, kernels: list[FakeKernel]) -> None:
    with pytest.raises(KernelDiedError) as caught:
        run(text_cell("a"), code("die"), code("b"), output="out/a.ipynb")
    error = caught.value
    assert error.message == "cell 2 of a.ipynb: the kernel died"
    assert (error.cell, error.for_memory, error.session_id) == (2, True, "unit")
    assert error.notebook is not None
    assert texts(error.notebook) == ["", "until then", ""]
    assert json.loads(server.files["out/a.ipynb"])["cells"][1]["outputs"]
    assert kernels[0].ended


def test_a_kernel_that_dies_while_it_starts_ends_it(
    run: Run, server: FakeServer, kernels: list[FakeKernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeKernel, "__enter__", dies)
    with pytest.raises(KernelDiedError) as caught:
        run(code("a"), output="b.ipynb")
    assert caught.value.notebook is not None
    assert "b.ipynb" in server.files


def test_a_kernel_that_is_gone_ends_it(run: Run, kernels: list[FakeKernel]) -> None:
    def gone(_: float | None) -> ExecuteResult:
        msg = "there is no kernel k any more"
        raise KernelGoneError(msg, hint="start another one")

    FakeKernel.codes["gone"] = gone
    with pytest.raises(KernelDiedError, match=r"the kernel ended before cell 2 of a\.ipynb") as caught:
        run(code("a"), code("gone"))
    assert caught.value.notebook is not None
    assert (caught.value.cell, texts(caught.value.notebook)) == (2, ["a", ""])


@pytest.mark.parametrize(
    ("options", "told", "seconds"),
    [
        ({"cell_timeout": 5}, "cell 1 of a.ipynb did not end within 5 s, and was interrupted", 5.0),
        ({"cell_timeout": 5, "timeout": 900}, "cell 1 of a.ipynb did not end within 5 s, and was interrupted", 5.0),
        ({"timeout": 2.5}, "a.ipynb did not end within 2.5 s; its cell 1 was interrupted", 2.5),
        ({"timeout": 2, "cell_timeout": 9}, "a.ipynb did not end within 2 s; its cell 1 was interrupted", 2.0),
    ],
)
def test_a_time_that_is_over(run: Run, kernels: list[FakeKernel], options: Any, told: str, seconds: float) -> None:
    with pytest.raises(ExecuteTimeoutError) as caught:
        run(code("last", tags=["raises-exception"]), code("b"), **options)
    error = caught.value
    assert (error.message, error.seconds, error.cell) == (told, seconds, 1)
    assert error.notebook is not None
    assert texts(error.notebook) == ["until then", ""]
    ((_, limit),) = kernels[0].executed
    assert limit is not None
    assert 0 < limit <= seconds


def test_no_cell_begins_after_the_time_of_the_notebook(
    run: Run, kernels: list[FakeKernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    def over(_: float | None) -> ExecuteResult:
        monkeypatch.setattr(Deadline, "remaining", lambda _: 0.0)
        return prints("late")

    FakeKernel.codes["a"] = over
    with pytest.raises(ExecuteTimeoutError, match="within 60 s; the time was over before its cell 2") as caught:
        run(code("a"), code("b"), timeout=60)
    assert (caught.value.seconds, caught.value.cell) == (60.0, 2)
    assert caught.value.notebook is not None
    assert texts(caught.value.notebook) == ["late", ""]


def test_the_time_of_a_notebook_bounds_the_start_of_its_kernel(
    server: FakeServer, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    jupyter = ServedKernel()
    jupyter.on_info = lambda *_: None  # its process starts for ever
    monkeypatch.setattr(run_module, "Kernel", Kernel)
    with jupyter.serve() as url:
        with pytest.raises(
            ExecuteTimeoutError, match=r"a\.ipynb did not end within 0.3 s; .* its kernel answer"
        ) as caught:
            run(timeout=0.3, output="b.ipynb", place=place_of(url))
        assert jupyter.asked[-1].startswith("DELETE")
    assert caught.value.notebook is not None
    assert texts(caught.value.notebook) == texts(json.loads(server.files["b.ipynb"])) == [""]
    assert caught.value.seconds == 0.3


def test_a_cell_that_the_kernel_did_not_execute_is_an_error(run: Run, kernels: list[FakeKernel]) -> None:
    FakeKernel.codes["a"] = lambda _: ExecuteResult(status="aborted")
    with pytest.raises(WorkError, match=r"cell 1 of a\.ipynb was not executed"):
        run(code("a"))


def test_another_error_of_the_kernel_names_the_cell(run: Run, server: FakeServer, kernels: list[FakeKernel]) -> None:
    def asks(_: float | None) -> ExecuteResult:
        msg = "the code asked for an input"
        raise WorkError(msg, hint="give it as a parameter")

    FakeKernel.codes["input()"] = asks
    with pytest.raises(WorkError, match=r"cell 2 of a\.ipynb: the code asked for an input"):
        run(code("a"), code("input()"), output="out/a.ipynb")
    assert json.loads(server.files["out/a.ipynb"])["cells"][0]["outputs"]


def test_an_output_that_cannot_be_written_hides_no_error(run: Run, server: FakeServer) -> None:
    server.answers["PUT", "api/contents/a2.ipynb"] = answer(500, {"message": "No space left"})
    with pytest.raises(WorkError, match=r"cannot be written to a2.ipynb: the server answered 500, 'No space left'"):
        run(code("a"), output="a2.ipynb")
    with pytest.raises(CellError) as caught:
        run(code("raise"), output="a2.ipynb")
    assert "cannot be written to a2.ipynb" in caught.value.hint


@pytest.mark.parametrize(
    ("path", "reply", "told"),
    [
        ("no.ipynb", None, "there is no notebook no.ipynb in the pipeline"),
        ("a.ipynb", answer(400, {"message": "a.ipynb is not a file"}), "answered 400, 'a.ipynb is not a file'"),
        ("a.ipynb", answer(200, {"content": None}), "cannot be read: the server answered 200"),
        ("a.ipynb", answer(200, []), "cannot be read: the server answered 200"),
        ("a.ipynb", ApiResponse(status=502, body=b"<html>"), "cannot be read: the server answered 502, None"),
        ("a.ipynb", answer(200, {"content": "x"}), "a.ipynb cannot be read as a notebook"),
    ],
)
def test_a_notebook_that_cannot_be_read(
    run: Run, server: FakeServer, kernels: list[FakeKernel], path: str, reply: ApiResponse | None, told: str
) -> None:
    if reply is not None:
        server.answers["GET", f"api/contents/{path}"] = reply
    with pytest.raises(WorkError, match=told) as caught:
        run(path=path)
    assert caught.value.session_id == "unit"
    assert kernels == []


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("none/a.ipynb", "there is no folder none in the pipeline"),
        ("locked/a.ipynb", "cannot be written to locked/a.ipynb: the session's user cannot write there"),
        ("out", "cannot be written to out: it is a folder"),
        ("odd/a.ipynb", "nothing can be written to odd: the server answered 400, 'odd is not a directory'"),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_the_notebook_runs(
    run: Run, server: FakeServer, kernels: list[FakeKernel], output: str, told: str
) -> None:
    server.answers["GET", "api/contents/odd"] = answer(400, {"message": "odd is not a directory"})
    with pytest.raises(WorkError, match=told):
        run(output=output)
    assert kernels == []


@pytest.mark.parametrize("name", ["symbolic.ipynb", "hard.ipynb", "folder/a.ipynb"])
def test_an_output_that_is_the_notebook_by_another_name_is_refused(
    run: Run, server: FakeServer, kernels: list[FakeKernel], tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_here(_: Place, argv: Sequence[str], *, cwd: str, check: bool, **__: Any) -> CommandResult:
        assert (cwd, check) == ("/pipeline-dir", False)
        ended = subprocess.run(argv, cwd=tmp_path, check=False)
        return CommandResult(argv=tuple(argv), exit_code=codes.pop() if codes else ended.returncode)

    codes: list[int] = []
    monkeypatch.setattr(files_module, "run_command", run_here)
    for known in ("a.ipynb", "copy.ipynb"):
        (tmp_path / known).write_text(server.files["a.ipynb"])
    (tmp_path / "symbolic.ipynb").symlink_to("a.ipynb")
    (tmp_path / "hard.ipynb").hardlink_to(tmp_path / "a.ipynb")
    (tmp_path / "folder").symlink_to(".")
    server.folders["folder"] = True
    server.files[name] = server.files["copy.ipynb"] = server.files["a.ipynb"]
    with pytest.raises(OptionError, match="output is the notebook itself"):
        run(output=name)
    assert kernels == []
    run(output="copy.ipynb")
    codes.append(127)
    with pytest.raises(WorkError, match=r"nobody can tell whether the output copy\.ipynb is the notebook itself"):
        run(output="copy.ipynb")


def test_code_that_no_server_takes_is_refused_before_the_notebook_runs(
    run: Run, server: FakeServer, kernels: list[FakeKernel]
) -> None:
    half = "'\ud800'"
    with pytest.raises(WorkError, match="the code of cell 2 has half of a character"):
        run(code("a"), code(half))
    assert kernels == []
    run(text_cell(half), code(half, tags=["skip-execution"]), code("a"), output="b.ipynb")
    assert json.loads(server.files["b.ipynb"])["cells"][1]["source"] == [half]


# Its kernel, and its parameters


def test_the_kernel_is_the_one_that_the_notebook_names(run: Run, kernels: list[FakeKernel]) -> None:
    run(code("a"), metadata={"kernelspec": {"name": "ir"}})
    assert kernels[0].name == "ir"


@pytest.mark.parametrize(
    "reply", [answer(200, []), answer(200, {"kernelspecs": []}), answer(503, {}), ApiResponse(status=200, body=b"<")]
)
def test_kernel_specs_that_cannot_be_read(run: Run, server: FakeServer, reply: ApiResponse) -> None:
    server.answers["GET", "api/kernelspecs"] = reply
    with pytest.raises(WorkError, match="does not tell its kernel specs"):
        run(parameters={"a": 1})
    assert run().executed == 1


def test_parameters_are_set_by_a_cell_of_their_own(run: Run, kernels: list[FakeKernel]) -> None:
    with pytest.raises(CellError, match=r"cell 3 of a\.ipynb") as caught:
        run(code("n = 1", tags=["parameters"]), code("raise"), parameters={"n": 5})
    assert [source for source, _ in kernels[0].executed] == ["n = 1", "# Parameters\nn = 5", "raise"]
    assert caught.value.notebook["cells"][caught.value.cell - 1]["source"] == "raise"


@pytest.mark.parametrize("spec", [{"spec": {"language": "R"}}, {"spec": {}}, {}, []])
def test_other_languages_take_no_parameters(
    run: Run, server: FakeServer, kernels: list[FakeKernel], spec: object
) -> None:
    server.specs = {"default": "x", "kernelspecs": {"x": spec}}
    with pytest.raises(OptionError, match=r"parameters are given, and the language of a\.ipynb is"):
        run(parameters={"a": 1})
    assert kernels == []
    assert run(parameters={}).executed == 1


@pytest.mark.parametrize("specs", [{"default": 1, "kernelspecs": SPECS}, {"kernelspecs": SPECS}])
def test_a_kernel_that_is_not_there_is_left_to_its_start(
    run: Run, server: FakeServer, kernels: list[FakeKernel], specs: object
) -> None:
    server.specs = specs
    run(code("a"), metadata={"kernelspec": {"name": "ruby"}}, parameters={"a": 1})
    run(code("a"), parameters={"a": 1})
    assert [kernel.name for kernel in kernels] == ["ruby", None]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"path": "/etc/passwd"}, "path is '/etc/passwd'"),
        ({"path": "../a.ipynb"}, "path is '../a.ipynb'"),
        ({"path": "."}, "path is '.', the pipeline directory itself"),
        ({"output": "./"}, "output is './', the pipeline directory itself"),
        ({"output": "./a.ipynb"}, "output is the notebook itself"),
        ({"timeout": 0}, "timeout is 0"),
        ({"timeout": True}, "timeout is True"),
        ({"cell_timeout": float("nan")}, "cell_timeout is nan"),
        ({"cell_timeout": "5"}, "cell_timeout is '5'"),
        ({"parameters": {"a": b""}}, "parameters has for a b''"),
    ],
)
def test_arguments_that_cannot_be(run: Run, server: FakeServer, options: dict[str, Any], told: str) -> None:
    with pytest.raises(OptionError, match=told.replace(".", r"\.")):
        run(**options)
    assert server.asked == []


def test_a_ctrl_c_ends_it_and_its_kernel(run: Run, server: FakeServer, kernels: list[FakeKernel]) -> None:
    def wait(_: float | None) -> ExecuteResult:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        wait_for_cancel(60)
        return prints("")

    FakeKernel.codes["wait"] = wait
    with pytest.raises(KeyboardInterrupt):
        run(code("wait"), output="out/a.ipynb")
    assert kernels[0].ended
    assert "out/a.ipynb" not in server.files


def test_errors_can_be_read_by_people() -> None:
    error: LauncherError = CellError("cell 1 of a raised E: x", hint="see", ename="E", notebook=notebook(code("1")))
    assert str(error) == "cell 1 of a raised E: x; see"
    assert "nbformat" not in repr(error)
