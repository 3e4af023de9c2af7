"""The labels and names of gateways, and of what is of one: its agents, its broker, its kernels, its network."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from jupyter_launcher.errors import OptionError
from jupyter_launcher.spec.checks import LABEL_PREFIX, check_name
from jupyter_launcher.spec.label_texts import NAMESPACE, OWNER, PROCESS

__all__ = [
    "GATEWAY_START",
    "KERNEL_ID",
    "KERNEL_NAME",
    "KERNEL_OF",
    "GatewayLabels",
    "PartLabels",
    "agent_name",
    "broker_name",
    "find_gateway_id",
    "gateway_name",
    "hide_labels",
    "kernel_filter",
    "kernel_name_prefix",
    "network_name",
    "part_filter",
    "part_labels",
    "start_filter",
]

GATEWAY_START = LABEL_PREFIX + "gateway-start"
"""On a gateway, all of its parts and its own network: unique to that start of the gateway."""
_OPTIONS = LABEL_PREFIX + "gateway-options"
_OF_SESSION = LABEL_PREFIX + "gateway-of-session"
_SESSION_START = LABEL_PREFIX + "session-start"
_STAYS = LABEL_PREFIX + "stays"
_YES = "yes"
_PART = LABEL_PREFIX + "part"
KERNEL_ID = LABEL_PREFIX + "kernel-id"
KERNEL_NAME = LABEL_PREFIX + "kernel-name"
KERNEL_OF = LABEL_PREFIX + "kernel-of"
"""On a kernel's container: the ``start_id`` of the session that asked for it; empty: another client did."""


_KERNEL = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_START_LENGTH = 12
_NUMBER = re.compile(r"[0-9]{1,2}")
_KINDS = ("agent", "broker", "kernel", "network")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayLabels:
    """What labels and name say of a gateway, besides whose it is.

    Attributes:
        gateway_id: the last part of its name.
        start: unique to this start of it, and in the labels of all of its parts; empty: it has none.
        session_start: the ``start_id`` of the session that it is one unit with; empty: of none.
        session_id: that session's.
        stays: it is there until somebody stops it.
        isolation: of its kernels in containers; empty: they are processes beside it.
        images: the name of a kernel → its image.
        options: what makes two requests for a gateway the same.
    """

    gateway_id: str = ""
    start: str = ""
    session_start: str = ""
    session_id: str = ""
    stays: bool = False
    isolation: str = ""
    images: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, object] = field(default_factory=dict)

    def to_labels(self) -> dict[str, str]:
        """The labels as a dict for the engine; the id is in the name alone."""
        options = {"isolation": self.isolation, "images": dict(self.images), "options": dict(self.options)}
        return {
            GATEWAY_START: self.start,
            _SESSION_START: self.session_start,
            _OF_SESSION: self.session_id,
            _STAYS: _YES if self.stays else "",
            _OPTIONS: json.dumps(options),
        }

    @classmethod
    def from_labels(cls, labels: Mapping[str, str], gateway_id: str) -> GatewayLabels:
        """From the labels of a gateway. Options that cannot be read are none, so that no request has the same."""
        isolation, images, options = _read_options(labels.get(_OPTIONS, ""))
        return cls(
            gateway_id=gateway_id,
            start=labels.get(GATEWAY_START, ""),
            session_start=labels.get(_SESSION_START, ""),
            session_id=labels.get(_OF_SESSION, ""),
            stays=labels.get(_STAYS) == _YES,
            isolation=isolation,
            images=images,
            options=options,
        )


def _read_options(text: str) -> tuple[str, Mapping[str, str], Mapping[str, object]]:
    try:
        raw = json.loads(text)
        isolation, images, options = raw["isolation"], raw["images"], raw["options"]
        is_plain = all(isinstance(item, str) for item in (isolation, *images, *images.values()))
        known = (isolation, dict(images), dict(options)) if is_plain else None
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        known = None
    return known or ("", {}, {})


