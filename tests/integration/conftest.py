"""Real containers on a real engine; whatever a test leaves behind fails it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
import requests

from jupyter_launcher import Event, Launcher, Timeouts
from jupyter_launcher.pytest_plugin import LauncherConfig, ServerFactory

OWNER = 1234
"""A uid that neither the images nor this machine know."""


@pytest.fixture(scope="session")
def client() -> Iterator[Any]:
    """Docker's own client, to look at what the launcher did."""
    client = docker.from_env()
    yield client
    client.close()


BASES = ("python:3.13-slim", "jupyter-launcher/debian-python:trixie")


@pytest.fixture
def base_image(client: Any) -> str:
    """What `make images` built upon."""
    present = {tag for image in client.images.list() for tag in image.tags}
    for base in BASES:
        if base in present:
            return base
    pytest.skip("nothing to build upon: the images were loaded into this engine; `make images` brings a base image")


@pytest.fixture(scope="session")
def events() -> list[Event]:
    return []


@pytest.fixture(scope="session")
def jupyter_launcher_config(events: list[Event]) -> LauncherConfig:
    return LauncherConfig(launcher={"on_event": events.append})


def owned(path: Path) -> Path:
    """Hand a directory over to a stranger, where this process may."""
    if os.getuid() == 0:
        os.chown(path, OWNER, OWNER)
    return path


@pytest.fixture(scope="session")
def jupyter_gateway_dir(jupyter_gateway_dir: Path) -> Path:
    return owned(jupyter_gateway_dir)


@pytest.fixture
def jupyter_pipeline_dir(jupyter_pipeline_dir: Path) -> Path:
    return owned(jupyter_pipeline_dir)


# Short names, since nearly every test here has them.
@pytest.fixture(scope="session")
def launcher(jupyter_launcher: Launcher) -> Launcher:
    return jupyter_launcher


@pytest.fixture(scope="session")
def namespace(jupyter_launcher: Launcher) -> str:
    return jupyter_launcher.namespace


@pytest.fixture(scope="session")
def gateway(jupyter_gateway: str) -> str:
    return jupyter_gateway


@pytest.fixture
def pipeline_dir(jupyter_pipeline_dir: Path) -> Path:
    return jupyter_pipeline_dir


@pytest.fixture
def start(jupyter_server_factory: ServerFactory) -> ServerFactory:
    return jupyter_server_factory


def address_of(client: Any, container: str) -> str:
    """The IP of a container that is on one network, whatever the engine calls that."""
    (network,) = client.containers.get(container).attrs["NetworkSettings"]["Networks"].values()
    return str(network["IPAddress"])


@pytest.fixture
def gateway_kernels(client: Any, gateway: str) -> Callable[[], set[str]]:
    """Asks the gateway itself which kernels it holds."""
    url = f"http://{address_of(client, gateway)}:8888/api/kernels"

    def ask() -> set[str]:
        # It answers 500 while a kernel is just starting.
        for _ in range(50):
            answer = requests.get(url, timeout=10)
            if answer.status_code == 200:
                return {kernel["id"] for kernel in answer.json()}
            threading.Event().wait(0.1)
        return pytest.fail(f"the gateway does not list its kernels: {answer.text}")

    return ask


@pytest.fixture(autouse=True)
def nothing_left(client: Any, namespace: str, request: pytest.FixtureRequest) -> Iterator[None]:
    """No container of ours, no network and no volume more than before."""
    before = _networks_and_volumes(client)
    yield
    left = client.containers.list(all=True, filters={"label": f"jupyter-launcher.namespace={namespace}"})
    names = [container.name for container in left]
    for container in left:
        print(f"--- {container.name}: {container.status}\n{container.logs(tail=30).decode()}")
        container.remove(force=True, v=True)
    assert names == [], f"{request.node.name} left containers behind"
    assert _networks_and_volumes(client) - before == set()


def _networks_and_volumes(client: Any) -> set[str]:
    return {item.id for item in (*client.networks.list(), *client.volumes.list())}


@pytest.fixture
def hasty() -> Timeouts:
    """Patience for servers that will never do what is waited for."""
    return Timeouts(start=4, gateway=3, shutdown=2, terminate=1)
