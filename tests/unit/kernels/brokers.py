"""A broker as a process, before an engine that is made up: it answers on a unix socket, and writes down each call."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import secrets
import shutil
import socket
import socketserver
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from jupyter_launcher import KernelImage
from jupyter_launcher.engine.types import ContainerConfig
from jupyter_launcher.spec.kernels.containers import broker_config, kernel_config
from jupyter_launcher.spec.kernels.found import FoundKernel
from jupyter_launcher.spec.kernels.labels import part_labels

__all__ = [
    "ADDRESS",
    "CONNECTION",
    "KERNEL",
    "NAMES",
    "PREFIX",
    "START",
    "Client",
    "FakeContainer",
    "FakeEngine",
    "RunningBroker",
    "run_broker",
    "until",
]

ADDRESS = "172.17.0.9"
KERNEL = "0f8fad5b-d9cb-469f-a165-70867728950e"
PREFIX = "jupyter-kernel.unit."
START = "5" * 32
NAMES = ("py", "R.4")
CONNECTION = {"key": "the-key", "signature_scheme": "hmac-sha256", "kernel_name": "py"}
SECONDS = 20.0
CALLS = (
    r"POST /containers/create\?name=jupyter-kernel\.unit\.[0-9a-f-]{36}",
    r"PUT /containers/ID/archive\?path=%2F",
    r"POST /containers/ID/start",
    r"POST /containers/ID/wait\?condition=not-running",
    r"POST /containers/ID/kill\?signal=([1-9]|[1-5][0-9]|6[0-4])",
    r"DELETE /containers/ID\?force=true&v=true",
    r"GET /containers/(ID|NAME)/json",
    r"GET /containers/ID/logs\?stdout=1&stderr=1&tail=20(&since=[0-9.]+)?",
)
"""All that a broker may ask: ID is of a container that it made, NAME that of a kernel."""


def until(look: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """What a look sees, once it is something true."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.005)
    return found


@dataclass(kw_only=True)
class FakeContainer:
    """A container of the engine that is made up."""

    id: str
    name: str
    body: dict[str, Any]
    state: str = "created"
    exit_code: int = 0
    out_of_memory: bool = False
    starts: int = 0
    log: bytes = b""
    files: list[tarfile.TarInfo] = field(default_factory=list)
    connection: dict[str, Any] = field(default_factory=dict)
    is_foreign: bool = False

    def inspect(self) -> dict[str, Any]:
        address = ADDRESS if self.state == "running" else ""
        state = {
            "Running": self.state == "running",
            "ExitCode": self.exit_code,
            "OOMKilled": self.out_of_memory,
            "StartedAt": "2026-11-26T19:00:00.123456789Z",
        }
        return {
            "Id": self.id,
            "Name": f"/{self.name}",
            "Config": {"Labels": self.body.get("Labels")},
            "HostConfig": self.body.get("HostConfig"),
            "State": state,
            "NetworkSettings": {"Networks": {"kernels": {"IPAddress": address}}},
        }


