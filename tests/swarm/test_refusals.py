"""What a swarm, or a node of it, refuses: one clear error each, and nothing stays behind."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from docker.errors import APIError

from jupyter_launcher import (
    Launcher,
    LauncherError,
    Mount,
    OptionError,
    PipelineDirError,
    PlacementError,
    PortInUseError,
    ServerError,
    Swarm,
    Timeouts,
)
from tests.containers import eventually
from tests.swarm.conftest import USER, Cluster, Start, as_json, on

PORT = 39002


def nothing_of(cluster: Cluster, namespace: str) -> bool:
    """No service and no container of a namespace on any node."""
    return not cluster.services(namespace) and not any(
        cluster.containers(node.number, namespace) for node in cluster.nodes
    )


@pytest.fixture(autouse=True)
def nothing_of_this_test(cluster: Cluster, namespace: str, start: Start) -> Iterator[None]:
    """At the end of the test itself, and not of what cleans up after it."""
    yield
    assert eventually(lambda: nothing_of(cluster, namespace), 5)


@pytest.mark.parametrize("number", [1, 3])
def test_a_directory_that_the_node_does_not_have(start: Start, number: int) -> None:
    begun = time.monotonic()
    with pytest.raises(PipelineDirError, match=f"node{number}") as caught:
        start(number, pipeline_dir="/srv/none")
    assert "/srv/none" in str(caught.value)
    assert time.monotonic() - begun < 10


def test_a_mount_that_the_node_does_not_have(start: Start) -> None:
    with pytest.raises(PipelineDirError, match="node2"):
        start(2, mounts=[Mount(source="/srv/none", target="/data")])


@pytest.mark.parametrize("constraint", ["node.hostname==node9", "node.labels.pipelines==yes"])
def test_no_node_fits(start: Start, constraint: str) -> None:
    with pytest.raises(PlacementError, match="scheduling constraints not satisfied on 3 nodes"):
        start(1, constraints=(constraint,))


def test_the_constraints_of_the_swarm_hold_too(namespace: str, swarm: Swarm, pipeline_dir: str) -> None:
    with (
        Launcher(swarm=dataclasses.replace(swarm, constraints=on(2)), namespace=namespace) as launcher,
        pytest.raises(PlacementError),
    ):
        launcher.start(pipeline_dir, user=USER, constraints=on(3))


def test_a_node_by_its_label(cluster: Cluster, start: Start) -> None:
    cluster.set_node(2, Labels={"pipelines": "yes"})
    session = start(1, constraints=("node.labels.pipelines==yes",))
    assert session.node == "node2"
    session.stop()


def test_a_constraint_that_is_none(start: Start) -> None:
    with pytest.raises(LauncherError, match="node2"):
        start(2, constraints=("node2",))


def test_a_port_of_another_session(start: Start) -> None:
    first = start(2, host_port=PORT)
    with pytest.raises(PortInUseError, match=str(PORT)):
        start(2, host_port=PORT)
    # Ports are each node's own.
    second = start(3, host_port=PORT)
    assert [first.node, second.node] == ["node2", "node3"]
    first.stop()
    second.stop()


def test_a_port_of_a_process_of_the_node(cluster: Cluster, start: Start) -> None:
    listen = f"import socket, time; s = socket.create_server(('', {PORT})); print('on', flush=True); time.sleep(600)"
    line = cluster.node(2).in_network(sys.executable, "-c", listen)
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "on\n"
        try:
            with pytest.raises(PortInUseError, match=str(PORT)):
                start(2, host_port=PORT)
        finally:
            process.kill()


def test_a_network_that_is_not_there(start: Start) -> None:
    with pytest.raises(LauncherError, match="nope"):
        start(2, network="nope")


def test_an_image_without_jupyter(start: Start, cluster: Cluster) -> None:
    with pytest.raises(LauncherError, match="jupyter"):
        start(2, image="jupyter-launcher/kernel-gateway:0.1.0", entrypoint=False)


def test_too_little_memory(start: Start) -> None:
    with pytest.raises(ServerError):
        start(2, memory="8m", timeouts=Timeouts(start=30))


def test_a_manager_is_needed(cluster: Cluster, swarm: Swarm, namespace: str) -> None:
    with pytest.raises(OptionError, match="manager"):
        Launcher(docker_host=f"tcp://{cluster.node(2).address}:2376", swarm=swarm, namespace=namespace)


def test_from_outside_ports_must_be_published(swarm: Swarm, namespace: str, pipeline_dir: str, overlay: str) -> None:
    inner = dataclasses.replace(swarm, publish=None, network=overlay)
    with (
        pytest.raises(OptionError, match='publish="all"'),
        Launcher(swarm=inner, namespace=namespace) as launcher,
    ):
        launcher.start(pipeline_dir, user=USER)


def test_no_new_privileges_or_an_error(cluster: Cluster, launcher: Launcher, swarm: Swarm, start: Start) -> None:
    if swarm.weaker:
        with (
            Launcher(swarm=Swarm(publish="all"), namespace=launcher.namespace) as strict,
            pytest.raises(OptionError, match="weaker=True"),
        ):
            strict.start(f"/srv/{launcher.namespace}", user=USER)
    session = start(2)
    pid = session.run(["sh", "-c", "cat /run/jupyter-launcher/server.pid"]).stdout.strip()
    assert "NoNewPrivs:\t1" in session.run(["cat", f"/proc/{pid}/status"]).stdout
    assert any("no-new-privileges" in text for text in session.warnings) is swarm.weaker
    # Kernels and terminals come of the server.
    assert "NoNewPrivs:\t1" in session.execute("print(open('/proc/self/status').read())").text
    session.stop()


def test_what_is_weaker_in_every_swarm_is_told(start: Start) -> None:
    session = start(2)
    assert any("/run/jupyter-launcher has mode 1777" in text for text in session.warnings)
    session.stop()


def test_the_token_is_nowhere_to_be_read(cluster: Cluster, launcher: Launcher, start: Start) -> None:
    session = start(2, secrets={"key": "a-secret-text"})
    token = session.server_info.token
    known = [as_json(item) for item in cluster.services(launcher.namespace)]
    known += [json.dumps(item) for item in cluster.tasks(launcher.namespace)]
    known += [as_json(item) for item in cluster.containers(2, launcher.namespace)]
    known += [node.x("sh", "-c", "cat /proc/*/cmdline | tr '\\0' ' '") for node in cluster.nodes]
    known += [(node.folder / "log").read_text() for node in cluster.nodes]
    known += [session.logs(), repr(session), repr(launcher.list())]
    for service in cluster.services(launcher.namespace):
        known.append(b"".join(service.logs(stdout=True, stderr=True)).decode(errors="replace"))
    session.stop()
    assert all(known)
    for text in (token, "a-secret-text"):
        assert [place for place in known if text in place] == []


def test_what_the_container_may_do(cluster: Cluster, launcher: Launcher, start: Start) -> None:
    session = start(2, memory="1g", cpus=1.5, shm_size="128m", read_only=True)
    attrs = cluster.client(2).containers.get(session.container_id).attrs
    host = attrs["HostConfig"]
    assert (host["CapDrop"], host["PidsLimit"], host["Init"], host["ReadonlyRootfs"]) == (["ALL"], 4096, True, True)
    assert (host["Memory"], host["NanoCpus"]) == (2**30, 1_500_000_000)
    assert host["RestartPolicy"]["Name"] in ("", "no")
    assert attrs["Config"]["User"] == USER
    shm = session.run(["sh", "-c", "df -k /dev/shm | tail -n 1"]).stdout.split()
    assert shm[1] == "131072"
    status = session.run(["cat", "/proc/self/status"]).stdout
    assert "CapBnd:\t0000000000000000" in status
    assert "Seccomp:\t2" in status
    session.stop()


def test_a_volume_that_cannot_be_mounted(cluster: Cluster, start: Start) -> None:
    # Nobody serves NFS there; some kernels do not even know it.
    options = {"type": "nfs", "device": ":/none", "o": "addr=10.77.0.254,soft,timeo=1,retry=0"}
    volume = cluster.client(2).volumes.create("test-nowhere", driver="local", driver_opts=options)

    def removed() -> bool:
        with contextlib.suppress(APIError):  # the node removes the container a moment after the task
            volume.remove(force=True)
            return True
        return False

    try:
        with pytest.raises(LauncherError, match="mount"):
            start(2, mounts=[Mount(source="test-nowhere", target="/data", type="volume")])
    finally:
        assert eventually(removed)
