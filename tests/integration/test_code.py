"""Code in kernels of real sessions: beside the server, and on a gateway."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from jupyter_launcher import (
    DEFAULT_GATEWAY_IMAGE,
    CodeError,
    ExecuteTimeoutError,
    KernelDiedError,
    Launcher,
    Output,
    RunningGateway,
    ServerNotRunningError,
    Session,
    SessionNotFoundError,
)
from jupyter_launcher.cli.commands import cli
from jupyter_launcher.work.kernels import Kernel
from tests.acceptor import Acceptor
from tests.containers import owned

LINES = 1500
COUNT = f"import time\nfor line in range({LINES}):\n    print(line, flush=True)\n    time.sleep(0.001)"
EATS = "rows = []\nwhile True:\n    rows.append(b'x' * 10**7)"


@dataclasses.dataclass
class Place:
    """A session that all tests here share, and the directory that its kernels see.

    ``in_steps`` is where the kernel of a notebook in the folder ``steps`` works.
    """

    namespace: str
    session: Session
    folder: Path
    in_steps: str = "/pipeline-dir/steps"


@contextlib.contextmanager
def shared(launcher: Launcher, name: str, folder: Path, **options: object) -> Iterator[Place]:
    """A session in a namespace of its own, since it stays from test to test."""
    with (
        Launcher(namespace=f"{launcher.namespace}-{name}", owner=launcher.owner) as own,
        own.start(folder, **options) as session,  # type: ignore[arg-type]
    ):
        yield Place(own.namespace, session, folder)


@pytest.fixture(scope="module")
def beside(launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with shared(launcher, "code", owned(tmp_path_factory.mktemp("code"))) as place:
        yield place


@pytest.fixture(scope="module")
def on_gateway(
    launcher: Launcher,
    jupyter_gateway: RunningGateway,
    jupyter_gateway_dir: Path,
    client: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Place]:
    with shared(launcher, "code-gw", jupyter_gateway_dir, gateway=jupyter_gateway) as place:
        tags = client.containers.get(jupyter_gateway.name).image.tags
        if not any(tag.endswith(DEFAULT_GATEWAY_IMAGE) for tag in tags):  # Podman's have a registry
            place.in_steps = "/pipeline-dir"  # one of others starts all kernels there
        yield place
    for item in jupyter_gateway_dir.iterdir():  # other modules use it too
        shutil.move(item, tmp_path_factory.mktemp("left"))


@pytest.fixture(params=["beside", pytest.param("on_gateway", marks=pytest.mark.gateway)])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def session(place: Place) -> Session:
    return place.session


class Cutter:
    """A proxy on loopback before a server, which ends its connections in the middle when it is told."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: list[socket.socket] = []
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        self._acceptor = Acceptor(listener, self._relay)

    def cut(self) -> None:
        """Reset all that is connected: what is on its way is lost."""
        for end in self._open:
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def close(self) -> None:
        """Take no connection any more."""
        self._acceptor.close()
        self.cut()

    def _relay(self, here: socket.socket) -> None:
        there = socket.create_connection(("127.0.0.1", self._port))
        self._open += [here, there]
        for ends in ((here, there), (there, here)):
            threading.Thread(target=self._copy, args=ends, daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError), source, target:
            while data := source.recv(2**16):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


def test_variables_stay_and_outputs_come_while_the_code_runs(place: Place) -> None:
    def answer(output: Output) -> None:
        if output.get("text") == "ready\n":
            owned_file = place.folder / "go"
            owned_file.write_text("")

    place.session.execute("import os, sys, time\nx = 41")
    result = place.session.execute(
        "print('ready', flush=True)\nwhile not os.path.exists('go'): time.sleep(0.01)\n"
        "print('warned', file=sys.stderr)\ndisplay('shown')\nx + 1",
        timeout=60,
        on_output=answer,
    )
    assert (result.text, result.truncated) == ("ready\n'shown'\n42", False)
    assert [item["output_type"] for item in result.outputs] == ["stream", "stream", "display_data", "execute_result"]
    assert place.session.execute("os.getcwd()").text == "'/pipeline-dir'"


def test_what_the_code_raises_and_asks_is_told(session: Session) -> None:
    session.execute("y = 5")
    with pytest.raises(CodeError) as caught:
        session.execute("def f(): return y / 0\nf()")
    assert caught.value.ename == "ZeroDivisionError"
    assert "return y / 0" in caught.value.traceback
    assert "\x1b" not in caught.value.traceback
    with pytest.raises(CodeError, match="asked for an input"):
        session.execute("input('?')")
    assert session.execute("1/0", check=False).status == "error"
    assert session.execute("y").text == "5"


def test_at_its_time_code_is_interrupted_and_the_kernel_goes_on(session: Session) -> None:
    session.execute("z = 6")
    for _ in range(2):
        with pytest.raises(ExecuteTimeoutError) as caught:
            session.execute("import time\nprint('so far', flush=True)\ntime.sleep(600)", timeout=1)
        assert caught.value.result is not None
        assert caught.value.result.text == "so far\n"
        assert session.execute("z").text == "6"


def test_a_kernel_that_dies_is_told_and_followed_by_another(session: Session) -> None:
    # By itself beside the server, killed on a gateway: a server sees no difference.
    code = "os._exit(3)" if session.gateway is None else "os.kill(os.getpid(), 9)"
    session.execute("gone = 1")
    with pytest.raises(KernelDiedError) as caught:
        session.execute(f"print('so far', flush=True)\nimport os, time; time.sleep(0.3)\n{code}")
    assert caught.value.for_memory is False
    assert caught.value.result is not None
    assert session.execute("'gone' in globals()", timeout=60).text == "False"


