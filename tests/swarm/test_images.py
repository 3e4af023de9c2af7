"""Images: which nodes have them, and how they get there."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Iterator

import pytest

from jupyter_launcher import DEFAULT_IMAGE, ImageNotFoundError, Launcher
from tests.swarm.conftest import Cluster, Start

TAG = "test/of-the-manager:1"


@pytest.fixture
def image(cluster: Cluster) -> Iterator[str]:
    """An image that the manager has alone."""
    file = io.BytesIO(f"FROM {DEFAULT_IMAGE}\nLABEL test=swarm\n".encode())
    cluster.client().images.build(fileobj=file, tag=TAG, rm=True)
    yield TAG
    for node in cluster.nodes:
        for tag in {tag for item in cluster.client(node.number).images.list() for tag in item.tags}:
            if "test/of-the-manager" in tag:
                cluster.client(node.number).images.remove(tag, force=True)


def copy(cluster: Cluster, image: str, number: int) -> None:
    """As the error says that it is done."""
    line = f"docker -H {cluster.node(1).url} save {image} | docker -H {cluster.node(number).url} load"
    subprocess.run(["env", "-u", "DOCKER_TLS_VERIFY", "sh", "-ec", line], check=True, capture_output=True)


def test_an_image_that_some_nodes_lack(cluster: Cluster, start: Start, image: str) -> None:
    with pytest.raises(ImageNotFoundError, match="node2") as caught:
        start(1, image=image, constraints=())
    assert "node3" in str(caught.value)
    assert "docker save" in str(caught.value)
    # Where it has to be is what counts.
    start(1, image=image).stop()
    with pytest.raises(ImageNotFoundError, match="node2") as caught:
        start(2, image=image, pull="never")
    assert "node3" not in str(caught.value)
    copy(cluster, image, 2)
    start(2, image=image).stop()


def test_an_image_that_no_engine_has(start: Start) -> None:
    with pytest.raises(ImageNotFoundError, match="test/nowhere"):
        start(2, image="test/nowhere:1", pull="never")


def test_another_image_of_the_same_name(cluster: Cluster, start: Start, image: str) -> None:
    file = io.BytesIO(f"FROM {DEFAULT_IMAGE}\nLABEL test=other\n".encode())
    cluster.client(2).images.build(fileobj=file, tag=TAG, rm=True)
    with pytest.raises(ImageNotFoundError, match="node2"):
        start(2, image=image, pull="never")


def test_a_node_that_is_drained_needs_no_image(cluster: Cluster, start: Start, image: str) -> None:
    cluster.set_node(2, Availability="drain")
    copy(cluster, image, 3)
    session = start(3, image=image, constraints=("node.role==worker",))
    assert session.node == "node3"
    session.stop()


def test_the_service_has_the_images_id(cluster: Cluster, launcher: Launcher, start: Start) -> None:
    session = start(2)
    spec = cluster.services(launcher.namespace)[0].attrs["Spec"]["TaskTemplate"]["ContainerSpec"]
    # By its name, each start would ask a registry first.
    assert spec["Image"] == cluster.client().images.get(DEFAULT_IMAGE).id
    session.stop()
