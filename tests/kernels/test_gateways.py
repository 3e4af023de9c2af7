"""Gateways with kernels in containers: started, found again, listed, stopped, and nothing left of those that fail."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import docker
import pytest

from jupyter_launcher import (
    DEFAULT_IMAGE,
    GatewayConflictError,
    GatewayError,
    GatewayNotFoundError,
    KernelImage,
    KernelImageError,
    Launcher,
    OptionError,
    StopMethod,
    UnsupportedOptionError,
)
from jupyter_launcher.acts import Cancel, run_act
from tests.containers import eventually
from tests.kernels.client import Kernels
from tests.kernels.conftest import ENGINE_SOCKET, RunGateway, containers_of, needs_image, networks_of, parts_of

TWO: dict[str, str | KernelImage] = {
    "one": DEFAULT_IMAGE,
    "two": KernelImage(DEFAULT_IMAGE, environment={"WHICH": "two"}),
}


@pytest.fixture
def other(namespace: str, launcher: Launcher) -> Iterator[Launcher]:
    """Another launcher of the same namespace, as in another process."""
    with Launcher(namespace=namespace, engine_socket=ENGINE_SOCKET) as found:
        yield found


def states(client: Any, namespace: str) -> dict[str, str]:
    return {item.name.split(".")[0]: item.status for item in containers_of(client, namespace)}


def test_each_image_is_a_kernel_spec_whose_kernels_run_there(run_gateway: RunGateway, isolation: Any) -> None:
    gateway = run_gateway(TWO, isolation=isolation)
    assert gateway.kernels == ("one", "two")
    kernels = Kernels(gateway)
    specs = kernels.ask("GET", "kernelspecs").json()["kernelspecs"]
    assert {name: item["spec"]["display_name"] for name, item in specs.items()} == {"one": "one", "two": "two"}
    code = "import os; print(os.environ.get('WHICH'), os.getcwd(), os.getuid() == os.stat('.').st_uid)"
    printed = {name: kernels.printed(kernels.start(name), code) for name in TWO}
    assert printed == {"one": "None /pipeline-dir True", "two": "two /pipeline-dir True"}


def test_a_gateway_that_stays_is_found_listed_and_stopped(
    launcher: Launcher, other: Launcher, pipeline_dir: Path, isolation: Any, client: Any, namespace: str
) -> None:
    asked: dict[str, Any] = {"gateway_id": "team", "kernels": TWO, "isolation": isolation}
    first = launcher.start_gateway(pipeline_dir, **asked)
    try:
        kernel = Kernels(first).start("two")
        second = other.start_gateway(pipeline_dir, **asked)
        assert (first.joined, second.joined) == (False, True)
        assert (second.name, second.token, second.url) == (first.name, first.token, first.url)
        assert Kernels(second).ids() == {kernel}
        (found,) = other.gateways()
        assert (found.gateway_id, found.name, found.isolation, found.state) == (
            "team",
            first.name,
            isolation,
            "running",
        )
        assert dict(found.kernel_images) == {"one": DEFAULT_IMAGE, "two": DEFAULT_IMAGE}
        wanted = [kernel] if isolation == "kernel" else []
        assert [item.kernel_id for item in found.kernels] == wanted
        with pytest.raises(GatewayConflictError, match=r"kernels\.images\.one"):
            other.start_gateway(pipeline_dir, **{**asked, "kernels": {"two": TWO["two"]}})
        assert Kernels(first).ids() == {kernel}
    finally:
        report = other.stop_gateway("team")
    assert (report.kernels, report.kernels_gone, report.method) == ((kernel,), (kernel,), StopMethod.KILLED)
    assert containers_of(client, namespace) == []
    with pytest.raises(GatewayNotFoundError):
        launcher.stop_gateway("team")


def test_several_launchers_at_once_make_one_gateway(
    namespace: str, launcher: Launcher, pipeline_dir: Path, isolation: Any, client: Any
) -> None:
    begin = threading.Barrier(4)

    def start(_: int) -> tuple[str, bool]:
        with Launcher(namespace=namespace, engine_socket=ENGINE_SOCKET) as own:
            begin.wait()
            found = own.start_gateway(pipeline_dir, gateway_id="team", kernels=TWO, isolation=isolation, network="own")
            return found.token, found.joined

    try:
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(start, range(4)))
        assert len({token for token, _ in results}) == 1
        assert sorted(joined for _, joined in results) == [False, True, True, True]
        assert len(networks_of(client, namespace)) == 1
    finally:
        launcher.stop_gateway("team")


def test_a_gateway_that_has_ended_is_started_anew(
    launcher: Launcher, pipeline_dir: Path, isolation: Any, client: Any, namespace: str
) -> None:
    asked: dict[str, Any] = {"gateway_id": "team", "kernels": TWO, "isolation": isolation}
    first = launcher.start_gateway(pipeline_dir, **asked)
    Kernels(first).start("one")
    client.containers.get(first.name).kill()
    assert eventually(lambda: "running" not in states(client, namespace).values(), 30), states(client, namespace)
    second = launcher.start_gateway(pipeline_dir, **asked)
    assert second.token != first.token
    assert Kernels(second).printed(Kernels(second).start("one"), "print(6 * 7)") == "42"
    launcher.stop_gateway("team")


def test_a_network_of_its_own(
    launcher: Launcher, pipeline_dir: Path, isolation: Any, client: Any, namespace: str
) -> None:
    with launcher.run_gateway(pipeline_dir, kernels=TWO, isolation=isolation, network="own") as gateway:
        (network,) = networks_of(client, namespace)
        kernels = Kernels(gateway)
        assert kernels.printed(kernels.start("one"), "print(6 * 7)") == "42"
        with launcher.start(pipeline_dir, gateway=gateway, session_id="one") as session:
            container = client.containers.get(session.container_id)
            assert list(container.attrs["NetworkSettings"]["Networks"]) == [network.name]
            assert session.execute("6 * 7").text.strip() == "42"
    assert networks_of(client, namespace) == []


def test_a_session_beside_a_gateway_has_its_kernels_there(
    launcher: Launcher, pipeline_dir: Path, isolation: Any, client: Any, namespace: str
) -> None:
    with launcher.run_gateway(pipeline_dir, kernels=TWO, isolation=isolation) as gateway:
        mine = Kernels(gateway).start("one")
        asked: dict[str, Any] = {"gateway": gateway, "session_id": "one"}
        with launcher.start(pipeline_dir, **asked) as session, session.kernel() as kernel:
            assert kernel.execute("import os; print(os.getcwd())").text.strip() == "/pipeline-dir"
            assert len(parts_of(client, namespace, "kernel")) == (2 if isolation == "kernel" else 0)
        assert Kernels(gateway).ids() == {mine}  # the session's has ended with it
        assert Kernels(gateway).printed(mine, "print(6 * 7)") == "42"


@pytest.mark.parametrize("kind", ["agent", "broker"])
def test_a_gateway_ends_with_its_parts_and_they_end_with_it(
    launcher: Launcher, pipeline_dir: Path, client: Any, namespace: str, kind: str
) -> None:
    """Nobody is left to end the kernels of a broker that was killed: the next start does, as a reap does."""
    isolation: Any = "environment" if kind == "agent" else "kernel"
    asked: dict[str, Any] = {"gateway_id": "team", "kernels": TWO, "isolation": isolation}
    for victim in (kind, "gateway"):
        gateway = launcher.start_gateway(pipeline_dir, **asked)
        kernel = Kernels(gateway).start("one")
        killed = client.containers.get(gateway.name) if victim == "gateway" else parts_of(client, namespace, kind)[0]
        killed.kill()
        left = "jupyter-kernel" if victim == "broker" else ""

        def has_ended(left: str = left) -> bool:
            return {name for name, state in states(client, namespace).items() if state == "running"} <= {left}

        assert eventually(has_ended, 30), (victim, states(client, namespace))
    again = launcher.start_gateway(pipeline_dir, **asked)
    assert Kernels(again).ids() == set()
    assert [item.name for item in parts_of(client, namespace, "kernel") if kernel in item.name] == []
    launcher.stop_gateway("team")


def test_an_image_without_a_kernel_leaves_nothing(
    launcher: Launcher, pipeline_dir: Path, isolation: Any, client: Any, namespace: str
) -> None:
    image = needs_image(client, "no-kernel")
    with pytest.raises(KernelImageError) as caught:
        launcher.start_gateway(pipeline_dir, kernels={"py": image}, isolation=isolation, network="own")
    assert (caught.value.kernel, caught.value.image) == ("py", image)
    assert containers_of(client, namespace) == []
    assert networks_of(client, namespace) == []


def test_a_gateway_without_our_package_is_refused_and_leaves_nothing(
    launcher: Launcher, pipeline_dir: Path, client: Any, namespace: str
) -> None:
    """The image of a session answers as a gateway does, with the specs of its own."""
    tag = f"jupyter-launcher/not-a-gateway:{namespace}"
    made = client.containers.create(DEFAULT_IMAGE)
    command = "jupyter lab --allow-root --ip=0.0.0.0 --port=8888 --no-browser --IdentityProvider.token=$KG_AUTH_TOKEN"
    try:
        made.commit(*tag.split(":"), changes=f'CMD ["sh", "-c", "{command}"]')
    finally:
        made.remove(v=True)
    try:
        with pytest.raises(GatewayError, match="does not offer the kernels py"):
            launcher.start_gateway(pipeline_dir, image=tag, kernels={"py": DEFAULT_IMAGE})
    finally:
        client.images.remove(tag, force=True)


def test_a_socket_that_is_not_there_is_named(namespace: str, pipeline_dir: Path) -> None:
    with (
        Launcher(namespace=namespace, engine_socket="/run/no-such-engine.sock") as own,
        pytest.raises(UnsupportedOptionError, match="engine_socket") as caught,
    ):
        own.start_gateway(pipeline_dir, kernels={"py": DEFAULT_IMAGE}, isolation="kernel")
    assert caught.value.option == "engine_socket"


def test_a_socket_of_no_engine_is_named(namespace: str, launcher: Launcher, pipeline_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "of-nobody.sock"
    path.write_text("")
    with (
        Launcher(namespace=namespace, engine_socket=str(path)) as own,
        pytest.raises(GatewayError, match="broker") as caught,
    ):
        own.start_gateway(pipeline_dir, kernels={"py": DEFAULT_IMAGE}, isolation="kernel")
    assert "engine_socket=" in caught.value.hint


@pytest.mark.parametrize("after", [0.1, 0.4, 0.8, 1.2])
def test_an_interrupted_start_leaves_nothing(
    launcher: Launcher, pipeline_dir: Path, isolation: Any, after: float, client: Any, namespace: str
) -> None:
    """Wherever it is then; one that was done before is removed by who has it."""
    stop = threading.Event()
    cancel = Cancel(event=stop, error=InterruptedError)
    timer = threading.Timer(after, stop.set)
    timer.start()
    try:
        with contextlib.suppress(InterruptedError):
            run_act(
                lambda: launcher.start_gateway(pipeline_dir, kernels=TWO, isolation=isolation, network="own"),
                undo=lambda found: launcher.stop_gateway(found.gateway_id),
                cancel=cancel,
            )
            for item in launcher.gateways():
                launcher.stop_gateway(item.gateway_id)
    finally:
        timer.cancel()
    assert containers_of(client, namespace) == []
    assert networks_of(client, namespace) == []


def test_a_user_without_a_number_is_refused(launcher: Launcher, pipeline_dir: Path) -> None:
    with pytest.raises(OptionError) as caught:
        launcher.start_gateway(pipeline_dir, kernels=TWO, user="jovyan")
    assert caught.value.option == "user"


def test_networks_run_out_as_a_typed_error(launcher: Launcher, pipeline_dir: Path, client: Any, namespace: str) -> None:
    """An engine has some 31 subnets by default."""
    made: list[Any] = []
    try:
        with contextlib.suppress(docker.errors.APIError):
            made += (client.networks.create(f"{namespace}-{number}") for number in range(64))
        if len(made) == 64:
            pytest.skip("this engine has more subnets than these tests take from it")
        with pytest.raises(UnsupportedOptionError, match="no subnet left") as caught:
            launcher.start_gateway(pipeline_dir, kernels={"py": DEFAULT_IMAGE}, network="own")
        assert caught.value.option == "network"
    finally:
        for network in made:
            network.remove()