def test_forty_megabytes_arrive(session: Session) -> None:
    printed = session.execute("for number in range(40): print(str(number % 10) * 999_999)\n'x' * 12_000_000")
    assert (len(printed.text), printed.truncated) == (52_000_002, False)
    assert printed.text[:40_000_000:1_000_000] == "0123456789" * 4


def test_a_connection_that_is_cut_loses_nothing(session: Session) -> None:
    here = session._place()
    cutter = Cutter(int(here.url.split(":")[2].split("/")[0]))
    cuts = [0]

    def cut(_: Output) -> None:
        cuts[0] += 1
        if cuts[0] % 100 == 50:
            cutter.cut()

    through = dataclasses.replace(here, url=f"http://127.0.0.1:{cutter.port}/")
    with Kernel(through, name=None, path=None, kernel_id=None) as kernel:
        result = kernel.execute(COUNT, timeout=120, on_output=cut)
    cutter.close()
    assert result.text.split() == [str(line) for line in range(LINES)]
    assert result.truncated is False
    assert cuts[0] >= 100


def test_no_cell_gets_the_result_of_another(session: Session) -> None:
    found: list[tuple[int, str]] = []
    session.execute("v = 1")
    kept = session.kernels()[0].id
    with session.kernel(id=kept) as first, session.kernel(id=kept) as second:
        calls = (session.execute, first.execute, second.execute)

        def work(number: int) -> None:
            call: Callable[..., object] = calls[number % 3]
            found.append((number, getattr(call(f"print({number})\n{number} * 2"), "text")))  # noqa: B009

        threads = [threading.Thread(target=work, args=(number,)) for number in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert first.execute("v").text == "1"
        first.restart()
        assert session.execute("'v' in globals()").text == "False"
    assert sorted(found) == [(number, f"{number}\n{number * 2}") for number in range(24)]
    assert [item.id for item in session.kernels()] == [kept]
    session.close_kernel()
    assert session.kernels() == ()


def test_a_notebooks_kernel_is_shown_by_jupyterlab_until_it_is_left(place: Place) -> None:
    owned(place.folder).joinpath("steps").mkdir(exist_ok=True)
    owned(place.folder / "steps")
    with place.session.kernel(path="steps/a.ipynb") as kernel:
        (shown,) = place.session.request("GET", "api/sessions").json()
        assert (shown["path"], shown["kernel"]["id"]) == ("steps/a.ipynb", kernel.id)
        assert kernel.execute("import os; os.getcwd()").text == repr(place.in_steps)
    assert place.session.request("GET", "api/sessions").json() == []


def test_an_interrupt_ends_the_code_and_a_fork_has_a_connection_of_its_own(beside: Place) -> None:
    session = beside.session
    session.execute("import time\nw = 7")

    def interrupt(_: Output) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        session.execute("print('now', flush=True)\ntime.sleep(600)", on_output=interrupt)
    assert session.execute("w", timeout=60).text == "7"
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            os._exit(0 if session.execute("w + 1", timeout=60).text == "8" else 1)
        os._exit(2)
    assert {session.execute(str(number)).text for number in range(20)} == {str(number) for number in range(20)}
    assert os.waitpid(child, 0)[1] == 0


def test_the_command_executes_a_file(beside: Place, tmp_path: Path) -> None:
    def execute(code: str, *more: str) -> tuple[int, str, str]:
        path = tmp_path / "code.py"
        path.write_text(code)
        given = ["--namespace", beside.namespace, "execute", beside.session.id, str(path), *more]
        found = CliRunner().invoke(cli, given)
        return found.exit_code, found.stdout, found.stderr

    assert execute("import sys\nprint('out')\nprint('err', file=sys.stderr)\n6 * 7") == (0, "out\n42\n", "err\n")
    with beside.session.kernel() as kernel:
        running = ("--kernel", kernel.id)
        code, out, err = execute("u = 1/0", *running)
        assert (code, out) == (9, "")
        assert "ZeroDivisionError: division by zero" in err
        code, out, _ = execute("'x'", *running, "--format", "json")
        assert (code, json.loads(out)["text"]) == (0, "'x'")
        assert execute("import time; time.sleep(600)", *running, "--timeout", "1")[0] == 9
        assert kernel.execute("1 + 1").text == "2"


@pytest.mark.usefixtures("needs_limits")
def test_a_kernel_without_memory_and_a_limit_of_the_users_are_told(start: Callable[..., Session]) -> None:
    limit = "--ServerApp.iopub_data_rate_limit=100000"
    session = start(memory="400m", lab_args=(limit,))
    cut = session.execute("for number in range(40): print('x' * 99_999)")
    assert cut.truncated
    assert len(cut.text) < 4_000_000
    with pytest.raises(KernelDiedError) as caught:
        session.execute(EATS)
    assert caught.value.for_memory is True
    assert session.execute("1 + 1", timeout=60).text == "2"
    threading.Timer(1, session.stop).start()
    # Its container has ended, or is removed by now.
    with pytest.raises((ServerNotRunningError, SessionNotFoundError), match=r"has ended|is gone"):
        session.execute("import time; time.sleep(600)")
