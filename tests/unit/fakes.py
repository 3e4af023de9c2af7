"""Stand-ins for what is outside: an engine at its seam, and Jupyter servers over real HTTP."""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jupyter_launcher import (
    BuildOptions,
    EngineError,
    Event,
    ExecError,
    Gateway,
    ImageNotFoundError,
    ServerInfo,
    Stats,
    Swarm,
    Timeouts,
)
from jupyter_launcher.acts import check_cancelled, shielded
from jupyter_launcher.engine.protocol import OUTPUT_LIMIT, Engine, Exchange, Images, NodesEngine, Progress
from jupyter_launcher.engine.shapes import ContainerEvent
from jupyter_launcher.engine.traits import EngineTraits, ListedNetwork, NetworkInfo
from jupyter_launcher.engine.types import (
    ContainerConfig,
    ContainerInfo,
    ExecResult,
    ImageInfo,
    ListedContainer,
)
from jupyter_launcher.host.address import EngineAddress
from jupyter_launcher.host.rules import DirectoryRules
from jupyter_launcher.models.options import HiddenTexts
from jupyter_launcher.sessions.context import Context
from jupyter_launcher.sessions.phases import PhaseReporter
from jupyter_launcher.spec.labels import SessionLabels
from jupyter_launcher.spec.options import SessionSpec
from jupyter_launcher.swarm.address import SwarmAddress
from jupyter_launcher.swarm.rules import SwarmRules
from jupyter_launcher.waiting import Deadline

Answer = ExecResult | Exception
Run = Callable[[str, tuple[str, ...]], Answer]

NOW = 1_000_000.0
DOCKER = EngineTraits(
    name="Docker",
    version="28.5.1",
    api_version="1.51",
    cores=2,
    log_driver="json-file",
    runtime="runc",
    rootless=False,
    remapped=False,
    desktop=False,
    same_kernel=True,
    limits_memory=True,
    limits_cpus=True,
    limits_pids=True,
    data_root=Path("/var/lib/docker"),
)
SERVER_INFO: dict[str, Any] = {
    "base_url": "/",
    "hostname": "localhost",
    "password": False,
    "pid": 94619,
    "port": 8888,
    "root_dir": "/pipeline-dir",
    "secure": False,
    "sock": "",
    "token": "0123456789abcdef" * 4,
    "url": "http://localhost:8888/",
    "version": "2.21.1",
}
GATEWAY_TOKEN = "fedcba9876543210" * 4
TOKEN: str = SERVER_INFO["token"]
INFO = f"{TOKEN}\n{json.dumps(SERVER_INFO)}\n"
"""What our scripts print: the token, and the server_info."""
APART = NetworkInfo(driver="bridge", subnets=(ip_network("203.0.113.0/24"),))
"""A network on which this host has no address."""
HERE = NetworkInfo(driver="bridge", subnets=(ip_network("127.0.0.0/8"),))
"""A network on which this host has one."""
HASTY = Timeouts(start=5.0, gateway=5.0, shutdown=5.0, terminate=5.0)


def container(**changes: Any) -> ContainerInfo:
    """A running container on the default bridge."""
    known: dict[str, Any] = {
        "id": "c" * 64,
        "name": "some-container",
        "labels": {},
        "created": NOW,
        "state": "running",
        "exit_code": 0,
        "oom_killed": False,
        "error": "",
        "image": "image",
        "network_mode": "bridge",
        "networks": {"bridge": "172.17.0.9"},
        "ports": {"8888/tcp": (49153,)},
        "environment": {},
        "mounts": {},
    }
    return ContainerInfo(**{**known, **changes})


def listed(info: ContainerInfo, created: float = NOW) -> ListedContainer:
    """A container as the engine would list it."""
    words = {"created": "Created", "exited": f"Exited ({info.exit_code}) 5 seconds ago"}
    return ListedContainer(
        id=info.id,
        name=info.name,
        image=info.image,
        labels=info.labels,
        created=created,
        state=info.state,
        status=words.get(info.state, "Up 2 minutes"),
        networks=info.networks,
        ports=info.ports,
        bindings=info.bindings,
        node=info.node,
        host=info.host,
    )


