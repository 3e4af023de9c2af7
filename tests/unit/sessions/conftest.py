"""For the tests of sessions: an engine with a Jupyter server behind its published port, and a launcher's context."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from jupyter_launcher import Event
from jupyter_launcher.sessions.context import Context
from tests.unit.fakes import FakeEngine, FakeJupyter, launcher_context


@pytest.fixture
def jupyter() -> Iterator[FakeJupyter]:
    with FakeJupyter().serve() as found:
        yield found


@pytest.fixture
def engine(jupyter: FakeJupyter) -> FakeEngine:
    return jupyter.engine


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def context(engine: FakeEngine, events: list[Event]) -> Context:
    return launcher_context(engine, events)
