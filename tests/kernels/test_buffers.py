"""Messages with binary buffers, as widgets send and get them, between a session and its gateway's kernels."""

from __future__ import annotations

import json
import struct
import uuid
from pathlib import Path

from websocket import ABNF

from jupyter_launcher import DEFAULT_IMAGE, Launcher
from tests.kernels.client import Kernels

NO_UTF8 = b"\x9f\xff"
MAKE = f"""
from comm import create_comm
comm = create_comm(target_name="widget", data={{}}, buffers=[{NO_UTF8!r}])
got = []
comm.on_msg(lambda message: got.extend(bytes(buffer) for buffer in message["buffers"]))
print(comm.comm_id)
"""


def to_binary(message: object, *buffers: bytes) -> bytes:
    """A message as a browser sends it: how many parts there are, where each begins, the parts."""
    parts = [json.dumps(message).encode(), *buffers]
    starts = [4 * (len(parts) + 1)]
    for part in parts[:-1]:
        starts.append(starts[-1] + len(part))
    return struct.pack(f"!{len(starts) + 1}I", len(parts), *starts) + b"".join(parts)


def test_buffers_come_from_a_kernel_and_go_to_it(namespace: str, tmp_path: Path) -> None:
    with Launcher(namespace=namespace) as launcher, launcher.start(tmp_path, kernels={"py": DEFAULT_IMAGE}) as session:
        comm = session.execute(MAKE, timeout=60).text.strip()
        (kernel,) = session.kernels()
        with Kernels(session).connect(kernel.id) as channels:
            channels.execute(f"comm.send({{}}, buffers=[{NO_UTF8!r}])")
            frames = iter(channels._connection.recv_data, None)
            assert next(data for code, data in frames if code == ABNF.OPCODE_BINARY).endswith(NO_UTF8)
            header = {"msg_id": uuid.uuid4().hex, "msg_type": "comm_msg", "username": "", "session": "s", "date": ""}
            message = {"header": {**header, "version": "5.3"}, "parent_header": {}, "metadata": {}, "channel": "shell"}
            content = {"comm_id": comm, "data": {}}
            channels._connection.send_binary(to_binary({**message, "content": content}, NO_UTF8))
            assert channels.run("print(got)").text.strip() == f"[{NO_UTF8!r}]"
