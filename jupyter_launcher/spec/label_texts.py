"""The text of one label of a session → a value, and back, and names of containers, for ``spec/labels.py``.

What a parser cannot read is a ValueError, a TypeError, a KeyError, a RecursionError or an OptionError.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from jupyter_launcher.errors import OptionError, SessionUnreadableError
from jupyter_launcher.models import Gateway, Volume
from jupyter_launcher.models.options import HiddenTexts
from jupyter_launcher.spec.checks import LABEL_PREFIX, MIN_LEASE, check_base_url
from jupyter_launcher.spec.kernels.options import KernelOptions
from jupyter_launcher.spec.mounts import to_bind

__all__ = [
    "NAMESPACE",
    "OWNER",
    "PROCESS",
    "SCHEMA",
    "SESSION_ID",
    "LabelReader",
    "container_name",
    "describe_differences",
    "gateway_to_text",
    "helper_name",
    "option_to_plain",
    "parse_base_url",
    "parse_gateway",
    "parse_identity",
    "parse_options",
    "parse_place",
    "parse_schema",
    "parse_text",
    "record_name",
    "warm_name",
]

T = TypeVar("T")

SCHEMA = "1"
NAMESPACE = LABEL_PREFIX + "namespace"
OWNER = LABEL_PREFIX + "owner"
PROCESS = LABEL_PREFIX + "process"
SESSION_ID = LABEL_PREFIX + "session-id"
_UNIQUE_LENGTH = 12
_OWN_IMAGE = re.compile(r"jupyter-launcher/jupyter-server:\d+(\.\d+)+\S*")
"""The default image of some version of the library."""
_IDENTITY = re.compile(r"[0-9]+:[0-9]+")


def container_name(namespace: str, session_id: str) -> str:
    """The name of a session's container: unique on the engine, so it is the lock between launchers too."""
    return f"jupyter-server.{namespace}.{session_id}"


def helper_name(purpose: str, unique: str) -> str:
    """The name of a short-lived container; ``unique``: at least 12 hexadecimal digits."""
    return f"jupyter-launcher-{purpose}.{unique[:_UNIQUE_LENGTH]}"


def warm_name(namespace: str, unique: str) -> str:
    """The name of a container of a pool that nobody has claimed; ``unique``: at least 12 hexadecimal digits."""
    return f"jupyter-warm.{namespace}.{unique[:_UNIQUE_LENGTH]}"


def record_name(namespace: str, unique: str) -> str:
    """The name of the record of who has claimed that container: it is the lock between those who want to."""
    return f"jupyter-session.{namespace}.{unique[:_UNIQUE_LENGTH]}"


class LabelReader:
    """Reads one label after another, and names the one that is wrong."""

    def __init__(self, labels: Mapping[str, str], container: str) -> None:
        self._texts = labels
        self._container = container

    def read(self, name: str, parse: Callable[[str], T], **default: T) -> T:
        """Parse one label; where a default is given, an absent or empty label has it."""
        label = LABEL_PREFIX + name
        text = self._texts.get(label, "")
        if not text and default:
            return default["default"]
        try:
            if label not in self._texts:
                msg = "it is missing"
                raise ValueError(msg)
            return parse(text)
        except (ValueError, TypeError, KeyError, RecursionError, OptionError) as error:
            seen = f"{error} is missing" if isinstance(error, KeyError) else getattr(error, "message", str(error))
            msg = f"container {self._container} has a session's labels, but {label} cannot be read: {seen}"
            hint = f"if it is a leftover, remove it: `docker rm -f {self._container}`, or its service in a swarm"
            claimed = self._texts.get(SESSION_ID, "")
            raise SessionUnreadableError(
                msg, hint=hint, session_id=claimed, container_name=self._container, label=label
            ) from None


def parse_schema(text: str) -> None:
    """The version of the labels: this one."""
    if text != SCHEMA:
        msg = f"schema {text!r} is of another version of jupyter_launcher"
        raise ValueError(msg)


def parse_text(text: str) -> str:
    """A text that is not empty."""
    if not text:
        msg = "it is empty"
        raise ValueError(msg)
    return text


