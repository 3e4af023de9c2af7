"""A gateway and its parts: made, found again, stopped, and removed where something fails."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import (
    EngineError,
    EngineUnavailableError,
    GatewayConflictError,
    GatewayError,
    GatewayNotFoundError,
    GatewayNotRunningError,
    KernelImage,
    KernelImageError,
    Mount,
    OptionError,
    PipelineDirError,
    StopMethod,
    UnsupportedOptionError,
)
from jupyter_launcher.engine.types import ContainerConfig, ContainerInfo
from jupyter_launcher.gateway import unit
from jupyter_launcher.gateway.make.request import plan_gateway
from jupyter_launcher.gateway.parts import find_parts, kernels_of, remove_lost_parts, remove_unit
from jupyter_launcher.gateway.run import GatewayRequest, run_gateway, stop_gateway
from jupyter_launcher.gateway.unit import MadeGateway, bind_session, make_gateway, remove_gateway
from jupyter_launcher.host.address import EngineAddress
from jupyter_launcher.host.rules import DirectoryRules
from jupyter_launcher.spec.kernels.containers import BROKER_DIR
from jupyter_launcher.spec.kernels.found import FoundKernel
from jupyter_launcher.spec.kernels.labels import KERNEL_ID, KERNEL_OF, network_name, part_labels
from jupyter_launcher.spec.kernels.options import check_kernels
from jupyter_launcher.spec.labels import ToolLabels
from jupyter_launcher.waiting import Deadline
from tests.unit.fakes import NOW, FakeJupyter, container, refusal

FOUND = FoundKernel(argv=("/usr/bin/python3", "-f", "{connection_file}"), display_name="py", python="/usr/bin/python3")
SHARED: dict[str, str | KernelImage] = {"one": "image", "two": KernelImage("image", memory="1g")}
KERNEL = "01234567-89ab-cdef-0123-456789abcdef"

Make = Callable[..., MadeGateway]
Ask = Callable[..., GatewayRequest]


@pytest.fixture
def jupyter(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeJupyter]:
    monkeypatch.setattr(unit, "find_kernels", lambda _, options, *__, **___: dict.fromkeys(options.images, FOUND))
    with FakeJupyter().serve() as found:
        found.specs = ["one", "two"]
        yield found


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """A request for a gateway with kernels of two images."""

    def call(
        kernels: dict[str, str | KernelImage] | None = SHARED, isolation: str = "environment", **given: Any
    ) -> GatewayRequest:
        known: dict[str, Any] = {
            "pipeline_dir": tmp_path,
            "image": "image",
            "namespace": "unit",
            "owner": "me",
            "network": None,
            "seconds": 5.0,
            "user": None,
            "rules": DirectoryRules(),
            "relabel": None,
            "kernels": check_kernels(kernels, isolation, 16, None),
            "engine_socket": "/run/engine.sock",
        }
        return GatewayRequest(**{**known, **given})

    return call


@pytest.fixture
def make(jupyter: FakeJupyter, ask: Ask) -> Make:
    def call(*given: Any, **more: Any) -> MadeGateway:
        return make_gateway(jupyter.engine, EngineAddress(jupyter.engine), ask(*given, **more))

    return call


def names(jupyter: FakeJupyter) -> list[str]:
    return sorted(info.name for info in jupyter.engine.known.values())


def made_in_order(jupyter: FakeJupyter) -> list[str]:
    """What was created and started, as the beginnings of names."""
    known = {info.id: info.name for info in jupyter.engine.known.values()}
    calls = [item for item in jupyter.engine.calls if item[0] in ("create_network", "create", "start")]
    return [f"{call} {known.get(target, target).partition('.')[0]}" for call, target in calls]


def config_of(jupyter: FakeJupyter, name: str) -> ContainerConfig:
    return jupyter.engine.configs[name]


def add_kernel(jupyter: FakeJupyter, start: str, kernel: str = KERNEL, of: str = "start-1") -> ContainerInfo:
    """A kernel in a container of its own, as a broker makes it."""
    labels = {**part_labels("kernel", "unit", "me", start), KERNEL_ID: kernel, KERNEL_OF: of}
    info = container(id=f"{len(jupyter.engine.known):064x}", name=f"jupyter-kernel.unit.{kernel}", labels=labels)
    jupyter.engine.known[info.id] = info
    return info


def test_a_gateway_with_an_agent_for_each_image(make: Make, jupyter: FakeJupyter) -> None:
    made = make(gateway_id="team")
    assert names(jupyter) == ["kernel-agent.unit.team.0", "kernel-agent.unit.team.1", "kernel-gateway.unit.team"]
    order = made_in_order(jupyter)
    assert order[:2] == ["create kernel-gateway", "start kernel-gateway"]
    assert sorted(order[2:]) == ["create kernel-agent"] * 2 + ["start kernel-agent"] * 2
    running = made.running
    assert (running.gateway_id, running.kernels, running.joined) == ("team", ("one", "two"), False)
    parts = {part.item.name: part.labels for part in find_parts(jupyter.engine, made.start)}
    assert [(part.kind, part.kernel_name, part.gateway_id) for _, part in sorted(parts.items())] == [
        ("agent", "one", "team"),
        ("agent", "two", "team"),
    ]
    agent = config_of(jupyter, "kernel-agent.unit.team.1")
    assert (agent.network, agent.memory) == (f"container:{made.container_id}", 2**30)
    assert agent.user == config_of(jupyter, "kernel-gateway.unit.team").user
    gateway = config_of(jupyter, "kernel-gateway.unit.team")
    assert {name for name in gateway.environment if name.startswith("JUPYTER_LAUNCHER_KERNEL_")} == {
        "JUPYTER_LAUNCHER_KERNEL_0",
        "JUPYTER_LAUNCHER_KERNEL_1",
    }
    assert BROKER_DIR not in [mount.target for mount in gateway.mounts]
    labels = ToolLabels.of_container(gateway.labels, "kernel-gateway.unit.team")
    assert labels is not None
    assert labels.gateway is not None
    assert (labels.gateway.start, labels.gateway.isolation) == (made.start, "environment")
    assert labels.gateway.images == {"one": "image", "two": "image"}
    assert remove_gateway(jupyter.engine, made) == ()
    assert jupyter.engine.known == {}


def test_a_gateway_with_a_broker(make: Make, jupyter: FakeJupyter) -> None:
    made = make(isolation="kernel", gateway_id="team")
    assert made_in_order(jupyter) == [
        "create kernel-gateway",
        "start kernel-gateway",
        "create kernel-broker",
        "start kernel-broker",
    ]
    gateway, broker = (config_of(jupyter, f"kernel-{kind}.unit.team") for kind in ("gateway", "broker"))
    volume = jupyter.engine.named("kernel-gateway.unit.team").volumes[BROKER_DIR]
    assert volume
    assert [mount.source for mount in gateway.mounts if mount.target == BROKER_DIR] == [""]
    assert [(mount.source, mount.target) for mount in broker.mounts if mount.type == "volume"] == [(volume, BROKER_DIR)]
    assert "/run/engine.sock" in [mount.source for mount in broker.mounts]
    assert "/run/engine.sock" not in [mount.source for mount in gateway.mounts]
    assert broker.network == "none"
    add_kernel(jupyter, made.start)
    order = jupyter.engine.removed
    assert remove_gateway(jupyter.engine, made) == (KERNEL,)
    assert [item for item in order if item == made.container_id] == order[2:3]  # the broker, the kernel, the gateway
    assert jupyter.engine.known == {}


def test_the_kernels_of_a_session_are_found_by_their_label(make: Make, jupyter: FakeJupyter) -> None:
    made = make(isolation="kernel")
    info = add_kernel(jupyter, made.start)
    add_kernel(jupyter, made.start, kernel=KERNEL.replace("0", "f"), of="start-2")
    (kernel,) = kernels_of(jupyter.engine, "start-1")
    assert (kernel.kernel_id, kernel.container_id, kernel.state) == (KERNEL, info.id, "running")


def test_a_copy_of_a_kernels_labels_is_no_kernel(make: Make, jupyter: FakeJupyter) -> None:
    """Such as a container of an image that was committed from one."""
    made = make(isolation="kernel")
    info = add_kernel(jupyter, made.start)
    jupyter.engine.change(info.id, name="of-somebody-else")
    assert kernels_of(jupyter.engine, "start-1") == []
    assert remove_gateway(jupyter.engine, made) == ()
    assert names(jupyter) == ["of-somebody-else"]


def test_a_gateway_that_runs_is_found_again(make: Make, jupyter: FakeJupyter) -> None:
    first = make(gateway_id="team", stays=True)
    created = list(jupyter.engine.configs)
    second = make(gateway_id="team", stays=True)
    assert second == replace(first, running=replace(first.running, joined=True))
    assert list(jupyter.engine.configs) == created


@pytest.mark.parametrize(
    ("given", "difference"),
    [
        ({"kernels": {"one": "image"}}, "kernels.images.two is "),
        (
            {"kernels": {"one": "other", "two": SHARED["two"]}},
            "kernels.images.one.image is 'image' there, and was asked for as 'other'",
        ),
        ({"relabel": "z"}, "pipeline_relabel is None there, and was asked for as 'z'"),
        ({"kernels": None}, "kernels is "),
        ({"isolation": "kernel"}, "kernels.isolation is 'environment' there, and was asked for as 'kernel'"),
        ({"stays": False}, "it was not made by start_gateway"),
    ],
)
def test_a_gateway_with_other_options_is_a_conflict(
    make: Make, jupyter: FakeJupyter, given: dict[str, Any], difference: str
) -> None:
    make(gateway_id="team", stays=True)
    before = names(jupyter)
    with pytest.raises(GatewayConflictError) as caught:
        make(**{"gateway_id": "team", "stays": True, **given})
    assert len(caught.value.differences) == 1
    assert caught.value.differences[0].startswith(difference)
    assert names(jupyter) == before


def test_a_gateway_that_has_ended_is_made_anew(make: Make, jupyter: FakeJupyter) -> None:
    first = make(gateway_id="team")
    jupyter.engine.end(first.container_id)
    second = make(gateway_id="team")
    assert second.start != first.start
    assert find_parts(jupyter.engine, first.start) == []
    assert len(names(jupyter)) == 3


def test_a_container_of_somebody_else_with_the_name_is_left_alone(make: Make, jupyter: FakeJupyter) -> None:
    info = container(name="kernel-gateway.unit.team")
    jupyter.engine.known[info.id] = info
    with pytest.raises(GatewayError, match="has the name of gateway team, and not its labels"):
        make(gateway_id="team")
    assert jupyter.engine.known == {info.id: info}


def test_of_two_at_once_one_makes_it_and_the_other_waits(make: Make, jupyter: FakeJupyter) -> None:
    """The second one is asked just when the first one has created its container, and not started it."""
    results: list[MadeGateway] = []
    threads: list[threading.Thread] = []
    waits = threading.Event()

    def ask_too() -> None:
        results.append(make(gateway_id="team"))

    def begin(_: str) -> None:
        if not threads:
            threads.append(threading.Thread(target=ask_too))
            threads[0].start()
            assert waits.wait(5)

    inspect = jupyter.engine.inspect

    def seen(container: str) -> ContainerInfo | None:
        info = inspect(container)
        if threading.current_thread() in threads and info is not None:
            waits.set()
        return info

    jupyter.engine.inspect = seen  # type: ignore[method-assign]
    create = jupyter.engine.create

    def create_and_wait(config: ContainerConfig, name: str) -> str:
        found = create(config, name)
        begin(name)
        return found

    jupyter.engine.create = create_and_wait  # type: ignore[method-assign]
    results.append(make(gateway_id="team"))
    threads[0].join()
    assert len(results) == 2
    assert {item.start for item in results} == {results[0].start}
    assert sorted(item.running.joined for item in results) == [False, True]
    assert len(names(jupyter)) == 3


def test_a_gateway_that_nobody_will_start_any_more_is_made_anew(make: Make, jupyter: FakeJupyter) -> None:
    first = make(gateway_id="team")
    jupyter.engine.change(first.container_id, state="created", created=NOW - 61)
    assert make(gateway_id="team").start != first.start
    assert len(names(jupyter)) == 3


def test_a_gateway_whose_maker_is_dead_is_made_anew_at_once(
    make: Make, jupyter: FakeJupyter, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make(gateway_id="team")
    jupyter.engine.change(first.container_id, state="created")
    monkeypatch.setattr(unit, "is_process_dead", lambda _: True)
    assert make(gateway_id="team").start != first.start


def test_a_gateway_that_is_paused_is_not_taken(make: Make, jupyter: FakeJupyter) -> None:
    first = make(gateway_id="team")
    jupyter.engine.change(first.container_id, state="paused")
    with pytest.raises(GatewayNotRunningError, match="is paused") as caught:
        make(gateway_id="team", seconds=600.0)
    assert "docker unpause" in caught.value.hint
    assert len(names(jupyter)) == 3


def test_who_loses_the_race_for_the_name_takes_what_the_other_made(make: Make, jupyter: FakeJupyter) -> None:
    first = make(gateway_id="team")
    inspect = jupyter.engine.inspect
    looks: list[str] = []

    def not_yet(container: str) -> ContainerInfo | None:
        looks.append(container)
        return None if len(looks) == 1 else inspect(container)

    jupyter.engine.inspect = not_yet  # type: ignore[method-assign]
    second = make(gateway_id="team")
    assert (second.start, second.running.joined) == (first.start, True)
    assert first.container_id in jupyter.engine.known


@pytest.mark.parametrize("isolation", ["environment", "kernel"])
@pytest.mark.parametrize("wanted", ["create", "created", "start", "inspect"])
@pytest.mark.parametrize("error", [refusal(500), KeyboardInterrupt()])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_whatever_fails_leaves_nothing(
    make: Make, jupyter: FakeJupyter, isolation: str, wanted: str, error: BaseException, after: int
) -> None:
    real = jupyter.engine._note
    seen: list[str] = []

    def note(call: str, target: str = "") -> None:
        real(call, target)
        if call == wanted:
            seen.append(target)
            if len(seen) == after + 1:
                raise error

    jupyter.engine._note = note  # type: ignore[method-assign]
    try:
        made = make(isolation=isolation, network="own")
    except (EngineError, KeyboardInterrupt):
        pass
    else:  # so often was it not called
        jupyter.engine._note = real  # type: ignore[method-assign]
        remove_gateway(jupyter.engine, made)
    assert jupyter.engine.known == {}
    assert jupyter.engine.own_networks == {}


@pytest.mark.parametrize(("kind", "isolation"), [("agent", "environment"), ("broker", "kernel")])
def test_a_part_that_ends_is_told_at_once_with_its_log(
    make: Make, jupyter: FakeJupyter, kind: str, isolation: str
) -> None:
    jupyter.kernelspecs = 503  # the gateway waits for its parts

    def end(container_id: str) -> None:
        if jupyter.engine.known[container_id].name.startswith(f"kernel-{kind}"):
            jupyter.engine.end(container_id, 3)

    jupyter.engine.on_start = end
    jupyter.engine.log = "said before\njupyter-launcher: the policy cannot be read"
    with pytest.raises(GatewayNotRunningError, match=f"the {kind} of .* exit code 3: the policy cannot be") as caught:
        make(isolation=isolation, seconds=600.0)
    assert (caught.value.exit_code, caught.value.log_tail) == (3, jupyter.engine.log)
    assert jupyter.engine.known == {}


def test_a_broker_that_does_not_reach_the_engine_names_the_option(make: Make, jupyter: FakeJupyter) -> None:
    jupyter.kernelspecs = 503

    def end(container_id: str) -> None:
        if jupyter.engine.known[container_id].name.startswith("kernel-broker"):
            jupyter.engine.end(container_id, 74)

    jupyter.engine.on_start = end
    with pytest.raises(GatewayNotRunningError) as caught:
        make(isolation="kernel", seconds=600.0)
    assert "engine_socket=" in caught.value.hint


def test_a_socket_that_cannot_be_mounted_names_the_option(make: Make, jupyter: FakeJupyter) -> None:
    words = "bind source path does not exist: /run/engine.sock"
    create = jupyter.engine.create

    def refuse(config: ContainerConfig, name: str) -> str:
        if name.startswith("kernel-broker"):
            raise refusal(400, words)
        return create(config, name)

    jupyter.engine.create = refuse  # type: ignore[method-assign]
    with pytest.raises(UnsupportedOptionError, match=words) as caught:
        make(isolation="kernel")
    assert caught.value.option == "engine_socket"
    assert jupyter.engine.known == {}


def test_podman_would_make_a_directory_of_a_socket_that_is_not_there(
    ask: Ask, jupyter: FakeJupyter, tmp_path: Path
) -> None:
    jupyter.engine.traits = replace(jupyter.engine.traits, name="Podman")
    missing = tmp_path / "engine.sock"
    request = ask(isolation="kernel", engine_socket=str(missing))
    with pytest.raises(UnsupportedOptionError, match=r"engine_socket is .*engine.sock, and nothing is there"):
        plan_gateway(jupyter.engine, EngineAddress(jupyter.engine), request)
    assert jupyter.engine.configs == {}
    missing.touch()
    assert plan_gateway(jupyter.engine, EngineAddress(jupyter.engine), request).socket == str(missing)


def test_an_engine_that_goes_away_is_no_socket_that_cannot_be_mounted(make: Make, jupyter: FakeJupyter) -> None:
    """The address that such an error names has the socket's path in it."""
    create = jupyter.engine.create

    def lose(config: ContainerConfig, name: str) -> str:
        found = create(config, name)
        if name.startswith("kernel-broker"):
            msg = "could not create it with the engine at unix:///run/engine.sock"
            raise EngineUnavailableError(msg, hint="see that it is alive")
        return found

    jupyter.engine.create = lose  # type: ignore[method-assign]
    with pytest.raises(EngineUnavailableError, match="could not create it"):
        make(isolation="kernel")
    assert jupyter.engine.known == {}


