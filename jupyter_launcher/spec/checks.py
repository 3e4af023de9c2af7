"""Checks of single options: each takes a caller's value and returns the plain one, or raises OptionError."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import NoReturn

from jupyter_launcher.engine.types import LOOPBACK
from jupyter_launcher.errors import OptionError
from jupyter_launcher.models import Mount

__all__ = [
    "LABEL_PREFIX",
    "LOOPBACK",
    "MAX_LEASE",
    "MIN_LEASE",
    "PIPELINE_TARGET",
    "SERVER_PORT",
    "check_base_url",
    "check_cpus",
    "check_embedding_arguments",
    "check_environment",
    "check_flag",
    "check_gpus",
    "check_host_ip",
    "check_host_port",
    "check_lab_args",
    "check_labels",
    "check_lease",
    "check_mounts",
    "check_name",
    "check_optional_text",
    "check_size",
    "check_text",
]

PIPELINE_TARGET = "/pipeline-dir"
SERVER_PORT = 8888
LABEL_PREFIX = "jupyter-launcher."
MIN_LEASE = 3
MAX_LEASE = 30 * 86400

_MOST_CPUS = 1_000_000  # the engine takes billionths of a core, in 64 bits
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,46}[a-z0-9])?")
_UNITS = {"b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
# Only the launcher may set these. With other values it would not find the server, or the token would
# stand in the argv of a process.
_HELD_ARGUMENT = re.compile(
    r"--(ip|port|port-retries|sock|notebook-dir|gateway-url|GatewayClient\.url"
    r"|(ServerApp|LabApp|IdentityProvider|PasswordIdentityProvider)"
    r"\.(ip|port|port_retries|sock|root_dir|notebook_dir|base_url|token|password|hashed_password))"
)
# What allow_origin sets; given a second time it would replace that, and the policy against framing too.
_EMBEDDING_ARGUMENT = re.compile(
    r"--(ServerApp|LabApp)\.(allow_origin|allow_origin_pat|tornado_settings)|--IdentityProvider\.cookie_options"
)
_MOUNT_HINT = "give Mount(source='/absolute/on/the/host', target='/in/the/container')"
_HELD_ENVIRONMENT = ("JUPYTER_TOKEN", "JUPYTER_TOKEN_FILE", "JUPYTER_RUNTIME_DIR", "JUPYTER_GATEWAY_URL")


def _refuse(option: str, seen: str, hint: str) -> NoReturn:
    msg = f"{option} {seen}"
    raise OptionError(msg, hint=hint, option=option) from None


def _is_text(value: object) -> bool:
    """Whether a value is a text that UTF-8 can encode, and without NUL."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_name(value: object, option: str) -> str:
    """A session id or a namespace: they become part of a container's name.

    Raises:
        OptionError: naming ``option``.
    """
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        hint = "use 1 to 48 of the characters a-z, 0-9, '-' and '_', beginning and ending with a letter or a digit"
        _refuse(option, f"is {value!r}", hint)
    return value


def check_optional_text(value: object, option: str) -> str | None:
    """A text or None."""
    return None if value is None else check_text(value, option)


def check_text(value: object, option: str) -> str:
    """A text that UTF-8 can encode."""
    if not isinstance(value, str) or not _is_text(value):
        _refuse(option, f"is {value!r}", "give a text, in characters that UTF-8 has")
    return value


def check_flag(value: object, option: str) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        _refuse(option, f"is {value!r}", "give True or False")
    return value


def check_host_ip(value: str, option: str) -> str:
    """An IP address of the engine's host."""
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        _refuse(option, f"is {value!r}", "give an IP address of the host, '127.0.0.1' for this host alone")


def check_host_port(value: object, option: str) -> int | None:
    """A port number; None: the engine chooses a free one."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 65536:
        _refuse(option, f"is {value!r}", "give a number from 1 to 65535, or None for a free one")
    return value


def check_base_url(value: object, option: str) -> str:
    """A URL path, returned with a slash at both ends."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9/_.~@%-]*", value) or "//" in value:
        _refuse(option, f"is {value!r}", "give a URL path such as '/' or '/pipelines/one/'")
    return "/" + f"{value.strip('/')}/".lstrip("/")


def check_environment(given: Mapping[str, str] | None, option: str) -> dict[str, str]:
    """Variables for the server; those that the launcher itself sets are refused."""
    environment = _strings(given, option)
    for name, value in environment.items():
        if name in _HELD_ENVIRONMENT:
            _refuse(option, f"sets {name}, which the launcher itself sets", "leave it out")
        if not name or "=" in name or not _is_text(name + value):
            hint = "give a name that is not empty and has no '=', and characters that UTF-8 has, without NUL"
            _refuse(option, f"has an unusable variable {name!r}", hint)
    return environment


