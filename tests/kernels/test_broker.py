"""A broker before a real engine: what it makes, what the kernels can, and that nothing stays, whatever ends.

The gateway is a container with the broker's socket, in which scenarios run as programs: see ``broker_client.py``.
"""

from __future__ import annotations

import contextlib
import json
import socket
import textwrap
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest

from jupyter_launcher import DEFAULT_GATEWAY_IMAGE, DEFAULT_IMAGE, EngineError, ExecError, KernelImage, Launcher
from jupyter_launcher.engine.client import DockerEngine
from jupyter_launcher.engine.types import BindMount, ContainerConfig
from jupyter_launcher.gateway.socket import find_engine_socket
from jupyter_launcher.host.address import EngineAddress
from jupyter_launcher.spec.kernels.containers import BROKER_DIR, broker_config, kernel_config
from jupyter_launcher.spec.kernels.found import FoundKernel
from jupyter_launcher.spec.kernels.labels import GATEWAY_START, broker_name, gateway_name, part_labels
from jupyter_launcher.waiting import Deadline
from tests.containers import eventually, log_of, remaps_users, user_inside
from tests.kernels.conftest import ENGINE_SOCKET

T = TypeVar("T")
CLIENT = (Path(__file__).parent / "broker_client.py").read_text(encoding="utf-8")
PYTHON = ("python3", "-m", "ipykernel_launcher", "-f", "{connection_file}")
MEMORY = 200 * 2**20
KERNELS = {
    "py": (KernelImage(DEFAULT_IMAGE), PYTHON),
    "bare": (KernelImage(DEFAULT_IMAGE, entrypoint=False), PYTHON),
    "small": (KernelImage(DEFAULT_IMAGE, memory=MEMORY), PYTHON),
    "missing": (KernelImage(DEFAULT_IMAGE), ("no-such-program", "{connection_file}")),
    "ends": (KernelImage(DEFAULT_IMAGE), ("sh", "-c", "echo one >&2; echo two; exit 7", "{connection_file}")),
    "nowhere": (KernelImage("jupyter-launcher/no-such-image:1"), PYTHON),
}
SLEEPS = {
    "a cell": ("import time; print('began', flush=True); time.sleep(600)", "KeyboardInterrupt"),
    # The C library ignores an interrupt while a command of system() runs, so that it ends the command alone.
    "a call of system": ("import os; os.system('echo began; sleep 600'); print('end')", "end"),
    "a child process": (
        "import subprocess; subprocess.run(['sh', '-c', 'echo began; sleep 600'])",
        "KeyboardInterrupt",
    ),
}
pytestmark = pytest.mark.usefixtures("nothing_left")


