"""The page about swarms says of each option and each call what happens to it there."""

from __future__ import annotations

import dataclasses
import inspect

from jupyter_launcher import Launcher, Swarm
from jupyter_launcher.swarm.options import REFUSED_CALLS, REFUSED_OPTIONS
from tests.integration.pages import DOCS, read_blocks, read_rows

PAGE = DOCS / "swarm.md"


def told(heading: str) -> dict[str, str]:
    """A name → what the page says of it; a row may have several names."""
    rows = read_rows(PAGE, heading)
    return {name.strip("` "): row[-1] for row in rows for name in row[0].split(",")}


def refused(rows: dict[str, str]) -> set[str]:
    return {name for name, text in rows.items() if text.startswith("`OptionError`")}


def test_each_option_of_a_start_has_its_row() -> None:
    rows = told("### Options of `start` there")
    assert list(rows) == list(inspect.signature(Launcher.start).parameters)[1:]
    assert refused(rows) == set(REFUSED_OPTIONS)


def test_each_call_has_its_row() -> None:
    rows = told("### Calls of `Launcher` there")
    assert set(rows) == {name for name in dir(Launcher) if not name.startswith("_")}
    assert refused(rows) == set(REFUSED_CALLS)


def test_each_field_of_a_swarm_has_its_row() -> None:
    assert list(told("## `Swarm`")) == [item.name for item in dataclasses.fields(Swarm)]


def test_the_programs_of_the_page_can_be_compiled() -> None:
    programs = [block for block in read_blocks(PAGE) if block.language == "python"]
    assert programs
    for block in programs:
        compile(block.text, block.file, "exec")