def parse_place(text: str) -> Path | Volume:
    """An absolute path, or a volume."""
    volume = Volume.from_text(text)
    if volume is not None:
        return volume
    path = Path(text)
    if not path.is_absolute() or "\0" in text:
        msg = f"{text!r} is no absolute path"
        raise ValueError(msg)
    return path


def parse_identity(text: str) -> str:
    """``<device>:<inode>``."""
    if not _IDENTITY.fullmatch(text):
        msg = f"{text!r} is no device and inode"
        raise ValueError(msg)
    return text


def parse_base_url(text: str) -> str:
    """The path of a URL, with a slash at both ends."""
    if check_base_url(text, "it") != text:
        msg = f"{text!r} is no URL path with a slash at both ends"
        raise ValueError(msg)
    return text


def gateway_to_text(gateway: Gateway) -> str:
    """A gateway without its token, as ``parse_gateway`` reads it."""
    return json.dumps({"name": gateway.name, "url": gateway.url, "id": gateway.container_id})


def parse_gateway(text: str) -> Gateway:
    """Name, URL and container of a gateway, as JSON."""
    known = _parse_object(text)
    name, url, container_id = known["name"], known["url"], known["id"]
    if not (isinstance(name, str) and isinstance(url, str) and isinstance(container_id, (str, type(None)))):
        msg = "its name, url or id is no text"
        raise TypeError(msg)
    return Gateway(name=name, url=url, container_id=container_id)


def parse_options(text: str) -> dict[str, Any]:
    """The options of a start, as JSON."""
    options = _parse_object(text)
    lease = options.get("lease")
    if lease is not None and (isinstance(lease, bool) or not isinstance(lease, int) or lease < MIN_LEASE):
        msg = f"its lease {lease!r} is no number of seconds"
        raise TypeError(msg)
    return options


def option_to_plain(name: str, value: Any) -> object:
    """The value of a start's option, after its checks, as it stands in the label ``options``: as JSON has it."""
    if name == "image":
        # Of our image only the fact that it is ours counts, so that another version of the library joins.
        return "" if _OWN_IMAGE.fullmatch(value) else value
    if name == "environment":
        pairs = "\0".join(f"{name}={text}" for name, text in sorted(value.items()))
        return hashlib.sha256(pairs.encode()).hexdigest()[:16] if pairs else ""
    if name == "mounts":
        return [to_bind(mount).to_short_form() for mount in value]
    if isinstance(value, (KernelOptions, Mapping)):
        return value.to_options() if isinstance(value, KernelOptions) else dict(sorted(value.items()))
    if isinstance(value, (tuple, HiddenTexts)):
        return sorted(value.values) if isinstance(value, HiddenTexts) else list(value)
    if name == "token":  # labels are readable by everyone who may ask the engine
        value = value is not None
    return str(value) if isinstance(value, (Path, Volume)) else value


def describe_differences(
    before: Mapping[str, object], now: Mapping[str, object], defaults: Mapping[str, object]
) -> tuple[str, ...]:
    """A line for each option that differs between two of these labels; one that is absent has its default."""
    image = before.get("image", "")
    if isinstance(image, str) and _OWN_IMAGE.fullmatch(image):
        before = {**before, "image": ""}
    before, now = _flatten(before), _flatten(now)
    pairs = {
        name: (before.get(name, defaults.get(name)), now.get(name, defaults.get(name)))
        for name in sorted({*before, *now})
    }
    return tuple(f"{name} was {old!r}, now {new!r}" for name, (old, new) in pairs.items() if old != new)


def _flatten(options: Mapping[str, object]) -> Mapping[str, object]:
    """With what is inside ``kernels`` one by one, so that a line tells what of it differs."""
    kernels = options.get("kernels")
    if not isinstance(kernels, Mapping):
        return options
    images = kernels.get("images")
    named = {f"kernels[{name!r}]": image for name, image in images.items()} if isinstance(images, Mapping) else {}
    inner = {("kernel_idle" if name == "idle" else name): kernels[name] for name in kernels if name != "images"}
    return {name: value for name, value in options.items() if name != "kernels"} | inner | named


def _parse_object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        msg = "it is no JSON object"
        raise TypeError(msg)
    return value
