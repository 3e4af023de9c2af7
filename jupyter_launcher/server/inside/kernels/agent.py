"""The main process of a container whose kernels are its processes: starts and ends them for one gateway.

Run as ``python -IS -c <this text>`` with the variable ``JUPYTER_LAUNCHER_AGENT``, which the launcher writes: the only
place from which a program to run, its name and the pipeline directory come. The container has the network of the
gateway's, so kernels listen on 127.0.0.1, and the agent on a socket in the abstract namespace.

Each line of a connection is a JSON object, and so is each answer. The first connection of the gateway is its ``hold``:
the agent and all kernels end with it. Every other connection is one kernel, which ends with its connection.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import random
import re
import select
import signal
import socket
import string
import subprocess
import sys
import tempfile
import threading
import time

TYPE_CHECKING = False  # an import less at each start
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

VARIABLE = "JUPYTER_LAUNCHER_AGENT"
PORTS = ("shell_port", "iopub_port", "stdin_port", "hb_port", "control_port")
IP = "127.0.0.1"
LINE = 1 << 20  # bytes, at most
CLIENTS = 256  # at most
HOLD_SECONDS = 60.0
GRACE_SECONDS = 1.0
_GONE_SECONDS = 5.0  # from SIGKILL to the end of the process
_DRAIN_SECONDS = 0.5
_LOG = 4096  # bytes of a kernel's output that its end tells
_CHUNK = 65536
_PORT_TRIES = 200
_LARGEST_SIGNAL = 64
_KERNEL_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_VARIABLE_NAME = re.compile(r"KERNEL_[A-Za-z0-9_]{1,250}")
_RUNTIMES = ("/dev/shm", "/tmp", "/var/tmp")  # noqa: S108 - a folder of our own in there; keys need not be on a disk
_OOM_COUNTERS = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")


class RefusedError(Exception):
    """A request that is refused; ``last``: and the connection ends."""

    def __init__(self, status: int, why: str, *, last: bool = False) -> None:
        super().__init__(why)
        self.status = status
        self.last = last


class Policy:
    """What the launcher wants run, and where."""

    def __init__(self, text: str) -> None:
        given = json.loads(text)
        self.address = "\0" + str(given["address"])
        self.name = str(given["name"])
        self.secret = str(given["secret"]).encode()
        self.argv = [str(word) for word in given["argv"]]
        self.variables = {str(name): str(value) for name, value in given.get("env", {}).items()}
        self.folder = str(given.get("folder", "/pipeline-dir"))
        self.environment = dict(os.environ)

    def check(self, request: dict[str, Any]) -> None:
        """Refuse who is not the gateway: kernels of other images are on the same network, and see this socket."""
        if not hmac.compare_digest(str(request.get("secret")).encode("utf-8", "replace"), self.secret):
            raise RefusedError(403, "that is not the secret of this agent", last=True)

    def environment_of(self, kernel: str, sent: dict[str, str]) -> dict[bytes, bytes]:
        """The environment of a kernel's process: the container's, what the client sent, and the kernel spec's."""
        found = {**self.environment, **sent}
        found.update({name: string.Template(value).safe_substitute(found) for name, value in self.variables.items()})
        # As jupyter_client: ipykernel ends itself when this process is not its parent any more.
        found.update(KERNEL_ID=kernel, JPY_PARENT_PID=str(os.getpid()))
        return {os.fsencode(name): os.fsencode(value) for name, value in found.items()}

    def folder_of(self, wanted: str | None) -> str:
        """The pipeline directory, or the wanted folder below it where there is one that can be entered."""
        folder = os.path.normpath(wanted or "")
        if folder.startswith(self.folder + "/") and os.path.isdir(folder) and os.access(folder, os.X_OK):
            return folder
        return self.folder


