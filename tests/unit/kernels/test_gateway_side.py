"""What is in the gateway's image for kernels in containers: against a real agent, and against parts that misbehave."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.kernelspec import NoSuchKernel
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning.factory import KernelProvisionerFactory
from tornado.web import HTTPError
from traitlets.config import Config

from jupyter_launcher.engine.images import context_dir
from tests.containers import eventually
from tests.unit.kernels.agents import SECRET, AgentProcess, is_alive, run_agent

IMAGE = str(context_dir("kernel-gateway"))
sys.path.insert(0, IMAGE)
holds, lifeline, memory, part, remote, settings, specs = (
    importlib.import_module(f"jupyter_launcher_kernels.{name}")
    for name in ("holds", "lifeline", "memory", "part", "remote", "settings", "specs")
)

KERNEL = (sys.executable, str(Path(__file__).with_name("kernel.py")), "{connection_file}")
PORTS = ("shell_port", "iopub_port", "stdin_port", "hb_port", "control_port")
PROVISIONER = "jupyter-launcher-remote"


@pytest.fixture(autouse=True)
def oom_kills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(memory, "_FILE", tmp_path / "oom-kills")
    monkeypatch.setattr(memory, "_killed", 0)
    return tmp_path / "oom-kills"


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """As dist-info/entry_points.txt says."""
    group = KernelProvisionerFactory.GROUP_NAME
    entry = EntryPoint(PROVISIONER, "jupyter_launcher_kernels.remote:RemoteProvisioner", group)
    factory = KernelProvisionerFactory.instance()
    monkeypatch.setitem(factory.provisioners, PROVISIONER, entry)
    monkeypatch.setattr(factory, "default_provisioner_name", PROVISIONER)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentProcess]:
    with run_agent(KERNEL, tmp_path) as running:
        running.hold()
        yield running


class Managers:
    """Makes the managers of kernels at one address, as the gateway does."""

    def __init__(self, folder: Path, address: str, **config: Any) -> None:
        self.folder = folder
        self.config = Config({"RemoteProvisioner": {"max_kernels": 0}, **config})
        self.kernel: dict[str, Any] = {"address": address, "argv": ["python"], "display_name": "One", "secret": SECRET}

    def make(self, **options: Any) -> AsyncKernelManager:
        found = specs.ContainerKernelSpecs(kernels={"one": self.kernel})
        file = self.folder / f"{uuid.uuid4()}.json"
        return AsyncKernelManager(
            kernel_name="one", kernel_spec_manager=found, connection_file=str(file), config=self.config, **options
        )

    @contextlib.asynccontextmanager
    async def run(self, **options: Any) -> AsyncIterator[AsyncKernelManager]:
        manager = self.make(**options)
        try:
            await manager.start_kernel(kernel_id=str(uuid.uuid4()), env={"KERNEL_X": "x", "PATH": "/none"})
            yield manager
        finally:
            await manager.shutdown_kernel(now=True)
            manager.context.destroy()


async def execute(manager: AsyncKernelManager, code: str) -> Any:
    client = manager.client()
    client.start_channels(iopub=False, stdin=False, hb=False, control=False)
    try:
        reply = await client.execute(code, reply=True, timeout=30)
        return reply["content"]["payload"][0]["value"]
    finally:
        client.stop_channels()


def test_a_kernel_starts_runs_restarts_and_ends(agent: AgentProcess, tmp_path: Path) -> None:
    async def work() -> None:
        managers = Managers(tmp_path, f"@{agent.address}")
        async with managers.run() as manager:
            assert await execute(manager, "1 + 1") == 2
            assert await execute(manager, "__import__('os').environ['KERNEL_X']") == "x"
            assert await execute(manager, "__import__('os').environ['PATH']") == os.environ["PATH"]
            first, ports = await execute(manager, "__import__('os').getpid()"), manager.ports
            await manager.restart_kernel()
            second = await execute(manager, "__import__('os').getpid()")
            assert first != second
            assert not is_alive(first)
            assert manager.ports == ports
            await manager.shutdown_kernel()
            assert not await manager.is_alive()
            assert not is_alive(second)
        agent.peers[0].close()  # the hold
        assert agent.process.wait(20) == 0

    asyncio.run(work())


@pytest.mark.parametrize("code", ["__import__('os').system('sleep 606')", "__import__('time').sleep(606)"])
def test_what_a_cell_runs_is_interrupted(agent: AgentProcess, tmp_path: Path, code: str) -> None:
    async def work() -> None:
        async with Managers(tmp_path, f"@{agent.address}").run() as manager:
            begun = agent.folder / "begun"
            running = asyncio.ensure_future(execute(manager, f"[open({str(begun)!r}, 'w').close(), {code}]"))
            while not begun.exists():  # noqa: ASYNC110 - a file
                await asyncio.sleep(0.01)
            while not running.done():
                await manager.interrupt_kernel()
                await asyncio.wait([running], timeout=0.5)
            assert running.result() in ("interrupted", [None, 2])

    asyncio.run(work())


def test_a_kernel_that_was_killed_is_seen_and_starts_again(agent: AgentProcess, tmp_path: Path) -> None:
    async def work() -> None:
        async with Managers(tmp_path, f"@{agent.address}").run() as manager:
            os.kill(await execute(manager, "__import__('os').getpid()"), signal.SIGKILL)
            while await manager.is_alive():  # noqa: ASYNC110 - a process
                await asyncio.sleep(0.01)
            assert manager.provisioner is not None
            assert await manager.provisioner.poll() == 137
            await manager.restart_kernel(now=True)
            assert await execute(manager, "2 + 2") == 4

    asyncio.run(work())


def mechanism_of(port: int) -> bytes:
    """What a socket of ZeroMQ's asks its clients for, by the greeting of ZMTP 3."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00")
        greeting = connection.makefile("rb").read(64)
    return greeting[12:32].rstrip(b"\0")


