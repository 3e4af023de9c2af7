"""Gateways as columns and as documents."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from jupyter_launcher.cli.output import format_columns, to_plain
from jupyter_launcher.models import GatewaySummary, RunningGateway

__all__ = ["describe_gateway", "gateway_document", "gateway_rows"]

_BESIDE = "processes beside the gateway"


def gateway_rows(found: Iterable[GatewaySummary]) -> list[tuple[object, ...]]:
    """A heading, and a row for each gateway."""
    return [
        ("GATEWAY", "STATE", "STATUS", "ISOLATION", "RUNNING", "SESSION", "IMAGE", "KERNELS"),
        *(
            (
                item.name,
                item.state,
                item.status,
                item.isolation or "-",
                len(item.kernels) if item.isolation == "kernel" else "-",
                item.session_id or "-",
                item.image,
                " ".join(f"{name}={image}" for name, image in item.kernel_images.items()) or "-",
            )
            for item in found
        ),
    ]


def gateway_document(gateway: RunningGateway, *, token: bool) -> dict[str, Any]:
    """A gateway that runs; without ``token`` what would hold it is left out."""
    found: dict[str, Any] = to_plain(gateway)
    return found if token else {name: value for name, value in found.items() if name != "token"}


def describe_gateway(gateway: RunningGateway, *, token: bool) -> str:
    """A gateway that runs, in a few aligned lines."""
    rows = [
        ("gateway", gateway.name),
        ("id", gateway.gateway_id),
        ("kernels", ", ".join(gateway.kernels) or _BESIDE),
        ("url", gateway.url),
        *([("token", gateway.token)] if token else []),
    ]
    return format_columns(rows)
