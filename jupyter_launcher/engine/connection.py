"""Connections to an engine: which one is meant, over which transport, with how many connections."""

from __future__ import annotations

import contextlib
import os
import queue
from collections.abc import Callable, Iterator
from typing import Any, TypedDict

import requests
from docker import APIClient, DockerClient
from docker.errors import APIError, DockerException
from docker.transport import UnixHTTPAdapter
from docker.transport.unixconn import UnixHTTPConnectionPool

from jupyter_launcher.engine.errors import FORBIDDEN, translate_errors
from jupyter_launcher.engine.reach.ssh import SshTunnel
from jupyter_launcher.engine.reach.target import Target, container_proxies, find_target
from jupyter_launcher.engine.shapes import expect_shape, parse_text
from jupyter_launcher.errors import EngineUnavailableError, OptionError
from jupyter_launcher.forks import PerProcess
from jupyter_launcher.models.options import HiddenTexts
from jupyter_launcher.waiting import shorten

__all__ = ["OLDEST_API", "ConnectOptions", "Connection", "DockerClient", "connect", "connect_target"]

OLDEST_API = "1.41"
"""Docker 20.10's."""

_CONNECTIONS = 64
_OPEN_CONNECTIONS = 4
"""So many stay open, for the next calls, while none is made."""

_ANY_URL = "http+docker://localhost"
_Made = tuple[DockerClient, SshTunnel | None]


class ConnectOptions(TypedDict, total=False):
    """The options of :func:`connect`."""

    docker_host: str | None
    context: str | None
    client: DockerClient | None
    timeout: float
    use_config_proxy: bool


class Connection:
    """A client of the SDK, which belongs to the process that made it, and where it leads.

    A fork has a copy of the connections of its parent, and an answer to one may be read by the other. So the
    first use in another process makes a client of its own.

    Attributes:
        endpoint: the engine's address as the user knows it.
        owned: the client was made here, so it is closed here.
        proxies: variables for the engine's containers, as Docker's configuration file has them for this engine.
    """

    def __init__(
        self, endpoint: str, make: Callable[[], _Made], *, owned: bool, proxies: HiddenTexts | None = None
    ) -> None:
        self.endpoint = endpoint
        self.owned = owned
        self.proxies = proxies or HiddenTexts()
        self._closed = False
        self._made = PerProcess(make)
        self._made.get()

    @property
    def client(self) -> DockerClient:
        """The client of this process.

        Raises:
            EngineUnavailableError: no engine answers; or this process is a fork, and the client was handed in.
        """
        made = self._made.get()
        if made[1] is not None and made[1].has_ended() and not self._closed:
            # ssh has ended, as it does where the host was away for long.
            self._made.drop(made)
            made[0].close()
            made[1].close()
            made = self._made.get()
        return made[0]

    def close(self) -> None:
        """Close the connections that this process made."""
        self._closed = True
        made = self._made.find() if self.owned else None
        if made is not None:
            client, tunnel = made
            client.close()
            if tunnel is not None:
                tunnel.close()


def connect(
    *,
    docker_host: str | None = None,
    context: str | None = None,
    client: DockerClient | None = None,
    timeout: float = 60.0,
    use_config_proxy: bool = True,
) -> Connection:
    """Reach an engine: a client handed in, else a host, else a context, else the environment.

    ``use_config_proxy``: containers and builds get the proxies of Docker's configuration file.

    Raises:
        OptionError: more than one was given, there is no such context, or the address or its TLS cannot be used.
        EngineUnavailableError: no engine answers, or this user may not talk to it.
        EngineError: what answers refuses to say which version it speaks.
    """
    if sum(given is not None for given in (docker_host, context, client)) > 1:
        msg = "docker_host, context and client each name an engine, and more than one is given"
        raise OptionError(msg, hint="give one of them", option="docker_host")
    for option, value in (("docker_host", docker_host), ("context", context)):
        if value is not None and not (isinstance(value, str) and value):
            msg = f"{option} is {value!r}"
            raise OptionError(msg, hint="give a text, or leave it out", option=option)
    if client is not None and not hasattr(client, "api"):
        msg = f"client is {client!r}"
        raise OptionError(msg, hint="give a docker.DockerClient, or leave it out", option="client")
    if client is not None:
        _bound_requests(client.api)
        endpoint = _find_address(client.api)
        proxies = container_proxies(endpoint) if use_config_proxy else None
        return Connection(endpoint, _use_only_here(client), owned=False, proxies=proxies)
    target = find_target(docker_host, context)
    return connect_target(target, timeout, container_proxies(target.endpoint) if use_config_proxy else None)


def connect_target(target: Target, timeout: float, proxies: HiddenTexts | None = None) -> Connection:
    """Reach a certain engine; see :func:`connect`."""
    # A fork reaches the same engine, whatever has changed since then.
    return Connection(target.endpoint, lambda: _make_client(target, timeout), owned=True, proxies=proxies)


