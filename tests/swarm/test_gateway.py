"""A gateway as a service of the swarm, on another node than the sessions that use it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from jupyter_launcher import (
    DEFAULT_GATEWAY_IMAGE,
    GatewayNotFoundError,
    GatewayUnreachableError,
    Launcher,
    OptionError,
    Session,
    StopMethod,
)
from tests.containers import eventually
from tests.integration.test_session import start_kernel
from tests.swarm.conftest import SLOW, USER, Cluster, Start, on

WHERE = "import socket; print(socket.gethostname(), open('here').read())"


class Gateway:
    """A service with a kernel gateway in it, made by an admin: it has no label of ours."""

    def __init__(self, cluster: Cluster, name: str, overlay: str, folder: str) -> None:
        self._cluster = cluster
        self.name = name
        spec = {
            "ContainerSpec": {
                "Image": cluster.client().images.get(DEFAULT_GATEWAY_IMAGE).id,
                "User": USER,
                "Mounts": [{"Type": "bind", "Source": folder, "Target": "/pipeline-dir"}],
            },
            "Placement": {"Constraints": list(on(1))},
            "Networks": [{"Target": overlay}],
        }
        api = cluster.client().api
        self.id = api.create_service(spec, name=name, endpoint_spec={"Mode": "dnsrr"})["ID"]
        self.wait()

    def wait(self) -> None:
        assert eventually(self.is_on, SLOW), self._tasks()

    def is_on(self) -> bool:
        """It listens in its container."""
        found = self._containers()
        listens = ["python3", "-c", "import socket; socket.create_connection(('127.0.0.1', 8888)).close()"]
        return len(found) == 1 and found[0].exec_run(listens).exit_code == 0

    def _tasks(self) -> list[Any]:
        return list(self._cluster.client().services.get(self.id).tasks())

    def _containers(self) -> list[Any]:
        filters = {"label": f"com.docker.swarm.service.name={self.name}"}
        nodes = [node for node in self._cluster.nodes if node.is_on]
        return [
            item
            for node in nodes
            for item in self._cluster.client(node.number).containers.list(filters=filters, ignore_removed=True)
        ]

    def kernels(self) -> set[str]:
        """The processes of kernels, by their command lines; not by `docker top`, which needs a `ps` on the node."""
        script = "for item in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$item; echo; done 2>/dev/null"
        lines = self._containers()[0].exec_run(["sh", "-c", script]).output.decode().splitlines()
        return {line for line in lines if "ipykernel_launcher" in line}

    def move(self, number: int) -> None:
        """To another node: the admin's update ends its container and makes another one."""
        service = self._cluster.client().services.get(self.id)
        service.update(constraints=list(on(number)))
        there = self._cluster.node(number)

        def moved() -> bool:
            found = [item for item in self._containers() if item.client.api.base_url and item.status == "running"]
            here = self._cluster.client(there.number).containers.list(
                filters={"label": f"com.docker.swarm.service.name={self.name}"}, ignore_removed=True
            )
            return len(found) == 1 and len(here) == 1 and self.is_on()

        assert eventually(moved, SLOW), self._tasks()

    def remove(self) -> None:
        self._cluster.client().services.get(self.id).remove()


@pytest.fixture
def gateway(cluster: Cluster, namespace: str, overlay: str, pipeline_dir: str) -> Iterator[Gateway]:
    for node in cluster.nodes:
        (node.srv / namespace / "here").write_text(node.name)
    gateway = Gateway(cluster, f"{namespace}-gateway", overlay, pipeline_dir)
    yield gateway
    gateway.remove()


@pytest.fixture
def session(gateway: Gateway, overlay: str, start: Start) -> Session:
    """On node2; the gateway is on node1."""
    return start(2, gateway=gateway.name, network=overlay)


def test_a_kernel_runs_on_the_gateways_node(session: Session, gateway: Gateway, launcher: Launcher) -> None:
    assert session.gateway is not None
    assert (session.gateway.url, session.gateway.network) == (f"http://{gateway.name}:8888", session.gateway.network)
    assert session.execute(WHERE).text.split()[1] == "node1"
    assert len(gateway.kernels()) == 1
    report = session.stop()
    assert report.method is StopMethod.API
    assert report.kernels_gone == report.kernels
    assert len(report.kernels) == 1
    assert gateway.kernels() == set()


def test_the_gateway_is_moved(session: Session, gateway: Gateway) -> None:
    assert session.execute(WHERE).text.split()[1] == "node1"
    session.close_kernel()
    gateway.move(3)

    def again() -> bool:
        answer = session.request("GET", "api/kernelspecs")
        return answer.status == 200

    assert eventually(again, SLOW)
    with session.kernel() as kernel:
        assert kernel.execute(WHERE).text.split()[1] == "node3"


def test_kernels_of_a_session_whose_server_was_killed(cluster: Cluster, session: Session, gateway: Gateway) -> None:
    kernel = start_kernel(session)
    assert eventually(lambda: len(gateway.kernels()) == 1)
    cluster.client(2).containers.get(session.container_id).kill()
    report = session.stop()
    assert report.kernels_gone == (kernel,)
    assert gateway.kernels() == set()


def test_kernels_of_a_session_whose_node_is_dead(cluster: Cluster, session: Session, gateway: Gateway) -> None:
    kernel = start_kernel(session)
    assert eventually(lambda: len(gateway.kernels()) == 1)
    cluster.node(2).down()
    cluster.until_down(2)
    report = session.stop()
    assert report.method is StopMethod.UNREACHABLE
    assert report.kernels_gone == (kernel,)
    assert gateway.kernels() == set()


def test_kernels_of_other_sessions_stay(session: Session, gateway: Gateway, overlay: str, start: Start) -> None:
    other = start(3, gateway=gateway.name, network=overlay)
    start_kernel(session)
    start_kernel(other)
    assert eventually(lambda: len(gateway.kernels()) == 2)
    session.stop()
    assert len(gateway.kernels()) == 1
    assert other.request("GET", "api/kernels").json()[0]["id"]


def test_a_gateway_with_a_port(gateway: Gateway, overlay: str, start: Start) -> None:
    with start(2, gateway=f"{gateway.name}:8888", network=overlay) as session:
        assert session.execute("print(1)").text.strip() == "1"
    with pytest.raises(GatewayUnreachableError):
        start(2, gateway=f"{gateway.name}:9999", network=overlay)


def test_a_gateway_by_its_url(gateway: Gateway, overlay: str, start: Start) -> None:
    with start(2, gateway=f"http://{gateway.name}:8888", network=overlay) as session:
        assert session.execute(WHERE).text.split()[1] == "node1"


def test_the_network_of_the_gateway_is_found(gateway: Gateway, overlay: str, start: Start) -> None:
    with start(2, gateway=gateway.name) as session:
        assert session.gateway is not None
        assert session.gateway.network == overlay


def test_no_such_gateway(start: Start, overlay: str) -> None:
    with pytest.raises(GatewayNotFoundError, match="nobody"):
        start(2, gateway="nobody", network=overlay)


def test_a_gateway_on_one_nodes_bridge(cluster: Cluster, namespace: str, start: Start) -> None:
    container = cluster.client(1).containers.run(DEFAULT_GATEWAY_IMAGE, name=f"{namespace}-plain", detach=True)
    try:
        with pytest.raises(OptionError, match="gateway"):
            start(2, gateway=container.name)
    finally:
        container.remove(force=True)


def test_the_launcher_runs_no_gateway_there(launcher: Launcher, pipeline_dir: str) -> None:
    with pytest.raises(OptionError, match="service"), launcher.run_gateway(pipeline_dir):
        pass
