"""``examples/swarm`` does what it says, in both ways, with kernels beside the server and on a gateway."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from jupyter_launcher import Swarm
from tests.integration.pages import ROOT
from tests.swarm.conftest import USER, Cluster
from tests.swarm.test_gateway import Gateway

EXAMPLE = ROOT / "examples/swarm/sessions.py"
SECONDS = 300


def run(*line: str) -> str:
    """What the example prints; it must end well."""
    command = [sys.executable, "-W", "error", str(EXAMPLE), *line, "--user", USER]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def nodes_of(cluster: Cluster) -> list[str]:
    """The workers, as the second way names them."""
    return [f"--node={node.name}=tcp://{node.address}:2376" for node in cluster.nodes[1:]]


def of_swarm(swarm: Swarm) -> list[str]:
    return ["swarm", *(["--weaker"] if swarm.weaker else [])]


def test_the_swarm_chooses_the_node(swarm: Swarm, pipeline_dir: str) -> None:
    printed = run(*of_swarm(swarm), pipeline_dir, "--constraint=node.role==worker")
    assert re.search(r"^this kernel runs in \S+ on node node[23]$", printed, re.MULTILINE), printed
    assert re.search(r"^pipeline-7 ready node[23]$", printed, re.MULTILINE), printed
    assert "warning: in a swarm, /run/jupyter-launcher has mode 1777" in printed


def test_a_launcher_for_each_node(cluster: Cluster, pipeline_dir: str) -> None:
    printed = run("nodes", pipeline_dir, *nodes_of(cluster))
    assert re.search(r"^this kernel runs in \S+ on node node[23]$", printed, re.MULTILINE), printed


@pytest.mark.parametrize("way", ["swarm", "nodes"])
def test_kernels_run_on_a_gateway_of_another_node(
    way: str, cluster: Cluster, swarm: Swarm, overlay: str, pipeline_dir: str, namespace: str
) -> None:
    gateway = Gateway(cluster, f"{namespace}-gw", overlay, pipeline_dir)
    try:
        (container,) = gateway._containers()
        more = [f"--gateway={gateway.name}", f"--network={overlay}"]
        if way == "swarm":
            printed = run(*of_swarm(swarm), pipeline_dir, "--constraint=node.role==worker", *more)
        else:
            printed = run("nodes", pipeline_dir, *nodes_of(cluster), *more)
        assert f"this kernel runs in {container.attrs['Config']['Hostname']}" in printed
    finally:
        cluster.client().api.remove_service(gateway.id)