def _find_address(api: APIClient) -> str:
    """The address of a client's engine, as the docker command has it, where the client tells it."""
    adapter = api.adapters.get("http+docker://")
    if isinstance(adapter, UnixHTTPAdapter):
        return f"unix://{adapter.socket_path}"
    scheme, _, place = api.base_url.partition("://")
    return f"tcp://{place}" if scheme in ("http", "https") else api.base_url


def _use_only_here(client: DockerClient) -> Callable[[], _Made]:
    process = os.getpid()

    def use() -> _Made:
        if os.getpid() == process:
            return client, None
        msg = "the client was handed in before this process was forked, and it belongs to the parent"
        hint = "give docker_host= or context= in place of client=, or make the Launcher after the fork"
        raise EngineUnavailableError(msg, hint=hint, endpoint=_find_address(client.api))

    return use


def _make_client(target: Target, timeout: float) -> _Made:
    tunnel = SshTunnel(target.endpoint, shorten(timeout) or timeout) if target.endpoint.startswith("ssh://") else None
    with translate_errors("connect", target.endpoint), _close_on_failure(tunnel):
        url = target.endpoint if tunnel is None else tunnel.url
        with contextlib.closing(_create_client(target, url, timeout, OLDEST_API)) as first:
            _bound_requests(first.api)
            version = _ask_version(first.api)
        made = _create_client(target, url, timeout, version)
    _share_connections(made.api)
    _bound_requests(made.api)
    return made, tunnel


def _create_client(target: Target, url: str, timeout: float, version: str) -> DockerClient:
    # The SDK takes seconds as a float too, as requests does; its types say int.
    made = DockerClient(base_url=url, tls=target.tls or False, timeout=timeout, version=version)  # type: ignore[arg-type]
    # requests lets REQUESTS_CA_BUNDLE, which users behind a company's proxy have, replace the engine's own authority,
    # and sends what is for this host to HTTP_PROXY.
    made.api.trust_env = False
    made.api.proxies.update(target.proxies)
    if made.api.verify is True and target.authorities:  # no authority of its own: a company's counts
        made.api.verify = target.authorities
    return made


def _ask_version(api: APIClient) -> str:
    """The version of the API that the engine speaks.

    Raises:
        APIError: what answers forbids to tell it.
        DockerException: what answers is no engine that works.
    """
    try:
        answer = api.version(api_version=False)
    except APIError as error:
        if error.status_code not in FORBIDDEN:
            raise DockerException(str(error)) from error
        ping = api.get(f"{api.base_url}/_ping")  # a socket proxy may let this pass alone
        found = ping.headers.get("Api-Version")
        if ping.status_code >= 400 or found is None:
            raise
        return str(found)
    with expect_shape("its version"):
        return parse_text(answer["ApiVersion"])


@contextlib.contextmanager
def _close_on_failure(tunnel: SshTunnel | None) -> Iterator[None]:
    try:
        yield
    except BaseException:
        if tunnel is not None:
            tunnel.close()
        raise


def _share_connections(api: APIClient) -> None:
    # The SDK keeps a pool of connections to a socket for each URL, so that nearly every call makes
    # a new one. All URLs lead to the same socket: one pool serves them.
    adapter = api.adapters.get("http+docker://")
    if isinstance(adapter, UnixHTTPAdapter):
        api.mount("http+docker://", _OnePoolAdapter(f"http+unix://{adapter.socket_path}", adapter.timeout))


def _bound_requests(api: APIClient) -> None:
    # The SDK has one time-out for all calls; here a call within a deadline gets what remains of that.
    send = api.send
    if getattr(send, "__name__", "") == "send_in_time":  # a client that was handed in before
        return

    def send_in_time(request: requests.PreparedRequest, **options: Any) -> requests.Response:
        return send(request, **{**options, "timeout": shorten(options.get("timeout"))})

    api.send = send_in_time  # type: ignore[method-assign]


class _FewOpen(queue.LifoQueue[Any]):
    """A pool's connections, the open ones first; what is open after many calls at once is closed, but for a few."""

    def _put(self, item: Any) -> None:
        count_open = sum(waiting is not None for waiting in self.queue)
        if item is not None and item.sock is not None and count_open < _OPEN_CONNECTIONS:
            self.queue.append(item)
            return
        if item is not None:
            item.close()
        self.queue.insert(0, None)  # a new one is made in its place, once the open ones are in use


class _OnePool(UnixHTTPConnectionPool):
    QueueCls = _FewOpen


class _OnePoolAdapter(UnixHTTPAdapter):
    def __init__(self, socket_url: str, timeout: int) -> None:
        super().__init__(socket_url, timeout, pool_connections=1)
        self.pools[_ANY_URL] = _OnePool(_ANY_URL, self.socket_path, timeout, maxsize=_CONNECTIONS)

    def get_connection(self, url: bytes | str, proxies: object = None) -> Any:  # noqa: ARG002 - the SDK's signature
        return super().get_connection(_ANY_URL, proxies)