class Unit:
    """A container in place of a gateway, and its broker."""

    def __init__(self, client: Any, engine: DockerEngine, namespace: str, folder: Path, max_kernels: int) -> None:
        self.client, self.engine, self.namespace, self.folder = client, engine, namespace, folder
        self.start = uuid.uuid4().hex
        user = user_inside(client, folder)
        config = ContainerConfig(
            image=DEFAULT_IMAGE,
            entrypoint=("sleep", "600"),
            user=user,
            working_dir="/",
            network="bridge",
            labels=self._labels("agent"),
            mounts=(BindMount(source="", target=BROKER_DIR, type="volume"),),
        )
        self.gateway = engine.create(config, gateway_name(namespace, "x"))
        engine.start(self.gateway)
        info = engine.inspect(self.gateway)
        assert info is not None
        bodies = {
            name: engine.to_body(
                kernel_config(
                    name,
                    image,
                    FoundKernel(argv=argv, display_name=name),
                    pipeline_dir=folder,
                    relabel=None,
                    user=user,
                    network="bridge",
                    labels=self._labels("kernel"),
                )
            )
            for name, (image, argv) in KERNELS.items()
        }
        config = broker_config(
            DEFAULT_GATEWAY_IMAGE,
            bodies,
            socket=find_engine_socket(EngineAddress(engine), ENGINE_SOCKET),
            volume=info.volumes[BROKER_DIR],
            max_kernels=max_kernels,
            namespace=namespace,
            gateway_start=self.start,
            labels=self._labels("broker"),
            user=user,
            host_users=engine.traits.remapped is True,
        )
        self.broker = engine.create(config, broker_name(namespace, "x"))
        engine.start(self.broker)

    def _labels(self, kind: str) -> dict[str, str]:
        return part_labels(kind, self.namespace, "me", self.start)

    def run(self, scenario: str) -> Any:
        """What a scenario has seen; its connections end with it, and the hold among them."""
        argv = ("python3", "-c", CLIENT + textwrap.dedent(scenario))
        try:
            answer = self.engine.exec(self.gateway, argv, Deadline(180))
        except BaseException:
            print(log_of(self.client.containers.get(self.broker)))
            raise
        return json.loads(answer.stdout.splitlines()[-1])

    @contextlib.contextmanager
    def running(self, scenario: str) -> Iterator[Future[Any]]:
        """A scenario that runs meanwhile, and what it will have seen."""
        with ThreadPoolExecutor(1) as pool:
            try:
                yield pool.submit(self.run, scenario)
            finally:
                self.go()

    def is_ready(self) -> bool:
        """Whether a scenario lets the test look."""
        return "ready" in self.engine.exec(self.gateway, ("ls", "/tmp"), Deadline(30)).stdout.split()  # noqa: S108

    def go(self) -> None:
        """Let a scenario go on that lets the test look."""
        with contextlib.suppress(ExecError, EngineError):  # the gateway was killed
            self.engine.exec(self.gateway, ("touch", "/tmp/go"), Deadline(30))  # noqa: S108 - in the container

    def kernels(self) -> list[dict[str, Any]]:
        """As the engine lists them: Podman fails a look at one that is being removed."""
        labels = [f"{GATEWAY_START}={self.start}", "jupyter-launcher.part=kernel"]
        return list(self.client.api.containers(all=True, filters={"label": labels}))

    def running_kernels(self) -> list[dict[str, Any]]:
        return [item for item in self.kernels() if item["State"] == "running"]

    def look_at_broker(self, *argv: str) -> str:
        return self.engine.exec(self.broker, argv, Deadline(30)).stdout

    def end_of_broker(self) -> int | None:
        """Its exit code."""
        return self.engine.wait(self.broker, Deadline(60))

    def remove(self) -> None:
        for container in (self.broker, *(item["Id"] for item in self.kernels()), self.gateway):
            self.engine.remove(container)


def seen_by(look: Callable[[], T]) -> T:
    """What a look sees, once it is something."""
    assert eventually(lambda: bool(look()), seconds=60)
    return look()


@pytest.fixture
def engine(launcher: Launcher) -> Iterator[DockerEngine]:
    engine = DockerEngine.connect(timeout=60)
    yield engine
    engine.close()


@pytest.fixture
def max_kernels() -> int:
    return 16


@pytest.fixture
def unit(client: Any, engine: DockerEngine, namespace: str, pipeline_dir: Path, max_kernels: int) -> Iterator[Unit]:
    unit = Unit(client, engine, namespace, pipeline_dir, max_kernels)
    yield unit
    unit.remove()


@pytest.mark.parametrize("encrypt", [False, True])
def test_a_kernel_answers(unit: Unit, pipeline_dir: Path, *, encrypt: bool) -> None:
    (pipeline_dir / "a 'b").mkdir()
    code = "import os; s = open('/proc/self/status').read(); print(os.getcwd(), os.getuid(), os.environ['KERNEL_A'])"
    seen = unit.run(f"""
        hold()
        kernel = Connection()
        kernel.start(encrypt={encrypt}, folder="/pipeline-dir/a 'b", env={{"KERNEL_A": "x"}})
        show(kernel.run({code!r}))
    """)
    uid = user_inside(unit.client, pipeline_dir).partition(":")[0]
    assert seen == f"/pipeline-dir/a 'b {uid} x"
    assert unit.end_of_broker() == 0
    assert unit.kernels() == []


