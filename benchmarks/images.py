"""The images that the peers start."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
from collections.abc import Iterator, Mapping
from typing import Any

from docker.errors import ImageNotFound

from jupyter_launcher import DEFAULT_IMAGE

# JupyterLab as pip installs it, on a machine with node: ours with what it leaves out. Each costs a
# start some time: rfc3987-syntax builds a grammar, and with node on the PATH JupyterLab asks it for
# yarn's configuration.
UNTUNED = f"""
FROM {DEFAULT_IMAGE}
USER root
RUN apt-get update && apt-get install --yes --no-install-recommends nodejs
RUN /opt/jupyter/bin/pip install --quiet --no-cache-dir rfc3987-syntax
USER 1000
"""
HUB = """
FROM {untuned}
USER root
RUN /opt/jupyter/bin/pip install --quiet --no-cache-dir jupyterhub=={version}
USER 1000
CMD ["jupyterhub-singleuser"]
"""


@contextlib.contextmanager
def built(client: Any, name: str, dockerfile: str, arguments: Mapping[str, str] | None = None) -> Iterator[str]:
    """An image, removed on leaving; the engine's build cache goes with it."""
    try:
        file = io.BytesIO(dockerfile.encode())
        client.images.build(fileobj=file, tag=name, rm=True, forcerm=True, buildargs=dict(arguments or {}))
        yield name
    finally:
        with contextlib.suppress(ImageNotFound):
            client.images.remove(name, force=True)


@contextlib.contextmanager
def untuned(client: Any, run: str) -> Iterator[str]:
    with built(client, f"{run}:untuned", UNTUNED) as name:
        yield name


@contextlib.contextmanager
def with_jupyterhub(client: Any, run: str, base: str) -> Iterator[str]:
    """The untuned image with the jupyterhub package in the version of the hub itself."""
    dockerfile = HUB.format(untuned=base, version=importlib.metadata.version("jupyterhub"))
    with built(client, f"{run}:hub", dockerfile) as name:
        yield name
