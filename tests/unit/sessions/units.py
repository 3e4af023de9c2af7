"""Gateways with kernels in containers, and their parts, as an engine has them."""

from __future__ import annotations

import uuid
from typing import Any

from jupyter_launcher.engine.traits import ListedNetwork
from jupyter_launcher.engine.types import ContainerInfo
from jupyter_launcher.host.process import process_mark
from jupyter_launcher.spec.kernels.labels import (
    KERNEL_ID,
    KERNEL_NAME,
    KERNEL_OF,
    GatewayLabels,
    agent_name,
    broker_name,
    gateway_name,
    kernel_name_prefix,
    network_name,
    part_labels,
)
from jupyter_launcher.spec.labels import gateway_labels
from tests.unit.fakes import NOW, FakeEngine, container

ALIVE = process_mark()
DEAD = ":".join([*ALIVE.split(":")[:3], "1"])  # its process id is another process's by now
ELSEWHERE = "other-boot:4026531836:7:1"
GATEWAY_ID = "0" * 12


def kernel_id(number: int) -> str:
    """The id of a kernel, as Jupyter makes them."""
    return f"00000000-0000-4000-8000-{number:012d}"


def put(engine: FakeEngine, age: float, **changes: Any) -> ContainerInfo:
    """A container that is so many seconds old."""
    made = container(**{"id": uuid.uuid4().hex * 2, "ports": {}, **changes})
    engine.known[made.id] = made
    engine.born[made.id] = NOW - age
    return made


def add_gateway(
    engine: FakeEngine,
    start: str,
    *,
    mark: str = ALIVE,
    namespace: str = "unit",
    gateway_id: str = GATEWAY_ID,
    age: float = 100.0,
    known: dict[str, Any] | None = None,
    **changes: Any,
) -> ContainerInfo:
    """A gateway; ``known``: more of its labels."""
    labels = {"isolation": "kernel", "images": {"py": "image"}, **(known or {})}
    more = GatewayLabels(gateway_id=gateway_id, start=start, **labels)
    given = {"name": gateway_name(namespace, gateway_id), "labels": gateway_labels(namespace, "me", mark, more=more)}
    return put(engine, age, **{**given, **changes})


def add_part(
    engine: FakeEngine,
    kind: str,
    start: str,
    *,
    number: int = 0,
    of: str = "",
    namespace: str = "unit",
    gateway_id: str = GATEWAY_ID,
    age: float = 100.0,
    more: dict[str, str] | None = None,
    **changes: Any,
) -> ContainerInfo:
    """An agent, a broker or a kernel; ``number``: of the agent or the kernel, ``of``: whose kernel it is."""
    labels = part_labels(kind, namespace, "me", start) | {KERNEL_NAME: "py"} | (more or {})
    names = {
        "agent": agent_name(namespace, gateway_id, number),
        "broker": broker_name(namespace, gateway_id),
        "kernel": kernel_name_prefix(namespace) + kernel_id(number),
    }
    if kind == "kernel":
        labels |= {KERNEL_ID: kernel_id(number), KERNEL_OF: of}
    return put(engine, age, **{"name": names[kind], "labels": labels, **changes})


def add_network(engine: FakeEngine, start: str, *, mark: str = DEAD, age: float = 100.0) -> ListedNetwork:
    """A gateway's own network."""
    labels = part_labels("network", "unit", "me", start, process=mark)
    made = ListedNetwork(
        id=uuid.uuid4().hex * 2, name=network_name("unit", GATEWAY_ID, start), labels=labels, created=NOW - age
    )
    engine.own_networks[made.id] = made
    return made


def names(engine: FakeEngine) -> set[str]:
    """Of the containers that are there."""
    return {info.name for info in engine.known.values()}
