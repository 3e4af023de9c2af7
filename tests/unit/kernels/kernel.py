"""A kernel of Jupyter's in a few lines: kernel_info, execute and shutdown; a cell's text is Python.

kernel.py CONNECTION_FILE
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import zmq
from jupyter_client.session import Session

known = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
session = Session(key=known["key"].encode(), signature_scheme=known["signature_scheme"])
context = zmq.Context()


def listen(kind: int, port: str) -> Any:
    opened = context.socket(kind)
    opened.linger = 1000
    if "curve_secretkey" in known:
        opened.curve_server = True
        opened.curve_secretkey = known["curve_secretkey"].encode()
        opened.curve_publickey = known["curve_publickey"].encode()
    opened.bind(f"tcp://{known['ip']}:{known[port]}")
    return opened


shell = listen(zmq.ROUTER, "shell_port")
control = listen(zmq.ROUTER, "control_port")
iopub = listen(zmq.PUB, "iopub_port")
stdin = listen(zmq.ROUTER, "stdin_port")
heart = listen(zmq.REP, "hb_port")
poller = zmq.Poller()
for waiting in (shell, control, heart):
    poller.register(waiting, zmq.POLLIN)
variables: dict[str, Any] = {}


def answer(channel: Any) -> None:
    names, message = session.recv(channel)
    assert message is not None
    kind = message["msg_type"]
    content: dict[str, Any] = {"status": "ok"}
    if kind == "execute_request":
        try:
            content["payload"] = [{"value": eval(message["content"]["code"], variables)}]  # noqa: S307 - a kernel's work
        except KeyboardInterrupt:
            content["payload"] = [{"value": "interrupted"}]
    session.send(channel, kind.replace("request", "reply"), content, parent=message, ident=names)
    if kind == "shutdown_request":
        sys.exit(0)


print("listens", flush=True)
while True:
    for ready, _ in poller.poll():
        if ready is heart:
            heart.send(heart.recv())
        else:
            answer(ready)
