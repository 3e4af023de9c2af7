"""A launcher in a container on the swarm's overlay network: no port of a session is published then."""

from __future__ import annotations

import json
import os
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import jupyter_launcher
from jupyter_launcher import DEFAULT_IMAGE, Swarm
from tests.swarm.conftest import USER, Cluster

ROOT = Path(jupyter_launcher.__file__).parent.parent
PACKAGES = Path(sysconfig.get_path("purelib"))
START = """
from jupyter_launcher import Launcher, Swarm
import json, sys, requests
namespace, folder, network, weaker, user = sys.argv[1:]
with Launcher(namespace=namespace, swarm=Swarm(network=network or None, weaker=weaker == "True")) as launcher:
    found = []
    for number in (1, 2, 3):
        on = [f"node.hostname==node{number}"]
        with launcher.start(folder, user=user, session_id=f"s{number}", constraints=on) as session:
            assert requests.get(session.lab_url, timeout=10).status_code == 200
            assert launcher.get(session.id).server_info == session.server_info
            found.append([session.node, session.url, [item.state.value for item in launcher.list()]])
    print(json.dumps(found))
"""
Inside = Callable[..., str]


@pytest.fixture
def inside(cluster: Cluster, overlay: str, namespace: str, pipeline_dir: str, swarm: Swarm) -> Iterator[Inside]:
    """Runs a launcher in a container of a node, which has this package, and certificates for all engines."""
    made: list[Any] = []

    def run(number: int, network: str, *, given: str = overlay) -> str:
        certificates = os.environ["DOCKER_CERT_PATH"]
        container = cluster.client(number).containers.create(
            DEFAULT_IMAGE,
            ["python3", "-c", START, namespace, pipeline_dir, given, str(swarm.weaker), USER],
            user="0:0",
            environment={
                "PYTHONPATH": f"{ROOT}:{PACKAGES}",
                "PYTHONDONTWRITEBYTECODE": "1",
                **{name: os.environ[name] for name in ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")},
            },
            volumes={str(path): {"bind": str(path), "mode": "ro"} for path in (ROOT, sys.prefix, certificates)},
            network=network,
        )
        made.append(container)
        container.start()
        container.wait(timeout=180)
        return str(container.logs().decode())

    yield run
    for container in made:
        container.remove(force=True)


def test_sessions_are_reached_over_the_overlay(cluster: Cluster, inside: Inside, overlay: str) -> None:
    printed = inside(2, overlay)
    found = json.loads(printed.splitlines()[-1])
    assert [node for node, _, _ in found] == ["node1", "node2", "node3"]
    assert [states for _, _, states in found] == [["ready"]] * 3
    network = cluster.client().networks.get(overlay).attrs["IPAM"]["Config"][0]["Subnet"]
    start = network.rpartition(".")[0]
    assert all(url.startswith(f"http://{start}.") and url.endswith(":8888/") for _, url, _ in found)


def test_a_launcher_that_is_not_on_it_is_told(inside: Inside) -> None:
    assert 'publish="all"' in inside(2, "bridge")
