"""What happens to nodes, cables, engines and managers; and what the library does about sessions then."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from jupyter_launcher import (
    EngineUnavailableError,
    Launcher,
    LauncherError,
    PlacementError,
    Session,
    SessionNotFoundError,
    SessionState,
    StopMethod,
    Swarm,
)
from tests.containers import eventually
from tests.swarm.conftest import HEARTBEAT, SLOW, USER, Cluster, Start, on, state_of

AWAY = 18
"""Seconds without a cable, after which a node is down with the default heartbeat, which is 5 s."""


def answers(session: Session) -> bool:
    """Whether its server does, past the launcher."""
    try:
        return requests.get(session.lab_url, timeout=5).status_code == 200
    except requests.RequestException:
        return False


def hold(seconds: float, true: Callable[[], bool]) -> None:
    """Something stays true for so long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert true()
        time.sleep(0.5)


def leave_alone(launcher: Launcher, session: Session, cluster: Cluster, words: str) -> None:
    """A session on a node that is away is told as such, at once, and nothing touches it."""
    begun = time.monotonic()
    item = next(item for item in launcher.list() if item.session_id == session.id)
    assert (item.state, item.node) == (SessionState.UNREACHABLE, session.node)
    assert session.status().state is SessionState.UNREACHABLE
    with pytest.raises(EngineUnavailableError, match=session.node) as caught:
        launcher.get(session.id)
    assert words in str(caught.value)
    with pytest.raises(LauncherError, match=session.node):
        session.run(["true"])
    assert launcher.reap(min_age=0) == []
    # A connection to a node that is away fails only after some 14 s: none was tried.
    assert time.monotonic() - begun < 10
    assert [
        service.attrs["Spec"]["Labels"]["jupyter-launcher.session-id"]
        for service in cluster.services(launcher.namespace)
    ] == [session.id]


def test_power_is_cut_and_comes_back(cluster: Cluster, launcher: Launcher, start: Start, pipeline_dir: str) -> None:
    session = start(3)
    assert session.node == "node3"
    cluster.node(3).down()
    cluster.until_down(3)
    # The manager still calls the task running.
    assert {task["Status"]["State"] for task in cluster.tasks(launcher.namespace)} == {"running"}
    leave_alone(launcher, session, cluster, "when it comes back")
    with pytest.raises(LauncherError):  # the old server may still write to shared storage
        start(2, session_id=session.id)
    assert cluster.running(launcher.namespace) == {"node1": 0, "node2": 0}
    cluster.node(3).up()
    assert eventually(lambda: state_of(launcher, session.id) is SessionState.EXITED, SLOW)
    reaped = launcher.reap(min_age=0)
    assert [(item.session_id, item.reason) for item in reaped] == [(session.id, "exited")]
    assert cluster.services(launcher.namespace) == []


def test_a_session_on_a_dead_node_is_stopped(cluster: Cluster, launcher: Launcher, start: Start) -> None:
    session = start(3)
    cluster.node(3).down()
    cluster.until_down(3)
    begun = time.monotonic()
    report = session.stop()
    assert report.method is StopMethod.UNREACHABLE
    assert time.monotonic() - begun < 10  # nobody waits for the node
    assert cluster.services(launcher.namespace) == []
    with start(2, session_id=session.id) as again:
        assert again.node == "node2"
        assert answers(again)


def test_a_cable_is_out_for_a_moment(cluster: Cluster, launcher: Launcher, start: Start) -> None:
    session = start(3)
    cluster.node(3).cable_out()
    hold(6, lambda: state_of(launcher, session.id) is not SessionState.EXITED)
    cluster.node(3).cable_in()
    assert eventually(lambda: state_of(launcher, session.id) is SessionState.READY, SLOW)
    hold(10, lambda: state_of(launcher, session.id) is SessionState.READY)
    assert session.execute("print(6 * 7)").text.strip() == "42"


