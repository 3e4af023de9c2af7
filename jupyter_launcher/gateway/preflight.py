"""A look into the images of kernels, before anything is started."""

from __future__ import annotations

from collections.abc import Mapping

from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.spec.kernels.found import FoundKernel
from jupyter_launcher.spec.kernels.options import KernelOptions

__all__ = ["find_kernels"]


def find_kernels(engine: Engine, options: KernelOptions, user: str) -> Mapping[str, FoundKernel]:
    """The kernel of each image, by the look of a short-lived container without a network, all at once.

    The images are on the engine.

    Args:
        engine: that has them.
        options: as they were checked.
        user: of the kernels, ``uid:gid``.

    Raises:
        KernelImageError: an image has no kernel, more than one and none named ``python3``, or not what its isolation
            needs.
        EngineError: the engine does not answer.
    """
    raise NotImplementedError
