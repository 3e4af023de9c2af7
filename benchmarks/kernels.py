"""A kernel's start, restart and end: beside our gateway, in containers, and by Enterprise Gateway's Docker proxy.

All gateways run at the same time, and each round asks all of them, in an order of its own. A start is from the request
to the kernel's own answer over a websocket. The kernels' image is the default one of this library.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import requests
import websocket

from benchmarks.candidate import LABEL, Setting
from benchmarks.images import built
from benchmarks.results import Results
from jupyter_launcher import DEFAULT_IMAGE
from tests.images.__main__ import build as build_enterprise_gateway

SOCKET = "/var/run/docker.sock"
SECONDS = 60.0
ROOT = Path(__file__).parent.parent
LAUNCHERS = "/usr/local/bin/kernel-launchers"
SPEC = {
    "argv": [
        *("python", "/opt/gateway/share/jupyter/kernels/box/scripts/launch_docker.py"),
        *("--RemoteProcessProxy.kernel-id", "{kernel_id}"),
        *("--RemoteProcessProxy.port-range", "{port_range}"),
        *("--RemoteProcessProxy.response-address", "{response_address}"),
        *("--RemoteProcessProxy.public-key", "{public_key}"),
    ],
    "display_name": "Box",
    "language": "python",
    "metadata": {
        "process_proxy": {
            "class_name": "enterprise_gateway.services.processproxies.docker_swarm.DockerProcessProxy",
            "config": {"image_name": "IMAGE"},
        }
    },
}
# The launchers are in the source distribution alone.
FETCH = (
    "mkdir /tmp/sdist && cd /tmp/sdist && {pip} download --quiet --no-deps --no-binary jupyter_enterprise_gateway "
    "jupyter_enterprise_gateway==3.3.0 && tar xf *.tar.gz --strip-components=1"
)
GATEWAY = """
FROM {base}
USER 0
COPY --from={kernel} {launchers}/docker/scripts /opt/gateway/share/jupyter/kernels/box/scripts
RUN printf '%s' '{spec}' >/opt/gateway/share/jupyter/kernels/box/kernel.json
USER 1000
"""
KERNEL = """
FROM {base}
USER 0
ARG PIP_INDEX_URL
RUN {fetch} && cp -r etc/kernel-launchers {launchers} \\
 && cp {launchers}/bootstrap/bootstrap-kernel.sh /usr/local/bin/ && chmod 755 /usr/local/bin/bootstrap-kernel.sh \\
 && /opt/jupyter/bin/pip install --quiet --no-cache-dir pycryptodomex && rm -rf /tmp/sdist
USER 1000
CMD ["/usr/local/bin/bootstrap-kernel.sh"]
"""


class Asked:
    """One gateway, and the name of its kernel."""

    def __init__(self, url: str, name: str, token: str = "") -> None:
        self._url = url.rstrip("/")
        self._name = name
        self._headers = {"Authorization": f"token {token}"} if token else {}

    def ask(self, method: str, path: str, body: object = None) -> requests.Response:
        data = None if body is None else json.dumps(body)
        url = f"{self._url}/api/{path}"
        answer = requests.request(method, url, data=data, headers=self._headers, timeout=SECONDS)
        answer.raise_for_status()
        return answer

    def start(self) -> str:
        # Enterprise Gateway wants to know who asks; it gives the name to the kernel.
        env = {"KERNEL_USERNAME": "jupyter", "KERNEL_WORKING_DIR": "/pipeline-dir"}
        kernel = str(self.ask("POST", "kernels", {"name": self._name, "env": env}).json()["id"])
        self.until_it_answers(kernel)
        return kernel

    def restart(self, kernel: str) -> None:
        self.ask("POST", f"kernels/{kernel}/restart", {})
        self.until_it_answers(kernel)

    def end(self, kernel: str) -> None:
        self.ask("DELETE", f"kernels/{kernel}")

    def until_it_answers(self, kernel: str) -> None:
        """What a client does that wants to execute something: ask for the kernel's info, until it comes."""
        url = f"{self._url.replace('http', 'ws', 1)}/api/kernels/{kernel}/channels"
        connection = websocket.create_connection(url, header=self._headers, timeout=SECONDS)
        with contextlib.closing(connection):
            header = {"msg_id": uuid.uuid4().hex, "msg_type": "kernel_info_request", "username": "", "session": "s"}
            message = {"header": {**header, "version": "5.3", "date": ""}, "parent_header": {}, "metadata": {}}
            connection.send(json.dumps({**message, "content": {}, "channel": "shell", "buffers": []}))
            while json.loads(connection.recv() or "{}").get("msg_type") != "kernel_info_reply":
                continue


