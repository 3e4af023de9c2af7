"""The broker: what it asks the engine for, and when a kernel's container is removed."""

from __future__ import annotations

import contextlib
import functools
import json
import random
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_launcher.server.inside.kernels import broker as program
from jupyter_launcher.spec.kernels import labels as names_of_labels
from jupyter_launcher.spec.kernels.containers import BROKER_DIR
from jupyter_launcher.spec.kernels.labels import KERNEL_ID, KERNEL_NAME, KERNEL_OF, kernel_name_prefix, part_labels
from tests.unit.kernels.brokers import (
    ADDRESS,
    CONNECTION,
    KERNEL,
    NAMES,
    PREFIX,
    START,
    Client,
    FakeContainer,
    FakeEngine,
    RunningBroker,
    kernel_bodies,
    run_broker,
    until,
)
from tests.unit.strategies import json_values, replaced

VALID = {
    "do": "start",
    "kernel": KERNEL,
    "name": NAMES[0],
    "env": {"KERNEL_A": "1"},
    "folder": "/pipeline-dir/sub",
    "connection": CONNECTION,
}
OWN_LABELS = part_labels("kernel", "unit", "me", START)
STEPS = ("create", "archive", "start", "inspect")


@pytest.fixture
def broker() -> Iterator[RunningBroker]:
    """One that a gateway holds; at the end it has asked for nothing that it may not."""
    with run_broker() as found:
        found.hold()
        yield found
        assert found.engine.strange == []


@pytest.fixture(scope="module")
def one_for_all() -> Iterator[RunningBroker]:
    with run_broker() as found:
        found.hold()
        yield found


@pytest.fixture
def shared(one_for_all: RunningBroker) -> Iterator[RunningBroker]:
    """One that goes on after the test; what it still asks is of the kernels of the test before."""
    one_for_all.engine.calls.clear()
    yield one_for_all
    assert gone(one_for_all)
    assert one_for_all.engine.strange == []


@pytest.fixture
def shared_client(shared: RunningBroker) -> Iterator[Client]:
    with shared.connect() as found:
        yield found


@pytest.fixture
def client(broker: RunningBroker) -> Iterator[Client]:
    with broker.connect() as found:
        yield found


def only(broker: RunningBroker) -> FakeContainer:
    (found,) = broker.own()
    return found


def gone(broker: RunningBroker) -> bool:
    return until(lambda: not broker.own()) is True


def test_a_kernel_starts(broker: RunningBroker, client: Client) -> None:
    answer = client.start(env={"KERNEL_JUPYTER_LAUNCHER": "abc123", "KERNEL_A": "a b\n=c"}, folder="/pipeline-dir/sub")
    assert answer == {"ip": ADDRESS, "ports": program.PORTS, "run": 1}
    assert sorted(answer["ports"]) == ["control_port", "hb_port", "iopub_port", "shell_port", "stdin_port"]
    until(lambda: "wait" in broker.engine.verbs())
    assert broker.engine.verbs() == ["list", "create", "archive", "start", "inspect", "wait"]
    made = only(broker)
    assert (made.name, made.state) == (PREFIX + KERNEL, "running")


def test_the_launchers_body_is_the_container_but_for_what_is_of_one_kernel(
    broker: RunningBroker, client: Client
) -> None:
    client.start(
        env={"KERNEL_JUPYTER_LAUNCHER": "abc123", "KERNEL_A": "x", "KERNEL_UID": "0"}, folder="/pipeline-dir/x y"
    )
    body, given_body = dict(only(broker).body), kernel_bodies()[NAMES[0]]
    more = [f"KERNEL_ID={KERNEL}", "KERNEL_JUPYTER_LAUNCHER=abc123", "KERNEL_A=x", "KERNEL_UID=0"]
    assert body.pop("Env") == [*given_body.pop("Env"), *more]
    labels = {KERNEL_ID: KERNEL, KERNEL_NAME: NAMES[0], KERNEL_OF: "abc123"}
    assert body.pop("Labels") == {**given_body.pop("Labels"), **labels}
    words = body.pop("Cmd")
    assert words[3] == "/pipeline-dir/x y"
    assert [*words[:3], "{folder}", *words[4:]] == given_body.pop("Cmd")
    assert body == given_body
    assert (body["User"], body["WorkingDir"]) == ("1234:5678", "/pipeline-dir")


def test_the_connection_file_is_the_kernels_alone(broker: RunningBroker, client: Client) -> None:
    client.start(connection={**CONNECTION, "curve_publickey": "p", "curve_secretkey": "s", "ip": "1.2.3.4", "more": 1})
    folder, file = only(broker).files
    assert (folder.name, folder.mode, folder.uid, folder.gid) == ("run/jupyter-launcher-kernel", 0o700, 1234, 5678)
    assert (file.name, file.mode, file.uid, file.gid) == (f"{folder.name}/connection.json", 0o600, 1234, 5678)
    keys = {**CONNECTION, "curve_publickey": "p", "curve_secretkey": "s"}
    assert only(broker).connection == {"ip": "0.0.0.0", "transport": "tcp", **program.PORTS, **keys}
    assert f"/{file.name}" in only(broker).body["Cmd"]
    # Nobody reads the key at the engine.
    assert "the-key" not in json.dumps(only(broker).body)


