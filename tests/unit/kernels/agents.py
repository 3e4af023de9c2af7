"""A real agent as a process of this machine, and a client of its socket."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jupyter_launcher.spec.server import read_script
from tests.containers import eventually

ARGV = (sys.executable, "-IS", "-c", read_script("kernels/agent.py"))
SECRET = "the agent's own"  # noqa: S105 - made up
CONNECTION = {"key": "secret-key", "signature_scheme": "hmac-sha256", "kernel_name": "one"}


class Peer:
    """A connection to an agent."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect("\0" + address)
        self._lines = self.socket.makefile("rb")

    def send(self, line: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):  # what an agent says before it closes can still be read
            self.socket.sendall(line)

    def next(self) -> dict[str, Any]:
        """The next line; {} at the end of the connection."""
        try:
            line = self._lines.readline()
        except ConnectionResetError:  # it ended before it had read all
            return {}
        return json.loads(line) if line else {}

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        self.send(json.dumps({"do": do, **request}).encode() + b"\n")
        return self.next()

    def start(self, **request: Any) -> dict[str, Any]:
        asked = {"kernel": str(uuid.uuid4()), "name": "one", "env": {}, "folder": None, "connection": CONNECTION}
        asked["secret"] = SECRET
        return self.ask("start", **{**asked, **request})

    def ended(self) -> dict[str, Any]:
        told = self.next()["ended"]
        assert isinstance(told, dict)
        return told

    def close(self) -> None:
        self._lines.close()
        self.socket.close()


class AgentProcess:
    """An agent whose kernels run ``argv``; every peer that it gave is closed at its end."""

    def __init__(self, argv: Sequence[str], folder: Path, log: Path, **policy: Any) -> None:
        self.address = f"jupyter-launcher-agent/{uuid.uuid4().hex}/one"
        self.log = log
        self.folder = folder
        given = {"address": self.address, "name": "one", "argv": list(argv), "folder": str(folder)}
        given.update({"secret": SECRET, **policy})
        with log.open("wb") as opened:
            self.process = subprocess.Popen(
                ARGV,
                env={**os.environ, "JUPYTER_LAUNCHER_AGENT": json.dumps(given)},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=opened,
                stderr=opened,
            )
        self.peers: list[Peer] = []

    def connect(self) -> Peer:
        found: list[Peer] = []

        def connects() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            with contextlib.suppress(OSError):
                found.append(Peer(self.address))
            return bool(found)

        assert eventually(connects)
        self.peers += found
        return found[0]

    def hold(self) -> Peer:
        holder = self.connect()
        assert holder.ask("hold", secret=SECRET) == {}
        return holder

    def end(self) -> int:
        self.process.terminate()
        for peer in self.peers:
            peer.close()
        return self.process.wait(20)


@contextlib.contextmanager
def run_agent(argv: Sequence[str], folder: Path, **policy: Any) -> Iterator[AgentProcess]:
    """An agent in a pipeline directory."""
    pipeline = folder / "pipeline"
    pipeline.mkdir(exist_ok=True)
    agent = AgentProcess(argv, pipeline, folder / "agent.log", **policy)
    try:
        yield agent
    finally:
        agent.end()


def is_alive(pid: int) -> bool:
    """Whether a process runs; one whose end nobody has waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def environment_of(pid: int) -> Mapping[str, str]:
    entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return dict(entry.decode().split("=", 1) for entry in entries if b"=" in entry)
