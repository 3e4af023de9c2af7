"""The report about containers in a failed test: their state and the end of their logs, never the token."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.engine.types import ContainerInfo
from jupyter_launcher.errors import LauncherError, SessionUnreadableError
from jupyter_launcher.host.address import EngineAddress
from jupyter_launcher.spec.container import PORT_KEY
from jupyter_launcher.spec.kernels.labels import PartLabels
from jupyter_launcher.spec.labels import SessionLabels, gateway_filter

__all__ = ["describe_container", "describe_namespace"]


def describe_namespace(
    engine: Engine, namespace: str, *, log_lines: int, leave_out: Collection[str] = ()
) -> Iterator[tuple[str, str]]:
    """A title and a text for each session of a namespace, for each gateway that they use, and for each of its parts.

    An error on the way is part of the text. ``leave_out``: ids of sessions.
    """
    try:
        sessions = engine.containers(*SessionLabels.filters(namespace))
        gateways = dict.fromkeys(item.id for item in engine.containers(gateway_filter(namespace)))
        parts = [
            (item.id, part.kind)
            for item in sessions
            if (part := PartLabels.of_container(item.labels, item.name)) is not None
        ]
    except LauncherError as error:
        yield "jupyter sessions", f"not known: {error}"
        return
    for item in sessions:
        if not SessionLabels.is_session(item.labels, item.name):
            continue
        try:
            labels = SessionLabels.of_session(item.labels, item.name)
        except SessionUnreadableError as error:
            yield f"jupyter session {SessionLabels.claimed_id(item.labels)}", str(error)
            continue
        if labels.session_id in leave_out:
            continue
        if labels.gateway is not None and labels.gateway.container_id is not None:
            gateways[labels.gateway.container_id] = None
        title = f"jupyter session {labels.session_id}"
        yield title, describe_container(engine, item.id, log_lines=log_lines)
    for gateway in gateways:
        yield "jupyter gateway", describe_container(engine, gateway, log_lines=log_lines)
    for container, kind in parts:
        yield f"jupyter gateway: {kind}", describe_container(engine, container, log_lines=log_lines)


def describe_container(engine: Engine, name: str, *, log_lines: int) -> str:
    """The state of a container (a name or an id) in words, and the end of its log."""
    try:
        info = engine.inspect(name)
        if info is None:
            return f"container {name}: gone"
        lines = [
            f"container {info.name} ({info.id[:12]}) of image {info.image}",
            *([f"node: {info.node}"] if info.node else []),
            f"state: {info.state}, exit code {info.exit_code}, out of memory: {'yes' if info.oom_killed else 'no'}"
            + (f", error: {info.error}" if info.error else ""),
            "networks: " + (", ".join(f"{net} {ip or '(no address)'}" for net, ip in info.networks.items()) or "none"),
            "ports: " + (", ".join(f"{port} -> {_ports(ports)}" for port, ports in info.ports.items()) or "none"),
            *_url(engine, info),
            f"the last lines of its log, up to {log_lines}:",
            engine.log_tail(info.id, log_lines).rstrip() or "(it is empty)",
        ]
    except LauncherError as error:
        return f"container {name} is not known: {error}"
    return "\n".join(lines)


def _url(engine: Engine, info: ContainerInfo) -> list[str]:
    try:
        labels = SessionLabels.of_session(info.labels, info.name)
    except SessionUnreadableError:
        return []  # no session
    if not info.ports.get(PORT_KEY):
        return []
    return [f"url: {EngineAddress(engine).server_url(info, labels.host_ip, labels.base_url)}"]


def _ports(ports: tuple[int, ...]) -> str:
    return " ".join(str(port) for port in ports) or "not published"
