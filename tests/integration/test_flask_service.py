"""The example service, driven over HTTP against real containers; every answer is held to its OpenAPI description."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import requests
from flask_service.service import create_app

from jupyter_launcher import Launcher, StopMethod
from tests.containers import eventually, owned
from tests.integration.test_session import start_kernel

FOLDER = Path(__file__).parents[2] / "examples" / "flask_service"
DESCRIPTION: dict[str, Any] = json.loads((FOLDER / "openapi.json").read_text())


class Service:
    """The service as a process of its own, and its client."""

    def __init__(self, root: Path, namespace: str, *more: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port = probe.getsockname()[1]
        line = [sys.executable, str(FOLDER / "service.py"), str(root), "--namespace", namespace]
        self._line = [*line, "--port", str(self._port), *more]
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert eventually(self._answers)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def ask(self, method: str, pipeline: str = "") -> tuple[int, Any]:
        """The answer, once it was seen to be as described."""
        answer = requests.request(method, f"http://127.0.0.1:{self._port}/api/servers/{pipeline}", timeout=60)
        operation = DESCRIPTION["paths"]["/api/servers/{pipeline}" if pipeline else "/api/servers/"][method.lower()]
        described = operation["responses"][str(answer.status_code)]
        if "$ref" in described:
            described = DESCRIPTION["components"]["responses"][described["$ref"].rpartition("/")[2]]
        schema = described["content"]["application/json"]["schema"]
        jsonschema.validate(answer.json(), {**schema, "components": DESCRIPTION["components"]})
        return answer.status_code, answer.json()

    def _answers(self) -> bool:
        try:
            url = f"http://127.0.0.1:{self._port}/api/openapi.json"
            return bool(requests.get(url, timeout=5).json() == DESCRIPTION)
        except requests.RequestException:
            return False


@pytest.fixture
def pipelines(tmp_path: Path) -> Path:
    for name in ("orders", "returns"):
        (tmp_path / name).mkdir()
        owned(tmp_path / name)
    return tmp_path


@pytest.fixture
def serve(namespace: str, pipelines: Path) -> Iterator[Callable[..., Service]]:
    made: list[Service] = []

    def run(*more: str) -> Service:
        made.append(Service(pipelines, namespace, *more))
        return made[-1]

    yield run
    for service in made:
        service.kill()


def test_the_three_operations(
    serve: Callable[..., Service],
    launcher: Launcher,
    gateway: str,
    gateway_kernels: Callable[[], set[str]],
) -> None:
    before = gateway_kernels()
    service = serve("--gateway", gateway)
    assert service.ask("GET", "orders") == (404, {"message": "No running server"})
    status, started = service.ask("POST", "orders")
    assert status == 201
    assert requests.get(started["lab_url"], timeout=10).status_code == 200
    assert started["server_info"] == launcher.get("orders").server_info.to_dict()
    assert service.ask("GET", "orders") == (200, started)
    assert service.ask("POST", "orders") == (200, started)
    assert service.ask("POST", "returns")[0] == 201
    found = service.ask("GET")[1]["servers"]
    assert {item["pipeline"]: item["state"] for item in found} == {"orders": "ready", "returns": "ready"}
    kernel = start_kernel(launcher.get("orders"))
    status, stopped = service.ask("DELETE", "orders")
    assert (status, stopped["method"], stopped["kernels_gone"]) == (200, StopMethod.API.value, [kernel])
    assert service.ask("GET", "orders")[0] == 404
    assert service.ask("DELETE", "orders") == (404, {"message": "No running server"})
    assert service.ask("DELETE", "returns")[0] == 200
    assert gateway_kernels() == before


def test_it_survives_its_own_restart(serve: Callable[..., Service], client: Any, launcher: Launcher) -> None:
    service = serve()
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: service.ask("POST", "orders"), range(4)))
    assert sorted(status for status, _ in answers) == [200, 200, 200, 201]
    started = answers[0][1]
    assert all(answer == started for _, answer in answers)
    service.kill()
    service.start()
    assert service.ask("GET", "orders") == (200, started)
    assert service.ask("POST", "orders") == (200, started)
    assert len(launcher.ids()) == 1
    client.containers.get(launcher.get("orders").container_id).kill()
    assert service.ask("GET", "orders")[0] == 404
    status, again = service.ask("POST", "orders")
    assert status == 201
    assert again["server_info"]["token"] != started["server_info"]["token"]
    assert service.ask("DELETE", "orders")[0] == 200


def test_what_can_not_be_is_told(serve: Callable[..., Service]) -> None:
    service = serve("--gateway", "no-such-gateway")
    status, told = service.ask("POST", "orders")
    assert status == 502
    assert "docker ps -a" in told["message"]
    assert service.ask("POST", "no-such-pipeline")[0] == 404
    assert service.ask("POST", "Not-A-Name")[0] in (400, 404)
    assert service.ask("GET", "Not-A-Name")[0] == 400


def test_every_route_is_described(namespace: str, pipelines: Path) -> None:
    rules = create_app(pipelines, namespace=namespace).url_map.iter_rules()
    routes = {
        (re.sub(r"<(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in rules
        if rule.rule.startswith("/api/servers")
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    described = {(path, name) for path, item in DESCRIPTION["paths"].items() for name in item if name != "parameters"}
    assert routes == described
    for schema in DESCRIPTION["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
