"""The Docker engine: containers and exec. Only ``engine`` modules import ``docker``.

Every method raises :class:`EngineError` or one of its kinds, never an error of the SDK.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from docker import DockerClient
from docker.context import ContextAPI
from docker.errors import APIError, DockerException
from docker.transport import UnixHTTPAdapter
from docker.utils import kwargs_from_env
from urllib3.exceptions import HTTPError as TransportError

from jupyter_launcher.deadline import Deadline
from jupyter_launcher.engine_ssh import SshTunnel
from jupyter_launcher.engine_types import ContainerInfo, EngineVersion, ExecResult, ListedContainer
from jupyter_launcher.errors import EngineError, EngineUnavailableError, ExecError, OptionError, PortInUseError
from jupyter_launcher.interrupt import to_its_end

__all__ = ["END", "DockerClient", "Engine", "translated"]

END = b"\x04"
"""Printed last by a command that stays when it has nothing more to say: 'end of transmission'."""

_STDOUT = 1
_OWN_ID = re.compile(r"/([0-9a-f]{64})/\S* /etc/(?:hostname|hosts|resolv\.conf) ")
_CONNECTIONS = 64
_OLDEST_API = "1.41"


@contextlib.contextmanager
def translated(doing: str, endpoint: str) -> Iterator[None]:
    """Turn whatever the SDK and its transport raise into an :class:`EngineError`."""
    try:
        yield
    except APIError as error:
        msg = f"the engine refused to {doing}: {error.explanation or error}"
        raise EngineError(msg, status=error.status_code) from error
    # requests' errors are OSErrors; the version check of the SDK wraps them in a DockerException.
    except (DockerException, OSError, TransportError) as error:
        raise EngineUnavailableError(_unavailable(error, doing, endpoint), endpoint=endpoint) from error


def _unavailable(error: BaseException, doing: str, endpoint: str) -> str:
    chain: list[BaseException] = []
    queue = [error]
    while queue:
        item = queue.pop()
        if item in chain:
            continue
        chain.append(item)
        queue += [e for e in (item.__cause__, item.__context__, *item.args) if isinstance(e, BaseException)]
    where = f"could not {doing} on the engine at {endpoint}"
    if any(isinstance(item, PermissionError) for item in chain):
        return f"{where}: permission denied; add your user to the group `docker` and log in again, or run as root"
    if any(isinstance(item, (FileNotFoundError, ConnectionRefusedError)) for item in chain):
        return f"{where}: nothing listens there; start Docker, or name another engine by docker_host= or DOCKER_HOST"
    return f"{where}: {error}; see that the engine is alive with `docker info`"


class Engine:
    """One connection to one engine."""

    def __init__(self, client: DockerClient, endpoint: str, *, owned: bool, tunnel: SshTunnel | None = None) -> None:
        self.client = client
        self._owned = owned
        self._tunnel = tunnel
        self.api = client.api
        self.endpoint = endpoint
        self._own_container: ContainerInfo | None = None
        self._is_podman: bool | None = None

    @classmethod
    def connect(
        cls,
        *,
        docker_host: str | None = None,
        context: str | None = None,
        client: DockerClient | None = None,
        timeout: float = 60.0,
    ) -> Engine:
        """Reach an engine: a client handed in, else a host, else a context, else the environment.

        Raises:
            OptionError: more than one was given, or there is no such context.
            EngineUnavailableError: nothing answers, or this user may not.
        """
        if sum(given is not None for given in (docker_host, context, client)) > 1:
            msg = "docker_host, context and client each name an engine; give one of them"
            raise OptionError(msg, option="docker_host")
        if client is not None:
            return cls(client, client.api.base_url, owned=False)
        host: str | None = docker_host or (None if context else os.environ.get("DOCKER_HOST"))
        name = context or os.environ.get("DOCKER_CONTEXT")
        found = None
        with translated("read the context", name or "default"):
            if host is None:
                found = ContextAPI.get_context(name)
        # The SDK would silently take the default socket instead.
        if host is None and name and (found is None or found.Name != name):
            msg = f"there is no Docker context {name!r}; `docker context ls` lists them"
            raise OptionError(msg, option="context")
        endpoint = host or (found.Host if found else None) or "unix:///var/run/docker.sock"
        tunnel = SshTunnel(endpoint, timeout) if endpoint.startswith("ssh://") else None
        with translated("connect", endpoint), _closed_on_failure(tunnel):
            if tunnel is not None:
                made = DockerClient(base_url=tunnel.url, timeout=timeout)
            elif docker_host is not None:
                # TLS as the docker command has it: by DOCKER_TLS_VERIFY and DOCKER_CERT_PATH.
                given = kwargs_from_env(environment={**os.environ, "DOCKER_HOST": docker_host})
                made = _made(DockerClient, **given, timeout=timeout)
            elif context is not None:
                made = _made(DockerClient.from_context, name=context, timeout=timeout)
            else:
                made = _made(DockerClient.from_env, timeout=timeout)
        _share_connections(made.api)
        return cls(made, endpoint, owned=True, tunnel=tunnel)

    def close(self) -> None:
        """Close the connections, unless the client was handed in."""
        if self._owned:
            self.client.close()
        if self._tunnel is not None:
            self._tunnel.close()

    @property
    def socket_path(self) -> Path | None:
        """The engine's socket on this host, if it is reached over one."""
        parts = urlsplit(self.endpoint)
        return Path(parts.path) if parts.scheme in ("unix", "http+unix") and parts.path else None

    @property
    def host(self) -> str:
        """Where a port that the engine publishes on its loopback or on every address is reached."""
        parts = urlsplit(self.endpoint)
        return parts.hostname if parts.scheme in ("tcp", "http", "https", "ssh") and parts.hostname else "127.0.0.1"

    @property
    def is_elsewhere(self) -> bool:
        """Whether the engine is on another host than this process, by its address."""
        return self.host not in ("127.0.0.1", "::1", "localhost")

    def own_container(self, *, again: bool = False) -> ContainerInfo | None:
        """The container that this process runs in, if it is one of this engine's.

        Known from what every engine mounts into its containers, and then seen on the engine itself:
        a file such as ``/.dockerenv`` proves nothing, and the engine may be another one. As it was
        when asked first, unless ``again``.
        """
        if (self._own_container is None or again) and (found := _OWN_ID.search(_mounts_of_this_process())):
            self._own_container = self.inspect(found[1])
        return self._own_container

    def translated(self, doing: str) -> contextlib.AbstractContextManager[None]:
        """As the function of this name, with this engine's endpoint."""
        return translated(doing, self.endpoint)

    def version(self) -> EngineVersion:
        """Which engine this is."""
        with self.translated("ask for its version"):
            return EngineVersion.from_version(self.api.version(), self.api.api_version)

    def now(self) -> float:
        """The engine's clock, in seconds since the epoch: what its containers' times are by."""
        with self.translated("ask for the time"):
            text = str(self.api.info()["SystemTime"])
        # Nanoseconds, which Python 3.10 can't parse.
        return datetime.fromisoformat(re.sub(r"\.\d+", "", text).replace("Z", "+00:00")).timestamp()

    def data_root(self) -> Path:
        """Where the engine's host keeps images and containers."""
        with self.translated("ask where its data is"):
            return Path(self.api.info()["DockerRootDir"])

    def cores(self) -> int:
        """How many cores the engine's host has."""
        with self.translated("ask for its cores"):
            return int(self.api.info()["NCPU"])

    def inspect(self, container: str) -> ContainerInfo | None:
        """A container by name or id; None when there is none."""
        try:
            with self.translated(f"inspect container {container}"):
                return ContainerInfo.from_inspect(_as_dockers(self.api.inspect_container(container)))
        except EngineError as error:
            if _is_gone(error):
                return None
            raise

    def containers(self, *labels: str) -> list[ListedContainer]:
        """All containers, in every state, with these labels (``name=value`` or ``name``); one call."""
        with self.translated("list containers"):
            listed = self.api.containers(all=True, filters={"label": list(labels)})
        return [ListedContainer.from_listing(_as_docker_lists(raw)) for raw in listed]

    def create(self, config: Mapping[str, Any], name: str) -> str:
        """Create a container from the API's own configuration; gives its id.

        Interrupted, it ends before the interrupt comes out: the engine goes on with a create whose
        caller is gone, and would make the container after that one looked for it.

        Raises:
            EngineError: with status 409 when there is one of this name.
        """
        try:
            with self.translated(f"create container {name}"):
                wanted = _as_podmans(config) if self._on_podman() else config
                answer = to_its_end(lambda: self.api.create_container_from_config(wanted, name))
                return str(answer["Id"])
        except EngineError as error:
            # Where two create one at the same time, Podman's check of the name passes both.
            if error.status == 500 and "name is already in use" in error.message:
                raise EngineError(error.message, status=409) from error
            raise

    def start(self, container: str, *, host_port: int | None = None) -> None:
        """Start a created container.

        Raises:
            PortInUseError: ``host_port`` was asked for, and is taken.
        """
        try:
            with self.translated(f"start container {container[:12]}"):
                self.api.start(container)
        except EngineError as error:
            if error.status == 500 and host_port is not None and _port_text(error):
                msg = (
                    f"host port {host_port} is in use; stop what holds it (`docker ps`, `ss -ltnp`), or leave "
                    "host_port out and the engine chooses a free one"
                )
                raise PortInUseError(msg, status=500, host_port=host_port) from error
            raise

    def wait(self, container: str, deadline: Deadline) -> int | None:
        """Block until the container does not run.

        Gives its exit code, -1 when it is gone, None when time ran out.
        """
        if deadline.expired():
            return None
        try:
            with self.translated(f"wait for container {container[:12]}"):
                return int(self.api.wait(container, timeout=deadline.remaining())["StatusCode"])
        except EngineUnavailableError:
            if deadline.expired():
                return None
            raise
        except EngineError as error:
            if _is_gone(error):
                return -1
            raise

    def remove(self, container: str) -> None:
        """Kill if need be and remove, anonymous volumes too. Gone already, or going, is done."""
        try:
            with self.translated(f"remove container {container[:12]}"):
                if self._on_podman():  # it would send SIGTERM first, and wait for StopTimeout
                    self._kill(container)
                self.api.remove_container(container, v=True, force=True)
        except EngineError as error:
            if error.status != 409 and not _is_gone(error):
                raise

    def _kill(self, container: str) -> None:
        try:
            self.api.kill(container)
        except APIError as error:
            if error.status_code not in (404, 409, 500):  # it does not run; what else it is, the removal tells
                raise

    def _on_podman(self) -> bool:
        if self._is_podman is None:
            self._is_podman = self.version().name == "Podman"
        return self._is_podman

    def logs(self, container: str, tail: int | None = None) -> str:
        """What the container wrote to stdout and stderr; ``tail``: that many last lines."""
        with self.translated(f"read the log of container {container[:12]}"):
            output = self.api.logs(container, tail="all" if tail is None else tail)
        return bytes(output).decode(errors="replace")

    def follow(self, container: str, tail: int | None = None) -> Iterator[str]:
        """As ``logs``, and what it writes from then on, until it ends; in pieces as they come."""
        with self.translated(f"follow the log of container {container[:12]}"):
            # The SDK's own would give up after a minute without a line.
            response = self.api.get(
                f"{self.api.base_url}/v{self.api.api_version}/containers/{container}/logs",
                params={"stdout": 1, "stderr": 1, "follow": 1, "tail": "all" if tail is None else tail},
                stream=True,
                timeout=None,
            )
            with contextlib.closing(response):
                _raise_for_status(response)
                decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
                for _, piece in _frames(response):
                    yield decoder.decode(piece)

    def exec(self, container: str, argv: Sequence[str], deadline: Deadline) -> ExecResult:
        """Run a command and read what it prints until it ends, or prints :data:`END`.

        A command may print END and stay: the engine lets it run on when nobody listens any more.
        Its exit code is None then. Time is looked at after each frame, so a command that stalls
        ends this within twice the time that was left.

        Raises:
            ExecError: the container does not run, or the deadline passed.
        """
        try:
            with self.translated(f"exec in container {container[:12]}"):
                exec_id = self.api.exec_create(container, list(argv))["Id"]
                stdout, stderr = self._attached(exec_id, deadline)
                state = self.api.exec_inspect(exec_id)
        except EngineUnavailableError as error:
            if not deadline.expired():
                raise
            msg = f"a command in container {container[:12]} did not answer within {deadline.seconds:g} s"
            raise ExecError(msg) from error
        except EngineError as error:
            # A container that ends at this very moment gives one status or another.
            info = self.inspect(container)
            if info is not None and info.state == "running":
                raise
            msg = f"no command can run in container {container[:12]}, it is {info.state if info else 'gone'}: {error}"
            raise ExecError(msg) from error
        code = None if state["Running"] else state["ExitCode"]
        return ExecResult(exit_code=code, stdout=stdout, stderr=stderr)

    def _attached(self, exec_id: str, deadline: Deadline) -> tuple[str, str]:
        # Not exec_start: it asks for an upgrade of the connection, and then reads past the bytes
        # that came together with the response's head. Without the upgrade the engine sends the
        # same stream as a plain body, which ends when the command's output does. It also lets
        # the read have a time-out.
        response = self.api.post(
            f"{self.api.base_url}/v{self.api.api_version}/exec/{exec_id}/start",
            json={"Detach": False, "Tty": False},
            stream=True,
            timeout=max(deadline.remaining(), 0.001),
        )
        streams = {_STDOUT: bytearray(), _STDOUT + 1: bytearray()}
        with contextlib.closing(response):
            _raise_for_status(response)
            for stream, piece in _frames(response):
                streams.setdefault(stream, bytearray()).extend(piece)
                if streams[_STDOUT].endswith(END):
                    break
                if deadline.expired():
                    raise TimeoutError
        stdout, stderr = (streams[stream].decode(errors="replace") for stream in (_STDOUT, _STDOUT + 1))
        return stdout.removesuffix(END.decode()), stderr


