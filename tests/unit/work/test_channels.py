"""The websocket of a kernel, below its messages."""

from __future__ import annotations

import fcntl
import resource
import socket
from collections.abc import Iterator

import pytest

from jupyter_launcher.server import api
from jupyter_launcher.work.channels import Channels


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def many_files() -> Iterator[None]:
    """More than 1024 files may be open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft if soft > 1100 or soft < 0 else 1100, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
def test_a_process_with_many_open_files_can_look_too(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    with socket.socket(fileno=fcntl.fcntl(ours, fcntl.F_DUPFD, 1024)) as far:  # more than `select` takes
        channels = Channels(api.Channel(far, {}), 0)
        assert not channels.pending()
        theirs.sendall(b"x")
        assert channels.pending()


def test_what_tls_has_read_already_has_come(pair: tuple[socket.socket, socket.socket]) -> None:
    class Secure(socket.socket):
        def pending(self) -> int:
            return 7

    with Secure(fileno=pair[0].detach()) as secure:
        assert Channels(api.Channel(secure, {}), 0).pending()
