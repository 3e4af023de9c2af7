"""Build the images in which the tests run kernels, and print their tags.

python -m tests.kernels.images BASE OLD_BASE [CERTIFICATE...]

BASE and OLD_BASE are images with a Python to build upon; the second one has Python 3.11.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import docker

from tests.containers import build_image

__all__ = ["IMAGES", "build", "tag_of"]

FOLDER = Path(__file__).parent
IMAGES = ("python-3.11", "no-kernel", "no-python", "entrypoint")
"""In the order in which they are built upon each other."""


def tag_of(name: str) -> str:
    """The tag of one of these images."""
    return f"jupyter-launcher/test-kernel:{name}"


def build(client: Any, base: str, old_base: str, certificates: Sequence[Path]) -> list[str]:
    """Build all of them, as far as the engine's cache does not have them."""
    arguments = {"PIP_INDEX_URL": os.environ["INDEX_URL"]} if os.environ.get("INDEX_URL") else {}
    bases = {"python-3.11": old_base}
    for name in IMAGES:
        print(f"building {tag_of(name)}", file=sys.stderr, flush=True)
        _build(client, name, certificates, {**arguments, "BASE_IMAGE": bases.get(name, base)})
    return [tag_of(name) for name in IMAGES]


def _build(client: Any, name: str, certificates: Sequence[Path], arguments: Mapping[str, str]) -> None:
    with tempfile.TemporaryDirectory() as made:
        context = Path(shutil.copytree(FOLDER / name, Path(made) / "context"))
        (context / "ca-certificates").mkdir()
        for certificate in certificates:
            shutil.copy(certificate, context / "ca-certificates")
        build_image(client, context, tag_of(name), arguments)


if __name__ == "__main__":
    engine = docker.from_env(timeout=1800)
    trixie, bookworm, *given = sys.argv[1:]
    print(*build(engine, trixie, bookworm, [Path(item) for item in given]))
    engine.close()