class Start:
    """A request to start a kernel, checked."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.kernel = _text(request, "kernel")
        if not _KERNEL_ID.fullmatch(self.kernel):
            raise RefusedError(400, "the id of a kernel is a UUID")
        self.name = _text(request, "name")
        sent = request.get("env") or {}
        if not isinstance(sent, dict) or not all(_VARIABLE_NAME.fullmatch(name) for name in sent):
            raise RefusedError(400, "a kernel's variables are KERNEL_ and letters, digits and underscores")
        self.env = {name: _text(sent, name) for name in sent}
        self.folder = None if request.get("folder") is None else _text(request, "folder")
        given = request.get("connection")
        if not isinstance(given, dict):
            raise RefusedError(400, "a kernel needs a connection")
        names = ["key", "signature_scheme", "kernel_name"]
        if "curve_publickey" in given or "curve_secretkey" in given:
            names += ["curve_publickey", "curve_secretkey"]
        self.connection = {name: _text(given, name) for name in names}


class Run:
    """A kernel's process, from its start to its end; ``tell`` is called with how it ended."""

    def __init__(
        self, argv: list[str], env: dict[bytes, bytes], folder: str, tell: Callable[[dict[str, Any]], object]
    ) -> None:
        self.done = threading.Event()
        self._tell = tell
        self._ending = threading.Lock()
        self._is_over = False
        self._killed = False
        self._tail = bytearray()
        self._oom_kills = count_oom_kills()
        output, theirs = os.pipe()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the launcher's
                argv,
                env=env,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=theirs,
                stderr=theirs,
                start_new_session=True,
            )
        except BaseException:
            os.close(output)
            raise
        finally:
            os.close(theirs)
        self._copier = threading.Thread(target=self._copy, args=(output,), daemon=True)
        self._copier.start()
        threading.Thread(target=self._wait, daemon=True).start()

    def signal(self, number: int) -> None:
        """Send a signal to the kernel's process group; to none, where the kernel has ended."""
        with self._ending:
            self._killed |= number == signal.SIGKILL
            if not self._is_over:
                self._signal_group(number)

    def _signal_group(self, number: int) -> None:
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, number)

    def _copy(self, output: int) -> None:
        """Pass the kernel's output on to the container's log, and keep the end of it."""
        with contextlib.suppress(OSError), open(output, "rb", buffering=0) as opened:
            while True:
                chunk = opened.read(_CHUNK)
                if not chunk:
                    return
                self._tail += chunk
                del self._tail[:-_LOG]
                with contextlib.suppress(OSError):  # a log that nobody takes ends no kernel
                    _write_all(1, chunk)

    def _wait(self) -> None:
        """Wait for the process. What it has left of its group is killed while its zombie keeps the group's number."""
        os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        with self._ending:
            self._is_over = True
            self._signal_group(signal.SIGKILL)
            code = self._process.wait()
        # A process that left the group may hold the pipe; it does not hold up the news.
        self._copier.join(_DRAIN_SECONDS)
        oom = code == -signal.SIGKILL and not self._killed and count_oom_kills() > self._oom_kills
        log = bytes(self._tail).decode("utf-8", "replace")
        self.done.set()
        self._tell({"exit_code": code if code >= 0 else 128 - code, "oom": oom, "log": log})


