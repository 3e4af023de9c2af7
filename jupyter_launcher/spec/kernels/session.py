"""Kernels in containers of a session's own: what of the other options of a start cannot be with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jupyter_launcher.spec.checks import refuse_option
from jupyter_launcher.spec.kernels.options import (
    DEFAULT_MAX_KERNELS,
    KernelOptions,
    check_kernel_user,
    check_kernels,
)

__all__ = ["check_session_kernels"]


def check_session_kernels(given: Mapping[str, Any], user: str) -> KernelOptions | None:
    """Check the options of ``Launcher.start`` that are about kernels in containers; None where there are none.

    Args:
        given: the options as the caller gave them; one that is not there has its default.
        user: of the session.

    Raises:
        OptionError: naming the option.
    """
    options = check_kernels(
        given.get("kernels"),
        given.get("isolation", "environment"),
        given.get("max_kernels", DEFAULT_MAX_KERNELS),
        given.get("kernel_idle"),
    )
    if options is None:
        return None
    if given.get("gateway") is not None:
        hint = "give one of them; a gateway has kernels in containers by kernels= of run_gateway or start_gateway"
        refuse_option("kernels", "are for a gateway of the session's own, and gateway= is given too", hint)
    if given.get("pipeline_relabel") == "Z":
        seen = "is 'Z', the label of one container alone, and with kernels= others use the directory too"
        refuse_option("pipeline_relabel", seen, "give 'z'")
    check_kernel_user(user)
    return options
