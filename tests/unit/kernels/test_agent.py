"""The agent, as a real process: what it starts, what ends it, and what it refuses."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_launcher.server.inside.kernels import agent as inside
from tests.containers import eventually
from tests.unit.kernels.agents import ARGV, CONNECTION, SECRET, AgentProcess, Peer, environment_of, is_alive, run_agent

# A kernel that writes down its process, folder and connection file, and waits.
WAITS = ("sh", "-c", 'echo "$$ $PWD $0" >"$KERNEL_ID.up"; echo started; exec sleep 600', "{connection_file}")
KERNEL = "11111111-2222-3333-4444-555555555555"


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentProcess]:
    with run_agent(WAITS, tmp_path, env={"SPEC": "of ${KERNEL_A} and ${NOBODY}"}) as running:
        yield running


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., AgentProcess]]:
    """An agent whose kernels are a shell script."""
    with_end = []

    def run(script: str, **policy: Any) -> AgentProcess:
        context = run_agent(("sh", "-c", script, "{connection_file}"), tmp_path, **policy)
        with_end.append(context)
        return context.__enter__()

    yield run
    for context in with_end:
        context.__exit__(None, None, None)


def up(agent: AgentProcess, kernel: str = KERNEL, folder: str = "") -> tuple[int, str, Path]:
    """The process, the folder and the connection file of a kernel that has started."""
    told = agent.folder / folder / f"{kernel}.up"
    assert eventually(lambda: told.exists() and told.read_text().endswith("\n")), agent.log.read_text()
    pid, directory, file = told.read_text().split()
    told.unlink()
    return int(pid), directory, Path(file)


def test_a_kernel_is_started_with_what_the_launcher_and_its_client_say(agent: AgentProcess) -> None:
    agent.hold()
    peer = agent.connect()
    connection = {**CONNECTION, "curve_publickey": "p", "curve_secretkey": "s", "ip": "6.6.6.6", "shell_port": 1}
    answer = peer.start(kernel=KERNEL, env={"KERNEL_A": "ä b"}, connection=connection, argv=["touch", "evil"], user="0")
    pid, folder, file = up(agent)
    assert (answer["ip"], answer["run"]) == ("127.0.0.1", 1)
    assert sorted(answer["ports"]) == sorted(inside.PORTS)
    assert len(set(answer["ports"].values())) == 5
    assert json.loads(file.read_text()) == {**connection, **answer["ports"], "ip": "127.0.0.1", "transport": "tcp"}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert folder == str(agent.folder)
    environment = environment_of(pid)
    assert (environment["KERNEL_ID"], environment["KERNEL_A"]) == (KERNEL, "ä b")
    assert environment["SPEC"] == "of ä b and ${NOBODY}"
    assert environment["JPY_PARENT_PID"] == str(agent.process.pid)
    assert inside.VARIABLE not in environment
    assert os.getsid(pid) == pid
    assert not (agent.folder / "evil").exists()


def test_the_end_of_a_connection_ends_its_kernel_alone(agent: AgentProcess) -> None:
    agent.hold()
    other = str(uuid.uuid4())
    one, two = agent.connect(), agent.connect()
    assert not set(one.start(kernel=KERNEL)["ports"].values()) & set(two.start(kernel=other)["ports"].values())
    first, second = up(agent), up(agent, other)
    one.close()
    assert eventually(lambda: not is_alive(first[0]) and not first[2].exists())
    assert is_alive(second[0])
    assert second[2].exists()


def test_a_kernel_that_ignores_sigterm_is_killed_with_its_group(make: Callable[..., AgentProcess]) -> None:
    agent = make('trap "" TERM INT; sleep 601 & echo "$$ $! $0" >"$KERNEL_ID.up"; wait; sleep 602')
    agent.hold()
    peer = agent.connect()
    peer.start(kernel=KERNEL)
    pid, child, _ = up(agent)
    peer.close()
    assert eventually(lambda: not is_alive(pid) and not is_alive(int(child)))


def test_what_a_kernel_leaves_of_its_group_ends_with_it(make: Callable[..., AgentProcess]) -> None:
    agent = make('sleep 601 & echo "$$ $! $0" >"$KERNEL_ID.up"; exit 3')
    agent.hold()
    peer = agent.connect()
    peer.start(kernel=KERNEL)
    _, child, _ = up(agent)
    assert peer.ended()["exit_code"] == 3
    assert eventually(lambda: not is_alive(int(child)))


def test_a_process_that_left_the_group_does_not_hold_up_the_news(make: Callable[..., AgentProcess]) -> None:
    script = "setsid sh -c 'touch left; exec sleep 601' & until [ -e left ]; do sleep 0.05; done; "
    agent = make(script + 'echo "$$ $! $0" >"$KERNEL_ID.up"; echo the end; exit 4')
    agent.hold()
    peer = agent.connect()
    peer.start(kernel=KERNEL)
    left = int(up(agent)[1])
    told = peer.ended()
    os.kill(left, signal.SIGKILL)
    assert (told["exit_code"], told["log"]) == (4, "the end\n")


def test_an_end_is_told_once_and_its_connection_starts_the_next_run(make: Callable[..., AgentProcess]) -> None:
    agent = make("[ ! -e stay ] || exec sleep 603; echo out; echo err >&2; exit 7")
    agent.hold()
    peer = agent.connect()
    first = peer.start(kernel=KERNEL)
    assert peer.ended() == {"run": 1, "exit_code": 7, "oom": False, "log": "out\nerr\n"}
    assert eventually(lambda: agent.log.read_text() == "out\nerr\n")  # goes on to the container's log
    (agent.folder / "stay").touch()
    assert peer.start(kernel=KERNEL) == {**first, "run": 2}  # on the same ports: websockets that are open go on
    assert peer.start(kernel=KERNEL)["status"] == 409
    assert peer.ask("signal", signal=9) == {}
    assert peer.ended() == {"run": 2, "exit_code": 137, "oom": False, "log": ""}
    assert peer.ask("signal", signal=9) == {}
    assert peer.start(kernel=str(uuid.uuid4()))["status"] == 409


def test_a_port_that_was_taken_meanwhile_is_not_given_again(make: Callable[..., AgentProcess]) -> None:
    agent = make("exit 0")
    agent.hold()
    peer = agent.connect()
    ports = peer.start(kernel=KERNEL)["ports"]
    peer.ended()
    with socket.create_server(("127.0.0.1", ports["stdin_port"])):
        again = peer.start(kernel=KERNEL)["ports"]
    assert ports["stdin_port"] not in again.values()


def test_an_interrupt_reaches_the_children_too(make: Callable[..., AgentProcess]) -> None:
    agent = make(f"{sys.executable} -c \"import os; print(os.system(chr(115)+'leep 604'), flush=True)\" ; exit 9")
    agent.hold()
    peer = agent.connect()
    peer.start(kernel=KERNEL)
    running = ["pgrep", "-f", "^sleep 604$"]
    assert eventually(lambda: subprocess.run(running, check=False, stdout=subprocess.DEVNULL).returncode == 0)
    assert peer.ask("signal", signal=2) == {}
    told = peer.ended()
    assert "2\n" in told["log"] or told["exit_code"] in (9, 130)
    assert subprocess.run(running, check=False).returncode == 1


def test_only_the_last_of_much_output_is_told(make: Callable[..., AgentProcess]) -> None:
    agent = make("yes | head -c 3000000; printf the-end")
    agent.hold()
    peer = agent.connect()
    peer.start(kernel=KERNEL)
    log = peer.ended()["log"]
    assert log.endswith("y\nthe-end")
    assert len(log) == 4096
    assert eventually(lambda: agent.log.stat().st_size == 3_000_007)


@pytest.mark.parametrize("argv", [["/no/such/program"], ["/etc/passwd"], ["/"]])
def test_a_kernel_that_cannot_be_run_is_told(tmp_path: Path, argv: list[str]) -> None:
    with run_agent(argv, tmp_path) as agent:
        agent.hold()
        peer = agent.connect()
        answer = peer.start()
        assert answer["status"] == 500
        assert argv[0] in answer["error"]
        assert peer.start()["status"] == 500  # and the connection goes on


@pytest.mark.parametrize(
    "wanted", [None, "", "sub/x", "../..", "/etc", "/", "{0}/../..", "{0}x", "{0}/none", "{0}/file", "{0}/shut"]
)
def test_a_folder_that_is_none_below_the_pipeline_is_not_taken(agent: AgentProcess, wanted: str | None) -> None:
    agent.folder.with_name("pipelinex").mkdir()
    (agent.folder / "file").touch()
    (agent.folder / "shut").mkdir(mode=0o600 if os.geteuid() else 0o700)
    agent.hold()
    if wanted == "{0}/shut" and not os.geteuid():
        wanted = "{0}/shut/.."
    agent.connect().start(kernel=KERNEL, folder=wanted and wanted.format(agent.folder))
    assert up(agent)[1] == str(agent.folder)


def test_a_folder_below_the_pipeline_is_taken(agent: AgentProcess) -> None:
    (agent.folder / "sub" / "ä b").mkdir(parents=True)
    agent.hold()
    agent.connect().start(kernel=KERNEL, folder=f"{agent.folder}/x/../sub//ä b/")
    told = agent.folder / "sub" / "ä b" / f"{KERNEL}.up"
    assert eventually(told.exists)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kernel": "../x"}, {"kernel": KERNEL + "\n"}, {"kernel": 5}, {"kernel": KERNEL.replace("1", "/")},
        {"env": {"PATH": "/x"}}, {"env": {"KERNEL_A=B": "x"}}, {"env": {"KERNEL_": "x"}}, {"env": {"KERNEL_A": 1}},
        {"env": {"KERNEL_A": "\0"}}, {"env": {"KERNEL_A\n": ""}}, {"env": ["KERNEL_A"]}, {"folder": "/x\0"},
        {"env": {"KERNEL_A": "\ud800"}}, {"connection": None}, {"connection": {}}, {"name": None}, {"name": ["one"]},
        {"folder": 1}, {"connection": {**CONNECTION, "key": 1}}, {"connection": {**CONNECTION, "curve_publickey": "p"}},
    ],
)  # fmt: skip
def test_a_wrong_start_starts_nothing(agent: AgentProcess, wrong: dict[str, Any]) -> None:
    agent.hold()
    peer = agent.connect()
    assert peer.start(**wrong)["status"] == 400
    assert peer.start(kernel=KERNEL)["run"] == 1


@pytest.mark.parametrize("secret", [None, "", SECRET + " ", 5, ["x"], "\ud800"])
def test_who_does_not_know_the_secret_is_sent_away(agent: AgentProcess, secret: object) -> None:
    stranger = agent.connect()
    assert stranger.ask("hold", secret=secret)["status"] == 403
    assert stranger.next() == {}
    agent.hold()
    stranger = agent.connect()
    assert stranger.start(kernel=KERNEL, secret=secret)["status"] == 403
    assert stranger.next() == {}
    assert list(agent.folder.iterdir()) == []


def test_another_name_is_not_found(agent: AgentProcess) -> None:
    agent.hold()
    assert agent.connect().start(name="two") == {"error": "the kernel here is one", "status": 404}


@pytest.mark.parametrize("number", [0, -9, 65, 2.0, "9", True, None, [9], 10**30])
def test_a_signal_is_a_number(agent: AgentProcess, number: object) -> None:
    agent.hold()
    peer = agent.connect()
    peer.start(kernel=KERNEL)
    pid = up(agent)[0]
    assert peer.ask("signal", signal=number)["status"] == 400
    assert is_alive(pid)


GARBAGE = [
    b"\n", b"[]\n", b"5\n", b"null\n", b'"x"\n', b"\xff\n", b'{"do": \n', b'{"do": "exec"}\n', b'{"do": null}\n',
    b'{"do": []}\n', b"{}\n", b"[" * 100_000 + b"\n", b"x" * (1 << 20), b'{"do": ' + b"9" * 100_000 + b"}\n",
]  # fmt: skip


@pytest.mark.parametrize("line", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_answered_and_ends_the_connection_with_its_kernel(agent: AgentProcess, line: bytes) -> None:
    agent.hold()
    peer, other = agent.connect(), agent.connect()
    peer.start(kernel=KERNEL)
    pid = up(agent)[0]
    peer.send(line)
    assert peer.next()["status"] == 400
    assert eventually(lambda: not is_alive(pid))
    assert other.start(name="one")["run"] == 1


def test_a_line_without_an_end_is_none(agent: AgentProcess) -> None:
    agent.hold()
    peer = agent.connect()
    peer.send(
        json.dumps(
            {"do": "start", "kernel": KERNEL, "name": "one", "secret": SECRET, "connection": CONNECTION}
        ).encode()
    )
    peer.socket.shutdown(socket.SHUT_WR)
    assert peer.next() == {}
    assert list(agent.folder.iterdir()) == []


def test_no_kernel_starts_before_the_hold_and_there_is_one_hold(agent: AgentProcess) -> None:
    peer = agent.connect()
    assert peer.start()["status"] == 409
    holder = agent.hold()
    assert peer.ask("hold", secret=SECRET)["status"] == 409
    assert holder.ask("hold", secret=SECRET)["status"] == 409
    assert peer.start()["run"] == 1
    assert peer.ask("hold", secret=SECRET)["status"] == 409


@pytest.mark.parametrize("how", ["hold", "SIGTERM", "SIGINT"])
def test_all_kernels_and_files_are_gone_when_the_agent_ends(agent: AgentProcess, how: str) -> None:
    holder = agent.hold()
    kernels = [str(uuid.uuid4()) for _ in range(3)]
    for kernel in kernels:
        agent.connect().start(kernel=kernel)
    told = [up(agent, kernel) for kernel in kernels]
    holder.close() if how == "hold" else agent.process.send_signal(signal.Signals[how])
    assert agent.process.wait(20) == 0
    assert [pid for pid, _, _ in told if is_alive(pid)] == []
    assert not told[0][2].parent.exists()


def test_connections_are_bounded(agent: AgentProcess) -> None:
    agent.hold()
    peers = [agent.connect() for _ in range(inside.CLIENTS - 1)]
    for peer in peers:  # who says the secret stays, even if nothing else is right
        peer.ask("start", secret=SECRET)
    assert agent.connect().next()["status"] == 429
    assert peers[-1].start()["run"] == 1
    peers[0].close()
    assert eventually(lambda: agent.connect().ask("signal", signal=2) == {})


def test_who_does_not_say_the_secret_gives_way(agent: AgentProcess) -> None:
    """Kernels of other images see the agent's socket."""
    agent.hold()
    strangers = [agent.connect() for _ in range(inside.CLIENTS + 5)]
    assert agent.connect().start()["run"] == 1
    assert strangers[-1].ask("signal", signal=2) == {}


