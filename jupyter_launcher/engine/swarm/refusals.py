"""Why a task does not run, in the words of the swarm and of its nodes' engines; and the errors that say so."""

from __future__ import annotations

import re
from collections.abc import Collection

from jupyter_launcher.engine.swarm.shapes import Service, Task
from jupyter_launcher.errors import (
    EngineError,
    EngineUnavailableError,
    ImageNotFoundError,
    LauncherError,
    PipelineDirError,
    PlacementError,
    PortInUseError,
)

__all__ = [
    "describe_missing_image",
    "describe_pending",
    "describe_refusal",
    "has_run",
    "is_unplaceable",
    "read_quorum_loss",
]

_MISSING_SOURCE = re.compile(r"bind source path does not exist: (?P<path>.+)", re.DOTALL)
_VOLUME = "failed to mount local volume"
_EXITED = re.compile(r"task: non-zero exit \([0-9]+\)")
_PORT = re.compile(r":([0-9]{1,5})\b")
_PORT_TEXTS = ("address already in use", "port is already allocated")
_PORT_OF_SERVICE = "host-mode port already in use"
_NO_NODE = "no suitable node"
_NO_QUORUM = (
    "DeadlineExceeded",
    "context deadline exceeded",
    "does not have a leader",
    "no elected cluster leader",
    "raft: failed to process the request",
    "node is stopped",
    "lost quorum",
    "code = Unavailable",
)
_QUORUM_HINT = (
    "start the managers that are away again: more than half of them have to be there (`docker node ls`); sessions that "
    "run go on meanwhile"
)
_PORT_HINT = (
    "stop what holds it there (`docker service ls`, `ss -ltnp`), or let the node's engine choose a free one by leaving "
    "host_port (or its number in ports) out"
)


def has_run(task: Task) -> bool:
    """Whether a task that has ended ran before: then it is its container's business how it ended."""
    return task.state in ("complete", "shutdown") or _EXITED.search(task.error) is not None


def describe_refusal(task: Task, service: Service, node: str, host_ports: Collection[int]) -> LauncherError:
    """The error for a task that its node did not run.

    Args:
        task: which has ended.
        service: of the task.
        node: the hostname of its node.
        host_ports: that were asked for.
    """
    said = task.error or task.message or f"its task is {task.state}"
    where = f"on node {node}" if node else "in the swarm"
    source = _MISSING_SOURCE.search(said)
    if source is not None:
        path = source["path"].strip()
        msg = f"directory {path} cannot be mounted {where}: it does not exist there"
        hint = "create it on every node that sessions may run on, or give constraints= for those that have it"
        return PipelineDirError(msg, hint=hint, path=path)
    if _VOLUME in said:
        hint = "see that every node that sessions may run on can mount the volume, or give constraints="
        return PipelineDirError(f"a volume cannot be mounted {where}: {said}", hint=hint, path="")
    if "No such image" in said or "no such image" in said:
        return describe_missing_image(service.image, (node,))
    if host_ports and any(text in said for text in _PORT_TEXTS) and (number := _find_port(said, host_ports)):
        msg = f"host port {number} is in use {where}"
        return PortInUseError(msg, hint=_PORT_HINT, status=500, host_port=number)
    msg = f"container {service.name} could not be started {where}: {said}"
    return EngineError(
        msg, hint="see what the node's engine says; `docker service ps --no-trunc` shows it too", status=500
    )


def _find_port(said: str, host_ports: Collection[int]) -> int:
    """The port that a node's engine names; where it names none, the first that was asked for. 0: it names another."""
    named = {int(number) for number in _PORT.findall(said)}
    return next((port for port in host_ports if port in named), 0 if named else next(iter(host_ports)))


def describe_pending(task: Task | None, service: Service, host_ports: Collection[int], seconds: float) -> EngineError:
    """The error for a task that no node took within its time."""
    said = (task.error or task.message or f"its task is {task.state}") if task else "it has no task"
    if _PORT_OF_SERVICE in said and host_ports:
        number = next(iter(host_ports))
        msg = f"host port {number} is in use on every node that container {service.name} may run on: {said}"
        return PortInUseError(msg, hint=_PORT_HINT, status=500, host_port=number)
    msg = f"no node has taken container {service.name} within {seconds:.0f} s: {said}"
    hint = "see `docker node ls`, and give other constraints="
    return PlacementError(msg, hint=hint)


def is_unplaceable(task: Task) -> bool:
    """Whether the swarm has looked at all nodes for a task, and none fits."""
    return not task.node_id and _NO_NODE in task.error


def describe_missing_image(image: str, nodes: Collection[str], why: str = "") -> ImageNotFoundError:
    """The error for nodes that have not got an image; ``why``: what came of a pull."""
    names = ", ".join(sorted(nodes))
    msg = f"image {image} is not on {'node' if len(nodes) == 1 else 'nodes'} {names}"
    msg += f": {why}" if why else ""
    registry = "have it in a registry and pull it on the manager"
    if why:
        registry = "see that each node reaches the registry, and that `docker login` of this process's user is for it"
    hint = (
        f"put it there, by `docker save {image} | docker -H NODE load`, or {registry}; or give constraints= for the "
        "nodes that have it"
    )
    return ImageNotFoundError(msg, hint=hint, status=404, image=image)


def read_quorum_loss(error: EngineError, endpoint: str) -> EngineUnavailableError | None:
    """The error of a manager that has no leader to ask; None: it is another error."""
    if error.status not in (500, 503) or not any(text in error.message for text in _NO_QUORUM):
        return None
    msg = f"the swarm has no quorum, or changes its leader, says the manager at {endpoint}: {error.message}"
    return EngineUnavailableError(msg, hint=_QUORUM_HINT, status=error.status, endpoint=endpoint)
