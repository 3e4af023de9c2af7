"""What property tests are made of: any JSON, a valid document with any of its parts replaced by it, and a verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st

__all__ = ["FEW", "error_of", "json_values", "replaced"]

FEW = settings(max_examples=20)
"""For tests that take each value at every place of a document."""

E = TypeVar("E", bound=Exception)

_HOSTILE = [None, True, 0, -1, 10**400, float("nan"), float("inf"), "", "\0", "\udcff", [], [None], {}, {"": None}]


def json_values() -> st.SearchStrategy[Any]:
    """Whatever JSON can hold, as Python reads it: NaN and infinite numbers too."""
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    return st.sampled_from(_HOSTILE) | st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
        max_leaves=8,
    )


def replaced(valid: dict[str, Any], value: object) -> Iterator[Any]:
    """A value itself, and a valid document with each of its parts, however deep, left out or replaced by it."""
    yield value
    yield from _variants(valid, value)


def _variants(document: Any, value: object) -> Iterator[Any]:
    if isinstance(document, dict):
        for key, item in document.items():
            yield {other: document[other] for other in document if other != key}
            yield from ({**document, key: changed} for changed in (value, *_variants(item, value)))
    elif isinstance(document, list):
        for index, item in enumerate(document):
            before, after = document[:index], document[index + 1 :]
            yield [*before, *after]
            yield from ([*before, changed, *after] for changed in (value, *_variants(item, value)))


def error_of(kind: type[E], call: Callable[[], object]) -> E | None:
    """The error of this kind that a call raises; None where it returns. Any other error passes."""
    try:
        call()
    except kind as error:
        return error
    return None