class FakeEngine:
    """Docker's API, as far as a broker asks it, on a unix socket.

    Attributes:
        containers: by id.
        calls: method and path of each call, in order.
        strange: the calls that a broker may not make.
        gates: a verb → what a call waits for before it is answered; ``arrived`` says that it is there.
        faults: a verb → statuses with which its next calls fail; 0: the connection ends after the call is done;
            None: that call does not fail.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.containers: dict[str, FakeContainer] = {}
        self.calls: list[str] = []
        self.strange: list[str] = []
        self.gates: dict[str, threading.Event] = {}
        self.arrived: dict[str, threading.Event] = {}
        self.faults: dict[str, list[int | None]] = {}
        self.lock = threading.Condition()
        self.most = 0
        engine = self

        class Handler(BaseHTTPRequestHandler):
            def handle_one(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                answer = engine.answer(self.command, self.path, body)
                if answer is None:
                    return
                status, data = answer
                with contextlib.suppress(OSError):
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = handle_one  # noqa: N815 - the names of the methods

            def log_message(self, *_: Any) -> None:
                pass

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True
            request_queue_size = 128

        self.server = Server(str(path), Handler)

    @contextlib.contextmanager
    def running(self) -> Iterator[FakeEngine]:
        thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            for gate in self.gates.values():
                gate.set()
            with self.lock:  # nobody waits for what does not end any more
                for item in list(self.containers.values()):
                    self._end(item, 137)
            self.server.shutdown()
            thread.join()
            self.server.server_close()

    def add(self, name: str, labels: dict[str, str], state: str = "running") -> FakeContainer:
        """A container that no broker made."""
        made = FakeContainer(id=secrets.token_hex(32), name=name, body={"Labels": labels}, state=state, is_foreign=True)
        self.containers[made.id] = made
        return made

    def hold(self, verb: str) -> threading.Event:
        """Keep the next calls of a verb waiting; the event that is returned lets them go on."""
        self.arrived[verb], self.gates[verb] = threading.Event(), threading.Event()
        return self.gates[verb]

    def verbs(self) -> list[str]:
        """The calls in one word each."""
        return [_verb(*call.split(" ", 1)) for call in self.calls]

    def end(self, container: FakeContainer, code: int, *, out_of_memory: bool = False, log: bytes = b"") -> None:
        """A kernel ends."""
        with self.lock:
            container.out_of_memory = out_of_memory
            container.log += log
            self._end(container, code)

    def remove(self, container: FakeContainer) -> None:
        """Somebody else removes a container."""
        with self.lock:
            self._end(container, 137)
            del self.containers[container.id]

    def _end(self, container: FakeContainer, code: int) -> None:
        if container.state == "running":
            container.state, container.exit_code = "exited", code
        self.lock.notify_all()

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes] | None:
        """What the engine answers; None: it ends the connection without an answer."""
        verb = _verb(method, path)
        self.calls.append(f"{method} {path}")
        self._judge(method, path)
        if verb in self.gates:
            self.arrived[verb].set()
            self.gates[verb].wait(SECONDS)
        fault = self.faults[verb].pop(0) if self.faults.get(verb) else None
        if fault:
            return fault, json.dumps({"message": f"{verb} is refused"}).encode()
        with self.lock:
            found = self._do(verb, method, path, body)
        return None if fault == 0 else found

    def _judge(self, method: str, path: str) -> None:
        parts = path.split("/")
        named = parts[2].partition("?")[0] if len(parts) > 2 else ""
        known = next((item for item in self.containers.values() if named in (item.id, item.name)), None)
        if path.startswith("/containers/json?all=1&filters="):
            return
        plain = path
        if re.fullmatch("[0-9a-f]{64}", named):
            plain = path.replace(named, "ID", 1)
        elif method == "GET" and re.fullmatch(r"jupyter-kernel\.unit\.[0-9a-f-]{36}", named):
            plain = path.replace(named, "NAME", 1)
        touches_others = known is not None and known.is_foreign and method != "GET"
        if touches_others or not any(re.fullmatch(call, f"{method} {plain}") for call in CALLS):
            self.strange.append(f"{method} {path}")

    def _do(self, verb: str, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        query = parse_qs(urlsplit(path).query)
        if verb == "list":
            wanted = json.loads(query["filters"][0])["label"]
            assert wanted == ["jupyter-launcher.part=kernel", f"jupyter-launcher.gateway-start={START}"]
            # As a proxy may: without the filter.
            found = [{"Id": item.id, "Labels": item.body.get("Labels")} for item in self.containers.values()]
            return 200, json.dumps(found).encode()
        if verb == "create":
            return self._create(query["name"][0], json.loads(body))
        named = path.split("/")[2].partition("?")[0]
        item = next((item for item in self.containers.values() if named in (item.id, item.name)), None)
        if item is None:
            return 404, b'{"message": "No such container"}'
        return getattr(self, f"_do_{verb}")(item, query, body)  # type: ignore[no-any-return]

    def _create(self, name: str, body: dict[str, Any]) -> tuple[int, bytes]:
        if any(item.name == name for item in self.containers.values()):
            return 409, b'{"message": "Conflict. The container name is already in use"}'
        made = FakeContainer(id=secrets.token_hex(32), name=name, body=body)
        self.containers[made.id] = made
        self.most = max(self.most, sum(not item.is_foreign for item in self.containers.values()))
        return 201, json.dumps({"Id": made.id, "Warnings": []}).encode()

    def _do_inspect(self, item: FakeContainer, query: Any, body: bytes) -> tuple[int, bytes]:
        return 200, json.dumps(item.inspect()).encode()

    def _do_archive(self, item: FakeContainer, query: Any, body: bytes) -> tuple[int, bytes]:
        with tarfile.open(fileobj=io.BytesIO(body)) as archive:
            item.files = archive.getmembers()
            file = archive.extractfile(item.files[-1])
            assert file is not None
            item.connection = json.loads(file.read())
        last, block = item.files[-1], tarfile.BLOCKSIZE
        assert len(body) == last.offset_data + -(-last.size // block) * block + 2 * block, (
            "padding, which Podman leaves"
        )
        return 200, b""

    def _do_start(self, item: FakeContainer, query: Any, body: bytes) -> tuple[int, bytes]:
        if item.state == "running":
            return 304, b""
        item.state, item.out_of_memory = "running", False
        item.starts += 1
        return 204, b""

    def _do_wait(self, item: FakeContainer, query: Any, body: bytes) -> tuple[int, bytes]:
        while item.state == "running" and item.id in self.containers:
            self.lock.wait(SECONDS)
        return 200, json.dumps({"StatusCode": item.exit_code}).encode()

    def _do_kill(self, item: FakeContainer, query: Any, body: bytes) -> tuple[int, bytes]:
        if item.state != "running":
            return 409, b'{"message": "is not running"}'
        if query["signal"] == ["9"]:
            self._end(item, 137)
        return 204, b""

    def _do_logs(self, item: FakeContainer, query: Any, body: bytes) -> tuple[int, bytes]:
        return 200, b"".join(
            b"\1\0\0\0" + len(line).to_bytes(4, "big") + line for line in item.log.splitlines(keepends=True)
        )

    def _do_remove(self, item: FakeContainer, query: Any, body: bytes) -> tuple[int, bytes]:
        self._end(item, 137)
        self.containers.pop(item.id, None)
        return 204, b""


def _verb(method: str, path: str) -> str:
    place = path.partition("?")[0]
    if method == "DELETE":
        return "remove"
    last = place.rpartition("/")[2]
    return {"json": "list" if place == "/containers/json" else "inspect"}.get(last, last)


class Client:
    """The gateway's side of one connection."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.socket.settimeout(SECONDS)
        self.lines = self.socket.makefile("rb")
        self.told: list[dict[str, Any]] = []

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.lines.close()
        self.socket.close()

    def send(self, line: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):  # what a broker says before it closes can still be read
            self.socket.sendall(line)

    def say(self, **request: Any) -> None:
        self.send(json.dumps(request).encode() + b"\n")

    def read(self) -> dict[str, Any] | None:
        """The next line; None: the connection has ended."""
        try:
            line = self.lines.readline()
        except ConnectionResetError:
            return None
        return json.loads(line) if line else None

    def ask(self, **request: Any) -> dict[str, Any]:
        """The answer to a request; what is told meanwhile is kept."""
        self.say(**request)
        while (answer := self.read()) is not None:
            if "ended" not in answer:
                return answer
            self.told.append(answer["ended"])
        msg = "the connection has ended"
        raise AssertionError(msg)

    def ended(self) -> dict[str, Any]:
        """How the run ended."""
        if self.told:
            return self.told.pop(0)
        answer = self.read()
        assert answer is not None
        assert set(answer) == {"ended"}
        return dict(answer["ended"])

    def start(self, kernel: str = KERNEL, name: str = NAMES[0], **more: Any) -> dict[str, Any]:
        return self.ask(**{"do": "start", "kernel": kernel, "name": name, "connection": CONNECTION, **more})


