"""For all tests: one launcher serves the whole run, so what it is like is said here."""

from __future__ import annotations

import pytest

from jupyter_launcher import Event
from jupyter_launcher.pytest_plugin import LauncherConfig

pytest_plugins = ["pytester"]


@pytest.fixture(scope="session")
def events() -> list[Event]:
    return []


@pytest.fixture(scope="session")
def jupyter_launcher_config(events: list[Event]) -> LauncherConfig:
    return LauncherConfig(launcher={"on_event": events.append})
