"""Notebooks as text: what is read of one, where its parameters come, what is executed."""

from __future__ import annotations

import enum
import json
import math
import time
from typing import Any

import nbformat
import pytest
from hypothesis import given

from jupyter_launcher import ExecuteResult, OptionError, WorkError
from jupyter_launcher.work.notebooks.ipynb import (
    cells_to_execute,
    check_parameters,
    clear_outputs,
    format_notebook,
    kernel_name_of,
    parse_notebook,
    place_parameters,
    set_result,
)
from tests.unit.strategies import FEW, json_values, replaced
from tests.unit.work.notebook import code, notebook, text_cell


def parse(found: Any) -> dict[str, Any]:
    return parse_notebook(json.dumps(found), "a.ipynb")


def test_a_file_comes_back_as_jupyter_writes_it() -> None:
    stream = nbformat.v4.new_output("stream", text="1\n2\n")
    shown = nbformat.v4.new_output("display_data", {"text/plain": "a\nb", "application/json": {"x": [1]}})
    cells = [nbformat.v4.new_markdown_cell("# A\nb"), nbformat.v4.new_code_cell("x = 1\nx", outputs=[stream, shown])]
    text = nbformat.writes(nbformat.v4.new_notebook(cells=cells, metadata={"mine": {"ä": 1}}))
    found = parse_notebook(text, "a.ipynb")
    assert found["cells"][1]["source"] == "x = 1\nx"
    assert found["cells"][1]["outputs"][0]["text"] == "1\n2\n"
    assert found["cells"][1]["outputs"][1]["data"] == {"text/plain": "a\nb", "application/json": {"x": [1]}}
    assert format_notebook(found) == f"{text}\n"
    assert found["cells"][1]["source"] == "x = 1\nx"


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ([], "its JSON is no object"),
        ({}, "tells no notebook format"),
        (notebook(nbformat=3), "has the notebook format 3, and only 4"),
        (notebook(nbformat=True), "has the notebook format True"),
        (notebook(nbformat="4"), "has the notebook format '4'"),
        (notebook(nbformat_minor=None), "its nbformat_minor is no number"),
        (notebook(metadata=[]), "its metadata is no object"),
        (notebook(cells={}), "it has no list of cells"),
        (notebook(code("1"), 7), "cell 2 has no type"),
        (notebook({"cell_type": "code"}), "cell 1 has no source"),
        (notebook({**code("1"), "source": ["a", 1]}), "cell 1 has no source"),
        (notebook({**code("1"), "metadata": 1}), "cell 1 has metadata that are no object"),
        (notebook({**code("1"), "outputs": ["x"]}), "cell 1 has outputs that are no list of objects"),
    ],
)
def test_what_is_no_notebook_is_refused(found: object, told: str) -> None:
    with pytest.raises(WorkError, match=told) as caught:
        parse(found)
    assert "a.ipynb" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("text", ["", "{", "[" * 200_000, "9" * 10_000, "\ud800"])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(WorkError, match="no JSON that can be read"):
        parse_notebook(text, "a.ipynb")


VALID = notebook(
    code("1", {"output_type": "display_data", "data": {"text/plain": ["a", "b"]}, "text": "c"}, tags=["parameters"]),
    text_cell("a"),
    metadata={"kernelspec": {"name": "python3"}},
)


@FEW
@given(json_values())
def test_any_json_is_refused_or_can_be_used(value: object) -> None:
    for found in replaced(VALID, value):
        text = json.dumps(found)
        try:
            parsed = parse_notebook(text, "a.ipynb")
        except WorkError:
            continue
        kernel_name_of(parsed)
        assert all(cell["source"] for _, cell in cells_to_execute(parsed))
        assert json.dumps(parse_notebook(format_notebook(parsed), "b.ipynb")) == json.dumps(parsed, sort_keys=True)
        place_parameters(parsed, {"a": "1"})
        clear_outputs(parsed)
        assert format_notebook(parsed)


def test_an_output_that_utf8_does_not_have_is_written_all_the_same() -> None:
    found = parse(notebook(code("1", {"output_type": "stream", "text": "ä\ud800"})))
    text = format_notebook(found)
    assert text.isascii()
    assert parse_notebook(text, "b.ipynb") == found


def test_an_output_with_too_many_levels_is_an_error() -> None:
    found = parse(notebook(code("1")))
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    found["cells"][0]["outputs"] = [{"data": {"application/json": deep}}]
    with pytest.raises(WorkError, match="too many levels"):
        format_notebook(found)


