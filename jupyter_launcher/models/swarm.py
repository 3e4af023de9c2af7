"""Docker Swarm as callers describe it: which nodes, how their engines are reached, and how sessions are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal, NoReturn

from jupyter_launcher.errors import OptionError
from jupyter_launcher.models.options import is_text, show_value

__all__ = ["Swarm", "SwarmNode", "check_constraints"]

_LONGEST = 1024  # characters of a constraint, or of a network's name
_MOST_CONSTRAINTS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class SwarmNode:
    """A node, as the manager tells of it.

    Attributes:
        id: of the node in the swarm.
        hostname: as its engine says it.
        address: the IP address at which the manager knows it.
        labels: those that were set through a manager. What an engine says of itself is not among them.
        engine_version: of its engine.
        state: the manager's word: ``ready``, ``down``, ``unknown`` or ``disconnected``.
        availability: ``active``, ``pause`` or ``drain``; only an active node gets sessions.
        role: ``manager`` or ``worker``.
        reachability: of a manager: ``leader``, ``reachable`` or ``unreachable``; empty for a worker.
    """

    id: str
    hostname: str
    address: str
    labels: Mapping[str, str] = field(default_factory=dict)
    engine_version: str = ""
    state: str = "ready"
    availability: str = "active"
    role: str = "worker"
    reachability: str = ""

    @property
    def is_ready(self) -> bool:
        """The manager hears of it, so its engine may be asked."""
        return self.state == "ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class Swarm:
    """Sessions are services of a Docker swarm; the launcher's own engine is one of its managers.

    Attributes:
        engines: the addresses of the nodes' own engines, as ``docker_host`` takes them: a mapping from the node's
            hostname, or a function of a :class:`SwarmNode`. A node that they do not name, and every node with None: the
            manager's own connection where it is the manager itself, else the node's label
            ``jupyter-launcher.docker-host``, else the manager's scheme and port with the node's address.
        constraints: for every session, as ``docker service create --constraint`` takes them, such as
            ``node.labels.pipelines==yes``.
        network: an attachable overlay network that every session joins. With ``publish=None``, servers are reached over
            it, so the launcher itself must be in a container on it.
        publish: ``"all"``: the server's port is published on all addresses of the node that it runs on, since a swarm
            publishes on no single one. None: it is not published.
        weaker: also use nodes whose engine cannot give a service ``no-new-privileges`` (before API 1.44, which is
            Docker 25). The server is then started by ``setpriv --no-new-privs`` where the image has it. An event says
            so.

    Raises:
        OptionError: one has a value that cannot work.
    """

    engines: Mapping[str, str] | Callable[[SwarmNode], str | None] | None = None
    constraints: tuple[str, ...] = ()
    network: str | None = None
    publish: Literal["all"] | None = None
    weaker: bool = False

    def __post_init__(self) -> None:
        engines: object = self.engines
        if engines is not None and not isinstance(engines, Mapping) and not callable(engines):
            hint = "give a mapping from hostnames to addresses, a function of a SwarmNode, or leave it out"
            _refuse("engines", engines, hint)
        object.__setattr__(self, "constraints", check_constraints(self.constraints, "swarm.constraints"))
        if self.network is not None and not _is_word(self.network):
            _refuse("network", self.network, "give the name of an attachable overlay network, or leave it out")
        if self.publish not in (None, "all"):
            hint = 'give "all" for all addresses of a node (a swarm publishes on no single one), or leave it out'
            _refuse("publish", self.publish, hint)
        if not isinstance(self.weaker, bool):
            _refuse("weaker", self.weaker, "give True or False")


def check_constraints(given: object, option: str) -> tuple[str, ...]:
    """Constraints of a service, such as ``node.hostname==node2``, without spaces, each once.

    Raises:
        OptionError: they are no such texts.
    """
    hint = "give a sequence of texts such as ('node.labels.pipelines==yes',)"
    if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Collection) or len(given) > _MOST_CONSTRAINTS:
        _refuse_option(option, f"is {show_value(given)}", hint)
    items = sorted(given, key=str) if isinstance(given, (set, frozenset)) else given
    found = []
    for item in items:
        name, sign, value = _split(item)
        if not sign:
            _refuse_option(option, f"has {show_value(item)}", hint)
        found.append(f"{name}{sign}{value}")
    return tuple(dict.fromkeys(found))


def _split(item: object) -> tuple[str, str, str]:
    """The name, ``==`` or ``!=``, and the value of a constraint; the sign is empty where it is none."""
    if is_text(item) and len(item) <= _LONGEST:
        for sign in ("==", "!="):
            name, found, value = item.partition(sign)
            if found and _is_word(name.strip()) and _is_word(value.strip()) and "=" not in name:
                return name.strip(), sign, value.strip()
    return "", "", ""


def _is_word(value: object) -> bool:
    return is_text(value) and 0 < len(value) <= _LONGEST and not any(char.isspace() for char in value)


def _refuse(name: str, value: object, hint: str) -> NoReturn:
    _refuse_option(f"swarm.{name}", f"is {show_value(value)}", hint)


def _refuse_option(option: str, seen: str, hint: str) -> NoReturn:
    msg = f"{option} {seen}"
    raise OptionError(msg, hint=hint, option=option.partition(".")[0])
