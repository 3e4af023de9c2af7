"""Networks that are made here, over the Docker SDK: created, listed, removed; and volumes that nobody else removes."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from docker import APIClient

from jupyter_launcher.engine.errors import translate_errors
from jupyter_launcher.engine.shapes import parse_list
from jupyter_launcher.engine.traits import ListedNetwork
from jupyter_launcher.errors import EngineError, UnsupportedOptionError

__all__ = ["create_network", "list_networks", "remove_network", "remove_volume"]

_NO_SUBNET = (
    "non-overlapping IPv4 address pool",  # Docker 20.10
    "all predefined address pools have been fully subnetted",  # newer ones
    "could not find free subnet from subnet pools",  # Podman
)
_IN_USE = ("has active endpoints", "being used", "in use")
_TAKEN = ("already exists", "network already used")


def create_network(api: APIClient, endpoint: str, name: str, labels: Mapping[str, str]) -> None:
    """Create a bridge network; see the protocol."""
    try:
        with translate_errors(f"create network {name}", endpoint):
            api.create_network(name, driver="bridge", labels=dict(labels), check_duplicate=True)
    except EngineError as error:
        if any(text in error.message for text in _NO_SUBNET):
            msg = f"the engine has no subnet left for network {name}: {error.message}"
            hint = (
                "`docker network prune` removes networks that nobody uses, and `default-address-pools` in the engine's "
                "configuration gives it more; or name a network that is there"
            )
            raise UnsupportedOptionError(msg, hint=hint, option="network", status=error.status) from error
        if error.status == 500 and any(text in error.message for text in _TAKEN):  # Podman before 5
            raise EngineError(error.message, hint=error.hint, status=409) from error
        raise


def list_networks(api: APIClient, endpoint: str, labels: Collection[str]) -> list[ListedNetwork]:
    """The networks with all of these labels (``name=value`` or ``name``); one call."""
    with translate_errors("list networks", endpoint):
        listed = api.networks(filters={"label": list(labels)} if labels else None)
    wanted = [label.partition("=") for label in labels]
    return [
        item
        for item in map(ListedNetwork.from_listing, parse_list(listed))
        if all(name in item.labels and (not equals or item.labels[name] == value) for name, equals, value in wanted)
    ]


def remove_network(api: APIClient, endpoint: str, name: str) -> None:
    """Remove a network by name or id; if it is gone, do nothing."""
    try:
        with translate_errors(f"remove network {name}", endpoint):
            api.remove_network(name)
    except EngineError as error:
        if error.status == 404:
            return
        if any(text in error.message for text in _IN_USE):
            hint = "stop the sessions that are on it, or `docker network disconnect -f`; `reap` removes it then"
            raise EngineError(error.message, hint=hint, status=error.status) from error
        raise


def remove_volume(api: APIClient, endpoint: str, name: str) -> None:
    """Remove a volume; if it is gone, do nothing."""
    try:
        with translate_errors(f"remove volume {name[:12]}", endpoint):
            api.remove_volume(name)
    except EngineError as error:
        if error.status != 404:
            raise
