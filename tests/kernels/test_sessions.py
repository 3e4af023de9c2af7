"""A session with kernels in containers: it and its gateway are one unit, from the start to whatever ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import (
    DEFAULT_IMAGE,
    KernelImage,
    Launcher,
    Session,
    SessionConflictError,
    SessionNotFoundError,
    SessionState,
    StopMethod,
)
from tests.containers import eventually, reaped
from tests.kernels.client import Kernels
from tests.kernels.conftest import RunGateway, containers_of, networks_of, parts_of

KERNELS: dict[str, str | KernelImage] = {
    "one": DEFAULT_IMAGE,
    "two": KernelImage(DEFAULT_IMAGE, memory="600m", environment={"WHICH": "two"}),
}
CODE = "import os; print(os.environ.get('WHICH'), os.getcwd())"
STARTER = """
import os, sys, threading
from jupyter_launcher import DEFAULT_IMAGE, Launcher
launcher = Launcher(namespace=sys.argv[1], engine_socket=os.environ.get("ENGINE_SOCKET"))
session = launcher.start(sys.argv[2], session_id="one", kernels={"py": DEFAULT_IMAGE}, isolation=sys.argv[3])
print("started", flush=True)
threading.Event().wait()
"""


def states(client: Any, namespace: str) -> dict[str, list[str]]:
    """The states of all that is there, by the first word of its name."""
    found: dict[str, list[str]] = {}
    for item in containers_of(client, namespace):
        found.setdefault(item.name.partition(".")[0], []).append(item.status)
    return found


def only(client: Any, namespace: str, kind: str) -> Any:
    """The one container whose name begins so."""
    (found,) = [item for item in containers_of(client, namespace) if item.name.startswith(f"{kind}.")]
    return found


def parts_have_ended(client: Any, namespace: str) -> bool:
    """The gateway, and all that is of it, runs no more."""
    found = states(client, namespace)
    found.pop("jupyter-server", None)
    return {state for items in found.values() for state in items} <= {"exited"}


@pytest.mark.parametrize("network", [None, "own"])
def test_a_session_and_its_gateway_are_one_unit(
    launcher: Launcher, pipeline_dir: Path, client: Any, namespace: str, isolation: Any, network: str | None
) -> None:
    asked = dict(KERNELS)
    is_limited = launcher._engine.traits.limits_memory is not False
    if not is_limited:  # the engine refuses limits
        asked["two"] = KernelImage(DEFAULT_IMAGE, environment={"WHICH": "two"})
    session = launcher.start(pipeline_dir, session_id="one", kernels=asked, isolation=isolation, network=network)
    assert not session.joined
    assert session.timings.gateway > 0
    assert len(networks_of(client, namespace)) == (network == "own")
    kernels = Kernels(session)
    one, two = kernels.start("one"), kernels.start("two")
    assert kernels.printed(one, CODE) == "None /pipeline-dir"
    assert kernels.printed(two, CODE) == "two /pipeline-dir"
    ids = {one, two}
    assert {item.id for item in session.kernels()} == ids
    (summary,) = launcher.list()
    contained = {item.kernel_id: (item.name, item.state) for item in summary.kernels}
    assert contained == ({one: ("one", "running"), two: ("two", "running")} if isolation == "kernel" else {})
    (gateway,) = launcher.gateways()
    assert (gateway.session_id, gateway.isolation) == ("one", isolation)
    assert gateway.kernel_images == {"one": DEFAULT_IMAGE, "two": DEFAULT_IMAGE}
    assert {item.kernel_id for item in gateway.kernels} == (ids if isolation == "kernel" else set())
    used = session.stats().kernels
    assert set(used) == (ids if isolation == "kernel" else {"one", "two"})
    if is_limited:
        assert all(item.memory and item.memory > 2**20 for item in used.values())
        assert used[two if isolation == "kernel" else "two"].memory_limit == 600 * 2**20
    report = session.stop()
    assert report.method is StopMethod.API
    assert set(report.kernels) == set(report.kernels_gone) == ids
    assert (containers_of(client, namespace), networks_of(client, namespace)) == ([], [])


def test_it_is_joined_as_it_is(launcher: Launcher, pipeline_dir: Path, client: Any, namespace: str) -> None:
    """Also by those who start it at the same time: there is one session then, and one gateway."""
    asked: dict[str, Any] = {"session_id": "one", "kernels": {"py": DEFAULT_IMAGE}}
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: launcher.start(pipeline_dir, **asked), range(3)))
    assert sorted(item.joined for item in found) == [False, True, True]
    assert len({item.container_id for item in found}) == 1
    assert {name: len(items) for name, items in states(client, namespace).items()} == {
        "jupyter-server": 1,
        "kernel-gateway": 1,
        "kernel-agent": 1,
    }
    with pytest.raises(SessionConflictError) as caught:
        launcher.start(pipeline_dir, **{**asked, "max_kernels": 3})
    assert caught.value.differences == ("max_kernels was 16, now 3",)
    again = launcher.get("one")
    assert again.execute("print(6 * 7)").text == "42\n"
    again.stop()


def end_by_lease(session: Session, client: Any) -> None:
    """Nobody renews it."""
    assert session.wait(60).state is SessionState.EXITED


def end_by_kill(session: Session, client: Any) -> None:
    container = client.containers.get(session.container_id)
    container.kill()
    container.wait()


def end_by_removal(session: Session, client: Any) -> None:
    client.containers.get(session.container_id).remove(force=True, v=True)


@pytest.mark.parametrize("end", [end_by_lease, end_by_kill, end_by_removal])
def test_whatever_ends_the_session_ends_its_gateway_and_kernels(
    launcher: Launcher, pipeline_dir: Path, client: Any, namespace: str, isolation: Any, end: Any
) -> None:
    lease = 12 if end is end_by_lease else None  # a kernel starts meanwhile
    asked: dict[str, Any] = {"session_id": "one", "kernels": {"py": DEFAULT_IMAGE}, "isolation": isolation}
    session = launcher.start(pipeline_dir, lease=lease, **asked)
    session.execute("x = 1")
    end(session, client)
    assert eventually(lambda: parts_have_ended(client, namespace), 60), states(client, namespace)
    assert parts_of(client, namespace, "kernel") == []
    session = launcher.start(pipeline_dir, **asked)  # which removes what is left of the one before
    assert not session.joined
    assert {name: set(items) for name, items in states(client, namespace).items()} == {
        "jupyter-server": {"running"},
        "kernel-gateway": {"running"},
        "kernel-agent" if isolation == "environment" else "kernel-broker": {"running"},
    }
    session.execute("x = 1")
    end_by_kill(session, client)
    (found,) = reaped(launcher)
    assert (found.kind, found.error) == ("session", "")
    assert containers_of(client, namespace) == []


def test_kernels_end_gracefully_with_a_session_that_was_killed(
    launcher: Launcher, pipeline_dir: Path, client: Any, namespace: str, isolation: Any
) -> None:
    session = launcher.start(pipeline_dir, session_id="one", kernels={"py": DEFAULT_IMAGE}, isolation=isolation)
    kernels = Kernels(session)
    for number in range(2):
        code = f"import atexit; atexit.register(open, '/pipeline-dir/ended-{number}', 'w')"
        assert kernels.run(kernels.start("py"), code).status == "ok"
    end_by_kill(session, client)
    assert eventually(lambda: parts_have_ended(client, namespace), 60), states(client, namespace)
    assert sorted(item.name for item in pipeline_dir.glob("ended-*")) == ["ended-0", "ended-1"]
    launcher.stop("one")


def test_what_is_left_of_a_session_that_somebody_removed(
    launcher: Launcher, pipeline_dir: Path, client: Any, namespace: str, isolation: Any
) -> None:
    """Its handle ends the rest at once, and its id when the gateway has seen that it is gone."""
    asked: dict[str, Any] = {"session_id": "one", "kernels": {"py": DEFAULT_IMAGE}, "isolation": isolation}
    session = launcher.start(pipeline_dir, **asked)
    kernel = Kernels(session).start("py")
    end_by_removal(session, client)
    report = session.stop()
    assert report.method is StopMethod.ALREADY_STOPPED
    # None, where the gateway has been faster.
    assert report.kernels == report.kernels_gone
    assert set(report.kernels) <= {kernel}
    assert containers_of(client, namespace) == []
    session = launcher.start(pipeline_dir, **asked)
    end_by_removal(session, client)
    assert eventually(lambda: parts_have_ended(client, namespace), 60)
    assert launcher.stop("one").method is StopMethod.ALREADY_STOPPED
    assert containers_of(client, namespace) == []
    with pytest.raises(SessionNotFoundError):
        launcher.stop("one")


def test_the_gateway_was_killed(
    launcher: Launcher, pipeline_dir: Path, client: Any, namespace: str, isolation: Any
) -> None:
    """Its kernels are gone with it; the session is there, until somebody stops it."""
    session = launcher.start(pipeline_dir, session_id="one", kernels={"py": DEFAULT_IMAGE}, isolation=isolation)
    session.execute("x = 1")
    only(client, namespace, "kernel-gateway").kill()
    assert eventually(lambda: parts_have_ended(client, namespace), 60), states(client, namespace)
    assert parts_of(client, namespace, "kernel") == []
    found = {item.kind for item in reaped(launcher)}
    assert found == {"part"}
    assert set(states(client, namespace)) == {"jupyter-server", "kernel-gateway"}
    session.stop()
    assert containers_of(client, namespace) == []


def test_the_gateway_was_removed(
    launcher: Launcher, pipeline_dir: Path, client: Any, namespace: str, isolation: Any
) -> None:
    if isolation == "environment" and launcher._engine.traits.is_podman:
        pytest.skip("Podman removes no container whose network others have")
    session = launcher.start(
        pipeline_dir, session_id="one", kernels={"py": DEFAULT_IMAGE}, isolation=isolation, network="own"
    )
    gateway = only(client, namespace, "kernel-gateway")
    volumes = {item["Name"] for item in gateway.attrs["Mounts"] if item["Type"] == "volume"}
    gateway.remove(force=True, v=True)  # the engine keeps the volume for the broker, which mounts it by its name
    session.stop()
    assert not volumes & {item.name for item in client.volumes.list()}
    assert (containers_of(client, namespace), networks_of(client, namespace)) == ([], [])


@pytest.mark.parametrize("when", ["started", "starting"])
def test_its_launcher_was_killed(
    launcher: Launcher, pipeline_dir: Path, client: Any, namespace: str, isolation: Any, when: str
) -> None:
    """A session goes on without its launcher; of one that was just being started, one ``reap`` leaves nothing."""
    line = [sys.executable, "-c", STARTER, namespace, str(pipeline_dir), isolation]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            if when == "started":
                assert process.stdout.readline() == "started\n"
            else:
                kind = "kernel-gateway"
                assert eventually(lambda: "running" in states(client, namespace).get(kind, []), 60)
        finally:
            os.kill(process.pid, signal.SIGKILL)
    if when == "started":
        assert reaped(launcher) == []
        session = launcher.get("one")
        assert session.execute("print(6 * 7)").text == "42\n"
        session.stop()
    else:
        launcher.reap(min_age=0, keep=[])
    assert (containers_of(client, namespace), networks_of(client, namespace)) == ([], [])


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_on_a_shared_gateway_nobody_elses_kernel_ends(
    launcher: Launcher,
    pipeline_dir: Path,
    run_gateway: RunGateway,
    client: Any,
    namespace: str,
    isolation: Any,
    end: str,
) -> None:
    gateway = run_gateway({"py": DEFAULT_IMAGE}, isolation=isolation)
    with launcher.start(pipeline_dir, gateway=gateway) as other, other.kernel("py") as theirs:
        theirs.execute("x = 1")
        session = launcher.start(pipeline_dir, gateway=gateway, session_id="one")
        kernel = Kernels(session).start("py")
        listed = {item.session_id: [found.kernel_id for found in item.kernels] for item in launcher.list()}
        assert listed == {
            "one": [kernel] if isolation == "kernel" else [],
            other.id: [theirs.id] if isolation == "kernel" else [],
        }
        if end == "kill":
            end_by_kill(session, client)
        report = launcher.stop("one")
        assert report.kernels == report.kernels_gone == (kernel,)
        assert len(parts_of(client, namespace, "kernel")) == (isolation == "kernel")
        assert reaped(launcher) == []
        assert theirs.execute("print(x)").text == "1\n"
