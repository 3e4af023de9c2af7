"""Results as JSON and as columns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jupyter_launcher import Gateway, ServerStartError, Session, SessionState, StopMethod, StopReport, Timings, Volume
from jupyter_launcher.cli.output import (
    describe_session,
    error_document,
    format_columns,
    format_document,
    session_document,
    to_plain,
)
from tests.unit.fakes import SERVER_INFO, TOKEN, FakeEngine, launcher_context, server_info, session_info, session_labels


def session(gateway: Gateway | None = None, node: str = "") -> Session:
    labels = session_labels(gateway)
    context = launcher_context(FakeEngine())
    return Session(
        session_info(labels, node=node), labels, server_info(), context=context, timings=Timings(), joined=True
    )


def test_documents() -> None:
    value = [StopReport(method=StopMethod.API, kernels=("a",)), {"path": Path("/x")}]
    report = {"method": "api", "kernels": ["a"], "kernels_gone": [], "kernels_of_others": [], "seconds": 0.0}
    assert json.loads(format_document(value)) == [report, {"path": "/x"}]


def test_columns_are_aligned_and_never_cut() -> None:
    assert format_columns([("A", "B"), ("long" * 50, 1)]).splitlines() == [f"A{' ' * 201}B", f"{'long' * 50}  1"]


def test_columns_have_no_blanks_at_their_end() -> None:
    assert format_columns([("A", "long"), ("B", "x")]) == "A  long\nB  x"


def test_plain_values() -> None:
    assert to_plain([Volume("pipeline-7")]) == ["volume:pipeline-7"]
    assert to_plain({1: (SessionState.READY, Path("/x"), None, True, 1.5)}) == {"1": ["ready", "/x", None, True, 1.5]}
    assert to_plain(StopReport) is StopReport  # a class is no value of its own


def test_an_error_has_its_typed_fields() -> None:
    error = ServerStartError("what", hint="next", exit_code=3, log_tail="log")
    assert error_document(error) == {
        "error": {
            "type": "ServerStartError",
            "code": 7,
            "message": "what",
            "hint": "next",
            "exit_code": 3,
            "oom_killed": False,
            "log_tail": "log",
        }
    }


@pytest.mark.parametrize("gateway", [None, Gateway(name="gw", url="http://x")])
def test_a_session_as_a_document(gateway: Gateway | None) -> None:
    found = session_document(session(gateway), token=True)
    assert found["gateway"] == (gateway.name if gateway else None)
    assert (found["session_id"], found["pipeline_dir"]) == ("one", "/pipelines/one")
    assert found["lab_url"].endswith(f"/lab?token={TOKEN}")
    assert found["server_info"]["token"] == SERVER_INFO["token"]


def test_a_session_as_a_document_without_the_token() -> None:
    found = session_document(session(), token=False)
    assert "lab_url" not in found
    assert TOKEN not in json.dumps(found)


def test_a_session_in_a_swarm_has_its_node() -> None:
    assert session_document(session(node="node2"), token=True)["node"] == "node2"
    assert ["node", "node2"] in [
        line.split() for line in describe_session(session(node="node2"), token=True).splitlines()
    ]
    assert "node" not in session_document(session(), token=True)
    assert "node " not in describe_session(session(), token=True)


def test_a_session_in_lines() -> None:
    lines = describe_session(session(), token=True).splitlines()
    assert lines[0].split() == ["session", "one"]
    assert lines[-1].endswith(f"lab?token={TOKEN}")
    assert "none: kernels run beside the server" in describe_session(session(), token=False)
    assert TOKEN not in describe_session(session(Gateway(name="gw", url="http://x")), token=False)
