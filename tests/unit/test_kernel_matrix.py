"""The engines that `make test-kernels` knows, and the way to one over a network."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import kernel_matrix
import pytest
from other_engine import MORE_IMAGES

from tests.kernels.images.__main__ import FOLDER, IMAGES, tag_of


def test_an_engine_that_nobody_knows_is_refused() -> None:
    with pytest.raises(SystemExit, match="no such engine: docker-99"):
        kernel_matrix.main(["docker-99"])


def test_each_image_is_built_and_loaded() -> None:
    assert set(IMAGES) == {path.parent.name for path in FOLDER.glob("*/Dockerfile")} == set(kernel_matrix.IMAGES)
    assert tag_of(IMAGES[0]) == f"jupyter-launcher/test-kernel:{kernel_matrix.IMAGES[0]}"
    assert MORE_IMAGES == "MORE_IMAGES"


def test_an_engines_socket_is_relayed_to_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_matrix, "own_address", lambda: "127.0.0.1")
    path = tmp_path / "engine.sock"
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(path))
        engine.listen()

        def answer() -> None:
            there, _ = engine.accept()
            with there:
                there.sendall(there.recv(100)[::-1])

        thread = threading.Thread(target=answer)
        thread.start()
        with kernel_matrix.relayed(str(path)) as address:
            port = int(address.removeprefix("tcp://127.0.0.1:"))
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                client.sendall(b"abc")
                client.shutdown(socket.SHUT_WR)
                assert client.recv(100) == b"cba"
                assert client.recv(100) == b""
        thread.join(10)
        with pytest.raises(OSError):  # noqa: PT011 - refused, or reset where the kernel had it queued
            socket.create_connection(("127.0.0.1", port), timeout=10)


def test_a_container_does_not_reach_the_relayed_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes from another address than this machine's own."""
    monkeypatch.setattr(kernel_matrix, "own_address", lambda: "127.0.0.1")
    with kernel_matrix.relayed(str(tmp_path / "never")) as address:
        port = int(address.rpartition(":")[2])
        with socket.socket() as client:
            client.bind(("127.0.0.2", 0))
            client.settimeout(10)
            client.connect(("127.0.0.1", port))
            assert client.recv(1) == b""
