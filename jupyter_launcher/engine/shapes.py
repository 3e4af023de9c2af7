"""The parts of what is sent to the engine and of what it answers; :func:`expect_shape` makes failures typed errors."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jupyter_launcher.errors import EngineError

__all__ = [
    "ContainerEvent",
    "ImageInfo",
    "expect_shape",
    "format_device_requests",
    "format_log_options",
    "format_ports",
    "group_bindings",
    "group_ports",
    "parse_addresses",
    "parse_aliases",
    "parse_amount",
    "parse_argv",
    "parse_exit_code",
    "parse_hosts",
    "parse_id",
    "parse_list",
    "parse_listed_ports",
    "parse_mounts",
    "parse_number",
    "parse_port",
    "parse_published",
    "parse_status",
    "parse_text",
    "parse_texts",
    "parse_time",
    "parse_volumes",
    "parse_words",
]

_LOG_FILES = 2
_SHOWN = 200  # characters
_TIME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})")


@contextlib.contextmanager
def expect_shape(what: str) -> Iterator[None]:
    """Turn the errors of a parse into an EngineError: the engine's answer about ``what`` has an unexpected shape."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, OverflowError, RecursionError, TypeError, ValueError) as error:
        seen = f"{type(error).__name__}: {error}"[:_SHOWN]
        msg = f"the engine's answer about {what} has an unexpected shape: {seen}"
        hint = "see whether a proxy answers in place of the engine, and which version `docker version` shows"
        raise EngineError(msg, hint=hint) from error


def parse_text(value: object) -> str:
    """A text."""
    if not isinstance(value, str):
        msg = f"a {type(value).__name__} stands in place of a text"
        raise TypeError(msg)
    return value


def parse_amount(value: object) -> int | None:
    """A whole number, 0 in place of a negative one; None: none is told."""
    if not isinstance(value, (int, type(None))):
        msg = f"a {type(value).__name__} stands in place of a whole number"
        raise TypeError(msg)
    return None if value is None else max(0, int(value))


def parse_port(value: object) -> int:
    """The number of a port, also as a text."""
    port = int(value) if isinstance(value, (int, str)) else 0
    if not 0 < port < 65536:
        msg = "a port is no number from 1 to 65535"
        raise ValueError(msg)
    return port


def parse_time(text: str) -> float:
    """Seconds since the epoch of RFC 3339 with any fraction and any offset, as Docker and Podman write it."""
    found = _TIME.fullmatch(text)
    if found is None:
        msg = f"{text[:40]!r} is no time"
        raise ValueError(msg)
    moment, fraction, zone = found.groups()
    # fromisoformat of Python 3.10 knows neither Z nor nanoseconds.
    seconds = datetime.fromisoformat(moment + ("+00:00" if zone == "Z" else zone)).timestamp()
    return seconds + float(fraction or 0)


def parse_published(settings: Mapping[str, Any]) -> Iterator[tuple[str, str, int]]:
    """What an inspected container publishes: a port of the container, an address of the host, the port there."""
    for port, bindings in (settings.get("Ports") or {}).items():
        for binding in bindings or ():
            if binding.get("HostPort"):
                yield parse_text(port), parse_text(binding.get("HostIp") or ""), parse_port(binding["HostPort"])


def parse_listed_ports(raw: Mapping[str, Any]) -> Iterator[tuple[str, str, int]]:
    """The same of a listed container."""
    for port in raw.get("Ports") or ():
        if number := port.get("PublicPort"):
            inside = f"{int(port['PrivatePort'])}/{parse_text(port['Type'])}"
            yield inside, parse_text(port.get("IP") or ""), parse_port(number)


def group_ports(published: Iterable[tuple[str, str, int]]) -> dict[str, tuple[int, ...]]:
    """A port of the container → the ports of the host."""
    found: dict[str, tuple[int, ...]] = {}
    for inside, _, port in published:
        found[inside] = (*found.get(inside, ()), port)
    return found


def group_bindings(published: Iterable[tuple[str, str, int]]) -> dict[str, dict[str, int]]:
    """A port of the container → an address of the host → the port there."""
    found: dict[str, dict[str, int]] = {}
    for inside, host_ip, port in published:
        found.setdefault(inside, {})[host_ip] = port
    return found


def format_ports(ports: Mapping[str, int | None], host_ip: str) -> dict[str, list[dict[str, str]]]:
    """Ports of the container to publish at an address of the host; None: the engine chooses a free one there."""
    return {inside: [{"HostIp": host_ip, "HostPort": str(port or "")}] for inside, port in ports.items()}


def format_device_requests(gpus: int | str | Sequence[str] | None) -> list[dict[str, Any]]:
    """GPUs as Docker takes them: all, a number of them, or by their ids; names of CDI devices have a ``=``."""
    if gpus is None:
        return []
    if isinstance(gpus, (int, str)):
        return [{"Driver": "", "Count": -1 if gpus == "all" else gpus, "Capabilities": [["gpu"]]}]
    if any("=" in item for item in gpus):
        return [{"Driver": "cdi", "DeviceIDs": list(gpus)}]
    return [{"Driver": "", "DeviceIDs": list(gpus), "Capabilities": [["gpu"]]}]


def format_log_options(size: int | None) -> dict[str, str]:
    """The size of a log's files, in bytes, as ``json-file`` takes it; None: the engine's own setting."""
    return {} if size is None else {"max-size": str(size), "max-file": str(_LOG_FILES)}


