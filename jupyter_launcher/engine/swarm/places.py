"""Which service, task and node a container is: by its name, the id of its service, or its own id."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import OrderedDict
from dataclasses import dataclass, replace

from jupyter_launcher.engine.client import DockerEngine
from jupyter_launcher.engine.swarm.manager import Manager
from jupyter_launcher.engine.swarm.nodes import NodeEngines
from jupyter_launcher.engine.swarm.shapes import (
    LABEL_START,
    Service,
    Task,
    is_container_id,
    is_service_id,
    is_service_name,
    service_name,
)
from jupyter_launcher.engine.swarm.states import choose_task, describe_node
from jupyter_launcher.engine.types import ContainerInfo
from jupyter_launcher.errors import EngineError, EngineUnavailableError
from jupyter_launcher.forks import PerProcess
from jupyter_launcher.models import SwarmNode
from jupyter_launcher.waiting import Deadline, within

__all__ = ["Found", "Places"]

_log = logging.getLogger("jupyter_launcher")

_MOST_PLACES = 4096
_NODE_SECONDS = 3.0
_MEMORY_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A service, the task that counts, and the node of that; None where there is none."""

    service: Service
    task: Task | None
    node: SwarmNode | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a container is for as long as it exists: no container moves."""

    service_id: str
    task_id: str
    node: SwarmNode


class _Memory:
    """What one process knows: the id of a container → its place."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.places: OrderedDict[str, _Place] = OrderedDict()


class Places:
    """Finds containers in a swarm, and remembers the last 4096 by their own ids."""

    def __init__(self, manager: Manager, engines: NodeEngines) -> None:
        self._manager = manager
        self._engines = engines
        self._memory = PerProcess(_Memory)

    def find_service(self, container: str) -> Service | None:
        """The service of a container; None: the swarm has none."""
        if is_container_id(container):
            known = self._recall(container)
            service_id = known.service_id if known is not None else self._search(container)
            return self._manager.find_service(service_id) if service_id else None
        names = [service_name(container), *([container] if is_service_name(container) else [])]
        if is_service_id(container):
            names.reverse()
        for name in names:
            if (found := self._manager.find_service(name)) is not None:
                return found
        return None

    def _search(self, container: str) -> str | None:
        tasks = self._manager.list_tasks(())
        return next((task.service_id for task in tasks if task.container_id == container), None)

    def look(self, service: Service) -> Found:
        """The task of a service that counts, and its node."""
        task = choose_task(self._manager.tasks_of(service.id))
        node = None if task is None else self._manager.find_node(task.node_id)
        if task is not None and node is not None:
            self.remember(task, node)
        return Found(service=service, task=task, node=node)

    def remember(self, task: Task, node: SwarmNode) -> None:
        """Keep where the container of a task is, if it has one."""
        if not task.container_id:
            return
        memory = self._memory.get()
        with memory.lock:
            memory.places[task.container_id] = _Place(service_id=task.service_id, task_id=task.id, node=node)
            memory.places.move_to_end(task.container_id)
            if len(memory.places) > _MOST_PLACES:
                memory.places.popitem(last=False)

    def _recall(self, container: str) -> _Place | None:
        memory = self._memory.get()
        with memory.lock:
            return memory.places.get(container)

    def find_task(self, container: str) -> Task | None:
        """The task of a container as it is now; None: it is gone, or there is none yet."""
        known = self._recall(container)
        if known is not None:
            return self._manager.find_task(known.task_id)
        service = self.find_service(container)
        return None if service is None else self.look(service).task

    def reach(self, container: str) -> tuple[DockerEngine, str]:
        """The engine that a container is on, and its own id.

        Raises:
            EngineError: with status 404: there is no such container; 409: its task has none.
            EngineUnavailableError: its node is not ready, so nobody asks that node's engine; or it does not answer.
            UnsupportedOptionError: nothing tells where that engine is.
        """
        known = self._recall(container)
        if known is not None:
            return self._engines.of(self._look_at_node(known.node)), container
        service = self.find_service(container)
        if service is None:
            msg = f"no such container: {container[:64]} is no service of the swarm, and of none"
            raise EngineError(msg, hint="see `docker service ls`", status=404)
        found = self.look(service)
        if found.task is None or not found.task.container_id:
            state = "there is no task" if found.task is None else f"its task is {found.task.state}"
            msg = f"container {service.name} is not on any node: {state}"
            raise EngineError(msg, hint=f"see `docker service ps --no-trunc {service.service_name}`", status=409)
        if found.node is None:
            msg = f"container {service.name}: {describe_node(None)}"
            raise EngineUnavailableError(msg, hint="see `docker node ls`", endpoint="")
        return self._engines.of(found.node), found.task.container_id

    def _look_at_node(self, known: SwarmNode) -> SwarmNode:
        """A node as it is now; as it was where no manager answers, since sessions go on without one."""
        with contextlib.suppress(EngineUnavailableError), within(Deadline(_NODE_SECONDS)):
            found = self._manager.find_node(known.id)
            if found is None:
                msg = f"node {known.hostname} is no longer in the swarm: its engine is not asked"
                raise EngineError(msg, hint="see `docker node ls`", status=None)
            return found
        _log.info("no manager tells the state of node %s; its engine is asked all the same", known.hostname)
        return known

    def was_out_of_memory(self, container: str) -> bool:
        """Whether the node's engine saw a process of a container killed for memory, which no manager tells."""
        with contextlib.suppress(EngineError), within(Deadline(_MEMORY_SECONDS)):
            engine, own = self.reach(container)
            found = engine.inspect(own)
            return found is not None and found.oom_killed
        return False

    def inspect_elsewhere(self, container: str) -> ContainerInfo | None:
        """A container of the manager's own engine that is no service's.

        None: it has none, or it is one of this library that is no session of the swarm.
        """
        own = self._manager.engine
        info = own.inspect(container)
        if info is None:
            return None
        if "." in info.name and any(label.startswith(LABEL_START) for label in info.labels):
            # Its service was removed, or it is of a launcher without a swarm. Images of ours have such labels too.
            return None
        node = self._manager.find_node(own.traits.node_id or "")
        return info if node is None else replace(info, node=node.hostname, host=node.address)
