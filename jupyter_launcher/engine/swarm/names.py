"""How a container's name becomes a service's, and the labels by which it is found again."""

from __future__ import annotations

import hashlib
import re

__all__ = [
    "ENGINE_LABEL",
    "IMAGE_LABEL",
    "LABEL_START",
    "NAME_LABEL",
    "is_container_id",
    "is_service_id",
    "is_service_name",
    "service_name",
]

NAME_LABEL = "jupyter-launcher.name"
"""On a service: the name of the container that it stands for."""
LABEL_START = NAME_LABEL.removesuffix("name")
"""How the names of the library's own labels begin."""
IMAGE_LABEL = f"{LABEL_START}image"
"""On a service: the image's name, since the service itself has its id."""
ENGINE_LABEL = f"{LABEL_START}docker-host"
"""On a node: the address of its engine."""
_DIGITS = 40
_CONTAINER_ID = re.compile(r"[0-9a-f]{64}")
_SERVICE_ID = re.compile(r"[0-9a-z]{25}")
_SERVICE_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?")  # or its id


def service_name(name: str) -> str:
    """The name of the service that stands for a container: those of services have no dots, and at most 63 letters."""
    return f"jl-{hashlib.sha256(name.encode()).hexdigest()[:_DIGITS]}"


def is_container_id(text: str) -> bool:
    """Whether a text is the whole id of a container."""
    return _CONTAINER_ID.fullmatch(text) is not None


def is_service_name(text: str) -> bool:
    """Whether a service can have this name, or this id."""
    return _SERVICE_NAME.fullmatch(text) is not None


def is_service_id(text: str) -> bool:
    """Whether a text may be the whole id of a service."""
    return _SERVICE_ID.fullmatch(text) is not None