@contextlib.contextmanager
def _closed_on_failure(tunnel: SshTunnel | None) -> Iterator[None]:
    try:
        yield
    except BaseException:
        if tunnel is not None:
            tunnel.close()
        raise


def _made(make: Callable[..., DockerClient], **options: Any) -> DockerClient:
    """A client; one with TLS trusts the engine's own authority, whatever REQUESTS_CA_BUNDLE says.

    requests lets that variable, which users behind a company's proxy have, replace what was given.
    """
    silent = make(version=_OLDEST_API, **options)  # without a version it would ask for one at once
    if not isinstance(silent.api.verify, str):
        silent.close()
        return make(**options)
    with contextlib.closing(silent):
        silent.api.trust_env = False
        version = silent.api.version(api_version=False)["ApiVersion"]
    made = make(version=version, **options)
    made.api.trust_env = False
    return made


def _mounts_of_this_process() -> str:
    try:
        return Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""  # no Linux, so no container of an engine


def _raise_for_status(response: Any) -> None:
    if response.status_code >= 400:
        raise APIError(response.text, response=response, explanation=response.json().get("message"))


def _frames(response: Any) -> Iterator[tuple[int, bytes]]:
    """Which stream, and what was written to it: the engine's framing of output without a terminal."""
    while len(head := response.raw.read(8)) == 8:
        yield head[0], response.raw.read(int.from_bytes(head[4:], "big"))


