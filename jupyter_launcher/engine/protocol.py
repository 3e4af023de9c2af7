"""The engine as the rest of the library uses it: the seam at which tests put their own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Protocol

from jupyter_launcher.engine.shapes import ContainerEvent
from jupyter_launcher.engine.traits import EngineTraits, ListedNetwork, NetworkInfo
from jupyter_launcher.engine.types import (
    ContainerConfig,
    ContainerInfo,
    ExecResult,
    ImageInfo,
    ListedContainer,
)
from jupyter_launcher.models import BuildOptions, Stats
from jupyter_launcher.models.options import HiddenTexts
from jupyter_launcher.waiting import Deadline

__all__ = ["NO_LOG", "OUTPUT_LIMIT", "Engine", "Events", "Exchange", "Images", "NodesEngine", "Progress"]

NO_LOG = "(no log: "
"""How a message's log begins where the engine gave none."""

OUTPUT_LIMIT = 4 * 2**20
"""Bytes that an exec may print, unless the caller allows more or less."""


class Progress(Protocol):
    """Reports how a build or a pull proceeds."""

    def __call__(self, detail: str, done: int = 0, total: int = 0) -> None:
        """Report ``detail`` for people, and ``done`` of ``total`` where that is known."""


class Images(Protocol):
    """The images of one engine."""

    def find(self, image: str) -> str | None:
        """The id of an image; None when the engine has none of this name."""

    def inspect(self, image: str) -> ImageInfo | None:
        """An image by its name; None when the engine has none of this name."""

    def ensure(self, image: str, pull: str, options: BuildOptions, deadline: Deadline, on_progress: Progress) -> None:
        """See that the engine has an image: ours are built, others pulled.

        Raises:
            OptionError: ``pull`` is none of ``missing``, ``always``, ``never``.
            ImageNotFoundError, ImageBuildError: the image is not there, and could not be had.
        """

    def build(
        self,
        name: str,
        tag: str,
        options: BuildOptions,
        deadline: Deadline,
        on_progress: Progress,
        *,
        force: bool = False,
    ) -> None:
        """Build one of our images; nothing is done when its inputs did not change.

        Raises:
            OptionError: no such image of ours, or a certificate that cannot be read.
            ImageBuildError: with the end of what the build printed.
        """


class Events(Protocol):
    """What happens to containers, as it happens: an iterator that another thread may close."""

    def __next__(self) -> ContainerEvent:
        """Wait for the next event.

        Raises:
            StopIteration: it was closed.
            EngineUnavailableError: the engine has ended the stream.
        """

    def close(self) -> None:
        """End it, and a wait for the next event."""


class Exchange(Protocol):
    """A command in a container that is written to while it prints."""

    def send(self, data: bytes) -> None:
        """Let the next reads send it to the command's stdin, before they return."""

    def read(self, deadline: Deadline, *, wake: int | None = None) -> tuple[int, bytes] | None:
        """A piece of what the command prints: 1 for stdout or 2 for stderr, and bytes; None: both have ended.

        Nothing more is read from the connection before the next call, so who is slow makes the command wait.

        Args:
            deadline: for a piece.
            wake: a descriptor; once that can be read, 0 and no bytes are returned.

        Raises:
            TimeoutError: nothing came before the deadline; what was to be sent may not be sent yet.
            EngineUnavailableError: the connection is lost.
        """


