"""``execute("1 + 1")`` on a kernel that runs, beside a bare websocket client: the same session, a kernel for each."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable

import requests
import websocket

from benchmarks.candidate import Setting
from benchmarks.results import Results
from jupyter_launcher import Session

CODE = "1 + 1"


def measure(results: Results, setting: Setting, rounds: int) -> None:
    print("code", flush=True)
    with setting.launcher.start(setting.folder) as session:
        calls: dict[str, Callable[[], object]] = {
            "code/session": lambda: session.execute(CODE),
            "code/bare": Bare(session).execute,
        }
        for number in range(rounds + 1):
            for key, call in calls.items():
                before = time.perf_counter()
                call()
                if number:  # the first one starts the kernel
                    results.add(key, time.perf_counter() - before)


class Bare:
    """What anybody would write who needs nothing but the answer."""

    def __init__(self, session: Session) -> None:
        model = requests.post(f"{session.url}api/kernels", json={}, headers=session.headers, timeout=60).json()
        self._socket = websocket.create_connection(
            f"ws{session.url.removeprefix('http')}api/kernels/{model['id']}/channels",
            header=session.headers,
            timeout=60,
        )

    def execute(self) -> dict[str, object]:
        """Send the code, and wait for its reply and its end."""
        request = uuid.uuid4().hex
        header = {"msg_id": request, "msg_type": "execute_request", "username": "", "session": "s", "version": "5.3"}
        content = {"code": CODE, "silent": False, "store_history": True, "allow_stdin": False}
        message = {"header": {**header, "date": ""}, "parent_header": {}, "metadata": {}, "content": content}
        self._socket.send(json.dumps({**message, "channel": "shell", "buffers": []}))
        reply: dict[str, object] = {}
        idle = False
        while not (reply and idle):
            found = json.loads(self._socket.recv())
            if found["parent_header"].get("msg_id") != request:
                continue
            if found["msg_type"] == "execute_reply":
                reply = found["content"]
            elif found["msg_type"] == "status":
                idle = found["content"]["execution_state"] == "idle"
        return reply