def test_a_cable_is_out_for_longer(cluster: Cluster, launcher: Launcher, start: Start) -> None:
    session = start(3)
    cluster.node(3).cable_out()
    cluster.until_down(3)
    leave_alone(launcher, session, cluster, "when it comes back")
    assert cluster.running(launcher.namespace)["node3"] == 1  # it goes on, unseen
    cluster.node(3).cable_in()
    assert eventually(lambda: state_of(launcher, session.id) is SessionState.EXITED, SLOW)
    assert eventually(lambda: cluster.running(launcher.namespace)["node3"] == 0)


def test_with_a_longer_heartbeat_it_may_be_out_for_longer(cluster: Cluster, launcher: Launcher, start: Start) -> None:
    cluster.set_heartbeat(20)
    # A node takes over the new period with its next heartbeat.
    time.sleep(2 * HEARTBEAT)
    session = start(3)
    cluster.node(3).cable_out()
    hold(25, lambda: cluster.states()["node3"] == "ready")
    cluster.node(3).cable_in()
    assert eventually(lambda: state_of(launcher, session.id) is SessionState.READY, SLOW)
    hold(10, lambda: state_of(launcher, session.id) is SessionState.READY)


def test_a_nodes_engine_is_killed(cluster: Cluster, launcher: Launcher, start: Start) -> None:
    session = start(3)
    cluster.node(3).kill_engine()
    cluster.until_down(3)
    assert answers(session)  # it goes on without its engine
    leave_alone(launcher, session, cluster, "when it comes back")
    cluster.node(3).engine()
    assert eventually(lambda: state_of(launcher, session.id) is SessionState.EXITED, SLOW)
    assert not answers(session)


def test_the_managers_engine_is_killed(cluster: Cluster, launcher: Launcher, start: Start) -> None:
    session, on_manager = start(2), start(1)
    cluster.node(1).kill_engine()
    with pytest.raises(EngineUnavailableError):
        launcher.list()
    assert answers(session)
    assert session.request("GET", "api/status").status == 200
    cluster.node(1).engine()
    # Right after its start a manager knows no node's state: nothing is taken for dead.
    seen: list[Any] = []

    def reaped() -> bool:
        try:
            seen.extend(launcher.reap(min_age=0))
        except EngineUnavailableError:
            return False
        return True

    assert eventually(reaped, SLOW)
    hold(10, lambda: session.id not in {item.session_id for item in launcher.reap(min_age=0)})
    assert session.id not in {item.session_id for item in seen}
    cluster.until_ready(2)
    assert eventually(lambda: state_of(launcher, session.id) is SessionState.READY, SLOW)
    assert launcher.get(session.id).server_info == session.server_info
    # What ran on the manager itself ended with its engine's next start.
    assert state_of(launcher, on_manager.id) in (SessionState.EXITED, None)


def test_without_a_quorum_there_is_one_clear_error(cluster: Cluster, launcher: Launcher, start: Start) -> None:
    session = start(3)
    cluster.promote(2)
    cluster.node(2).kill_engine()
    told: list[EngineUnavailableError] = []

    def fails() -> bool:
        try:
            launcher.list()
        except EngineUnavailableError as error:
            told.append(error)
        return bool(told)

    assert eventually(fails, SLOW)  # for a few seconds the leader goes on
    assert "quorum" in str(told[0])
    for act in (lambda: launcher.get(session.id), launcher.reap, lambda: start(3, session_id="another")):
        with pytest.raises(EngineUnavailableError):
            act()
    assert answers(session)
    cluster.mend()
    assert eventually(lambda: state_of(launcher, session.id) is SessionState.READY, SLOW)
    assert launcher.get(session.id).server_info == session.server_info
    # Neither of the failed starts has left one.
    assert {item.session_id for item in launcher.list()} == {session.id}


