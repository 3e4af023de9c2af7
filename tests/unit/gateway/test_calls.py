"""The calls of ``Launcher`` for gateways: what they check, make sure of, and hand on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import (
    GatewayConflictError,
    GatewayNotFoundError,
    KernelImage,
    Launcher,
    OptionError,
    Phase,
    Swarm,
)
from jupyter_launcher.engine.client import DockerEngine
from jupyter_launcher.engine.swarm.engine import SwarmEngine
from jupyter_launcher.gateway import unit
from jupyter_launcher.spec.kernels.found import FoundKernel
from tests.unit.fakes import HASTY, FakeEngine, FakeJupyter, FakeSwarm

FOUND = FoundKernel(argv=("/usr/bin/python3", "-f", "{connection_file}"), display_name="py", python="/usr/bin/python3")

Connect = Callable[..., Launcher]


@pytest.fixture
def jupyter(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeJupyter]:
    monkeypatch.setattr(unit, "find_kernels", lambda _, options, __: dict.fromkeys(options.images, FOUND))
    with FakeJupyter().serve() as found:
        found.specs = ["py"]
        monkeypatch.setattr(DockerEngine, "connect", lambda **_: found.engine)
        yield found


@pytest.fixture
def engine(jupyter: FakeJupyter) -> FakeEngine:
    return jupyter.engine


@pytest.fixture
def connect(engine: FakeEngine) -> Connect:
    return lambda **given: Launcher(**{"namespace": "unit", "timeouts": HASTY, **given})


def test_a_gateway_that_stays_is_started_once_and_stopped(connect: Connect, engine: FakeEngine, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"gateway_id": "team", "image": "image", "kernels": {"py": KernelImage("an/image:1")}}
    with connect() as launcher:
        first = launcher.start_gateway(tmp_path, **asked)
        assert engine.images.ensured == [("image", "missing"), ("an/image:1", "missing")]
    with connect() as launcher:  # another process
        second = launcher.start_gateway(tmp_path, **asked)
        assert (first.name, first.joined, second.joined) == (second.name, False, True)
        (found,) = launcher.gateways()
        assert (found.gateway_id, found.isolation, dict(found.kernel_images)) == (
            "team",
            "environment",
            {"py": "an/image:1"},
        )
        with pytest.raises(GatewayConflictError):
            launcher.start_gateway(tmp_path, **{**asked, "max_kernels": 3})
        launcher.stop_gateway("team")
        assert engine.known == {}
        with pytest.raises(GatewayNotFoundError):
            launcher.stop_gateway("team")


def test_an_id_is_made_up(connect: Connect, engine: FakeEngine, tmp_path: Path) -> None:
    with connect() as launcher:
        one, two = (launcher.start_gateway(tmp_path, image="image") for _ in range(2))
        assert one.gateway_id != two.gateway_id
        for gateway in (one, two):
            launcher.stop_gateway(gateway.gateway_id)
    assert engine.known == {}


@pytest.mark.parametrize(
    ("given", "option"),
    [
        ({"gateway_id": "No"}, "gateway_id"),
        ({"gateway_id": ""}, "gateway_id"),
        ({"network": "host"}, "network"),
        ({"network": 5}, "network"),
        ({"kernels": {}}, "kernels"),
        ({"kernels": {"py": 5}}, "kernels"),
        ({"kernels": {"py": "image"}, "isolation": "other"}, "isolation"),
        ({"kernels": {"py": "image"}, "max_kernels": 0}, "max_kernels"),
        ({"kernels": {"py": "image"}, "kernel_idle": -1}, "kernel_idle"),
        ({"max_kernels": 3}, "max_kernels"),
    ],
)
def test_options_that_cannot_be(
    connect: Connect, engine: FakeEngine, tmp_path: Path, given: dict[str, Any], option: str
) -> None:
    calls: list[Callable[[Launcher], object]] = [
        lambda launcher: launcher.start_gateway(tmp_path, **{"image": "image", **given}),
    ]
    if "gateway_id" not in given:
        calls.append(lambda launcher: launcher.run_gateway(tmp_path, **{"image": "image", **given}).__enter__())
    for call in calls:
        with connect() as launcher, pytest.raises(OptionError) as caught:
            call(launcher)
        assert caught.value.option == option
    assert engine.configs == {}
    assert engine.images.ensured == []


@pytest.mark.parametrize("gateway_id", ["No", "", None, 5])
def test_what_is_stopped_has_an_id(connect: Connect, gateway_id: Any) -> None:
    with connect() as launcher, pytest.raises(OptionError) as caught:
        launcher.stop_gateway(gateway_id)
    assert caught.value.option == "gateway_id"


def test_images_are_ensured_in_the_phase_of_images(connect: Connect, tmp_path: Path) -> None:
    events: list[Any] = []
    with (
        connect(on_event=events.append) as launcher,
        launcher.run_gateway(tmp_path, image="image", kernels={"py": "image"}),
    ):
        assert {event.phase for event in events} == {Phase.IMAGE}


def test_a_broker_mounts_the_socket_that_was_given(connect: Connect, engine: FakeEngine, tmp_path: Path) -> None:
    with connect(engine_socket="/run/theirs.sock") as launcher:
        asked: dict[str, Any] = {"image": "image", "kernels": {"py": "image"}, "isolation": "kernel"}
        with launcher.run_gateway(tmp_path, **asked) as gateway:
            broker = engine.configs[f"kernel-broker.unit.{gateway.gateway_id}"]
            assert "/run/theirs.sock" in [mount.source for mount in broker.mounts]
    assert engine.known == {}


def test_a_swarm_has_none_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SwarmEngine, "connect", lambda *_, **__: FakeSwarm())
    with Launcher(swarm=Swarm(publish="all")) as launcher:
        for call in (
            lambda: launcher.start_gateway(tmp_path, kernels={"py": "image"}),
            lambda: launcher.stop_gateway("team"),
            lambda: launcher.run_gateway(tmp_path).__enter__(),
        ):
            with pytest.raises(OptionError, match="swarm"):
                call()
