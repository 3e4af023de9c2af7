"""Kernels in containers of their own, on a real engine: `make test-kernels` builds their images and runs these tests.

Each test has a namespace of its own, and whatever it leaves on the engine fails it.
"""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import docker
import pytest

from jupyter_launcher import KernelImage, Launcher, RunningGateway, Timeouts
from tests.containers import OWNER, client, eventually, log_of, owned
from tests.kernels.images.__main__ import tag_of

__all__ = ["ISOLATIONS", "OWNER", "RunGateway", "client", "needs_image", "parts_of"]

ISOLATIONS = ("environment", "kernel")
NAMESPACE = "jupyter-launcher.namespace"
GATEWAY_OF = "jupyter-launcher.gateway-of"
PART = "jupyter-launcher.part"
KERNEL_OF = "jupyter-launcher.kernel-of"
KERNEL_ID = "jupyter-launcher.kernel-id"
ENGINE_SOCKET = os.environ.get("ENGINE_SOCKET")
"""Of an engine that is reached over a network."""


@pytest.fixture
def namespace() -> str:
    """Of one test."""
    return f"kernels-{uuid.uuid4().hex[:8]}"


def listed(client: Any, *labels: str) -> list[Any]:
    """The containers with these labels, in every state, without those that are just being removed."""
    found = []
    for item in client.api.containers(all=True, filters={"label": list(labels)}):
        # Podman answers 500 where Docker answers 404.
        with contextlib.suppress(docker.errors.APIError):
            found.append(client.containers.get(item["Id"]))
    return found


def containers_of(client: Any, namespace: str) -> list[Any]:
    """All containers of a namespace, whatever they are and in every state."""
    found = [*listed(client, f"{NAMESPACE}={namespace}"), *listed(client, f"{GATEWAY_OF}={namespace}")]
    return list({item.id: item for item in found}.values())


def networks_of(client: Any, namespace: str) -> list[Any]:
    """All networks of a namespace."""
    return list(client.networks.list(filters={"label": f"{NAMESPACE}={namespace}"}))


def parts_of(client: Any, namespace: str, kind: str) -> list[Any]:
    """The agents, the broker or the kernels of a namespace, in every state."""
    return listed(client, f"{NAMESPACE}={namespace}", f"{PART}={kind}")


def anonymous_volumes(client: Any) -> set[str]:
    """Those that no container uses."""
    volumes = client.volumes.list(filters={"dangling": True})
    return {item.id for item in volumes if re.fullmatch("[0-9a-f]{64}", item.id)}


@pytest.fixture(autouse=True)
def nothing_left(client: Any, namespace: str, request: pytest.FixtureRequest) -> Iterator[None]:
    """No container and no network of this namespace, and no anonymous volume more than before."""
    before = anonymous_volumes(client)
    yield
    left = [f"{item.name}: {item.status}" for item in containers_of(client, namespace)]
    for container in containers_of(client, namespace):
        print(f"--- {container.name}: {container.status}\n{log_of(container)[-3000:]}")
        with contextlib.suppress(docker.errors.APIError):
            container.remove(force=True, v=True)
    for network in networks_of(client, namespace):
        left.append(f"network {network.name}")
        network.remove()
    assert left == [], f"{request.node.name} left these behind"
    # A volume is there a moment longer than the container that the engine removes with it.
    assert eventually(lambda: anonymous_volumes(client) <= before), anonymous_volumes(client) - before


@pytest.fixture
def launcher(namespace: str, nothing_left: None) -> Iterator[Launcher]:
    """A launcher of one test."""
    with Launcher(namespace=namespace, engine_socket=ENGINE_SOCKET, timeouts=Timeouts(engine=60)) as launcher:
        yield launcher


@pytest.fixture
def pipeline_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "pipeline"
    folder.mkdir()
    return owned(folder)


def needs_image(client: Any, name: str) -> str:
    """The tag of an image of these tests."""
    tag = tag_of(name)
    try:
        client.images.get(tag)
    except docker.errors.ImageNotFound:
        pytest.skip(f"{tag} is not on the engine: `make test-kernels` builds it")
    return tag


@pytest.fixture
def python_311(client: Any) -> str:
    """An image with Python 3.11, and with a kernel that knows no encryption."""
    return needs_image(client, "python-3.11")


class RunGateway:
    """Runs gateways for one test, which end with it."""

    def __init__(self, launcher: Launcher, pipeline_dir: Path) -> None:
        self._launcher = launcher
        self._pipeline_dir = pipeline_dir
        self._opened = contextlib.ExitStack()

    def __call__(self, kernels: Mapping[str, str | KernelImage], **options: Any) -> RunningGateway:
        folder = options.pop("pipeline_dir", self._pipeline_dir)
        return self._opened.enter_context(self._launcher.run_gateway(folder, kernels=kernels, **options))

    def close(self) -> None:
        """Remove the gateways."""
        self._opened.close()


@pytest.fixture
def run_gateway(launcher: Launcher, pipeline_dir: Path) -> Iterator[RunGateway]:
    running = RunGateway(launcher, pipeline_dir)
    try:
        yield running
    finally:
        running.close()


@pytest.fixture(params=ISOLATIONS)
def isolation(request: pytest.FixtureRequest) -> str:
    """Both of them, one after the other."""
    return str(request.param)


@pytest.fixture
def entrypoint_image(client: Any) -> str:
    """An image whose ENTRYPOINT exports a variable."""
    return needs_image(client, "entrypoint")
