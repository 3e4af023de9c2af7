"""Sessions that nobody uses end, those in use stay, and what happened to a session is told: on a real engine."""

from __future__ import annotations

import contextlib
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import websocket

from jupyter_launcher import (
    Launcher,
    ServerError,
    ServerNotRunningError,
    Session,
    SessionEvent,
    SessionEventKind,
    SessionState,
)
from jupyter_launcher.pytest_plugin import ServerFactory as Start
from tests.containers import eventually
from tests.integration.test_session import authorized, in_container, start_kernel

LIMIT = 4
LONGER = LIMIT + 3


@contextlib.contextmanager
def open_socket(session: Session, path: str) -> Iterator[Any]:
    """A websocket to a kernel or a terminal, as a page holds it open."""
    url = f"{session.url.replace('http', 'ws', 1)}{path}"
    with contextlib.closing(websocket.create_connection(url, header=authorized(session), timeout=30)) as opened:
        yield opened


def send_code(kernel: Any, code: str) -> None:
    """Have a kernel execute, and wait for nothing."""
    header = {
        "msg_id": uuid.uuid4().hex,
        "msg_type": "execute_request",
        "username": "",
        "session": "s",
        "version": "5.3",
    }
    content = {"code": code, "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False}
    message = {
        "header": {**header, "version": "5.3"},
        "parent_header": {},
        "metadata": {},
        "content": content,
        "channel": "shell",
    }
    kernel.send(json.dumps(message))


@pytest.fixture
def told(launcher: Launcher) -> Iterator[list[SessionEvent]]:
    """What the engine tells of sessions meanwhile."""
    found: list[SessionEvent] = []
    with launcher.events() as events:

        def read() -> None:
            for event in events:
                found.append(event)  # noqa: PERF402 - seen at once

        reader = threading.Thread(target=read)
        reader.start()
        yield found
    reader.join(30)
    assert not reader.is_alive()


def has_ended(session: Session) -> bool:
    """Asks as an orchestrator does that polls, and as a page of JupyterLab does that somebody left open."""
    with contextlib.suppress(requests.RequestException):
        for path in ("api/kernels", "api/contents", "api/terminals"):
            requests.get(f"{session.url}{path}", headers=authorized(session), timeout=10)
    with contextlib.suppress(ServerError):  # it ends just now
        session.activity()
    return session.status().state is SessionState.EXITED


@pytest.mark.usefixtures("needs_information")
def test_a_job_in_a_terminal_keeps_a_session_and_an_open_page_does_not(
    start: Start,
    launcher: Launcher,
    client: Any,
    pipeline_dir: Path,
    told: list[SessionEvent],
    keeps_logs: bool,  # noqa: FBT001 - pytest's
) -> None:
    session = start(session_id="idle", idle_timeout=LIMIT, idle_kernel_timeout=1)
    kernel = start_kernel(session)
    made = requests.post(f"{session.url}api/terminals", headers=authorized(session), timeout=30).json()
    with open_socket(session, f"terminals/websocket/{made['name']}") as terminal:
        terminal.send(json.dumps(["stdin", f"sleep {LONGER}; touch /pipeline-dir/done\r"]))
        assert eventually(lambda: not session.activity().kernels)
        assert eventually(lambda: (pipeline_dir / "done").exists() or has_ended(session))
        assert (pipeline_dir / "done").exists()
        assert session.status().state is SessionState.READY
        assert session.activity().terminals == 1
        assert requests.put(
            f"{session.url}api/contents/saved.txt",
            json={"type": "file", "format": "text", "content": "x"},
            headers=authorized(session),
            timeout=30,
        ).ok
        saved = float(in_container(client, session, "stat -c %.3Y /pipeline-dir/saved.txt"))
        assert abs(session.activity().last - saved) < LIMIT
        assert eventually(lambda: has_ended(session), 60)
    assert session.status().exit_code == 0
    if keeps_logs:
        log = session.logs()
        assert f"kernel {kernel} was idle for" in log
        assert "the session was idle for" in log
    assert [(item.session_id, item.state, item.exit_code) for item in launcher.list()] == [
        ("idle", SessionState.EXITED, 0)
    ]
    with pytest.raises(ServerNotRunningError):
        session.stats()
    session.stop()
    wanted = [("idle", SessionEventKind.ENDED, 0), ("idle", SessionEventKind.REMOVED, None)]
    assert eventually(lambda: [(item.session_id, item.kind, item.exit_code) for item in told] == wanted), told


def test_a_silent_cell_on_a_gateway_keeps_a_session_which_then_ends_with_its_kernel(
    start: Start, gateway: str, gateway_kernels: Callable[[], set[str]]
) -> None:
    before = gateway_kernels()
    session = start(gateway=gateway, idle_timeout=LIMIT)
    kernel = start_kernel(session)
    with open_socket(session, f"api/kernels/{kernel}/channels") as channels:
        send_code(channels, f"import time; time.sleep({LONGER})")
        assert eventually(lambda: session.activity().is_busy)
        (found,) = session.activity().kernels
        assert (found.id, found.name) == (kernel, "python3")
        assert eventually(lambda: not session.activity().is_busy)
        assert session.status().state is SessionState.READY
        assert eventually(lambda: has_ended(session), 60)
    assert session.status().exit_code == 0
    assert gateway_kernels() - before == set()
    assert session.stop().kernels == ()


@pytest.mark.usefixtures("needs_information", "needs_limits")
def test_a_kernel_that_is_killed_for_memory_is_told(
    start: Start,
    client: Any,
    told: list[SessionEvent],
    keeps_logs: bool,  # noqa: FBT001 - pytest's
) -> None:
    session = start(session_id="small", memory="300m")
    kernel = start_kernel(session)
    if session.status().oom_kills is None:
        pytest.skip("the engine's machine does not count the processes that it kills for memory")
    assert session.status().oom_kills == 0
    used = session.stats()
    assert used.memory is not None
    assert used.memory_limit is not None
    assert 10 * 2**20 < used.memory < 300 * 2**20 == used.memory_limit
    assert used.pids is not None
    assert used.pids > 1
    if not client.version()["Components"][0]["Name"].startswith("Podman"):  # its service did not tell
        assert used.cpus is not None
    with open_socket(session, f"api/kernels/{kernel}/channels") as channels:
        send_code(channels, "parts = [bytes([1]) * 2**20 for _ in range(4096)]")
        assert eventually(lambda: bool(session.status().oom_kills), 60)
    assert session.status().state is SessionState.READY
    if keeps_logs:
        assert eventually(lambda: "a process of this session was killed for memory" in session.logs())
    client.containers.get(session.container_id).kill()
    assert eventually(lambda: session.status().state is SessionState.EXITED)
    session.stop()
    wanted = [("small", SessionEventKind.KILLED, 137), ("small", SessionEventKind.REMOVED, None)]
    # Not every engine tells of memory.
    assert eventually(lambda: [(item.session_id, item.kind, item.exit_code) for item in told][-2:] == wanted), told
    assert {item.kind for item in told[:-2]} <= {SessionEventKind.OUT_OF_MEMORY}
