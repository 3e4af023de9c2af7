"""The gateway's side of a broker, as a program in a container that has the broker's socket and jupyter_client.

It is run as ``python3 -c <this text and a scenario>``, and its last line is what the scenario has seen.
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from pathlib import Path
from typing import Any

import zmq
from jupyter_client.blocking.client import BlockingKernelClient

SOCKET = "/run/jupyter-launcher-broker/broker.sock"


class Connection:
    """One connection: the hold, or a kernel."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        deadline = time.monotonic() + 30
        while True:
            try:
                self.socket.connect(SOCKET)
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                break
        self.lines = self.socket.makefile("rb")
        self.told: list[dict[str, Any]] = []
        self.kernel = str(uuid.uuid4())
        self.keys: dict[str, str] = {}
        self.answer: dict[str, Any] = {}

    def say(self, **request: Any) -> None:
        self.socket.sendall(json.dumps(request).encode() + b"\n")

    def read(self) -> dict[str, Any] | None:
        line = self.lines.readline()
        return json.loads(line) if line else None

    def ask(self, **request: Any) -> dict[str, Any]:
        self.say(**request)
        while (answer := self.read()) is not None:
            if "ended" not in answer:
                return answer
            self.told.append(answer["ended"])
        raise EOFError

    def ended(self) -> dict[str, Any]:
        if self.told:
            return self.told.pop(0)
        answer = self.read()
        if answer is None:
            raise EOFError
        return dict(answer["ended"])

    def request(self, name: str = "py", *, encrypt: bool = False, **more: Any) -> dict[str, Any]:
        if not self.keys:
            self.keys = {"key": uuid.uuid4().hex, "signature_scheme": "hmac-sha256", "kernel_name": name}
            if encrypt:
                public, secret = zmq.curve_keypair()
                self.keys |= {"curve_publickey": public.decode(), "curve_secretkey": secret.decode()}
        return {"do": "start", "kernel": self.kernel, "name": name, "connection": self.keys, **more}

    def start(self, name: str = "py", **more: Any) -> dict[str, Any]:
        self.answer = self.ask(**self.request(name, **more))
        return self.answer

    def client(self) -> BlockingKernelClient:
        """A client of the kernel, which answers."""
        for port in self.answer["ports"].values():
            self._wait_for(port)
        client = BlockingKernelClient()
        known: Any = {**self.keys, "ip": self.answer["ip"], "transport": "tcp", **self.answer["ports"]}
        client.load_connection_info(known)
        client.start_channels()
        client.wait_for_ready(timeout=60)
        return client

    def _wait_for(self, port: int) -> None:
        """A client takes a kernel that does not listen yet for dead."""
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection((self.answer["ip"], port), timeout=5).close()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return

    def run(self, code: str) -> str:
        """What code prints, or the name of its error."""
        client = self.client()
        try:
            printed: list[str] = []

            def keep(message: dict[str, Any]) -> None:
                content = message["content"]
                printed.append(content.get("text", "") if message["msg_type"] == "stream" else "")

            reply = client.execute_interactive(code, timeout=60, output_hook=keep)
            return "".join(printed).strip() or reply["content"].get("ename", "")
        finally:
            client.stop_channels()

    def close(self) -> None:
        self.lines.close()
        self.socket.close()


def hold() -> Connection:
    """The gateway's life line."""
    held = Connection()
    answer = held.ask(do="hold")
    if answer != {}:
        raise RuntimeError(answer)
    held.socket.detach()  # it stays open as long as the process
    return held


def let_test_look() -> None:
    """Say that the test may look, and wait until it has seen what it wants to see."""
    Path("/tmp/ready").touch()  # noqa: S108 - in the container
    while not Path("/tmp/go").exists():  # noqa: S108 - in the container
        time.sleep(0.02)


def show(seen: object) -> None:
    """The answer of the scenario. What is open ends with the process, and the kernels with it."""
    print(json.dumps(seen), flush=True)
    os._exit(0)
