"""What a look into a kernel's image has found: ``FoundKernel``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["FoundKernel", "parse_found"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundKernel:
    """The kernel of an image, from its own kernel spec and from what the caller gave in its place.

    Attributes:
        argv: with ``{connection_file}`` in it; the first word is a path where the spec says ``python``.
        display_name, language, interrupt_mode, environment: of the kernel spec.
        encrypts: the kernel knows CurveZMQ (``supported_encryption`` of the spec).
        logos: a file's name, such as ``logo-64x64.png`` → its bytes, at most 16 KiB each.
        python: the path of a Python 3.8 or newer, which runs the agent; empty: the image has none.
        home_is_writable: whether the user can write to HOME.
    """

    argv: tuple[str, ...]
    display_name: str
    language: str = ""
    interrupt_mode: str = "signal"
    environment: Mapping[str, str] = field(default_factory=dict)
    encrypts: bool = False
    logos: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    python: str = ""
    home_is_writable: bool = True


def parse_found(printed: str) -> FoundKernel:
    """What ``look_at_kernels.sh`` printed."""
    raise NotImplementedError
