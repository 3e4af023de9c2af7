"""The image of a gateway of ours with kernels in containers of their images: the gateway and its agents, by hand."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import requests
import websocket

from jupyter_launcher import DEFAULT_GATEWAY_IMAGE, Launcher
from jupyter_launcher.spec.server import read_script
from jupyter_launcher.waiting import Deadline
from tests.containers import eventually
from tests.integration.conftest import address_of

pytestmark = pytest.mark.parts

TOKEN = "only-who-knows-it"  # noqa: S105 - made up
SECRET = "the agents' own"  # noqa: S105 - made up
AGENT = read_script("kernels/agent.py")
ARGV = ["python3", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
LOGO = "iVBORw0KGgo="
RUN_DIR = "/run/jupyter-launcher"


@dataclass
class Unit:
    """A gateway and the containers of its kernels' images."""

    gateway: Any
    agents: Sequence[Any]
    url: str

    def ask(self, method: str, path: str, body: object = None) -> requests.Response:
        headers = {"Authorization": f"token {TOKEN}"}
        return requests.request(method, f"{self.url}{path}", json=body, headers=headers, timeout=60)

    def start_kernel(self, name: str = "one", **body: Any) -> str:
        answer = self.ask("POST", "api/kernels", {"name": name, **body})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def run(self, kernel: str, code: str, *, then: Callable[[], object] | None = None) -> str:
        """What a cell prints, or the name of its error; ``then`` is called once it has printed something."""
        with contextlib.closing(self.connect(kernel)) as connection:
            send(connection, code)
            printed, deadline = "", Deadline(60)
            while not deadline.expired():
                message = json.loads(connection.recv())
                if message["parent_header"].get("msg_id") != "m1":
                    continue
                content = message["content"]
                if message["msg_type"] == "stream":
                    printed += content["text"]
                    if then is not None:
                        then()
                        then = None
                elif message["msg_type"] == "error":
                    printed += content["ename"]
                elif content.get("execution_state") == "idle":
                    return printed
        return pytest.fail("the cell did not end")

    def connect(self, kernel: str) -> websocket.WebSocket:
        url = f"{self.url.replace('http', 'ws', 1)}api/kernels/{kernel}/channels"
        header = {"Authorization": f"token {TOKEN}"}
        return websocket.create_connection(url, timeout=30, header=header, skip_utf8_validation=True)

    def log(self) -> str:
        return str(self.gateway.logs().decode())


def send(connection: websocket.WebSocket, code: str) -> None:
    header = {"msg_id": "m1", "msg_type": "execute_request", "username": "", "session": "s1", "version": "5.3"}
    content = {"code": code, "silent": False, "store_history": False}
    connection.send(
        json.dumps({"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": content})
    )


def print_until(connection: websocket.WebSocket, code: str) -> str:
    """What a cell prints in a kernel that is just starting again: what is sent to it too early is lost."""
    connection.settimeout(2)
    for _ in range(20):
        send(connection, code)
        with contextlib.suppress(websocket.WebSocketTimeoutException):
            while True:
                message = json.loads(connection.recv())
                if message["msg_type"] == "stream" and message["content"]["name"] == "stdout":
                    return str(message["content"]["text"])
    return pytest.fail("the kernel does not answer")


def has_ended(container: Any) -> bool:
    container.reload()
    return str(container.status) == "exited"