def test_variables_of_the_launcher_win(broker: RunningBroker, client: Client) -> None:
    client.start(env={"KERNEL_MINE": "client", "KERNEL_ID": "client"})
    found = [item for item in only(broker).body["Env"] if item.startswith(("KERNEL_MINE=", "KERNEL_ID="))]
    assert found == ["KERNEL_MINE=launcher", f"KERNEL_ID={KERNEL}"]


@pytest.mark.parametrize("mark", ["a b", "", "x" * 129, "a=b", "ä", "a\n"])
def test_a_mark_that_is_none_is_no_label(shared: RunningBroker, shared_client: Client, mark: str) -> None:
    shared_client.start(env={"KERNEL_JUPYTER_LAUNCHER": mark})
    assert only(shared).body["Labels"][KERNEL_OF] == ""


@pytest.mark.parametrize(
    ("folder", "seen"),
    [
        (None, "/pipeline-dir"),
        ("/pipeline-dir", "/pipeline-dir"),
        ("/pipeline-dir/", "/pipeline-dir"),
        ("/pipeline-dir/a/../b//c/.", "/pipeline-dir/b/c"),
        ("/pipeline-dir/a:b,'c\"$(d)\n", "/pipeline-dir/a:b,'c\"$(d)\n"),
        ("/pipeline-dir/../etc", "/pipeline-dir"),
        ("/pipeline-dirty", "/pipeline-dir"),
        ("//pipeline-dir/a", "/pipeline-dir"),
        ("/", "/pipeline-dir"),
        ("", "/pipeline-dir"),
        ("sub", "/pipeline-dir"),
        ("{folder}", "/pipeline-dir"),
    ],
)
def test_a_folder_is_of_the_pipeline(
    shared: RunningBroker, shared_client: Client, folder: str | None, seen: str
) -> None:
    shared_client.start(folder=folder)
    assert only(shared).body["Cmd"][3] == seen
    assert only(shared).body["WorkingDir"] == "/pipeline-dir"


HOSTILE: dict[str, tuple[dict[str, Any], int]] = {
    "no id": ({"kernel": None}, 400),
    "a path": ({"kernel": "../../images/json"}, 400),
    "a container's id": ({"kernel": "f" * 64}, 400),
    "an id and more": ({"kernel": KERNEL + "\n"}, 400),
    "an id in capitals": ({"kernel": KERNEL.upper()}, 400),
    "an id with a query": ({"kernel": KERNEL + "?x=1"}, 400),
    "a list": ({"kernel": [KERNEL]}, 400),
    "another name": ({"name": "gpu"}, 404),
    "a name in capitals": ({"name": "PY"}, 404),
    "no name": ({"name": None}, 404),
    "a list of names": ({"name": ["py"]}, 404),
    "an object": ({"name": {"py": 1}}, 404),
    "env is a text": ({"env": "KERNEL_A=1"}, 400),
    "env is a list": ({"env": ["KERNEL_A=1"]}, 400),
    "PATH": ({"env": {"PATH": "/bin"}}, 400),
    "a name with =": ({"env": {"KERNEL_A=B": "x"}}, 400),
    "a name with a line's end": ({"env": {"KERNEL_A\n": "x"}}, 400),
    "a name that is hidden": ({"env": {"KERNEL_": "x"}}, 400),
    "LD_PRELOAD behind": ({"env": {"KERNEL_A\nLD_PRELOAD": "x"}}, 400),
    "a number": ({"env": {"KERNEL_A": 1}}, 400),
    "NUL": ({"env": {"KERNEL_A": "a\0LD_PRELOAD=x"}}, 400),
    "half a character": ({"env": {"KERNEL_A": "\udcff"}}, 400),
    "folder is a number": ({"folder": 1}, 400),
    "folder has NUL": ({"folder": "/pipeline-dir/\0"}, 400),
    "folder is long": ({"folder": "/pipeline-dir/" + "x" * 5000}, 400),
    "no connection": ({"connection": None}, 400),
    "connection is a list": ({"connection": ["key"]}, 400),
    "no key": ({"connection": {"signature_scheme": "x"}}, 400),
    "key is a number": ({"connection": {"key": 1}}, 400),
    "scheme is an object": ({"connection": {"key": "a", "signature_scheme": {}}}, 400),
    "key is long": ({"connection": {"key": "k" * 5000}}, 400),
    "nothing to do": ({"do": None}, 400),
    "something else to do": ({"do": "create"}, 400),
    "a hold with a kernel": ({"do": "holds"}, 400),
}


@pytest.mark.parametrize("change", HOSTILE)
def test_a_request_that_is_not_as_it_has_to_be_reaches_no_engine(
    shared: RunningBroker, shared_client: Client, change: str
) -> None:
    changed, status = HOSTILE[change]
    answer = shared_client.ask(**{**VALID, **changed})
    assert answer["status"] == status
    assert set(answer) == {"error", "status"}
    assert set(shared.engine.verbs()) <= {"inspect", "wait", "logs"}
    # And the connection goes on.
    assert shared_client.start()["run"] == 1


