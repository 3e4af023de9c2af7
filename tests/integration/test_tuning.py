"""A server that is tuned answers as one that is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import requests
from run_pipeline import kernel_client

from jupyter_launcher import DEFAULT_IMAGE, Session, StopMethod
from tests.containers import eventually, output_of
from tests.integration.test_inside import terminal
from tests.integration.test_session import authorized, printed

PATHS = (
    "lab",
    "api",
    "api/me",
    "api/status",
    "api/kernelspecs",
    "api/config/notebook",
    "api/spec.yaml",
    "metrics",
    "lsp/status",
    "lab/api/extensions?refresh_count=0",
    "lab/api/listings/@jupyterlab/extensionmanager-extension/listings.json",
    "lab/api/settings/",
    "lab/api/translations/",
    "lab/api/workspaces",
    "lab/extensions/not-there",
)
CHANGING = ("lab", "api/me", "api/status", "metrics", "lab/extensions/not-there")  # with times and names of one server


def answers(session: Session) -> dict[str, tuple[int, Any]]:
    found = {}
    for path in PATHS:
        answer = requests.get(session.url + path, headers=authorized(session), timeout=60)
        found[path] = (answer.status_code, None if path in CHANGING else answer.text)
    return found


def run_cell_and_command(session: Session) -> None:
    with kernel_client(session) as kernel:
        assert printed(kernel, "print(6 * 7)") == "42"
    with terminal(session) as connection:
        connection.send(json.dumps(["stdin", "echo $((6 * 7))\r"]))
        assert eventually(lambda: "42" in connection.recv())


def test_a_tuned_server_answers_as_a_plain_one(
    start: Callable[..., Session],
    keeps_logs: bool,  # noqa: FBT001 - pytest's
) -> None:
    plain, tuned = start(session_id="plain", tune=False), start(session_id="tuned")
    wanted = answers(plain)
    assert answers(tuned) == wanted
    assert [status for status, _ in wanted.values()] == [200] * 14 + [404]
    for session in (plain, tuned):
        run_cell_and_command(session)
        log = session.logs().splitlines() if keeps_logs else []
        assert [line for line in log if "Traceback" in line or "rror" in line] == []
    assert [session.stop().method for session in (plain, tuned)] == [StopMethod.API] * 2


@pytest.mark.parametrize(("script", "module"), [("jupyter-lab", "jupyter_launcher_start"), ("other", "re._compiler")])
def test_expressions_are_compiled_in_the_servers_process_alone(client: Any, script: str, module: str) -> None:
    code = f"cd /tmp && echo 'import re; print(re._compiler.compile.__module__)' >{script} && python {script}"
    seen = output_of(client, DEFAULT_IMAGE, ["sh", "-c", code]).strip()
    assert seen == module, f"{DEFAULT_IMAGE} may be older than its Dockerfile: `make images` builds it anew"