def test_an_encrypted_kernel_is_talked_to(agent: AgentProcess, tmp_path: Path) -> None:
    async def work() -> None:
        managers = Managers(tmp_path, f"@{agent.address}")
        managers.kernel["encrypts"] = True
        async with managers.run(transport_encryption="auto") as manager:
            keys = manager.curve_publickey, manager.curve_secretkey
            assert all(keys)
            assert await execute(manager, "3") == 3
            await manager.restart_kernel()
            assert (manager.curve_publickey, manager.curve_secretkey) == keys
            assert await execute(manager, "4") == 4
            assert {mechanism_of(port) for port in manager.ports} == {b"CURVE"}

    asyncio.run(work())


def test_a_kernel_that_cannot_encrypt_is_not_made_to(agent: AgentProcess, tmp_path: Path) -> None:
    async def work() -> None:
        async with Managers(tmp_path, f"@{agent.address}").run(transport_encryption="auto") as manager:
            assert manager.curve_publickey is None
            assert {mechanism_of(port) for port in manager.ports} == {b"NULL"}
            assert await execute(manager, "3") == 3

    asyncio.run(work())


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["sh", "-c", "echo no such thing; exit 3"], "kernel one ended with exit code 3: no such thing"),
        (["sh", "-c", "kill -9 $$"], "kernel one ended with exit code 137"),
        (["/none"], "/none cannot be run: [Errno 2] No such file or directory: '/none'"),
    ],
)
def test_a_kernel_that_ends_at_once_fails_its_start(tmp_path: Path, argv: Sequence[str], told: str) -> None:
    async def work(agent: AgentProcess) -> None:
        managers = Managers(tmp_path, f"@{agent.address}")
        with pytest.raises(HTTPError) as failed:
            async with managers.run():
                pass
        assert (failed.value.status_code, failed.value.log_message) == (500, told)
        assert not remote.RemoteProvisioner._holders

    with run_agent(argv, tmp_path) as agent:
        agent.hold()
        asyncio.run(work(agent))


