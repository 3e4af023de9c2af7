"""``--kernel NAME=IMAGE[,...]``: a kernel, its image, and what its containers get."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from typing import Any

from jupyter_launcher.cli.words.common import FLAG_WORDS, read_fields, read_gpus, read_variables, refuse
from jupyter_launcher.models import KernelImage, Mount
from jupyter_launcher.models.options import show_value
from jupyter_launcher.spec.options import SPELLINGS

__all__ = ["KERNEL_FIELDS", "read_kernels"]

KERNEL_FIELDS = {
    "memory": "memory",
    "cpus": "cpus",
    "gpus": "gpus",
    "shm-size": "shm_size",
    "env": "environment",
    "mount": "mounts",
    "display-name": "display_name",
    "argv": "argv",
    "entrypoint": "entrypoint",
}
"""How the command spells the fields of a ``KernelImage``."""


def read_kernels(name: str, words: Iterable[str]) -> dict[str, str | KernelImage]:
    """The names of kernels and their images; with more than an image, a :class:`KernelImage`.

    Raises:
        OptionError: one cannot be read.
    """
    found: dict[str, str | KernelImage] = {}
    for word in words:
        kernel, equals, text = word.partition("=")
        image, *more = read_fields(name, word, text) if text else (("", "", "", ""),)
        if not (kernel and equals and image[0]):
            refuse(name, f"is {show_value(word)}", f"give {SPELLINGS[name].metavar}")
        if kernel in found:
            refuse(name, f"has {show_value(kernel)} twice", "give each name once")
        found[kernel] = KernelImage(image[0], **_read_kernel_fields(name, kernel, more)) if more else image[0]
    return found


def _read_kernel_fields(name: str, kernel: str, parts: Iterable[tuple[str, str, str, str]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    several: dict[str, list[str]] = {"environment": [], "mounts": []}
    for part, key, equals, text in parts:
        field = KERNEL_FIELDS.get(key, "")
        if field == "entrypoint" and text in FLAG_WORDS and field not in fields:
            fields[field] = FLAG_WORDS[text]
        elif field in several and equals:
            several[field].append(text)
        elif field in _READS and equals and field not in fields:
            fields[field] = _READS[field](name, kernel, text)
        else:
            hint = f"give one of {', '.join(KERNEL_FIELDS)}, each with = and its value"
            refuse(name, f"{kernel} has {show_value(part)}", hint)
    if several["environment"]:
        fields["environment"] = read_variables(name, several["environment"])
    if several["mounts"]:
        fields["mounts"] = [_read_short_mount(name, kernel, text) for text in several["mounts"]]
    return fields


def _read_short_mount(name: str, kernel: str, text: str) -> Mount:
    """``SOURCE:TARGET[:ro]``, where a source without a slash is a volume, as ``docker run -v`` has it."""
    source, _, rest = text.partition(":")
    target, colon, mode = rest.partition(":")
    if not (source and target) or (colon and mode not in ("ro", "rw")):
        refuse(name, f"{kernel} has mount {show_value(text)}", "give mount=SOURCE:TARGET, or mount=SOURCE:TARGET:ro")
    return Mount(source=source, target=target, type="bind" if "/" in source else "volume", read_only=mode == "ro")


def _read_number(name: str, kernel: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return refuse(name, f"{kernel} has cpus={show_value(text)}", "give a number of cores, such as cpus=1.5")


def _read_argv(name: str, kernel: str, text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        return refuse(name, f"{kernel} has argv={show_value(text)}: {error}", "write it as a shell reads it")


_READS: dict[str, Callable[[str, str, str], object]] = {
    "memory": lambda _, __, text: text,
    "cpus": _read_number,
    "gpus": lambda _, __, text: read_gpus(text),
    "shm_size": lambda _, __, text: text,
    "display_name": lambda _, __, text: text,
    "argv": _read_argv,
}
