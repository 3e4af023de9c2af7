"""A command whose input and output stay open, over an engine that is a few lines of HTTP here."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from docker import APIClient
from docker.tls import TLSConfig

from jupyter_launcher import EngineError, EngineUnavailableError
from jupyter_launcher.acts import Cancel, run_act
from jupyter_launcher.engine.attach import exchange
from jupyter_launcher.engine.attach.exchange import ExecExchange, attach
from jupyter_launcher.waiting import Deadline
from tests.acceptor import Acceptor
from tests.unit.sdk import framed

UPGRADED = b"HTTP/1.1 101 UPGRADED\r\nContent-Type: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
Talk = Callable[[socket.socket], object]


class Engine:
    """An engine with one container. ``talk`` gets the connection after the head of the answer."""

    def __init__(
        self,
        talk: Talk,
        *,
        head: bytes = UPGRADED,
        created: tuple[int, Any] = (201, {"Id": "e1"}),
        certificate: Path | None = None,
    ) -> None:
        self.talk = talk
        self.head = head
        self.created = created
        self.running = False
        self.requests: list[tuple[str, dict[str, Any]]] = []
        listener = socket.create_server(("127.0.0.1", 0))
        place, tls = f"127.0.0.1:{listener.getsockname()[1]}", None
        self.context: ssl.SSLContext | None = None
        if certificate is not None:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(certificate, certificate.with_suffix(".key"))
            tls = TLSConfig(ca_cert=str(certificate), verify=True)
        scheme = "http" if tls is None else "https"
        self.api = APIClient(base_url=f"{scheme}://{place}", version="1.41", timeout=5, tls=tls or False)
        self.api.trust_env = False
        self._acceptor = Acceptor(listener, self._serve)

    def close(self) -> None:
        self._acceptor.close()
        self.api.close()

    def _serve(self, connection: socket.socket) -> None:
        threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        if self.context is not None:
            connection = self.context.wrap_socket(connection, server_side=True)
        with connection, connection.makefile("rb") as reader:
            while line := reader.readline():
                headers = {}
                while (header := reader.readline().strip()) != b"":
                    name, _, value = header.decode().partition(": ")
                    headers[name.lower()] = value
                body = json.loads(reader.read(int(headers.get("content-length", 0))) or b"{}")
                path = line.decode().split()[1]
                self.requests.append((path.rpartition("/")[2], body | {"upgrade": headers.get("upgrade")}))
                if path.endswith("/start"):
                    connection.sendall(self.head)
                    self.talk(connection)
                    return
                status, answer = self.created
                if path.endswith("/json"):
                    status, answer = 200, {"Running": self.running, "ExitCode": None if self.running else 0}
                text = json.dumps(answer).encode()
                connection.sendall(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(text), text))

    def attach(self, user: str | None = None) -> contextlib.AbstractContextManager[ExecExchange]:
        return attach(self.api, "tcp://engine", "c" * 64, ("sh", "-c", "x" * 300), user)


@contextlib.contextmanager
def engine(talk: Talk = lambda _: None, **more: Any) -> Iterator[Engine]:
    made = Engine(talk, **more)
    try:
        yield made
    finally:
        made.close()


def read_all(found: ExecExchange) -> list[tuple[int, bytes]]:
    return list(iter(lambda: found.read(Deadline(5)), None))


def test_what_comes_with_the_head_of_the_answer_is_not_lost() -> None:
    with engine(head=UPGRADED + framed((1, b"out"), (2, b"err"))) as made, made.attach(user="5:6") as found:
        assert read_all(found) == [(1, b"out"), (2, b"err")]
    (create, given), (start, options) = made.requests
    assert (create, start) == ("exec", "start")
    assert (given["User"], given["AttachStdin"], given["Tty"], given["WorkingDir"]) == ("5:6", True, False, "/")
    assert max(map(len, given["Cmd"])) < 200  # the long word is a variable
    assert options["upgrade"] == "tcp"


@pytest.fixture(params=["plain", "TLS"])
def certificate(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    if request.param == "plain":
        return None
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    path = tmp_path / "engine.pem"
    line = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    line += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(path.with_suffix(".key")), "-out", str(path)]
    subprocess.run(line, check=True, capture_output=True)
    return path


def test_much_is_sent_while_much_is_read(certificate: Path | None) -> None:
    size = 8 * 2**20  # more than the buffers of both directions hold

    def echo(connection: socket.socket) -> None:
        left = size
        while left:
            data = connection.recv(65536)
            left -= len(data)
            connection.sendall(framed((1, data)))

    with engine(echo, certificate=certificate) as made, made.attach() as found:
        found.send(b"x" * size)
        assert sum(len(piece) for _, piece in read_all(found)) == size


def test_a_frame_may_come_in_pieces() -> None:
    going = threading.Event()

    def halve(connection: socket.socket) -> None:
        data = framed((1, b"whole"))
        connection.sendall(data[:5])
        going.wait(5)
        connection.sendall(data[5:])

    with engine(halve) as made, made.attach() as found:
        with pytest.raises(TimeoutError):
            found.read(Deadline(0.05))
        going.set()
        assert read_all(found) == [(1, b"whole")]


def test_a_read_wakes_for_another_descriptor(certificate: Path | None) -> None:
    going = threading.Event()

    def talk(connection: socket.socket) -> None:
        going.wait(5)
        connection.sendall(framed((1, b"out")))

    reader, writer = os.pipe()
    with engine(talk, certificate=certificate) as made, made.attach() as found:
        with pytest.raises(TimeoutError):
            found.read(Deadline(0.05), wake=reader)
        os.write(writer, b"x")
        assert found.read(Deadline(5), wake=reader) == (0, b"")
        assert os.read(reader, 10) == b"x"
        going.set()
        assert found.read(Deadline(5), wake=reader) == (1, b"out")
        os.close(writer)  # its end wakes too
        assert found.read(Deadline(5), wake=reader) in ((0, b""), None)
    os.close(reader)


def test_leaving_the_block_closes_the_input_and_waits_for_the_end(certificate: Path | None) -> None:
    closed = threading.Event()
    with engine(certificate=certificate) as made:
        made.running = True

        def wait_for_end(connection: socket.socket) -> None:
            with contextlib.suppress(OSError):  # what is no end of TLS is one of the connection
                while connection.recv(100):
                    pass
            closed.set()
            made.running = False

        made.talk = wait_for_end
        with contextlib.suppress(ZeroDivisionError), made.attach():
            _ = 1 / 0
        assert closed.is_set()
        assert made.requests[-1][0] == "json"


def test_a_command_that_does_not_end_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(exchange, "_END_SECONDS", 0.0)
    cancel = threading.Event()

    def wait(made: Engine) -> None:
        made.running = True
        with made.attach() as found:
            cancel.set()
            found.read(Deadline(5))

    with engine(lambda connection: connection.recv(100)) as made, pytest.raises(ValueError, match="a command in cont"):
        run_act(lambda: wait(made), cancel=Cancel(cancel, ValueError))
    assert "a command in container cccccccccccc" in caplog.text


def test_a_cancel_ends_a_read_at_once() -> None:
    cancel = threading.Event()

    def wait(made: Engine) -> object:
        with made.attach() as found:
            cancel.set()
            return found.read(Deadline(3600))

    with (
        engine(lambda connection: connection.recv(100)) as made,
        pytest.raises(InterruptedError),
    ):
        run_act(lambda: wait(made), cancel=Cancel(cancel, lambda _: InterruptedError()))


def test_silence_makes_it_ask_whether_the_command_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "_QUIET_SECONDS", 0.01)
    with engine(lambda connection: connection.recv(100)) as made:
        made.running = True
        with made.attach() as found:
            with pytest.raises(TimeoutError):
                found.read(Deadline(0.2))
            made.running = False
            assert found.read(Deadline(5)) is None
            assert found.is_over()


@pytest.mark.parametrize("status", [404, 409, 500])
def test_a_refusal_has_its_status(status: int) -> None:
    with engine(created=(status, {"message": "no"})) as made, pytest.raises(EngineError, match="no") as caught:
        made.attach().__enter__()
    assert caught.value.status == status


def test_a_refusal_to_start_has_its_status() -> None:
    head = b'HTTP/1.1 400 X\r\nContent-Length: 21\r\n\r\n{"message": "no user"}'
    with engine(head=head) as made, pytest.raises(EngineError) as caught:
        made.attach().__enter__()
    assert caught.value.status == 400


def test_a_proxy_that_lets_no_input_pass_is_named() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: x\r\n\r\n"
    with (
        engine(head=head) as made,
        pytest.raises(EngineError, match=r"lets no input pass \(HTTP status 200"),
    ):
        made.attach().__enter__()


def test_a_connection_that_breaks_is_an_error_of_the_engine() -> None:
    def reset(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with (
        engine(reset) as made,
        pytest.raises(EngineUnavailableError, match="Connection reset"),
        made.attach() as found,
    ):
        found.read(Deadline(5))


@pytest.mark.parametrize("unread", [b"", b"makes a reset of the end"])
def test_what_a_command_said_before_it_ended_is_read_though_nothing_can_be_sent_any_more(unread: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, engine() as made:
        ours.settimeout(0)
        ours.sendall(unread)
        theirs.sendall(framed((1, b"why")))
        theirs.close()
        found = ExecExchange(made.api, "unix://engine", "e1", ours, b"")
        found.send(b"more")
        assert read_all(found) == [(1, b"why")]


def test_a_transport_without_a_socket_is_an_error() -> None:
    class Response:
        raw = object()

    with pytest.raises(OSError, match="cannot be written to"):
        exchange._take_over(Response())  # type: ignore[arg-type] # another transport's
