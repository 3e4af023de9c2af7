"""Checks of single options: each takes a caller's value and returns the plain one, or raises OptionError."""

from __future__ import annotations

import ipaddress
import math
import re
import socket
from collections.abc import Callable, Collection, Mapping
from typing import Any, NoReturn, TypeVar
from urllib.parse import unquote, urlsplit

from jupyter_launcher.engine.types import LOOPBACK
from jupyter_launcher.errors import OptionError
from jupyter_launcher.models import RunningGateway
from jupyter_launcher.models.options import is_text, show_value

__all__ = [
    "HOME_TARGET",
    "LABEL_PREFIX",
    "LOOPBACK",
    "MAX_LEASE",
    "MIN_LEASE",
    "MIN_LOG_SIZE",
    "PIPELINE_TARGET",
    "RUN_DIR",
    "SERVER_PORT",
    "check_age",
    "check_base_url",
    "check_callback",
    "check_cpus",
    "check_flag",
    "check_gateway",
    "check_host_ip",
    "check_host_port",
    "check_idle",
    "check_ids",
    "check_image",
    "check_instance",
    "check_lease",
    "check_log_size",
    "check_name",
    "check_network",
    "check_size",
    "check_socket",
    "check_text",
    "check_umask",
    "check_user",
    "refuse_option",
    "refuse_own_address",
]

T = TypeVar("T")

PIPELINE_TARGET = "/pipeline-dir"
HOME_TARGET = "/home/jupyter-launcher"  # HOME in a session that was given one
RUN_DIR = "/run/jupyter-launcher"  # the session's own folder in its container, in memory: server/inside/README.md
SERVER_PORT = 8888
LABEL_PREFIX = "jupyter-launcher."
MIN_LEASE = 3
MAX_LEASE = 30 * 86400
MIN_LOG_SIZE = 64 * 2**10

