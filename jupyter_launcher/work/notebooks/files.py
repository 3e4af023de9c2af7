"""The files of a session's pipeline and its kernel specs, as a notebook that is executed needs them.

A file is read and written through the server, so it may be in a volume, or on another machine. It is read and
written as text: then the server makes no checkpoint of it, and marks no cell as trusted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn
from urllib.parse import quote

from jupyter_launcher.errors import ServerError, WorkError
from jupyter_launcher.models import ApiResponse
from jupyter_launcher.models.options import show_value
from jupyter_launcher.spec.checks import PIPELINE_TARGET, refuse_option
from jupyter_launcher.work.commands.run import run_command
from jupyter_launcher.work.notebooks.ipynb import Notebook, format_notebook, language_of
from jupyter_launcher.work.place import Place
from jupyter_launcher.work.server import request

__all__ = ["Files", "refuse_itself"]

_SECONDS = 30.0
_FILE_SECONDS = 120.0
_IS_SAME = 'test "$1" -ef "$2"'


class Files:
    """The pipeline of one session."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def check_language(self, path: str, kernel: str | None) -> None:
        """Refuse parameters for a notebook whose kernel is not of Python, as the server knows it.

        Raises:
            OptionError: it is of another language.
            WorkError: the server does not tell.
        """
        answer = self._ask("GET", "api/kernelspecs")
        found = _json_of(answer)
        specs = found.get("kernelspecs") if isinstance(found, dict) else None
        if answer.status != 200 or not isinstance(specs, dict):
            _refuse("the server does not tell its kernel specs", answer, found)
        name = kernel or found.get("default")
        if isinstance(name, str) and name in specs:  # else the start of the kernel refuses it
            language = language_of(specs[name])
            if language != "python":
                seen = f"are given, and the language of {path} is {show_value(language)}"
                refuse_option("parameters", seen, "only notebooks in Python take parameters")

    def read(self, path: str) -> str:
        """A notebook's text.

        Raises:
            WorkError: there is none that can be read.
        """
        params = {"type": "file", "format": "text", "content": "1"}
        answer = self._ask("GET", _url_of(path), params=params, timeout=_FILE_SECONDS)
        if answer.status == 404:
            msg = f"there is no notebook {path} in the pipeline"
            raise WorkError(msg, hint="give its path relative to the pipeline directory; hidden files are not shown")
        found = _json_of(answer)
        text = found.get("content") if isinstance(found, dict) else None
        if answer.status == 200 and isinstance(text, str):
            return text
        return _refuse(f"{path} cannot be read", answer, found)

    def check_output(self, path: str, notebook: str) -> None:
        """See that the output can be written, before the notebook takes its time.

        Raises:
            WorkError: it cannot.
            OptionError: it is the notebook itself by another name.
        """
        folder = path.rpartition("/")[0]
        answer = self._ask("GET", _url_of(folder), params={"type": "directory", "content": "0"})
        if answer.status == 404:
            msg = f"there is no folder {folder} in the pipeline for the output"
            raise WorkError(msg, hint="make the folder first")
        found = _json_of(answer)
        if answer.status != 200 or not isinstance(found, dict):
            _refuse(f"nothing can be written to {folder or 'the pipeline'}", answer, found)
        earlier = self._ask("GET", _url_of(path), params={"content": "0"})
        there = _json_of(earlier)
        is_folder = isinstance(there, dict) and there.get("type") == "directory"
        if is_folder or found.get("writable") is False:
            why = "it is a folder" if is_folder else "the session's user cannot write there"
            msg = f"the output cannot be written to {path}: {why}"
            raise WorkError(msg, hint="give another path for the output, or leave it out")
        if earlier.status != 404:
            self._check_other(path, notebook)

    def _check_other(self, path: str, notebook: str) -> None:
        """See that a file is not the notebook by another name: a link, or one in which only the case differs."""
        argv = ("sh", "-c", _IS_SAME, "same", f"./{notebook}", f"./{path}")
        options: dict[str, Any] = {"environment": None, "given": None, "user": None, "timeout": _SECONDS}
        result = run_command(self.place, argv, cwd=PIPELINE_TARGET, check=False, **options)
        if result.exit_code == 0:
            refuse_itself()
        if result.exit_code != 1:
            msg = f"nobody can tell whether the output {path} is the notebook itself"
            raise WorkError(msg, hint="remove the file, or give another name")

    def write(self, path: str, notebook: Notebook) -> None:
        """Write an executed notebook.

        Raises:
            WorkError: it cannot be written.
        """
        model = {"type": "file", "format": "text", "content": format_notebook(notebook)}
        answer = self._ask("PUT", _url_of(path), json=model, timeout=_FILE_SECONDS)
        if answer.status not in (200, 201):
            _refuse(f"the executed notebook cannot be written to {path}", answer, _json_of(answer))

    def _ask(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        params: Mapping[str, str] | None = None,
        timeout: float = _SECONDS,
    ) -> ApiResponse:
        return request(self.place, method, path, json=json, params=params, timeout=timeout)


def refuse_itself() -> NoReturn:
    """Raise that the output is the notebook."""
    refuse_option("output", "is the notebook itself", "give another name; the notebook is never changed")


def _url_of(path: str) -> str:
    return f"api/contents/{quote(path)}" if path else "api/contents"


def _json_of(answer: ApiResponse) -> Any:
    """What the server said; None where it is no JSON."""
    try:
        return answer.json()
    except ServerError:
        return None


def _refuse(what: str, answer: ApiResponse, found: object) -> NoReturn:
    told = found.get("message") if isinstance(found, dict) else None
    msg = f"{what}: the server answered {answer.status}, {show_value(told)}"
    raise WorkError(msg, hint="see the session's log")
