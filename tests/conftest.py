"""For all tests: what their launcher is like, and which of them may run side by side."""

from __future__ import annotations

import dataclasses
import signal
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from jupyter_launcher import Event
from jupyter_launcher.pytest_plugin import LauncherConfig

pytest_plugins = ["pytester"]

# A shell starts what runs in its background with SIGINT ignored; tests send themselves interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests of one group run on one worker, one after another: an engine of their own, one browser, processes that are
# counted, or nested runs that remove what dead runs have left.
GROUPS = {
    "tests/faults/": "faults",
    "tests/browser/": "browser",
    "tests/integration/test_code.py": "code",
    "tests/integration/test_ssh.py": "ssh",
    "tests/integration/test_pytest_plugin.py": "nested runs",
    "tests/integration/test_example_project.py": "nested runs",
    "tests/integration/test_docs.py": "nested runs",
    "tests/integration/test_readme.py": "nested runs",
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that builds or removes images runs alone, since all others use them; one with a gateway can be chosen."""
    for item in items:
        if "base_image" in getattr(item, "fixturenames", ()) or item.path.name == "test_images.py":
            item.add_marker("alone")
        if "jupyter_gateway" in getattr(item, "fixturenames", ()):
            item.add_marker("gateway")


class Groups(LoadScopeScheduling):  # type: ignore[misc] # it has no types
    """Each test by itself to the next free worker, a group's tests to one."""

    def _split_scope(self, nodeid: str) -> str:
        return next((group for prefix, group in GROUPS.items() if nodeid.startswith(prefix)), nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Groups by path: the marker xdist_group of pytest-xdist 3.8 has no effect with pytest 9.2."""
    return Groups(config, log)


@pytest.fixture(scope="session")
def events() -> list[Event]:
    return []


@pytest.fixture(scope="session")
def jupyter_launcher_config(jupyter_launcher_config: LauncherConfig, events: list[Event]) -> LauncherConfig:
    return dataclasses.replace(jupyter_launcher_config, launcher={"on_event": events.append})
