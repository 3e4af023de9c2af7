"""The images that `make test-images` knows, and the table that it prints."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from image_matrix import FOLDER, GROUNDS, Row, table

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted((ROOT / FOLDER).glob("*/Dockerfile"))


def test_there_are_images_to_try() -> None:
    assert set(GROUNDS) < {path.parent.name for path in DOCKERFILES}


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_each_image_says_what_it_is_like_and_what_is_tried(path: Path) -> None:
    text = path.read_text()
    assert re.match(r"# [A-Z`].*\.\n", text)
    for label, value in re.findall(r'trial\.(\w+)="((?:[^"\\]|\\.)*)"', text):
        assert label in ("variable", "options", "warning", "error")
        if label == "options":
            json.loads(value.replace('\\"', '"'))


def test_the_table_has_what_runs_what_cannot_and_what_failed() -> None:
    good = dict.fromkeys(("start", "cell", "save", "environment", "stop"), "yes")
    rows = [
        Row(name="a", style="like a", checks=good),
        Row(name="b", style="like b", checks={"start": "yes"}, seconds=1.26),
        Row(name="c", style="like c", checks={**good, "stop": "'137', not '0'"}),
        Row(name="d", style="like d", error="TimeoutError: "),
    ]
    assert [row.passed for row in rows] == [True, True, False, False]
    assert table(rows).splitlines() == [
        "| image | start | cell | save | environment | stop |",
        "|---|---|---|---|---|---|",
        "| like a | yes | yes | yes | yes | yes |",
        "| like c | yes | yes | yes | yes | '137', not '0' |",
        "| like d |  |  |  |  |  |",
        "",
        "| image | after |",
        "|---|---|",
        "| like b | 1.3 s |",
        f"c: failed: {rows[2].checks} ",
        "d: failed: {} TimeoutError: ",
    ]