def test_a_gateway_that_does_not_get_its_parts_says_so(make: Make, jupyter: FakeJupyter) -> None:
    jupyter.engine.log = "jupyter-launcher: the agent of 'one' does not answer"

    def end(container_id: str) -> None:
        if jupyter.engine.known[container_id].name.startswith("kernel-gateway"):
            jupyter.engine.end(container_id, 73)

    jupyter.engine.on_start = end
    with pytest.raises(GatewayNotRunningError, match="exit code 73: the agent of 'one' does not answer"):
        make()
    assert jupyter.engine.known == {}


def test_a_gateway_that_ends_before_an_agent_joins_its_network_is_told(make: Make, jupyter: FakeJupyter) -> None:
    jupyter.engine.log = "no such option"
    start = jupyter.engine.start

    def end_and_refuse(container: str, *, host_ports: Collection[int] = ()) -> None:
        if jupyter.engine.known[container].name.startswith("kernel-agent"):
            jupyter.engine.end("kernel-gateway.unit.team", 3)
            raise refusal(409, "cannot join network of a non running container")
        start(container, host_ports=host_ports)

    jupyter.engine.start = end_and_refuse  # type: ignore[method-assign]
    with pytest.raises(GatewayNotRunningError, match="ended with exit code 3"):
        make(gateway_id="team")
    assert jupyter.engine.known == {}