def check_labels(given: Mapping[str, str] | None, option: str) -> dict[str, str]:
    """Labels of the caller; those with the launcher's own prefix are refused."""
    labels = _strings(given, option)
    if not all(map(_is_text, (*labels, *labels.values()))):
        _refuse(option, "has a text that cannot be encoded", "give characters that UTF-8 has, without NUL")
    if any(name.startswith(LABEL_PREFIX) for name in labels):
        _refuse(option, f"sets one that begins with {LABEL_PREFIX!r}, which is the launcher's", "take another name")
    return labels


def _strings(given: Mapping[str, str] | None, option: str) -> dict[str, str]:
    given = {} if given is None else given
    if not isinstance(given, Mapping) or not all(isinstance(item, str) for pair in given.items() for item in pair):
        _refuse(option, "is not a mapping of texts to texts", "write numbers as texts too")
    return dict(given)


def check_mounts(given: Iterable[Mount], option: str) -> tuple[Mount, ...]:
    """Mounts of absolute paths, no two at one target."""
    try:
        mounts = tuple(
            replace(mount, source=os.fspath(mount.source), target=os.fspath(mount.target)) for mount in given
        )
    except (TypeError, AttributeError):
        _refuse(option, f"is {given!r}", _MOUNT_HINT)
    targets = {PIPELINE_TARGET}
    for mount in mounts:
        if not (_is_text(mount.source) and _is_text(mount.target) and PurePosixPath(mount.source).is_absolute()):
            _refuse(option, f"has {mount!r}", _MOUNT_HINT)
        target = os.path.normpath(mount.target)
        if not target.startswith("/") or target == "/" or target in targets:
            hint = "give an absolute path at which nothing else is mounted"
            _refuse(option, f"has the target {mount.target!r}", hint)
        targets.add(target)
    return mounts


def check_size(value: int | str | None, option: str) -> int | None:
    """Bytes from 512, '512m', '1.5g': units of 1024, as the docker command reads them."""
    if value is None:
        return None
    text = str(value).strip().lower().removesuffix("ib").removesuffix("b")
    unit = _UNITS.get(text[-1:], 1)
    try:
        size = int(float(text[:-1] if text[-1:] in _UNITS else text) * unit)
    except (ValueError, OverflowError):
        size = 0
    if size <= 0:
        _refuse(option, f"is {value!r}", "give a number of bytes, or a text such as '512m' or '2g'")
    return size


def check_cpus(value: object, option: str) -> float | None:
    """A number of cores."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.01 <= value <= _MOST_CPUS:
        _refuse(option, f"is {value!r}", "give a number of cores from 0.01 up, such as 1.5")
    return value


def check_gpus(value: object, option: str) -> int | str | None:
    """``all`` or a number of GPUs."""
    if value is None or value == "all":
        return None if value is None else "all"
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        _refuse(option, f"is {value!r}", "give 'all' or how many")
    return value


def check_lease(value: object, option: str) -> int | None:
    """Whole seconds."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not MIN_LEASE <= value <= MAX_LEASE:
        hint = f"give whole seconds from {MIN_LEASE} to {MAX_LEASE} (30 days), or None for a session without a lease"
        _refuse(option, f"is {value!r}", hint)
    return value


def check_lab_args(given: Iterable[str], option: str) -> tuple[str, ...]:
    """Arguments for ``jupyter lab``; those that the launcher itself sets are refused."""
    args = () if isinstance(given, str) or not isinstance(given, Iterable) else tuple(given)
    if isinstance(given, str) or not isinstance(given, Iterable) or not all(map(_is_text, args)):
        hint = "give a sequence of texts, one per argument, such as ['--LabApp.default_url=/lab/tree/report.ipynb']"
        _refuse(option, f"is {given!r}", hint)
    for arg in args:
        flag = arg.partition("=")[0]
        if _HELD_ARGUMENT.fullmatch(flag):
            _refuse(option, f"has {flag}, which the launcher itself sets", "leave it out")
    return args


def check_embedding_arguments(lab_args: Iterable[str]) -> None:
    """Refuse arguments that would replace what ``allow_origin`` sets.

    Raises:
        OptionError: naming the argument.
    """
    for arg in lab_args:
        flag = arg.partition("=")[0]
        if _EMBEDDING_ARGUMENT.fullmatch(flag):
            _refuse("lab_args", f"has {flag}, which allow_origin sets", "leave one of them out")
