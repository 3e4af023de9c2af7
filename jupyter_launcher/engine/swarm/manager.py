"""The calls to a manager of a swarm: services, tasks, nodes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from jupyter_launcher.engine.client import DockerEngine
from jupyter_launcher.engine.errors import translate_errors
from jupyter_launcher.engine.shapes import expect_shape, parse_list, parse_text
from jupyter_launcher.engine.streams import raise_for_status
from jupyter_launcher.engine.swarm.refusals import read_quorum_loss
from jupyter_launcher.engine.swarm.shapes import NAME_LABEL, Service, Task, parse_heartbeat, parse_node
from jupyter_launcher.errors import EngineError, EngineUnavailableError
from jupyter_launcher.models import SwarmNode

__all__ = ["Manager"]

T = TypeVar("T")


class Manager:
    """A manager of a swarm, over its own engine. Every method raises an :class:`EngineError`, or one of its kinds."""

    def __init__(self, engine: DockerEngine) -> None:
        self.engine = engine

    @property
    def api(self) -> tuple[int, ...]:
        """The version of the API that is spoken with it."""
        with expect_shape("its version"):
            return tuple(int(part) for part in self.engine.api.api_version.split("."))

    def _ask(self, action: str, call: Callable[[], T]) -> T:
        endpoint = self.engine.endpoint
        try:
            with translate_errors(action, endpoint):
                return call()
        except EngineUnavailableError as error:
            # Without a leader, a manager that lives answers only after its own time is over.
            hint = f"{error.hint}; where that answers, and `docker node ls` does not, the swarm has no quorum"
            raise EngineUnavailableError(error.message, hint=hint, endpoint=endpoint) from error
        except EngineError as error:
            raise read_quorum_loss(error, endpoint) or error from error.__cause__

    def _find(self, action: str, call: Callable[[], Any], parse: Callable[[Any], T]) -> T | None:
        try:
            raw = self._ask(action, call)
        except EngineError as error:
            if error.status == 404:
                return None
            raise
        return parse(raw)

    def find_service(self, reference: str) -> Service | None:
        """A service by its id or its whole name; None: there is none."""
        found = self._find(
            f"inspect service {reference}", lambda: self.engine.api.inspect_service(reference), Service.from_answer
        )
        # The manager also takes the beginning of an id.
        return found if found is not None and reference in (found.id, found.service_name) else None

    def list_services(self, labels: Collection[str]) -> list[Service]:
        """The services that stand for containers of ours with all of these labels (``name=value`` or ``name``)."""
        listed = self._ask("list services", lambda: self.engine.api.services(filters=_filter(labels)))
        found = map(Service.from_answer, parse_list(listed))
        return [service for service in found if _has_labels(service.labels, labels)]

    def create_service(self, body: dict[str, Any]) -> str:
        """Create a service; its id.

        Raises:
            EngineError: with status 409 when there is one of this name.
        """
        api = self.engine.api

        def post() -> Any:
            # Not the SDK's call, which also sends the credentials of a registry: the swarm would keep them.
            url = f"{api.base_url}/v{api.api_version}/services/create"
            response = api.post(url, json=body, timeout=api.timeout)
            raise_for_status(response)
            return response.json()

        answer = self._ask(f"create service {body['Name']}", post)
        with expect_shape("what it created"):
            return parse_text(answer["ID"])

    def remove_service(self, service: str) -> None:
        """Remove a service; it is no error that there is none."""
        try:
            self._ask(f"remove service {service}", lambda: self.engine.api.remove_service(service))
        except EngineError as error:
            if error.status != 404:
                raise

    def tasks_of(self, service: str) -> list[Task]:
        """The tasks of a service, by its id; empty also where there is no such service."""
        return (
            self._find(f"list the tasks of service {service}", lambda: self._list({"service": service}), _parse) or []
        )

    def list_tasks(self, labels: Collection[str]) -> list[Task]:
        """The tasks of containers of ours with all of these labels, those of removed services among them."""
        found = _parse(self._ask("list tasks", lambda: self._list(_filter(labels))))
        return [task for task in found if _has_labels(task.labels, labels)]

    def _list(self, filters: dict[str, Any]) -> Any:
        return self.engine.api.tasks(filters=filters)

    def find_task(self, task: str) -> Task | None:
        """A task by its id; None: its container is gone from its node."""
        return self._find(f"inspect task {task}", lambda: self.engine.api.inspect_task(task), Task.from_answer)

    def list_nodes(self) -> list[SwarmNode]:
        """All nodes."""
        listed = self._ask("list nodes", self.engine.api.nodes)
        return [parse_node(raw) for raw in parse_list(listed)]

    def find_node(self, node: str) -> SwarmNode | None:
        """A node by its id; None: the swarm has it no more, or there is no id."""
        if not node:
            return None
        return self._find(f"inspect node {node}", lambda: self.engine.api.inspect_node(node), parse_node)

    def heartbeat(self) -> float:
        """Seconds between two signs of life that are expected of a node."""
        return parse_heartbeat(self._ask("inspect the swarm", self.engine.api.inspect_swarm))


def _parse(listed: Any) -> list[Task]:
    return [Task.from_answer(raw) for raw in parse_list(listed)]


def _filter(labels: Collection[str]) -> dict[str, Any]:
    """What a list is asked for. Of two filters for the same label the manager takes only one."""
    names = {label.partition("=")[0] for label in labels}
    return {"label": [*labels, *({NAME_LABEL} - names)]}


def _has_labels(found: Mapping[str, str], labels: Collection[str]) -> bool:
    """Whether labels are those of a container of ours, and have these (``name=value`` or ``name``) among them."""
    wanted = [label.partition("=") for label in (NAME_LABEL, *labels)]
    return all(name in found and (not equals or found[name] == value) for name, equals, value in wanted)