def test_a_folder_that_is_not_there_is_not_made(unit: Unit, pipeline_dir: Path) -> None:
    seen = unit.run("""
        hold()
        kernel = Connection()
        kernel.start("bare", folder="/pipeline-dir/none/of/it")
        show(kernel.run("import os; print(os.getcwd())"))
    """)
    assert seen == "/pipeline-dir"
    assert list(pipeline_dir.iterdir()) == []


def test_nobody_reads_the_keys(unit: Unit, client: Any) -> None:
    look = "import os; s = os.stat('/run/jupyter-launcher-kernel/connection.json'); print(oct(s.st_mode), s.st_uid)"
    with unit.running(f"""
        hold()
        kernel = Connection()
        kernel.start(encrypt=True)
        seen = kernel.run({look!r})
        let_test_look()
        show([seen, *kernel.keys.values()])
    """) as running:
        (kernel,) = seen_by(unit.running_kernels)
        told = json.dumps(client.api.inspect_container(kernel["Id"]))
        unit.go()
        seen, *keys = running.result()
    uid = user_inside(client, unit.folder).partition(":")[0]
    assert seen == f"0o100600 {uid}"
    told += json.dumps(client.api.inspect_container(unit.broker)) + log_of(client.containers.get(unit.broker))
    assert [key for key in keys if key not in ("hmac-sha256", "py") and key in told] == []


def test_what_a_kernels_container_is(unit: Unit, client: Any, engine: DockerEngine) -> None:
    with unit.running("""
        hold()
        kernel = Connection()
        kernel.start("small", env={"KERNEL_JUPYTER_LAUNCHER": "abc", "KERNEL_UID": "0", "KERNEL_IMAGE": "x"})
        seen = kernel.run("print(open('/proc/self/status').read().splitlines())")
        let_test_look()
        show([kernel.kernel, seen])
    """) as running:
        (kernel,) = seen_by(unit.running_kernels)
        found = client.api.inspect_container(kernel["Id"])
        labels = found["Config"]["Labels"]
        unit.go()
        kernel_id, rights = running.result()
    assert found["Name"].lstrip("/") == f"jupyter-kernel.{unit.namespace}.{kernel_id}"
    assert found["HostConfig"]["Memory"] == MEMORY or engine.traits.limits_memory is False
    assert found["Config"]["User"] == user_inside(unit.client, unit.folder)
    assert {name: labels[f"jupyter-launcher.kernel-{name}"] for name in ("id", "name", "of")} == {
        "id": kernel_id,
        "name": "small",
        "of": "abc",
    }
    assert "CapBnd:\\t0000000000000000" in rights
    assert "NoNewPrivs:\\t1" in rights
    assert not [item for item in found["Mounts"] if "sock" in item["Source"]]


def test_who_a_broker_is(unit: Unit, client: Any) -> None:
    with unit.running("hold()\nlet_test_look()\nshow(0)") as running:
        seen_by(lambda: BROKER_DIR in unit.look_at_broker("cat", "/proc/net/unix"))
        status = unit.look_at_broker("cat", "/proc/1/status")
        interfaces = unit.look_at_broker("ls", "/sys/class/net").split()
        found = client.api.inspect_container(unit.broker)
        unit.go()
        running.result()
    # Where users are remapped, the broker has the host's, and may write in a volume of the others: CAP_DAC_OVERRIDE.
    powers = f"{2 if remaps_users(client) else 0:016x}"
    assert f"CapEff:\t{powers}" in status
    assert f"CapBnd:\t{powers}" in status
    assert "NoNewPrivs:\t1" in status
    assert interfaces == ["lo"]
    assert found["HostConfig"]["ReadonlyRootfs"]
    assert {item["Destination"] for item in found["Mounts"]} == {BROKER_DIR, "/run/jupyter-launcher-engine.sock"}
    assert unit.end_of_broker() == 0


