"""A real swarm of three nodes, by scripts/swarm_nodes.py; `make test-swarm` runs these tests, and nothing else does.

Each test finds the nodes as they were made, and whatever it leaves behind on any of them fails it.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import docker
import pytest
import requests
from docker.errors import APIError, DockerException
from swarm_nodes import FOLDER, Node
from swarm_nodes import nodes as found_nodes

from jupyter_launcher import Launcher, Session, SessionState, Swarm, Timeouts
from tests.containers import OWNER, eventually

__all__ = [
    "Cluster",
    "Start",
    "as_json",
    "on",
    "state_of",
]

NAMESPACE_LABEL = "jupyter-launcher.namespace"
HEARTBEAT = 5
"""Seconds: swarm's default."""
USER = f"{OWNER}:{OWNER}"
SLOW = 90.0
"""Seconds for what takes some 15 on a machine that has nothing else to do."""

Start = Callable[..., Session]


def pytest_ignore_collect() -> bool | None:
    """Without the nodes there is nothing to test."""
    return None if FOLDER in os.environ else True


def on(number: int) -> tuple[str, ...]:
    """A constraint: of this node."""
    return (f"node.hostname==node{number}",)


def state_of(launcher: Launcher, session_id: str) -> SessionState | None:
    """As ``list`` says; None: it is not listed."""
    return next((item.state for item in launcher.list() if item.session_id == session_id), None)


class Cluster:
    """The nodes, as an admin and as a bystander see them: past the network, each by its own socket."""

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes
        self._clients: dict[int, Any] = {}

    def node(self, number: int) -> Node:
        return self.nodes[number - 1]

    def client(self, number: int = 1) -> Any:
        """Docker's own client of a node's engine."""
        if number not in self._clients:
            self._clients[number] = self.node(number).client()
        return self._clients[number]

    def close(self) -> None:
        while self._clients:
            self._clients.popitem()[1].close()

    def of_host(self, hostname: str) -> Any:
        """A node as the manager tells of it."""
        return next(item for item in self.client().nodes.list() if item.attrs["Description"]["Hostname"] == hostname)

    def states(self) -> dict[str, str]:
        """Hostname → state, as the manager says."""
        return {
            item.attrs["Description"]["Hostname"]: item.attrs["Status"]["State"] for item in self.client().nodes.list()
        }

    def set_node(self, number: int, **changes: Any) -> None:
        """Change what a manager may change of a node: Availability, Role, Labels."""

        def done() -> bool:
            with contextlib.suppress(APIError):  # another change came between, or no leader yet
                node = self.of_host(f"node{number}")
                spec = {**node.attrs["Spec"], **changes}
                if spec != node.attrs["Spec"]:
                    node.update(spec)
                return True
            return False

        assert eventually(done, SLOW)

    def promote(self, *numbers: int) -> None:
        """Make managers of nodes, and wait until they and the leader know it."""
        for number in numbers:
            self.set_node(number, Role="manager")

        def known() -> bool:
            told = [self.of_host(f"node{number}").attrs.get("ManagerStatus", {}) for number in numbers]
            own = [self.client(number).info()["Swarm"]["ControlAvailable"] for number in numbers]
            return all(own) and all(item.get("Reachability") == "reachable" for item in told)

        assert eventually(known, SLOW)

    def set_heartbeat(self, seconds: int) -> None:
        """With the command: the SDK's own ``update_swarm`` does not keep the rest."""
        command = ["docker", "-H", self.node(1).url, "swarm", "update", "--dispatcher-heartbeat", f"{seconds}s"]
        environment = {"PATH": os.environ["PATH"]}
        subprocess.run(command, check=True, capture_output=True, env=environment)

    def services(self, namespace: str) -> list[Any]:
        return list(self.client().services.list(filters={"label": f"{NAMESPACE_LABEL}={namespace}"}))

    def tasks(self, namespace: str) -> list[Any]:
        found = [service.tasks() for service in self.services(namespace)]
        return [task for tasks in found for task in tasks]

    def containers(self, number: int, namespace: str) -> list[Any]:
        """Those of a namespace on a node, in whatever state."""
        filters = {"label": f"{NAMESPACE_LABEL}={namespace}"}
        return list(self.client(number).containers.list(all=True, filters=filters, ignore_removed=True))

    def running(self, namespace: str) -> dict[str, int]:
        """How many containers of a namespace run on each node that has power."""
        return {
            node.name: sum(item.status == "running" for item in self.containers(node.number, namespace))
            for node in self.nodes
            if node.is_on
        }

    def held(self) -> set[str]:
        """What could be left over: services, containers, volumes, networks and images of all nodes."""
        found = {f"service {item.name}" for item in self.client().services.list()}
        for node in self.nodes:
            client = self.client(node.number)
            found |= {
                f"{node.name}: container {item.name}" for item in client.containers.list(all=True, ignore_removed=True)
            }
            found |= {f"{node.name}: volume {item.name}" for item in client.volumes.list()}
            found |= {f"{node.name}: image {item.tags or item.id}" for item in client.images.list()}
        return found | {f"network {item.name}" for item in self.client().networks.list(filters={"driver": "overlay"})}

    def mend(self) -> None:
        """Everything as it was made: power, cables, engines, roles, labels, heartbeat."""
        for node in self.nodes:
            if not node.is_on:
                self._clients.pop(node.number, None)
                node.up()
            node.cable_in()
            if not node.answers:
                self._clients.pop(node.number, None)
                node.engine()
        for node in self.nodes:
            role = "manager" if node.number == 1 else "worker"
            self.set_node(node.number, Availability="active", Role=role, Labels={})
        assert eventually(lambda: set(self.states().values()) == {"ready"}, SLOW), self.states()
        swarm = self.client().swarm
        swarm.reload()
        if swarm.attrs["Spec"]["Dispatcher"]["HeartbeatPeriod"] != HEARTBEAT * 10**9:
            self.set_heartbeat(HEARTBEAT)

    def until_down(self, number: int) -> None:
        """Wait until the manager has noticed that a node is away."""
        assert eventually(lambda: self.states()[f"node{number}"] == "down", SLOW), self.states()

    def until_ready(self, number: int) -> None:
        def ready() -> bool:
            with contextlib.suppress(DockerException):
                return self.states()[f"node{number}"] == "ready"
            return False

        assert eventually(ready, SLOW)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    cluster = Cluster(found_nodes())
    yield cluster
    cluster.close()


