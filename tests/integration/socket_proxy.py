"""A real socket proxy before the engine: haproxy with the switches of tecnativa's docker-socket-proxy."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path

import docker

from tests.containers import eventually

__all__ = ["HAPROXY", "SWITCHES", "Request", "SocketProxy"]

HAPROXY = shutil.which("haproxy") or "/usr/sbin/haproxy"
SWITCHES = ("PING", "VERSION", "INFO", "CONTAINERS", "EXEC", "IMAGES", "NETWORKS", "POST")
_CONFIG = Path(__file__).parents[2] / "scripts" / "socket_proxy.cfg"
_LINE = re.compile(r"(\d+) ([A-Z]+) (/\S+)")
_VERSION = re.compile(r"/v[0-9.]+(?=/)")


@dataclass(frozen=True)
class Request:
    """What went through, or was refused."""

    status: int
    method: str
    path: str

    @property
    def switches(self) -> set[str]:
        """Those that it needs."""
        section = _VERSION.sub("", self.path).split("/")[1].lstrip("_").upper()
        return {section} | ({"POST"} if self.method not in ("GET", "HEAD") else set())


class SocketProxy:
    """Passes to the engine what the switches allow.

    Attributes:
        url: for ``docker_host``.
    """

    def __init__(self, folder: Path, engine: str, *switches: str) -> None:
        self._log = folder / "requests.log"
        self._seen = 0
        socket = folder / "proxy.sock"
        self.url = f"unix://{socket}"
        environment = {"LISTEN": str(socket), "ENGINE": engine, **dict.fromkeys(switches, "1")}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [HAPROXY, "-db", "-f", str(_CONFIG)], stdout=log, stderr=log, env={**os.environ, **environment}
            )
        assert eventually(socket.exists), self._log.read_text()

    def requests(self) -> list[Request]:
        """Those since the last look."""
        # A request is written down when it has ended, which may be after its answer: this one comes later.
        marker = uuid.uuid4().hex
        api = docker.APIClient(base_url=self.url, version="1.41")
        api.get(f"{api.base_url}/{marker}")
        api.close()
        assert eventually(lambda: marker in self._log.read_text()), self._log.read_text()
        found = [Request(int(status), method, path) for status, method, path in _LINE.findall(self._log.read_text())]
        new, self._seen = found[self._seen :], len(found)
        return [item for item in new if item.path != f"/{marker}"]

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)
