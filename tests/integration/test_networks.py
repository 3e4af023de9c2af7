"""Networks whose containers this process, or a session, does not reach."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import GatewayError, GatewayUnreachableError, Launcher, RunningGateway
from jupyter_launcher.host.address import EngineAddress
from jupyter_launcher.pytest_plugin import ServerFactory as Start
from jupyter_launcher.server.api import JupyterApi
from tests.integration.test_session import start_kernel


@pytest.mark.parametrize("end", ["stopped", "killed"])
def test_kernels_on_a_gateway_that_is_not_reached_are_ended_from_inside(
    start: Start,
    jupyter_gateway: RunningGateway,
    gateway_kernels: Callable[[], set[str]],
    client: Any,
    monkeypatch: pytest.MonkeyPatch,
    end: str,
) -> None:
    """As with a rootless engine, or one in a virtual machine."""
    session = start(gateway=jupyter_gateway)
    kernel = start_kernel(session)
    assert kernel in gateway_kernels()
    asked: list[str] = []
    ask = JupyterApi._ask

    def noted(api: JupyterApi, *given: Any, **options: Any) -> Any:
        asked.append(api.url)
        return ask(api, *given, **options)

    monkeypatch.setattr(EngineAddress, "reaches_network", lambda *_: False)
    monkeypatch.setattr(JupyterApi, "_ask", noted)
    if end == "killed":
        client.containers.get(session.container_id).kill()
    report = session.stop()
    assert report.kernels == report.kernels_gone == (kernel,)
    assert kernel not in gateway_kernels()
    assert set(asked) == ({session.url} if end == "stopped" else set())


@pytest.fixture
def silent(client: Any, namespace: str, launcher: Launcher) -> Iterator[str]:
    """A network whose containers may not speak to each other."""
    if launcher._engine.traits.is_podman:
        pytest.skip("Podman has no such networks")
    options = {"com.docker.network.bridge.enable_icc": "false"}
    made = client.networks.create(f"{namespace}-silent", driver="bridge", options=options)
    yield str(made.name)
    made.remove()


def test_a_network_that_keeps_its_containers_apart_is_named(
    launcher: Launcher, start: Start, pipeline_dir: Path, silent: str
) -> None:
    with launcher.run_gateway(pipeline_dir, network=silent) as gateway:
        with pytest.raises(GatewayUnreachableError, match="does not reach the gateway") as caught:
            start(gateway=gateway)
        assert f"containers of network {silent} may not speak to each other" in caught.value.hint


def test_a_gateway_on_a_network_that_is_not_there(launcher: Launcher, namespace: str, pipeline_dir: Path) -> None:
    network = f"{namespace}-none"
    with (
        pytest.raises(GatewayError, match=f"no network '{network}'"),
        launcher.run_gateway(pipeline_dir, network=network),
    ):
        pytest.fail("it has no network")
