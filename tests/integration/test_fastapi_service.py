"""The example service on FastAPI: uvicorn in a process of its own, driven over HTTP against real containers."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from jupyter_launcher import Launcher, StopMethod
from tests.containers import eventually, owned

SERVICE = Path(__file__).parents[2] / "examples" / "fastapi_service" / "service.py"


class Service:
    """The service, and its client."""

    def __init__(self, root: Path, namespace: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/"
        line = [sys.executable, str(SERVICE), str(root), "--namespace", namespace, "--port", str(port)]
        self.process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        assert eventually(self._answers)

    def ask(self, method: str, pipeline: str = "") -> tuple[int, Any]:
        answer = requests.request(method, f"{self.url}api/servers/{pipeline}", timeout=60)
        return answer.status_code, answer.json()

    def _answers(self) -> bool:
        try:
            return set(requests.get(f"{self.url}openapi.json", timeout=5).json()["paths"]) == {
                "/api/servers/",
                "/api/servers/{pipeline}",
            }
        except requests.RequestException:
            return False


@pytest.fixture
def service(tmp_path: Path, namespace: str) -> Iterator[Service]:
    for name in ("orders", "returns"):
        (tmp_path / name).mkdir()
        owned(tmp_path / name)
    made = Service(tmp_path, namespace)
    yield made
    if made.process.poll() is None:
        made.process.kill()
    made.process.communicate()


def test_it_starts_finds_and_stops_servers(service: Service, launcher: Launcher) -> None:
    assert service.ask("GET", "orders")[0] == 404
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: service.ask("POST", "orders"), range(4)))
    assert sorted(status for status, _ in answers) == [200, 200, 200, 201]
    started = answers[0][1]
    assert all(answer == started for _, answer in answers)
    assert requests.get(started["lab_url"], timeout=10).status_code == 200
    assert started["server_info"] == launcher.get("orders").server_info.to_dict()
    assert service.ask("GET", "orders") == (200, started)
    assert service.ask("GET") == (200, {"servers": [{"pipeline": "orders", "state": "ready"}]})
    status, told = service.ask("POST", "no-such-pipeline")
    assert (status, "no-such-pipeline" in told["message"]) == (404, True)
    assert service.ask("GET", "Not-A-Name")[0] == 400
    status, stopped = service.ask("DELETE", "orders")
    assert (status, stopped["method"]) == (200, StopMethod.API.value)
    assert service.ask("DELETE", "orders")[0] == 404
    # It completes the requests that it has taken when it ends, and its sessions stay.
    with ThreadPoolExecutor(1) as pool:
        begun = pool.submit(service.ask, "POST", "returns")
        assert eventually(lambda: launcher.ids() == ["returns"])
        service.process.send_signal(signal.SIGINT)
        assert begun.result(60)[0] == 201
    assert "Traceback" not in service.process.communicate(timeout=60)[1]
    launcher.stop("returns")