_MOST_CPUS = 1_000_000  # the engine takes billionths of a core, in 64 bits
_MOST_BYTES = 2**63 - 1
_OWN_NAMES = ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback")  # in a container's /etc/hosts
_LAST_UID = 2**31 - 1  # of the engine's runtimes
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,46}[a-z0-9])?")
_CONTAINER = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9_.-]*)(?::(?P<port>[0-9]{1,5}))?")
_IMAGE = re.compile(r"[A-Za-z0-9\[][A-Za-z0-9_.:/@\[\]+-]*")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@\\$+-]*(?::[A-Za-z0-9_][A-Za-z0-9_.@\\$+-]*)?")
_BASE_URL = re.compile(r"(?:[A-Za-z0-9/_.~@-]|%[0-9A-Fa-f]{2})*")
_UNITS = {"b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_UMASK = re.compile(r"0{0,2}[0-7]{1,2}")
_TEXT_HINT = "give a text, in characters that UTF-8 has, without NUL"


def refuse_option(option: str, seen: str, hint: str) -> NoReturn:
    """Raise the error about an option: ``seen`` continues the sentence that begins with its name."""
    msg = f"{option} {seen}"
    raise OptionError(msg, hint=hint, option=option) from None


def check_name(value: object, option: str) -> str:
    """A session id or a namespace: they become part of a container's name.

    Raises:
        OptionError: naming ``option``.
    """
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        hint = "use 1 to 48 of the characters a-z, 0-9, '-' and '_', beginning and ending with a letter or a digit"
        refuse_option(option, f"is {show_value(value)}", hint)
    return value


def check_text(value: object, option: str) -> str:
    """A text that UTF-8 can encode."""
    if not is_text(value):
        refuse_option(option, f"is {show_value(value)}", _TEXT_HINT)
    return value


def check_socket(value: object, option: str) -> str | None:
    """An absolute path of a socket on the engine's host, without ``..``; None: none is given."""
    if value is not None and not (is_text(value) and value.startswith("/") and ".." not in value.split("/")):
        refuse_option(option, f"is {show_value(value)}", "give the absolute path of the engine's unix socket, or None")
    return value


def check_flag(value: object, option: str) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        refuse_option(option, f"is {show_value(value)}", "give True or False")
    return value


def check_callback(value: Callable[..., Any] | None, option: str) -> Callable[..., Any] | None:
    """Something that can be called, or None."""
    if value is not None and not callable(value):
        refuse_option(option, f"is {show_value(value)}", "give a function, or None")
    return value


def check_instance(value: object, kind: type[T], option: str) -> T:
    """A value of one of the library's own classes."""
    if not isinstance(value, kind):
        refuse_option(option, f"is {show_value(value)}", f"give {kind.__name__}(...)")
    return value


def check_age(value: object, option: str) -> float:
    """Seconds from 0 up."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        refuse_option(option, f"is {show_value(value)}", "give a number of seconds from 0 up")
    return value


def check_ids(value: object, option: str) -> Collection[str] | None:
    """Session ids, or None: the collection itself, which may change later. A text alone is refused."""
    if value is not None and (isinstance(value, (str, bytes)) or not isinstance(value, Collection)):
        refuse_option(option, f"is {show_value(value)}", "give a list or a set of session ids, or None")
    return value


def check_user(value: object, option: str) -> str:
    """``uid``, ``uid:gid``, or names that the image knows; numbers without leading zeros."""
    is_number = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LAST_UID
    text = str(value) if is_number else value
    if isinstance(text, str) and _USER.fullmatch(text):
        parts = [part.lstrip("0") or "0" if part.isdecimal() else part for part in text.split(":")]
        if not any(part.isdecimal() and (len(part) > 10 or int(part) > _LAST_UID) for part in parts):
            return ":".join(parts)
    hint = f"give 'uid', 'uid:gid' (from 0 to {_LAST_UID}), or a name that the image knows; None: the directory's owner"
    refuse_option(option, f"is {show_value(value)}", hint)


def check_image(value: object, option: str) -> str:
    """An image's name, with a tag or a digest or without."""
    if not isinstance(value, str) or not _IMAGE.fullmatch(value):
        hint = "give an image's name, such as 'jupyter/minimal-notebook:latest'"
        refuse_option(option, f"is {show_value(value)}", hint)
    return value


def check_gateway(value: object, option: str) -> str | None:
    """A container's name or id, with a port or without, or a URL; whether that is usable is seen later.

    Raises:
        OptionError: it is none of these; or an address at which a session's server would ask itself.
    """
    if value is None:
        return None
    if isinstance(value, RunningGateway):  # its token is read where it runs
        return value.name
    if not is_text(value) or not value.strip():
        refuse_option(
            option, f"is {show_value(value)}", "give a container's name or id, NAME:PORT, an http(s) URL, or None"
        )
    found = _CONTAINER.fullmatch(value)
    if "://" not in value and (found is None or not 0 < int(found["port"] or 1) < 65536):
        # What looks like a URL may hold a secret.
        seen = "is no name" if set("@?#/") & set(value) else f"is {show_value(value)}"
        refuse_option(option, seen, "give a container's name or id, NAME:PORT, or an http(s) URL with its http://")
    refuse_own_address(value, option)
    return value


def refuse_own_address(gateway: str, option: str, known: Mapping[str, str] | None = None) -> None:
    """Refuse a gateway's address that in the session's container is the session itself.

    Args:
        gateway: as it was given.
        option: for the error.
        known: the address of each name that the container knows by itself, in small letters.

    Raises:
        OptionError: it is one; or an address that is no URL.
    """
    is_url = "://" in gateway
    try:
        parts = urlsplit(gateway if is_url else f"//{gateway}")
        host, port = unquote(parts.hostname or "").rstrip("."), parts.port or SERVER_PORT
    except ValueError:
        return  # no URL, which is seen later
    address = _parse_address((known or {}).get(host, host), short=is_url)
    if host in _OWN_NAMES or host.endswith(".localhost") or (address and _is_own(address)):
        seen = f"is at {show_value(host)}, which in the session's container is the session itself"
        hint = (
            f"give the name of the gateway's container, NAME or NAME:PORT (else {SERVER_PORT}); or for one on the "
            f"engine's host, its address as containers see it, such as 'http://172.17.0.1:{port}'"
        )
        refuse_option(option, seen, hint)
    if address is not None and not is_url:
        hint = f"give 'http://{gateway}', or a container's name"
        refuse_option(option, f"is {show_value(gateway)}, and an address is given as a URL", hint)


def _parse_address(host: str, *, short: bool) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An IP; ``short``: also in forms such as 127.1, which resolvers read. None: a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        if not short:
            return None
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, UnicodeError):
        return None


