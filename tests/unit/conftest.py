"""For all unit tests: property tests make the same examples in each run, and looks at containers follow at once."""

from __future__ import annotations

import pytest
from hypothesis import settings

from jupyter_launcher.server import process

settings.register_profile("unit", max_examples=100, deadline=None, derandomize=True, database=None)
settings.load_profile("unit")


@pytest.fixture(autouse=True)
def _quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A made-up container does not change while nobody looks."""
    monkeypatch.setattr(process, "_SLOW_POLL", 0.01)