def printed(stdout: str, exit_code: int | None = 0, stderr: str = "") -> ExecResult:
    """What an exec gave."""
    return ExecResult(exit_code=exit_code, stdout=stdout, stderr=stderr)


def not_run(
    message: str = "it did not run", *, started: bool | None = False, exit_code: int | None = None
) -> ExecError:
    """An exec that failed."""
    return ExecError(message, hint="see why", started=started, exit_code=exit_code)


def refusal(status: int, message: str = "refused") -> EngineError:
    """An answer of the engine that is an error."""
    return EngineError(message, hint="see why", status=status)


class FakeImages:
    """Images by name; notes what is ensured and built."""

    def __init__(self, *known: str) -> None:
        self.known = set(known)
        self.argv: tuple[str, ...] = ("run-gateway", "--port=8888")
        self.labels: dict[str, str] = {}
        self.ensured: list[tuple[str, str]] = []
        self.built: list[tuple[str, str, bool]] = []
        self.options: list[BuildOptions] = []

    def find(self, image: str) -> str | None:
        return f"sha256:{image}" if image in self.known else None

    def inspect(self, image: str) -> ImageInfo | None:
        found = self.find(image)
        return None if found is None else ImageInfo(id=found, labels=self.labels, argv=self.argv)

    def ensure(self, image: str, pull: str, options: BuildOptions, deadline: Deadline, on_progress: Progress) -> None:
        self.ensured.append((image, pull))
        if image not in self.known and pull == "never":
            msg = f"image {image} is not on the engine"
            raise ImageNotFoundError(msg, hint="build it", status=404, image=image)
        if image not in self.known:
            on_progress("pulling", 1, 2)
            self.known.add(image)

    def build(
        self,
        name: str,
        tag: str,
        options: BuildOptions,
        deadline: Deadline,
        on_progress: Progress,
        *,
        force: bool = False,
    ) -> None:
        on_progress("Step 1/2", 0, 2)
        self.built.append((name, tag, force))
        self.options.append(options)
        self.known.add(tag)


class FakeEvents:
    """What happens to containers; after the last event, or once it is closed, there is none."""

    def __init__(self, *events: ContainerEvent) -> None:
        self.events = deque(events)
        self.closed = False

    def __next__(self) -> ContainerEvent:
        if self.closed or not self.events:
            raise StopIteration
        return self.events.popleft()

    def close(self) -> None:
        self.closed = True


