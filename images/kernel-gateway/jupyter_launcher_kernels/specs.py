"""The kernel specs of a gateway whose kernels run in containers."""

from __future__ import annotations

import atexit
import base64
import json
import re
import shutil
import tempfile
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager, NoSuchKernel
from traitlets import Dict, Unicode, default

__all__ = ["ContainerKernelSpec", "ContainerKernelSpecs", "take_kernels"]

_VARIABLE = re.compile(r"JUPYTER_LAUNCHER_KERNEL_[0-9]+")
_ENCRYPTS = {"supported_encryption": ["curve"]}
_LOGO = re.compile(r"logo-[A-Za-z0-9._-]{1,100}")


def take_kernels(environment: MutableMapping[str, str]) -> dict[str, dict[str, Any]]:
    """Take what the launcher says of each kernel out of the environment: the name of a kernel → the rest."""
    names = sorted((name for name in environment if _VARIABLE.fullmatch(name)), key=lambda name: (len(name), name))
    kernels = [json.loads(environment.pop(name)) for name in names]
    return {kernel.pop("name"): kernel for kernel in kernels}


class ContainerKernelSpec(KernelSpec):
    """What a client is shown of a kernel; and, shown to none, the address and the secret of the part that starts it."""

    address = Unicode()
    secret = Unicode()


class ContainerKernelSpecs(KernelSpecManager):
    """The kernels that the launcher has named, and no other: none beside the gateway."""

    kernels = Dict(config=True, help="The name of a kernel, and what the launcher says of it.")
    _folder = Unicode()

    @default("_folder")
    def _make_folder(self) -> str:
        """A folder with the logos, in a folder of each kernel's own."""
        folder = tempfile.mkdtemp(prefix="jupyter-launcher-specs-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        for number, kernel in enumerate(self.kernels.values()):
            own = Path(folder, str(number))
            own.mkdir()
            for name, logo in kernel.get("logos", {}).items():
                if _LOGO.fullmatch(name):
                    (own / name).write_bytes(base64.b64decode(logo))
        return folder

    def find_kernel_specs(self) -> dict[str, str]:
        """The name of each kernel → the folder with its logos."""
        return {name: f"{self._folder}/{number}" for number, name in enumerate(self.kernels)}

    def get_kernel_spec(self, kernel_name: str) -> ContainerKernelSpec:
        """What the launcher says of a kernel, as a kernel spec.

        Raises:
            NoSuchKernel: it has named no such kernel.
        """
        folder = self.find_kernel_specs().get(kernel_name)
        if folder is None:
            raise NoSuchKernel(kernel_name)
        return _make_spec(kernel_name, folder, self.kernels[kernel_name])


def _make_spec(name: str, folder: str, kernel: Mapping[str, Any]) -> ContainerKernelSpec:
    return ContainerKernelSpec(
        name=name,
        address=kernel["address"],
        secret=kernel.get("secret", ""),
        argv=kernel["argv"],
        display_name=kernel.get("display_name") or name,
        language=kernel.get("language", ""),
        interrupt_mode=kernel.get("interrupt_mode", "signal"),
        env=kernel.get("env", {}),
        resource_dir=folder,
        metadata={**kernel.get("metadata", {}), **(_ENCRYPTS if kernel.get("encrypts") else {})},
    )
