"""What a caller asked of kernels in containers, checked and made plain: ``KernelOptions``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jupyter_launcher.models import KernelImage
from jupyter_launcher.models.kernels import Isolation

__all__ = ["KernelOptions", "check_kernels"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelOptions:
    """Kernels in containers as requested, after all checks.

    Attributes:
        images: the name of a kernel → its image; sizes are in bytes, and collections are tuples and dicts.
        isolation: ``environment`` or ``kernel``.
        max_kernels: how many may run at once.
        idle: seconds after which a kernel ends that has run nothing; None: never.
    """

    images: Mapping[str, KernelImage]
    isolation: Isolation
    max_kernels: int
    idle: int | None

    def to_options(self) -> dict[str, object]:
        """What makes two requests the same, as plain JSON values; of variables only a digest."""
        raise NotImplementedError


def check_kernels(
    kernels: Mapping[str, str | KernelImage] | None, isolation: object, max_kernels: object, kernel_idle: object
) -> KernelOptions | None:
    """Check the options of kernels in containers; None where ``kernels`` is None.

    Raises:
        OptionError: naming the option, and within ``kernels`` the kernel and the field.
    """
    raise NotImplementedError
