"""Makes the containers of a gateway's kernels. It alone holds the engine's socket, and it has no network.

The launcher gives the policy: for each name of a kernel the whole body of the engine's create. A client, which is the
gateway, gives a kernel's id, one of these names, the kernel's own variables (KERNEL_*), a folder and the keys of its
channels, and nothing of that is a path of a call to the engine before it has been checked.

One JSON object per line, both ways, over a unix socket. A connection is a kernel: its container is there from the first
`start` until the connection ends, whatever ends it. One connection, the hold, is the gateway itself.

As a program: broker.py, with its policy as JSON in pieces, JUPYTER_LAUNCHER_BROKER_0 and so on.
"""

from __future__ import annotations

import contextlib
import copy
import http.client
import io
import json
import os
import re
import select
import signal
import socket
import sys
import tarfile
import threading
import time
from datetime import datetime
from urllib.parse import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

UNREACHABLE = 74
"""The exit code where the engine does not answer, or refuses to."""
UNHELD = 75
"""The exit code where no gateway came."""
LEFT = 1
"""The exit code where kernels may be left, since the engine refuses to remove them."""

PORTS = {"shell_port": 5555, "iopub_port": 5556, "stdin_port": 5557, "hb_port": 5558, "control_port": 5559}
"""The same in each container, since each has its own network."""
FOLDER = "/run/jupyter-launcher-kernel"
FILE = "connection.json"
"""In a kernel's container: the folder and the file of its connection. Its parent is root's, so no link leads away."""

_VARIABLE = "JUPYTER_LAUNCHER_BROKER_"
_LABELS = "jupyter-launcher."
_PIPELINE = "/pipeline-dir"
_FOLDER_WORD = "{folder}"
_LINE = 2**20  # bytes
_TEXT = 4096  # characters of a key, a name, a folder
_CONNECTIONS = 256
_SECONDS = 60.0  # of a call that makes nothing and waits for nothing
_HOLD_SECONDS = 300.0
_TURN_SECONDS = 30.0  # for the end of an earlier connection of the same kernel
_END_SECONDS = 120.0
_ANSWER = 2**22  # bytes
_LOG_LINES = 20
_LOG_TEXT = 4000  # characters
_OOM_TRIES = 5
_PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_KERNEL = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CONTAINER = re.compile(r"[0-9a-f]{12,64}")
_NAME = re.compile(r"KERNEL_[A-Za-z0-9_]{1,200}")
_MARK = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_TAKEN = ("already in use", "UNIQUE constraint failed")  # Podman answers 500 where a name is taken
_KEYS = ("key", "signature_scheme", "kernel_name", "curve_publickey", "curve_secretkey")


