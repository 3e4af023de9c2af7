"""Real containers on a real engine; whatever a test leaves behind fails it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
import requests

from jupyter_launcher import Event, Launcher, Session, Timeouts

OWNER = 1234
"""A uid that neither the images nor this machine know."""


@pytest.fixture(scope="session")
def client() -> Iterator[Any]:
    """Docker's own client, to look at what the launcher did."""
    client = docker.from_env()
    yield client
    client.close()


@pytest.fixture(scope="session")
def namespace() -> str:
    return f"test-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="session")
def events() -> list[Event]:
    return []


@pytest.fixture(scope="session")
def launcher(namespace: str, events: list[Event]) -> Iterator[Launcher]:
    with Launcher(namespace=namespace, on_event=events.append) as launcher:
        yield launcher


def owned(path: Path) -> Path:
    """Hand a directory over to a stranger, where this process may."""
    if os.getuid() == 0:
        os.chown(path, OWNER, OWNER)
    return path


@pytest.fixture
def pipeline_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "pipeline"
    folder.mkdir()
    return owned(folder)


@pytest.fixture(scope="session")
def shared_pipeline_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that the gateway has mounted, so that its kernels see a test's files."""
    folder = tmp_path_factory.mktemp("shared-pipeline")
    (folder / "numbers.csv").write_text("1\n2\n39\n")
    return owned(folder)


@pytest.fixture(scope="session")
def gateway(launcher: Launcher, shared_pipeline_dir: Path) -> Iterator[str]:
    with launcher.run_gateway(shared_pipeline_dir) as name:
        yield name


@pytest.fixture
def gateway_kernels(client: Any, gateway: str) -> Callable[[], set[str]]:
    """Asks the gateway itself which kernels it holds."""
    networks = client.containers.get(gateway).attrs["NetworkSettings"]["Networks"]
    url = f"http://{networks['bridge']['IPAddress']}:8888/api/kernels"
    return lambda: {kernel["id"] for kernel in requests.get(url, timeout=10).json()}


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
def start(launcher: Launcher, pipeline_dir: Path) -> Iterator[Callable[..., Session]]:
    """Starts sessions that are stopped when the test is over."""
    sessions: list[Session] = []

    def started(folder: Path = pipeline_dir, **options: Any) -> Session:
        sessions.append(launcher.start(folder, **options))
        return sessions[-1]

    yield started
    for session in sessions:
        session.stop()


@pytest.fixture
def hasty() -> Timeouts:
    """Patience for servers that will never do what is waited for."""
    return Timeouts(start=4, gateway=3, shutdown=2, terminate=1)
