"""For the tests of what is begun before it is asked for: a launcher on a made-up engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from jupyter_launcher import DEFAULT_IMAGE, Event, Launcher
from jupyter_launcher.engine.client import DockerEngine
from tests.unit.fakes import HASTY, FakeEngine, FakeJupyter


@pytest.fixture
def jupyter() -> Iterator[FakeJupyter]:
    with FakeJupyter().serve() as found:
        found.engine.images.known.add(DEFAULT_IMAGE)
        yield found


@pytest.fixture
def engine(jupyter: FakeJupyter) -> FakeEngine:
    return jupyter.engine


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def launcher(engine: FakeEngine, events: list[Event], monkeypatch: pytest.MonkeyPatch) -> Iterator[Launcher]:
    monkeypatch.setattr(DockerEngine, "connect", lambda **_: engine)
    with Launcher(namespace="unit", timeouts=HASTY, on_event=events.append) as made:
        yield made
