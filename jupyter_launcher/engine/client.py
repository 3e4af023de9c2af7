"""``DockerEngine``: containers and execs over the Docker SDK."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar

from docker import APIClient, DockerClient

from jupyter_launcher.engine import connection, logs, podman, streams
from jupyter_launcher.engine.attach import exchange
from jupyter_launcher.engine.attach.temporary import run_temporary
from jupyter_launcher.engine.errors import FORBIDDEN, describe_port, is_gone, is_port_conflict, translate_errors
from jupyter_launcher.engine.images import ImageStore
from jupyter_launcher.engine.network import own
from jupyter_launcher.engine.protocol import OUTPUT_LIMIT, Events, Exchange
from jupyter_launcher.engine.shapes import parse_id, parse_list, parse_status
from jupyter_launcher.engine.traits import EngineTraits, ListedNetwork, NetworkInfo
from jupyter_launcher.engine.types import ContainerConfig, ContainerInfo, ExecResult, ListedContainer
from jupyter_launcher.errors import EngineError, EngineUnavailableError
from jupyter_launcher.forks import PerProcess
from jupyter_launcher.models import Stats
from jupyter_launcher.models.options import HiddenTexts
from jupyter_launcher.waiting import Deadline, NotYetError, attempts

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from jupyter_launcher.engine.connection import ConnectOptions

__all__ = ["DockerEngine"]

T = TypeVar("T")
_REMOVAL_SECONDS = 5.0
_ASK_AGAIN_SECONDS = 10.0
_PORT_TRIES = 4


class DockerEngine:
    """One connection to one engine: what :class:`~jupyter_launcher.engine.protocol.Engine` says."""

    def __init__(self, made: connection.Connection) -> None:
        self.endpoint = made.endpoint
        self.proxies = made.proxies
        self.images = ImageStore(lambda: self.api, self.endpoint, self.proxies)
        self._connection = made
        self._traits = PerProcess(self._ask_traits)
        self._half_told: tuple[EngineTraits, Deadline] | None = None

    @property
    def client(self) -> DockerClient:
        """The SDK's client of this process.

        Raises:
            EngineUnavailableError: this process is a fork, and the client was handed in; or no engine answers.
        """
        return self._connection.client

    @property
    def api(self) -> APIClient:
        """The SDK's API of this process; see :attr:`client`."""
        return self.client.api

    @classmethod
    def connect(cls, **given: Unpack[ConnectOptions]) -> DockerEngine:
        """Reach an engine; the options are those of :func:`~jupyter_launcher.engine.connection.connect`.

        Raises:
            OptionError: more than one was given, there is no such context, or the address or its TLS cannot be used.
            EngineUnavailableError: no engine answers, or this user may not talk to it.
            EngineError: what answers refuses to say which version it speaks.
        """
        return cls(connection.connect(**given))

    def close(self) -> None:
        """Close the connections, unless the client was handed in."""
        self._connection.close()

    def _translate(self, action: str) -> contextlib.AbstractContextManager[None]:
        return translate_errors(action, self.endpoint)

    @property
    def traits(self) -> EngineTraits:
        """What the engine is and can do, asked once. What it refuses to answer is unknown.

        Where a question failed otherwise, both are asked again after some seconds.

        Raises:
            EngineUnavailableError: the engine does not answer the question for its version.
        """
        half_told = self._half_told
        if half_told is not None and half_told[1].expired():
            self._traits.drop(half_told[0])
        return self._traits.get()

    def _ask_traits(self) -> EngineTraits:
        version = info = None
        is_told = True
        try:
            with self._translate("ask for its version"):
                version = self.api.version()
        except EngineError as error:
            if isinstance(error, EngineUnavailableError):
                raise
            is_told = error.status in FORBIDDEN
        try:
            with self._translate("ask for its information"):
                info = self.api.info()
        except EngineError as error:
            is_told = is_told and error.status in FORBIDDEN
        traits = EngineTraits.from_answers(version, info, self.api.api_version)
        if traits.is_podman:
            with contextlib.suppress(EngineError), self._translate("ask for Podman's own information"):
                response = self.api.get(self._url("libpod/info"), timeout=self.api.timeout)
                streams.raise_for_status(response)
                traits = traits.with_podman(response.json())
        self._half_told = None if is_told else (traits, Deadline(_ASK_AGAIN_SECONDS))
        return traits

    def now(self) -> float:
        """The engine's clock, in seconds since the epoch: the Date of its answer to a ping."""
        with self._translate("ask for the time"):
            response = self.api.get(f"{self.api.base_url}/_ping")
            streams.raise_for_status(response)
            return parsedate_to_datetime(response.headers.get("Date", "")).timestamp()

    def inspect(self, container: str) -> ContainerInfo | None:
        """A container by name or id; None when there is none."""
        info = self._inspect(
            f"container {container}",
            lambda: self.api.inspect_container(container),
            lambda raw: ContainerInfo.from_inspect(podman.inspect_to_docker(raw)),
        )
        if info is not None and container != info.name and not info.id.startswith(container):
            msg = f"the engine was asked for container {container}, and answered with {info.name} ({info.id[:12]})"
            raise EngineError(msg, hint="see what stands between this process and the engine")
        return info

    def network(self, name: str) -> NetworkInfo | None:
        """A network by name; None when there is none."""
        return self._inspect(f"network {name}", lambda: self.api.inspect_network(name), NetworkInfo.from_inspect)

    def _inspect(self, what: str, ask: Callable[[], Any], parse: Callable[[Any], T]) -> T | None:
        try:
            with self._translate(f"inspect {what}"):
                raw = ask()
        except EngineError as error:
            if is_gone(error):
                return None
            raise
        return parse(raw)

    def containers(self, *labels: str) -> list[ListedContainer]:
        """All containers, in every state, with all of these labels (``name=value`` or ``name``); one call."""
        with self._translate("list containers"):
            listed = self.api.containers(all=True, filters={"label": list(labels)} if labels else None)
        found = [ListedContainer.from_listing(podman.listing_to_docker(raw)) for raw in parse_list(listed)]
        wanted = [label.partition("=") for label in labels]
        return [
            item
            for item in found
            if all(name in item.labels and (not equals or item.labels[name] == value) for name, equals, value in wanted)
        ]

    def create(self, config: ContainerConfig, name: str) -> str:
        """Create a container and return its id.

        Raises:
            EngineError: with status 409 when there is one of this name.
        """
        body = self.to_body(config)
        try:
            with self._translate(f"create container {name}"):
                return parse_id(self.api.create_container_from_config(body, name))
        except EngineError as error:
            raise podman.read_conflict(error) or error from error.__cause__

    def to_body(self, config: ContainerConfig) -> dict[str, Any]:
        """The body with which :meth:`create` asks the engine for a container, in its dialect."""
        traits = self.traits
        limits_pids = traits.limits_pids is not False
        if traits.is_podman:
            return podman.to_podman(config, limits_pids=limits_pids)
        return config.to_docker(traits.log_driver, limits_pids=limits_pids)

    def create_network(self, name: str, labels: Mapping[str, str]) -> None:
        """Create a bridge network; see the protocol."""
        own.create_network(self.api, self.endpoint, name, labels)

    def networks(self, *labels: str) -> list[ListedNetwork]:
        """The networks with all of these labels (``name=value`` or ``name``); one call."""
        return own.list_networks(self.api, self.endpoint, labels)

    def remove_network(self, name: str) -> None:
        """Remove a network by name or id; if it is gone, do nothing."""
        own.remove_network(self.api, self.endpoint, name)

    def remove_volume(self, name: str) -> None:
        """Remove a volume; if it is gone, do nothing."""
        own.remove_volume(self.api, self.endpoint, name)

    def rename(self, container: str, name: str) -> None:
        """Give a container another name; see the protocol."""
        try:
            with self._translate(f"rename container {container[:12]} to {name}"):
                self.api.rename(container, name)
        except EngineError as error:
            raise podman.read_conflict(error) or error from error.__cause__

    def start(self, container: str, *, host_ports: Collection[int] = ()) -> None:
        """Start a created container. Where the port that the engine chose is taken after all, it chooses again.

        Raises:
            PortInUseError: a port of the host was asked for, and is taken.
        """
        for left in reversed(range(_PORT_TRIES)):
            try:
                with self._translate(f"start container {container[:12]}"):
                    self.api.start(container)
                    return
            except EngineError as error:
                if (taken := describe_port(error, host_ports)) is not None:
                    raise taken from error
                if not left or not is_port_conflict(error):
                    raise

    def temporary(
        self,
        config: ContainerConfig,
        name: str,
        *,
        wait: Callable[[], object] = lambda: None,
        keep: Callable[[], bool] = lambda: False,
    ) -> contextlib.AbstractContextManager[str]:
        """Create and start a container of a unique name, yield its id, and remove it at the end; see the protocol."""
        return run_temporary(self, config, name, wait=wait, keep=keep)

    def wait(self, container: str, deadline: Deadline) -> int | None:
        """Block until the container does not run.

        Return its exit code, -1 when it was removed, None when the deadline passed.
        """
        if deadline.expired():
            return None
        try:
            with self._translate(f"wait for container {container[:12]}"):
                answer = streams.wait_for_json(self.api, self._url(f"containers/{container}/wait"), deadline)
                return parse_status(answer)
        except EngineUnavailableError:
            if deadline.expired():
                return None
            raise
        except EngineError as error:
            if is_gone(error):
                return -1
            raise

    def pause(self, container: str) -> None:
        """Stop the processes of a running container where they are; nothing happens where they are."""
        try:
            with self._translate(f"pause container {container[:12]}"):
                self.api.pause(container)
        except EngineError:
            if (info := self.inspect(container)) is None or info.state != "paused":
                raise

    def unpause(self, container: str) -> None:
        """Let a paused container go on; nothing happens where it is not paused."""
        try:
            with self._translate(f"unpause container {container[:12]}"):
                self.api.unpause(container)
        except EngineError:
            if (info := self.inspect(container)) is not None and info.state == "paused":
                raise

    def remove(self, container: str) -> None:
        """Kill and remove the container and its anonymous volumes; see the protocol."""
        try:
            with self._translate(f"remove container {container[:12]}"):
                if self.traits.is_podman:
                    podman.kill(self.api, container)
                self.api.remove_container(container, v=True, force=True)
        except EngineError as error:
            if is_gone(error):
                return
            if error.status != 409 or not self._is_removed(container, Deadline(_REMOVAL_SECONDS)):
                raise

    def _is_removed(self, container: str, deadline: Deadline) -> bool:
        """Whether a removal that is in progress ends before the deadline."""
        for attempt in attempts(deadline, NotYetError, pause=0.1):
            with attempt:
                if self.inspect(container) is not None:
                    raise NotYetError
                return True
        return False

    def logs(self, container: str, tail: int | None = None) -> str:
        """What the container wrote to stdout and stderr; ``tail``: that many last lines."""
        return "".join(self.read_log(container, tail))

    def log_tail(self, container: str, lines: int = 40) -> str:
        """The last lines of the log for a message; see the protocol."""
        return logs.read_tail(self.api, self.endpoint, container, lines)

    def read_log(self, container: str, tail: int | None = None, *, follow: bool = False) -> Iterator[str]:
        """As ``logs``, in pieces; ``follow``: and what the container writes from then on, until it ends.

        Raises:
            EngineError: at the call, not at the first piece.
        """
        return logs.read_log(self.api, self.endpoint, container, tail, follow=follow)

    def stats(self, container: str) -> Stats:
        """What a container uses; see the protocol."""
        return logs.read_stats(self.api, self.endpoint, container)

    def events(self, *labels: str, since: float | None = None) -> Events:
        """What happens to the containers with these labels, as it happens; see the protocol."""
        return logs.read_events(self.api, self.endpoint, labels, since)

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
        """Run a command and read what it prints until it ends, or prints ``END``; see the protocol."""
        return streams.run_exec(
            self.api,
            self.endpoint,
            streams.Command(
                container=container,
                argv=tuple(argv),
                workdir=workdir,
                limit=limit,
                secret=secret,
                stays=stays,
                environment=environment or HiddenTexts(),
            ),
            deadline,
            check=check,
        )

    def attach(
        self, container: str, argv: Sequence[str], *, user: str | None = None
    ) -> contextlib.AbstractContextManager[Exchange]:
        """Run a command whose input and output stay open; see the protocol."""
        return exchange.attach(self.api, self.endpoint, container, argv, user)

    def _url(self, path: str) -> str:
        return f"{self.api.base_url}/v{self.api.api_version}/{path}"
