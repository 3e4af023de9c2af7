"""Real containers on a real engine; whatever a test leaves behind fails it."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
import requests
from jupyter_kernel_client.wsclient import KernelWebSocketClient

from jupyter_launcher import DEFAULT_IMAGE, Launcher, RunningGateway, Timeouts
from jupyter_launcher.pytest_plugin import ServerFactory
from tests.containers import (
    OWNER,
    client,
    eventually,
    jupyter_gateway_dir,
    jupyter_pipeline_dir,
    namespace,
    nothing_left,
)

__all__ = ["OWNER", "client", "jupyter_gateway_dir", "jupyter_pipeline_dir", "namespace", "nothing_left"]

# Run in a container: hands connections to its port 8888 on to another container's.
RELAY = """
import asyncio, contextlib, sys

async def copy(reader, writer):
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()

async def serve(reader, writer):
    try:
        there = await asyncio.open_connection(sys.argv[1], 8888)
    except OSError:
        writer.close()
    else:
        await asyncio.gather(copy(reader, there[1]), copy(there[0], writer))

async def main():
    async with await asyncio.start_server(serve, "0.0.0.0", 8888) as server:
        await server.serve_forever()

asyncio.run(main())
"""
LISTENS = "import socket; socket.create_connection(('127.0.0.1', 8888)).close()"
BASES = ("python:3.13-slim", "jupyter-launcher/debian-python:trixie")


@pytest.fixture
def base_image(client: Any) -> str:
    """What `make images` built upon."""
    present = {tag for image in client.images.list() for tag in image.tags}
    for base in BASES:
        if base in present:
            return base
    pytest.skip("nothing to build upon: the images were loaded into this engine; `make images` brings a base image")


@pytest.fixture(scope="session", autouse=True)
def patient_kernel_clients() -> Iterator[None]:
    """A client of a kernel has one limit for its connection, which a busy machine makes late, and for its own end."""
    connect = KernelWebSocketClient.start_channels

    def start_channels(client: KernelWebSocketClient, *given: Any, **more: Any) -> None:
        seconds, client.timeout = client.timeout, 60
        connect(client, *given, **more)
        client.timeout = seconds

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KernelWebSocketClient, "start_channels", start_channels)
        yield


# Short names, since nearly every test here has them.
@pytest.fixture(scope="session")
def launcher(jupyter_launcher: Launcher) -> Launcher:
    return jupyter_launcher


@pytest.fixture(scope="session")
def gateway(jupyter_gateway: RunningGateway) -> str:
    return jupyter_gateway.name


@pytest.fixture
def pipeline_dir(jupyter_pipeline_dir: Path) -> Path:
    return jupyter_pipeline_dir


@pytest.fixture
def start(jupyter_server_factory: ServerFactory) -> ServerFactory:
    return jupyter_server_factory


def executable(path: Path, script: str) -> None:
    """Write a shell script that can be run."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def address_of(client: Any, container: str) -> str:
    """The IP of a container that is on one network, whatever the engine calls that."""
    (network,) = client.containers.get(container).attrs["NetworkSettings"]["Networks"].values()
    return str(network["IPAddress"])


def is_reached(address: str) -> bool:
    """Whether this process reaches a container's IP: a rootless engine, or one in a virtual machine, has its own."""
    try:
        socket.create_connection((address, 8888), timeout=2).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return True


@pytest.fixture(scope="session")
def reach(client: Any) -> Iterator[Callable[[str], str]]:
    """Gives the URL at which port 8888 of a container is reached: by its IP, else over a container between."""
    with contextlib.ExitStack() as made:
        relays: dict[str, str] = {}

        def find(name: str) -> str:
            container = client.containers.get(name)
            address = address_of(client, name)
            if is_reached(address):
                return f"http://{address}:8888/"
            if container.id not in relays:
                relays[container.id] = relay(address, *container.attrs["NetworkSettings"]["Networks"])
            return relays[container.id]

        def relay(address: str, network: str) -> str:
            ports = {"8888/tcp": ("127.0.0.1", None)}
            command = ["python3", "-c", RELAY, address]
            between = client.containers.run(
                DEFAULT_IMAGE, ["timeout", "3600", *command], detach=True, remove=True, network=network, ports=ports
            )
            made.enter_context(contextlib.suppress(docker.errors.APIError))  # it removes itself at its end
            made.callback(between.remove, force=True, v=True)
            assert eventually(lambda: between.exec_run(["python3", "-c", LISTENS]).exit_code == 0)
            between.reload()
            return f"http://127.0.0.1:{between.ports['8888/tcp'][0]['HostPort']}/"

        yield find


@pytest.fixture
def gateway_kernels(jupyter_gateway: RunningGateway, reach: Callable[[str], str]) -> Callable[[], set[str]]:
    """Asks the gateway itself which kernels it holds."""
    url = f"{reach(jupyter_gateway.name)}api/kernels"
    headers = {"Authorization": f"token {jupyter_gateway.token}"}

    def ask() -> set[str]:
        # It answers 500 while a kernel is just starting.
        for _ in range(50):
            answer = requests.get(url, headers=headers, timeout=10)
            if answer.status_code == 200:
                return {kernel["id"] for kernel in answer.json()}
            threading.Event().wait(0.1)
        return pytest.fail(f"the gateway does not list its kernels: {answer.text}")

    return ask


@pytest.fixture
def enforces_limits(launcher: Launcher) -> bool:
    """Whether the engine limits memory and cpus: a rootless one does not with control groups of version 1."""
    traits = launcher._engine.traits
    return traits.limits_memory is not False and traits.limits_cpus is not False


@pytest.fixture
def needs_limits(enforces_limits: bool) -> None:  # noqa: FBT001 - pytest's
    if not enforces_limits:
        pytest.skip("the engine does not limit memory and cpus")


@pytest.fixture
def needs_information(launcher: Launcher) -> None:
    if launcher._engine.traits.cores is None:
        pytest.skip("a proxy before the engine keeps its information and its events back")


@pytest.fixture
def needs_input() -> None:
    if os.environ.get("ENGINE_BEHIND_PROXY"):
        pytest.skip("haproxy before the engine lets no input of an exec pass (haproxy#2684)")


@pytest.fixture
def keeps_logs(launcher: Launcher) -> bool:
    """Whether the engine's logging driver can be read."""
    return launcher._engine.traits.log_driver not in ("none", "passthrough")


@pytest.fixture
def shares_network(launcher: Launcher) -> None:
    if launcher._engine.traits.remapped:
        pytest.skip("an engine that maps users gives no container the host's network")


@pytest.fixture
def needs_logs(keeps_logs: bool) -> None:  # noqa: FBT001 - pytest's
    if not keeps_logs:
        pytest.skip("the engine's logging driver cannot be read")


@pytest.fixture
def log_says(keeps_logs: bool) -> Callable[[str], str]:  # noqa: FBT001 - pytest's
    """A text of a log as an error has it: where the log cannot be read, the error says that."""
    return lambda text: text if keeps_logs else "(no log: "


@pytest.fixture
def hasty() -> Timeouts:
    """Patience for servers that will never do what is waited for."""
    return Timeouts(start=4, gateway=3, shutdown=2, terminate=1)