def test_each_agent_has_a_secret_of_its_own(make: Make, jupyter: FakeJupyter) -> None:
    """All kernels are in one network, so each reaches the sockets of all agents."""
    make(gateway_id="team")
    told = config_of(jupyter, "kernel-gateway.unit.team").environment
    known = [json.loads(told[f"JUPYTER_LAUNCHER_KERNEL_{number}"])["secret"] for number in range(2)]
    agents = [config_of(jupyter, f"kernel-agent.unit.team.{number}").environment for number in range(2)]
    assert [json.loads(item["JUPYTER_LAUNCHER_AGENT"])["secret"] for item in agents] == known
    assert len(set(known)) == 2
    assert all(len(secret) == 64 for secret in known)


def test_an_image_without_our_package_is_refused(make: Make, jupyter: FakeJupyter) -> None:
    jupyter.specs = ["python3"]
    with pytest.raises(GatewayError, match="does not offer the kernels one, two") as caught:
        make()
    assert "kernel-gateway" in caught.value.hint
    assert jupyter.engine.known == {}


def test_an_image_without_a_kernel_is_told_before_anything_is_made(
    make: Make, jupyter: FakeJupyter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        msg = "no kernel"
        raise KernelImageError(msg, hint="give another", kernel="one", image="image")

    monkeypatch.setattr(unit, "find_kernels", refuse)
    with pytest.raises(KernelImageError):
        make(network="own")
    assert {call for call, _ in jupyter.engine.calls} & {"create", "create_network"} == set()


@pytest.mark.parametrize("isolation", ["environment", "kernel"])
def test_a_read_only_pipeline_is_so_for_kernels_too(make: Make, jupyter: FakeJupyter, isolation: str) -> None:
    made = make(isolation=isolation, read_only=True)
    configs = [jupyter.engine.configs[made.running.name]]
    if isolation == "environment":
        configs += [config_of(jupyter, f"kernel-agent.unit.{made.running.gateway_id}.{number}") for number in (0, 1)]
    else:
        broker = config_of(jupyter, f"kernel-broker.unit.{made.running.gateway_id}").environment
        pieces = (broker[f"JUPYTER_LAUNCHER_BROKER_{number}"] for number in range(len(broker)))
        bodies = json.loads("".join(pieces))["kernels"].values()
        mounts = [mount for body in bodies for mount in body["HostConfig"]["Mounts"]]
        assert [mount["ReadOnly"] for mount in mounts if mount["Target"] == "/pipeline-dir"] == [True, True]
    for config in configs:
        assert [item.read_only for item in config.mounts if item.target == "/pipeline-dir"] == [True]


def test_a_gateway_of_one_unit_with_a_session_has_its_start(make: Make) -> None:
    assert make(session_start="start-1", session_id="one").start == "start-1"


def test_a_gateway_that_ends_by_itself_is_told_and_not_its_agents(make: Make, jupyter: FakeJupyter) -> None:
    """They end with code 0 as soon as it does."""
    jupyter.kernelspecs = 503
    jupyter.engine.log = "its own words"

    def end(container_id: str) -> None:
        if jupyter.engine.known[container_id].name.startswith("kernel-agent"):
            jupyter.engine.end(container_id, 0)
            jupyter.engine.end("kernel-gateway.unit.team", 3)

    jupyter.engine.on_start = end
    with pytest.raises(GatewayNotRunningError, match=r"the gateway .* ended with exit code 3"):
        make(gateway_id="team", kernels={"one": "image"}, seconds=600.0)


def test_a_fork_that_leaves_the_block_ends_nothing(
    jupyter: FakeJupyter, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = run_gateway(jupyter.engine, EngineAddress(jupyter.engine), ask())
    block.__enter__()
    with monkeypatch.context() as fork:
        fork.setattr(os, "getpid", lambda: 1)
        block.__exit__(None, None, None)
    assert len(names(jupyter)) == 3


def test_limits_and_mounts_of_kernels_are_checked(make: Make, jupyter: FakeJupyter, tmp_path: Path) -> None:
    jupyter.engine.traits = replace(jupyter.engine.traits, limits_memory=False)
    with pytest.raises(OptionError, match="memory"):
        make()
    jupyter.engine.traits = replace(jupyter.engine.traits, limits_memory=True)
    outside = Mount(source="/usr", target="/data")
    with pytest.raises(PipelineDirError, match=r'kernels\["one"\]\.mounts'):
        make(kernels={"one": KernelImage("image", mounts=[outside])}, rules=DirectoryRules(roots=(tmp_path.parent,)))
    assert jupyter.engine.configs == {}


def test_a_launcher_in_a_container_is_on_no_network_that_is_made(
    make: Make, jupyter: FakeJupyter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = container(name="mine", mounts={str(tmp_path): str(tmp_path)})
    monkeypatch.setattr(EngineAddress, "find_own_container", lambda *_, **__: own)
    with pytest.raises(OptionError, match="runs in container mine") as caught:
        make(network="own")
    assert caught.value.option == "network"
    assert jupyter.engine.own_networks == {}


def test_kernels_need_numbers_and_a_directory_that_all_may_label(make: Make) -> None:
    with pytest.raises(OptionError) as caught:
        make(user="jovyan")
    assert caught.value.option == "user"
    with pytest.raises(OptionError) as caught:
        make(relabel="Z")
    assert caught.value.option == "pipeline_relabel"


def test_a_network_of_its_own_is_made_and_removed(make: Make, jupyter: FakeJupyter) -> None:
    made = make(isolation="kernel", network="own", gateway_id="team")
    (network,) = jupyter.engine.own_networks.values()
    assert (network.name, made.network) == (network_name("unit", "team", made.start),) * 2
    assert config_of(jupyter, "kernel-gateway.unit.team").network == network.name
    remove_gateway(jupyter.engine, made)
    assert (jupyter.engine.own_networks, jupyter.engine.known) == ({}, {})


def test_parts_that_an_earlier_start_has_left_give_their_names(make: Make, jupyter: FakeJupyter) -> None:
    first = make(gateway_id="team")
    del jupyter.engine.known[first.container_id]
    second = make(gateway_id="team")
    assert find_parts(jupyter.engine, first.start) == []
    assert len(find_parts(jupyter.engine, second.start)) == 2


def test_what_is_left_of_a_gateway_that_somebody_removed_is_removed_before_it_is_made_anew(
    make: Make, jupyter: FakeJupyter
) -> None:
    first = make(gateway_id="team", isolation="kernel", network="own")
    add_kernel(jupyter, first.start)
    del jupyter.engine.known[first.container_id]
    second = make(gateway_id="team")  # which has no broker, so no name is taken
    assert find_parts(jupyter.engine, first.start) == []
    assert (len(find_parts(jupyter.engine, second.start)), jupyter.engine.own_networks) == (2, {})
    assert [call for call, _ in jupyter.engine.calls if call == "remove_volume"]


def test_a_part_of_somebody_else_with_the_name_is_left_alone(make: Make, jupyter: FakeJupyter) -> None:
    info = container(name="kernel-agent.unit.team.0")
    jupyter.engine.known[info.id] = info
    with pytest.raises(EngineError, match="in use"):
        make(gateway_id="team")
    assert jupyter.engine.known == {info.id: info}


def test_a_removal_goes_on_where_one_is_refused(make: Make, jupyter: FakeJupyter) -> None:
    made = make()
    jupyter.engine.fail("remove", refusal(500, "made up"))
    with pytest.raises(EngineError, match="made up"):
        remove_gateway(jupyter.engine, made)
    assert len(jupyter.engine.known) == 1
    remove_unit(jupyter.engine, made.start)
    assert jupyter.engine.known == {}


def test_somebody_removed_a_gateway_and_its_broker_has_its_volume(make: Make, jupyter: FakeJupyter) -> None:
    made = make(isolation="kernel")
    engine = jupyter.engine
    (broker,) = [item for item in find_parts(engine, made.start) if item.labels.kind == "broker"]
    engine.known[broker.item.id] = replace(engine.known[broker.item.id], volumes={BROKER_DIR: "v" * 64})
    del engine.known[made.container_id]
    remove_unit(engine, made.start)
    assert engine.known == {}
    assert ("remove_volume", "v" * 64) in engine.calls


def test_a_removal_ends_where_the_engine_does_not_answer(make: Make, jupyter: FakeJupyter) -> None:
    jupyter.specs = ["one"]
    made = make(kernels={"one": "image"})
    gone = EngineUnavailableError("it is away", hint="see why", endpoint="unix:///x")
    jupyter.engine.fail("remove", gone, gone, gone)
    with pytest.raises(EngineUnavailableError):
        remove_gateway(jupyter.engine, made)
    assert [call for call, _ in jupyter.engine.calls].count("remove") == 1


@pytest.mark.parametrize("isolation", ["environment", "kernel"])
def test_behind_a_proxy_that_forbids_networks_a_gateway_comes_and_goes(
    make: Make, jupyter: FakeJupyter, isolation: str
) -> None:
    made = make(isolation=isolation)
    jupyter.engine.fail("networks", refusal(403, "a proxy forbids it"))
    remove_gateway(jupyter.engine, made)
    assert jupyter.engine.known == {}


def test_networks_that_cannot_be_listed_are_told(make: Make, jupyter: FakeJupyter) -> None:
    made = make()
    jupyter.engine.fail("networks", refusal(500, "made up"))
    with pytest.raises(EngineError, match="made up"):
        remove_gateway(jupyter.engine, made)
    assert jupyter.engine.known == {}


def test_a_kernel_that_the_broker_had_just_asked_for_is_removed_too(make: Make, jupyter: FakeJupyter) -> None:
    made = make(isolation="kernel")
    remove = jupyter.engine.remove
    late: list[ContainerInfo] = []

    def remove_and_create(container: str) -> None:
        remove(container)
        if not late:
            late.append(add_kernel(jupyter, made.start))

    jupyter.engine.remove = remove_and_create  # type: ignore[method-assign]
    assert remove_gateway(jupyter.engine, made) == (KERNEL,)
    assert jupyter.engine.known == {}


def test_a_gateway_of_a_block_goes_with_its_parts(jupyter: FakeJupyter, ask: Ask) -> None:
    with run_gateway(jupyter.engine, EngineAddress(jupyter.engine), ask(network="own")) as gateway:
        assert gateway.kernels == ("one", "two")
        assert len(names(jupyter)) == 3
    assert (jupyter.engine.known, jupyter.engine.own_networks) == ({}, {})


def test_a_gateway_is_stopped_with_its_kernels(make: Make, jupyter: FakeJupyter) -> None:
    made = make(isolation="kernel", gateway_id="team", stays=True)
    add_kernel(jupyter, made.start)
    jupyter.kernels = {KERNEL}
    address = EngineAddress(jupyter.engine)
    report = stop_gateway(jupyter.engine, address, "unit", "team", Deadline(5))
    assert (report.method, report.kernels, report.kernels_gone) == (StopMethod.KILLED, (KERNEL,), (KERNEL,))
    assert jupyter.kernels == set()  # it was asked to shut them down
    assert jupyter.engine.known == {}
    with pytest.raises(GatewayNotFoundError):
        stop_gateway(jupyter.engine, address, "unit", "team", Deadline(5))


def test_a_gateway_that_has_ended_is_stopped(make: Make, jupyter: FakeJupyter) -> None:
    made = make(gateway_id="team", session_start="start-1", session_id="one")
    jupyter.engine.end(made.container_id)
    report = stop_gateway(jupyter.engine, EngineAddress(jupyter.engine), "unit", "team", Deadline(5))
    assert report.method is StopMethod.ALREADY_STOPPED
    assert jupyter.engine.known == {}


def test_a_gateway_of_one_unit_with_a_session_is_stopped_with_that(make: Make, jupyter: FakeJupyter) -> None:
    make(gateway_id="team", session_start="start-1", session_id="one")
    with pytest.raises(OptionError, match="one unit with session 'one'"):
        stop_gateway(jupyter.engine, EngineAddress(jupyter.engine), "unit", "team", Deadline(5))
    assert len(names(jupyter)) == 3


def test_what_is_left_of_a_gateway_that_somebody_removed_is_stopped(make: Make, jupyter: FakeJupyter) -> None:
    made = make(isolation="kernel", gateway_id="team", network="own")
    other = make(gateway_id="other")
    add_kernel(jupyter, made.start)
    del jupyter.engine.known[made.container_id]
    address = EngineAddress(jupyter.engine)
    report = stop_gateway(jupyter.engine, address, "unit", "team", Deadline(5))
    assert (report.method, report.kernels, report.kernels_gone) == (StopMethod.ALREADY_STOPPED, (KERNEL,), (KERNEL,))
    assert {other.running.name, *(part.item.name for part in find_parts(jupyter.engine, other.start))} == {
        *names(jupyter)
    }
    assert jupyter.engine.own_networks == {}
    assert len([call for call, _ in jupyter.engine.calls if call == "remove_volume"]) == 1
    with pytest.raises(GatewayNotFoundError):
        stop_gateway(jupyter.engine, address, "unit", "team", Deadline(5))


def test_parts_of_a_gateway_that_is_there_by_now_are_left_alone(make: Make, jupyter: FakeJupyter) -> None:
    """Somebody makes it between the look for it and the list of parts."""
    made = make(gateway_id="team")
    assert remove_lost_parts(jupyter.engine, "unit", "team") is None
    assert len(find_parts(jupyter.engine, made.start)) == 2


def test_a_gateway_of_another_namespace_is_not_stopped(make: Make, jupyter: FakeJupyter) -> None:
    make(gateway_id="team")
    with pytest.raises(GatewayNotFoundError):
        stop_gateway(jupyter.engine, EngineAddress(jupyter.engine), "other", "team", Deadline(5))
    assert len(names(jupyter)) == 3


def test_a_gateway_is_told_where_its_session_is(make: Make, jupyter: FakeJupyter) -> None:
    made = make()
    bind_session(jupyter.engine, made.container_id, "172.17.0.5", Deadline(5))
    assert jupyter.bound == ["172.17.0.5"]