def _share_connections(api: Any) -> None:
    # The SDK keeps a pool of connections to a socket for each URL, so that nearly every call makes
    # a new one. All URLs lead to the same socket: one pool serves them.
    adapter = api.adapters.get("http+docker://")
    if isinstance(adapter, UnixHTTPAdapter):
        api.mount("http+docker://", _OnePoolAdapter(f"http+unix://{adapter.socket_path}", adapter.timeout))


class _OnePoolAdapter(UnixHTTPAdapter):  # type: ignore[misc] # the SDK has no types
    def __init__(self, socket_url: str, timeout: float) -> None:
        super().__init__(socket_url, timeout, pool_connections=1, max_pool_size=_CONNECTIONS)

    def get_connection(self, url: str, proxies: object = None) -> Any:  # noqa: ARG002 - the SDK's signature
        return super().get_connection("http+docker://localhost", proxies)


def _is_gone(error: EngineError) -> bool:
    # Podman gives a 500 for a container that is removed while it looks at it.
    return error.status == 404 or (error.status == 500 and "no such container" in error.message)


def _port_text(error: EngineError) -> bool:
    # Here a text decides, since the engine's API has no code of its own for this.
    return any(words in error.message for words in ("port is already allocated", "address already in use"))


# What Podman calls otherwise. Docker has none of these words, so nobody needs to ask which engine it is.
_STATES = {"stopped": "exited", "configured": "created", "initialized": "created", "stopping": "running"}


