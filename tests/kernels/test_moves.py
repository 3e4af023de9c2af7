"""Kernels that have another address after they have ended and started again."""

from __future__ import annotations

from typing import Any

import pytest
import websocket

from jupyter_launcher import DEFAULT_IMAGE
from tests.containers import eventually
from tests.kernels.client import Channels, Kernels
from tests.kernels.conftest import RunGateway, parts_of

_TRIES = 5


def address_of(container: Any) -> str:
    container.reload()
    (network,) = container.attrs["NetworkSettings"]["Networks"].values()
    return str(network["IPAddress"])


def is_exited(container: Any) -> bool:
    container.reload()
    return bool(container.status == "exited")


def until_it_answers(channels: Channels) -> None:
    """What is sent to a kernel that is just starting again is lost."""
    for _ in range(10):
        try:
            channels.until_it_answers(3)
        except websocket.WebSocketTimeoutException:
            continue
        return
    pytest.fail("the kernel does not answer on the websocket that was open before")


def test_an_open_websocket_follows_a_kernel_to_another_ip(run_gateway: RunGateway, client: Any, namespace: str) -> None:
    kernels = Kernels(run_gateway({"one": DEFAULT_IMAGE}, isolation="kernel"))
    kernel = kernels.start("one")
    (container,) = parts_of(client, namespace, "kernel")
    before = address_of(container)
    others = []
    try:
        with kernels.connect(kernel) as channels:
            for _ in range(_TRIES):
                channels.execute("import os; os._exit(1)")
                assert eventually(lambda: is_exited(container))
                # Takes the IP that is free now, before the gateway sees that the kernel has ended.
                others.append(client.containers.run(DEFAULT_IMAGE, ["sleep", "600"], detach=True, init=True))
                assert eventually(lambda: not is_exited(container))
                until_it_answers(channels)
                if address_of(container) != before:
                    break
            else:
                pytest.skip("the engine gives a container that starts again its IP back")
            assert channels.run("print(2 + 3)").text == "5\n"
        # The gateway's own watch, by which it ends idle kernels, has followed too.
        assert eventually(lambda: kernels.ask("GET", f"kernels/{kernel}").json()["execution_state"] == "idle")
    finally:
        for other in others:
            other.remove(force=True, v=True)
