"""Many starts and stops with random kills, and what is left over afterwards.

    python -m tests.faults.soak [--cycles 500] [--workers 2] [--seed N]

Needs root, for an engine of its own. Exits with 1 when anything is left: a container, a network, an
open file, a thread, a kernel on the gateway.
"""

from __future__ import annotations

import argparse
import collections
import gc
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests

from jupyter_launcher import DEFAULT_GATEWAY_IMAGE, DEFAULT_IMAGE, Launcher, RunningGateway, Session, Timeouts
from tests.faults.own_engine import OwnEngine, eventually

NAMESPACE = "soak"
CHILD = """
import sys
from jupyter_launcher import Launcher
url, namespace, folder, gateway, name, verb = sys.argv[1:]
launcher = Launcher(docker_host=url, namespace=namespace)
print("ready", flush=True)
launcher.start(folder, gateway=gateway, session_id=name) if verb == "start" else launcher.stop(name)
"""


class Soak:
    def __init__(self, engine: OwnEngine, launcher: Launcher, folder: Path, gateway: RunningGateway, seed: int) -> None:
        self.engine, self.launcher, self.folder, self.gateway = engine, launcher, folder, gateway
        self.random = random.Random(seed)  # noqa: S311 - chance, not secrets
        self.deeds: collections.Counter[str] = collections.Counter()
        self.client = engine.client()

    def cycle(self, number: int) -> None:
        """One session: started, given a kernel, and ended in one of many ways."""
        name = f"s-{number}"
        deed = self.random.choice(
            ["stop", "stop", "kill server", "kill container", "remove", "docker stop", "die starting", "die stopping"]
        )
        delay = self.random.uniform(0.0, 1.5)
        self.deeds[deed] += 1
        if deed == "die starting":
            self.killed_child(name, "start", delay)
        session = self.launcher.start(self.folder, gateway=self.gateway, session_id=name)
        self.start_kernel(session)
        if deed == "die stopping":
            self.killed_child(name, "stop", delay / 3)
        elif deed == "kill server":
            container = self.client.containers.get(session.container_id)
            container.exec_run(["kill", "-KILL", str(session.server_info.pid)])
        elif deed in ("kill container", "remove", "docker stop"):
            container = self.client.containers.get(session.container_id)
            actions = {"kill container": container.kill, "docker stop": container.stop}
            actions.get(deed, lambda: container.remove(force=True))()
        session.stop()

    def killed_child(self, name: str, verb: str, delay: float) -> None:
        arguments = [self.engine.url, NAMESPACE, str(self.folder), self.gateway.name, name, verb]
        line = [sys.executable, "-c", CHILD, *arguments]
        with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)

    def start_kernel(self, session: Session) -> None:
        headers = {"Authorization": f"token {session.server_info.token}"}
        requests.post(f"{session.url}api/kernels", json={}, headers=headers, timeout=60).raise_for_status()

    def left(self, networks: set[str]) -> dict[str, Any]:
        self.launcher.reap(min_age=0, keep=[])
        networks_of_gateway = self.client.containers.get(self.gateway.name).attrs["NetworkSettings"]["Networks"]
        address = networks_of_gateway["bridge"]["IPAddress"]
        label = f"jupyter-launcher.namespace={NAMESPACE}"
        url = f"http://{address}:8888/api/kernels"
        headers = {"Authorization": f"token {self.gateway.token}"}
        eventually(lambda: not requests.get(url, headers=headers, timeout=10).json(), 10)
        found = {
            "containers": len(self.client.containers.list(all=True, filters={"label": label}, ignore_removed=True)),
            "networks": len({item.id for item in self.client.networks.list()} - networks),
            "volumes": len(self.client.volumes.list()),
            "kernels on the gateway": len(requests.get(url, headers=headers, timeout=10).json()),
        }
        self.client.close()
        return found


def open_files() -> int:
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=500)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    engine = OwnEngine(Path("/tmp/jupyter-launcher-soak"))  # noqa: S108 - short, for a socket's path
    engine.set_up()
    try:
        engine.start()
        engine.load(DEFAULT_IMAGE, DEFAULT_GATEWAY_IMAGE)
        failed = soak(engine, arguments)
    finally:
        engine.tear_down()
    sys.exit(failed)


def soak(engine: OwnEngine, arguments: argparse.Namespace) -> int:
    errors: list[str] = []
    done = 0
    with (
        tempfile.TemporaryDirectory() as name,
        Launcher(docker_host=engine.url, namespace=NAMESPACE, timeouts=Timeouts(shutdown=5, terminate=3)) as launcher,
        launcher.run_gateway(Path(name)) as gateway,
    ):
        os.chmod(name, 0o755)  # noqa: PTH101, S103 - for whoever the server runs as
        work = Soak(engine, launcher, Path(name), gateway, arguments.seed)
        networks = {item.id for item in work.client.networks.list()}
        work.cycle(0)
        work.client.close()
        files, threads = open_files(), threading.active_count()

        def cycle(number: int) -> None:
            nonlocal done
            try:
                work.cycle(number)
            except Exception as error:  # noqa: BLE001 - each is counted and shown
                errors.append(f"cycle {number}: {type(error).__name__}: {error}"[:500])
            done += 1
            if done % 50 == 0:
                print(f"{done} cycles, {len(errors)} errors", flush=True)

        with ThreadPoolExecutor(arguments.workers) as pool:
            list(pool.map(cycle, range(1, arguments.cycles + 1)))
        left = work.left(networks)
        left["threads"] = threading.active_count() - threads
        # The launcher's pool keeps a connection to the engine for each worker, and no more.
        left["open files"] = max(0, open_files() - files - arguments.workers)
    print(f"{done} cycles: {dict(work.deeds)}")
    print(f"errors: {len(errors)}", *errors[:20], sep="\n")
    print(f"left over: {left}")
    return 1 if errors or any(left.values()) else 0


if __name__ == "__main__":
    main()