@pytest.fixture(scope="module")
def make_unit(client: Any, launcher: Launcher, reach: Callable[[str], str]) -> Iterator[Callable[..., Unit]]:
    """Makes a gateway and an agent for each name; the first kernel is ``one``."""
    launcher.ensure_image(DEFAULT_GATEWAY_IMAGE)
    launcher.ensure_image()
    made: list[Any] = []

    def make(
        *names: str,
        answers: bool = True,
        environment: dict[str, str] | None = None,
        secret: str = SECRET,
        **options: Any,
    ) -> Unit:
        start = uuid.uuid4().hex
        told = {
            f"JUPYTER_LAUNCHER_KERNEL_{number}": json.dumps(
                {
                    "name": name,
                    "address": f"@jupyter-launcher-agent/{start}/{name}",
                    "secret": SECRET,
                    "argv": ARGV,
                    "display_name": f"The {name}",
                    "language": "python",
                    "encrypts": True,
                    "interrupt_mode": "signal",
                    "logos": {"logo-64x64.png": LOGO},
                }
            )
            for number, name in enumerate(names)
        }
        gateway = client.containers.run(
            DEFAULT_GATEWAY_IMAGE,
            detach=True,
            init=True,
            environment={"KG_AUTH_TOKEN": TOKEN, **told, **(environment or {})},
            tmpfs={RUN_DIR: "uid=1000,mode=0700"},
        )
        made.append(gateway)
        agents = []
        for name in names:
            policy = {
                "address": f"jupyter-launcher-agent/{start}/{name}",
                "name": name,
                "secret": secret,
                "argv": ARGV,
                "env": {"OF_SPEC": name},
            }
            agent = client.containers.run(
                launcher.image,
                detach=True,
                init=True,
                entrypoint=["python3", "-IS", "-c", AGENT],
                environment={"JUPYTER_LAUNCHER_AGENT": json.dumps(policy)},
                network_mode=f"container:{gateway.id}",
                working_dir="/pipeline-dir",
                user="1000",
                **options,
            )
            made.append(agent)
            agents.append(agent)
        unit = Unit(gateway, agents, reach(gateway.id))

        def is_there() -> bool:
            with contextlib.suppress(requests.ConnectionError):
                return unit.ask("GET", "api/kernelspecs").ok
            return False

        assert not answers or eventually(is_there), unit.log()
        return unit

    yield make
    for container in reversed(made):
        container.remove(force=True, v=True)


@pytest.fixture(scope="module")
def unit(make_unit: Callable[..., Unit]) -> Unit:
    return make_unit("one", "two")


def test_the_specs_are_those_of_the_images_alone(unit: Unit) -> None:
    listed = unit.ask("GET", "api/kernelspecs").json()
    assert listed["default"] == "one"
    assert list(listed["kernelspecs"]) == ["one", "two"]
    found = listed["kernelspecs"]["two"]
    assert (found["spec"]["display_name"], found["spec"]["language"]) == ("The two", "python")
    assert unit.ask("GET", found["resources"]["logo-64x64"].lstrip("/")).content.startswith(b"\x89PNG")
    assert SECRET not in json.dumps(listed)
    assert unit.ask("POST", "api/kernels", {"name": "python3"}).status_code >= 400


def test_kernels_run_in_the_container_of_their_image(unit: Unit) -> None:
    look = "import os; print(os.environ['OF_SPEC'], os.environ['KERNEL_ID'], os.environ.get('KERNEL_X'), os.getcwd())"
    for name, agent in zip(("one", "two"), unit.agents, strict=True):
        kernel = unit.start_kernel(name, env={"KERNEL_X": "ä", "LD_PRELOAD": "x", "KERNEL_WORKING_DIR": "/tmp"})  # noqa: S108
        assert unit.run(kernel, look) == f"{name} {kernel} ä /pipeline-dir\n"
        script = 'cat /proc/[0-9]*/environ 2>/dev/null | tr "\\0" "\\n" | grep -c "^KERNEL_ID="'
        assert agent.exec_run(["sh", "-c", script]).output == b"1\n"
        assert unit.ask("DELETE", f"api/kernels/{kernel}").status_code == 204
        assert agent.exec_run(["sh", "-c", script]).output == b"0\n"
    assert unit.gateway.exec_run(["sh", "-c", "cat /proc/[0-9]*/cmdline"]).output.count(b"ipykernel") == 0


def test_what_only_the_gateway_knows_is_in_no_kernel(unit: Unit) -> None:
    kernel = unit.start_kernel()
    printed = unit.run(kernel, "import os; print(dict(os.environ))")
    assert TOKEN not in printed
    assert SECRET not in printed
    assert "LD_PRELOAD" not in printed
    assert "JUPYTER_LAUNCHER" not in printed