@pytest.mark.parametrize(
    "policy",
    ["", "[]", "{}", '{"address": "x", "name": "x"}', '{"address": "x", "name": "x", "secret": "x", "argv": 5}'],
)
def test_a_wrong_policy_is_said(policy: str) -> None:
    environment = {**os.environ, inside.VARIABLE: policy}
    run = subprocess.run(ARGV, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert run.returncode == 1
    assert re.fullmatch(r"jupyter-launcher: the agent cannot run: .*\n", run.stdout)


def test_an_address_that_is_taken_is_said(agent: AgentProcess) -> None:
    agent.hold()
    given = {"address": agent.address, "name": "one", "secret": "", "argv": ["true"]}
    environment = {**os.environ, inside.VARIABLE: json.dumps(given)}
    run = subprocess.run(ARGV, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert (run.returncode, run.stdout) == (
        1,
        "jupyter-launcher: the agent cannot listen: [Errno 98] Address already in use\n",
    )


def test_without_a_hold_the_agent_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    monkeypatch.setattr(inside, "HOLD_SECONDS", 0.1)
    given = {"address": f"test/{uuid.uuid4()}", "name": "one", "secret": "", "argv": ["true"], "folder": str(tmp_path)}
    running = inside.Agent(inside.Policy(json.dumps(given)))
    running.listen()
    assert running.serve() == 1
    running.close()
    assert capfd.readouterr().out == "jupyter-launcher: no gateway has come in 0.1 s\n"


@pytest.mark.parametrize(
    ("content", "count"),
    [
        ("low 0\noom 3\noom_kill 2\n", 2),
        ("oom_kill_disable 0\nunder_oom 0\noom_kill 5\n", 5),
        ("oom_kill x\n", 0),
        ("", 0),
    ],
)
def test_oom_kills_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, count: int) -> None:
    file = tmp_path / "memory.events"
    file.write_text(content)
    monkeypatch.setattr(inside, "_OOM_COUNTERS", (str(tmp_path / "none"), str(file)))
    assert inside.count_oom_kills() == count


@pytest.mark.parametrize("cause", ["memory", "client", "child"])
def test_a_kernel_that_is_killed_for_memory_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cause: str
) -> None:
    file = tmp_path / "memory.events"
    file.write_text("oom_kill 1\n")
    monkeypatch.setattr(inside, "_OOM_COUNTERS", (str(file),))
    ends: list[dict[str, Any]] = []
    script = "exit 1" if cause == "child" else "kill -9 $$" if cause == "memory" else "sleep 600"
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    environment = {os.fsencode(name): os.fsencode(value) for name, value in os.environ.items()}
    run = inside.Run(["sh", "-c", f"read x <{gate}; {script}"], environment, str(tmp_path), ends.append)
    file.write_text("oom_kill 2\n")
    gate.write_text("\n")
    if cause == "client":
        run.signal(signal.SIGKILL)
    assert eventually(lambda: bool(ends))
    assert ends[0]["oom"] == (cause == "memory")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
