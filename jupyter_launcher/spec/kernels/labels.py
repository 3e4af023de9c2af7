"""The labels and names of what is of a gateway: its agents, its broker, its kernels, its network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jupyter_launcher.spec.checks import LABEL_PREFIX

__all__ = [
    "GATEWAY_START",
    "KERNEL_ID",
    "KERNEL_NAME",
    "KERNEL_OF",
    "PartLabels",
    "part_filter",
    "part_labels",
]

GATEWAY_START = LABEL_PREFIX + "gateway-start"
"""On a gateway, all of its parts and its own network: unique to that start of the gateway."""
_PART = LABEL_PREFIX + "part"
_NAMESPACE = LABEL_PREFIX + "namespace"
_OWNER = LABEL_PREFIX + "owner"
KERNEL_ID = LABEL_PREFIX + "kernel-id"
KERNEL_NAME = LABEL_PREFIX + "kernel-name"
KERNEL_OF = LABEL_PREFIX + "kernel-of"
"""On a kernel's container: the ``start_id`` of the session that asked for it; empty: another client did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartLabels:
    """What labels and name say of a container that is a part of a gateway.

    Attributes:
        kind: ``agent``, ``broker`` or ``kernel``.
        namespace, owner: of the launcher that runs the gateway.
        gateway_start: which start of which gateway it is of.
        kernel_id, kernel_name, kernel_of: of a kernel; else empty.
    """

    kind: str
    namespace: str
    owner: str
    gateway_start: str
    kernel_id: str = ""
    kernel_name: str = ""
    kernel_of: str = ""

    @classmethod
    def of_container(cls, labels: Mapping[str, str], container: str) -> PartLabels | None:
        """From the labels and the name of a container; None where it is no part: the name must fit too."""
        raise NotImplementedError


def part_labels(kind: str, namespace: str, owner: str, gateway_start: str) -> dict[str, str]:
    """The labels of an agent, a broker or an own network; the broker adds those of one kernel to those of kernels."""
    return {_PART: kind, _NAMESPACE: namespace, _OWNER: owner, GATEWAY_START: gateway_start}


def agent_name(namespace: str, gateway_id: str, number: int) -> str:
    """The name of the container of an agent."""
    return f"kernel-agent.{namespace}.{gateway_id}.{number}"


def broker_name(namespace: str, gateway_id: str) -> str:
    """The name of the container of a broker."""
    return f"kernel-broker.{namespace}.{gateway_id}"


def kernel_name_prefix(namespace: str) -> str:
    """What the name of a kernel's container begins with; its kernel id follows."""
    return f"jupyter-kernel.{namespace}."


def network_name(namespace: str, gateway_id: str) -> str:
    """The name of a gateway's own network."""
    return f"kernel-network.{namespace}.{gateway_id}"


def part_filter(gateway_start: str | None = None) -> str:
    """What the engine's list is asked for to find the parts of a gateway, or of all gateways."""
    return _PART if gateway_start is None else f"{GATEWAY_START}={gateway_start}"