class Client:
    """A connection: the gateway's hold, or a kernel."""

    def __init__(self, agent: Agent, connection: socket.socket) -> None:
        self.run: Run | None = None
        self.ports: list[int] = []
        self.is_known = False  # it has said the secret
        self._agent = agent
        self._connection = connection
        self._sending = threading.Lock()
        self._kernel = ""
        self._file = ""
        self._count = 0

    def serve(self) -> None:
        """Answer requests until the connection ends, and end the kernel then."""
        try:
            with contextlib.suppress(OSError):  # the other side is gone
                self._serve()
        finally:
            if self.run is not None:
                end_all([self.run])
            with contextlib.suppress(OSError):
                os.unlink(self._file)
            self._agent.forget(self)
            self._connection.close()

    def leave(self) -> None:
        """End the connection; its thread sees to the rest."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def refuse(self, status: int, why: str) -> None:
        with self._sending:
            self._send({"error": why, "status": status})

    def _serve(self) -> None:
        try:
            for line in read_lines(self._connection):
                request = parse(line)
                with self._sending:  # so that the end of a kernel is told after the answer to its start
                    self._send(self._answer(request))
        except RefusedError as refused:
            self.refuse(refused.status, str(refused))

    def _send(self, answer: dict[str, Any]) -> None:
        self._connection.sendall(json.dumps(answer).encode() + b"\n")

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        acts = {"start": self._start, "signal": self._signal, "hold": self._hold}
        act = acts.get(str(request.get("do")))
        if act is None:
            raise RefusedError(400, "there is start, signal and hold", last=True)
        try:
            return act(request)
        except RefusedError as refused:
            if refused.last:
                raise
            return {"error": str(refused), "status": refused.status}

    def _hold(self, request: dict[str, Any]) -> dict[str, Any]:
        self._check(request)
        if self._kernel:
            raise RefusedError(409, "this connection is a kernel")
        self._agent.hold(self)
        return {}

    def _signal(self, request: dict[str, Any]) -> dict[str, Any]:
        number = request.get("signal")
        if type(number) is not int or not 1 <= number <= _LARGEST_SIGNAL:
            raise RefusedError(400, "a signal is a number from 1 to 64")
        if self.run is not None:
            self.run.signal(number)
        return {}

    def _check(self, request: dict[str, Any]) -> None:
        self._agent.policy.check(request)
        self.is_known = True

    def _start(self, request: dict[str, Any]) -> dict[str, Any]:
        self._check(request)
        start = Start(request)
        if self.run is not None and not self.run.done.is_set():
            raise RefusedError(409, "the kernel of this connection runs")
        if self._kernel not in ("", start.kernel):
            raise RefusedError(409, "this connection is another kernel")
        self._file = self._file or make_file(self._agent.runtime, start.kernel)
        number = self._count + 1
        self._agent.start(self, start, self._file, lambda ended: self._tell(start.kernel, number, ended))
        self._kernel = start.kernel
        self._count = number
        return {"ip": IP, "ports": name_ports(self.ports), "run": number}

    def _tell(self, kernel: str, number: int, ended: dict[str, Any]) -> None:
        if ended["oom"]:
            say(f"kernel {kernel} was killed: the memory of its container is used up")
        with contextlib.suppress(OSError), self._sending:
            self._send({"ended": {"run": number, **ended}})


class Agent:
    """All connections, and the socket from which they come."""

    def __init__(self, policy: Policy) -> None:
        self.runtime = make_runtime()
        self.policy = policy
        self._lock = threading.Lock()
        self._clients: dict[Client, None] = {}  # in the order in which they came
        self._holder: Client | None = None
        self._is_ending = False
        self._woken, self._waker = os.pipe()
        self._listener = socket.socket(socket.AF_UNIX)

    def listen(self) -> None:
        self._listener.bind(self.policy.address)
        self._listener.listen(CLIENTS)

    def wake(self, *_: object) -> None:
        """Make ``serve`` return; a handler of signals too."""
        os.write(self._waker, b".")

    def serve(self) -> int:
        """Take connections until the hold ends; return the exit code of the process."""
        watched = select.poll()
        watched.register(self._woken, select.POLLIN)
        watched.register(self._listener, select.POLLIN)
        deadline = time.monotonic() + HOLD_SECONDS
        while True:
            wait = None if self._holder is not None else max(0, deadline - time.monotonic()) * 1000
            ready = {number for number, _ in watched.poll(wait)}
            if self._woken in ready:
                return 0
            if not ready and self._holder is None and time.monotonic() >= deadline:
                say(f"no gateway has come in {HOLD_SECONDS:g} s")
                return 1
            if self._listener.fileno() in ready:
                self._accept()

    def close(self) -> None:
        """End all kernels, and take no more."""
        with self._lock:
            self._is_ending = True
            runs = [client.run for client in self._clients if client.run is not None]
        self._listener.close()
        end_all(runs)
        remove_runtime(self.runtime)

    def hold(self, client: Client) -> None:
        with self._lock:
            if self._holder is not None:
                raise RefusedError(409, "a gateway holds the agent already")
            self._holder = client

    def start(self, client: Client, start: Start, file: str, tell: Callable[[dict[str, Any]], object]) -> None:
        """Start a process for a client, whose ``run`` and ``ports`` are then those of it."""
        policy = self.policy
        if start.name != policy.name:
            raise RefusedError(404, f"the kernel here is {policy.name}")
        with self._lock:
            if self._holder is None or self._is_ending:
                raise RefusedError(409, "no gateway holds the agent")
            taken = {port for other in self._clients if other is not client for port in other.ports}
            client.ports = find_ports(client.ports, taken)
            write_file(file, {"ip": IP, "transport": "tcp", **start.connection, **name_ports(client.ports)})
            argv = [word.replace("{connection_file}", file) for word in policy.argv]
            try:
                env = policy.environment_of(start.kernel, start.env)
                client.run = Run(argv, env, policy.folder_of(start.folder), tell)
            except (OSError, ValueError) as error:  # ValueError: a NUL
                raise RefusedError(500, f"{argv[0]} cannot be run: {error}") from error

    def forget(self, client: Client) -> None:
        with self._lock:
            self._clients.pop(client, None)
            held = client is self._holder
        if held:
            self.wake()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # gone again, or no descriptor is free
            return
        client = Client(self, connection)
        with self._lock:
            fits = len(self._clients) < CLIENTS or self._make_room()
            if fits:
                self._clients[client] = None
        if fits:
            threading.Thread(target=client.serve, daemon=True).start()
            return
        with contextlib.suppress(OSError), contextlib.closing(connection):
            client.refuse(429, f"{CLIENTS} connections are open")

    def _make_room(self) -> bool:
        """Let go of the oldest connection that has not said the secret: kernels of other images open such ones too."""
        stranger = next((client for client in self._clients if not client.is_known), None)
        if stranger is not None:
            del self._clients[stranger]
            stranger.leave()
        return stranger is not None


def end_all(runs: Iterable[Run]) -> None:
    """End kernels and their process groups: SIGTERM, and after a second SIGKILL."""
    left = list(runs)
    for number, seconds in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, _GONE_SECONDS)):
        deadline = time.monotonic() + seconds
        for run in left:
            run.signal(number)
        left = [run for run in left if not run.done.wait(max(0, deadline - time.monotonic()))]


def read_lines(connection: socket.socket) -> Iterator[bytes]:
    """The lines that come on a connection; a last one without its end is none."""
    buffer = bytearray()
    while True:
        end = buffer.find(b"\n")
        while end >= 0:
            yield bytes(buffer[:end])
            del buffer[: end + 1]
            end = buffer.find(b"\n")
        if len(buffer) >= LINE:
            raise RefusedError(400, f"a line has at most {LINE} bytes")
        chunk = connection.recv(_CHUNK)
        if not chunk:
            return
        buffer += chunk


def parse(line: bytes) -> dict[str, Any]:
    try:
        request = json.loads(line.decode(), parse_int=lambda digits: int(digits[:20]))
    except (ValueError, RecursionError):
        request = None
    if not isinstance(request, dict):
        raise RefusedError(400, "a line is a JSON object")
    return request


def find_ports(own: list[int], taken: set[int]) -> list[int]:
    """Free ports: those that the kernel had before, or others, which no outgoing connection is given by the kernel."""
    if own and all(map(_is_free, own)):
        return own
    lowest = _read_lowest_outgoing()
    found: list[int] = []
    for _ in range(_PORT_TRIES):
        port = random.randrange(max(1024, lowest // 2), lowest) if lowest > 2048 else 0  # noqa: S311
        port = _bind(port)
        if port and port not in taken and port not in found:
            found.append(port)
            if len(found) == len(PORTS):
                return found
    raise RefusedError(500, "no ports are free")


def name_ports(ports: list[int]) -> dict[str, int]:
    return dict(zip(PORTS, ports))  # noqa: B905 - Python 3.8


def _read_lowest_outgoing() -> int:
    with contextlib.suppress(OSError, ValueError), open("/proc/sys/net/ipv4/ip_local_port_range") as opened:
        return int(opened.read().split()[0])
    return 0


def _is_free(port: int) -> bool:
    return _bind(port) == port


def _bind(port: int) -> int:
    """Bind a port as ZeroMQ does, and let it go; 0: it is taken."""
    with contextlib.suppress(OSError), socket.socket() as opened:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((IP, port))
        return int(opened.getsockname()[1])
    return 0


def make_runtime() -> str:
    """A folder for connection files, of this user alone. Never the working directory, which is the user's."""
    for parent in _RUNTIMES:
        with contextlib.suppress(OSError):
            return tempfile.mkdtemp(prefix="jupyter-launcher-", dir=parent)
    msg = "there is no folder for connection files: /dev/shm and /tmp cannot be written"
    raise OSError(msg)