class Engine(Protocol):
    """One engine. Every method raises :class:`EngineError` or one of its kinds, never an error of the SDK."""

    @property
    def endpoint(self) -> str:
        """The engine's address, such as ``unix:///var/run/docker.sock``."""

    @property
    def images(self) -> Images:
        """Its images."""

    @property
    def proxies(self) -> HiddenTexts:
        """Variables that containers and builds get, as Docker's configuration file has them for this engine."""

    @property
    def traits(self) -> EngineTraits:
        """What the engine is and can do, asked once."""

    def now(self) -> float:
        """The engine's clock, in seconds since the epoch; its containers' times are by that clock."""

    def inspect(self, container: str) -> ContainerInfo | None:
        """A container by name or id; None when there is none."""

    def containers(self, *labels: str) -> list[ListedContainer]:
        """All containers, in every state, with these labels (``name=value`` or ``name``); one call."""

    def network(self, name: str) -> NetworkInfo | None:
        """A network by name; None when there is none."""

    def create(self, config: ContainerConfig, name: str) -> str:
        """Create a container and return its id.

        Raises:
            EngineError: with status 409 when there is one of this name.
        """

    def to_body(self, config: ContainerConfig) -> dict[str, Any]:
        """The body with which :meth:`create` asks the engine for a container."""

    def create_network(self, name: str, labels: Mapping[str, str]) -> None:
        """Create a bridge network.

        Raises:
            UnsupportedOptionError: the engine has no subnet left for one.
            EngineError: it refused; with status 409 where there is one of this name.
        """

    def networks(self, *labels: str) -> list[ListedNetwork]:
        """The networks with these labels (``name=value`` or ``name``); one call."""

    def remove_network(self, name: str) -> None:
        """Remove a network by name or id; if it is gone, do nothing.

        Raises:
            EngineError: containers are on it, or the engine refused.
        """

    def remove_volume(self, name: str) -> None:
        """Remove a volume; if it is gone, do nothing.

        Raises:
            EngineError: with status 409 where a container has it, or the engine refused.
        """

    def rename(self, container: str, name: str) -> None:
        """Give a container another name.

        Args:
            container: its id. By name it could be another's by now: an engine looks for the name before it locks.
            name: the new one.

        Raises:
            EngineError: with status 409 when there is another container of this name.
        """

    def start(self, container: str, *, host_ports: Collection[int] = ()) -> None:
        """Start a created container. Where the port that the engine chose is taken after all, it chooses again.

        Args:
            container: a name or an id.
            host_ports: the host's ports that were asked for; the engine chooses the others.

        Raises:
            PortInUseError: a port of the host was asked for, and is taken.
        """

    def temporary(
        self,
        config: ContainerConfig,
        name: str,
        *,
        wait: Callable[[], object] = ...,
        keep: Callable[[], bool] = ...,
    ) -> contextlib.AbstractContextManager[str]:
        """Create and start a container of a unique name, yield its id, and remove it at the end.

        Args:
            config: of the container.
            name: of the container.
            wait: called when it runs, before the block. Where it raises, the container is removed.
            keep: asked at the end; True: the container stays.
        """

    def wait(self, container: str, deadline: Deadline) -> int | None:
        """Block until the container does not run.

        Return its exit code, -1 when it was removed, None when the deadline passed.
        """

    def pause(self, container: str) -> None:
        """Stop the processes of a running container where they are; nothing happens where they are."""

    def unpause(self, container: str) -> None:
        """Let a paused container go on; nothing happens where it is not paused."""

    def remove(self, container: str) -> None:
        """Kill and remove the container and its anonymous volumes.

        If it is gone, do nothing. If its removal is in progress, wait a few seconds for that.

        Raises:
            EngineError: the engine refused, or the removal that is in progress does not end.
        """

    def logs(self, container: str, tail: int | None = None) -> str:
        """What the container wrote to stdout and stderr; ``tail``: that many last lines."""

    def log_tail(self, container: str, lines: int = 40) -> str:
        """The last lines of the log for a message, at most 64 Ki characters of them, and what came within 5 s.

        No engine's error is raised: the text says why there is no log, or why it breaks off.
        """

    def read_log(self, container: str, tail: int | None = None, *, follow: bool = False) -> Iterator[str]:
        """As ``logs``, in pieces; ``follow``: and what the container writes from then on, until it ends.

        Raises:
            EngineError: at the call, not at the first piece.
        """

    def stats(self, container: str) -> Stats:
        """What a container that runs uses: two samples of the engine, so it takes about a second."""

    def events(self, *labels: str, since: float | None = None) -> Events:
        """What happens to the containers with these labels (``name=value`` or ``name``), as it happens.

        Args:
            labels: of the containers.
            since: what has happened since then, seconds since the epoch, comes first; None: only what is to come.
        """

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
        """Run a command and read what it prints until it ends, or prints ``END``.

        If the command prints ``END``, reading stops and the command is left running; the exit code is then
        None. A command that has not ended a second after the deadline is killed inside the container, where the
        image has ``timeout``.

        Args:
            container: a name or an id.
            argv: the command. The image needs ``sh``, through which the command is started.
            deadline: when to give up.
            check: raise when the command ran and its exit code is not 0; False: the caller looks at it.
            workdir: where the command runs. ``/`` is always there.
            limit: the most bytes that the command may print.
            secret: stdout holds a secret, so nothing of it goes into an error.
            stays: the command goes on after the deadline, and is not killed.
            environment: variables of this command alone, besides the container's. They may hold secrets: no inspect,
                no event and no log of the engine shows them.

        Raises:
            ExecError: the command did not run (``started`` is False), its exit code is not 0 (True), its output
                was too long, was lost, or did not end before the deadline.
            EngineError: the engine, or a proxy before it, forbids execs.
            EngineUnavailableError: the engine does not answer.
        """

    def attach(
        self, container: str, argv: Sequence[str], *, user: str | None = None
    ) -> contextlib.AbstractContextManager[Exchange]:
        """Run a command whose stdin stays open as long as the block, and no longer.

        The command has to end when its stdin does: where the block is left before, that is waited for, for 12 s.

        Args:
            container: its id.
            argv: the command.
            user: ``uid[:gid]`` or a name; None: the container's.

        Raises:
            EngineError: the engine, or a proxy before it, refuses; with status 404 or 409 where the container is gone
                or does not run, and 200 where a proxy lets no input pass.
            EngineUnavailableError: the engine does not answer.
        """


class NodesEngine(Engine, Protocol):
    """The engine of a swarm: what every engine does, and what a swarm alone has."""

    def constrained(self, constraints: Collection[str]) -> NodesEngine:
        """The same swarm, with more constraints for what is created."""

    def service(self, name: str) -> str | None:
        """The id of a service of anybody's, by its own name or id; None: there is none."""

    def close(self) -> None:
        """Close the connections."""