@dataclass(kw_only=True)
class RunningBroker:
    """A broker that runs, and the engine before which it does."""

    engine: FakeEngine
    process: subprocess.Popen[str]
    path: Path
    holder: Client | None = None

    def connect(self) -> Client:
        return Client(self.path)

    def hold(self) -> Client:
        """The life line of a gateway; the connection stays open."""
        until(lambda: self.path.exists() or self.process.poll() is not None)
        self.holder = until(self._try_connect)
        assert self.holder is not None
        assert self.holder.ask(do="hold") == {}
        return self.holder

    def _try_connect(self) -> Client | None:
        try:
            return self.connect()
        except ConnectionRefusedError:  # bound, and not yet listening
            return None

    def own(self) -> list[FakeContainer]:
        """The containers that it has made."""
        return [item for item in list(self.engine.containers.values()) if not item.is_foreign]

    def wait(self) -> tuple[int, str]:
        """Its exit code, and what it printed."""
        _, printed = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, printed


def policy_of(config: ContainerConfig) -> dict[str, Any]:
    """What the container of a broker is told."""
    names = [name for name in config.environment if name.startswith("JUPYTER_LAUNCHER_BROKER_")]
    return dict(json.loads("".join(config.environment[f"JUPYTER_LAUNCHER_BROKER_{n}"] for n in range(len(names)))))