class FakeEngine:
    """An engine whose containers are values in a dict.

    An exec is answered from ``answers`` (the last one again and again), else by ``run`` if its container runs.
    ``fail`` makes a later call raise. Networks that were created are in ``own_networks``. A started container publishes
    its port at ``port``, where a test may have a real HTTP server. Every network is ``every_network``; None: there is
    none.
    """

    def __init__(
        self,
        *known: ContainerInfo,
        answers: Sequence[Answer] = (),
        run: Run | None = None,
        endpoint: str = "unix:///var/run/fake-engine.sock",
        traits: EngineTraits = DOCKER,
        port: int | None = 49153,
    ) -> None:
        self.endpoint = endpoint
        self.traits = traits
        self.proxies = HiddenTexts()
        self.images = FakeImages("image")
        self.port = port
        self.clock = NOW
        self.used = Stats()
        self.happened = FakeEvents()
        self.log = "the log"
        self.every_network: NetworkInfo | None = APART
        self.known = {info.id: info for info in known}
        self.own_networks: dict[str, ListedNetwork] = {}
        self.born: dict[str, float] = {}
        self.configs: dict[str, ContainerConfig] = {}
        self.calls: list[tuple[str, str]] = []
        self.execs: list[tuple[str, ...]] = []
        self.workdirs: list[str] = []
        self.secrets: list[bool] = []
        self.stays: list[bool] = []
        self.environments: list[dict[str, str]] = []
        self.limits: list[int] = []
        self.removed: list[str] = []
        self.closed = False
        self.on_wait: Callable[[str], object] = lambda _: None
        self.on_start: Callable[[str], object] = lambda _: None
        self.on_attach: Callable[[Sequence[str], str | None], AbstractContextManager[Exchange]] | None = None
        self._answers = list(answers)
        self.run = run
        self._faults: defaultdict[str, deque[BaseException]] = defaultdict(deque)

    def fail(self, call: str, *errors: BaseException) -> None:
        """Let the next calls of this name raise, one error each."""
        self._faults[call] += errors

    def change(self, container: str, **changes: Any) -> None:
        """Let something happen to a container."""
        info = self._find(container)
        assert info is not None
        self.known[info.id] = replace(info, **changes)

    def end(self, container: str, exit_code: int = 0) -> None:
        """Let a container end."""
        self.change(container, state="exited", exit_code=exit_code, ports={})

    def named(self, name: str) -> ContainerInfo:
        """The container of a name, which is there."""
        (found,) = [info for info in self.known.values() if info.name == name]
        return found

    def close(self) -> None:
        self.closed = True

    def now(self) -> float:
        self._note("now")
        return self.clock

    def inspect(self, container: str) -> ContainerInfo | None:
        self._note("inspect", container)
        return self._find(container)

    def containers(self, *labels: str) -> list[ListedContainer]:
        self._note("containers")
        found = sorted(self.known.values(), key=lambda info: self.born.get(info.id, NOW), reverse=True)
        return [
            listed(info, self.born.get(info.id, NOW))
            for info in found
            if all(_carries(info, *label.partition("=")) for label in labels)
        ]

    def network(self, name: str) -> NetworkInfo | None:
        self._note("network", name)
        return self.every_network

    def to_body(self, config: ContainerConfig) -> dict[str, Any]:
        return config.to_docker(self.traits.log_driver)

    def create_network(self, name: str, labels: Mapping[str, str]) -> None:
        self._note("create_network", name)
        if any(item.name == name for item in self.own_networks.values()):
            raise refusal(409, f"network with name {name} already exists")
        made = ListedNetwork(id=uuid.uuid4().hex * 2, name=name, labels=dict(labels), created=self.clock)
        self.own_networks[made.id] = made
        self._note("created_network", name)

    def networks(self, *labels: str) -> list[ListedNetwork]:
        self._note("networks")
        return [
            item
            for item in self.own_networks.values()
            if all(_carries(item, *label.partition("=")) for label in labels)
        ]

    def remove_network(self, name: str) -> None:
        self._note("remove_network", name)
        for item in list(self.own_networks.values()):
            if name in (item.id, item.name):
                if any(item.name in info.networks for info in self.known.values() if info.running):
                    raise refusal(403, f"network {name} has active endpoints")
                del self.own_networks[item.id]

    def remove_volume(self, name: str) -> None:
        self._note("remove_volume", name)

    def create(self, config: ContainerConfig, name: str) -> str:
        self._note("create", name)
        if any(info.name == name for info in self.known.values()):
            raise refusal(409, f"the name {name} is in use")
        made = container(
            id=uuid.uuid4().hex * 2,
            name=name,
            labels=dict(config.labels),
            created=self.clock,
            state="created",
            image=config.image,
            network_mode=config.network,
            networks={},
            ports={},
            environment=dict(config.environment),
            volumes={
                mount.target: mount.source or uuid.uuid4().hex for mount in config.mounts if mount.type == "volume"
            },
        )
        self.known[made.id] = made
        self.born[made.id] = self.clock
        self.configs[name] = config
        self._note("created", name)
        return made.id

    def rename(self, container: str, name: str) -> None:
        self._note("rename", name)
        if any(info.name == name for info in self.known.values()):
            raise refusal(409, f"the name {name} is in use")
        self.change(container, name=name)

    def start(self, container: str, *, host_ports: Collection[int] = ()) -> None:
        self._note("start", container)
        info = self._find(container)
        if info is None:
            raise refusal(404, f"no such container: {container}")
        config = self.configs[info.name]
        ports: dict[str, tuple[int, ...]] = {}
        if config.container_port is not None and self.port is not None:
            ports[f"{config.container_port}/tcp"] = (config.host_port or self.port,)
            ports |= {inside: (port or self.port + 1,) for inside, port in config.ports.items()}
        networks = {info.network_mode: "172.17.0.9"}
        self.change(container, state="running", started=uuid.uuid4().hex, networks=networks, ports=ports)
        self.on_start(container)

    @contextmanager
    def temporary(
        self,
        config: ContainerConfig,
        name: str,
        *,
        wait: Callable[[], object] = lambda: None,
        keep: Callable[[], bool] = lambda: False,
    ) -> Iterator[str]:
        target = name
        try:
            target = self.create(config, name)
            self.start(target)
            wait()
        except BaseException:
            with shielded():
                self.remove(target)
            raise
        try:
            yield target
        finally:
            if not keep():
                self.remove(target)

    def wait(self, container: str, deadline: Deadline) -> int | None:
        self._note("wait", container)
        self.on_wait(container)
        info = self._find(container)
        return -1 if info is None else None if info.running else info.exit_code

    def pause(self, container: str) -> None:
        self._note("pause", container)
        self.change(container, state="paused")

    def unpause(self, container: str) -> None:
        self._note("unpause", container)
        self.change(container, state="running")

    def remove(self, container: str) -> None:
        self._note("remove", container)
        check_cancelled()  # as the wait for a removal that is in progress does
        self.removed.append(container)
        info = self._find(container)
        if info is not None:
            del self.known[info.id]

    def logs(self, container: str, tail: int | None = None) -> str:
        self._note("logs", container)
        if self._find(container) is None:
            raise refusal(404, f"no such container: {container}")
        return self.log

    def log_tail(self, container: str, lines: int = 40) -> str:
        try:
            return self.logs(container, lines)
        except EngineError as error:
            return f"(no log: {error.message})"

    def read_log(self, container: str, tail: int | None = None, *, follow: bool = False) -> Iterator[str]:
        return iter(self.logs(container, tail).splitlines(keepends=True))

    def stats(self, container: str) -> Stats:
        self._note("stats", container)
        return self.used

    def events(self, *labels: str, since: float | None = None) -> FakeEvents:
        self._note("events", f"{' '.join(labels)} {since}")
        return self.happened

    def attach(
        self, container: str, argv: Sequence[str], *, user: str | None = None
    ) -> AbstractContextManager[Exchange]:
        self._note("attach", container)
        self.execs.append(tuple(argv))
        assert self.on_attach is not None
        return self.on_attach(argv, user)

    def exec(
        self,
        container: str,
        argv: Sequence[str],
        deadline: Deadline,
        *,
        check: bool = True,
        workdir: str = "/",
        limit: int = OUTPUT_LIMIT,
        secret: bool = False,
        stays: bool = False,
        environment: HiddenTexts | None = None,
    ) -> ExecResult:
        self._note("exec", container)
        self.stays.append(stays)
        self.environments.append({} if environment is None else dict(environment.values))
        self.limits.append(limit)
        self.execs.append(tuple(argv))
        self.workdirs.append(workdir)
        self.secrets.append(secret)
        answer = self._answer(container, tuple(argv))
        if isinstance(answer, Exception):
            raise answer
        if check and answer.exit_code:
            output = f"{'' if secret else answer.stdout}\n{answer.stderr}".strip()
            msg = f"command `{argv[0]}` failed with exit code {answer.exit_code}: {output}"
            raise ExecError(msg, hint="see why", started=True, exit_code=answer.exit_code, output=output)
        return answer

    def _answer(self, container: str, argv: tuple[str, ...]) -> Answer:
        if self._answers:
            return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        info = self._find(container)
        if info is None or info.state != "running":
            return not_run(f"container {container[:12]} is {info.state if info else 'gone'}")
        assert self.run is not None, f"nobody answers {argv}"
        return self.run(container, argv)

    def _find(self, container: str) -> ContainerInfo | None:
        found = (info for info in self.known.values() if container == info.name or info.id.startswith(container))
        return next(found, None)

    def _note(self, call: str, target: str = "") -> None:
        self.calls.append((call, target))
        if self._faults[call]:
            raise self._faults[call].popleft()