def test_no_more_kernels_run_than_may(agent: AgentProcess, tmp_path: Path) -> None:
    async def work() -> None:
        managers = Managers(tmp_path, f"@{agent.address}", RemoteProvisioner={"max_kernels": 2})
        async with managers.run() as one, managers.run():
            with pytest.raises(HTTPError) as refused:
                async with managers.run():
                    pass
            assert refused.value.status_code == 429
            assert refused.value.log_message == "2 kernels run, and max_kernels is 2: shut one down first"
            await one.restart_kernel()  # keeps its place
            await one.shutdown_kernel()
            async with managers.run() as third:
                assert await execute(third, "1") == 1

    asyncio.run(work())


def test_starts_at_once_keep_to_the_limit(agent: AgentProcess, tmp_path: Path) -> None:
    async def work() -> None:
        managers = Managers(tmp_path, f"@{agent.address}", RemoteProvisioner={"max_kernels": 2})
        made = [managers.make() for _ in range(5)]
        started = await asyncio.gather(*(manager.start_kernel() for manager in made), return_exceptions=True)
        assert [error.status_code for error in started if isinstance(error, HTTPError)] == [429] * 3
        await asyncio.gather(*(manager.shutdown_kernel(now=True) for manager in made))
        for manager in made:
            manager.context.destroy()

    asyncio.run(work())


class FakePart:
    """Answers each line with the next of some texts, each of many lines too. ``{}`` or a NUL ends the connection."""

    def __init__(self, folder: Path, *answers: object) -> None:
        self.path = str(folder / "part.sock")
        self.asked: list[dict[str, Any]] = []
        self._answers = [item if isinstance(item, str) else json.dumps(item) for item in answers]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            self.asked.append(json.loads(line))
            answer = self._answers.pop(0)
            if answer == "{}":
                break
            writer.write(answer.rstrip("\0").encode() + b"\n")
            if answer.endswith("\0"):
                break
        writer.close()

    def run(self, work: Callable[[Managers], Awaitable[None]], **config: Any) -> None:
        async def serve() -> None:
            async with await asyncio.start_unix_server(self._serve, self.path):
                await work(Managers(Path(self.path).parent, self.path, **config))

        asyncio.run(serve())


@contextlib.contextmanager
def listening() -> Iterator[dict[str, int]]:
    """Ports that listen."""
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in PORTS]
        yield dict(zip(PORTS, (item.getsockname()[1] for item in opened), strict=True))


def ended(run: int = 1, code: int = 1, log: str = "", *, oom: bool = False) -> str:
    return json.dumps({"ended": {"run": run, "exit_code": code, "oom": oom, "log": log}})


def test_a_kernel_that_is_killed_for_memory_is_counted(tmp_path: Path, oom_kills: Path) -> None:
    async def work(managers: Managers) -> None:
        with pytest.raises(HTTPError) as failed:
            async with managers.run():
                pass
        told = "kernel one was killed: the memory of its container is used up"
        assert failed.value.log_message == told

    memory.start_counting()
    assert oom_kills.read_text() == "oom_kill 0\n"
    nowhere = json.dumps({"ip": "", "ports": dict.fromkeys(PORTS, 1), "run": 1})
    FakePart(tmp_path, f"{nowhere}\n{ended(code=137, oom=True)}").run(work)
    assert oom_kills.read_text() == "oom_kill 1\n"


@pytest.mark.parametrize(("code", "told"), [(0, False), (3, True), (137, False), (139, True)])
def test_an_end_that_nobody_asked_for_is_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, code: int, *, told: bool
) -> None:
    async def work(managers: Managers) -> None:
        with pytest.raises(HTTPError):
            async with managers.run():
                pass

    nowhere = json.dumps({"ip": "", "ports": dict.fromkeys(PORTS, 1), "run": 1})
    FakePart(tmp_path, f"{nowhere}\n{ended(code=code, log='last words')}").run(work)
    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert any(line.endswith(f"ended with exit code {code}: last words") for line in lines) is told


