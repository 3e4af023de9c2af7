"""Run the tests that depend on Jupyter's private parts with the newest JupyterLab instead of the pinned one.

newest_jupyter.py [TEST...]     the tests that are named; else those of the patches and of sessions
"""

from __future__ import annotations

import os
import subprocess
import sys

import docker

from jupyter_launcher import DEFAULT_IMAGE

__all__ = ["main"]

TAG = "jupyter-launcher/test:newest-jupyter"
TESTS = ("tests/integration/test_upstream.py", "tests/integration/test_session.py")
DOCKERFILE = f"""
FROM {DEFAULT_IMAGE}
USER 0
ARG PIP_INDEX_URL
RUN /opt/jupyter/bin/python3 -m pip install --no-cache-dir --upgrade --upgrade-strategy eager jupyterlab \\
 && /opt/jupyter/bin/python3 -m pip list | grep -E '^(jupyterlab|jupyter_server|tornado|traitlets) '
USER 1000
"""


def main(tests: list[str]) -> int:
    """Build the image, run the tests on it, remove it; pytest's exit code."""
    index = {"PIP_INDEX_URL": os.environ["INDEX_URL"]} if os.environ.get("INDEX_URL") else {}
    client = docker.from_env()
    line = [
        "docker",
        "build",
        "--quiet",
        "--tag",
        TAG,
        *(f"--build-arg={name}={url}" for name, url in index.items()),
        "-",
    ]
    subprocess.run(line, input=DOCKERFILE, text=True, check=True, env={**os.environ, "DOCKER_BUILDKIT": "0"})
    try:
        versions = client.containers.run(TAG, ["sh", "-c", "python3 -m pip list | grep -iE '^jupyter'"], remove=True)
        print(versions.decode(), flush=True)
        pytest = [sys.executable, "-m", "pytest", f"--jupyter-image={TAG}", *(tests or TESTS)]
        return subprocess.run(pytest, check=False).returncode
    finally:
        client.images.remove(TAG, force=True)
        client.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
