"""The parts of which the engine's answers are made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_launcher import EngineError
from jupyter_launcher.engine import shapes
from tests.unit.strategies import error_of, json_values

PARSERS: dict[str, Callable[[Any], object]] = {
    "text": shapes.parse_text,
    "texts": shapes.parse_texts,
    "port": shapes.parse_port,
    "number": shapes.parse_number,
    "time": lambda value: shapes.parse_time(shapes.parse_text(value)),
    "addresses": shapes.parse_addresses,
    "published": lambda value: list(shapes.parse_published(value)),
}


@given(name=st.sampled_from(sorted(PARSERS)), value=json_values())
def test_whatever_a_part_is_it_is_parsed_or_a_typed_error(name: str, value: Any) -> None:
    def parse() -> None:
        with shapes.expect_shape("it"):
            PARSERS[name](value)

    error = error_of(EngineError, parse)
    if error is not None:
        assert error.message.startswith("the engine's answer about it has an unexpected shape: ")
        assert len(str(error)) < 500


@pytest.mark.parametrize("error", [RuntimeError(), OSError(), KeyboardInterrupt()])
def test_what_is_no_question_of_shape_passes(error: BaseException) -> None:
    with pytest.raises(type(error)), shapes.expect_shape("it"):
        raise error


def test_a_long_text_is_cut() -> None:
    with pytest.raises(EngineError) as caught, shapes.expect_shape("it"):
        int("x" * 10_000)
    assert len(str(caught.value)) < 500