def test_an_end_that_comes_before_its_start_is_answered_is_not_lost(tmp_path: Path) -> None:
    async def work(managers: Managers) -> None:
        with pytest.raises(HTTPError, match="exit code 5"):
            async with managers.run():
                pass

    answer = json.dumps({"ip": "127.0.0.1", "ports": dict.fromkeys(PORTS, 1), "run": 1})
    FakePart(tmp_path, f"{ended(code=5)}\n{answer}").run(work)


def test_a_connection_that_ends_with_the_answer_is_the_kernels_end(tmp_path: Path) -> None:
    async def work(managers: Managers) -> None:
        with pytest.raises(HTTPError, match="the connection to the kernel's container has ended"):
            async with managers.run():
                pass

    answer = json.dumps({"ip": "127.0.0.1", "ports": dict.fromkeys(PORTS, 1), "run": 1})
    FakePart(tmp_path, f"{answer}\0").run(work)


def test_a_late_end_of_an_earlier_run_ends_no_later_one(tmp_path: Path) -> None:
    async def work(managers: Managers) -> None:
        async with managers.run() as manager:
            await manager.provisioner.kill()  # type: ignore[union-attr]
            await manager.provisioner.wait()  # type: ignore[union-attr]
            await manager.provisioner.launch_kernel([], env={})  # type: ignore[union-attr]
            await manager.provisioner.send_signal(2)  # type: ignore[union-attr]
            assert await manager.is_alive()

    with listening() as ports:
        first, second = ({"ip": "127.0.0.1", "ports": ports, "run": run} for run in (1, 2))
        late = f"{ended(1, 8)}\n{{}}\n{ended(1, 9)}"
        FakePart(tmp_path, first, f"{{}} \n{ended(1, 137)}", second, late, f"{{}} \n{ended(2, 137)}").run(work)


def test_a_port_that_was_taken_meanwhile_is_tried_again(tmp_path: Path) -> None:
    async def work(managers: Managers) -> None:
        async with managers.run() as manager:
            assert await manager.is_alive()

    with listening() as ports:
        taken = {"ip": "127.0.0.1", "ports": dict.fromkeys(PORTS, 1), "run": 1}
        why = "zmq.error.ZMQError: Address already in use (addr='tcp://127.0.0.1:1')"
        started = {"ip": "127.0.0.1", "ports": ports, "run": 2}
        fake = FakePart(tmp_path, f"{json.dumps(taken)}\n{ended(log=why)}", started, "{} ", f"{{}} \n{ended(2, 137)}")
        fake.run(work)
    assert [line["do"] for line in fake.asked] == ["start", "start", "signal", "signal"]


@pytest.mark.parametrize(
    "answer", ["{}", "nonsense", "[]", "5", '{"run": 1}', '{"ended": 5}', '{"run": 1, "ip": 5, "ports": []}', "\xff"]
)
def test_a_part_that_answers_nonsense_or_is_gone_fails_the_start(tmp_path: Path, answer: str) -> None:
    async def work(managers: Managers) -> None:
        with pytest.raises(HTTPError) as failed:
            async with managers.run():
                pass
        assert failed.value.status_code == 500
        assert not remote.RemoteProvisioner._holders

    FakePart(tmp_path, answer).run(work)


@pytest.mark.parametrize("status", [400, 409, 429, 500])
def test_what_a_part_refuses_is_told(tmp_path: Path, status: int) -> None:
    async def work(managers: Managers) -> None:
        with pytest.raises(HTTPError) as failed:
            async with managers.run():
                pass
        assert (failed.value.status_code, failed.value.log_message) == (status, "it must not be")

    FakePart(tmp_path, {"error": "it must not be", "status": status}).run(work)


def test_without_a_part_a_start_fails(tmp_path: Path) -> None:
    async def work() -> None:
        with pytest.raises(HTTPError, match="nothing listens at"):
            async with Managers(tmp_path, f"@none/{uuid.uuid4()}").run():
                pass

    asyncio.run(work())


