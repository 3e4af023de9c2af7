"""``SwarmEngine``: a swarm as one engine."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn

from jupyter_launcher.engine import connection
from jupyter_launcher.engine.attach.temporary import run_temporary
from jupyter_launcher.engine.client import DockerEngine
from jupyter_launcher.engine.protocol import NO_LOG, OUTPUT_LIMIT, Events, Exchange
from jupyter_launcher.engine.reach.target import find_neighbour, find_target
from jupyter_launcher.engine.swarm.images import ImageMemory, SwarmImages
from jupyter_launcher.engine.swarm.lifecycle import Lifecycle
from jupyter_launcher.engine.swarm.manager import Manager
from jupyter_launcher.engine.swarm.nodes import NodeEngines
from jupyter_launcher.engine.swarm.places import Found, Places
from jupyter_launcher.engine.swarm.shapes import Service, Task, is_service_name
from jupyter_launcher.engine.swarm.states import choose_task, describe_container, list_container
from jupyter_launcher.engine.traits import EngineTraits, ListedNetwork, NetworkInfo
from jupyter_launcher.engine.types import ContainerConfig, ContainerInfo, ExecResult, ListedContainer
from jupyter_launcher.errors import EngineError, ExecError, OptionError, UnsupportedOptionError
from jupyter_launcher.models import Stats, Swarm, SwarmNode
from jupyter_launcher.models.options import HiddenTexts
from jupyter_launcher.waiting import Deadline, within

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from jupyter_launcher.engine.connection import ConnectOptions

__all__ = ["SwarmEngine"]

_KILLED = 137
_NOT_THERE = (404, 409)
_NO_KERNELS = "run gateways with kernels=, and their sessions, on one engine, by a Launcher without swarm="


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shared:
    """What all engines of one swarm share, whatever their constraints are."""

    manager: Manager
    engines: NodeEngines
    places: Places
    lifecycle: Lifecycle
    images: ImageMemory


class SwarmEngine:
    """A swarm as one engine: what :class:`~jupyter_launcher.engine.protocol.Engine` says, with a service a container.

    A container of ours is a service of one task, whose label ``jupyter-launcher.name`` is the container's name. Methods
    that take a container take its name, the id of its service, or its own id. Commands run through the engine of the
    node that its task is on. A container whose node is not ready is in state ``unreachable``, and no call is made to
    that node.
    """

    def __init__(self, shared: _Shared, constraints: tuple[str, ...]) -> None:
        self._shared = shared
        self._constraints = constraints
        self._manager = shared.manager
        self._places = shared.places
        self.endpoint = shared.manager.engine.endpoint
        self.proxies = shared.manager.engine.proxies
        self.images = SwarmImages(
            shared.manager.engine, shared.manager.list_nodes, shared.engines.of, shared.images, constraints
        )

    @classmethod
    def connect(cls, swarm: Swarm, **given: Unpack[ConnectOptions]) -> SwarmEngine:
        """Reach a manager; the options are those of :func:`~jupyter_launcher.engine.connection.connect`.

        Raises:
            OptionError: what answers is no manager of a swarm, or an option cannot be used.
            EngineError: as :meth:`DockerEngine.connect` says.
        """
        if given.get("client") is not None:
            msg = (
                "client is given with swarm=, which needs an address: the nodes' engines are reached by others like it"
            )
            raise OptionError(msg, hint="give docker_host= or context=, or set DOCKER_HOST", option="client")
        made = connection.connect(**given)
        target, timeout = find_target(given.get("docker_host"), given.get("context")), given.get("timeout", 60.0)

        def reach(address: str) -> DockerEngine:
            return DockerEngine(connection.connect_target(find_neighbour(target, address), timeout))

        try:
            return cls.from_manager(swarm, DockerEngine(made), reach)
        except BaseException:
            made.close()
            raise

    @classmethod
    def from_manager(cls, swarm: Swarm, engine: DockerEngine, reach: Callable[[str], DockerEngine]) -> SwarmEngine:
        """The swarm of a manager; ``reach`` connects to an engine by its address.

        Raises:
            OptionError: the engine is no manager of a swarm.
        """
        traits = engine.traits
        if not traits.manages_swarm:
            msg = f"the engine at {engine.endpoint} is no manager of a swarm"
            hint = "make it one by `docker swarm init`, or leave swarm= out"
            if traits.node_id:
                msg += ", but one of its workers"
                hint = "name a manager by docker_host=; `docker node ls` shows them there"
            raise OptionError(msg, hint=hint, option="swarm")
        manager = Manager(engine)
        engines = NodeEngines(swarm, engine, reach)
        places = Places(manager, engines)
        images = ImageMemory()
        shared = _Shared(
            manager=manager,
            engines=engines,
            places=places,
            lifecycle=Lifecycle(swarm, manager, engines, places, images),
            images=images,
        )
        return cls(shared, swarm.constraints)

    def constrained(self, constraints: Collection[str]) -> SwarmEngine:
        """The same swarm, with more constraints for what is created; it shares all connections and what is known."""
        more = tuple(item for item in constraints if item not in self._constraints)
        return SwarmEngine(self._shared, (*self._constraints, *more)) if more else self

    def close(self) -> None:
        """Close the connections to the manager and to the nodes' engines."""
        self._shared.engines.close()
        self._manager.engine.close()

    @property
    def traits(self) -> EngineTraits:
        """What the manager's engine is. Nothing of it is this process's: a session may be on any node."""
        found = self._manager.engine.traits
        return replace(
            found, same_kernel=False, rootless=False, remapped=False, desktop=False, cores=None, data_root=None
        )

    def nodes(self) -> list[SwarmNode]:
        """All nodes, in whatever state: one call to the manager."""
        return self._manager.list_nodes()

    def engine_of(self, node: SwarmNode) -> DockerEngine:
        """The own engine of a node, over a connection that is kept.

        Raises:
            EngineUnavailableError: the node is not ready, or its engine does not answer.
            UnsupportedOptionError: nothing tells where its engine is, or the address cannot be used.
            EngineError: another node's engine answers there.
        """
        return self._shared.engines.of(node)

    def heartbeat(self) -> float:
        """Seconds between two signs of life that the managers expect of a node; Docker's default is 5."""
        return self._manager.heartbeat()

    def service(self, name: str) -> str | None:
        """The id of a service of anybody's, by its own name or id; None: there is none."""
        found = self._manager.find_service(name) if is_service_name(name) else None
        return None if found is None else found.id

    def now(self) -> float:
        """The manager's clock; services' times are by that clock."""
        return self._manager.engine.now()

    def network(self, name: str) -> NetworkInfo | None:
        """A network by name, as the manager knows it; None when there is none."""
        return self._manager.engine.network(name)

    def _look(self, container: str) -> Found | None:
        service = self._places.find_service(container)
        return None if service is None else self._places.look(service)

    def inspect(self, container: str) -> ContainerInfo | None:
        """A container by its name, its own id or that of its service; None when there is none.

        What is no service of the swarm is looked for on the manager's own engine.
        """
        found = self._look(container)
        if found is None:
            return self._places.inspect_elsewhere(container)
        age = 0.0 if found.task is not None else self.now() - found.service.created
        info = describe_container(found.service, found.task, found.node, age, self._find_entrypoint(found.service))
        if info.state == "exited" and info.exit_code == _KILLED:
            return replace(info, oom_killed=self._places.was_out_of_memory(info.id))
        return info

    def _find_entrypoint(self, service: Service) -> tuple[str, ...]:
        """The entrypoint of the image that a service keeps, as far as the manager knows it."""
        found = None if service.command else self.images.inspect(service.image_id)
        return () if found is None else found.entrypoint

    def containers(self, *labels: str) -> list[ListedContainer]:
        """All containers of ours, in every state, with all of these labels; three calls to the manager."""
        # In this order each task has its node, and a service that comes meanwhile has no task yet.
        tasks: dict[str, list[Task]] = {}
        for task in self._manager.list_tasks(labels):
            tasks.setdefault(task.service_id, []).append(task)
        nodes = {node.id: node for node in self._manager.list_nodes()}
        services = self._manager.list_services(labels)
        chosen = {item.id: choose_task(tasks.get(item.id, ())) for item in services}
        now = self.now() if None in chosen.values() else 0.0
        found = []
        for service in services:
            latest = chosen[service.id]
            node = None if latest is None else nodes.get(latest.node_id)
            if latest is not None and node is not None:
                self._places.remember(latest, node)
            found.append(list_container(service, latest, node, now - service.created))
        return found

    def create(self, config: ContainerConfig, name: str) -> str:
        """Create the service of a container and return its id. The swarm starts it as soon as a node takes it.

        Raises:
            UnsupportedOptionError: no service can have an option of it.
            EngineError: with status 409 when there is one of this name; 404 when the manager has no such image.
            EngineUnavailableError: no manager answers, or they have no quorum.
        """
        return self._shared.lifecycle.create(config, name, self._constraints)

    def start(self, container: str, *, host_ports: Collection[int] = ()) -> None:
        """Wait until a container that was created runs, or has run.

        Raises:
            PipelineDirError: its node has not got the source of a mount; the error names the node.
            ImageNotFoundError: its node has not got the image.
            PortInUseError: a port of the host was asked for, and is taken.
            PlacementError: no node takes it.
            EngineUnavailableError: its node is away.
        """
        self._shared.lifecycle.start(container, host_ports)

    def temporary(
        self,
        config: ContainerConfig,
        name: str,
        *,
        wait: Callable[[], object] = lambda: None,
        keep: Callable[[], bool] = lambda: False,
    ) -> contextlib.AbstractContextManager[str]:
        """Create and start a container of a unique name, yield the id of its service, and remove it at the end."""
        return run_temporary(self, config, name, wait=wait, keep=keep)

    def wait(self, container: str, deadline: Deadline) -> int | None:
        """Block until the container has ended, as its task says.

        Return its exit code, -1 when it was removed, None when the deadline passed.
        """
        return self._shared.lifecycle.wait(container, deadline)

    def remove(self, container: str) -> None:
        """Remove the service of a container, and wait until the container is gone from its node.

        The container is ended gracefully, and killed after 5 s. If the node is away, nobody waits for it.

        Raises:
            EngineError: the service is none of ours, the manager refused, or the container does not end.
        """
        self._shared.lifecycle.remove(container)

    def to_body(self, config: ContainerConfig) -> dict[str, Any]:
        """Refused: only the broker of one engine creates containers by such a body."""
        _refuse("kernels", f"nobody makes containers of {config.image} for kernels", _NO_KERNELS)

    def create_network(self, name: str, labels: Mapping[str, str]) -> None:  # noqa: ARG002 - the protocol's
        """Refused: a gateway that has a network of its own runs on one engine."""
        _refuse("network", f"no network {name} is made for a gateway", "name an overlay network that is there")

    def networks(self, *labels: str) -> list[ListedNetwork]:  # noqa: ARG002 - the protocol's
        """None: a swarm has no network that was made for a gateway."""
        return []

    def remove_network(self, name: str) -> None:
        """Refused: a swarm has no network that was made for a gateway."""
        _refuse("network", f"network {name} is not removed", "remove it by `docker network rm`")

    def remove_volume(self, name: str) -> None:
        """Refused: a swarm has no volume that was made for a gateway."""
        _refuse("kernels", f"volume {name} is not removed", _NO_KERNELS)

    def rename(self, container: str, name: str) -> None:
        """Refused: a service keeps its name, so that it can be the lock."""
        _refuse("pool", f"container {container[:12]} cannot be renamed to {name}", "start sessions without a pool")

    def pause(self, container: str) -> None:
        """Refused: a swarm has no such call."""
        _refuse("pause", f"container {container[:12]} cannot be paused", "stop the session, and start it again later")

    def unpause(self, container: str) -> None:
        """Refused: a swarm has no such call."""
        _refuse(
            "pause", f"container {container[:12]} cannot be unpaused", "unpause it on its node, by `docker unpause`"
        )

    def events(self, *labels: str, since: float | None = None) -> Events:  # noqa: ARG002 - the protocol's
        """Refused: a manager tells nothing of tasks."""
        _refuse("events", "what happens to sessions is not told", "ask for the list from time to time")

    def logs(self, container: str, tail: int | None = None) -> str:
        """What the container wrote to stdout and stderr; ``tail``: that many last lines."""
        return "".join(self.read_log(container, tail))

    def log_tail(self, container: str, lines: int = 40) -> str:
        """The last lines of the log for a message; see the protocol."""
        try:
            engine, own = self._places.reach(container)
        except EngineError as error:
            return f"{NO_LOG}{error.message})"
        return engine.log_tail(own, lines)

    def read_log(self, container: str, tail: int | None = None, *, follow: bool = False) -> Iterator[str]:
        """As ``logs``, in pieces, from the node's engine; ``follow``: until the container ends.

        Raises:
            EngineError: at the call, not at the first piece.
        """
        engine, own = self._places.reach(container)
        return engine.read_log(own, tail, follow=follow)

    def stats(self, container: str) -> Stats:
        """What a container uses, as the node's engine tells; see the protocol."""
        engine, own = self._places.reach(container)
        return engine.stats(own)

    def exec(
        self,
        container: str,
        argv: Sequence[str],
        deadline: Deadline,
        *,
        check: bool = True,
        workdir: str = "/",
        limit: int = OUTPUT_LIMIT,
        secret: bool = False,
        stays: bool = False,
        environment: HiddenTexts | None = None,
    ) -> ExecResult:
        """Run a command through the engine of the container's node; see the protocol.

        Raises:
            ExecError: as the protocol says; also where there is no such container.
            EngineUnavailableError: the node is not ready, so that nobody asks its engine, or that does not answer.
            EngineError: the engine forbids execs, or its address is not known.
        """
        try:
            with within(deadline):
                engine, own = self._places.reach(container)
        except EngineError as error:
            if error.status not in _NOT_THERE:
                raise
            msg = f"command `{argv[0]}` in container {container[:12]} did not run: {error.message}"
            raise ExecError(msg, hint=error.hint, started=False) from error
        return engine.exec(
            own,
            argv,
            deadline,
            check=check,
            workdir=workdir,
            limit=limit,
            secret=secret,
            stays=stays,
            environment=environment,
        )

    def attach(
        self, container: str, argv: Sequence[str], *, user: str | None = None
    ) -> contextlib.AbstractContextManager[Exchange]:
        """Run a command whose input and output stay open, through the engine of the container's node."""
        engine, own = self._places.reach(container)
        return engine.attach(own, argv, user=user)


def _refuse(option: str, seen: str, hint: str) -> NoReturn:
    msg = f"{seen}: a swarm cannot do that"
    raise UnsupportedOptionError(msg, hint=hint, option=option)
