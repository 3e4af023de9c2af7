"""What a service's task and its node make of a container: its state, and all that an inspect would tell."""

from __future__ import annotations

from collections.abc import Collection

from jupyter_launcher.engine.swarm.shapes import Service, Task
from jupyter_launcher.engine.types import ContainerInfo, ListedContainer
from jupyter_launcher.models import SwarmNode

__all__ = ["UNREACHABLE", "choose_task", "describe_container", "describe_node", "find_state", "list_container"]

UNREACHABLE = "unreachable"
_LOST = 255
"""The exit code that engines tell of a container that ended with its host."""
_YOUNG_SECONDS = 60.0  # within which a service gets its task, also where the managers have much to do
_NO_NODE = SwarmNode(id="", hostname="", address="", state="unknown")


def choose_task(tasks: Collection[Task]) -> Task | None:
    """The task that counts; None: the service has none.

    The oldest that runs and should, which has the server where somebody has scaled the service; else the newest that
    should run, else the newest.
    """
    tasks = sorted(tasks, key=lambda task: (task.created, task.id))
    wanted = [task for task in tasks if task.desired == "running"]
    running = [task for task in wanted if task.state == "running"]
    return next(iter([*running, *reversed(wanted), *reversed(tasks)]), None)


def find_state(task: Task | None, node: SwarmNode | None, age: float) -> tuple[str, int]:
    """Docker's word for the state of a task's container, or ``unreachable``; and its exit code.

    Args:
        task: of the service; None: it has none.
        node: of the task; None: the manager knows it no more, or the task has none yet.
        age: seconds since the service was created.
    """
    if task is None:
        return ("created", 0) if age < _YOUNG_SECONDS else ("exited", _LOST)
    if task.has_ended:  # its node said so itself
        return "exited", _exit_code(task)
    if task.node_id and (node is None or not node.is_ready):
        return UNREACHABLE, 0
    if task.desired in ("shutdown", "remove", "complete", "failed", "orphaned"):
        # A task that has no node has no container either.
        return ("removing", 0) if task.node_id else ("exited", _LOST)
    return ("running" if task.state == "running" else "created"), 0


def _exit_code(task: Task) -> int:
    """Its exit code; one that was never started, or whose end nobody saw, has not ended well."""
    if task.state in ("complete", "shutdown"):
        return task.exit_code if task.exit_code is not None else _LOST
    return task.exit_code or _LOST


def describe_node(node: SwarmNode | None) -> str:
    """What the manager knows of the node that a container is on."""
    return "its node is no longer in the swarm" if node is None else f"node {node.hostname} is {node.state}"


def describe_container(
    service: Service, task: Task | None, node: SwarmNode | None, age: float, entrypoint: tuple[str, ...] = ()
) -> ContainerInfo:
    """A container as an inspect tells of it.

    ``entrypoint``: of its image, where the service keeps that.
    """
    state, code = find_state(task, node, age)
    place = node or _NO_NODE
    is_live = state in ("running", "removing", UNREACHABLE)
    ports = task.ports if task is not None and is_live else {}
    networks = {} if task is None else task.networks
    return ContainerInfo(
        id=(task.container_id if task else "") or service.id,
        name=service.name,
        labels=service.labels,
        created=service.created,
        state=state,
        exit_code=code,
        oom_killed=False,  # no manager tells it
        error=describe_node(node) if state == UNREACHABLE else task.error if task is not None else "",
        started=task.id if task is not None and task.container_id else "",
        image=service.image,
        network_mode=next(iter(networks), "bridge"),
        networks={name: ip if is_live else "" for name, ip in networks.items()},
        ports={inside: (port,) for inside, port in ports.items()},
        bindings={inside: {place.address: port} for inside, port in ports.items()},
        mounts=service.mounts,
        environment=service.environment,
        entrypoint=service.command or entrypoint,
        memory=service.memory,
        cpus=service.cpus,
        shm_size=service.shm_size,
        pids=service.pids,
        read_only=service.read_only,
        groups=service.groups,
        extra_hosts=service.extra_hosts,
        tmpfs=service.tmpfs,
        node=place.hostname,
        host=place.address,
    )


def list_container(service: Service, task: Task | None, node: SwarmNode | None, age: float) -> ListedContainer:
    """A container as a list has it."""
    info = describe_container(service, task, node, age)
    words = {"exited": f"Exited ({info.exit_code})", "created": "Created", "removing": "Removing", "running": "Running"}
    status = [words[info.state], *([f"on {info.node}"] if info.node else [])] if info.state in words else []
    return ListedContainer(
        id=info.id,
        name=info.name,
        image=info.image,
        labels=info.labels,
        created=info.created,
        state=info.state,
        status=": ".join(filter(None, (" ".join(status), info.error))),
        networks=info.networks,
        ports=info.ports,
        bindings=info.bindings,
        node=info.node,
        host=info.host,
    )