def _carries(info: ContainerInfo | ListedNetwork, name: str, equals: str, value: str) -> bool:
    return name in info.labels and (not equals or info.labels[name] == value)


class FakeSwarm(FakeEngine):
    """A swarm of one node, ``node2`` at 127.0.0.1, whose containers are values in a dict.

    ``services`` are those of others: a name → the id, under which there is a container too.
    """

    def __init__(self, *known: ContainerInfo, **given: Any) -> None:
        super().__init__(*known, endpoint="tcp://manager:2376", **given)
        self.services: dict[str, str] = {}
        self.every_network = NetworkInfo(driver="overlay", subnets=(ip_network("203.0.113.0/24"),))
        self.constraints: list[tuple[str, ...]] = []

    def constrained(self, constraints: Collection[str]) -> FakeSwarm:
        self.constraints.append(tuple(constraints))
        return self

    def service(self, name: str) -> str | None:
        self._note("service", name)
        return self.services.get(name, name if name in self.services.values() else None)

    def start(self, container: str, *, host_ports: Collection[int] = ()) -> None:
        super().start(container, host_ports=host_ports)
        self.change(container, node="node2", host="127.0.0.1")

    def lose_node(self, container: str) -> None:
        """Let the node of a container be away."""
        self.change(container, state="unreachable", error="node node2 is down")