@pytest.mark.parametrize("more", ["argv", "image", "user", "mounts", "Cmd", "HostConfig", "memory", "labels"])
def test_what_a_client_may_not_say_has_no_effect(shared: RunningBroker, shared_client: Client, more: str) -> None:
    assert shared_client.ask(**{**VALID, more: ["sh", "-c", "id"]})["run"] == 1
    with shared.connect() as other:
        other.start(kernel=str(uuid.uuid4()), folder=VALID["folder"])
        one, two = ({**item.body, "Env": 0, "Labels": 0} for item in shared.own())
        assert one == two


@pytest.mark.parametrize("name", ["KERNEL_UID", "KERNEL_GID", "KERNEL_IMAGE", "KERNEL_USERNAME", "KERNEL_NAMESPACE"])
def test_names_that_mean_something_elsewhere_are_but_variables(
    shared: RunningBroker, shared_client: Client, name: str
) -> None:
    shared_client.start(env={name: "0"})
    body = {**only(shared).body, "Env": 0, "Labels": 0, "Cmd": 0}
    assert body == {**kernel_bodies()[NAMES[0]], "Env": 0, "Labels": 0, "Cmd": 0}


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"start\n",
        b"[]\n",
        b"null\n",
        b'"start"\n',
        b"\xff\xfe\n",
        b'{"do": "start", "kernel": NaN}\n',
        b"[" * 100_000 + b"\n",
        b"1" * 5000 + b"\n",
        b"{" + b" " * (2**20 + 10) + b"}\n",
        b"POST /containers/create HTTP/1.1\r\n",
    ],
    ids=["empty", "word", "list", "null", "text", "no UTF-8", "NaN", "deep", "digits", "long", "HTTP"],
)
def test_a_line_that_is_none_ends_the_connection(shared: RunningBroker, line: bytes) -> None:
    with shared.connect() as client:
        client.start()
        with contextlib.suppress(BrokenPipeError):  # it has heard enough
            client.send(line)
        answers = list(iter(client.read, None))
        assert {answer["status"] for answer in answers if answer is not None and "ended" not in answer} == {400}
    assert gone(shared)


def test_half_a_line_is_none(broker: RunningBroker) -> None:
    with broker.connect() as client:
        client.send(json.dumps(VALID).encode())
        client.socket.shutdown(socket.SHUT_WR)
        assert client.read() is None
    assert broker.engine.verbs() == ["list"]


def _since(broker: RunningBroker) -> float:
    """From when on the broker has read a log, in its last call that did."""
    [call] = [call for call in broker.engine.calls if "/logs?" in call][-1:]
    return float(call.partition("since=")[2])


def test_the_end_of_a_kernel_is_told(broker: RunningBroker, client: Client) -> None:
    client.start()
    broker.engine.end(only(broker), 7, log=b"one\ntwo\n")
    assert client.ended() == {"run": 1, "exit_code": 7, "oom": False, "log": "one\ntwo"}
    # From this run alone: what a run before it has written is not why this one ended.
    assert any("since=1795719600.123456" in call for call in broker.engine.calls)


@pytest.mark.parametrize("started", ["2226-11-26T19:00:00Z", "soon", "", None, 7])
def test_the_log_is_read_from_before_the_program_began(
    broker: RunningBroker, client: Client, monkeypatch: pytest.MonkeyPatch, started: object
) -> None:
    tell = FakeContainer.inspect

    def inspect(item: FakeContainer) -> dict[str, Any]:
        seen = tell(item)
        return {**seen, "State": {**seen["State"], "StartedAt": started}}

    monkeypatch.setattr(FakeContainer, "inspect", inspect)
    times = []
    for _ in range(2):
        times.append(time.time())
        client.start()
        broker.engine.end(only(broker), 1)
        client.ended()
        times.append(_since(broker))
    assert times == sorted(times)


def test_the_log_of_a_kernel_that_the_engine_did_not_start(
    broker: RunningBroker, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeContainer, "inspect", lambda _: {"State": {"StartedAt": "0001-01-01T00:00:00Z"}})
    client.start()
    broker.engine.end(only(broker), 127)
    client.ended()
    assert _since(broker) == 0


def test_a_kernel_that_ends_at_once_has_no_address(broker: RunningBroker, client: Client) -> None:
    gate = broker.engine.hold("inspect")
    client.say(**VALID)
    assert broker.engine.arrived["inspect"].wait(20)
    broker.engine.end(only(broker), 127, log=b"sh: ipykernel: not found\n")
    gate.set()
    assert client.read() == {"ip": "", "ports": program.PORTS, "run": 1}
    assert client.ended() == {"run": 1, "exit_code": 127, "oom": False, "log": "sh: ipykernel: not found"}


def test_a_kernel_that_was_killed_for_memory(broker: RunningBroker, client: Client) -> None:
    client.start()
    broker.engine.end(only(broker), 137, out_of_memory=True)
    assert client.ended()["oom"] is True


