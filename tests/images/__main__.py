"""Build the image of a Jupyter Enterprise Gateway, and print its tag.

python -m tests.images BASE_IMAGE [CERTIFICATE...]
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

import docker

__all__ = ["TAG", "build"]

TAG = "jupyter-launcher/test:enterprise-gateway-3.3"
_FOLDER = Path(__file__).parent / "enterprise-gateway"


def build(base_image: str, certificates: list[Path]) -> str:
    """Build it, as far as the engine's cache does not have it."""
    arguments = {"BASE_IMAGE": base_image}
    if os.environ.get("INDEX_URL"):
        arguments["PIP_INDEX_URL"] = os.environ["INDEX_URL"]
    client = docker.from_env(timeout=1800)
    before = {str(image.id) for image in client.images.list(TAG)}
    with tempfile.TemporaryDirectory() as folder:
        context = Path(shutil.copytree(_FOLDER, Path(folder) / "context"))
        for certificate in certificates:
            shutil.copy(certificate, context / "ca-certificates")
        built, _ = client.images.build(path=str(context), tag=TAG, buildargs=arguments, rm=True, forcerm=True)
    for replaced in before - {str(built.id)}:
        with contextlib.suppress(docker.errors.APIError):  # a container uses it
            client.images.remove(replaced)
    client.close()
    return TAG


if __name__ == "__main__":
    print(build(sys.argv[1], [Path(argument) for argument in sys.argv[2:]]))