def test_the_leader_is_lost_and_another_one_takes_over(
    cluster: Cluster, launcher: Launcher, start: Start, swarm: Swarm, pipeline_dir: str, watch: Callable[[], int]
) -> None:
    cluster.promote(2, 3)
    there = f"tcp://{cluster.node(2).address}:2376"
    with Launcher(docker_host=there, swarm=swarm, namespace=launcher.namespace) as other:
        # It is no leader, and serves all the same.
        with other.start(pipeline_dir, user=USER, session_id="before", constraints=on(3)) as session:
            assert [item.session_id for item in launcher.list()] == [session.id]
        cluster.node(1).kill_engine()

        def started() -> bool:
            try:
                session = other.start(pipeline_dir, user=USER, session_id="after", constraints=on(3))
            except (EngineUnavailableError, PlacementError):
                return False  # there is no leader yet, or it has not heard of its nodes yet
            assert answers(session)
            return True

        assert eventually(started, SLOW)
        assert [item.session_id for item in other.list()] == ["after"]
        other.stop("after")
    assert watch() == 1


def test_a_node_is_drained(cluster: Cluster, launcher: Launcher, start: Start) -> None:
    session = start(3)
    session.execute("import time")
    cluster.set_node(3, Availability="drain")
    assert eventually(lambda: state_of(launcher, session.id) is SessionState.EXITED, SLOW)
    assert eventually(lambda: session.status().exit_code == 0)
    assert "Shutting down 1 kernel" in session.logs()  # gracefully
    # It is not started elsewhere.
    assert sum(cluster.running(launcher.namespace).values()) == 0
    assert [item.session_id for item in launcher.reap(min_age=0)] == [session.id]


def test_a_container_is_removed_behind_swarms_back(cluster: Cluster, launcher: Launcher, start: Start) -> None:
    session = start(2)
    cluster.client(2).containers.get(session.container_id).remove(force=True)
    assert eventually(lambda: state_of(launcher, session.id) is SessionState.EXITED, SLOW)
    assert [item.session_id for item in launcher.reap(min_age=0)] == [session.id]


def test_a_service_is_removed_behind_the_launchers_back(cluster: Cluster, launcher: Launcher, start: Start) -> None:
    session = start(2)
    for service in cluster.services(launcher.namespace):
        service.remove()
    assert eventually(lambda: session.status().state is SessionState.GONE, SLOW)
    assert launcher.list() == []
    assert session.stop().method is StopMethod.ALREADY_STOPPED


def test_an_admin_updates_a_service_by_force(cluster: Cluster, launcher: Launcher, start: Start) -> None:
    session = start(2)
    service = cluster.services(launcher.namespace)[0]
    service.force_update()
    # The new container has no server: no session is shown as one that answers, and stop removes all of it.
    assert eventually(lambda: len(cluster.tasks(launcher.namespace)) > 1, SLOW)
    assert eventually(lambda: state_of(launcher, session.id) is not SessionState.READY, SLOW)
    launcher.stop(session.id)
    assert cluster.services(launcher.namespace) == []


def test_stop_returns_when_the_container_has_ended(cluster: Cluster, launcher: Launcher, start: Start) -> None:
    session = start(2)
    session.execute("import time")
    report = session.stop()
    assert report.method is StopMethod.API
    assert len(report.kernels_gone) == 1
    assert cluster.services(launcher.namespace) == []
    assert sum(cluster.running(launcher.namespace).values()) == 0


def test_stop_and_start_of_one_id_never_run_two_containers(
    cluster: Cluster, launcher: Launcher, start: Start, watch: Callable[[], int]
) -> None:
    for number in (2, 3, 2):
        session = start(number, session_id="one")
        assert session.node == f"node{number}"
        launcher._engine.remove(session.container_id)  # with no graceful stop before, the container needs a while
    start(3, session_id="one").stop()
    assert watch() == 1