# The fakes are what the seam asks for, as mypy sees it.
_ENGINE: type[Engine] = FakeEngine
_SWARM: type[NodesEngine] = FakeSwarm
_IMAGES: type[Images] = FakeImages


class _Server(ThreadingHTTPServer):
    request_queue_size = 64  # where more come at once than wait here, one waits for a second


@contextmanager
def http_server(answer: Callable[[str, str, dict[str, str]], tuple[int, bytes]]) -> Iterator[str]:
    """A real HTTP server on loopback; ``answer`` maps method, path and headers to status and body."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            status, body = answer(self.command, self.path, dict(self.headers))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            return

    server = _Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class FakeJupyter:
    """A Jupyter server, and the container around it: what it answers over HTTP, and what our scripts print there.

    It is a gateway too. Its attributes are what may be otherwise than it should.
    """

    def __init__(self, engine: FakeEngine | None = None) -> None:
        self.engine = FakeEngine() if engine is None else engine
        self.engine.run = self.run
        self.url = ""
        self.started = False
        self.tells = True
        self.lists = True
        self.kernels: set[str] = set()
        self.sticky: set[str] = set()
        self.marked: list[str] = []
        self.gateway_token: Answer = printed(GATEWAY_TOKEN)
        self.asked: list[tuple[str, str]] = []
        self.authorizations: list[str | None] = []
        self.alive = 200
        self.contents = 200
        self.kernelspecs = 200
        self.specs = ["python3"]
        self.bound: list[str] = []
        self.shutdown_status = 200
        self.heeds_shutdown = True
        self.heeds_sigterm = True
        self.start_answer: Answer = printed(INFO, None)
        self.renew_answer: Answer = printed("")
        self.script_of_start: tuple[str, ...] = ()
        self.leases: list[str] = []
        self.containers: list[str] = []

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 0

    @contextmanager
    def serve(self) -> Iterator[FakeJupyter]:
        """Answer over HTTP, where the engine publishes ports."""
        with http_server(self.answer) as self.url:
            self.engine.port = self.port
            yield self

    def add(self, info: ContainerInfo) -> ContainerInfo:
        """Have a container in which this server runs, or not, as its state is."""
        ports = {"8888/tcp": (self.port,)} if info.running else {}
        self.engine.known[info.id] = replace(info, ports=ports)
        if info.running:
            self.started = True
            self.containers.append(info.id)
        return self.engine.known[info.id]

    def leave(self, info: ContainerInfo) -> None:
        """Have nobody in a container: no server was started there, and nothing listens."""
        self.started = False
        if info.running:
            self.engine.change(info.id, ports={})

    def answer(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        path = path.partition("?")[0]
        self.asked.append((method, path))
        self.authorizations.append(headers.get("Authorization"))
        api = re.sub(r"^.*?/api", "/api", path)
        if api == "/api":
            return self.alive, b"{}"
        if api.startswith("/api/contents"):
            return (self.contents, b"[]") if headers.get("Authorization") == f"token {TOKEN}" else (403, b"{}")
        if api == "/api/kernelspecs":
            return self.kernelspecs, json.dumps({"kernelspecs": {name: {} for name in self.specs}}).encode()
        if api == "/api/shutdown":
            if self.heeds_shutdown:
                self._end(0)
            return self.shutdown_status, b"{}"
        if method == "DELETE":
            self.kernels -= {api.rpartition("/")[2]} - self.sticky
            return 204, b""
        # The gateway is at the same address, and lists its kernels whatever the server does.
        is_listed = self.lists or headers.get("Authorization") != f"token {TOKEN}"
        return (200 if is_listed else 503), json.dumps([{"id": kernel} for kernel in sorted(self.kernels)]).encode()

    def run(self, container: str, argv: tuple[str, ...]) -> Answer:
        if argv[3] == "run":
            status, body = self.answer(argv[5], urlsplit(argv[6]).path, {})
            return printed(f"{status}\n{body.decode()}")
        if argv[3] == "take":  # it becomes the command that follows
            argv = argv[6:]
        if argv[3] == "privileges":
            argv = argv[5:]
        return self._run_script(container, argv)

    def _run_script(self, container: str, argv: tuple[str, ...]) -> Answer:
        script, name = argv[2:4]
        if name == "start":
            self.script_of_start = argv
            self.started = isinstance(self.start_answer, ExecResult)
            self.containers.append(container)
            return self.start_answer
        if name == "look":
            found = printed("") if "jpserver" not in script else printed(INFO) if self.tells else printed("", 45)
            return found if self.started else printed("", 44)
        if name == "read":
            return self.gateway_token
        if name == "renew":
            self.leases.append(argv[-1])
            return self.renew_answer
        if name in ("bind", "terminate"):
            if name == "bind":
                self.bound.append(argv[-1])
            elif self.heeds_sigterm:
                self._end(143)
            return printed("")
        assert name == "find", argv
        return printed("\n".join(item if " " in item else f"{item} - - 1" for item in self.marked))

    def _end(self, exit_code: int) -> None:
        self.kernels &= self.sticky
        for item in self.containers:
            if item in self.engine.known:
                self.engine.end(item, exit_code)


def session_spec(folder: Path = Path("/pipelines/one"), **options: Any) -> SessionSpec:
    """What a start asks for."""
    known: dict[str, Any] = {
        "session_id": "one",
        "namespace": "unit",
        "pipeline_dir": folder,
        "user": "1234:1234",
        "image": "image",
    }
    return SessionSpec.from_options(**{**known, **options})


def session_labels(gateway: Gateway | None = None, start_id: str = "start-1", **options: Any) -> SessionLabels:
    """The labels of a session that was started so."""
    owner = options.pop("owner", "me")
    return SessionLabels.from_spec(session_spec(**options), gateway, start_id, owner)


def session_info(labels: SessionLabels | None = None, **changes: Any) -> ContainerInfo:
    """The container of a session."""
    labels = labels or session_labels()
    return container(**{"name": labels.name, "labels": labels.to_labels(), **changes})


def launcher_context(engine: FakeEngine, events: list[Event] | None = None, **changes: Any) -> Context:
    """A launcher's settings, with short time-outs."""
    known: dict[str, Any] = {
        "engine": engine,
        "address": EngineAddress(engine),
        "namespace": "unit",
        "owner": "me",
        "build": BuildOptions(),
        "timeouts": HASTY,
        "reporter": PhaseReporter(None if events is None else events.append),
        "rules": DirectoryRules(),
    }
    return Context(**{**known, **changes})


def swarm_context(engine: FakeSwarm, swarm: Swarm | None = None, events: list[Event] | None = None) -> Context:
    """The settings of a launcher whose sessions are in a swarm."""
    swarm = Swarm(publish="all", weaker=True) if swarm is None else swarm
    rules = SwarmRules(swarm=swarm, engine=engine)
    return launcher_context(engine, events, address=SwarmAddress(engine, swarm), swarm=rules)


def server_info() -> ServerInfo:
    return ServerInfo.from_output(INFO)