def test_a_kernel_restarts_in_its_container(unit: Unit) -> None:
    kernel = unit.start_kernel()
    assert unit.run(kernel, "open('/tmp/kept', 'w').close(); x = 5; print(x)") == "5\n"
    assert unit.ask("POST", f"api/kernels/{kernel}/restart").status_code == 200
    assert unit.run(kernel, "import os; print(os.path.exists('/tmp/kept'), 'x' in globals())") == "True False\n"
    assert unit.ask("GET", f"api/kernels/{kernel}").json()["id"] == kernel


@pytest.mark.parametrize("call", ["os.system('sleep 300')", "subprocess.run(['sleep', '300'])", "time.sleep(300)"])
def test_a_cell_is_interrupted_with_what_it_runs(unit: Unit, call: str) -> None:
    kernel = unit.start_kernel()
    code = f"import os, subprocess, time; print('runs', flush=True); {call}"
    printed = unit.run(kernel, code, then=lambda: unit.ask("POST", f"api/kernels/{kernel}/interrupt"))
    assert printed in ("runs\nKeyboardInterrupt", "runs\n")
    assert unit.run(kernel, "print(6)") == "6\n"
    assert unit.agents[0].exec_run(["sh", "-c", "cat /proc/[0-9]*/cmdline | grep -c '^sleep'"]).output == b"0\n"


def test_a_kernel_that_kills_itself_starts_again(unit: Unit) -> None:
    kernel = unit.start_kernel()
    with contextlib.closing(unit.connect(kernel)) as connection:
        send(connection, "import os; os.kill(os.getpid(), 9)")
        states = []
        while "restarting" not in states:
            states.append(json.loads(connection.recv())["content"].get("execution_state"))
        assert print_until(connection, "print(7)") == "7\n"


# Run beside a kernel: takes one of its ports as soon as it is free, so that the kernel gets others.
SQUATTER = """
import socket, sys, time
while True:
    opened = socket.socket()
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind(("127.0.0.1", int(sys.argv[1])))
        opened.listen()
        break
    except OSError:
        opened.close()
        time.sleep(0.001)
time.sleep(60)
"""


def test_an_open_websocket_follows_a_kernel_to_other_ports(unit: Unit) -> None:
    kernel = unit.start_kernel()
    look = "import ipykernel.kernelapp as k; print(k.IPKernelApp.instance().shell_port)"
    port = unit.run(kernel, look).strip()
    unit.agents[0].exec_run(["python3", "-c", SQUATTER, port], detach=True)
    with contextlib.closing(unit.connect(kernel)) as connection:
        send(connection, "import os; os.kill(os.getpid(), 9)")
        while json.loads(connection.recv())["content"].get("execution_state") != "restarting":
            pass
        told = print_until(connection, look)
    assert told.strip().isdigit()
    assert told.strip() != port
    # The gateway's own watch, by which it ends idle kernels, has followed too.
    assert eventually(lambda: unit.ask("GET", f"api/kernels/{kernel}").json()["execution_state"] == "idle")


def test_channels_are_encrypted(unit: Unit) -> None:
    kernel = unit.start_kernel()
    assert (
        unit.run(kernel, "import ipykernel.kernelapp as k; print(bool(k.IPKernelApp.instance().curve_secretkey))")
        == "True\n"
    )


def test_no_more_kernels_run_than_may(make_unit: Callable[..., Unit]) -> None:
    unit = make_unit("one", environment={"JUPYTER_LAUNCHER_MAX_KERNELS": "1"})
    kernel = unit.start_kernel()
    refused = unit.ask("POST", "api/kernels", {"name": "one"})
    assert refused.status_code == 429
    assert refused.json()["message"] == "1 kernels run, and max_kernels is 1: shut one down first"
    assert [item["id"] for item in unit.ask("GET", "api/kernels").json()] == [kernel]
    unit.ask("DELETE", f"api/kernels/{kernel}")
    unit.start_kernel()


