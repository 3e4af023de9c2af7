"""What a server tells of its use: parsed, since a session's user may answer in its place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from jupyter_launcher import Activity, KernelInfo, ServerError, ServerTimeoutError
from jupyter_launcher.server.activity import parse_oom_kills, read_activity
from jupyter_launcher.server.api import JupyterApi, NoAnswerError, Response
from jupyter_launcher.waiting import Deadline
from tests.unit.fakes import http_server

STARTED = 1_700_000_000.0
STATUS = {"connections": 3, "kernels": 1, "last_activity": "2030-01-01T00:00:00Z", "started": "2023-11-14T22:13:20Z"}
KERNEL = {
    "id": "k1",
    "name": "python3",
    "last_activity": "2023-11-14T22:13:25.500000Z",
    "execution_state": "busy",
    "connections": 2,
}
TERMINAL = {"name": "1", "last_activity": "2023-11-14T22:13:30.000000Z"}


class Server(JupyterApi):
    """Answers a path as it is told; an exception is raised."""

    def __init__(self, **answers: Any) -> None:
        super().__init__("http://127.0.0.1:1/")
        self.answers = {"status": STATUS, "kernels": [], "terminals": [], **answers}
        self.headers: Mapping[str, str] = {}

    def request(self, method: str, path: str, deadline: Deadline, *, authenticated: bool = True) -> Response:
        assert (method, authenticated) == ("GET", True)
        answer = self.answers[path.removeprefix("api/")]
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, Response) else Response(200, answer, self.headers)


def test_the_activity_of_a_session() -> None:
    found = read_activity(Server(kernels=[KERNEL], terminals=[TERMINAL]), Deadline(5))
    kernel = KernelInfo(id="k1", name="python3", state="busy", last_activity=STARTED + 5.5, connections=2)
    # The last_activity of the status counts requests too.
    assert found == Activity(last=STARTED + 10, kernels=(kernel,), terminals=1, connections=3)
    assert found.is_busy


def test_where_nothing_was_done_the_start_counts() -> None:
    found = read_activity(Server(terminals=Response(404, None)), Deadline(5))
    assert found == Activity(last=STARTED, kernels=(), terminals=0, connections=3)
    assert not found.is_busy


@pytest.mark.parametrize(
    ("text", "last"), [("1700000099.250", STARTED + 99.25), ("1e99", STARTED), ("nan", STARTED), ("", STARTED)]
)
def test_a_write_of_a_file_is_activity(text: str, last: float) -> None:
    server = Server()
    server.headers = {"x-jupyter-launcher-last-write": text}
    assert read_activity(server, Deadline(5)).last == last


@pytest.mark.parametrize(
    "answers",
    [
        {"status": Response(403, {})},
        {"status": None},
        {"status": {**STATUS, "started": 5}},
        {"status": {**STATUS, "started": "2023-13-01T00:00:00Z"}},
        {"status": {**STATUS, "connections": -1}},
        {"status": {**STATUS, "connections": 2**40}},
        {"status": {}},
        {"kernels": Response(500, None)},
        {"kernels": {"id": "k"}},
        {"kernels": [None]},
        {"kernels": [{**KERNEL, "id": "../k"}]},
        {"kernels": [{**KERNEL, "id": 5}]},
        {"kernels": [{**KERNEL, "name": None}]},
        {"kernels": [{**KERNEL, "name": "a\nb"}]},
        {"kernels": [{**KERNEL, "execution_state": "x" * 201}]},
        {"kernels": [{**KERNEL, "last_activity": "yesterday"}]},
        {"kernels": [{**KERNEL, "connections": "2"}]},
        {"kernels": [KERNEL] * 1001},
        {"terminals": "none"},
        {"terminals": [1]},
        {"terminals": [{"last_activity": 1}]},
    ],
)
def test_what_is_no_answer_is_a_typed_error(answers: dict[str, Any]) -> None:
    with pytest.raises(ServerError, match="cannot be read") as caught:
        read_activity(Server(**answers), Deadline(5))
    assert caught.value.__cause__ is None
    assert caught.value.hint


def test_no_answer_in_time_is_a_typed_error() -> None:
    with pytest.raises(ServerTimeoutError, match="does not tell what it does: TimeoutError") as caught:
        read_activity(Server(kernels=NoAnswerError("TimeoutError")), Deadline(5))
    assert caught.value.seconds == 5


@pytest.mark.parametrize(("text", "kills"), [("0", 0), ("12", 12), ("-1", None), ("1" * 10, None), ("\u0662", None)])
def test_the_processes_that_were_killed_for_memory(text: str, kills: int | None) -> None:
    assert parse_oom_kills(Response(200, None, {"x-jupyter-launcher-oom-kills": text})) == kills
    assert parse_oom_kills(Response(200, None)) is None


def test_no_request_for_the_activity_counts_as_one() -> None:
    asked = []

    def answer(method: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        asked.append((method, path, headers.get("Authorization")))
        return 200, json.dumps(STATUS if "status" in path else []).encode()

    with http_server(answer) as url:
        read_activity(JupyterApi(url, "t"), Deadline(5))
    assert asked == [
        ("GET", f"/api/{name}?no_track_activity=1", "token t") for name in ("status", "kernels", "terminals")
    ]