def _state(word: str) -> str:
    return _STATES.get(word, word)


def _as_dockers(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """An inspected container of Podman's in Docker's words; one of Docker's as it is."""
    settings, host = raw["NetworkSettings"], raw["HostConfig"]
    networks = _named(settings.get("Networks"))
    mode = host.get("NetworkMode", "")
    if mode == "bridge" and networks and mode not in networks:  # so it calls every network of this kind
        mode = next(iter(networks))
    return {
        **raw,
        "State": {**raw["State"], "Status": _state(raw["State"]["Status"])},
        "HostConfig": {**host, "NetworkMode": mode},
        "NetworkSettings": {**settings, "Networks": networks},
    }


def _as_docker_lists(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    settings = raw.get("NetworkSettings") or {}
    networks = {**settings, "Networks": _named(settings.get("Networks"))}
    return {**raw, "State": _state(raw["State"]), "NetworkSettings": networks}


def _named(networks: Mapping[str, Any] | None) -> dict[str, Any]:
    # Podman's default network is `bridge` in its list of networks, and `podman` in its containers.
    return {"bridge" if name == "podman" else name: item for name, item in (networks or {}).items()}


def _as_podmans(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """A container's configuration as Podman takes it.

    It knows no owner of a tmpfs by number, but has an option that makes it the container's user's.
    It asks for GPUs by their CDI names, and passes over what Docker calls them.
    """
    host = config["HostConfig"]
    tmpfs = {path: re.sub(r"(,[ug]id=\d+)+", ",U", options) for path, options in host.get("Tmpfs", {}).items()}
    more = [_gpu_names(request) for request in host.get("DeviceRequests") or ()]
    return {**config, "HostConfig": {**host, **_mounts(host), "Tmpfs": tmpfs, "DeviceRequests": more}}


def _mounts(host: Mapping[str, Any]) -> dict[str, list[Any]]:
    # Podman makes each of the long form a line of comma-separated values without quoting; the short
    # form takes all but colons.
    long, short = [], []
    for mount in host.get("Mounts") or ():
        paths = mount["Source"] + mount["Target"]
        if not set(paths) & set(',"\n'):
            long.append(mount)
        elif ":" not in paths:
            short.append(f"{mount['Source']}:{mount['Target']}:{'ro' if mount.get('ReadOnly') else 'rw'}")
        else:
            msg = f"Podman can't mount {mount['Source']}: its path has ':' beside ',' or a quote; rename it"
            raise EngineError(msg)
    return {"Mounts": long, "Binds": short}


def _gpu_names(request: Mapping[str, Any]) -> dict[str, Any]:
    names = ["all"] if request["Count"] == -1 else [str(number) for number in range(request["Count"])]
    return {"Driver": "cdi", "DeviceIDs": [f"nvidia.com/gpu={name}" for name in names]}