def parse_texts(value: Mapping[str, object] | None) -> dict[str, str]:
    """Texts by their names; None: there are none."""
    return {parse_text(name): parse_text(item) for name, item in (value or {}).items()}


def parse_words(value: object) -> tuple[str, ...]:
    """A list of texts; None: there are none."""
    if not isinstance(value, (list, type(None))):
        msg = f"a {type(value).__name__} stands in place of a list"
        raise TypeError(msg)
    return tuple(map(parse_text, value or ()))


def parse_hosts(value: object) -> tuple[str, ...]:
    """The names in a list of ``name:address``; None: there are none."""
    return tuple(item.partition(":")[0] for item in parse_words(value))


def parse_mounts(items: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """A path in the container → the path on the engine's host that is mounted there."""
    return {parse_text(item["Destination"]): parse_text(item["Source"]) for item in items if item.get("Source")}


def parse_volumes(items: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """A path in the container → the name of the volume that is mounted there."""
    volumes = (item for item in items if item.get("Type") == "volume" and item.get("Name"))
    return {parse_text(item["Destination"]): parse_text(item["Name"]) for item in volumes}


def parse_argv(value: object) -> tuple[str, ...]:
    """A command; None: there is none. Podman before 5 has one text for all of it."""
    return (value,) if isinstance(value, str) and value else parse_words(value or None)


def parse_addresses(settings: Mapping[str, Any]) -> dict[str, str]:
    """The name of a network → the container's IP there."""
    networks = settings.get("Networks") or {}
    return {parse_text(name): parse_text((network or {}).get("IPAddress") or "") for name, network in networks.items()}


def parse_aliases(settings: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The name of a network → the other names that the container has there."""
    networks = settings.get("Networks") or {}
    return {parse_text(name): parse_words((network or {}).get("Aliases")) for name, network in networks.items()}


def parse_number(value: Any) -> float:
    """A number that is neither infinite nor NaN."""
    number = float(value)
    if not math.isfinite(number):
        msg = f"{number} is no finite number"
        raise ValueError(msg)
    return number


def parse_id(raw: Mapping[str, Any]) -> str:
    """The id in the engine's answer to a create.

    Raises:
        EngineError: it has none.
    """
    with expect_shape("what it created"):
        return parse_text(raw["Id"])


def parse_exit_code(raw: Mapping[str, Any]) -> int | None:
    """The exit code in the engine's answer about an exec; None while the command runs.

    Raises:
        EngineError: it has an unexpected shape.
    """
    with expect_shape("an exec"):
        return None if raw["Running"] or raw["ExitCode"] is None else int(raw["ExitCode"])


def parse_list(raw: object) -> list[Any]:
    """The items of the engine's answer to a list.

    Raises:
        EngineError: it is no list.
    """
    with expect_shape("its containers"):
        if not isinstance(raw, list):
            msg = f"a {type(raw).__name__} stands in place of a list"
            raise TypeError(msg)
        return raw


def parse_status(raw: Mapping[str, Any]) -> int:
    """The exit code in the engine's answer to a wait for a container.

    Raises:
        EngineError: it has an unexpected shape.
    """
    with expect_shape("a container's end"):
        return int(raw["StatusCode"])


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerEvent:
    """What the engine tells of a container, as it happens.

    Attributes:
        action: the engine's word, such as ``die``, ``oom`` or ``destroy``.
        id, name, labels: of the container; the labels have the event's own attributes among them.
        time: seconds since the epoch, by the engine's clock.
        exit_code: of a container that has ended; None: not told.
    """

    action: str
    id: str
    name: str
    labels: Mapping[str, str]
    time: float
    exit_code: int | None

    @classmethod
    def from_event(cls, raw: Mapping[str, Any]) -> ContainerEvent:
        """Parse one event.

        Raises:
            EngineError: it has an unexpected shape.
        """
        with expect_shape("an event"):
            actor = raw["Actor"]
            attributes = parse_texts(actor.get("Attributes"))
            code = attributes.get("exitCode", attributes.get("containerExitCode", ""))  # Docker's word, and Podman's
            nano = raw.get("timeNano")
            return cls(
                action=parse_text(raw["Action"]),
                id=parse_text(actor["ID"]),
                name=attributes.get("name", ""),
                labels=attributes,
                time=parse_number(nano) / 1e9 if nano else parse_number(raw["time"]),
                exit_code=int(code) if re.fullmatch("[0-9]{1,9}", code) else None,
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInfo:
    """An image of the engine; ``argv`` is what a container of it runs: its entrypoint, and then its command.

    ``digests``: its names in registries, such as ``NAME@sha256:...``; empty where it is from none.
    """

    id: str
    labels: Mapping[str, str]
    argv: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()

    @classmethod
    def from_inspect(cls, raw: Mapping[str, Any]) -> ImageInfo:
        """Parse the engine's answer to an inspect of an image.

        Raises:
            EngineError: it has an unexpected shape.
        """
        with expect_shape("an image"):
            config = raw.get("Config") or {}
            entrypoint = parse_words(config.get("Entrypoint"))
            return cls(
                id=parse_text(raw["Id"]),
                labels=parse_texts(config.get("Labels")),
                argv=(*entrypoint, *parse_words(config.get("Cmd"))),
                entrypoint=entrypoint,
                digests=parse_words(raw.get("RepoDigests")),
            )
