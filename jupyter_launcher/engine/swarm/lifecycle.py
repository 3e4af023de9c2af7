"""A service from its create to its end: each wait looks at its tasks, until a deadline."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection, Iterable
from typing import Any

from jupyter_launcher.engine.swarm.body import Placement, format_service, refuse_config
from jupyter_launcher.engine.swarm.images import ImageMemory
from jupyter_launcher.engine.swarm.manager import Manager
from jupyter_launcher.engine.swarm.nodes import NodeEngines
from jupyter_launcher.engine.swarm.places import Places
from jupyter_launcher.engine.swarm.refusals import describe_pending, describe_refusal, has_run, is_unplaceable
from jupyter_launcher.engine.swarm.shapes import NAME_LABEL, Service, Task, service_name
from jupyter_launcher.engine.swarm.states import choose_task, describe_node, find_state
from jupyter_launcher.engine.types import ContainerConfig
from jupyter_launcher.errors import EngineError, EngineUnavailableError, UnsupportedOptionError
from jupyter_launcher.models import Swarm, SwarmNode
from jupyter_launcher.waiting import Deadline, NotYetError, attempts, shorten, within

__all__ = ["Lifecycle"]

_log = logging.getLogger("jupyter_launcher")

_START_SECONDS = 60.0
_UNPLACED_SECONDS = 5.0  # another session may be about to leave its port or its memory
_LOOK_SECONDS = 5.0  # after a create of which nobody knows what became
_GRACE = 30.0  # seconds that a service's container may take to end, where that is not told
_MORE = 10.0  # what the swarm needs besides to see that it has ended
_KILL_SECONDS = 5.0
_LONGEST_PAUSE = 0.25
_UNPLACED_TASK_SECONDS = 1.0  # in which the swarm forgets a task without a node
_TOO_LARGE = "raft message is too large"
_LOST_NODES = ("down", "disconnected")


class Lifecycle:
    """Creates services, waits for their tasks, and removes them."""

    def __init__(
        self, swarm: Swarm, manager: Manager, engines: NodeEngines, places: Places, images: ImageMemory
    ) -> None:
        self._swarm = swarm
        self._manager = manager
        self._engines = engines
        self._places = places
        self._images = images

    def create(self, config: ContainerConfig, name: str, constraints: tuple[str, ...]) -> str:
        """Create the service of a container, once no task of an earlier one of this name runs; its id.

        Raises:
            UnsupportedOptionError: no service can have an option of it, or so much in all of them.
            EngineError: with status 409 when there is one of this name; 404 when the manager has no such image.
            EngineUnavailableError: no manager answers, or they have no quorum; and there is no such service.
        """
        body = self._format(config, name, constraints)
        left = [task for task in self._manager.list_tasks((f"{NAME_LABEL}={name}",)) if not task.has_ended]
        if left and self._manager.find_service(service_name(name)) is not None:
            raise _describe_conflict(name)
        # Somebody's copy of a service has its labels.
        left = [task for task in left if self._manager.find_service(task.service_id) is None]
        self._await_gone(left, Deadline(_GRACE + _MORE), name)  # it is killed by nobody: it may save what it has
        try:
            return self._manager.create_service(body)
        except EngineError as error:
            if _TOO_LARGE in error.message:
                msg = f"the swarm does not take container {name}: {error.message}"
                hint = "give less in labels=, environment= or other options: all of a service goes to each manager"
                raise UnsupportedOptionError(msg, hint=hint, option="labels", status=error.status) from error
            if not isinstance(error, EngineUnavailableError) and (error.status or 0) < 500:
                raise
            found = self._find_created(body)
            if found is None:
                raise
            if found.labels != body["Labels"]:
                raise _describe_conflict(name) from error
            return found.id

    def _format(self, config: ContainerConfig, name: str, constraints: tuple[str, ...]) -> dict[str, Any]:
        """The service of a container, unless it cannot be one."""
        refuse_config(config)
        engine = self._manager.engine
        image_id = engine.images.find(config.image)
        if image_id is None:
            msg = f"No such image: {config.image}, on the manager at {engine.endpoint}"
            raise EngineError(msg, hint="build it, or pull it, on the manager", status=404)
        placement = Placement(
            image_id=image_id,
            api=self._manager.api,
            constraints=constraints,
            network=self._swarm.network,
            publish=self._swarm.publish == "all",
            log_driver=engine.traits.log_driver,
        )
        return format_service(config, name, placement)

    def _find_created(self, body: dict[str, Any]) -> Service | None:
        """The service that a create may have made all the same."""
        with contextlib.suppress(EngineError), within(Deadline(_LOOK_SECONDS)):
            return self._manager.find_service(body["Name"])
        return None

    def start(self, container: str, host_ports: Collection[int]) -> None:
        """Wait until the container of a service runs, or has run; as :meth:`SwarmEngine.start` says."""
        service = self._places.find_service(container)
        if service is None:
            msg = f"no such container: {container[:64]} is no service of the swarm"
            raise EngineError(msg, hint="see `docker service ls`", status=404)
        task, node = self._await_start(service, host_ports)
        if node is not None:
            self._places.remember(task, node)

    def _await_start(self, service: Service, host_ports: Collection[int]) -> tuple[Task, SwarmNode | None]:
        """The task that runs, or has run, and its node; that is None where the swarm has it no more."""
        deadline = Deadline(shorten(_START_SECONDS) or _START_SECONDS)
        patience = deadline.shortened(_UNPLACED_SECONDS)
        task: Task | None = None
        for attempt in attempts(deadline, NotYetError, longest=_LONGEST_PAUSE):
            with attempt:
                task = choose_task(self._manager.tasks_of(service.id))
                if task is None:
                    self._require(service)
                    raise NotYetError
                if task.has_ended and not has_run(task):
                    self._images.forget(task.node_id, service.image_id)
                    node = self._manager.find_node(task.node_id)
                    raise describe_refusal(task, service, node.hostname if node else "", host_ports)
                if task.has_ended or (task.state == "running" and task.desired == "running"):
                    return task, self._manager.find_node(task.node_id)
                if task.desired in ("shutdown", "remove"):
                    node = self._manager.find_node(task.node_id)
                    msg = f"the swarm ended container {service.name} before it ran: {describe_node(node)}"
                    raise EngineError(msg, hint="see `docker node ls`, and start it again")
                if is_unplaceable(task) and patience.expired():
                    raise describe_pending(task, service, host_ports, deadline.elapsed())
                raise NotYetError
        raise self._describe_late(task, service, host_ports, deadline)

    def _require(self, service: Service) -> None:
        if self._manager.find_service(service.id) is None:
            msg = f"container {service.name} was removed before it ran"
            raise EngineError(msg, hint="start it again", status=404)

    def _describe_late(
        self, task: Task | None, service: Service, host_ports: Collection[int], deadline: Deadline
    ) -> EngineError:
        """The error for a task that does not run after all of its time."""
        if task is None or not task.node_id:
            return describe_pending(task, service, host_ports, deadline.seconds)
        node = self._manager.find_node(task.node_id)
        msg = f"container {service.name} does not run after {deadline.seconds:g} s: {describe_node(node)}"
        if node is None or not node.is_ready:
            return EngineUnavailableError(msg, hint="see `docker node ls`", endpoint=node.address if node else "")
        seen = f"its task is {task.state} ({task.message or 'nothing is told about it'})"
        return EngineError(f"{msg}, and {seen}", hint=f"see `docker service ps --no-trunc {service.service_name}`")

    def wait(self, container: str, deadline: Deadline) -> int | None:
        """Block until a container has ended; as the protocol's ``wait`` says."""
        if deadline.expired():
            return None
        task = self._places.find_task(container)
        for attempt in attempts(deadline, NotYetError, longest=_LONGEST_PAUSE):
            with attempt, within(deadline):
                task = None if task is None else self._manager.find_task(task.id)
                if task is None:
                    task = self._places.find_task(container)  # one of a service's newer tasks, or its first
                    if task is None and self._places.find_service(container) is None:
                        return -1
                if task is None or not task.has_ended:
                    raise NotYetError
                return find_state(task, None, 0.0)[1]
        return None

    def remove(self, container: str) -> None:
        """Remove a service, and wait until its containers are gone from their nodes, but not for a node that is away.

        Raises:
            EngineError: the service is none of ours, or a container does not end.
        """
        service = self._places.find_service(container)
        if service is None:
            return
        if not service.is_ours:
            msg = f"service {service.service_name} is none of this library, and is not removed"
            raise EngineError(msg, hint=f"`docker service rm {service.service_name}` removes it")
        tasks = self._manager.tasks_of(service.id)
        self._manager.remove_service(service.id)
        deadline = Deadline((_GRACE if service.grace is None else service.grace) + _MORE)
        self._await_gone(tasks, deadline, service.name, kill=deadline.shortened(_KILL_SECONDS))

    def _await_gone(
        self, tasks: Collection[Task], deadline: Deadline, name: str, *, kill: Deadline | None = None
    ) -> None:
        """Wait until the containers of tasks whose service was removed have ended, and see that they are gone.

        Args:
            tasks: of that service.
            deadline: for their end.
            name: of the container.
            kill: when they are killed; None: they are not.

        Raises:
            EngineError: one does not end.
        """
        known = {task.id: task for task in tasks}
        unplaced = deadline.shortened(_UNPLACED_TASK_SECONDS)
        rest = list(known.values())
        for attempt in attempts(deadline, NotYetError, longest=_LONGEST_PAUSE):
            with attempt:
                rest = [latest for task in rest if (latest := self._look_at_rest(task, unplaced)) is not None]
                known |= {task.id: task for task in rest}  # one may have got its node and its container by now
                if rest and kill is not None and kill.expired():
                    kill = None
                    self._remove_containers(rest)
                if rest:
                    raise NotYetError
        if rest:
            msg = f"container {name} does not end: {len(rest)} of its tasks are left after {deadline.seconds:g} s"
            raise EngineError(msg, hint="see `docker ps` on the node that `docker node ps` names", status=None)
        self._remove_containers(known.values())

    def _look_at_rest(self, task: Task, unplaced: Deadline) -> Task | None:
        """A task as it is now, if its container may run, or may yet be started, on a node that is not lost."""
        latest = self._manager.find_task(task.id)
        if latest is None or latest.has_ended:
            return None
        if not latest.node_id:
            return None if unplaced.expired() else latest
        node = self._manager.find_node(latest.node_id)
        # A node is unknown for a moment after a manager has come back.
        return latest if node is not None and node.state not in _LOST_NODES else None

    def _remove_containers(self, tasks: Iterable[Task]) -> None:
        """Remove what is left of containers: those that do not end, and those that their nodes are about to remove."""
        for task in tasks:
            try:
                node = self._manager.find_node(task.node_id)
                if task.container_id and node is not None and node.is_ready:
                    self._engines.of(node).remove(task.container_id)
            except EngineError as error:
                _log.info("container %s is left to the swarm: %s", task.container_id[:12], error)


def _describe_conflict(name: str) -> EngineError:
    msg = f"there is a service for container {name} already"
    return EngineError(msg, hint=f"see `docker service ps {service_name(name)}`", status=409)