def test_nor_do_they_right_after_the_managers_start(
    cluster: Cluster, launcher: Launcher, start: Start, watch: Callable[[], int]
) -> None:
    start(2, session_id="one")
    cluster.node(1).kill_engine()
    cluster.node(1).engine()

    def stopped() -> bool:
        try:
            launcher.stop("one")
        except EngineUnavailableError:
            return False  # it has not heard of the node yet
        except SessionNotFoundError:
            pass  # an attempt before has removed it
        return True

    assert eventually(stopped, SLOW)

    def started() -> bool:
        try:
            return start(3, session_id="one").node == "node3"
        except (EngineUnavailableError, PlacementError):
            return False

    assert eventually(started, SLOW)
    assert watch() == 1


def test_two_launchers_and_one_id(
    cluster: Cluster, swarm: Swarm, launcher: Launcher, start: Start, watch: Callable[[], int]
) -> None:
    with (
        Launcher(swarm=swarm, namespace=launcher.namespace) as other,
        ThreadPoolExecutor() as pool,
    ):
        given: dict[str, Any] = {"user": USER, "session_id": "one"}
        folder = f"/srv/{launcher.namespace}"
        begun = [pool.submit(item.start, folder, **given) for item in (launcher, other) * 2]
        sessions = [item.result() for item in begun]
    assert len({session.container_id for session in sessions}) == 1
    assert sorted(session.joined for session in sessions) == [False, True, True, True]
    assert len(cluster.services(launcher.namespace)) == 1
    assert watch() == 1


def test_an_engine_that_nobody_reaches(cluster: Cluster, namespace: str, swarm: Swarm, pipeline_dir: str) -> None:
    closed = {"node3": f"tcp://{cluster.node(3).address}:9999"}
    with (
        Launcher(swarm=dataclasses.replace(swarm, engines=closed), namespace=namespace) as launcher,
        pytest.raises(EngineUnavailableError, match="node3") as caught,
    ):
        launcher.start(pipeline_dir, user=USER, constraints=on(3))
    for way in ("engines", "jupyter-launcher.docker-host"):
        assert way in str(caught.value)
    assert cluster.services(namespace) == []


def test_an_engine_that_is_another_nodes(cluster: Cluster, namespace: str, swarm: Swarm, pipeline_dir: str) -> None:
    crossed = {"node3": f"tcp://{cluster.node(2).address}:2376"}
    with (
        Launcher(swarm=dataclasses.replace(swarm, engines=crossed), namespace=namespace) as launcher,
        pytest.raises(LauncherError, match=r"node3|node2"),
    ):
        launcher.start(pipeline_dir, user=USER, constraints=on(3))
    assert cluster.services(namespace) == []


def test_an_engine_by_a_label_of_its_node(cluster: Cluster, launcher: Launcher, start: Start) -> None:
    cluster.set_node(3, Labels={"jupyter-launcher.docker-host": cluster.node(3).url})
    with start(3) as session:
        cluster.node(3).x("iptables", "-I", "INPUT", "-p", "tcp", "--dport", "2376", "-j", "REJECT")
        try:
            assert session.run(["cat", "/etc/hostname"]).exit_code == 0
        finally:
            cluster.node(3).x("iptables", "-D", "INPUT", "-p", "tcp", "--dport", "2376", "-j", "REJECT")


def test_logs_that_are_followed_end_with_the_task(launcher: Launcher, start: Start) -> None:
    session = start(2)
    with ThreadPoolExecutor() as pool:
        followed = pool.submit(lambda: "".join(launcher.logs(session.id, follow=True)))
        session.stop()
        assert "Jupyter Server" in followed.result(60)


def test_a_lease_ends_a_session_on_a_node_that_is_cut_off(cluster: Cluster, launcher: Launcher, start: Start) -> None:
    start(3, lease=15)
    cluster.set_heartbeat(60)
    cluster.node(3).cable_out()
    assert eventually(lambda: cluster.running(launcher.namespace)["node3"] == 0, SLOW)
