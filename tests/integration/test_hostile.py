"""Whatever takes the server's place in a session, it costs that session alone, in bounded time and memory."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import Launcher, LauncherError, Session, SessionState, StopReport, Timeouts

# What the user of a session can do in any notebook. argv: the kind.
TAKEOVER = r"""
import os, pathlib, signal, socket, sys, threading, time

kind, run = sys.argv[1], pathlib.Path("/run/jupyter-launcher")
server = int((run / "server.pid").read_text())
token = (run / "token").read_text()
(info,) = (run / "jupyter").glob("jpserver-*.json")

def parent(pid):
    try:
        return int(pathlib.Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return -1

def below(pid):
    children = [int(item.name) for item in pathlib.Path("/proc").glob("[0-9]*") if parent(item.name) == pid]
    return children + [item for child in children for item in below(child)]

def end_server():
    # The supervisor waits for the end of this pipe, and for nothing else.
    os.open(run / "alive", os.O_WRONLY)
    shell = parent(server)
    for pid in [shell, *below(shell)]:
        os.kill(pid, signal.SIGKILL)

def done():
    print("done", flush=True)

def stay():
    done()
    while True:
        signal.pause()

def listen(answer):
    end_server()
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    for _ in range(100):  # the server's own socket is there until it has ended
        try:
            listener.bind(("", 8888))
            break
        except OSError:
            time.sleep(0.1)
    listener.listen(64)
    done()
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection, answer)).start()

def serve(connection, answer):
    try:
        answer(connection, connection.recv(65536).decode())
        connection.close()
    except OSError:
        pass

OK = b"HTTP/1.1 200 OK\r\n"

def drip(connection, request):
    connection.sendall(OK + b"X: ")
    while True:
        connection.sendall(b"a")
        time.sleep(0.2)

def endless(connection, request):
    connection.sendall(OK + b"\r\n")
    while True:
        connection.sendall(b" " * 65536)

def deep(connection, request):
    connection.sendall(OK + b"\r\n" + b"[" * 200000)

def silence(connection, request):
    time.sleep(3600)

def yes(connection, request):
    connection.sendall(OK + b"Content-Length: 2\r\n\r\n{}")

def kernels(listing):
    # As the server answers, but for its kernels: they are these, and no DELETE ever ends.
    def answer(connection, request):
        if request.startswith("DELETE"):
            time.sleep(3600)
        if "/api/kernels" in request:
            connection.sendall(OK + b"\r\n" + listing)
        elif token in request and request.startswith("GET"):
            connection.sendall(OK + b"\r\n{}")
        else:
            connection.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n{}")
    return answer

many = ",".join('{"id": "kernel-%d"}' % number for number in range(300))
answers = {
    "a head that drips": drip,
    "an endless body": endless,
    "deep JSON": deep,
    "silence": silence,
    "yes to everything": yes,
    "kernels that are numbers": kernels(b"[1, 2]"),
    "kernels that do not end": kernels(b"[%s]" % many.encode()),
}
if kind in answers:
    listen(answers[kind])
elif kind == "a closed port":
    end_server()
    stay()
elif kind == "a stopped server":
    os.kill(server, signal.SIGSTOP)
elif kind == "server_info is deep":
    info.write_text("[" * 200000)
else:
    info.unlink()
    if kind == "server_info is a FIFO":
        os.mkfifo(info)
    else:
        info.symlink_to("/dev/zero")
done()
"""
KINDS = (
    "a head that drips",
    "an endless body",
    "deep JSON",
    "silence",
    "yes to everything",
    "kernels that are numbers",
    "kernels that do not end",
    "a closed port",
    "a stopped server",
    "server_info is deep",
    "server_info is a FIFO",
    "server_info is endless",
)
# Of each of these, every call is measured by itself; of all with LONG.
ALONE = KINDS if os.environ.get("LONG") else ("kernels that do not end",)
LIMITS = Timeouts(start=10, gateway=2, shutdown=2, terminate=1)
STOP_SECONDS = LIMITS.shutdown + LIMITS.terminate + LIMITS.gateway
SLACK = 5.0
LEASE = 300
MOST_MEMORY = 50 * 2**20


@pytest.fixture
def hasty(launcher: Launcher) -> Iterator[Launcher]:
    """Another orchestrator, which has no handle of the sessions."""
    with Launcher(namespace=launcher.namespace, timeouts=LIMITS) as found:
        yield found


@pytest.fixture
def take_over(client: Any) -> Iterator[Callable[[Session, str], None]]:
    streams: list[Any] = []

    def act(session: Session, kind: str) -> None:
        container = client.containers.get(session.container_id)
        streams.append(container.exec_run(["python3", "-c", TAKEOVER, kind], stream=True).output)
        assert next(streams[-1]).decode() == "done\n"

    yield act
    streams.clear()


def outcome(name: str, call: Callable[[], Any], seconds: float) -> Any:
    """What a call gives in time: a value, or an error of the library."""
    results: list[Any] = []
    failures: list[Exception] = []

    def run() -> None:
        try:
            results.append(call())
        except LauncherError as error:
            results.append(error)
        except Exception as error:  # noqa: BLE001 - raised below
            failures.append(error)

    begun = time.monotonic()
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds + SLACK)
    elapsed = time.monotonic() - begun
    assert not thread.is_alive(), f"{name} has not ended after {elapsed:.1f} s"
    if failures:
        raise failures[0]
    print(f"{name}: {elapsed:.1f} s, {str(results[0])[:200]}")
    return results[0]


@contextmanager
def little_memory(name: str) -> Iterator[None]:
    """This process's memory must not grow, not for a moment either."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _memory("VmRSS")
    yield
    grown = _memory("VmHWM") - before
    assert grown < MOST_MEMORY, f"{name} took {grown / 2**20:.0f} MB"


