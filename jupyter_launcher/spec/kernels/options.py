"""What a caller asked of kernels in containers, checked and made plain: ``KernelOptions``."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, get_args

from jupyter_launcher.errors import OptionError
from jupyter_launcher.models import KernelImage, Mount
from jupyter_launcher.models.kernels import Isolation
from jupyter_launcher.models.options import is_text, show_value
from jupyter_launcher.spec import checks, texts
from jupyter_launcher.spec.checks import RUN_DIR, refuse_option
from jupyter_launcher.spec.engine_options import check_gpus
from jupyter_launcher.spec.mounts import check_mounts, to_bind

__all__ = [
    "CONNECTION_FILE",
    "DEFAULT_MAX_KERNELS",
    "HELD_VARIABLE",
    "KernelOptions",
    "check_kernel_user",
    "check_kernels",
]

CONNECTION_FILE = "{connection_file}"
"""What stands in a kernel's command for the path of its connection file."""
DEFAULT_MAX_KERNELS = 16
HELD_VARIABLE = re.compile(r"KERNEL_.*|JUPYTER_LAUNCHER_.*|JPY_PARENT_PID", re.DOTALL)
"""Set for each kernel anew: its id, and whose it is."""

_OPTION = "kernels"
_MOST_IMAGES = 16
_MOST_KERNELS = 1000
# Jupyter's own rule for kernel specs; and a name is a step of the path of a URL, where "." and ".." are none.
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,46}[A-Za-z0-9])?")
_MOST_DISPLAYED = 128  # characters
# They stand in variables of the gateway and of the broker; Linux takes 128 KiB for one variable.
_MOST_ARGV = 32 * 2**10
_MOST_VARIABLES = 64 * 2**10
_NUMBERS = re.compile(r"[0-9]+:[0-9]+")
_MAPPING_HINT = 'give {"python-3.13": "an/image:1"}, or KernelImage("an/image:1", memory="8g") in place of the image'
_NAME_HINT = "use 1 to 48 of the characters A-Z, a-z, 0-9, '.', '-' and '_', first and last a letter or a digit"


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelOptions:
    """Kernels in containers as requested, after all checks.

    Attributes:
        images: the name of a kernel → its image, in the caller's order; sizes are in bytes, and collections are tuples
            and dicts.
        isolation: ``environment`` or ``kernel``.
        max_kernels: how many may run at once.
        idle: seconds after which a kernel ends that has run nothing; None: never.
    """

    images: Mapping[str, KernelImage]
    isolation: Isolation
    max_kernels: int
    idle: int | None

    def to_options(self) -> dict[str, object]:
        """What makes two requests the same, as plain JSON values; of variables only a digest.

        Fields of an image that have their default are left out, so that a request to an older version compares equal.
        """
        return {
            "images": {name: _to_plain(image) for name, image in sorted(self.images.items())},
            "isolation": self.isolation,
            "max_kernels": self.max_kernels,
            "idle": self.idle,
        }


def check_kernels(
    kernels: Mapping[str, str | KernelImage] | None, isolation: object, max_kernels: object, kernel_idle: object
) -> KernelOptions | None:
    """Check the options of kernels in containers; None where ``kernels`` is None.

    Raises:
        OptionError: naming the option, and within ``kernels`` the kernel and the field.
    """
    checked: Isolation = _check_isolation(isolation, "isolation")
    most = _check_count(max_kernels, "max_kernels")
    idle = checks.check_idle(kernel_idle, "kernel_idle")
    if kernels is None:
        given = {
            "isolation": checked != "environment",
            "max_kernels": most != DEFAULT_MAX_KERNELS,
            "kernel_idle": idle is not None,
        }
        for option in (name for name, is_given in given.items() if is_given):
            refuse_option(option, "is given without kernels, and is for them alone", "give kernels=, or leave it out")
        return None
    return KernelOptions(images=_check_images(kernels), isolation=checked, max_kernels=most, idle=idle)


def check_kernel_user(user: str) -> str:
    """``uid:gid`` of those who run kernels in containers: a name may be another user in each image.

    Raises:
        OptionError: it is no pair of numbers.
    """
    if not _NUMBERS.fullmatch(user):
        seen = f"is {show_value(user)}, and a name may be another user in each image of kernels"
        refuse_option("user", seen, "give numbers, 'uid:gid' or 'uid', or None for the directory's owner")
    return user


def _check_isolation(value: object, option: str) -> Isolation:
    if not isinstance(value, str) or value not in get_args(Isolation):
        refuse_option(option, f"is {show_value(value)}", "give 'environment' or 'kernel'")
    return "kernel" if value == "kernel" else "environment"


