"""What a lease promises, on a real engine: a renewal that returns has moved it, and nothing else uses it up."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import ExecError, Launcher, ServerNotRunningError, Session, SessionState
from tests.containers import eventually, log_of, pause
from tests.integration.test_session import in_container, wait_for_exit

Start = Callable[..., Session]
RUN_DIR = "/run/jupyter-launcher"


def read_lease(client: Any, session: Session) -> int:
    return int(in_container(client, session, f"cat {RUN_DIR}/lease"))


def wait_for_another_second() -> None:
    """A lease's text has whole seconds."""
    before = float(Path("/proc/uptime").read_text().split()[0])
    assert eventually(lambda: float(Path("/proc/uptime").read_text().split()[0]) >= before + 1)


def test_a_full_folder_does_not_stop_a_renewal(start: Start, launcher: Launcher, client: Any) -> None:
    session = start(session_id="full", lease=60)
    before = read_lease(client, session)
    fill = f"dd if=/dev/zero of={RUN_DIR}/jupyter/fill bs=64k 2>&1; echo more >{RUN_DIR}/more"
    assert "No space left" in in_container(client, session, fill)
    wait_for_another_second()
    session.renew()
    moved = read_lease(client, session)
    assert moved > before
    # A lease that somebody deleted needs space again. A renewal that does not move it says so.
    in_container(client, session, f"rm {RUN_DIR}/lease; dd if=/dev/zero of={RUN_DIR}/more bs=64k")
    for renew in (session.renew, lambda: launcher.renew("full")):
        with pytest.raises(ExecError, match="was not renewed") as caught:
            renew()
        assert caught.value.started
        assert "full" in caught.value.hint
    in_container(client, session, f"rm {RUN_DIR}/jupyter/fill {RUN_DIR}/more")
    launcher.renew("full")
    assert read_lease(client, session) >= moved
    assert session.status().state is SessionState.READY


def test_the_lease_is_there_when_a_start_returns(start: Start, client: Any) -> None:
    session = start(lease=60)
    text = in_container(client, session, f"cat {RUN_DIR}/lease")
    assert (len(text), text[-1]) == (21, "\n")
    assert in_container(client, session, f"cat {RUN_DIR}/lease.state") == "open   \n"


def test_a_renewal_in_the_last_grace_says_that_the_session_is_ending(start: Start, client: Any) -> None:
    session = start(lease=3)
    in_container(client, session, f"kill -STOP {session.server_info.pid}")
    assert eventually(lambda: "ended" in in_container(client, session, f"cat {RUN_DIR}/lease.state"))
    with pytest.raises(ServerNotRunningError, match="is ending"):
        session.renew()
    assert client.containers.get(session.container_id).status == "running"
    in_container(client, session, f"kill -CONT {session.server_info.pid}")
    assert wait_for_exit(client, session)["ExitCode"] == 0
    with pytest.raises(ServerNotRunningError):
        session.renew()


def test_a_pause_does_not_use_up_a_lease(start: Start, client: Any) -> None:
    # As a laptop that was suspended: nothing in the container runs meanwhile.
    session = start(lease=3)
    container = client.containers.get(session.container_id)
    pause(container)
    with pytest.raises(ExecError):
        session.renew()
    threading.Event().wait(6)
    container.unpause()
    session.renew()
    assert session.status().state is SessionState.READY
    assert "open" in in_container(client, session, f"cat {RUN_DIR}/lease.state")


def test_a_lease_that_nobody_watches_is_not_renewed(start: Start, client: Any) -> None:
    # Where no process can be started any more, the shell that watches ends.
    session = start(lease=60)
    session.renew()
    (pid, *_) = in_container(client, session, f"cat {RUN_DIR}/lease.watcher").split()
    in_container(client, session, f"kill -KILL {pid}")
    with pytest.raises(ExecError, match="nobody watches the lease") as caught:
        session.renew()
    assert "does not end by itself" in caught.value.hint
    assert session.status().state is SessionState.READY


def test_a_session_without_a_process_to_spare_ends_when_its_lease_does(
    start: Start,
    client: Any,
    keeps_logs: bool,  # noqa: FBT001 - pytest's
) -> None:
    if client.version()["Components"][0]["Name"].startswith("Podman"):
        pytest.skip("Podman's API changes no limit of a container that runs")
    if not client.info()["PidsLimit"]:
        pytest.skip("the engine does not limit processes")
    session = start(lease=3)
    container = client.containers.get(session.container_id)
    # Fewer than there are, so that nothing can start a process, also when one ends.
    subprocess.run(["docker", "update", "--pids-limit", "3", session.container_id], capture_output=True, check=True)
    wait_for_exit(client, session, seconds=60)
    if keeps_logs:
        log = log_of(container)
        assert "fork" in log
        assert "the lease was not renewed" in log