@pytest.fixture(scope="session")
def swarm(cluster: Cluster) -> Swarm:
    """For a launcher outside of the swarm. Old engines cannot give a service no-new-privileges."""
    version = cluster.client().version()["ApiVersion"]
    return Swarm(publish="all", weaker=tuple(map(int, version.split("."))) < (1, 44))


@pytest.fixture
def namespace() -> str:
    """Of one test."""
    return f"t-{uuid.uuid4().hex[:8]}"


@pytest.fixture(autouse=True)
def as_it_was(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test has the nodes as they were made, and leaves nothing on any of them."""
    before = cluster.held()
    yield
    cluster.mend()
    left: set[str] = set()

    def nothing() -> bool:
        left.clear()
        with contextlib.suppress(DockerException):
            left.update(cluster.held() - before)
            return not left
        return False

    # What ends with its service, or when its node comes back, is gone a moment later.
    clean = eventually(nothing, SLOW)
    found = sorted(left)
    for service in cluster.client().services.list():
        service.remove()
    assert clean, f"{request.node.name} left {found}"


@pytest.fixture
def launcher(swarm: Swarm, namespace: str, as_it_was: None) -> Iterator[Launcher]:
    """From outside of the swarm, as an orchestrator that knows a manager; what it started is stopped."""
    with Launcher(swarm=swarm, namespace=namespace, timeouts=Timeouts(engine=30)) as launcher:
        yield launcher


@pytest.fixture
def pipeline_dir(cluster: Cluster, namespace: str) -> Iterator[str]:
    """A directory of this name on the disk of each node: the same path, other files."""
    for node in cluster.nodes:
        folder = node.srv / namespace
        folder.mkdir()
        os.chown(folder, OWNER, OWNER)
    yield f"/srv/{namespace}"
    for node in cluster.nodes:
        subprocess.run(["rm", "-rf", str(node.srv / namespace)], check=True)


@pytest.fixture
def start(launcher: Launcher, pipeline_dir: str, cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Start]:
    """``start(NODE, ...)``: a session on that node; all of them are stopped at the end."""
    if "overlay" in request.fixturenames:
        request.getfixturevalue("overlay")  # it is removed after the sessions
    made: list[str] = []

    def run(number: int, **options: Any) -> Session:
        given = {"user": USER, "session_id": f"s{len(made)}", "constraints": on(number), **options}
        made.append(given["session_id"])
        return launcher.start(given.pop("pipeline_dir", pipeline_dir), **given)

    yield run
    cluster.mend()
    for session_id in {item.session_id for item in launcher.list()}:
        launcher.stop(session_id)


@pytest.fixture
def overlay(cluster: Cluster, namespace: str) -> Iterator[str]:
    """An attachable overlay network over all nodes."""
    network = cluster.client().networks.create(f"{namespace}-net", driver="overlay", attachable=True)
    yield network.name

    def gone() -> bool:
        with contextlib.suppress(docker.errors.NotFound), contextlib.suppress(APIError):
            network.remove()
        return not cluster.client().networks.list(names=[network.name])

    assert eventually(gone, SLOW)


@pytest.fixture
def watch(cluster: Cluster, namespace: str) -> Iterator[Callable[[], int]]:
    """Looks at the containers of this test all the time; gives the most that ran at once."""
    most, end = [0], threading.Event()

    def look() -> None:
        clients = [node.client() for node in cluster.nodes]
        while not end.wait(0.02):
            found = 0
            for client in clients:
                with contextlib.suppress(requests.RequestException):  # its engine is down
                    found += len(client.api.containers(filters={"label": f"{NAMESPACE_LABEL}={namespace}"}))
            most[0] = max(most[0], found)
        for client in clients:
            client.close()

    thread = threading.Thread(target=look)
    thread.start()
    yield lambda: most[0]
    end.set()
    thread.join(30)


def as_json(value: Any) -> str:
    """All that an engine tells of something, as a text to search."""
    return json.dumps(value.attrs if hasattr(value, "attrs") else value)