def _is_own(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified


def check_network(value: object, option: str) -> str | None:
    """A network's name, or None."""
    if value is None:
        return None
    if not is_text(value) or not value.strip():
        refuse_option(option, f"is {show_value(value)}", "give a network's name, or None")
    if value in ("host", "none") or value.startswith(("container:", "ns:")):
        seen = f"is {show_value(value)}, where the engine publishes no port, so nobody would reach the server"
        refuse_option(option, seen, "give the name of another network, or leave it out")
    return value


def check_host_ip(value: object, option: str) -> str:
    """An IP address of the engine's host."""
    try:
        found = ipaddress.ip_address(value if isinstance(value, str) else "")
    except ValueError:
        found = None
    if found is None or getattr(found, "scope_id", None) is not None:
        hint = "give an IP address of the host, '127.0.0.1' for this host alone"
        refuse_option(option, f"is {show_value(value)}", hint)
    return str(getattr(found, "ipv4_mapped", None) or found)


def check_host_port(value: object, option: str) -> int | None:
    """A port number; None: the engine chooses a free one."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 65536:
        refuse_option(option, f"is {show_value(value)}", "give a number from 1 to 65535, or None for a free one")
    return value


def check_base_url(value: object, option: str) -> str:
    """A URL path, returned with a slash at both ends."""
    hint = "give a URL path such as '/' or '/pipelines/one/'"
    if not isinstance(value, str) or not _BASE_URL.fullmatch(value) or "//" in value:
        refuse_option(option, f"is {show_value(value)}", hint)
    plain = unquote(value)
    if not plain.isprintable() or {".", ".."} & set(plain.split("/")):
        seen = f"is {show_value(value)}: browsers remove the steps '.' and '..', and control characters are in no URL"
        refuse_option(option, seen, hint)
    return "/" + f"{value.strip('/')}/".lstrip("/")


def check_size(value: object, option: str) -> int | None:
    """Bytes from 512, '512m', '1.5g': units of 1024, as the docker command reads them."""
    if value is None:
        return None
    size = 0
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            text = str(value).strip().lower().removesuffix("ib").removesuffix("b")
            unit = _UNITS.get(text[-1:], 1)
            size = int(float(text[:-1] if text[-1:] in _UNITS else text) * unit)
        except (ValueError, OverflowError):
            size = 0
    if not 0 < size <= _MOST_BYTES:
        hint = "give a number of bytes, or a text such as '512m' or '2g'"
        refuse_option(option, f"is {show_value(value)}", hint)
    return size


def check_log_size(value: object, option: str) -> int | None:
    """As :func:`check_size`, and enough for the end of a log to be of use."""
    size = check_size(value, option)
    if size is not None and size < MIN_LOG_SIZE:
        refuse_option(option, f"is {show_value(value)}", f"give at least {MIN_LOG_SIZE} bytes, or None")
    return size


def check_cpus(value: object, option: str) -> float | None:
    """A number of cores."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.01 <= value <= _MOST_CPUS:
        refuse_option(option, f"is {show_value(value)}", "give a number of cores from 0.01 up, such as 1.5")
    return value


def check_umask(value: object, option: str) -> str | None:
    """An umask as octal text of four digits; whole numbers are what Python writes ``0o002``.

    The rights of the owner stay: without them the server cannot work.
    """
    if value is None:
        return None
    if isinstance(value, str) and _UMASK.fullmatch(value):
        return f"{int(value, 8):04o}"
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 0o077:
        refuse_option(option, f"is {show_value(value)}", "give an octal text from '0000' to '0077', or None")
    return f"{value:04o}"


def check_idle(value: object, option: str) -> int | None:
    """Whole seconds, from 1."""
    return _check_seconds(value, option, 1, "no limit")


def check_lease(value: object, option: str) -> int | None:
    """Whole seconds."""
    return _check_seconds(value, option, MIN_LEASE, "a session without a lease")


def _check_seconds(value: object, option: str, least: int, none: str) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and least <= value <= MAX_LEASE):
        return value
    hint = f"give whole seconds from {least} to {MAX_LEASE} (30 days), or None for {none}"
    refuse_option(option, f"is {show_value(value)}", hint)
