"""What a session's start and stop cost, beside a raw container of the same image in the same run.

    start_stop.py [--rounds 7]

Every candidate runs once in each round, in turn, so that what else the machine does meets all of
them. Seconds are medians; what counts are the ratios. Raw: docker-py's ``containers.run`` with the same
arguments and mounts, polled every 10 ms until ``/api`` answers; its ``stop`` and ``remove``.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import requests

from jupyter_launcher import DEFAULT_IMAGE, Launcher, Session

UNTUNED_IMAGE = "jupyter-launcher/untuned:benchmark"
UNTUNED = f"""
FROM {DEFAULT_IMAGE}
USER root
RUN /opt/jupyter/bin/pip install --quiet --no-cache-dir rfc3987-syntax
USER 1000
"""
TOKEN = "of-the-benchmark"  # noqa: S105 - for one run on loopback
LAB = [
    "jupyter",
    "lab",
    "--ip=0.0.0.0",
    "--port=8888",
    "--notebook-dir=/pipeline-dir",
    "--port-retries=0",
    "--no-browser",
    "--allow-root",
]
KERNELS = 3

Samples = dict[str, list[float]]


def timed(samples: Samples, name: str, call: Callable[[], Any]) -> Any:
    started = time.perf_counter()
    result = call()
    samples.setdefault(name, []).append(time.perf_counter() - started)
    return result


def start_kernels(url: str, token: str, count: int) -> None:
    for _ in range(count):
        answer = requests.post(f"{url}api/kernels", json={}, headers={"Authorization": f"token {token}"}, timeout=60)
        answer.raise_for_status()


def raw_start(client: Any, image: str, folder: Path, gateway_url: str | None) -> Any:
    """A container that does by itself what a session's does, until it answers."""
    gateway = [f"--gateway-url={gateway_url}"] if gateway_url else []
    container = client.containers.run(
        image,
        [*LAB, *gateway],
        detach=True,
        init=True,
        user=f"{folder.stat().st_uid}:{folder.stat().st_gid}",
        environment={"JUPYTER_TOKEN": TOKEN, "KERNEL_USERNAME": "jupyter"},
        mounts=[docker.types.Mount("/pipeline-dir", str(folder), type="bind")],
        ports={"8888/tcp": ("127.0.0.1", None)},
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        pids_limit=4096,
    )
    container.reload()
    url = raw_url(container)
    while True:
        try:
            if requests.get(f"{url}api", timeout=5).status_code == 200:
                return container
        except requests.RequestException:
            pass
        time.sleep(0.01)


def raw_url(container: Any) -> str:
    return f"http://127.0.0.1:{container.ports['8888/tcp'][0]['HostPort']}/"


def raw_stop(container: Any) -> None:
    container.stop()
    container.remove()


def round_of_all(samples: Samples, client: Any, launcher: Launcher, folder: Path, gateway: str) -> None:
    address = client.containers.get(gateway).attrs["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
    gateway_url = f"http://{address}:8888"

    def session(name: str, gateway: str | None, kernels: int) -> None:
        started: Session = timed(samples, f"start, {name}", lambda: launcher.start(folder, gateway=gateway))
        for phase in ("gateway", "image", "container", "server", "ready"):
            samples.setdefault(f"start, {name}: {phase}", []).append(getattr(started.timings, phase))
        start_kernels(started.url, started.server_info.token, kernels)
        timed(samples, f"stop, {kernels} kernels, {name}", started.stop)

    def raw(name: str, image: str, gateway_url: str | None, kernels: int) -> None:
        container = timed(samples, f"start, {name}", lambda: raw_start(client, image, folder, gateway_url))
        start_kernels(raw_url(container), TOKEN, kernels)
        timed(samples, f"stop, {kernels} kernels, {name}", lambda: raw_stop(container))

    session("with gateway", gateway, 0)
    raw("raw, untuned image", UNTUNED_IMAGE, None, 0)
    session("without gateway", None, 0)
    raw("raw, our image", DEFAULT_IMAGE, None, 0)
    session("with gateway", gateway, KERNELS)
    raw("raw, our image, gateway", DEFAULT_IMAGE, gateway_url, KERNELS)


def report(samples: Samples) -> None:
    medians = {name: statistics.median(values) for name, values in samples.items()}
    for name in sorted(medians):
        values = samples[name]
        print(f"{name:<45} {medians[name]:7.3f} s   {min(values):.3f} to {max(values):.3f}, {len(values)} runs")
    print()
    for what, over, goal in (
        ("start, with gateway", "start, raw, untuned image", 0.60),
        ("start, with gateway", "start, raw, our image", 1.20),
        ("start, without gateway", "start, raw, our image", 1.20),
        ("stop, 0 kernels, without gateway", "stop, 0 kernels, raw, our image", 1.0),
        ("stop, 3 kernels, with gateway", "stop, 3 kernels, raw, our image, gateway", 1.0),
    ):
        print(f"{what:<35} / {over:<42} = {medians[what] / medians[over]:.2f}   (goal {goal:.2f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    client = docker.from_env()
    client.images.build(fileobj=io.BytesIO(UNTUNED.encode()), tag=UNTUNED_IMAGE, rm=True)
    samples: Samples = {}
    with tempfile.TemporaryDirectory() as name, Launcher(namespace="benchmark") as launcher:
        folder = Path(name)
        folder.chmod(0o755)
        with launcher.run_gateway(folder) as gateway:
            round_of_all({}, client, launcher, folder, gateway)  # warms caches, is not counted
            for _ in range(rounds):
                round_of_all(samples, client, launcher, folder, gateway)
    client.images.remove(UNTUNED_IMAGE)
    report(samples)


if __name__ == "__main__":
    main()
