"""``DockerEngine``: containers and execs over the Docker SDK."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from email.utils import parsedate_to_datetime

import requests
from docker import DockerClient
from docker.errors import APIError

from jupyter_launcher.engine import connection, podman, streams
from jupyter_launcher.engine.errors import is_gone, is_port_conflict, translate_errors
from jupyter_launcher.engine.images import ImageStore
from jupyter_launcher.engine.interrupt import run_uninterrupted
from jupyter_launcher.engine.protocol import OUTPUT_LIMIT
from jupyter_launcher.engine.traits import EngineTraits
from jupyter_launcher.engine.types import (
    ContainerConfig,
    ContainerInfo,
    ExecResult,
    ListedContainer,
    parse_exit_code,
    parse_id,
    parse_list,
    parse_status,
)
from jupyter_launcher.errors import EngineError, EngineUnavailableError, ExecError, PortInUseError
from jupyter_launcher.waiting import Deadline, NotYetError, attempts

__all__ = ["DockerEngine"]

_REMOVAL_SECONDS = 5.0
_LAST_MOMENT = 1.0
_LOG_HINT = "`docker info -f '{{.LoggingDriver}}'` shows the engine's logging driver; not every one can be read"


class DockerEngine:
    """One connection to one engine: what :class:`~jupyter_launcher.engine.protocol.Engine` says."""

    def __init__(self, made: connection.Connection) -> None:
        self.client = made.client
        self.api = made.client.api
        self.endpoint = made.endpoint
        self.images = ImageStore(self.api, self.endpoint)
        self._connection = made

    @classmethod
    def connect(
        cls,
        *,
        docker_host: str | None = None,
        context: str | None = None,
        client: DockerClient | None = None,
        timeout: float = 60.0,
    ) -> DockerEngine:
        """Reach an engine: a client handed in, else a host, else a context, else the environment.

        Raises:
            OptionError: more than one was given, or there is no such context.
            EngineUnavailableError: no engine answers, or this user may not talk to it.
        """
        return cls(connection.connect(docker_host=docker_host, context=context, client=client, timeout=timeout))

    def close(self) -> None:
        """Close the connections, unless the client was handed in."""
        self._connection.close()

    def _translate(self, action: str) -> contextlib.AbstractContextManager[None]:
        return translate_errors(action, self.endpoint)

    @functools.cached_property
    def traits(self) -> EngineTraits:
        """What the engine is and can do, asked once. What it refuses to answer is unknown.

        Raises:
            EngineUnavailableError: the engine does not answer the question for its version.
        """
        info = None
        try:
            with self._translate("ask for its version"):
                version = self.api.version()
        except EngineUnavailableError:
            raise
        except EngineError:
            version = None
        with contextlib.suppress(EngineError), self._translate("ask for its information"):
            info = self.api.info()
        return EngineTraits.from_answers(version, info, self.api.api_version)

    def now(self) -> float:
        """The engine's clock, in seconds since the epoch: the Date of its answer to a ping."""
        with self._translate("ask for the time"):
            response = self.api.get(f"{self.api.base_url}/_ping")
            streams.raise_for_status(response)
            return parsedate_to_datetime(response.headers.get("Date", "")).timestamp()

    def inspect(self, container: str) -> ContainerInfo | None:
        """A container by name or id; None when there is none."""
        try:
            with self._translate(f"inspect container {container}"):
                raw = self.api.inspect_container(container)
        except EngineError as error:
            if is_gone(error):
                return None
            raise
        info = ContainerInfo.from_inspect(podman.inspect_to_docker(raw))
        if container != info.name and not info.id.startswith(container):
            msg = f"the engine was asked for container {container}, and answered with {info.name} ({info.id[:12]})"
            raise EngineError(msg, hint="see what stands between this process and the engine")
        return info

    def containers(self, *labels: str) -> list[ListedContainer]:
        """All containers, in every state, with these labels (``name=value`` or ``name``); one call."""
        with self._translate("list containers"):
            listed = self.api.containers(all=True, filters={"label": list(labels)})
        found = [ListedContainer.from_listing(podman.listing_to_docker(raw)) for raw in parse_list(listed)]
        wanted = [label.partition("=") for label in labels]
        return [
            item
            for item in found
            if all(name in item.labels and (not equals or item.labels[name] == value) for name, equals, value in wanted)
        ]

    def create(self, config: ContainerConfig, name: str) -> str:
        """Create a container and return its id.

        An interrupt is delayed until the call returns. The engine completes a create even when its client
        has gone, so a clean-up that ran earlier would miss the container.

        Raises:
            EngineError: with status 409 when there is one of this name.
        """
        body = podman.to_podman(config) if self.traits.is_podman else config.to_docker()
        try:
            with self._translate(f"create container {name}"):
                return parse_id(run_uninterrupted(lambda: self.api.create_container_from_config(body, name)))
        except EngineError as error:
            # Where two create one at the same time, Podman's check of the name passes both.
            if error.status == 500 and "name is already in use" in error.message:
                raise EngineError(error.message, hint=error.hint, status=409) from error
            raise

    def start(self, container: str, *, host_port: int | None = None) -> None:
        """Start a created container.

        Raises:
            PortInUseError: ``host_port`` was asked for, and is taken.
        """
        try:
            with self._translate(f"start container {container[:12]}"):
                self.api.start(container)
        except EngineError as error:
            if host_port is not None and is_port_conflict(error):
                msg = f"host port {host_port} is in use"
                hint = (
                    "stop what holds it (`docker ps`, `ss -ltnp`), or let the engine choose a free port by leaving "
                    "host_port out"
                )
                raise PortInUseError(msg, hint=hint, status=500, host_port=host_port) from error
            raise

    @contextlib.contextmanager
    def temporary(self, config: ContainerConfig, name: str) -> Iterator[str]:
        """Create and start a container of a unique name, yield its id, and remove it at the end."""
        target = name  # until its id is known: an interrupt may come within the create
        try:
            target = self.create(config, name)
            self.start(target)
            yield target
        finally:
            self.remove(target)

    def wait(self, container: str, deadline: Deadline) -> int | None:
        """Block until the container does not run.

        Return its exit code, -1 when it was removed, None when the deadline passed.
        """
        if deadline.expired():
            return None
        try:
            with self._translate(f"wait for container {container[:12]}"):
                # The SDK takes a float too, as requests does; its types say int.
                return parse_status(self.api.wait(container, timeout=deadline.remaining()))  # type: ignore[arg-type]
        except EngineUnavailableError:
            if deadline.expired():
                return None
            raise
        except EngineError as error:
            if is_gone(error):
                return -1
            raise

    def remove(self, container: str) -> None:
        """Kill and remove the container and its anonymous volumes; see the protocol."""
        try:
            with self._translate(f"remove container {container[:12]}"):
                if self.traits.is_podman:  # its removal would send SIGTERM first, and wait for the stop time-out
                    self._kill(container)
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

    def _kill(self, container: str) -> None:
        try:
            self.api.kill(container)
        except APIError as error:
            if error.status_code not in (404, 409, 500):  # it does not run; anything else the removal reports
                raise

    def logs(self, container: str, tail: int | None = None) -> str:
        """What the container wrote to stdout and stderr; ``tail``: that many last lines."""
        return "".join(self._read_log(container, tail, follow=False))

    def follow_logs(self, container: str, tail: int | None = None) -> Iterator[str]:
        """As ``logs``, and what the container writes from then on, until it ends; in pieces as they come."""
        return self._read_log(container, tail, follow=True)

    def log_tail(self, container: str, lines: int = 40) -> str:
        """The last lines of the log for a message: never raises, and says why there is none."""
        try:
            return self.logs(container, lines)
        except EngineError as error:
            return f"(no log: {error.message})"

    def _read_log(self, container: str, tail: int | None, *, follow: bool) -> Iterator[str]:
        # Not the SDK's call, which would give up after a minute without a line.
        try:
            with self._translate(f"read the log of container {container[:12]}"):
                response = self.api.get(
                    self._url(f"containers/{container}/logs"),
                    params={"stdout": 1, "stderr": 1, "follow": int(follow), "tail": "all" if tail is None else tail},
                    stream=True,
                    timeout=None if follow else self.api.timeout,
                )
                with contextlib.closing(response):
                    streams.raise_for_status(response)
                    yield from streams.decode_log(streams.read_frames(response))
        except EngineError as error:
            if error.status == 501:
                raise EngineError(error.message, hint=_LOG_HINT, status=501) from error
            raise

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
    ) -> ExecResult:
        """Run a command and read what it prints until it ends, or prints ``END``; see the protocol."""
        output = streams.Output()
        name = f"command `{argv[0]}` in container {container[:12]}"

        def failure(seen: str, *, started: bool | None, exit_code: int | None = None, hint: str = "") -> ExecError:
            hint = hint or f"see `docker ps -a --filter id={container[:12]}` and `docker logs {container[:12]}`"
            printed = output.text(secret=secret)
            return ExecError(f"{name} {seen}", hint=hint, started=started, exit_code=exit_code, output=printed)

        try:
            with self._translate(f"run a command in container {container[:12]}"):
                exec_id = parse_id(self.api.exec_create(container, streams.mark(argv), workdir=workdir))
                streams.read_output(self._start_exec(exec_id, deadline), output, deadline, limit)
                code = None if output.ended or output.truncated else self._exit_code(exec_id, deadline)
        except EngineUnavailableError as error:
            if not deadline.expired():
                raise
            late = f"did not answer within {deadline.seconds:g} s"
            raise failure(late, started=True if output.started else None) from error
        except EngineError as error:
            if error.status in (401, 403):  # nothing about this container: no exec at all is allowed
                raise
            seen = "ran, but its end was not seen" if output.started else "did not run"
            refused = f"{seen}: {error.message}"
            raise failure(refused, started=output.started, hint=error.hint) from error
        fault = output.fault(code, limit, secret=secret)
        if fault is None and check and code:
            fault = (f"failed with exit code {code}: {output.text(secret=secret)}", True)
        if fault is not None:
            seen, started = fault
            raise failure(seen, started=started, exit_code=code)
        stdout, stderr = (stream.decode(errors="replace") for stream in (output.stdout, output.stderr))
        return ExecResult(exit_code=code, stdout=stdout, stderr=stderr)

    def _exit_code(self, exec_id: str, deadline: Deadline) -> int | None:
        """The exit code of a command whose output has ended, which may be a moment before the command has.

        None: the command closed its output and continues.
        """
        for attempt in attempts(Deadline(min(_LAST_MOMENT, deadline.remaining())), NotYetError):
            with attempt:
                code = parse_exit_code(self.api.exec_inspect(exec_id))
                if code is None:
                    raise NotYetError
                return code
        return None

    def _start_exec(self, exec_id: str, deadline: Deadline) -> requests.Response:
        # Not the SDK's exec_start: it asks for an upgrade of the connection, and then reads past the bytes
        # that came together with the response's head (docker-py#3332). Without the upgrade the engine sends
        # the same stream as a plain body, which ends when the command's output does. It also lets the read
        # have a time-out.
        return self.api.post(
            self._url(f"exec/{exec_id}/start"),
            json={"Detach": False, "Tty": False},
            stream=True,
            timeout=max(deadline.remaining(), 0.001),
        )

    def _url(self, path: str) -> str:
        return f"{self.api.base_url}/v{self.api.api_version}/{path}"