@dataclass(frozen=True, slots=True, kw_only=True)
class PartLabels:
    """What labels and name say of a container that is a part of a gateway.

    Attributes:
        kind: ``agent``, ``broker`` or ``kernel``; of an own network: ``network``.
        namespace, owner: of the launcher that runs the gateway.
        gateway_start: which start of which gateway it is of.
        gateway_id: of that gateway; empty for a kernel.
        process: of a network, a mark of the process that made it; else empty.
        kernel_id, kernel_of: of a kernel; else empty.
        kernel_name: of a kernel, and of the kernels of an agent; else empty.
    """

    kind: str
    namespace: str
    owner: str
    gateway_start: str
    gateway_id: str = ""
    process: str = ""
    kernel_id: str = ""
    kernel_name: str = ""
    kernel_of: str = ""

    @classmethod
    def of_container(cls, labels: Mapping[str, str], container: str) -> PartLabels | None:
        """From the labels and the name of a container or a network; None where it is no part.

        One of another name is none, even if its labels are whole: they may be a copy, such as in an image that was
        committed from a part.
        """
        kind, namespace, start = labels.get(_PART, ""), labels.get(NAMESPACE, ""), labels.get(GATEWAY_START, "")
        if kind not in _KINDS or not start or not _is_name(namespace):
            return None
        found = cls(
            kind=kind,
            namespace=namespace,
            owner=labels.get(OWNER, ""),
            gateway_start=start,
            process=labels.get(PROCESS, ""),
            kernel_name=labels.get(KERNEL_NAME, ""),
        )
        if kind == "kernel":
            kernel_id = labels.get(KERNEL_ID, "")
            is_named = container == kernel_name_prefix(namespace) + kernel_id and _KERNEL.fullmatch(kernel_id)
            return replace(found, kernel_id=kernel_id, kernel_of=labels.get(KERNEL_OF, "")) if is_named else None
        gateway_id = _find_id(kind, namespace, container, start[:_START_LENGTH])
        return replace(found, gateway_id=gateway_id) if gateway_id else None


def _find_id(kind: str, namespace: str, name: str, start: str = "") -> str:
    """The gateway's id in the name of what is of it; empty where it is no such name.

    ``start``: with what the last part of the name of a network begins.
    """
    begin = f"kernel-{kind}.{namespace}."
    gateway_id, dot, last = name.removeprefix(begin).partition(".")
    ends = {"agent": bool(_NUMBER.fullmatch(last)), "network": last == start}
    return gateway_id if name.startswith(begin) and ends.get(kind, not dot) and _is_name(gateway_id) else ""


def _is_name(text: str) -> bool:
    try:
        check_name(text, "it")
    except OptionError:
        return False
    return True


def part_labels(
    kind: str,
    namespace: str,
    owner: str,
    gateway_start: str,
    image: Mapping[str, str] | None = None,
    process: str = "",
) -> dict[str, str]:
    """The labels of an agent, a broker, a kernel or an own network; the broker adds what is of one kernel.

    ``image``: its image's, of which the container has each of ours that is not among these without a text: an image may
    be committed from a session or a gateway, whose labels would tell of it. ``process``: a mark of who makes a network.
    """
    hidden = hide_labels(image or {})
    known = {_PART: kind, NAMESPACE: namespace, OWNER: owner, GATEWAY_START: gateway_start}
    return hidden | known | ({PROCESS: process} if process else {})


def hide_labels(image: Mapping[str, str]) -> dict[str, str]:
    """Labels of ours that an image has, each without a text: it may be committed from a session or a gateway."""
    return {name: "" for name in image if name.startswith(LABEL_PREFIX)}


def gateway_name(namespace: str, gateway_id: str) -> str:
    """The name of the container of a gateway that the library starts: it is the lock between who would start it."""
    return f"kernel-gateway.{namespace}.{gateway_id}"


def find_gateway_id(namespace: str, container: str) -> str:
    """The gateway's id in the name of its container; empty where the container is none of this namespace."""
    return _find_id("gateway", namespace, container)


def agent_name(namespace: str, gateway_id: str, number: int) -> str:
    """The name of the container of an agent."""
    return f"kernel-agent.{namespace}.{gateway_id}.{number}"


def broker_name(namespace: str, gateway_id: str) -> str:
    """The name of the container of a broker."""
    return f"kernel-broker.{namespace}.{gateway_id}"


def kernel_name_prefix(namespace: str) -> str:
    """What the name of a kernel's container begins with; its kernel id follows."""
    return f"jupyter-kernel.{namespace}."


def network_name(namespace: str, gateway_id: str, gateway_start: str) -> str:
    """The name of a gateway's own network: of one start, since an engine may make two networks of one name."""
    return f"kernel-network.{namespace}.{gateway_id}.{gateway_start[:_START_LENGTH]}"


def part_filter() -> str:
    """What the engine's list is asked for to find the parts of all gateways."""
    return _PART


def start_filter(gateway_start: str) -> str:
    """What the engine's lists are asked for to find all that is of one start of a gateway, itself too."""
    return f"{GATEWAY_START}={gateway_start}"


def kernel_filter(start_id: str) -> str:
    """What the engine's list is asked for to find the kernels in containers of their own of a session."""
    return f"{KERNEL_OF}={start_id}"