def test_a_kernel_that_is_idle_for_long_ends(make_unit: Callable[..., Unit]) -> None:
    unit = make_unit("one", environment={"JUPYTER_LAUNCHER_KERNEL_IDLE": "2"})
    kernel = unit.start_kernel()
    with contextlib.closing(unit.connect(kernel)):
        assert eventually(lambda: unit.ask("GET", "api/kernels").json() == [])


def test_a_kernel_that_is_killed_for_memory_is_told(make_unit: Callable[..., Unit], needs_limits: None) -> None:
    unit = make_unit("one", mem_limit="200m", memswap_limit="200m")
    assert unit.gateway.exec_run(["cat", f"{RUN_DIR}/oom-kills"]).output == b"oom_kill 0\n"
    kernel = unit.start_kernel()
    with contextlib.closing(unit.connect(kernel)) as connection:
        send(connection, "x = bytearray(600_000_000)")
        while json.loads(connection.recv())["content"].get("execution_state") != "restarting":
            pass
    assert unit.gateway.exec_run(["cat", f"{RUN_DIR}/oom-kills"]).output == b"oom_kill 1\n"
    told = "was killed: the memory of its container is used up"
    assert f"kernel {kernel} {told}" in unit.log()
    assert f"kernel {kernel} {told}" in unit.agents[0].logs().decode()


def test_an_agent_ends_with_its_gateway(make_unit: Callable[..., Unit]) -> None:
    unit = make_unit("one", "two")
    unit.start_kernel("one")
    unit.gateway.kill()
    assert eventually(lambda: all(map(has_ended, unit.agents)))
    assert [agent.wait()["StatusCode"] for agent in unit.agents] == [0, 0]


def test_a_gateway_ends_with_an_agent_and_all_others_with_it(make_unit: Callable[..., Unit]) -> None:
    unit = make_unit("one", "two")
    unit.start_kernel("two")
    unit.agents[0].kill()
    assert eventually(lambda: all(map(has_ended, [unit.gateway, unit.agents[1]])))
    assert "has ended, so the gateway ends" in unit.log()


def test_a_gateway_that_is_stopped_ends_gracefully_with_its_kernels(make_unit: Callable[..., Unit]) -> None:
    unit = make_unit("one")
    unit.start_kernel()
    unit.gateway.stop(timeout=20)
    assert unit.gateway.wait()["StatusCode"] == 0
    assert unit.agents[0].wait(timeout=20)["StatusCode"] == 0


def test_a_gateway_that_an_agent_does_not_know_says_so_and_ends(make_unit: Callable[..., Unit]) -> None:
    unit = make_unit("one", answers=False, secret="another")
    assert eventually(lambda: has_ended(unit.gateway))
    assert unit.gateway.wait()["StatusCode"] == 73
    last = unit.log().rstrip().rpartition("\n")[2]
    assert last.startswith("jupyter-launcher: the part at @jupyter-launcher-agent/")
    assert "that is not the secret of this agent" in last


def test_a_gateway_ends_with_the_session_that_it_is_one_unit_with(
    make_unit: Callable[..., Unit], client: Any, launcher: Launcher
) -> None:
    unit = make_unit("one")
    unit.start_kernel()
    command = ["python3", "-m", "http.server", "8888"]
    session = client.containers.run(launcher.image, command, detach=True, init=True, working_dir="/tmp")  # noqa: S108
    try:
        address = address_of(client, session.id)
        script = f'echo "$1" >{RUN_DIR}/.session && mv {RUN_DIR}/.session {RUN_DIR}/session'
        assert unit.gateway.exec_run(["sh", "-c", script, "sh", address]).exit_code == 0
        code, _ = session.exec_run(
            ["sh", "-c", "until grep -q ':22B8 [0-9A-F:]* 01' /proc/net/tcp; do sleep 0.1; done"]
        )
        assert code == 0
        assert not has_ended(unit.gateway)
    finally:
        session.remove(force=True, v=True)
    assert eventually(lambda: has_ended(unit.gateway) and has_ended(unit.agents[0]), 30)
    assert f"the session at {address} is gone, so the gateway ends" in unit.log()
    assert unit.agents[0].wait()["StatusCode"] == 0