@pytest.mark.parametrize("code", [0, 1, 143])
def test_a_kernel_that_went_on_was_not_killed_for_memory(broker: RunningBroker, client: Client, code: int) -> None:
    client.start()
    broker.engine.end(only(broker), code, out_of_memory=True)  # what it had started was
    assert client.ended()["oom"] is False


def test_an_engine_that_hears_of_it_late(
    broker: RunningBroker, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.start()
    tell, looks = FakeContainer.inspect, iter([False, False])

    def inspect(item: FakeContainer) -> dict[str, Any]:
        item.out_of_memory = next(looks, True)
        return tell(item)

    monkeypatch.setattr(FakeContainer, "inspect", inspect)
    broker.engine.end(only(broker), 137)
    assert client.ended()["oom"] is True


def test_a_kernel_that_its_user_killed_was_not_out_of_memory(broker: RunningBroker, client: Client) -> None:
    client.start()
    client.ask(do="signal", signal=9)
    assert client.ended() == {"run": 1, "exit_code": 137, "oom": False, "log": ""}
    assert broker.engine.verbs().count("inspect") == 2


def test_a_restart_keeps_the_container(broker: RunningBroker, client: Client) -> None:
    client.start()
    container = only(broker)
    broker.engine.end(container, 0)
    assert client.ended()["run"] == 1
    container.files = []
    assert client.start()["run"] == 2
    assert only(broker) is container
    assert container.starts == 2
    # The kernel's user may have done anything to its file.
    assert [item.name.rpartition("/")[2] for item in container.files] == ["jupyter-launcher-kernel", "connection.json"]
    broker.engine.end(container, 3)
    assert client.ended() == {"run": 2, "exit_code": 3, "oom": False, "log": ""}


def test_a_container_that_is_gone_is_made_anew(broker: RunningBroker, client: Client) -> None:
    client.start()
    container = only(broker)
    broker.engine.remove(container)
    assert client.ended()["exit_code"] == 137
    assert client.start()["run"] == 2
    assert only(broker) is not container


@pytest.mark.parametrize("step", ["archive", "start"])
def test_a_restart_waits_for_a_removal_by_somebody_else(
    broker: RunningBroker, client: Client, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    client.start()
    container = only(broker)
    broker.engine.end(container, 137)
    client.ended()
    tell, looks = FakeContainer.inspect, iter(range(3))

    def inspect(item: FakeContainer) -> dict[str, Any]:
        found = tell(item)
        if item is container:
            found["State"]["Status"] = "removing"
            if next(looks, None) is None:
                broker.engine.remove(container)
        return found

    monkeypatch.setattr(FakeContainer, "inspect", inspect)
    broker.engine.faults[step] = [409]
    assert client.start()["run"] == 2
    assert only(broker) is not container


def test_a_restart_that_the_engine_refuses_is_told(broker: RunningBroker, client: Client) -> None:
    client.start()
    broker.engine.end(only(broker), 137)
    client.ended()
    broker.engine.faults["start"] = [409]
    assert client.start()["status"] == 409
    assert client.start()["run"] == 2


def test_a_kernel_that_runs_is_not_started_again(broker: RunningBroker, client: Client) -> None:
    client.start()
    assert client.start()["status"] == 409
    assert only(broker).starts == 1


def test_a_connection_has_one_kernel(broker: RunningBroker, client: Client) -> None:
    client.start()
    assert client.start(kernel=str(uuid.uuid4()))["status"] == 400
    assert len(broker.own()) == 1


def test_a_kernel_has_one_connection(broker: RunningBroker, client: Client) -> None:
    client.start()
    with broker.connect() as other:
        assert other.start()["status"] == 409
    assert client.ask(do="signal", signal=2) == {}
    assert only(broker).state == "running"


def test_a_kernel_whose_connection_ends_can_have_another_one(broker: RunningBroker) -> None:
    with broker.connect() as client:
        client.start()
    gate = broker.engine.hold("remove")
    with broker.connect() as other:
        other.say(**VALID)
        gate.set()
        answer = other.read()
        assert answer is not None
        assert answer.get("run") == 1
        assert only(broker).state == "running"


def test_signals(broker: RunningBroker, client: Client) -> None:
    assert client.ask(do="signal", signal=2) == {}  # no process
    client.start()
    until(lambda: "wait" in broker.engine.verbs())
    assert client.ask(do="signal", signal=2) == {}
    assert broker.engine.calls[-1] == f"POST /containers/{only(broker).id}/kill?signal=2"
    assert client.ask(do="signal", signal=9) == {}
    assert client.ended()["exit_code"] == 137
    asked = len(broker.engine.calls)
    assert client.ask(do="signal", signal=15) == {}
    assert len(broker.engine.calls) == asked


@pytest.mark.parametrize("number", [None, "2", "9&x=1", 0, -1, 65, 2.0, True, [9], {"9": 9}, 10**30])
def test_what_is_no_signal(broker: RunningBroker, client: Client, number: object) -> None:
    client.start()
    until(lambda: "wait" in broker.engine.verbs())
    asked = len(broker.engine.calls)
    assert client.ask(do="signal", signal=number)["status"] == 400
    assert len(broker.engine.calls) == asked
    assert only(broker).state == "running"


def test_a_signal_to_a_kernel_that_podman_says_does_not_run(broker: RunningBroker, client: Client) -> None:
    client.start()
    container = only(broker)
    broker.engine.faults["kill"] = [500, 500]
    assert client.ask(do="signal", signal=2)["status"] == 500  # it does
    container.state = "exited"
    assert client.ask(do="signal", signal=2) == {}


@pytest.mark.parametrize("step", STEPS)
def test_a_connection_that_ends_in_a_start_leaves_nothing(broker: RunningBroker, step: str) -> None:
    gate = broker.engine.hold(step)
    with broker.connect() as client:
        client.say(**VALID)
        assert broker.engine.arrived[step].wait(20)
    gate.set()
    until(lambda: "remove" in broker.engine.verbs())
    assert gone(broker)


@pytest.mark.parametrize("step", ["archive", "start", "inspect", "wait", "logs"])
def test_a_connection_that_ends_in_a_restart_leaves_nothing(broker: RunningBroker, step: str) -> None:
    with broker.connect() as client:
        client.start()
        until(lambda: "wait" in broker.engine.verbs())
        gate = broker.engine.hold(step)
        broker.engine.end(only(broker), 0)
        if step not in ("logs", "inspect"):  # these are of the end
            client.ended()
            client.say(**VALID)
        assert broker.engine.arrived[step].wait(20)
    gate.set()
    until(lambda: "remove" in broker.engine.verbs())
    assert gone(broker)


@pytest.mark.parametrize("status", [400, 404, 409, 500, 503])
@pytest.mark.parametrize("step", ["archive", "start"])
def test_a_start_that_fails_leaves_nothing(broker: RunningBroker, client: Client, step: str, status: int) -> None:
    broker.engine.faults[step] = [status]
    answer = client.start()
    assert answer["status"] == min(status, 500)
    assert f"{step} is refused" in answer["error"]
    assert broker.own() == []
    assert client.start()["run"] == 1


def test_podman_has_another_word_for_a_container_that_is_not_there() -> None:
    told = "no container with ID 12 found in database: no such container"
    assert program.EngineError(500, told).status == 404
    assert program.EngineError(500, "it is full").status == 500


def test_an_image_that_is_not_there(broker: RunningBroker, client: Client) -> None:
    broker.engine.faults["create"] = [404]
    assert client.start()["status"] == 404
    assert broker.engine.verbs()[:3] == ["list", "create", "inspect"]


@pytest.mark.parametrize("step", STEPS[:3])
def test_an_answer_that_does_not_come(broker: RunningBroker, step: str) -> None:
    """The engine has done it, and nobody knows."""
    broker.engine.faults[step] = [0]
    with broker.connect() as client:
        assert client.start()["status"] == 500
    assert gone(broker)


def test_an_engine_that_does_not_answer_after_the_start(broker: RunningBroker, client: Client) -> None:
    broker.engine.faults["inspect"] = [500]
    assert client.start()["status"] == 500
    assert client.start()["run"] == 1
    assert only(broker).starts == 1


def test_an_engine_that_goes_away_while_a_kernel_runs(broker: RunningBroker, client: Client) -> None:
    broker.engine.faults["wait"] = [0, 500, 503]
    client.start()
    broker.engine.end(only(broker), 5)
    assert client.ended()["exit_code"] == 5


def test_a_container_that_is_gone_when_its_end_is_asked_for(broker: RunningBroker, client: Client) -> None:
    broker.engine.faults["wait"] = [404]
    client.start()
    assert client.ended()["exit_code"] == 137


def test_a_removal_that_is_refused_is_asked_for_again(broker: RunningBroker) -> None:
    with broker.connect() as client:
        client.start()
        broker.engine.faults["remove"] = [500, 409, 503, 0]
    assert gone(broker)
    until(lambda: broker.engine.faults["remove"] == [])


def test_a_kernel_counts_until_it_is_removed() -> None:
    with run_broker(max_kernels=1) as broker:
        broker.hold()
        with broker.connect() as client:
            client.start()
        broker.engine.faults["remove"] = [500] * 3
        with broker.connect() as other:
            assert other.start(kernel=str(uuid.uuid4()))["run"] == 1  # it waits for the room
        assert broker.engine.most == 1


def test_no_more_kernels_than_the_launcher_said() -> None:
    with run_broker(max_kernels=3) as broker:
        broker.hold()
        clients = [broker.connect() for _ in range(12)]
        with ThreadPoolExecutor(len(clients)) as pool:
            answers = list(pool.map(lambda client: client.start(kernel=str(uuid.uuid4())), clients))
        assert sum("run" in answer for answer in answers) == 3
        assert {answer["status"] for answer in answers if "run" not in answer} == {429}
        assert "max_kernels is 3" in next(answer["error"] for answer in answers if "run" not in answer)
        assert broker.engine.most == 3
        for client in clients:
            client.close()
        assert gone(broker)
        with broker.connect() as client:
            assert client.start()["run"] == 1


@pytest.mark.parametrize(
    "labels",
    [
        {},
        {**OWN_LABELS, KERNEL_ID: str(uuid.uuid4())},
        {**part_labels("kernel", "unit", "me", "6" * 32), KERNEL_ID: KERNEL},
    ],
    ids=["of nobody", "of another kernel", "of another gateway"],
)
def test_a_container_of_somebody_else_with_a_kernels_name_stays(broker: RunningBroker, labels: dict[str, str]) -> None:
    foreign = broker.engine.add(PREFIX + KERNEL, labels)
    with broker.connect() as client:
        answer = client.start()
        assert answer["status"] == 409
        assert PREFIX + KERNEL in answer["error"]
    with broker.connect() as client:  # whose end came after the other one's
        assert client.start()["status"] == 409
    assert list(broker.engine.containers.values()) == [foreign]
    assert foreign.state == "running"


@pytest.mark.parametrize("status", [409, 500])
def test_what_an_earlier_connection_has_left_is_removed(broker: RunningBroker, client: Client, status: int) -> None:
    left = leave_one(broker.engine)
    if status == 500:  # Podman
        answer = broker.engine._create

        def create(name: str, body: dict[str, Any]) -> tuple[int, bytes]:
            code, text = answer(name, body)
            return (500 if code == 409 else code), text

        broker.engine._create = create  # type: ignore[method-assign]
    assert client.start()["run"] == 1
    assert only(broker) is not left


def test_a_name_that_is_free_a_moment_later(broker: RunningBroker, client: Client) -> None:
    broker.engine.faults["create"] = [409, 409]
    assert client.start()["run"] == 1
    assert broker.engine.verbs().count("create") == 3


def test_an_answer_that_does_not_come_after_a_conflict(broker: RunningBroker) -> None:
    left = leave_one(broker.engine)
    broker.engine.faults["create"] = [None, 0]
    with broker.connect() as client:
        assert client.start()["status"] == 500
        assert left.id not in broker.engine.containers
    assert gone(broker)


def test_a_gateway_has_to_hold_the_broker_first() -> None:
    with run_broker() as broker:
        until(broker.path.exists)
        with until(broker._try_connect) as client:
            assert client.start()["status"] == 409
            assert broker.engine.verbs() == ["list"]
            broker.hold()
            assert client.start()["run"] == 1


def test_one_gateway_holds_the_broker(broker: RunningBroker) -> None:
    with broker.connect() as other:
        assert other.ask(do="hold")["status"] == 409
    with broker.connect() as other:
        other.start()
        assert other.ask(do="hold")["status"] == 400
    assert broker.holder is not None
    assert broker.holder.ask(**VALID)["status"] == 400
    assert broker.holder.ask(do="signal", signal=2)["status"] == 400
    assert broker.holder.ask(do="hold")["status"] == 400
    assert broker.process.poll() is None


def test_the_end_of_the_hold_is_that_of_all_kernels(broker: RunningBroker) -> None:
    clients = [broker.connect() for _ in range(3)]
    for client in clients:
        client.start(kernel=str(uuid.uuid4()))
    assert broker.holder is not None
    broker.holder.close()
    assert broker.wait() == (0, "")
    assert broker.own() == []
    for client in clients:
        assert client.read() is None
        client.close()


def test_sigterm_is_the_end_of_all_kernels(broker: RunningBroker, client: Client) -> None:
    client.start()
    broker.process.send_signal(signal.SIGTERM)
    assert broker.wait() == (0, "")
    assert broker.own() == []


@pytest.mark.parametrize("step", STEPS)
def test_the_end_waits_for_a_start_that_goes_on(broker: RunningBroker, client: Client, step: str) -> None:
    gate = broker.engine.hold(step)
    client.say(**VALID)
    assert broker.engine.arrived[step].wait(20)
    assert broker.holder is not None
    broker.holder.close()
    assert client.read() is None
    gate.set()
    assert broker.wait() == (0, "")
    assert broker.own() == []


def test_sweeps_see_the_kernels_of_this_gateway_alone() -> None:
    others: list[FakeContainer] = []

    def prepare(engine: FakeEngine) -> None:
        others.append(engine.add("a", {}))
        others.append(engine.add("kernel-gateway.unit.x", {**OWN_LABELS, "jupyter-launcher.part": ""}))
        others.append(engine.add("kernel-broker.unit.x", part_labels("broker", "unit", "me", START)))
        others.append(engine.add(f"{PREFIX}y", part_labels("kernel", "unit", "me", "6" * 32)))
        leave_one(engine)

    with run_broker(prepare=prepare) as broker:
        broker.hold()
        assert broker.own() == []
        leave_one(broker.engine)
        assert broker.holder is not None
        broker.holder.close()
        assert broker.wait() == (0, "")
        assert list(broker.engine.containers.values()) == others
        assert broker.engine.strange == []


def leave_one(engine: FakeEngine) -> FakeContainer:
    """A kernel of this gateway that is of no connection."""
    left = engine.add(PREFIX + KERNEL, {**OWN_LABELS, KERNEL_ID: KERNEL})
    left.is_foreign = False
    return left


def test_an_engine_that_refuses_to_remove_what_is_left() -> None:
    def prepare(engine: FakeEngine) -> None:
        leave_one(engine)
        engine.faults["remove"] = [500]

    with run_broker(prepare=prepare) as broker:
        code, printed = broker.wait()
        assert (code, printed) == (1, "jupyter-launcher: the engine refuses to remove 1 kernels of before\n")


@pytest.mark.parametrize(
    ("fault", "seen"), [(403, "list is refused"), (0, "the engine does not answer: RemoteDisconnected")]
)
def test_an_engine_that_cannot_be_used_is_told(fault: int, seen: str) -> None:
    with run_broker(prepare=lambda engine: engine.faults.update({"list": [fault]})) as broker:
        code, printed = broker.wait()
        assert code == program.UNREACHABLE == 74
        assert printed.startswith(f"jupyter-launcher: the broker cannot use the engine's socket: {seen}")
        assert len(printed.splitlines()) == 1
        assert not broker.path.exists()


def test_no_engine_at_all() -> None:
    with run_broker(prepare=lambda engine: engine.path.unlink()) as broker:
        code, printed = broker.wait()
        assert (code, len(printed.splitlines())) == (program.UNREACHABLE, 1)
        assert "FileNotFoundError" in printed


def test_a_broker_that_no_gateway_holds_ends() -> None:
    with run_broker(patch=lambda text: _changed(text, "_HOLD_SECONDS = 300.0", "_HOLD_SECONDS = 0.1")) as broker:
        assert broker.wait() == (75, "jupyter-launcher: no gateway came within 0.1 s\n")


def _changed(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1
    return text.replace(old, new)


def test_a_broker_whose_engine_refuses_at_the_end_says_so() -> None:
    with run_broker(patch=lambda text: _changed(text, "_END_SECONDS = 120.0", "_END_SECONDS = 0.3")) as broker:
        broker.hold()
        with broker.connect() as client:
            client.start()
            broker.engine.faults["remove"] = [500] * 1000
            broker.process.send_signal(signal.SIGTERM)
            assert broker.wait() == (1, "jupyter-launcher: the engine refuses to remove 1 kernels\n")


def test_connections_are_bounded(broker: RunningBroker) -> None:
    clients = [broker.connect() for _ in range(300)]
    try:
        ended = [client for client in clients[255:] if client.read() is None]  # the hold is one of 256
        assert len(ended) == 45
        clients.pop(0).close()

        def start() -> bool:
            with broker.connect() as client:
                try:
                    return "run" in client.start()
                except (AssertionError, BrokenPipeError):
                    return False

        assert until(start)
    finally:
        for client in clients:
            client.close()


def test_the_socket_is_for_every_user(broker: RunningBroker) -> None:
    assert broker.path.stat().st_mode & 0o777 == 0o666


def test_a_socket_of_before_is_replaced(broker: RunningBroker) -> None:
    broker.process.kill()
    broker.process.wait()
    assert broker.path.exists()
    program._listen(str(broker.path)).close()


def test_the_policy_leaves_the_environment() -> None:
    policy = {
        "engine": "e",
        "socket": "s",
        "namespace": "unit",
        "gateway_start": START,
        "max_kernels": 1,
        "user": "1:2",
        "kernels": {},
    }
    text = json.dumps(policy)
    environment = {"JUPYTER_LAUNCHER_BROKER_0": text[:9], "JUPYTER_LAUNCHER_BROKER_1": text[9:], "PATH": "/bin"}
    found = program.Policy.take(environment)
    assert (found.engine, found.socket, found.uid, found.gid, found.prefix) == ("e", "s", 1, 2, PREFIX)
    assert environment == {"PATH": "/bin"}


def test_words_of_the_broker_are_those_of_the_launcher() -> None:
    policy = program.Policy(
        {
            "engine": "",
            "socket": "",
            "namespace": "n-s",
            "gateway_start": START,
            "max_kernels": 1,
            "user": "1:2",
            "kernels": {"py": {}},
        }
    )
    assert policy.prefix == kernel_name_prefix("n-s")
    body = policy.to_body(program.StartRequest({**VALID, "name": "py"}, policy))
    assert set(body["Labels"]) == {KERNEL_ID, KERNEL_NAME, KERNEL_OF}
    labels = names_of_labels.part_labels("kernel", "n-s", "me", START)
    assert program.is_own(labels, policy)
    assert not program.is_own(names_of_labels.part_labels("broker", "n-s", "me", START), policy)
    assert f"{program.FOLDER}/{program.FILE}" in kernel_bodies()["py"]["Cmd"]
    assert BROKER_DIR.startswith("/run/")


@pytest.mark.parametrize(
    "answer", [b"", b"null", b"[]", b"{}", b'{"Id": 1}', b'{"Id": "../images"}', b"\xff", b"[" * 9]
)
def test_an_engine_that_answers_nonsense_to_a_create(broker: RunningBroker, client: Client, answer: bytes) -> None:
    create = broker.engine._create
    broker.engine._create = lambda name, body: (201, answer)  # type: ignore[method-assign]
    assert client.start()["status"] == 500
    broker.engine._create = create  # type: ignore[method-assign]
    assert client.start()["run"] == 1


@pytest.mark.parametrize("answer", [b"", b"null", b"[]", b"{}", b'{"StatusCode": "1"}'])
def test_an_engine_that_answers_nonsense_to_a_wait(broker: RunningBroker, client: Client, answer: bytes) -> None:
    wait, answers = broker.engine._do_wait, iter([answer] * 2)

    def do_wait(item: FakeContainer, query: Any, body: bytes) -> tuple[int, bytes]:
        found = next(answers, None)
        return wait(item, query, body) if found is None else (200, found)

    broker.engine._do_wait = do_wait  # type: ignore[method-assign]
    client.start()
    broker.engine.end(only(broker), 5)
    assert client.ended()["exit_code"] == 5


@pytest.mark.parametrize("part", ["State", "NetworkSettings", "HostConfig", "Config"])
@pytest.mark.parametrize("value", [None, [], "x", 1, {"Networks": [1], "Labels": [], "Running": None}])
def test_an_engine_that_tells_nonsense_of_a_container(
    shared: RunningBroker, monkeypatch: pytest.MonkeyPatch, part: str, value: object
) -> None:
    tell = FakeContainer.inspect
    monkeypatch.setattr(FakeContainer, "inspect", lambda item: {**tell(item), part: value})
    with shared.connect() as client:
        assert client.start()["run"] == 1
        shared.engine.end(only(shared), 3)
        assert client.ended()["exit_code"] == 3
    assert gone(shared)


@functools.cache
def _lines() -> st.SearchStrategy[bytes]:
    values = json_values()
    ids = st.sampled_from([KERNEL, *(str(uuid.UUID(int=number)) for number in range(3)), "../../images/json", "f" * 64])
    names = st.text(max_size=8).map("KERNEL_".__add__) | st.text(max_size=8)
    documents = st.fixed_dictionaries(
        {},
        optional={
            "do": st.sampled_from(["start", "signal", "hold"]) | values,
            "kernel": ids | values,
            "name": st.sampled_from(NAMES) | values,
            "env": st.dictionaries(names, st.text(max_size=8)) | values,
            "folder": st.text(max_size=20).map("/pipeline-dir/".__add__) | values,
            "connection": st.just(CONNECTION) | values,
            "signal": st.integers(-2, 70) | values,
        },
    )
    changed = values.flatmap(lambda value: st.sampled_from(list(replaced(VALID, value))))
    valid = st.just(VALID) | st.just({"do": "signal", "signal": 2})
    as_text = (documents | changed | valid | values).map(lambda value: json.dumps(value).encode())
    return as_text | st.binary(max_size=60).map(lambda data: data.replace(b"\n", b""))


def test_whatever_a_client_says(broker: RunningBroker) -> None:
    """No call but those of kernels of its own, and nothing is left; ``strange`` has the others."""
    others = [broker.engine.add(f"other-{number}", {}) for number in range(2)]

    @settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
    @given(lines=st.lists(_lines(), min_size=1, max_size=6))
    def check(lines: list[bytes]) -> None:
        with broker.connect() as client:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it has heard enough
                client.send(b"".join(line + b"\n" for line in lines))
                client.socket.shutdown(socket.SHUT_WR)
            while (answer := client.read()) is not None:
                assert {"error", "status"} == set(answer) or "error" not in answer
                assert answer.get("status", 400) in (400, 404, 409, 429, 500)
        assert broker.engine.strange == []
        for item in broker.own():
            body = {**item.body, "Env": 0, "Labels": 0, "Cmd": 0}
            assert body in [{**known, "Env": 0, "Labels": 0, "Cmd": 0} for known in kernel_bodies().values()]

    check()
    assert gone(broker)
    assert list(broker.engine.containers.values()) == others
    assert {item.state for item in others} == {"running"}
    assert broker.process.poll() is None


def test_a_storm_of_connections_that_end(broker: RunningBroker) -> None:
    """Thirty kernels whose connections end at whatever moment of a start, a restart or an end."""

    def live(seed: int) -> None:
        dice = random.Random(seed)  # noqa: S311 - no secret
        with broker.connect() as client:
            kernel = str(uuid.UUID(int=dice.getrandbits(128), version=4))
            steps: list[Callable[[], object]] = [
                lambda: client.say(**{**VALID, "kernel": kernel}),
                client.read,
                lambda: client.say(do="signal", signal=9),
                client.read,
                client.read,
                lambda: client.say(**{**VALID, "kernel": kernel}),
                client.read,
            ]
            for step in steps[: dice.randrange(1, len(steps) + 1)]:
                step()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(live, range(30)))
    assert gone(broker)
    assert threading.active_count() < 100
    # And the broker goes on.
    with broker.connect() as client:
        assert client.start()["run"] == 1
    assert len(list(Path(f"/proc/{broker.process.pid}/task").iterdir())) < 50
