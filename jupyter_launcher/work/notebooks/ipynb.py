"""Notebooks as nbformat 4 has them: their text, the cell of their parameters, what is executed. Pure.

A notebook is a ``dict`` as it was parsed from JSON. The user of a session can write anything into its file, so
``parse_notebook`` looks at all that is used later.
"""

from __future__ import annotations

import json
import keyword
import math
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from jupyter_launcher.errors import WorkError
from jupyter_launcher.models.options import show_value
from jupyter_launcher.results import ExecuteResult
from jupyter_launcher.spec.checks import refuse_option

__all__ = [
    "Notebook",
    "cells_to_execute",
    "check_code",
    "check_parameters",
    "clear_outputs",
    "format_notebook",
    "has_tag",
    "kernel_name_of",
    "language_of",
    "parse_notebook",
    "place_parameters",
    "set_result",
]

Notebook = dict[str, Any]
"""The JSON of a notebook or of one of its cells, in nbformat's shape; its texts are not split into lines."""

_PARAMETERS = "parameters"
_INJECTED = "injected-parameters"
_SKIPPED = "skip-execution"
_FIRST_MINOR_WITH_IDS = 5
_SAVE_HINT = "open it in JupyterLab and save it there"
_VALUE_HINT = "give values that JSON has: None, True, False, numbers, texts, and lists and dicts of these"


def parse_notebook(text: str, name: str) -> Notebook:
    """A notebook from its file's text.

    Args:
        text: JSON.
        name: of the file, for messages.

    Raises:
        WorkError: it is no notebook of nbformat 4.
    """
    try:
        notebook = json.loads(text)
    except (ValueError, RecursionError) as error:
        _refuse(name, f"its text is no JSON that can be read ({type(error).__name__})")
    if not isinstance(notebook, dict):
        _refuse(name, "its JSON is no object")
    version = notebook.get("nbformat")
    if type(version) is not int or version != 4:
        seen = (
            f"has the notebook format {show_value(version)}" if "nbformat" in notebook else "tells no notebook format"
        )
        msg = f"{name} {seen}, and only 4 can be executed"
        raise WorkError(msg, hint=_SAVE_HINT)
    if type(notebook.setdefault("nbformat_minor", 0)) is not int:
        _refuse(name, "its nbformat_minor is no number")
    if not isinstance(notebook.setdefault("metadata", {}), dict):
        _refuse(name, "its metadata is no object")
    cells = notebook.get("cells")
    if not isinstance(cells, list):
        _refuse(name, "it has no list of cells")
    for number, cell in enumerate(cells, 1):
        if fault := _find_fault(cell):
            _refuse(name, f"cell {number} {fault}")
    return notebook


def _refuse(name: str, seen: str) -> NoReturn:
    msg = f"{name} cannot be read as a notebook: {seen}"
    raise WorkError(msg, hint=_SAVE_HINT) from None


def _find_fault(cell: Any) -> str:
    """What makes a cell unusable; empty where nothing does. Its texts are joined, and what may lack is added."""
    if not isinstance(cell, dict) or not isinstance(cell.get("cell_type"), str):
        return "has no type"
    source = _join(cell.get("source"))
    if source is None:
        return "has no source"
    cell["source"] = source
    if not isinstance(cell.setdefault("metadata", {}), dict):
        return "has metadata that are no object"
    if cell["cell_type"] == "code":
        outputs = cell.setdefault("outputs", [])
        if not isinstance(outputs, list) or not all(isinstance(output, dict) for output in outputs):
            return "has outputs that are no list of objects"
        for texts, kind in _texts_of(outputs):
            joined = _join(texts[kind])
            texts[kind] = texts[kind] if joined is None else joined
    return ""


def _join(text: Any) -> str | None:
    """A text of nbformat, which may be a list of lines; None where it is none."""
    if isinstance(text, list) and all(isinstance(line, str) for line in text):
        return "".join(text)
    return text if isinstance(text, str) else None


def _texts_of(outputs: list[Notebook]) -> Iterator[tuple[dict[str, Any], str]]:
    """Where outputs have texts that a file has as lists of lines: a dict, and a key of it."""
    for output in outputs:
        if "text" in output:
            yield output, "text"
        data = output.get("data")
        if isinstance(data, dict):
            for kind in data:
                if not (kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))):
                    yield data, kind


def format_notebook(notebook: Notebook) -> str:
    """The text of a notebook's file, as Jupyter writes it.

    Raises:
        WorkError: it has more levels than can be written.
    """
    cells = [_split(cell) for cell in notebook["cells"]]
    options: dict[str, Any] = {"indent": 1, "sort_keys": True, "separators": (",", ": ")}
    try:
        text = json.dumps({**notebook, "cells": cells}, ensure_ascii=False, **options)
        if not _is_encodable(text):
            text = json.dumps({**notebook, "cells": cells}, **options)
    except RecursionError:
        msg = "the executed notebook has too many levels to be written"
        raise WorkError(msg, hint="see which cell has such an output") from None
    return f"{text}\n"


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _split(cell: Notebook) -> Notebook:
    """A cell with its texts as lists of lines; the cell itself stays as it is."""
    cell = {**cell, "source": cell["source"].splitlines(keepends=True)}
    if cell["cell_type"] == "code":
        outputs = [_copy_output(output) for output in cell["outputs"]]
        for texts, kind in _texts_of(outputs):
            if isinstance(texts[kind], str):
                texts[kind] = texts[kind].splitlines(keepends=True)
        cell["outputs"] = outputs
    return cell


