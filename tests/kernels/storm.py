"""A launcher's process for the storm: starts a session or a gateway with kernels in containers, and uses it.

python -m tests.kernels.storm NAMESPACE DIRECTORY ISOLATION SESSION_ID SEED

With an empty SESSION_ID it is a gateway. It starts, restarts and ends kernels, until it is killed.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
import threading

import requests

from jupyter_launcher import DEFAULT_IMAGE, Launcher
from tests.kernels.client import Kernels

AT_ONCE = 2


def use(kernels: Kernels, chance: random.Random) -> None:
    """Start kernels, and restart and end some of them; what fails is what the storm is for."""
    while True:
        with contextlib.suppress(AssertionError, requests.RequestException):
            kernel = kernels.start("py")
            if chance.random() < 0.4:
                kernels.restart(kernel)
            if chance.random() < 0.6:
                kernels.end(kernel)
        if threading.Event().wait(0.1):
            return


def main() -> None:
    namespace, folder, isolation, session_id, seed = sys.argv[1:]
    launcher = Launcher(namespace=namespace, engine_socket=os.environ.get("ENGINE_SOCKET"))
    options = {"kernels": {"py": DEFAULT_IMAGE}, "isolation": isolation, "max_kernels": 6}
    if session_id:
        kernels = Kernels(launcher.start(folder, session_id=session_id, **options))  # type: ignore[arg-type]
    else:
        # It is never left: whoever started this process kills it.
        kernels = Kernels(launcher.run_gateway(folder, **options).__enter__())  # type: ignore[arg-type]
    print("ready", flush=True)
    threads = [
        threading.Thread(target=use, args=(kernels, random.Random(f"{seed} {index}")))  # noqa: S311 - chance, not secrets
        for index in range(AT_ONCE)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
