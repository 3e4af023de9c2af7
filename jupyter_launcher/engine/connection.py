"""Connections to an engine: which one is meant, over which transport, with how many connections."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import requests
from docker import APIClient, DockerClient
from docker.context import ContextAPI
from docker.transport import UnixHTTPAdapter
from docker.utils import kwargs_from_env

from jupyter_launcher.engine.errors import translate_errors
from jupyter_launcher.engine.ssh import SshTunnel
from jupyter_launcher.errors import EngineUnavailableError, OptionError
from jupyter_launcher.forks import PerProcess
from jupyter_launcher.waiting import shorten

__all__ = ["OLDEST_API", "Connection", "DockerClient", "connect"]

OLDEST_API = "1.41"
"""Docker 20.10's."""

_CONNECTIONS = 64
_Made = tuple[DockerClient, SshTunnel | None]


class Connection:
    """A client of the SDK, which belongs to the process that made it, and where it leads.

    A fork has a copy of the connections of its parent, and an answer to one may be read by the other. So the
    first use in another process makes a client of its own.

    Attributes:
        endpoint: the engine's address as the user knows it.
        owned: the client was made here, so it is closed here.
    """

    def __init__(self, endpoint: str, make: Callable[[], _Made], *, owned: bool) -> None:
        self.endpoint = endpoint
        self.owned = owned
        self._made = PerProcess(make)
        self._made.get()

    @property
    def client(self) -> DockerClient:
        """The client of this process.

        Raises:
            EngineUnavailableError: no engine answers; or this process is a fork, and the client was handed in.
        """
        return self._made.get()[0]

    def close(self) -> None:
        """Close the connections that this process made."""
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
) -> Connection:
    """Reach an engine: a client handed in, else a host, else a context, else the environment.

    Raises:
        OptionError: more than one was given, or there is no such context.
        EngineUnavailableError: no engine answers, or this user may not talk to it.
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
        return Connection(client.api.base_url, _use_only_here(client), owned=False)
    endpoint = _find_endpoint(docker_host, context)
    environment = dict(os.environ)  # a fork reaches the same engine, whatever has changed since then
    return Connection(endpoint, lambda: _make_client(endpoint, docker_host, context, timeout, environment), owned=True)


def _use_only_here(client: DockerClient) -> Callable[[], _Made]:
    process = os.getpid()

    def use() -> _Made:
        if os.getpid() == process:
            return client, None
        msg = "the client was handed in before this process was forked, and it belongs to the parent"
        hint = "give docker_host= or context= in place of client=, or make the Launcher after the fork"
        raise EngineUnavailableError(msg, hint=hint, endpoint=client.api.base_url)

    return use


def _make_client(
    endpoint: str, docker_host: str | None, context: str | None, timeout: float, environment: dict[str, str]
) -> _Made:
    tunnel = SshTunnel(endpoint, timeout) if endpoint.startswith("ssh://") else None
    with translate_errors("connect", endpoint), _close_on_failure(tunnel):
        if tunnel is not None:
            # The SDK takes seconds as a float too, as requests does; its types say int.
            made = DockerClient(base_url=tunnel.url, timeout=timeout)  # type: ignore[arg-type]
        elif docker_host is not None:
            # TLS as the docker command has it: by DOCKER_TLS_VERIFY and DOCKER_CERT_PATH.
            given = kwargs_from_env(environment={**environment, "DOCKER_HOST": docker_host})
            made = _create_client(DockerClient, **given, timeout=timeout)
        elif context is not None:
            made = _create_client(DockerClient.from_context, name=context, timeout=timeout)
        else:
            made = _create_client(DockerClient.from_env, environment=environment, timeout=timeout)
    _share_connections(made.api)
    _bound_requests(made.api)
    return made, tunnel


def _find_endpoint(docker_host: str | None, context: str | None) -> str:
    host = docker_host or (None if context else os.environ.get("DOCKER_HOST"))
    if host is not None:
        return host
    name = context or os.environ.get("DOCKER_CONTEXT")
    with translate_errors("read the context", name or "default"):
        found: Any = ContextAPI.get_context(name)  # None for a context that does not exist
    # The SDK would silently take the default socket instead.
    if name and (found is None or found.Name != name):
        msg = f"there is no Docker context {name!r}"
        raise OptionError(msg, hint="`docker context ls` lists the contexts", option="context")
    return (found.Host if found else None) or "unix:///var/run/docker.sock"


@contextlib.contextmanager
def _close_on_failure(tunnel: SshTunnel | None) -> Iterator[None]:
    try:
        yield
    except BaseException:
        if tunnel is not None:
            tunnel.close()
        raise


def _create_client(create: Callable[..., DockerClient], **options: Any) -> DockerClient:
    """A client; one with TLS trusts the engine's own authority, whatever REQUESTS_CA_BUNDLE says.

    requests lets that variable, which users behind a company's proxy have, replace what was given.
    """
    silent = create(version=OLDEST_API, **options)  # without a version it would ask for one at once
    if not isinstance(silent.api.verify, str):
        silent.close()
        return create(**options)
    with contextlib.closing(silent):
        silent.api.trust_env = False
        version = silent.api.version(api_version=False)["ApiVersion"]
    made = create(version=version, **options)
    made.api.trust_env = False
    return made


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


class _OnePoolAdapter(UnixHTTPAdapter):
    def __init__(self, socket_url: str, timeout: int) -> None:
        super().__init__(socket_url, timeout, pool_connections=1, max_pool_size=_CONNECTIONS)

    def get_connection(self, url: bytes | str, proxies: object = None) -> Any:  # noqa: ARG002 - the SDK's signature
        return super().get_connection("http+docker://localhost", proxies)