def _copy_output(output: Notebook) -> Notebook:
    data = output.get("data")
    return {**output, "data": {**data}} if isinstance(data, dict) else {**output}


def has_tag(cell: Notebook, tag: str) -> bool:
    """Whether a cell has a tag."""
    tags = cell["metadata"].get("tags")
    return isinstance(tags, list) and tag in tags


def cells_to_execute(notebook: Notebook) -> Iterator[tuple[int, Notebook]]:
    """The cells with code, each with its number, counted from 1; without those tagged ``skip-execution``."""
    for number, cell in enumerate(notebook["cells"], 1):
        if cell["cell_type"] == "code" and cell["source"].strip() and not has_tag(cell, _SKIPPED):
            yield number, cell


def check_code(notebook: Notebook, name: str) -> None:
    """See that what is executed can be sent.

    Raises:
        WorkError: a cell has half of a character, which JSON can spell and no server takes.
    """
    for number, cell in cells_to_execute(notebook):
        if not _is_encodable(cell["source"]):
            _refuse(name, f"the code of cell {number} has half of a character")


def clear_outputs(notebook: Notebook) -> None:
    """Remove the outputs of an earlier execution, but for those of the cells that are skipped."""
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code" and not has_tag(cell, _SKIPPED):
            cell["outputs"], cell["execution_count"] = [], None


def set_result(cell: Notebook, result: ExecuteResult) -> None:
    """Give a cell what came of its code: the outputs themselves, which a later cell may update."""
    cell["outputs"] = list(result.outputs)
    cell["execution_count"] = result.execution_count


def kernel_name_of(notebook: Notebook) -> str | None:
    """The kernel spec that a notebook names; None where it names none."""
    spec = notebook["metadata"].get("kernelspec")
    name = spec.get("name") if isinstance(spec, dict) else None
    return name if isinstance(name, str) and name else None


def language_of(model: object) -> object:
    """The language of a kernel spec, as a server describes it; None where it tells none."""
    spec = model.get("spec") if isinstance(model, dict) else None
    return spec.get("language") if isinstance(spec, dict) else None


def place_parameters(notebook: Notebook, parameters: Mapping[str, str]) -> None:
    """Add the cell that sets parameters, as papermill does it.

    It takes the place of an earlier one. Else it comes after the first cell tagged ``parameters``, or is the first.

    Args:
        notebook: of a Python kernel.
        parameters: as :func:`check_parameters` returns them.
    """
    cells = notebook["cells"]
    source = "\n".join(["# Parameters", *(f"{name} = {literal}" for name, literal in parameters.items())])
    cell: Notebook = {
        "cell_type": "code",
        "execution_count": None,
        "metadata": {"tags": [_INJECTED]},
        "outputs": [],
        "source": source,
    }
    earlier = _find_tagged(cells, _INJECTED)
    if earlier is not None and "id" in cells[earlier]:
        cell["id"] = cells[earlier]["id"]
    elif notebook["nbformat_minor"] >= _FIRST_MINOR_WITH_IDS:
        cell["id"] = uuid.uuid4().hex[:8]
    if earlier is not None:
        cells[earlier] = cell
        return
    tagged = _find_tagged(cells, _PARAMETERS)
    cells.insert(0 if tagged is None else tagged + 1, cell)


def _find_tagged(cells: list[Notebook], tag: str) -> int | None:
    return next((index for index, cell in enumerate(cells) if has_tag(cell, tag)), None)


def check_parameters(given: object) -> dict[str, str]:
    """Parameters as Python has them: a name → a literal.

    Raises:
        OptionError: a name cannot be a variable's, or a value is none that JSON has.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        refuse_option("parameters", f"is {show_value(given)}", "give a dict: a name and a value for each parameter")
    found = {}
    for name, value in given.items():
        if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name) or name == "__debug__":
            refuse_option(
                "parameters", f"has the name {show_value(name)}", "give names that Python's variables can have"
            )
        try:
            found[name] = _spell(value)
        except _NotJsonError as error:
            refuse_option(
                "parameters", f"has for {name} {show_value(error.value)}, which JSON does not have", _VALUE_HINT
            )
        except (ValueError, RecursionError):
            refuse_option(
                "parameters", f"has for {name} a value that is too large, or has too many levels", _VALUE_HINT
            )
    return found


class _NotJsonError(Exception):
    def __init__(self, value: object) -> None:
        super().__init__()
        self.value = value


def _spell(value: object) -> str:
    """A Python literal. A value of a subclass, such as an enum's or numpy's, is spelled as what JSON has of it."""
    if value is None or isinstance(value, bool):
        return repr(value)
    if isinstance(value, float):
        text = float.__repr__(value)
        return text if math.isfinite(value) else f"float('{text}')"
    if isinstance(value, str):
        return str.__repr__(value)
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_spell, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_spell_key(key)}: {_spell(item)}' for key, item in value.items())}}}"
    raise _NotJsonError(value)


def _spell_key(key: object) -> str:
    if not isinstance(key, str):
        raise _NotJsonError(key)
    return _spell(key)
