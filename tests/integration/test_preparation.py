"""Sessions that are prepared, taken or cancelled; and sessions that are looked at again, without a command in them."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from jupyter_launcher import (
    Event,
    EventKind,
    Launcher,
    Phase,
    Preparation,
    Session,
    SessionState,
    StartCancelledError,
)
from jupyter_launcher.engine.client import DockerEngine
from jupyter_launcher.engine.types import ExecResult
from tests.containers import held_by_engine
from tests.integration.test_session import authorized

Start = Callable[..., Session]


def test_a_prepared_session_is_a_started_one_and_is_found_again(
    client: Any, namespace: str, start: Start, pipeline_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    execs: list[str] = []
    plain = DockerEngine.exec

    def counted(engine: DockerEngine, container: str, *given: Any, **more: Any) -> ExecResult:
        execs.append(container)
        return plain(engine, container, *given, **more)

    started = start(session_id="started", lease=600)
    with Launcher(namespace=namespace) as launcher:
        session = launcher.prepare(pipeline_dir, session_id="prepared", lease=600).session(timeout=60)
        assert held_by_engine(client, session) == held_by_engine(client, started)
        assert requests.get(f"{session.url}api/contents", headers=authorized(session), timeout=10).status_code == 200
        monkeypatch.setattr(DockerEngine, "exec", counted)
        assert launcher.get("prepared").server_info == session.server_info
        assert launcher.get("started").server_info == started.server_info
        assert execs == [started.container_id]
        assert launcher.get("started").lab_url == started.lab_url
        assert len(execs) == 1
        assert {item.state for item in launcher.list(probe=False)} == {SessionState.UNPROBED}
        servers, engine = launcher._context.servers, launcher._engine
        before = engine.inspect(session.container_id)
        client.containers.get(session.container_id).restart(timeout=20)
        after = engine.inspect(session.container_id)
        assert before is not None
        assert after is not None
        assert (servers.find(before), servers.find(after)) == (session.server_info, None)
        engine.remove(session.container_id)  # nothing in it would heed a stop


@pytest.mark.parametrize("phase", [Phase.CONTAINER, Phase.SERVER, None])
def test_a_cancel_at_any_moment_leaves_nothing(
    client: Any, namespace: str, pipeline_dir: Path, phase: Phase | None
) -> None:
    """And so does closing the launcher. None: when the session is there, and nobody has taken it."""
    reached = threading.Event()

    def listen(event: Event) -> None:
        if event.phase is phase and event.kind is EventKind.STARTED:
            reached.set()

    def ready(item: Preparation) -> bool:
        return reached.wait(60) if phase else item._result.exception(60) is None

    with Launcher(namespace=namespace, on_event=listen) as launcher:
        item = launcher.prepare(pipeline_dir, session_id="prepared")
        assert ready(item)
        if phase is not Phase.SERVER:
            assert item.cancel() is True
    labels = [f"jupyter-launcher.session-id={item.session_id}", f"jupyter-launcher.namespace={namespace}"]
    assert client.containers.list(all=True, filters={"label": labels}, ignore_removed=True) == []
    with pytest.raises(StartCancelledError):
        item.session()


def test_the_end_of_the_process_leaves_nothing(client: Any, namespace: str, pipeline_dir: Path) -> None:
    code = (
        "import sys, threading; from jupyter_launcher import EventKind, Launcher, Phase; there = threading.Event()\n"
        "def listen(event):\n"
        "    if (event.phase, event.kind) == (Phase.SERVER, EventKind.STARTED): there.set()\n"
        "Launcher(namespace=sys.argv[1], on_event=listen).prepare(sys.argv[2], session_id='prepared')\n"
        "print(there.wait(60))"
    )
    line = [sys.executable, "-c", code, namespace, str(pipeline_dir)]
    ended = subprocess.run(line, capture_output=True, text=True, timeout=120, check=True)
    assert (ended.stdout, ended.stderr) == ("True\n", "")
    labels = ["jupyter-launcher.session-id=prepared", f"jupyter-launcher.namespace={namespace}"]
    assert client.containers.list(all=True, filters={"label": labels}, ignore_removed=True) == []