NAMES = st.sampled_from(["do", "kernel", "name", "env", "folder", "connection", "signal", "key", "KERNEL_X"])


@given(st.binary() | st.text().map(str.encode) | JSON.map(lambda value: json.dumps(value).encode()))
def test_a_line_is_an_object_or_refused(line: bytes) -> None:
    try:
        parsed: object = inside.parse(line)
    except inside.RefusedError as error:
        parsed = {"status": error.status}
    assert isinstance(parsed, dict)


@given(st.dictionaries(NAMES, JSON | st.dictionaries(NAMES, JSON)))
def test_a_request_is_checked_or_refused(request: dict[str, Any]) -> None:
    with contextlib.suppress(inside.RefusedError):
        start = inside.Start(request)
        assert all(isinstance(value, str) for value in [*start.env.values(), *start.connection.values(), start.name])


def test_the_agent_is_of_a_python_that_images_have() -> None:
    ast.parse(ARGV[-1], feature_version=(3, 8))


def test_peers_see_whole_lines(agent: AgentProcess) -> None:
    agent.hold()
    peer: Peer = agent.connect()
    line = json.dumps({"do": "signal", "signal": 2}).encode() + b"\n"
    for index in range(len(line)):
        peer.send(line[index : index + 1])
    peer.send(line * 3)
    assert [peer.next() for _ in range(4)] == [{}] * 4
