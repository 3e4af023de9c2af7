"""Real containers on a real engine; whatever a test leaves behind fails it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from jupyter_launcher import Launcher, Timeouts
from jupyter_launcher.pytest_plugin import ServerFactory
from tests.containers import OWNER, client, jupyter_gateway_dir, jupyter_pipeline_dir, namespace, nothing_left

__all__ = ["OWNER", "client", "jupyter_gateway_dir", "jupyter_pipeline_dir", "namespace", "nothing_left"]


# Short names, since nearly every test here has them.
@pytest.fixture(scope="session")
def launcher(jupyter_launcher: Launcher) -> Launcher:
    return jupyter_launcher


@pytest.fixture(scope="session")
def gateway(jupyter_gateway: str) -> str:
    return jupyter_gateway


@pytest.fixture
def pipeline_dir(jupyter_pipeline_dir: Path) -> Path:
    return jupyter_pipeline_dir


@pytest.fixture
def start(jupyter_server_factory: ServerFactory) -> ServerFactory:
    return jupyter_server_factory


@pytest.fixture
def gateway_kernels(client: Any, gateway: str) -> Callable[[], set[str]]:
    """Asks the gateway itself which kernels it holds."""
    networks = client.containers.get(gateway).attrs["NetworkSettings"]["Networks"]
    url = f"http://{networks['bridge']['IPAddress']}:8888/api/kernels"
    return lambda: {kernel["id"] for kernel in requests.get(url, timeout=10).json()}


@pytest.fixture
def hasty() -> Timeouts:
    """Patience for servers that will never do what is waited for."""
    return Timeouts(start=4, gateway=3, shutdown=2, terminate=1)
