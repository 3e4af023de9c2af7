"""Notebooks as tests: ``--jupyter-notebooks`` says which. Each is an item with a session and a kernel of its own."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from jupyter_launcher.pytest_plugin.options import skip_or_fail
from jupyter_launcher.pytest_plugin.plugin import has_failed

if TYPE_CHECKING:
    from jupyter_launcher.pytest_plugin.plugin import ServerFactory
    from jupyter_launcher.pytest_plugin.run import Run

__all__ = ["NotebookFile", "describe_failure"]

_SHOWN = 10_000  # characters of each part of a cell, from its end


class NotebookFile(pytest.Module):
    """The file of a notebook: one item. A module, since fixtures have the scope of one; nothing is imported of it."""

    obj = None

    def collect(self) -> Iterator[pytest.Item]:
        """The notebook."""
        yield NotebookItem.from_parent(self, name=self.path.stem, callobj=_run_notebook)


class NotebookItem(pytest.Function):
    """A notebook. It passes when no cell raises."""

    def repr_failure(  # type: ignore[override] # as pytest itself does it for functions
        self, excinfo: pytest.ExceptionInfo[BaseException]
    ) -> Any:
        """The cell that failed; an error of the launcher without a traceback, which is all in this library."""
        from jupyter_launcher.errors import LauncherError

        if isinstance(excinfo.value, LauncherError) and not self.config.getoption("fulltrace"):
            return describe_failure(excinfo.value)
        return super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[str, None, str]:
        """Where it is."""
        return str(self.path), None, self.name


def _run_notebook(request: pytest.FixtureRequest, _jupyter_run: Run, jupyter_server_factory: ServerFactory) -> None:
    if importlib.util.find_spec("websocket") is None:
        needed = "a notebook needs websocket-client; pip install 'jupyter-launcher[execute]'"
        skip_or_fail(request.config, f"{request.path.name} is not run", needed)
    session = jupyter_server_factory(request.path.parent, pipeline_read_only=True)
    node = request.node
    # The factory ends it with its scope, which may be all tests.
    request.addfinalizer(lambda: _jupyter_run.finish(session, node.name, failed=has_failed(node)))
    session.run_notebook(request.path.name)


def describe_failure(error: Exception) -> str:
    """An error in words, with the cell in which it came: its source, its outputs, its traceback."""
    notebook, number = getattr(error, "notebook", None), getattr(error, "cell", None)
    parts = [str(error)]
    if notebook and number:
        cell = notebook["cells"][number - 1]
        parts += [_titled("source", cell["source"]), _titled("outputs", "".join(map(_text_of, cell["outputs"])))]
    parts.append(_titled("traceback", getattr(error, "traceback", "")))
    return "\n".join(filter(None, parts))


def _titled(title: str, text: str) -> str:
    if not text.strip():
        return ""
    shown = text if len(text) <= _SHOWN else f"...{text[-_SHOWN:]}"
    return f"{f' {title} ':-^40}\n{shown.rstrip()}"


def _text_of(output: Any) -> str:
    """What an output shows in plain text; that of an error is the traceback."""
    if output.get("output_type") == "stream":
        return str(output.get("text", ""))
    text = (output.get("data") or {}).get("text/plain", "")
    return f"{text}\n" if text else ""