def test_a_restart_keeps_what_was_written(unit: Unit) -> None:
    seen = unit.run("""
        hold()
        kernel = Connection()
        kernel.start()
        kernel.run("open('/tmp/kept', 'w').write('here')")
        kernel.ask(do="signal", signal=15)
        first = kernel.ended()
        again = kernel.start()
        show([first["run"], again["run"], kernel.run("print(open('/tmp/kept').read())")])
    """)
    assert seen == [1, 2, "here"]


def test_a_container_that_somebody_removed_is_made_anew(unit: Unit, client: Any) -> None:
    with unit.running("""
        hold()
        kernel = Connection()
        kernel.start()
        ended = kernel.ended()
        again = kernel.start()
        show([ended["run"], ended["exit_code"], ended["oom"], again["run"], kernel.run("print(6 * 7)")])
    """) as running:
        (kernel,) = seen_by(unit.running_kernels)
        client.api.remove_container(kernel["Id"], force=True)
        run, code, oom, again, printed = running.result()
    assert (run, oom, again, printed) == (1, False, 2, "42")
    assert code in (137, 143)  # Podman asks it to end first


@pytest.mark.parametrize("what", SLEEPS)
def test_an_interrupt_by_signal(unit: Unit, what: str) -> None:
    if what == "a call of system" and unit.engine.traits.is_podman:
        pytest.skip("Podman's init hands a signal to the kernel alone: there ipykernel is interrupted by a message")
    code, end = SLEEPS[what]
    seen = unit.run(f"""
        hold()
        kernel = Connection()
        kernel.start()
        client = kernel.client()
        client.execute({code!r})

        def read_until(word):
            while word not in str(client.get_iopub_msg(timeout=60)["content"].values()):
                pass

        read_until("began")
        read_until("began")
        kernel.ask(do="signal", signal=2)
        read_until({end!r})
        show(kernel.run("print('alive')"))
    """)
    assert seen == "alive"


def test_a_kernel_without_memory(unit: Unit, engine: DockerEngine) -> None:
    if engine.traits.limits_memory is False:
        pytest.skip("the engine does not limit memory")
    seen = unit.run("""
        hold()
        kernel = Connection()
        kernel.start("small")
        client = kernel.client()
        client.execute("kept = bytearray(700 * 2**20)")
        ended = kernel.ended()
        again = kernel.start("small")
        show([ended["exit_code"], ended["oom"], again["run"], kernel.run("print(6 * 7)")])
    """)
    assert seen == [137, True, 2, "42"]


def test_kernels_that_do_not_start(unit: Unit) -> None:
    ends, missing, nowhere = unit.run("""
        hold()
        seen = []
        for name in ("ends", "missing", "nowhere"):
            kernel = Connection()
            answer = kernel.start(name)
            seen.append([answer, kernel.ended() if "run" in answer else None])
            kernel.close()
        show(seen)
    """)
    lines = sorted(ends[1].pop("log").splitlines())  # of two streams, in the engine's order
    assert (ends[1], lines) == ({"run": 1, "exit_code": 7, "oom": False}, ["one", "two"])
    assert missing[1]["exit_code"] == 127
    assert "no-such-program" in missing[1]["log"]
    assert nowhere[0]["status"] == 404
    assert "no-such-image" in nowhere[0]["error"]
    assert unit.end_of_broker() == 0
    assert unit.kernels() == []


@pytest.mark.parametrize("max_kernels", [2])
def test_no_more_kernels_than_allowed(unit: Unit) -> None:
    seen = unit.run("""
        from concurrent.futures import ThreadPoolExecutor
        hold()
        kernels = [Connection() for _ in range(5)]
        with ThreadPoolExecutor(5) as pool:
            answers = list(pool.map(lambda kernel: kernel.start("bare"), kernels))
        runs = [kernel for kernel, answer in zip(kernels, answers) if "run" in answer]
        runs[0].close()
        statuses = sorted(answer["status"] for answer in answers if "run" not in answer)
        later = Connection()
        later.start("bare")
        show([len(runs), statuses, later.answer["run"]])
    """)
    assert seen == [2, [429, 429, 429], 1]