def measure(results: Results, setting: Setting, rounds: int) -> None:
    with contextlib.ExitStack() as opened:
        gateways = {
            "process": ours(setting, opened),
            "environment": ours(setting, opened, kernels={"py": DEFAULT_IMAGE}, isolation="environment"),
            "container": ours(setting, opened, kernels={"py": DEFAULT_IMAGE}, isolation="kernel"),
            "eg-docker": opened.enter_context(enterprise_gateway(setting)),
        }
        for number in range(rounds + 1):
            into = results if number else Results()  # the first round warms caches, and is not counted
            order = random.sample(list(gateways), len(gateways))
            print(f"kernels, round {number} of {rounds}: {', '.join(order)}", flush=True)
            for name in order:
                one(into, name, gateways[name])


def one(results: Results, name: str, gateway: Asked) -> None:
    before = time.perf_counter()
    kernel = gateway.start()
    results.add(f"kernel-start/{name}", time.perf_counter() - before)
    before = time.perf_counter()
    gateway.restart(kernel)
    results.add(f"kernel-restart/{name}", time.perf_counter() - before)
    before = time.perf_counter()
    gateway.end(kernel)
    results.add(f"kernel-end/{name}", time.perf_counter() - before)


def ours(setting: Setting, opened: contextlib.ExitStack, **options: Any) -> Asked:
    gateway = opened.enter_context(setting.launcher.run_gateway(setting.folder, **options))
    return Asked(gateway.url, "py" if options else "python3", gateway.token)


@contextlib.contextmanager
def enterprise_gateway(setting: Setting) -> Iterator[Asked]:
    """With its Docker proxy, as its documentation says, and with what that leaves to be found out."""
    arguments = {"PIP_INDEX_URL": os.environ["INDEX_URL"]} if os.environ.get("INDEX_URL") else {}
    certificates = sorted(Path("/usr/local/share/ca-certificates").glob("*.crt"))
    line = [sys.executable, "scripts/base_image.py", "python:3.11-slim", "bookworm"]
    base = subprocess.run(line, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
    plain = build_enterprise_gateway(base, certificates)
    kernel = f"{setting.run}:eg-kernel"
    fetch = FETCH.format(pip="/opt/jupyter/bin/pip")
    of_kernel = KERNEL.format(base=DEFAULT_IMAGE, fetch=fetch, launchers=LAUNCHERS)
    spec = json.dumps(SPEC).replace("IMAGE", kernel)
    of_gateway = GATEWAY.format(base=plain, kernel=kernel, launchers=LAUNCHERS, spec=spec)
    with (
        built(setting.client, kernel, of_kernel, arguments),
        built(setting.client, f"{setting.run}:eg-docker", of_gateway) as image,
    ):
        container = setting.client.containers.run(
            image,
            detach=True,
            init=True,  # without it, a kernel that has ended is waited for in vain
            labels={LABEL: setting.run},
            environment={"EG_DOCKER_MODE": "docker"},
            group_add=[os.stat(SOCKET).st_gid],  # noqa: PTH116 - the engine's, which has no name here
            volumes={
                SOCKET: {"bind": SOCKET, "mode": "rw"},
                str(setting.folder): {"bind": "/pipeline-dir", "mode": "rw"},
            },
        )
        try:
            container.reload()
            url = f"http://{container.attrs['NetworkSettings']['Networks']['bridge']['IPAddress']}:8888"
            until_it_listens(url)
            yield Asked(url, "box")
        finally:
            left = setting.client.containers.list(all=True, filters={"label": "kernel_id"}, ignore_removed=True)
            of_ours = [item for item in left if item.attrs["Config"]["Image"] == kernel]
            for item in (container, *of_ours):
                with contextlib.suppress(docker.errors.APIError):  # it is being removed
                    item.remove(force=True, v=True)


def until_it_listens(url: str) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            requests.get(f"{url}/api/kernelspecs", timeout=5).raise_for_status()
        except requests.RequestException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