def test_a_kernel_whose_container_is_gone_has_ended(tmp_path: Path) -> None:
    async def work(managers: Managers) -> None:
        async with managers.run() as manager:
            await manager.provisioner.send_signal(2)  # type: ignore[union-attr]
            assert manager.provisioner is not None
            assert await manager.provisioner.wait() == 1
            # A restart does not fail: the gateway's restarter is to see that there is no kernel, and to give up.
            managers.kernel["address"] = "/none"
            manager._kernel_spec = None
            await manager.restart_kernel(now=True)
            assert not await manager.is_alive()

    with listening() as ports:
        FakePart(tmp_path, {"ip": "127.0.0.1", "ports": ports, "run": 1}, "{}").run(work)


def test_only_a_kernels_variables_and_its_folder_are_sent(tmp_path: Path) -> None:
    async def work(managers: Managers) -> None:
        manager = managers.make()
        names = {"KERNEL_A": "a", "KERNEL_B=C": "x", "KERNEL_": "x", "kernel_x": "x", "LD_PRELOAD": "x"}
        with pytest.raises(HTTPError):
            await manager.start_kernel(kernel_id="1", env={**names, "KERNEL_WORKING_DIR": "/p/sub"}, cwd="/p")

    fake = FakePart(tmp_path, {"error": "no", "status": 400})
    fake.run(work)
    (asked,) = fake.asked
    assert asked.keys() == {"do", "kernel", "name", "env", "folder", "connection", "secret"}
    assert asked["env"] == {"KERNEL_A": "a", "KERNEL_WORKING_DIR": "/p/sub"}
    assert asked["folder"] == "/p/sub"
    assert asked["connection"].keys() == {"key", "signature_scheme", "kernel_name"}


def test_specs_are_those_that_the_launcher_named() -> None:
    logos = {"logo-64x64.png": "aWNvbg==", "../logo-x": "eA==", "kernel.js": "eA==", "logo-/../x": "eA=="}
    environment = {
        "JUPYTER_LAUNCHER_KERNEL_0": json.dumps({"name": "b", "address": "@x", "argv": ["b"], "logos": logos}),
        "JUPYTER_LAUNCHER_KERNEL_10": json.dumps({"name": "c", "address": "@x", "argv": ["c"]}),
        "JUPYTER_LAUNCHER_KERNEL_2": json.dumps(
            {
                "name": "a-2.B",
                "address": "/x",
                "argv": ["a"],
                "display_name": "A",
                "language": "python",
                "encrypts": True,
                "secret": "s3cret",
                "metadata": {"debugger": True},
            }
        ),
        "JUPYTER_LAUNCHER_KERNEL_": "kept",
    }
    manager = specs.ContainerKernelSpecs(kernels=specs.take_kernels(environment))
    assert environment == {"JUPYTER_LAUNCHER_KERNEL_": "kept"}
    assert list(manager.get_all_specs()) == ["b", "a-2.B", "c"]
    shown = manager.get_all_specs()["a-2.B"]["spec"]
    assert (shown["display_name"], shown["language"], shown["argv"]) == ("A", "python", ["a"])
    assert shown["metadata"] == {"debugger": True, "supported_encryption": ["curve"]}
    assert not {"address", "secret"} & shown.keys()
    assert "s3cret" not in json.dumps(shown)
    folder = Path(manager.get_kernel_spec("b").resource_dir)
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [
        ("logo-64x64.png", base64.b64decode(b"aWNvbg=="))
    ]
    assert list(Path(manager.get_kernel_spec("c").resource_dir).iterdir()) == []
    assert len(list(folder.parent.iterdir())) == 3
    for name in ("python3", "B", "", "../b"):
        with pytest.raises(NoSuchKernel):
            manager.get_kernel_spec(name)