def test_what_is_executed() -> None:
    cells = [text_cell("# Head"), code("1"), code(" \n"), code("2", tags=["skip-execution"]), code("3", tags="no list")]
    found = parse(notebook(*cells))
    assert [(number, cell["source"]) for number, cell in cells_to_execute(found)] == [(2, "1"), (5, "3")]


def test_earlier_outputs_are_removed_but_for_those_of_cells_that_are_skipped() -> None:
    old = {"output_type": "stream", "name": "stdout", "text": "old"}
    found = parse(notebook(text_cell("a"), code("1", old), code("", old), code("2", old, tags=["skip-execution"])))
    clear_outputs(found)
    assert [cell.get("outputs") for cell in found["cells"]] == [None, [], [], [old]]
    set_result(found["cells"][1], ExecuteResult(status="ok", outputs=(old,), execution_count=7))
    assert (found["cells"][1]["outputs"], found["cells"][1]["execution_count"]) == ([old], 7)


@pytest.mark.parametrize(
    ("metadata", "name"),
    [
        ({}, None),
        ({"kernelspec": {"name": "ir"}}, "ir"),
        ({"kernelspec": {"name": 1}}, None),
        ({"kernelspec": 1}, None),
    ],
)
def test_the_kernel_that_a_notebook_names(metadata: dict[str, Any], name: str | None) -> None:
    assert kernel_name_of(parse(notebook(metadata=metadata))) == name


# Parameters


def sources(found: dict[str, Any]) -> list[str]:
    return [cell["source"] for cell in found["cells"]]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([code("1"), code("a = 0", tags=["parameters"]), code("2")], ["1", "a = 0", "NEW", "2"]),
        ([text_cell("head"), code("1")], ["NEW", "head", "1"]),
        ([], ["NEW"]),
        ([code("a = 0", tags=["parameters"]), code("a = 1", tags=["injected-parameters"])], ["a = 0", "NEW"]),
        ([code("1"), code("old", tags=["injected-parameters"])], ["1", "NEW"]),
    ],
)
def test_parameters_come_where_papermill_has_them(cells: list[dict[str, Any]], expected: list[str]) -> None:
    found = parse(notebook(*cells))
    place_parameters(found, check_parameters({"a": 7, "b": "x"}))
    new = "# Parameters\na = 7\nb = 'x'"
    assert sources(found) == [new if source == "NEW" else source for source in expected]
    (added,) = (cell for cell in found["cells"] if cell["source"] == new)
    assert added["metadata"]["tags"] == ["injected-parameters"]


@pytest.mark.parametrize("minor", [4, 5])
def test_the_cell_of_parameters_is_a_valid_one(minor: int) -> None:
    ids = {"id": "mine"} if minor == 5 else {}
    found = parse(notebook({**code("1"), **ids}, nbformat_minor=minor))
    for _ in range(2):
        place_parameters(found, {"a": "1"})
        nbformat.validate(nbformat.from_dict(found))
    assert len(found["cells"]) == 2


@given(json_values())
def test_a_value_is_in_python_what_it_was(value: object) -> None:
    (literal,) = check_parameters({"a": value}).values()
    assert repr(eval(literal, {})) == repr(value)  # noqa: S307 - what a kernel does with it
    assert "\n" not in literal


def test_values_that_python_spells_in_another_way() -> None:
    class Colour(str, enum.Enum):
        RED = "red"

    class Number(enum.IntEnum):
        ONE = 1

    found = check_parameters({"a": Colour.RED, "b": Number.ONE, "c": (True, None), "d": -math.inf, "e": math.nan})
    assert found == {"a": "'red'", "b": "1", "c": "[True, None]", "d": "float('-inf')", "e": "float('nan')"}


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([("a", 1)], r"parameters is \[\('a', 1\)\]"),
        ({"class": 1}, "has the name 'class'"),
        ({"a b": 1}, "has the name 'a b'"),
        ({"__debug__": 1}, "has the name '__debug__'"),
        ({"": 1}, "has the name ''"),
        ({1: 1}, "has the name 1"),
        ({"a": {1: 2}}, "has for a 1, which JSON does not have"),
        ({"a": [b"x"]}, "has for a b'x', which JSON does not have"),
        ({"a": {time}}, "which JSON does not have"),
        ({"a": CIRCLE}, "too many levels"),
        ({"a": 10**5000}, "too large"),
    ],
)
def test_parameters_that_cannot_be(given: Any, told: str) -> None:
    with pytest.raises(OptionError, match=told) as caught:
        check_parameters(given)
    assert caught.value.option == "parameters"


def test_there_may_be_no_parameters() -> None:
    assert check_parameters(None) == check_parameters({}) == {}
