"""For the tests of the command: it runs in this process, on a made-up engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from click.testing import CliRunner, Result

from jupyter_launcher import DEFAULT_IMAGE
from jupyter_launcher.cli.commands import cli
from jupyter_launcher.engine.client import DockerEngine
from tests.unit.fakes import FakeEngine, FakeJupyter

Run = Callable[..., Result]


@pytest.fixture
def jupyter(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeJupyter]:
    with FakeJupyter().serve() as found:
        found.engine.images.known.add(DEFAULT_IMAGE)
        monkeypatch.setattr(DockerEngine, "connect", lambda **_: found.engine)
        yield found


@pytest.fixture
def engine(jupyter: FakeJupyter) -> FakeEngine:
    return jupyter.engine


@pytest.fixture
def run(jupyter: FakeJupyter) -> Run:
    """Run the command with these arguments, in the namespace of the tests."""
    return lambda *line: CliRunner().invoke(cli, ["--namespace", "unit", *map(str, line)])
