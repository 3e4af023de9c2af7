"""What is of a gateway, found by label and removed: agents, broker, kernels, network."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from jupyter_launcher.engine.errors import FORBIDDEN
from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.engine.types import ListedContainer
from jupyter_launcher.errors import EngineError, EngineUnavailableError
from jupyter_launcher.models import KernelSummary
from jupyter_launcher.spec.kernels.containers import BROKER_DIR
from jupyter_launcher.spec.kernels.labels import PartLabels, kernel_filter, part_filter, start_filter
from jupyter_launcher.spec.labels import is_gateway
from jupyter_launcher.threads import map_at_once

__all__ = ["Part", "find_parts", "kernels_of", "remove_lost_parts", "remove_part", "remove_unit", "summarise"]

_ROUNDS = 5
_THREADS = 8
_IN_USE = 409


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A container that is a part of a gateway, and what its labels say."""

    item: ListedContainer
    labels: PartLabels


def find_parts(engine: Engine, gateway_start: str) -> list[Part]:
    """All parts of one start of a gateway, in every state: one call to the engine."""
    return _read_parts(engine.containers(start_filter(gateway_start)))


def kernels_of(engine: Engine, start_id: str) -> list[KernelSummary]:
    """The kernels in containers of their own that a session has asked for, on whichever gateway: one call."""
    found = summarise(engine.containers(kernel_filter(start_id)))
    return [kernel for kernel, labels in found if labels.kernel_of == start_id]


def summarise(listed: Iterable[ListedContainer]) -> list[tuple[KernelSummary, PartLabels]]:
    """The kernels among listed containers."""
    return [
        (
            KernelSummary(
                kernel_id=part.labels.kernel_id,
                name=part.labels.kernel_name,
                image=part.item.image,
                container_id=part.item.id,
                state=part.item.state,
            ),
            part.labels,
        )
        for part in _read_parts(listed)
        if part.labels.kind == "kernel"
    ]


def _read_parts(listed: Iterable[ListedContainer]) -> list[Part]:
    found = ((item, PartLabels.of_container(item.labels, item.name)) for item in listed)
    return [Part(item=item, labels=labels) for item, labels in found if labels is not None]


def remove_unit(engine: Engine, gateway_start: str, gateway: str | None = None) -> tuple[str, ...]:
    """Remove the broker and the agents, then all kernels, then the gateway, then its own network.

    The broker first, so that it makes no kernel meanwhile; the gateway, whose anonymous volume the broker has mounted,
    after it. What is gone already is passed over.

    Args:
        engine: that has them.
        gateway_start: of the gateway's labels.
        gateway: the id of its container; None: it is gone, or its label tells.

    Returns:
        The ids of the kernels whose containers were removed.

    Raises:
        EngineError: the engine refused; the rest was tried all the same, unless it does not answer any more.
    """
    errors: list[EngineError] = []

    def remove_all(ids: Iterable[str], remove: Callable[[str], None]) -> None:
        tried = map_at_once(lambda found: _try(remove, found), tuple(ids), threads=_THREADS)
        errors.extend(error for error in tried if error is not None)
        for error in errors:
            if isinstance(error, EngineUnavailableError):
                raise error

    listed = engine.containers(start_filter(gateway_start))
    gateways = [item.id for item in listed if is_gateway(item.labels, item.name)]
    parts = _read_parts(listed)
    removed: dict[str, None] = {}
    # A gateway takes its volume along, unless somebody else removed it while its broker had that too.
    volumes = [] if gateways else _find_volumes(engine, parts)
    remove_all((part.item.id for part in parts if part.labels.kind != "kernel"), engine.remove)
    # The engine may be in the middle of a create that the broker had asked for: so there is another look after each.
    for _ in range(_ROUNDS):
        remove_all((part.item.id for part in parts if part.labels.kind == "kernel"), engine.remove)
        removed |= {part.labels.kernel_id: None for part in parts if part.labels.kind == "kernel"}
        if errors or not (parts := find_parts(engine, gateway_start)):
            break
    remove_all(dict.fromkeys([*([] if gateway is None else [gateway]), *gateways]), engine.remove)
    remove_all(volumes, engine.remove_volume)
    remove_all(_find_networks(engine, gateway_start), engine.remove_network)
    if errors:
        raise errors[0]
    return tuple(removed)


def remove_lost_parts(engine: Engine, namespace: str, gateway_id: str) -> tuple[str, ...] | None:
    """Remove what is left of a gateway whose container is not there: somebody else removed it.

    Not touched: what is of a gateway that is there by now.

    Returns:
        The ids of the kernels whose containers were removed; None where nothing was left.

    Raises:
        EngineError: as :func:`remove_unit` says.
    """
    parts = _read_parts(engine.containers(part_filter()))
    starts = dict.fromkeys(
        part.labels.gateway_start
        for part in parts
        if (part.labels.namespace, part.labels.gateway_id) == (namespace, gateway_id)
    )
    lost = [
        start
        for start in starts
        if not any(is_gateway(item.labels, item.name) for item in engine.containers(start_filter(start)))
    ]
    return tuple(kernel for start in lost for kernel in remove_unit(engine, start)) if lost else None


def remove_part(engine: Engine, part: Part) -> None:
    """Remove one part; a broker with its gateway's volume, unless that gateway is there, and takes it along.

    Raises:
        EngineError: the engine refused, or does not answer.
    """
    volumes = _find_volumes(engine, [part])
    engine.remove(part.item.id)
    for volume in volumes:
        try:
            engine.remove_volume(volume)
        except EngineError as error:
            if error.status != _IN_USE:
                raise


def _find_volumes(engine: Engine, parts: Iterable[Part]) -> list[str]:
    """The names of the volumes that brokers have of their gateways."""
    found = [engine.inspect(part.item.id) for part in parts if part.labels.kind == "broker"]
    return [info.volumes[BROKER_DIR] for info in found if info is not None and BROKER_DIR in info.volumes]


def _find_networks(engine: Engine, gateway_start: str) -> list[str]:
    """The ids of the own networks of a start; none where a proxy forbids to ask, which forbids to make one too."""
    try:
        return [item.id for item in engine.networks(start_filter(gateway_start))]
    except EngineError as error:
        if error.status not in FORBIDDEN:
            raise
        return []


def _try(remove: Callable[[str], None], found: str) -> EngineError | None:
    try:
        remove(found)
    except EngineError as error:
        return error
    return None
