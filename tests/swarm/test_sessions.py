"""Sessions in a swarm of three nodes, through the public API: all that can be done with one on any node."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jupyter_launcher import (
    CommandError,
    Launcher,
    OptionError,
    PipelineDirError,
    Secret,
    ServerNotRunningError,
    Session,
    SessionConflictError,
    SessionNotFoundError,
    SessionState,
    StartCancelledError,
    StopMethod,
    Swarm,
    Timeouts,
)
from jupyter_launcher.server.api import JupyterApi
from jupyter_launcher.waiting import Deadline
from tests.containers import OWNER, eventually
from tests.swarm.conftest import SLOW, USER, Cluster, Start, as_json, on, state_of

NOTEBOOK = {
    "cells": [
        {
            "cell_type": "code",
            "id": "one",
            "execution_count": None,
            "metadata": {"tags": ["parameters"]},
            "source": "x = 1",
            "outputs": [],
        },
        {
            "cell_type": "code",
            "id": "two",
            "execution_count": None,
            "metadata": {},
            "source": "print(x + 1)",
            "outputs": [],
        },
    ],
    "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}
IN_MEMORY = ("/dev/shm", "/scratch")  # noqa: S108 - in the container
KEPT = "print([line.split()[1] for line in open('/proc/self/status') if line.startswith(('NoNewPrivs', 'CapBnd'))])"


def is_reached(session: Session) -> bool:
    """Whether its server takes its token."""
    return JupyterApi(session.url, session.server_info.token).takes_token(Deadline(10)) is True


@pytest.mark.parametrize("number", [1, 2])
def test_a_session_on_the_manager_and_on_a_worker(
    start: Start, launcher: Launcher, cluster: Cluster, pipeline_dir: str, number: int
) -> None:
    session = start(number)
    node = cluster.node(number)
    assert (session.node, session.joined, str(session.pipeline_dir)) == (f"node{number}", False, pipeline_dir)
    assert session.url.startswith(f"http://{node.address}:")
    assert is_reached(session)
    assert session.status().state is SessionState.READY
    assert cluster.client(number).containers.get(session.container_id).status == "running"
    (item,) = launcher.list()
    assert (item.session_id, item.state, item.node) == (session.id, SessionState.READY, f"node{number}")
    assert item.container_id == session.container_id
    again = launcher.get(session.id)
    assert (again.node, again.server_info, again.url) == (session.node, session.server_info, session.url)
    assert session.stop().method is StopMethod.API
    assert eventually(lambda: not cluster.containers(number, launcher.namespace))  # it is removed a moment later
    assert cluster.services(launcher.namespace) == []
    assert session.status().state is SessionState.GONE
    with pytest.raises(SessionNotFoundError):
        launcher.get(session.id)


def test_another_launcher_finds_it_by_its_id(start: Start, launcher: Launcher, swarm: Swarm, pipeline_dir: str) -> None:
    """As after a crash: from nothing but the swarm, the token too."""
    session = start(3)
    with Launcher(swarm=swarm, namespace=launcher.namespace) as other:
        assert other.get(session.id).server_info == session.server_info
        joined = other.start(pipeline_dir, user=USER, session_id=session.id, constraints=on(3))
        assert (joined.joined, joined.container_id) == (True, session.container_id)
        with pytest.raises(SessionConflictError) as caught:
            other.start(pipeline_dir, user=USER, session_id=session.id, constraints=on(2))
        assert "constraints was" in caught.value.differences[0]


def test_of_starts_at_once_one_is_made(
    launcher: Launcher, swarm: Swarm, pipeline_dir: str, cluster: Cluster, start: Start
) -> None:
    assert callable(start)  # its fixture stops what is left
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(3) as pool:
        launchers = [stack.enter_context(Launcher(swarm=swarm, namespace=launcher.namespace)) for _ in range(3)]
        starts = [
            pool.submit(one.start, pipeline_dir, user=USER, session_id="same", timeouts=Timeouts(start=120))
            for one in launchers
        ]
        found = [item.result() for item in starts]
    assert len({item.container_id for item in found}) == 1
    assert sorted(item.joined for item in found) == [False, True, True]
    assert sum(cluster.running(launcher.namespace).values()) == 1


def test_work_in_a_session_of_a_worker(start: Start, cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    session = start(2, secrets={"key": "hunter2"}, environment={"STAGE": "test"})
    code = "import os; print(os.environ['STAGE'], open('/run/jupyter-launcher/secrets/key').read())"
    assert session.execute(code).text.split() == ["test", "hunter2"]
    assert session.run(["id", "-u"]).stdout.strip() == str(OWNER)
    assert session.run(["cat"], input="in").stdout == "in"
    with pytest.raises(CommandError):
        session.run(["false"])
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.txt").write_text("a")
    (folder / "big").write_bytes(bytes(3_000_000))
    session.upload(folder, "in/data")
    assert (cluster.node(2).srv / namespace / "in" / "data" / "a.txt").read_text() == "a"
    session.download("in/data", tmp_path / "back")
    assert (tmp_path / "back" / "big").read_bytes() == bytes(3_000_000)
    notebook = tmp_path / "n.ipynb"
    notebook.write_text(json.dumps(NOTEBOOK))
    session.upload(notebook, "n.ipynb")
    session.run_notebook("n.ipynb", parameters={"x": 41}, output="out.ipynb")
    assert "42" in (cluster.node(2).srv / namespace / "out.ipynb").read_text()
    assert (session.stats().memory or 0) > 0
    assert session.activity().kernels
    assert "hunter2" not in as_json(cluster.services(namespace)[0])


def test_what_a_session_has_not_as_on_one_engine_is_told(start: Start, swarm: Swarm) -> None:
    session = start(2)
    assert sorted(session.execute(KEPT).text.strip("[]'\n").split("', '")) == ["0000000000000000", "1"]
    assert session.run(["stat", "-c", "%a", "/run/jupyter-launcher"]).stdout.strip() == "1777"
    assert session.run(["stat", "-c", "%a", "/run/jupyter-launcher/token"]).stdout.strip() == "600"
    told = " ".join(session.warnings)
    assert "mode 1777" in told
    assert ("only the server has it" in told) is swarm.weaker


def test_options_of_a_session(start: Start, cluster: Cluster) -> None:
    session = start(
        2,
        memory="600m",
        cpus=0.5,
        shm_size="32m",
        read_only=True,
        groups=["2345"],
        extra_hosts={"other.example": "10.9.8.7"},
        tmpfs={"/scratch": "8m"},
        ports={6006: None},
        base_url="/base",
        token=Secret("t" * 40),
        umask="0002",
    )
    assert is_reached(session)
    assert session.server_info.token == "t" * 40
    assert session.published(6006)[0] == cluster.node(2).address
    seen = cluster.client(2).containers.get(session.container_id).attrs["HostConfig"]
    assert (seen["Memory"], seen["NanoCpus"], seen["ReadonlyRootfs"]) == (600 * 2**20, 500_000_000, True)
    assert "2345" in session.run(["id", "-G"]).stdout.split()
    assert "10.9.8.7" in session.run(["cat", "/etc/hosts"]).stdout
    sizes = [line.split()[1] for line in session.run(["df", "-m", *IN_MEMORY]).stdout.splitlines()[1:]]
    assert sizes == ["32", "8"]


def test_the_owner_of_the_directory_is_looked_at_on_the_node(start: Start, cluster: Cluster) -> None:
    session = start(3, user=None)
    assert session.run(["id", "-u"]).stdout.strip() == str(OWNER)
    session.stop()
    with pytest.raises(PipelineDirError, match="node3"):
        start(3, user=None, pipeline_dir="/srv/none")
    assert eventually(lambda: not cluster.client().services.list())


def test_nothing_is_published_unless_that_was_said(swarm: Swarm, namespace: str, pipeline_dir: str) -> None:
    with Launcher(swarm=Swarm(weaker=swarm.weaker), namespace=namespace) as launcher:
        with pytest.raises(OptionError, match='publish="all"'):
            launcher.start(pipeline_dir, user=USER)
        assert launcher.list() == []


def test_a_lease_ends_a_session(start: Start, launcher: Launcher) -> None:
    session = start(2, lease=15)
    session.renew()
    launcher.renew(session.id)
    assert eventually(lambda: state_of(launcher, session.id) is SessionState.EXITED, SLOW)
    with pytest.raises(ServerNotRunningError):
        session.renew()
    (reaped,) = launcher.reap(min_age=0)
    assert (reaped.session_id, reaped.reason, reaped.error) == (session.id, "exited", "")
    assert launcher.list() == []


def test_a_block_renews_its_lease_and_stops(start: Start, launcher: Launcher) -> None:
    with start(3, lease=15) as session:
        assert session.wait(20).state is SessionState.READY
    assert launcher.list() == []


def test_logs_are_followed_to_their_end(start: Start, launcher: Launcher) -> None:
    session = start(2)
    assert "Jupyter Server" in session.logs()
    pieces: list[str] = []
    thread = threading.Thread(target=lambda: pieces.extend(launcher.logs(session.id, follow=True)))
    thread.start()
    session.execute("1")
    session.stop()
    thread.join(SLOW)
    assert not thread.is_alive()
    assert "Shutting down" in "".join(pieces)


def test_reap_ends_what_nobody_wants(start: Start, launcher: Launcher) -> None:
    wanted, other = start(2), start(3)
    assert launcher.reap(min_age=0) == []
    (reaped,) = launcher.reap(min_age=0, keep=[wanted.id])
    assert (reaped.session_id, reaped.reason, reaped.error) == (other.id, "orphaned", "")
    assert launcher.ids() == [wanted.id]


def test_a_session_whose_server_was_killed(start: Start, launcher: Launcher) -> None:
    session = start(2)
    session.run(["sh", "-c", "kill -9 $(cat /run/jupyter-launcher/server.pid)"], check=False)
    assert session.wait(SLOW).state is SessionState.EXITED
    with pytest.raises(ServerNotRunningError):
        launcher.get(session.id)
    again = start(2, session_id=session.id)
    assert (again.joined, again.container_id == session.container_id) == (False, False)
    assert session.stop().method is StopMethod.ALREADY_STOPPED
    assert is_reached(again)


def test_a_session_is_prepared(launcher: Launcher, start: Start, pipeline_dir: str) -> None:
    assert callable(start)  # its fixture stops what is left
    preparation = launcher.prepare(pipeline_dir, user=USER, session_id="ready", constraints=on(3))
    assert preparation.session().node == "node3"
    dropped = launcher.prepare(pipeline_dir, user=USER, session_id="dropped", constraints=on(2))
    dropped.cancel()
    assert eventually(lambda: launcher.ids() == ["ready"])


def test_a_start_is_cancelled(launcher: Launcher, pipeline_dir: str, cluster: Cluster) -> None:
    cancel = threading.Event()

    def is_there() -> bool:
        return bool(cluster.services(launcher.namespace))

    def cancel_it() -> None:
        eventually(is_there, SLOW)
        cancel.set()

    thread = threading.Thread(target=cancel_it)
    thread.start()
    with pytest.raises(StartCancelledError):
        launcher.start(pipeline_dir, user=USER, session_id="late", cancel=cancel)
    thread.join(SLOW)
    assert not is_there()


@pytest.mark.parametrize(
    "call",
    [
        lambda launcher, session: launcher.pause(session.id),
        lambda launcher, session: launcher.resume(session.id),
        lambda launcher, _: launcher.events(),
        lambda launcher, _: launcher.pool(user=USER),
        lambda launcher, session: launcher.run_gateway(str(session.pipeline_dir)).__enter__(),
    ],
    ids=["pause", "resume", "events", "pool", "run_gateway"],
)
def test_what_a_swarm_cannot_do(launcher: Launcher, start: Start, call: Callable[[Launcher, Session], object]) -> None:
    session = start(2)
    with pytest.raises(OptionError, match="cannot be done in a swarm"):
        call(launcher, session)
    assert is_reached(session)
