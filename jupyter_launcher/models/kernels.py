"""Kernels in containers: the images that callers name, and the kernels that run."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Literal

from jupyter_launcher.models.options import Mount

__all__ = ["Isolation", "KernelImage", "KernelSummary"]

Isolation = Literal["environment", "kernel"]


@dataclass(frozen=True, slots=True)
class KernelImage:
    """An image in which kernels run, and what its containers get. ``start`` and its kin check it.

    The options are those of ``Launcher.start``. With ``isolation="kernel"`` the limits are those of
    each kernel, with ``isolation="environment"`` those of all kernels of this image together.

    Attributes:
        image: with ``sh`` and a kernel, such as ``ipykernel``; with ``isolation="environment"``, with Python 3.8 or
            newer too.
        display_name: what JupyterLab's launcher shows; None: the name that the kernel has in ``kernels=``.
        argv: the kernel's command, with ``{connection_file}`` in it; None: of the image's own kernel spec ``python3``,
            else of its only one.
        memory, cpus, gpus, shm_size: as for ``start``.
        environment: variables of the kernels, at most 64 KiB of them; none may begin with ``KERNEL_`` or
            ``JUPYTER_LAUNCHER_``. Everyone who may ask the engine can read them.
        mounts: more folders, files and volumes.
        entrypoint: the image's ENTRYPOINT runs before the kernel.
    """

    image: str
    _: KW_ONLY
    display_name: str | None = None
    argv: Sequence[str] | None = None
    memory: int | str | None = None
    cpus: float | None = None
    gpus: int | str | Collection[str] | None = None
    shm_size: int | str | None = None
    environment: Mapping[str, str] | None = field(default=None, repr=False)
    mounts: Iterable[Mount] = ()
    entrypoint: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelSummary:
    """A kernel in a container of its own, by that container's labels.

    Attributes:
        kernel_id: as Jupyter numbers it.
        name: that it has in ``kernels=``.
        image: as the engine names it.
        container_id: the full id of its container.
        state: the engine's word, such as ``running``.
    """

    kernel_id: str
    name: str
    image: str
    container_id: str
    state: str
