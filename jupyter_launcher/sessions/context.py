"""What every act on sessions needs: ``Context``; and the servers that this process has asked: ``KnownServers``."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from jupyter_launcher.engine.client import DockerEngine
from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.engine.types import ContainerInfo, ListedContainer
from jupyter_launcher.forks import PerProcess
from jupyter_launcher.host.address import EngineAddress
from jupyter_launcher.host.rules import DirectoryRules
from jupyter_launcher.models import BuildOptions, Mount, Phase, ServerInfo, Swarm, Timeouts
from jupyter_launcher.sessions.phases import PhaseReporter
from jupyter_launcher.spec.checks import refuse_option
from jupyter_launcher.spec.labels import SessionLabels
from jupyter_launcher.waiting import Deadline

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from jupyter_launcher.engine.connection import ConnectOptions
    from jupyter_launcher.engine.swarm.engine import SwarmEngine
    from jupyter_launcher.swarm.rules import SwarmRules

__all__ = ["Context", "KnownServers", "connect_engine"]

_MOST_SERVERS = 1024


class _Memory:
    """What one process knows: the id of a container → when it was started, and its server."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.servers: OrderedDict[str, tuple[str, ServerInfo]] = OrderedDict()


class KnownServers:
    """The servers that have answered to their tokens here, so that a token is read by exec only once.

    A container that was started anew has another server, and a fork knows none. The last 1024 are kept, in memory
    alone: they can be neither printed nor pickled.
    """

    def __init__(self) -> None:
        self._memory = PerProcess(_Memory)

    def find(self, info: ContainerInfo) -> ServerInfo | None:
        """The server of a container that runs; None where nobody knows it."""
        memory = self._memory.get()
        with memory.lock:
            started, server = memory.servers.get(info.id, ("", None))
            if server is None or started != info.started or not info.running:
                return None
            memory.servers.move_to_end(info.id)
            return server

    def remember(self, info: ContainerInfo, server: ServerInfo) -> None:
        """Keep the server of a container, unless the engine does not tell when that was started."""
        memory = self._memory.get()
        with memory.lock:
            if info.started:
                memory.servers[info.id] = info.started, server
                memory.servers.move_to_end(info.id)
            if len(memory.servers) > _MOST_SERVERS:
                memory.servers.popitem(last=False)

    def forget(self, container: str) -> None:
        """Know the server of a container no more."""
        memory = self._memory.get()
        with memory.lock:
            memory.servers.pop(container, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One launcher's settings, as the acts on its sessions need them.

    Attributes:
        engine: where the sessions are.
        address: how this process reaches the engine's containers.
        namespace, owner: of the launcher.
        build: what a build of an image needs here.
        timeouts: of the launcher, or of one start.
        reporter: of events.
        rules: which directories may be mounted.
        servers: those that have answered here.
        swarm: what is different where the sessions are in a swarm; None: they are on one engine.
        engine_socket: on the engine's host, for brokers; None: the one through which this process reaches the engine.
    """

    engine: Engine
    address: EngineAddress
    namespace: str
    owner: str
    build: BuildOptions
    timeouts: Timeouts
    reporter: PhaseReporter
    rules: DirectoryRules
    servers: KnownServers = field(default_factory=KnownServers)
    swarm: SwarmRules | None = None
    engine_socket: str | None = None

    def for_start(self, timeouts: Timeouts, constraints: Collection[str]) -> Context:
        """The same for one start, with its time-outs, and on the nodes that these constraints allow.

        Raises:
            OptionError: there are constraints, and no swarm.
        """
        changed = replace(self, timeouts=timeouts)
        if not constraints:
            return changed
        if self.swarm is None:
            seen = "are for a swarm, and this launcher has none"
            refuse_option("constraints", seen, "leave them out, or use Launcher(swarm=Swarm(...))")
        engine = self.swarm.engine.constrained(constraints)
        return replace(changed, engine=engine, swarm=replace(self.swarm, engine=engine))

    def check_given(self, options: Mapping[str, Any]) -> None:
        """Refuse what a swarm cannot give a session, by the options of a start as the caller gave them.

        Raises:
            OptionError: it names one of them.
        """
        if self.swarm is not None:
            self.swarm.check_options(options)

    def check_mounts(self, mounts: Iterable[Mount]) -> None:
        """Refuse mounts that a swarm cannot make.

        Raises:
            OptionError: it names the target of one.
        """
        if self.swarm is not None:
            self.swarm.check_mounts(mounts)

    def removal(self, name: str, container: str = "") -> str:
        """The command that removes a container of ours, for a hint; ``container``: its id, if that is to be shown."""
        return f"`docker rm -f {container or name}`" if self.swarm is None else self.swarm.removal(name)

    def refuse_in_swarm(self, call: str) -> None:
        """Refuse a method of ``Launcher`` that a swarm cannot do.

        Raises:
            OptionError: the sessions are in a swarm.
        """
        if self.swarm is not None:
            self.swarm.refuse_call(call)

    def ensure_image(self, image: str, pull: str, reporter: PhaseReporter) -> None:
        """Have an image on the engine: ours are built, others pulled."""
        with reporter.phase(Phase.IMAGE) as progress:
            self.engine.images.ensure(image, pull, self.build, Deadline(self.timeouts.image), progress)

    def server_url(self, info: ContainerInfo | ListedContainer, labels: SessionLabels) -> str:
        """A session's server as this process reaches it."""
        return self.address.server_url(info, labels.host_ip, labels.base_url)


def connect_engine(
    swarm: Swarm | None, **given: Unpack[ConnectOptions]
) -> tuple[DockerEngine | SwarmEngine, EngineAddress, SwarmRules | None]:
    """Reach one engine, or a swarm through one of its managers; with how its containers are reached, and its rules.

    Raises:
        OptionError: the swarm, or how the engine is reached, cannot be as it was given.
        EngineError: as :meth:`DockerEngine.connect` says.
    """
    if swarm is None:
        engine = DockerEngine.connect(**given)
        return engine, EngineAddress(engine), None
    # What only a swarm needs is imported only for one.
    from jupyter_launcher.engine.swarm.engine import SwarmEngine
    from jupyter_launcher.swarm.address import SwarmAddress
    from jupyter_launcher.swarm.options import check_swarm
    from jupyter_launcher.swarm.rules import SwarmRules

    swarm = check_swarm(swarm)
    nodes = SwarmEngine.connect(swarm, **given)
    return nodes, SwarmAddress(nodes, swarm), SwarmRules(swarm=swarm, engine=nodes)
