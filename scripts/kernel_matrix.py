"""Run the tests of kernels in containers on engines, and print a table of what passed, for docs/engines.md.

kernel_matrix.py [ENGINE...]      machine, unless named: the machine's own; remote: that one over a network, with its
                                  socket as ``engine_socket``; others are of engines.py

More arguments for pytest are in PYTEST_ARGS. The images of tests/kernels/images are on the machine's engine.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import other_engine
from engine_matrix import TELL, Row, arguments, read_report, table
from engines import ENGINES

__all__ = ["main", "relayed"]

IMAGES = ("python-3.11", "no-kernel", "no-python", "entrypoint")
ENGINE_SOCKET = "/var/run/docker.sock"
OWN = ("machine", "remote")


@contextlib.contextmanager
def relayed(engine: str) -> Iterator[str]:
    """An engine's socket as a port of this machine, for processes of this machine alone; gives its address.

    Not of the loopback, so that a launcher takes the engine for one of another host.
    """
    address = own_address()
    with contextlib.ExitStack() as opened:
        server = opened.enter_context(socket.create_server((address, 0)))
        opened.callback(server.shutdown, socket.SHUT_RDWR)

        def accept() -> None:
            while True:
                try:
                    client, (peer, _) = server.accept()
                except OSError:
                    return
                if peer != address:  # a container, for which the engine's socket is not
                    client.close()
                    continue
                there = socket.socket(socket.AF_UNIX)
                there.connect(engine)
                for pair in ((client, there), (there, client)):
                    threading.Thread(target=copy, args=pair, daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"tcp://{address}:{server.getsockname()[1]}"


def copy(source: socket.socket, target: socket.socket) -> None:
    """Hand on what comes, until it ends."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def own_address() -> str:
    """An address of this machine that is not the loopback; nothing is sent for it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_way:
        any_way.connect(("192.0.2.1", 9))
        return str(any_way.getsockname()[0])


def on(engine: str, folder: Path) -> Row:
    """The tests on one engine: a row of the table."""
    report, version = folder / f"{engine}.xml", folder / f"{engine}.version"
    pytest = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
    pytest += [f"--junitxml={report}", *arguments(), "tests/kernels"]
    # One start of the engine for both: what it is, then what passes.
    script = 'version=$1 tell=$2; shift 2; "$1" -c "$tell" >"$version" && exec "$@"'
    line = ["sh", "-c", script, "sh", str(version), TELL, *pytest]
    if engine == "machine":
        code = run(line, {})
    elif engine == "remote":
        with relayed(ENGINE_SOCKET) as address:
            code = run(line, {"DOCKER_HOST": address, "ENGINE_SOCKET": ENGINE_SOCKET})
    else:
        os.environ[other_engine.MORE_IMAGES] = " ".join(f"jupyter-launcher/test-kernel:{name}" for name in IMAGES)
        code = other_engine.run(engine, line)
    if not report.exists():
        return Row(name=engine, failed=(f"no report: exit code {code}",))
    return read_report(engine, report.read_text(), version.read_text())


def run(line: list[str], more: Mapping[str, str]) -> int:
    """Run a command with more environment; gives its exit code."""
    return subprocess.run(line, check=False, env={**os.environ, **more}).returncode


def main(engines: list[str]) -> int:
    """All engines that were named; 0 when no test failed on any."""
    unknown = set(engines) - {*OWN, *ENGINES}
    if unknown:
        sys.exit(f"no such engine: {' '.join(sorted(unknown))}; there are {' '.join((*OWN, *ENGINES))}")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o1777)  # the user of a rootless engine writes there too
        rows = [on(engine, Path(folder)) for engine in engines or OWN[:1]]
    print(table(rows))
    return int(any(row.failed for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