def test_a_connections_end_removes_the_container(unit: Unit) -> None:
    with unit.running("""
        hold()
        kernel = Connection()
        kernel.start()
        kernel.close()
        let_test_look()
        show(0)
    """) as running:
        seen_by(unit.running_kernels)
        assert eventually(lambda: unit.kernels() == [])
        unit.go()
        running.result()


@pytest.mark.parametrize("who", ["gateway", "broker"])
def test_who_is_killed(unit: Unit, client: Any, who: str) -> None:
    with unit.running("""
        hold()
        kernels = [Connection() for _ in range(3)]
        for kernel in kernels:
            kernel.start()
        let_test_look()
        show(0)
    """) as running:
        seen_by(unit.is_ready)
        assert len(unit.running_kernels()) == 3
        client.containers.get(unit.gateway if who == "gateway" else unit.broker).kill()
        if who == "gateway":
            assert unit.end_of_broker() == 0
            assert unit.kernels() == []
            assert running.exception() is not None
        else:
            assert len(unit.kernels()) == 3  # `reap` finds them by label; so does the next broker
            client.containers.get(unit.broker).start()
            unit.go()
            running.result()
            assert eventually(lambda: unit.kernels() == [])


def test_a_broker_that_is_stopped_takes_its_kernels_along(unit: Unit, client: Any) -> None:
    with unit.running("""
        hold()
        kernel = Connection()
        try:
            kernel.start()
            show(kernel.read())
        except EOFError:  # it was stopped before it could answer
            show(None)
    """) as running:
        seen_by(unit.running_kernels)
        client.containers.get(unit.broker).stop(timeout=60)
        assert unit.kernels() == []
        assert unit.end_of_broker() == 0
        assert running.result() is None


def test_a_storm_of_ends(unit: Unit) -> None:
    """Thirty connections that end at whatever moment of a start, a restart or an end."""
    seen = unit.run("""
        import random
        from concurrent.futures import ThreadPoolExecutor

        def live(seed):
            dice = random.Random(seed)
            kernel = Connection()
            steps = [
                lambda: kernel.say(**kernel.request("bare")),
                kernel.read,
                lambda: kernel.say(do="signal", signal=9),
                kernel.read,
                kernel.read,
                lambda: kernel.say(**kernel.request("bare")),
                lambda: time.sleep(dice.random() / 4),
                kernel.read,
            ]
            for step in steps[: dice.randrange(1, len(steps) + 1)]:
                time.sleep(dice.random() / 20)
                step()
            kernel.close()

        hold()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(live, range(30)))
        show(30)
    """)
    assert seen == 30
    assert unit.end_of_broker() == 0
    assert unit.kernels() == []


def test_an_engine_that_is_not_there(client: Any, engine: DockerEngine, unit: Unit, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:  # bound, and nobody listens
        listener.bind(str(tmp_path / "engine.sock"))
        info = engine.inspect(unit.gateway)
        assert info is not None
        config = broker_config(
            DEFAULT_GATEWAY_IMAGE,
            {},
            socket=str(tmp_path / "engine.sock"),
            volume=info.volumes[BROKER_DIR],
            max_kernels=1,
            namespace=unit.namespace,
            gateway_start=uuid.uuid4().hex,
            labels=unit._labels("broker"),
            user="1:1",
            host_users=False,
        )
        broker = engine.create(config, broker_name(unit.namespace, "y"))
        try:
            engine.start(broker)
            assert engine.wait(broker, Deadline(60)) == 74
            assert log_of(client.containers.get(broker)).startswith(
                "jupyter-launcher: the broker cannot use the engine"
            )
        finally:
            engine.remove(broker)