def _memory(key: str) -> int:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[key].split()[0]) * 2**10


def assert_well(launcher: Launcher, session: Session) -> None:
    assert session.status().state is SessionState.READY
    session.renew()
    assert launcher.get(session.id).container_id == session.container_id


@pytest.mark.parametrize("kind", ALONE)
def test_each_call_on_a_hostile_session_ends(
    launcher: Launcher, hasty: Launcher, pipeline_dir: Path, take_over: Callable[[Session, str], None], kind: str
) -> None:
    def outcome_in_little_memory(name: str, call: Callable[[], Any], seconds: float) -> Any:
        with little_memory(name):
            return outcome(f"{kind}: {name}", call, seconds)

    healthy = launcher.start(pipeline_dir, session_id="healthy", lease=LEASE)
    hostile = launcher.start(pipeline_dir, session_id="hostile", lease=LEASE)
    take_over(hostile, kind)
    found = outcome_in_little_memory("list", hasty.list, 2)
    assert {item.session_id for item in found} == {"healthy", "hostile"}
    assert {item.state for item in found if item.session_id == "healthy"} == {SessionState.READY}
    outcome_in_little_memory("status", hostile.status, 10)
    outcome_in_little_memory("get", lambda: hasty.get("hostile"), 10)
    outcome_in_little_memory("renew", lambda: hasty.renew("hostile"), 10)
    assert isinstance(outcome_in_little_memory("stop", lambda: hasty.stop("hostile"), STOP_SECONDS), StopReport)
    assert hasty.ids() == ["healthy"]
    take_over(launcher.start(pipeline_dir, session_id="hostile"), kind)
    (reaped,) = outcome_in_little_memory("reap", lambda: hasty.reap(keep=["healthy"], min_age=0), STOP_SECONDS + 2)
    assert (reaped.session_id, reaped.error) == ("hostile", "")
    assert hasty.ids() == ["healthy"]
    assert_well(launcher, healthy)
    healthy.stop()


def test_hostile_sessions_of_every_kind_hurt_nobody_else(
    launcher: Launcher, hasty: Launcher, pipeline_dir: Path, take_over: Callable[[Session, str], None]
) -> None:
    names = {f"hostile-{number}": kind for number, kind in enumerate(KINDS)}
    with ThreadPoolExecutor(4) as pool:
        started = pool.map(lambda name: launcher.start(pipeline_dir, session_id=name, lease=LEASE), ["healthy", *names])
        healthy, *hostile = started
    for session in hostile:
        take_over(session, names[session.id])
    with little_memory("all calls"), ThreadPoolExecutor(3 * len(names)) as pool:
        found = outcome("list", hasty.list, 2)
        assert {item.session_id for item in found} == {"healthy", *names}
        assert {item.state for item in found if item.session_id == "healthy"} == {SessionState.READY}

        def submit(session: Session, call: Callable[[], Any], seconds: float) -> Future[Any]:
            return pool.submit(outcome, names[session.id], call, seconds)

        looks = [
            submit(session, call, 10)
            for session in hostile
            for call in (session.status, partial(hasty.get, session.id), partial(hasty.renew, session.id))
        ]
        for look in looks:
            look.result()
        reaped, stopped = hostile[:2], hostile[2:]
        keep = ["healthy", *(session.id for session in stopped)]
        ended = outcome("reap", lambda: hasty.reap(keep=keep, min_age=0), 10 + 2 * STOP_SECONDS)
        assert {(item.session_id, item.error) for item in ended} == {(session.id, "") for session in reaped}
        for stop in [submit(session, partial(hasty.stop, session.id), STOP_SECONDS) for session in stopped]:
            assert isinstance(stop.result(), StopReport)
    assert hasty.ids() == ["healthy"]
    assert_well(launcher, healthy)
    healthy.stop()
