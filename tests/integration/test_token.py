"""The token is in the server's memory, in a file of its user alone, and with the caller: nowhere else."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from run_pipeline import kernel_client

from jupyter_launcher import Event, Launcher, Session
from tests.containers import log_of, recorded_events, user_inside


def test_the_token_is_nowhere_to_be_found(
    launcher: Launcher,
    pipeline_dir: Path,
    client: Any,
    events: list[Event],
    gateway: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    events.clear()
    caplog.set_level(logging.DEBUG)
    with recorded_events() as engine_events:
        session = launcher.start(pipeline_dir, gateway=gateway)
        token = session.server_info.token
        container = client.containers.get(session.container_id)
        places = {
            "inspect": json.dumps(container.attrs),
            "argv of every process": "\n".join(_read(path) for path in Path("/proc").glob("[0-9]*/cmdline")),
            "environment of every process in the container": container.exec_run(
                ["sh", "-c", "cat /proc/[0-9]*/environ | tr '\\0' '\\n'"]
            ).output.decode(),
            "docker logs": log_of(container),
            "the list": repr(launcher.list()),
            "the session": repr(session) + repr(session.server_info) + repr(session.status()),
        }
        with kernel_client(session) as kernel:
            kernel.execute("import os")
            report = session.stop()
    places |= {
        "the engine's events": "\n".join(engine_events),
        "our events": repr(events),
        "the report": repr(report),
        "log records of ours": "\n".join(
            record.getMessage() for record in caplog.records if record.name.startswith("jupyter_launcher")
        ),
        "log records of the SDK": "\n".join(
            record.getMessage() for record in caplog.records if record.name.startswith(("docker", "urllib3"))
        ),
    }
    assert max(map(len, engine_events)) < 6000, "a script of ours is in an event"
    assert re.fullmatch("[0-9a-f]{64}", token)
    assert session.container_id[:12] in places["the engine's events"], "the events were not seen at all"
    assert "--notebook-dir=/pipeline-dir" in places["argv of every process"], "the processes were not seen at all"
    assert [place for place, text in places.items() if token in text] == []


def _read(path: Path) -> str:
    try:
        return path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""  # it ended


def test_its_file_is_in_memory_and_of_the_servers_user_alone(
    start: Callable[..., Session], client: Any, pipeline_dir: Path
) -> None:
    session = start()
    container = client.containers.get(session.container_id)
    run = "/run/jupyter-launcher"
    listing = container.exec_run(["stat", "-c", "%a %u", run, f"{run}/jupyter", f"{run}/token"]).output.decode()
    owner = user_inside(client, pipeline_dir).partition(":")[0]
    assert listing.splitlines() == [f"700 {owner}", f"700 {owner}", f"600 {owner}"]
    kind = container.exec_run(["sh", "-c", "stat -f -c %T /run/jupyter-launcher"]).output.decode().strip()
    assert kind == "tmpfs"