def kernel_bodies(**more: Any) -> dict[str, dict[str, Any]]:
    """The bodies that a launcher gives."""
    found = FoundKernel(argv=("python", "-m", "ipykernel_launcher", "-f", "{connection_file}"), display_name="Python")
    return {
        name: kernel_config(
            name,
            KernelImage("team/py:1", **{"memory": 2**28, "environment": {"KERNEL_MINE": "launcher"}, **more}),
            found,
            pipeline_dir=Path("/data/pipe"),
            relabel=None,
            user="1234:5678",
            network="kernels",
            labels=part_labels("kernel", "unit", "me", START),
        ).to_docker()
        for name in NAMES
    }


@contextlib.contextmanager
def run_broker(
    max_kernels: int = 16,
    *,
    prepare: Callable[[FakeEngine], object] = lambda _: None,
    patch: Callable[[str], str] = str,
) -> Iterator[RunningBroker]:
    """Run a broker as its container does, but for its paths.

    ``prepare`` gets the engine before the broker asks it for anything; ``patch`` changes the broker's text.
    """
    folder = Path(tempfile.mkdtemp(prefix="jl-"))  # a socket's path is short
    config = broker_config(
        "gateway",
        kernel_bodies(),
        socket="/var/run/docker.sock",
        volume="v",
        max_kernels=max_kernels,
        namespace="unit",
        gateway_start=START,
        labels={},
        user="1234:5678",
        host_users=False,
    )
    assert config.entrypoint is not None
    policy = {**policy_of(config), "engine": str(folder / "engine.sock"), "socket": str(folder / "broker.sock")}
    argv = [sys.executable, *config.entrypoint[1:-1], patch(config.entrypoint[-1])]
    text = json.dumps(policy)
    pieces = {"JUPYTER_LAUNCHER_BROKER_0": text[:1000], "JUPYTER_LAUNCHER_BROKER_1": text[1000:]}
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        engine = stack.enter_context(FakeEngine(folder / "engine.sock").running())
        prepare(engine)
        process = subprocess.Popen(argv, env={**os.environ, **pieces}, stderr=subprocess.PIPE, text=True)
        stack.enter_context(process)
        stack.callback(process.kill)
        broker = RunningBroker(engine=engine, process=process, path=folder / "broker.sock")
        try:
            yield broker
        finally:
            if broker.holder is not None:
                broker.holder.close()