def remove_runtime(folder: str) -> None:
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(folder, name))
        os.rmdir(folder)


def make_file(folder: str, kernel: str) -> str:
    number, path = tempfile.mkstemp(prefix=f"kernel-{kernel}-", suffix=".json", dir=folder)
    os.close(number)
    return path


def write_file(path: str, content: dict[str, Any]) -> None:
    with open(path, "w") as opened:
        json.dump(content, opened)


def count_oom_kills() -> int:
    """How many processes of this container were killed because its memory was used up."""
    for path in _OOM_COUNTERS:
        with contextlib.suppress(OSError, ValueError), open(path) as opened:
            for line in opened:
                name, _, number = line.partition(" ")
                if name == "oom_kill":
                    return int(number)
    return 0


def say(line: str) -> None:
    with contextlib.suppress(OSError):
        _write_all(1, f"jupyter-launcher: {line}\n".encode())


def _write_all(number: int, data: bytes) -> None:
    while data:
        data = data[os.write(number, data) :]


def _text(given: dict[str, Any], name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str) or "\0" in value or not _is_unicode(value):
        raise RefusedError(400, f"{name[:80]} is to be a text")
    return value


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def main() -> int:
    try:
        agent = Agent(Policy(os.environ.pop(VARIABLE, "")))
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        say(f"the agent cannot run: {error!r}")
        return 1
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, agent.wake)
        try:
            agent.listen()
        except OSError as error:
            say(f"the agent cannot listen: {error}")
            return 1
        return agent.serve()
    finally:
        agent.close()


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # threads of connections may still wait
