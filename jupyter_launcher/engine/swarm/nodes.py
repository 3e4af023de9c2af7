"""The nodes' own engines: where each is, and the connections to them, which are kept."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection, Mapping
from typing import TypeVar
from urllib.parse import urlsplit

from jupyter_launcher.engine.client import DockerEngine
from jupyter_launcher.engine.swarm.shapes import ENGINE_LABEL
from jupyter_launcher.errors import EngineError, EngineUnavailableError, LauncherError, UnsupportedOptionError
from jupyter_launcher.forks import PerProcess
from jupyter_launcher.models import Swarm, SwarmNode
from jupyter_launcher.models.options import is_text, show_value
from jupyter_launcher.waiting import Deadline, within

__all__ = ["NodeEngines", "choose_address", "is_sure", "matches"]

T = TypeVar("T")

_CONSTRAINT = re.compile(r"(?P<name>[^=!]+)(?P<sign>==|!=)(?P<value>.*)", re.DOTALL)
_LABELS = "node.labels."
_CONNECT_SECONDS = 5.0
_FAILED_SECONDS = 5.0


def matches(node: SwarmNode, constraints: Collection[str]) -> bool:
    """Whether a node fits the constraints; those that nobody can judge here are taken to fit."""
    return all(_fits(node, constraint) is not False for constraint in constraints)


def is_sure(node: SwarmNode, constraints: Collection[str]) -> bool:
    """Whether somebody can judge here that a node fits all of the constraints."""
    return all(_fits(node, constraint) for constraint in constraints)


def _fits(node: SwarmNode, constraint: str) -> bool | None:
    found = _CONSTRAINT.fullmatch(constraint)
    if found is None:
        return None
    name, value = found["name"], found["value"]
    known = {"node.id": node.id, "node.hostname": node.hostname, "node.role": node.role}
    if name.startswith(_LABELS):
        told = node.labels.get(name.removeprefix(_LABELS), "")
    elif name.lower() in known:
        told = known[name.lower()]
    else:
        return None
    return (told.lower() == value.lower()) is (found["sign"] == "==")  # the swarm compares them so too


def choose_address(swarm: Swarm, node: SwarmNode, endpoint: str, *, is_manager: bool) -> str | None:
    """The address of a node's engine; None: it is the manager that is asked anyway.

    Args:
        swarm: what the caller said of it.
        node: whose engine.
        endpoint: the address of the manager.
        is_manager: the node is that manager itself.

    Raises:
        UnsupportedOptionError: the caller gave something else than a text, or nothing tells the address.
    """
    given = swarm.engines
    found: object = None
    if isinstance(given, Mapping):
        found = given.get(node.hostname)
    elif given is not None:
        try:
            found = given(node)
        except Exception as error:
            msg = f"swarm.engines raised an error for node {node.hostname}: {type(error).__name__}: {error}"
            hint = "let it return None for a node that it does not know"
            raise UnsupportedOptionError(msg, hint=hint, option="swarm") from error
    if found is not None:
        if not is_text(found) or not found:
            msg = f"swarm.engines gives {show_value(found)} for node {node.hostname}"
            hint = "give an address, such as tcp://HOST:2376 or ssh://USER@HOST; a client cannot be given"
            raise UnsupportedOptionError(msg, hint=hint, option="swarm")
        return found
    if is_manager:
        return None
    known = node.labels.get(ENGINE_LABEL) or _address_like(endpoint, node.address)
    if known is None:
        msg = f"nothing tells where the engine of node {node.hostname} ({node.address or 'no address'}) is reached"
        hint = (
            f"name it in Swarm(engines={{{node.hostname!r}: 'tcp://HOST:2376'}}), give the node the label "
            f"{ENGINE_LABEL}, or give docker_host= as tcp:// or ssh://, whose scheme and port count for all nodes"
        )
        raise UnsupportedOptionError(msg, hint=hint, option="swarm")
    return known


def _address_like(endpoint: str, host: str) -> str | None:
    """The manager's address with a node's host in it; None: the manager is reached by a socket of this host."""
    parts = urlsplit(endpoint)
    if not host or parts.scheme not in ("tcp", "http", "https", "ssh"):
        return None
    shown = f"[{host}]" if ":" in host else host
    user = f"{parts.username}@" if parts.username else ""
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{user}{shown}{port}{parts.path}"


class NodeEngines:
    """The engines of a swarm's nodes, each reached at its first use."""

    def __init__(self, swarm: Swarm, manager: DockerEngine, connect: Callable[[str], DockerEngine]) -> None:
        self._swarm = swarm
        self._manager = manager
        self._connect = connect
        self._failures: dict[tuple[str, str], tuple[Deadline, EngineUnavailableError]] = {}
        self._engines: dict[tuple[str, str], PerProcess[DockerEngine]] = {}

    def of(self, node: SwarmNode) -> DockerEngine:
        """The engine of a node.

        Raises:
            EngineUnavailableError: the node is not ready, so nobody asks it; or its engine does not answer.
            UnsupportedOptionError: nothing tells where its engine is.
            EngineError: another node's engine answers there.
        """
        if not node.is_ready:
            msg = f"node {node.hostname} is {node.state}: its engine is not asked"
            hint = "see `docker node ls`, and try again once the node is ready"
            raise EngineUnavailableError(msg, hint=hint, endpoint=node.address)
        address = choose_address(
            self._swarm, node, self._manager.endpoint, is_manager=node.id == self._manager.traits.node_id
        )
        if address is None:
            return self._manager
        reach = PerProcess(functools.partial(self._reach, node, address))
        engine = self._engines.setdefault((node.id, address), reach).get()
        self._in_time(node, address, lambda: engine.client)  # it connects anew where ssh has ended
        return engine

    def _reach(self, node: SwarmNode, address: str) -> DockerEngine:
        return self._in_time(node, address, lambda: self._connect_to(node, address))

    def _in_time(self, node: SwarmNode, address: str, connect: Callable[[], T]) -> T:
        """What ``connect`` returns, which has a few seconds for it.

        Raises:
            EngineUnavailableError: the engine does not answer, or did not a moment ago; it names the node.
        """
        known = self._failures.get((node.id, address))
        if known is not None and not known[0].expired():
            raise EngineUnavailableError(known[1].message, hint=known[1].hint, endpoint=address)
        try:
            with within(Deadline(_CONNECT_SECONDS)):
                found = connect()
        except EngineUnavailableError as error:
            msg = f"the engine of node {node.hostname} cannot be reached: {error.message}"
            hint = (
                f"{error.hint}; where it is at another address, name that in Swarm(engines=...) or in the node's label "
                f"{ENGINE_LABEL}"
            )
            failure = EngineUnavailableError(msg, hint=hint, endpoint=address)
            # Those who wait for it, and the next ones for a while, need not try again.
            self._failures[node.id, address] = Deadline(_FAILED_SECONDS), failure
            raise failure from error
        self._failures.pop((node.id, address), None)
        return found

    def _connect_to(self, node: SwarmNode, address: str) -> DockerEngine:
        try:
            engine = self._connect(address)
        except EngineUnavailableError:
            raise
        except LauncherError as error:
            msg = f"the address of the engine of node {node.hostname} cannot be used: {error.message}"
            raise UnsupportedOptionError(msg, hint=error.hint, option="swarm") from error
        found: str | None = None
        try:
            found = engine.traits.node_id
        finally:
            if found != node.id:
                engine.close()
        if found != node.id:
            told = f"node {found} of a swarm" if found else "no node of a swarm that says so"
            msg = f"the engine at {address} is not that of node {node.hostname} ({node.id}), but {told}"
            hint = f"correct the address in Swarm(engines=...), or the node's label {ENGINE_LABEL}"
            raise EngineError(msg, hint=hint)
        return engine

    def close(self) -> None:
        """Close the connections that this process made, but not that to the manager."""
        for kept in list(self._engines.values()):
            engine = kept.find()
            if engine is not None:
                engine.close()
