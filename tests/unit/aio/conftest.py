"""For the tests of what is awaited: an engine that is made up, and both kinds of event loop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import anyio
import pytest

from jupyter_launcher import DEFAULT_IMAGE, AsyncLauncher
from jupyter_launcher.engine.client import DockerEngine
from tests.containers import eventually
from tests.unit.fakes import HASTY, FakeEngine, FakeJupyter

T = TypeVar("T")
Run = Callable[[Callable[[], Coroutine[Any, Any, T]]], T]


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def run(backend: str) -> Iterator[Run[Any]]:
    """Run a coroutine function in an event loop; no act may be left behind."""
    before = set(threading.enumerate())
    yield lambda main: anyio.run(main, backend=backend)
    assert eventually(
        lambda: [item for item in set(threading.enumerate()) - before if item.name == "jupyter-launcher"] == []
    )


@pytest.fixture
def jupyter() -> Iterator[FakeJupyter]:
    with FakeJupyter().serve() as found:
        found.engine.images.known.add(DEFAULT_IMAGE)
        yield found


@pytest.fixture
def engine(jupyter: FakeJupyter, monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    monkeypatch.setattr(DockerEngine, "connect", lambda **_: jupyter.engine)
    return jupyter.engine


@pytest.fixture
def launcher(engine: FakeEngine) -> AsyncLauncher:
    """One that is not connected yet."""
    return AsyncLauncher(namespace="unit", timeouts=HASTY)