def test_settings_come_from_the_environment(agent: AgentProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    agent.peers.pop().close()
    started: list[object] = []
    monkeypatch.setattr(settings, "take_holds", list)
    monkeypatch.setattr(settings, "watch_holds", started.append)
    monkeypatch.setattr(settings, "watch_session", lambda: started.append("session"))
    kernel = {"address": "@x", "argv": ["b"]}
    environment = {
        "JUPYTER_LAUNCHER_KERNEL_0": json.dumps({"name": "b", **kernel}),
        "JUPYTER_LAUNCHER_KERNEL_1": json.dumps({"name": "python3", **kernel}),
        "JUPYTER_LAUNCHER_MAX_KERNELS": "7",
        "JUPYTER_LAUNCHER_KERNEL_IDLE": "60",
        "PATH": "x",
    }
    c = Config()
    settings.use_containers(c, environment)
    assert environment == {"PATH": "x"}
    assert started == [["@x"], "session"]
    assert c.RemoteProvisioner.max_kernels == 7
    assert c.KernelManager.transport_encryption == "auto"
    assert c.MultiKernelManager.default_kernel_name == "python3"
    found = c.MappingKernelManager
    assert (found.cull_idle_timeout, found.cull_interval, found.cull_connected) == (60, 15, True)
    assert specs.ContainerKernelSpecs(config=c).kernels == {"b": kernel, "python3": kernel}


HOLDER = """
import signal, sys, threading
from jupyter_launcher_kernels.settings import use_containers
from traitlets.config import Config
import os
if len(sys.argv) > 1:
    from jupyter_launcher_kernels import settings, holds
    settings.take_holds = lambda parts: holds.take_holds(parts, patience=0.1)
use_containers(Config(), os.environ)
print("held", flush=True)
threading.Event().wait(60)
"""


def run_holder(*addresses: str, quick: bool = False) -> subprocess.Popen[str]:
    kernels = [
        {"name": str(number), "address": address, "argv": [], "secret": SECRET}
        for number, address in enumerate(addresses)
    ]
    told = {f"JUPYTER_LAUNCHER_KERNEL_{number}": json.dumps(kernel) for number, kernel in enumerate(kernels)}
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, *(["quick"] if quick else [])],
        env={**os.environ, "PYTHONPATH": IMAGE, **told},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_gateway_ends_with_a_part_and_a_part_with_its_gateway(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    with run_agent(KERNEL, tmp_path / "1") as one, run_agent(KERNEL, tmp_path / "2") as two:
        with run_holder(f"@{one.address}", f"@{two.address}", f"@{one.address}") as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            two.process.kill()
            _, errors = holder.communicate(timeout=30)
        assert holder.returncode == -signal.SIGTERM
        assert errors == f"jupyter-launcher: the part at @{two.address} has ended, so the gateway ends\n"
        assert one.process.wait(20) == 0


def hang_up(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(100)


@pytest.mark.parametrize("problem", ["nobody", "held", "silent"])
def test_a_gateway_does_not_start_without_its_parts(agent: AgentProcess, problem: str) -> None:
    address = {"nobody": f"@none/{uuid.uuid4()}", "held": f"@{agent.address}"}.get(problem, f"@silent/{uuid.uuid4()}")
    with socket.socket(socket.AF_UNIX) as silent:
        if problem == "silent":
            silent.bind(part.socket_address(address))
            silent.listen()
            threading.Thread(target=hang_up, args=(silent,)).start()
        with run_holder(address, quick=True) as holder:
            output, errors = holder.communicate(timeout=30)
    assert (holder.returncode, output) == (73, "")
    assert errors.startswith(f"jupyter-launcher: the part at {address} ")
    assert errors.count("\n") == 1
    assert {"nobody": "does not listen", "held": "holds the agent already", "silent": "it ended"}[problem] in errors


def test_a_gateway_ends_when_its_session_listens_no_more(tmp_path: Path) -> None:
    file = tmp_path / "session"
    said: list[str] = []
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    # So long that it would not end in this test, were a refusal not its end.
    lifeline.watch_session(file, port, patience=600, end=said.append)
    file.write_text("127.0.0.1\n")
    for _ in range(3):  # a server closes what is idle for long; then it takes another connection
        connection, _ = server.accept()
        connection.close()
    connection, _ = server.accept()
    server.close()
    assert said == []
    connection.close()
    assert eventually(lambda: said == ["the session at 127.0.0.1 is gone"])
