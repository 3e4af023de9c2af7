"""A manager of a swarm whose answers are made up, below the real ``SwarmEngine``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from docker.errors import APIError

from jupyter_launcher import Swarm
from jupyter_launcher.engine.client import DockerEngine
from jupyter_launcher.engine.swarm.engine import SwarmEngine
from jupyter_launcher.engine.swarm.shapes import service_name
from tests.unit.sdk import FakeApi, api_error, docker_engine, http_response

IMAGE_ID = f"sha256:{'a' * 64}"
SERVICE = "s" * 25
TASK = "t" * 25
CONTAINER = "c" * 64
NAME = "jupyter-server.unit.one"
CREATED = "2023-11-14T22:13:20.5Z"
CREATED_AT = 1700000000.5
_LEADER = {"Leader": True, "Reachability": "reachable", "Addr": "10.77.0.1:2377"}


def raw_service(name: str = NAME, **changes: Any) -> dict[str, Any]:
    """A service of ours, as a manager answers."""
    labels = {"jupyter-launcher.name": name, "jupyter-launcher.image": "image:1", "attempt": "first"}
    container = {"Image": IMAGE_ID, "Labels": labels, "Command": ["sh"], "Env": ["A=b=c"], "StopGracePeriod": 3 * 10**9}
    return {
        "ID": SERVICE,
        "CreatedAt": CREATED,
        "Spec": {
            "Name": service_name(name),
            "Labels": labels,
            "TaskTemplate": {"ContainerSpec": {**container, **changes.pop("container", {})}},
        },
        **changes,
    }


def raw_task(state: str = "running", **changes: Any) -> dict[str, Any]:
    """A task with a container on node 2, as a manager answers; ``code``, ``error``: how it ended; ``name``: whose."""
    labels = {"jupyter-launcher.name": changes.pop("name", NAME), "attempt": changes.pop("attempt", "first")}
    status = {
        "State": state,
        "Err": changes.pop("error", ""),
        "Message": changes.pop("message", ""),
        "ContainerStatus": {"ContainerID": changes.pop("container", CONTAINER), "ExitCode": changes.pop("code", 0)},
        "PortStatus": {"Ports": [_port(), _port()]},
    }
    network = {"Network": {"Spec": {"Name": "lan"}}, "Addresses": ["10.0.1.5/24"]}
    return {
        "ID": TASK,
        "ServiceID": SERVICE,
        "CreatedAt": CREATED,
        "Spec": {"ContainerSpec": {"Labels": labels}},
        "NodeID": "n2",
        "Status": status,
        "DesiredState": "running",
        "NetworksAttachments": [network],
        **changes,
    }


def _port() -> dict[str, Any]:
    return {"Protocol": "tcp", "TargetPort": 8888, "PublishedPort": 32768, "PublishMode": "host"}


def raw_node(number: int = 2, state: str = "ready", **changes: Any) -> dict[str, Any]:
    """A node, as a manager answers."""
    return {
        "ID": f"n{number}",
        "Spec": {"Labels": {}, "Role": "manager" if number == 1 else "worker", "Availability": "active"},
        "Description": {"Hostname": f"node{number}", "Engine": {"EngineVersion": "28.5.2"}},
        "Status": {"State": state, "Addr": f"10.77.0.{number}"},
        **(
            {"ManagerStatus": {"Leader": True, "Reachability": "reachable", "Addr": "10.77.0.1:2377"}}
            if number == 1
            else {}
        ),
        **changes,
    }


@dataclass
class FakeManager:
    """What a manager has. The calls that it was asked are in ``api.names``."""

    services: list[dict[str, Any]] = field(default_factory=list)
    tasks: list[dict[str, Any]] = field(default_factory=list)
    nodes: list[dict[str, Any]] = field(default_factory=lambda: [raw_node(1), raw_node(2), raw_node(3)])
    images: dict[str, dict[str, Any]] = field(default_factory=lambda: {"image:1": {"Id": IMAGE_ID}})
    on_create: Callable[[Mapping[str, Any]], Any] | None = None
    bodies: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.api = FakeApi(
            info={"Swarm": {"NodeID": "n1", "ControlAvailable": True}, "NCPU": 8, "LoggingDriver": "json-file"},
            services=lambda filters: list(self.services),
            tasks=self._list_tasks,
            nodes=lambda: list(self.nodes),
            inspect_service=lambda asked: _find(self.services, asked),
            inspect_task=lambda asked: _find(self.tasks, asked),
            inspect_node=lambda asked: _find(self.nodes, asked),
            inspect_image=self._find_image,
            inspect_container=api_error(404, "no such container"),
            remove_service=self._remove,
            inspect_swarm=lambda: {"Spec": {"Dispatcher": {"HeartbeatPeriod": 20 * 10**9}}},
            post=self._post,
            get=lambda url: http_response(b"OK", headers={"Date": "Tue, 14 Nov 2023 22:14:20 GMT"}),
        )

    @property
    def engine(self) -> DockerEngine:
        """Its own engine."""
        return docker_engine(self.api)

    def swarm(self, swarm: Swarm | None = None, reach: Callable[[str], DockerEngine] | None = None) -> SwarmEngine:
        """The swarm over it; ``reach``: the engines of the nodes."""

        def refuse(address: str) -> DockerEngine:
            raise AssertionError(address)

        return SwarmEngine.from_manager(swarm or Swarm(), self.engine, reach or refuse)

    def _list_tasks(self, filters: Mapping[str, Any] | None) -> list[dict[str, Any]]:
        service = (filters or {}).get("service")
        return [raw for raw in self.tasks if service in (None, raw["ServiceID"])]

    def _find_image(self, asked: str) -> Mapping[str, Any]:
        known = {**self.images, **{raw["Id"]: raw for raw in self.images.values()}}
        if asked not in known:
            raise api_error(404, "no such image")
        return known[asked]

    def _remove(self, asked: str) -> bool:
        _find(self.services, asked)
        self.services.clear()
        self.tasks.clear()
        return True

    def _post(self, url: str, json: dict[str, Any], timeout: float) -> Any:
        assert (url, timeout) == ("http+docker://localhost/v1.41/services/create", 60)
        self.bodies.append(json)
        if self.on_create is not None and (found := self.on_create(json)) is not None:
            return found
        return http_response(b'{"ID": "%s"}' % SERVICE.encode(), 201)


def _find(items: list[dict[str, Any]], asked: str) -> dict[str, Any]:
    found = next((raw for raw in items if asked in (raw["ID"], raw.get("Spec", {}).get("Name"))), None)
    if found is None:
        raise api_error(404, f"{asked} not found")
    return found


def node_engine(number: int, **answers: Any) -> DockerEngine:
    """The own engine of a node."""
    return docker_engine(FakeApi(**{"info": {"Swarm": {"NodeID": f"n{number}"}}, **answers}))


def no_quorum() -> APIError:
    """What a manager without a leader answers, after 20 s."""
    return api_error(500, "rpc error: code = DeadlineExceeded desc = context deadline exceeded")
