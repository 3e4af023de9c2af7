"""JupyterHub with DockerSpawner: a real hub, and the proxy from npm that it comes with.

A start is from the request for a user's server to the first 200 over the proxy. The hub answers that
request when the server is up (or, after ten seconds, that it is under way), so that nobody polls it.
The image is the untuned one with the jupyterhub package, as the hub's own documentation makes it.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import requests

from benchmarks.candidate import LABEL, TOKEN, Setting, Start, Started, until_it_answers

BIN = Path(sys.executable).parent
PROXY = BIN.parent / "hub_proxy/node_modules/.bin/configurable-http-proxy"
SCOPES = ["admin:users", "admin:servers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """A hub that runs, and users that it never saw before."""

    url: str
    names: Iterator[str]

    def ask(self, method: str, path: str, *expected: int) -> requests.Response:
        answer = requests.request(
            method, f"{self.url}hub/api/{path}", headers={"Authorization": f"token {TOKEN}"}, timeout=180
        )
        if answer.status_code not in expected:
            msg = f"the hub answered {method} {path} with {answer.status_code}: {answer.text[:400]}"
            raise RuntimeError(msg)
        return answer

    def new_user(self) -> str:
        name = next(self.names)
        self.ask("POST", f"users/{name}", 201)
        return name

    def start(self, user: str) -> Started:
        if self.ask("POST", f"users/{user}/server", 201, 202).status_code == 202:
            self._wait(user)
        url = f"{self.url}user/{user}/"
        until_it_answers(f"{url}api", 0.01)
        return Started(url=url, stop=lambda: self._stop(user))

    def _stop(self, user: str) -> None:
        """Until the server is gone: a hub that is busy answers before it is."""
        while self.ask("DELETE", f"users/{user}/server", 204, 202, 404).status_code == 202:
            time.sleep(0.1)

    def _wait(self, user: str) -> None:
        """Until a start that takes longer than the hub lets a request wait has ended."""
        with requests.get(
            f"{self.url}hub/api/users/{user}/server/progress",
            headers={"Authorization": f"token {TOKEN}"},
            stream=True,
            timeout=180,
        ) as events:
            for line in events.iter_lines():
                event: dict[str, Any] = json.loads(line[5:]) if line.startswith(b"data:") else {}
                if event.get("failed"):
                    raise RuntimeError(event["message"])
                if event.get("ready"):
                    return


def dockerspawner(hub: Hub) -> Start:
    """A candidate; each start is a new user's, who is made before the clock runs (see ``users``)."""
    return lambda: hub.start(next(hub.names))


@contextlib.contextmanager
def running_hub(setting: Setting, users: int) -> Iterator[Hub]:
    """A hub with that many users; it ends with its proxy, and its servers with it."""
    with (
        tempfile.TemporaryDirectory() as name,
        socket.socket() as one,
        socket.socket() as two,
        socket.socket() as three,
    ):
        folder = Path(name)
        for free in (one, two, three):
            free.bind(("127.0.0.1", 0))
        ports = [free.getsockname()[1] for free in (one, two, three)]
        (folder / "config.json").write_text(json.dumps(config(setting, *ports)))
        for free in (one, two, three):
            free.close()
        log = folder / "log"
        with log.open("wb") as output:
            # A session of its own, so that Ctrl-C reaches it through us, after its servers have ended.
            process = subprocess.Popen(
                [BIN / "jupyterhub", "--config", "config.json"],
                cwd=folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
            )
        try:
            url = f"http://127.0.0.1:{ports[0]}/"
            until_it_answers(f"{url}hub/api/", 0.1, 60)
            hub = Hub(url=url, names=(f"user{number}" for number in itertools.count()))
            made = [hub.new_user() for _ in range(users)]
            yield Hub(url=url, names=iter(itertools.cycle(made)))
        except (RuntimeError, TimeoutError):
            print(f"the end of the hub's log:\n{log.read_text()[-3000:]}", file=sys.stderr)
            raise
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def config(setting: Setting, port: int, hub_port: int, proxy_port: int) -> dict[str, Any]:
    network = setting.client.networks.get("bridge").attrs["IPAM"]["Config"][0]
    # An engine that was never started before leaves the first out, and takes the first address of the subnet.
    bridge = network.get("Gateway") or str(next(ip_network(network["Subnet"]).hosts()))
    return {
        "JupyterHub": {
            "ip": "127.0.0.1",
            "port": port,
            "hub_ip": bridge,  # where its servers, in their containers, reach it
            "hub_port": hub_port,
            "spawner_class": "dockerspawner.DockerSpawner",
            "authenticator_class": "dummy",
            "services": [{"name": "benchmark", "api_token": TOKEN}],
            "load_roles": [{"name": "benchmark", "scopes": SCOPES, "services": ["benchmark"]}],
        },
        "Authenticator": {"allow_all": True},
        "ConfigurableHTTPProxy": {"command": [str(PROXY)], "api_url": f"http://127.0.0.1:{proxy_port}"},
        # Sixteen at once on a small machine take longer than the half minute it allows.
        "Spawner": {"http_timeout": 150, "start_timeout": 150},
        "DockerSpawner": {
            "image": setting.hub_image,
            "cmd": ["jupyterhub-singleuser", "--allow-root"],
            "remove": True,
            "volumes": {str(setting.folder): "/pipeline-dir"},
            "notebook_dir": "/pipeline-dir",
            "name_template": f"{setting.run}-{{username}}",
            "extra_create_kwargs": {"user": setting.user, "labels": {LABEL: setting.run}},
        },
    }