def _check_count(value: object, option: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST_KERNELS:
        refuse_option(option, f"is {show_value(value)}", f"give a whole number from 1 to {_MOST_KERNELS}")
    return int(value)


def _check_images(kernels: object) -> dict[str, KernelImage]:
    if not isinstance(kernels, Mapping):  # not shown: it may hold variables
        refuse_option(_OPTION, f"is a value of type {type(kernels).__name__}", _MAPPING_HINT)
    pairs = dict(kernels)
    if not 1 <= len(pairs) <= _MOST_IMAGES:
        hint = f"give 1 to {_MOST_IMAGES}, or None for the kernels of the gateway's own image"
        refuse_option(_OPTION, f"has {len(pairs)} kernels", hint)
    found: dict[str, KernelImage] = {}
    for name, given in pairs.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            refuse_option(_OPTION, f"has the name {show_value(name)}", _NAME_HINT)
        twin = next((known for known in found if known.lower() == name.lower()), None)
        if twin is not None:
            hint = "take another name: to Jupyter, names of kernels that differ in case alone are one"
            refuse_option(_OPTION, f"has {show_value(twin)} and {show_value(name)}", hint)
        found[_to_exact(name)] = _check_image(given, f'{_OPTION}["{name}"]')
    return found


def _check_image(given: object, where: str) -> KernelImage:
    """One image, of which the caller holds nothing that could still change."""
    image = KernelImage(given) if isinstance(given, str) else given
    try:
        if not isinstance(image, KernelImage):  # not shown: it may hold variables
            hint = 'give the name of an image, or KernelImage("an/image:1", ...)'
            refuse_option(where, f"is a value of type {type(given).__name__}", hint)
        values = {name: check(getattr(image, name), f"{where}.{name}") for name, check in _CHECKS.items()}
    except OptionError as error:
        raise OptionError(error.message, hint=error.hint, option=_OPTION) from error.__cause__
    return KernelImage(**values)


def _check_image_name(value: object, option: str) -> str:
    return _to_exact(checks.check_image(value, option))


def _check_display_name(value: object, option: str) -> str | None:
    if value is None:
        return None
    if not is_text(value) or not value.isprintable() or not 1 <= len(value.strip()) <= _MOST_DISPLAYED:
        hint = f"give 1 to {_MOST_DISPLAYED} characters that can be shown, or None for the name in kernels="
        refuse_option(option, f"is {show_value(value)}", hint)
    return value.strip()


def _check_argv(value: object, option: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    hint = f"give a list such as ['python3', '-m', 'ipykernel_launcher', '-f', '{CONNECTION_FILE}']"
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        refuse_option(option, f"is {show_value(value)}", hint)
    words = [word for word in value if is_text(word) and word]
    if not words or len(words) != len(value) or sum(len(word.encode()) + 9 for word in words) > _MOST_ARGV:
        refuse_option(option, f"is {show_value(value)}", f"{hint}, of at most {_MOST_ARGV} bytes")
    if CONNECTION_FILE in words[0] or not any(CONNECTION_FILE in word for word in words):
        seen = f"is {show_value(value)}, and no argument has {CONNECTION_FILE}, which tells a kernel its ports"
        refuse_option(option, seen, hint)
    return tuple(map(_to_exact, words))


def _check_variables(value: Mapping[str, str] | None, option: str) -> dict[str, str]:
    variables = texts.check_environment(value, option)
    for name in variables:
        if HELD_VARIABLE.fullmatch(name):
            refuse_option(option, f"sets {show_value(name)}, which is set for each kernel anew", "leave it out")
    size = sum(len(f"{name}={text}".encode()) + 9 for name, text in variables.items())
    if size > _MOST_VARIABLES:
        hint = f"give at most {_MOST_VARIABLES}, and write more into a file of the pipeline, or of a mount"
        refuse_option(option, f"has {size} bytes", hint)
    return {_to_exact(name): _to_exact(text) for name, text in variables.items()}


def _check_mounts(value: object, option: str) -> tuple[Mount, ...]:
    if isinstance(value, Iterator):
        seen = "is an iterator, which has nothing left when kernels are asked for again"
        refuse_option(option, seen, "give a list or a tuple")
    mounts = check_mounts(value, option)
    for mount in mounts:
        if mount.target.startswith((RUN_DIR, f"/var{RUN_DIR}")):
            seen = f"has the target {show_value(mount.target)}"
            refuse_option(option, seen, "take another target: the launcher mounts files of its own there")
    return mounts


_CHECKS: Mapping[str, Callable[[Any, str], Any]] = {
    "image": _check_image_name,
    "display_name": _check_display_name,
    "argv": _check_argv,
    "memory": checks.check_size,
    "cpus": checks.check_cpus,
    "gpus": check_gpus,
    "shm_size": checks.check_size,
    "environment": _check_variables,
    "mounts": _check_mounts,
    "entrypoint": checks.check_flag,
}
"""The check of each field of an image: those of ``start``'s options, where it has the same word."""


def _to_exact(text: str) -> str:
    """A text of ``str`` itself, and of no class of the caller's that derives from it."""
    return str.__str__(text)


def _to_plain(image: KernelImage) -> dict[str, object]:
    pairs = {item.name: getattr(image, item.name) for item in fields(image)}
    pairs["environment"] = _digest(image.environment or {})
    pairs["mounts"] = [to_bind(mount).to_short_form() for mount in image.mounts]
    for name in ("argv", "gpus"):
        pairs[name] = list(pairs[name]) if isinstance(pairs[name], tuple) else pairs[name]
    return {name: value for name, value in pairs.items() if value != _DEFAULTS.get(name)}


_DEFAULTS = {"environment": "", "mounts": [], "entrypoint": True}
"""Of the fields whose default is not None, as ``_to_plain`` writes it."""


def _digest(variables: Mapping[str, str]) -> str:
    lines = "\0".join(f"{name}={text}" for name, text in sorted(variables.items()))
    return hashlib.sha256(lines.encode()).hexdigest()[:16] if lines else ""