class EngineError(Exception):
    """The engine refused, with an HTTP status; 0: it did not answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        # Podman, of a container that is being removed.
        self.status = 404 if status == 500 and "no such container" in message else status


class RefusedError(Exception):
    """A request is refused, with the status that the client gets."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Engine:
    """The engine's calls that kernels need, of Docker's API.

    The paths have no version, so that each engine takes them as its newest one, as the launcher does, which made the
    bodies: an engine refuses versions that are too new or too old for it.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def create(self, name: str, body: dict[str, Any]) -> str:
        """Create a container, and return its id. It waits as long as the engine takes: what was made is known then."""
        found = self._ask("POST", "/containers/create?name=" + quote(name, safe=""), body, timeout=None)
        return _read_id(found)

    def put(self, container: str, archive: bytes) -> None:
        """Unpack an archive at the root of a container's file system."""
        self._call("PUT", _at(container, "archive?path=%2F"), archive, "application/x-tar", timeout=None)

    def start(self, container: str) -> None:
        """Start a container; one that runs already goes on."""
        self._call("POST", _at(container, "start"), timeout=None)

    def inspect(self, container: str) -> dict[str, Any] | None:
        """What the engine tells of a container; None: there is none of this id or name."""
        try:
            return _part({"it": self._ask("GET", _at(container, "json"))}, "it")
        except EngineError as error:
            if error.status == 404:
                return None
            raise

    def wait(self, container: str) -> int:
        """Wait until a container does not run, and return its exit code."""
        found = self._ask("POST", _at(container, "wait?condition=not-running"), timeout=None)
        code = found.get("StatusCode") if isinstance(found, dict) else None
        if not isinstance(code, int):
            raise EngineError(0, "the engine's answer has no exit code")
        return code

    def kill(self, container: str, number: int) -> None:
        """Send a signal to a container's main process; one that does not run stays as it is."""
        try:
            self._call("POST", _at(container, "kill?signal=%d" % number))
        except EngineError as error:
            if error.status in (404, 409):
                return
            if error.status != 500 or _runs(self.inspect(container)):  # Podman has 500 for all that does not run
                raise

    def log(self, container: str, since: str) -> str:
        """The last lines of a container's log; empty where it cannot be read."""
        query = "logs?stdout=1&stderr=1&tail=%d&since=%s" % (_LOG_LINES, since)
        try:
            return _read_frames(self._call("GET", _at(container, query)))[-_LOG_TEXT:]
        except EngineError:
            return ""

    def remove(self, container: str) -> bool:
        """Kill and remove a container; whether it is gone. Its volumes without a name go with it."""
        try:
            # Podman's removal would ask politely first, and wait for the container's stop time-out.
            self._call("POST", _at(container, "kill?signal=9"))
        except EngineError as error:
            if error.status == 0:
                return False
        try:
            self._call("DELETE", _at(container, "?force=true&v=true"), timeout=None)
        except EngineError as error:
            if error.status != 404:
                return self._is_gone(container)
        return True

    def _is_gone(self, container: str) -> bool:
        """Whether somebody else's removal, which is why the engine refused ours, has ended."""
        try:
            return self.inspect(container) is None
        except EngineError:
            return False

    def kernels(self, gateway_start: str) -> list[dict[str, Any]]:
        """The containers of a gateway's kernels, in every state."""
        wanted = [_LABELS + "part=kernel", _LABELS + "gateway-start=" + gateway_start]
        found = self._ask("GET", "/containers/json?all=1&filters=" + quote(json.dumps({"label": wanted}), safe=""))
        if not isinstance(found, list):
            raise EngineError(0, "the engine's answer to a list is none")
        return [item for item in found if isinstance(item, dict)]

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None, timeout: float | None = _SECONDS) -> Any:
        data = self._call(method, path, None if body is None else json.dumps(body).encode(), timeout=timeout)
        try:
            return json.loads(data)
        except (RecursionError, ValueError) as error:
            raise EngineError(0, "the engine's answer is no JSON: %s" % type(error).__name__) from error

    def _call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        kind: str = "application/json",
        timeout: float | None = _SECONDS,
    ) -> bytes:
        connection = _UnixConnection(self._path, timeout)
        try:
            connection.request(method, path, body, {} if body is None else {"Content-Type": kind})
            answer = connection.getresponse()
            data = answer.read(_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            raise EngineError(0, "the engine does not answer: %s: %s" % (type(error).__name__, error)) from error
        finally:
            connection.close()
        if answer.status >= 400:
            raise EngineError(answer.status, _read_message(data))
        return data


def _at(container: str, rest: str) -> str:
    """The path of a call about a container; by its id or its name, which were made or checked here."""
    return "/containers/" + quote(container, safe="") + (rest if rest.startswith("?") else "/" + rest)


def _read_id(answer: Any) -> str:
    found = answer.get("Id") if isinstance(answer, dict) else None
    if not isinstance(found, str) or not _CONTAINER.fullmatch(found):
        raise EngineError(0, "the engine's answer has no id of a container")
    return found


def _read_message(data: bytes) -> str:
    try:
        return str(json.loads(data)["message"])[:1000]
    except (KeyError, RecursionError, TypeError, ValueError):
        return data[:200].decode("utf-8", "replace").strip()


def _read_frames(raw: bytes) -> str:
    """The text of a log, whose pieces each have a head of 8 bytes: its stream, three zeros, its length."""
    pieces = []
    while len(raw) > 8:
        size = int.from_bytes(raw[4:8], "big")
        pieces.append(raw[8 : 8 + size])
        raw = raw[8 + size :]
    return b"".join(pieces).decode("utf-8", "replace").strip()


def _part(info: Any, *names: str) -> dict[str, Any]:
    """A part of what the engine tells; empty where there is none, or something else stands in its place."""
    for name in names:
        info = info.get(name) if isinstance(info, dict) else None
    return info if isinstance(info, dict) else {}


def _runs(info: dict[str, Any] | None) -> bool:
    return bool(_part(info, "State").get("Running"))


def _address(info: dict[str, Any]) -> str:
    """The container's IP on its network; empty where it has none."""
    networks = _part(info, "NetworkSettings", "Networks")
    found = [_part(networks, name).get("IPAddress") for name in networks]
    return next((address for address in found if isinstance(address, str) and address), "")


def _since(asked: float, info: dict[str, Any]) -> str:
    """When a run began, as the engine's log takes it: a program may write before its `StartedAt`.

    Docker takes the time of a start after the program began. The broker runs on the engine's host, so both have one
    clock; where the broker's is ahead all the same, `StartedAt` is the earlier of the two.
    """
    with contextlib.suppress(KeyError, OverflowError, TypeError, ValueError):
        asked = min(asked, datetime.fromisoformat(info["State"]["StartedAt"]).timestamp())
    return "%.6f" % max(0.0, asked)


class Policy:
    """What the launcher has laid down, as the broker was given it."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.engine: str = given["engine"]
        self.socket: str = given["socket"]
        self.gateway_start: str = given["gateway_start"]
        self.max_kernels: int = given["max_kernels"]
        self.prefix = "jupyter-kernel.%s." % given["namespace"]
        uid, gid = given["user"].split(":")
        self.uid, self.gid = int(uid), int(gid)
        self.kernels: dict[str, dict[str, Any]] = given["kernels"]

    @classmethod
    def take(cls, environment: Any) -> Policy:
        """From the environment, where it is not any more afterwards."""
        pieces: list[str] = []
        while (piece := environment.pop(_VARIABLE + str(len(pieces)), None)) is not None:
            pieces.append(piece)
        return cls(json.loads("".join(pieces)))

    def to_body(self, request: StartRequest) -> dict[str, Any]:
        """The body of the create of one kernel."""
        body = copy.deepcopy(self.kernels[request.name])
        own = [*(body.get("Env") or []), "KERNEL_ID=" + request.kernel]
        names = {item.partition("=")[0] for item in own}
        body["Env"] = [*own, *("%s=%s" % pair for pair in request.env.items() if pair[0] not in names)]
        mark = request.env.get("KERNEL_JUPYTER_LAUNCHER", "")
        body["Labels"] = {
            **(body.get("Labels") or {}),
            _LABELS + "kernel-id": request.kernel,
            _LABELS + "kernel-name": request.name,
            _LABELS + "kernel-of": mark if _MARK.fullmatch(mark) else "",
        }
        for part in ("Entrypoint", "Cmd"):
            words = list(body.get(part) or [])
            if _FOLDER_WORD in words:  # the first one is the launcher's
                words[words.index(_FOLDER_WORD)] = request.folder
                body[part] = words
                break
        return body

    def to_archive(self, request: StartRequest) -> bytes:
        """The connection file, which the kernel's user alone can read, in a folder of that user."""
        content = {"ip": "0.0.0.0", "transport": "tcp", **PORTS, **request.connection}  # noqa: S104 - its own network
        data = json.dumps(content).encode()
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w") as archive:
            folder = tarfile.TarInfo(FOLDER.strip("/"))
            folder.type, folder.mode = tarfile.DIRTYPE, 0o700
            item = tarfile.TarInfo("%s/%s" % (FOLDER.strip("/"), FILE))
            item.size, item.mode = len(data), 0o600
            for entry in (folder, item):
                entry.uid, entry.gid, entry.mtime = self.uid, self.gid, int(time.time())
            archive.addfile(folder)
            archive.addfile(item, io.BytesIO(data))
            end = archive.offset + 2 * tarfile.BLOCKSIZE
        # Podman reads to the archive's end. Without the padding behind it, nothing is left that nobody reads.
        return file.getvalue()[:end]


class StartRequest:
    """A request for a kernel, after all checks.

    Raises:
        RefusedError: something of it is not as it has to be.
    """

    def __init__(self, given: dict[str, Any], policy: Policy) -> None:
        self.kernel = _read_kernel(given)
        self.name: str = given.get("name", "")
        if not isinstance(self.name, str) or self.name not in policy.kernels:
            raise RefusedError(404, "there is no kernel of this name")
        self.env = _read_variables(given.get("env"))
        self.folder = _read_folder(given.get("folder"))
        self.connection = _read_connection(given.get("connection"))


def _read_kernel(given: dict[str, Any]) -> str:
    found = given.get("kernel")
    if not isinstance(found, str) or not _KERNEL.fullmatch(found):
        raise RefusedError(400, "`kernel` is no id of a kernel")
    return found


def _is_text(value: Any, length: int) -> bool:
    if not isinstance(value, str) or len(value) > length or "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_variables(given: Any) -> dict[str, str]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise RefusedError(400, "`env` is no object")
    for name, value in given.items():
        if not _NAME.fullmatch(name):
            raise RefusedError(400, "`env` has a name that is no KERNEL_ and letters, digits or underscores")
        if not _is_text(value, _LINE):
            raise RefusedError(400, "`env` has a value that is no text")
    return dict(given)


def _read_folder(given: Any) -> str:
    """A folder of the pipeline; one that lies outside of it is the pipeline itself."""
    if given is None:
        return _PIPELINE
    if not _is_text(given, _TEXT):
        raise RefusedError(400, "`folder` is no text")
    found = os.path.normpath(given)
    return found if found.startswith(_PIPELINE + "/") else _PIPELINE


def _read_connection(given: Any) -> dict[str, str]:
    if not isinstance(given, dict):
        raise RefusedError(400, "`connection` is no object")
    found = {name: given[name] for name in _KEYS if given.get(name) is not None}
    if not all(_is_text(value, _TEXT) for value in found.values()) or "key" not in found:
        raise RefusedError(400, "`connection` has no key, or something that is no text")
    return found


def _read_signal(given: Any) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or not 0 < given < 65:
        raise RefusedError(400, "`signal` is no number of a signal")
    return given


class Kernel:
    """The container of one kernel, which one connection has; its calls come from that connection's thread."""

    def __init__(self, engine: Engine, policy: Policy, kernel: str, connection: socket.socket) -> None:
        self.kernel = kernel
        self.connection = connection
        self.ended = threading.Event()
        """Set while no run goes on."""
        self.ended.set()
        self.gone = threading.Event()
        """Set once the container is removed."""
        self.run = 0
        self._engine = engine
        self._policy = policy
        self._name = policy.prefix + kernel
        self._container: str | None = None
        self._was_asked_for = False  # a container may be there, even if the engine's answer did not come
        self._was_killed = False
        self._asked = 0.0

    def start(self, request: StartRequest) -> dict[str, Any]:
        """Start the kernel: in the container that it has, with all that was written there, else in a new one."""
        if not self.ended.is_set():
            raise RefusedError(409, "the kernel runs")
        if not (self._container is not None and self._start_again(request)):
            self._make(request)
        info = self._engine.inspect(self._here) or {}
        self.ended.clear()
        self._was_killed = False
        self.run += 1
        # The address of one that has ended may be another container's soon.
        return {"ip": _address(info) if _runs(info) else "", "ports": PORTS, "run": self.run}

    @property
    def _here(self) -> str:
        if self._container is None:
            raise RefusedError(409, "the kernel has no container")
        return self._container

    def _start_again(self, request: StartRequest) -> bool:
        try:
            self._put_and_start(self._here, request)
        except EngineError:
            if not self._was_removed():
                raise
            self._container = None
            return False
        return True

    def _was_removed(self) -> bool:
        """Whether somebody else removes the container; then it is gone, and its name free."""
        for pause in _PAUSES:
            info = self._engine.inspect(self._here)
            if info is None:
                return True
            if _part(info, "State").get("Status") not in ("removing", "dead"):
                break
            time.sleep(pause)
        return False

    def _make(self, request: StartRequest) -> None:
        self._was_asked_for = True
        try:
            self._container = self._create(self._policy.to_body(request))
            self._put_and_start(self._container, request)
        except BaseException:
            self.remove()
            raise

    def _put_and_start(self, container: str, request: StartRequest) -> None:
        self._engine.put(container, self._policy.to_archive(request))
        self._asked = time.time()
        self._engine.start(container)

    def _create(self, body: dict[str, Any]) -> str:
        for pause in _PAUSES:
            try:
                return self._engine.create(self._name, body)
            except EngineError as error:
                is_taken = error.status == 409 or (error.status == 500 and any(text in str(error) for text in _TAKEN))
                if not is_taken:
                    raise
            if self._engine.inspect(self._name) is None:  # the name of one that is being removed is free a moment later
                time.sleep(pause)
                continue
            # Left of an earlier connection of this kernel, or somebody else's.
            if self._find() is None or not self.remove():
                break
            self._was_asked_for = True
        raise RefusedError(409, "another container has the name %s" % self._name)

    def _find(self) -> str | None:
        """The id of the container that has this kernel's name, if it is of this kernel and of this broker."""
        info = self._engine.inspect(self._name)
        if info is None or not is_own(_part(info, "Config", "Labels"), self._policy, self.kernel):
            return None
        return _read_id(info)

    def signal(self, number: int) -> None:
        """Send a signal to the kernel; where no run goes on, nothing happens."""
        if self._container is not None and not self.ended.is_set():
            self._was_killed = self._was_killed or number == signal.SIGKILL
            self._engine.kill(self._container, number)

    def watch(self) -> dict[str, Any]:
        """Wait for the end of the run, and tell how it was."""
        run, container, asked = self.run, self._here, self._asked
        code = self._wait(container)
        told: dict[str, Any] = {"run": run, "exit_code": code, "oom": False, "log": "the engine tells nothing of it"}
        info = self._look(container)
        if info is not None:
            told["oom"] = self._was_out_of_memory(container, info, code)
            told["log"] = self._engine.log(container, _since(asked, info))
        self.ended.set()
        return {"ended": told}

    def _wait(self, container: str) -> int:
        """The exit code; while the engine is away, which its containers may outlive, nobody knows it."""
        for pause in _pauses():
            try:
                return self._engine.wait(container)
            except EngineError as error:
                if error.status == 404:
                    break
            if self.gone.wait(pause):
                break
        return 128 + signal.SIGKILL

    def _look(self, container: str) -> dict[str, Any] | None:
        try:
            return self._engine.inspect(container)
        except EngineError:
            return None

    def _was_out_of_memory(self, container: str, info: dict[str, Any] | None, code: int) -> bool:
        # An engine also says so where a process was killed that the kernel had started, and the kernel went on.
        if code != 128 + signal.SIGKILL or self._was_killed:
            return False
        # An engine may hear of it a little later than of the end.
        has_limit = bool(_part(info, "HostConfig").get("Memory"))
        for attempt in range(_OOM_TRIES):
            if info is None or _part(info, "State").get("OOMKilled"):
                return info is not None
            if not has_limit or self.gone.wait(0.05 * attempt):
                break
            info = self._look(container)
        return False

    def leave(self) -> None:
        """Remove the container; the engine is asked until it is gone."""
        for pause in _pauses():
            if self.remove():
                break
            time.sleep(pause)
        self.gone.set()

    def remove(self) -> bool:
        """Remove the container, if there is one; whether there is none now. One of somebody else stays."""
        if not self._was_asked_for:
            return True
        try:
            found = self._container or self._find()
        except EngineError:
            return False
        if found is not None and not self._engine.remove(found):
            return False
        self._container, self._was_asked_for = None, False
        return True


def _pauses() -> Any:
    """Seconds between tries, without an end."""
    yield from _PAUSES
    while True:
        yield _PAUSES[-1]


def _is_ended(connection: socket.socket) -> bool:
    """Whether a connection has ended, even if not all that was said has been read."""
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    return bool(poll.poll(0))


def is_own(labels: dict[str, Any], policy: Policy, kernel: str | None = None) -> bool:
    """Whether a container with these labels is of this gateway's kernels, or of this one."""
    wanted = {"part": "kernel", "gateway-start": policy.gateway_start}
    if kernel is not None:
        wanted["kernel-id"] = kernel
    return all(labels.get(_LABELS + name) == value for name, value in wanted.items())


class Broker:
    """The kernels of all connections, and the hold."""

    def __init__(self, policy: Policy, engine: Engine) -> None:
        self.policy = policy
        self.engine = engine
        self.ending = threading.Event()
        self.held = threading.Event()
        self.exit_code = 0
        self._lock = threading.Condition()
        self._kernels: dict[str, Kernel] = {}
        self._connections: dict[threading.Thread, socket.socket] = {}

    def take(self, kernel: str, connection: socket.socket) -> Kernel:
        """The one kernel of a connection, counted until its container is gone.

        It waits for the end of those whose other side has ended them: of an earlier connection of this kernel, and of
        any where there is room for no more.

        Raises:
            RefusedError: there are too many, another connection has it, or the gateway is not there.
        """
        deadline = time.monotonic() + _TURN_SECONDS
        with self._lock:
            while True:
                if self.ending.is_set() or not self.held.is_set():
                    raise RefusedError(409, "no gateway holds the broker")
                known = self._kernels.get(kernel)
                if known is None and len(self._kernels) < self.policy.max_kernels:
                    self._kernels[kernel] = taken = Kernel(self.engine, self.policy, kernel, connection)
                    return taken
                others = list(self._kernels.values()) if known is None else [known]
                is_one_leaving = any(_is_ended(item.connection) for item in others)
                if not is_one_leaving or not self._lock.wait(max(0.0, deadline - time.monotonic())):
                    break
        if known is not None:
            raise RefusedError(409, "another connection has this kernel")
        seen = "max_kernels is %d, and so many kernels run: shut one down" % self.policy.max_kernels
        raise RefusedError(429, seen)

    def give_back(self, kernel: Kernel) -> None:
        """Remove a kernel's container, and count it no more."""
        with contextlib.suppress(OSError):  # the other side has ended it, or it said what is no line
            kernel.connection.shutdown(socket.SHUT_RD)
        kernel.leave()
        with self._lock:
            del self._kernels[kernel.kernel]
            self._lock.notify_all()

    def hold(self) -> None:
        """The gateway is there.

        Raises:
            RefusedError: it is already.
        """
        with self._lock:
            if self.held.is_set() or self.ending.is_set():
                raise RefusedError(409, "the broker is held already")
            self.held.set()

    def end(self, code: int = 0) -> None:
        """End, with all kernels; the exit code is that of the first call."""
        with self._lock:
            if not self.ending.is_set():
                self.exit_code = code
                self.ending.set()
                self._lock.notify_all()

    def serve(self, listener: socket.socket) -> None:
        """Take connections, each in a thread of its own, until the broker ends."""
        while not self.ending.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                if self.ending.is_set():
                    break
                time.sleep(_PAUSES[0])  # out of file descriptors
                continue
            with self._lock:
                if self.ending.is_set() or len(self._connections) >= _CONNECTIONS or not self._begin(connection):
                    connection.close()

    def _begin(self, connection: socket.socket) -> bool:
        thread = threading.Thread(target=self._serve_one, args=(connection,), daemon=True)
        self._connections[thread] = connection
        try:
            thread.start()
        except RuntimeError:  # there is no room for more of them
            del self._connections[thread]
            return False
        return True

    def _serve_one(self, connection: socket.socket) -> None:
        try:
            Conversation(self, connection).run()
        finally:
            with self._lock:
                del self._connections[threading.current_thread()]
                connection.close()

    def close(self, seconds: float) -> None:
        """End all connections, and wait until their kernels are gone."""
        with self._lock:
            threads = list(self._connections)
            for connection in self._connections.values():
                with contextlib.suppress(OSError):  # the other side has ended it
                    connection.shutdown(socket.SHUT_RDWR)
        deadline = time.monotonic() + seconds
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def sweep(self) -> int:
        """Remove all containers of this gateway's kernels; how many are left."""
        left = 0
        for item in self.engine.kernels(self.policy.gateway_start):
            if is_own(_part(item, "Labels"), self.policy) and not self.engine.remove(_read_id(item)):
                left += 1
        return left


class Conversation:
    """What is said on one connection."""

    def __init__(self, broker: Broker, connection: socket.socket) -> None:
        self._broker = broker
        self._connection = connection
        self._kernel: Kernel | None = None
        self._holds = False
        self._lock = threading.Lock()

    def run(self) -> None:
        """Answer each line, until the other side ends or says what is no line."""
        try:
            with self._connection.makefile("rb") as lines:
                while self._answer(lines.readline(_LINE + 1)):
                    pass
        except (OSError, ValueError):
            pass  # the other side went away in the middle of a word
        finally:
            self._end()

    def _end(self) -> None:
        if self._holds:
            self._broker.end()
        if self._kernel is not None:
            self._broker.give_back(self._kernel)

    def _answer(self, line: bytes) -> bool:
        if not line.endswith(b"\n"):
            if len(line) > _LINE:
                self._say({"error": "a line is longer than %d bytes" % _LINE, "status": 400})
            return False
        try:
            request = json.loads(line, parse_constant=_refuse_constant)
        except (RecursionError, ValueError):
            request = None
        if not isinstance(request, dict):
            self._say({"error": "a line is no JSON object", "status": 400})
            return False
        run = None
        try:
            answer = self._do(request)
            run = answer.get("run")
        except RefusedError as error:
            answer = {"error": str(error), "status": error.status}
        except EngineError as error:
            status = error.status if error.status in (400, 404, 409) else 500
            answer = {"error": "the engine refused: %s" % error if error.status else str(error), "status": status}
        self._say(answer)
        if run is not None and self._kernel is not None:
            threading.Thread(target=self._tell_end, args=(self._kernel,), daemon=True).start()
        return True

    def _do(self, request: dict[str, Any]) -> dict[str, Any]:
        do = request.get("do")
        if do == "hold" and self._kernel is None and not self._holds:
            self._broker.hold()
            self._holds = True
            return {}
        if do == "start" and not self._holds:
            checked = StartRequest(request, self._broker.policy)
            return self._take(checked.kernel).start(checked)
        if do == "signal" and not self._holds:
            number = _read_signal(request.get("signal"))
            if self._kernel is not None:
                self._kernel.signal(number)
            return {}
        raise RefusedError(400, "`do` is nothing that is done on this connection")

    def _take(self, kernel: str) -> Kernel:
        if self._kernel is None:
            self._kernel = self._broker.take(kernel, self._connection)
        if self._kernel.kernel != kernel:
            raise RefusedError(400, "this is another kernel's connection")
        return self._kernel

    def _tell_end(self, kernel: Kernel) -> None:
        told = kernel.watch()
        with contextlib.suppress(OSError):  # the connection ended first, and the container with it
            self._say(told)

    def _say(self, answer: dict[str, Any]) -> None:
        with self._lock:
            self._connection.sendall(json.dumps(answer).encode() + b"\n")


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(word)


def _fail(code: int, message: str) -> int:
    print("jupyter-launcher: %s" % message, file=sys.stderr, flush=True)
    return code


def _listen(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    if os.path.lexists(path):  # of an earlier broker that was killed
        os.unlink(path)
    mask = os.umask(0o111)  # the gateway is another user
    try:
        listener.bind(path)
    finally:
        os.umask(mask)
    listener.listen(_CONNECTIONS)
    return listener


def main() -> int:
    """Run as a program."""
    policy = Policy.take(os.environ)
    broker = Broker(policy, Engine(policy.engine))
    # A handler would run in the middle of what the main thread does, and wait for a lock that this holds.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    threading.Thread(target=_end_at_signal, args=(broker,), daemon=True).start()
    try:
        left = broker.sweep()
    except EngineError as error:
        return _fail(UNREACHABLE, "the broker cannot use the engine's socket: %s" % error)
    if left:
        return _fail(LEFT, "the engine refuses to remove %d kernels of before" % left)
    listener = _listen(policy.socket)
    threading.Thread(target=broker.serve, args=(listener,), daemon=True).start()
    broker.ending.wait(_HOLD_SECONDS)
    if not broker.held.is_set():
        broker.end(UNHELD)
    broker.ending.wait()
    return _end(broker, listener)


def _end_at_signal(broker: Broker) -> None:
    signal.sigwait(_SIGNALS)
    broker.end()


def _end(broker: Broker, listener: socket.socket) -> int:
    listener.close()
    deadline = time.monotonic() + _END_SECONDS
    broker.close(_END_SECONDS)
    message = ""
    for pause in _pauses():
        try:
            left = broker.sweep()
            message = "the engine refuses to remove %d kernels" % left if left else ""
        except EngineError as error:
            message = str(error)
        if not message or time.monotonic() > deadline:
            break
        time.sleep(pause)
    if message:
        return _fail(LEFT, message)
    return _fail(UNHELD, "no gateway came within %g s" % _HOLD_SECONDS) if broker.exit_code == UNHELD else 0


if __name__ == "__main__":
    # Threads that wait for the engine end with the process.
    os._exit(main())
