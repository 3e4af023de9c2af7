"""What a person wants to see when something went wrong with a session: never the token."""

from __future__ import annotations

import json
from collections.abc import Iterator

from jupyter_launcher import container, place
from jupyter_launcher.engine import Engine
from jupyter_launcher.errors import LauncherError
from jupyter_launcher.gateway_container import GATEWAY_OF

__all__ = ["of_container", "of_namespace"]


def of_namespace(engine: Engine, namespace: str, *, log_lines: int) -> Iterator[tuple[str, str]]:
    """A title and a text for each session of a namespace, and for each gateway that they use.

    Whatever goes wrong on the way is told in the text.
    """
    try:
        sessions = engine.containers(f"{container.NAMESPACE}={namespace}", container.SESSION_ID)
        gateways = dict.fromkeys(item.id for item in engine.containers(f"{GATEWAY_OF}={namespace}"))
    except LauncherError as error:
        yield "jupyter sessions", f"could not be asked for: {error}"
        return
    for item in sessions:
        known = item.labels.get(container.GATEWAY)
        if known and json.loads(known)["id"]:
            gateways[json.loads(known)["id"]] = None
        title = f"jupyter session {item.labels[container.SESSION_ID]}"
        yield title, of_container(engine, item.id, log_lines=log_lines)
    for gateway in gateways:
        yield "jupyter gateway", of_container(engine, gateway, log_lines=log_lines)


def of_container(engine: Engine, name: str, *, log_lines: int) -> str:
    """The state of a container (a name or an id) in words, and the end of its log."""
    try:
        info = engine.inspect(name)
        if info is None:
            return f"container {name}: gone"
        log = engine.logs(info.id, log_lines).rstrip()
        lines = [
            f"container {info.name} ({info.id[:12]}) of image {info.image}",
            f"state: {info.state}, exit code {info.exit_code}, out of memory: {'yes' if info.oom_killed else 'no'}"
            + (f", error: {info.error}" if info.error else ""),
            "networks: " + (", ".join(f"{net} {ip or '(no address)'}" for net, ip in info.networks.items()) or "none"),
            "ports: " + (", ".join(f"{port} -> {_published(ports)}" for port, ports in info.ports.items()) or "none"),
        ]
        if container.HOST_IP in info.labels and info.ports.get(container.PORT_KEY):
            lines.append(f"url: {place.url(engine, info)}")
        lines += [f"the last lines of its log, up to {log_lines}:", log or "(it is empty)"]
    except LauncherError as error:
        return f"container {name} could not be asked for: {error}"
    return "\n".join(lines)


def _published(ports: tuple[int, ...]) -> str:
    return " ".join(str(port) for port in ports) or "not published"
