"""What the doctor looks at in a swarm: its managers, its nodes and their engines, and what sessions need of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from jupyter_launcher.cli import checks
from jupyter_launcher.cli.checks import Check
from jupyter_launcher.engine.protocol import Engine
from jupyter_launcher.engine.swarm.engine import SwarmEngine
from jupyter_launcher.errors import EngineError, LauncherError
from jupyter_launcher.models import Swarm, SwarmNode
from jupyter_launcher.swarm.address import SwarmAddress

__all__ = ["examine_swarm"]

_HEARTBEAT = 20.0  # seconds; with the default of 5, a node that is cut off for about 10 to 14 s loses all its sessions
_GWBRIDGE = (
    "close the ports to others by a firewall of each node; or, on Docker 28, before the node joins the swarm: "
    "`docker network create -o com.docker.network.bridge.name=docker_gwbridge "
    "-o com.docker.network.bridge.host_binding_ipv4=ADDRESS docker_gwbridge`; or use an overlay alone"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reached:
    """The engines of the nodes that are ready, by the nodes' ids, or why they are not reached."""

    engines: Mapping[str, Engine]
    problems: Mapping[str, LauncherError]


def examine_swarm(
    engine: SwarmEngine, address: SwarmAddress, swarm: Swarm, *, image: str, network: str | None
) -> Iterator[Check]:
    """Check after check: what a session in a swarm needs, beside what each session needs.

    Args:
        engine: of the swarm.
        address: how its servers are reached.
        swarm: how it was described.
        image: of the session.
        network: that the session would join.
    """
    try:
        nodes = sorted(engine.nodes(), key=lambda node: node.hostname)
    except LauncherError as error:
        yield checks.from_error("swarm", error)
        return
    managers = [node for node in nodes if node.role == "manager"]
    yield checks.ok("swarm", f"{_count(len(nodes), 'node')}, {_count(len(managers), 'manager')} among them")
    yield _check_managers(managers)
    yield checks.attempt("heartbeat", lambda: _check_heartbeat(engine.heartbeat()))
    usable = [node for node in nodes if node.is_ready and node.availability == "active"]
    reached = _reach(engine, [node for node in nodes if node.is_ready])
    for node in nodes:
        yield _check_node(node, reached)
    if not usable:
        hint = "`docker node ls` shows them; `docker node update --availability active NODE` lets one take tasks"
        yield checks.failed("nodes", "no node is ready and active", hint)
    yield checks.attempt("image on the nodes", lambda: _check_images(engine, usable, reached, image))
    yield _check_privileges(engine, usable, weaker=swarm.weaker)
    if network is not None:
        yield checks.attempt("overlay", lambda: _check_overlay(engine, network))
    yield checks.attempt("publishing", lambda: _check_address(address, swarm))


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _check_managers(managers: list[SwarmNode]) -> Check:
    """How many managers may be lost before the rest has no quorum. Who lists the nodes has one."""
    away = [node.hostname for node in managers if node.reachability not in ("leader", "reachable")]
    here = len(managers) - len(away)
    spare = here - (len(managers) // 2 + 1)
    detail = f"{here} of {len(managers)} reachable"
    if away:
        hint = "bring them back, or `docker node demote` what will not come back, before another one is lost"
        return checks.warning("managers", f"{detail}; not reachable: {', '.join(away)}", hint)
    if len(managers) > 1 and spare < 1:
        hint = "have three or five managers: without a majority, nothing can be started, found or stopped"
        return checks.warning("managers", f"{detail}, and none of them may be lost", hint)
    return checks.ok("managers", f"{detail}, {spare} may be lost")


def _check_heartbeat(seconds: float) -> Check:
    detail = f"each {seconds:g} s"
    if seconds >= _HEARTBEAT:
        return checks.ok("heartbeat", detail)
    lost = f"a node that is cut off for about {2 * seconds:g} to {3 * seconds:g} s loses its sessions"
    hint = f"`docker swarm update --dispatcher-heartbeat {_HEARTBEAT:g}s`, on a manager"
    return checks.warning("heartbeat", f"{detail}: {lost}", hint)


def _reach(engine: SwarmEngine, nodes: list[SwarmNode]) -> _Reached:
    """The engines of nodes that are ready. Nobody asks a node that is away: the connection would take long to fail."""
    engines: dict[str, Engine] = {}
    problems: dict[str, LauncherError] = {}
    for node in nodes:
        try:
            engines[node.id] = engine.engine_of(node)
        except LauncherError as error:
            problems[node.id] = error
    return _Reached(engines=engines, problems=problems)


def _check_node(node: SwarmNode, reached: _Reached) -> Check:
    name = f"node {node.hostname}"
    words = [node.role, node.address or "no address", f"engine {node.engine_version or 'unknown'}"]
    detail = ", ".join([*words, node.state, node.availability])
    if not node.is_ready:
        hint = "see its machine, its network and its engine; sessions on it are `unreachable` until it is back"
        return checks.warning(name, detail, hint)
    error = reached.problems.get(node.id)
    if error is not None:
        found = checks.from_error(name, error)
        hint = f"{found.hint}; a session that is placed there cannot be started"
        return checks.failed(name, f"{detail}; {found.detail}", hint)
    detail = f"{detail}; its engine is reached at {reached.engines[node.id].endpoint}"
    if node.availability != "active":
        hint = f"`docker node update --availability active {node.hostname}` lets it take sessions again"
        return checks.warning(name, detail, hint)
    return checks.ok(name, detail)


def _check_images(engine: SwarmEngine, usable: list[SwarmNode], reached: _Reached, image: str) -> Check:
    """On which nodes the manager's image is: a service names it by its id, and nobody pulls it."""
    title = "image on the nodes"
    wanted = engine.images.find(image)
    if wanted is None:
        return checks.skipped(title, "the manager does not have it")
    lacking = [node.hostname for node in usable if not _has_image(reached.engines.get(node.id), wanted)]
    if not lacking:
        return checks.ok(title, f"{image} is on {_join(node.hostname for node in usable) or 'none'}")
    hint = f"`docker save {image} | docker -H ADDRESS load` for each of them, or use an image of a registry"
    return checks.warning(title, f"{image} is not seen on {_join(lacking)}", hint)


def _has_image(engine: Engine | None, wanted: str) -> bool:
    try:
        return engine is not None and engine.images.find(wanted) is not None
    except EngineError:
        return False


def _check_privileges(engine: SwarmEngine, usable: list[SwarmNode], *, weaker: bool) -> Check:
    """Whether sessions get no-new-privileges: by a service from API 1.44 on, by manager and node."""
    title = "no-new-privileges"
    old = [node.hostname for node in usable if not _gives_no_new_privileges(node)]
    is_manager_old = tuple(map(int, engine.traits.api_version.split("."))) < (1, 44)
    if is_manager_old:
        seen, hint = "the manager's engine is older than Docker 25", "update it"
    elif old:
        seen, hint = f"older than Docker 25: {_join(old)}", "update these, or keep sessions from them by --constraint"
    else:
        return checks.ok(title, "each node gives it to sessions, by its version")
    if weaker:
        seen = f"{seen}; the server is started by setpriv there, if the image has it"
        return checks.warning(title, seen, hint)
    refused, hint = f"{seen}: a start there is refused", f"{hint}, or give --swarm-weaker"
    is_part = len(old) < len(usable) and not is_manager_old
    return checks.warning(title, refused, hint) if is_part else checks.failed(title, refused, hint)


def _gives_no_new_privileges(node: SwarmNode) -> bool:
    """Whether a node's engine is Docker 25 or newer, as the manager tells its version."""
    found = re.match(r"([0-9]+)\.", node.engine_version)
    return found is not None and int(found[1]) >= 25


def _check_overlay(engine: SwarmEngine, name: str) -> Check:
    make = f"`docker network create --driver overlay --attachable {name}`, on a manager"
    found = engine.network(name)
    if found is None:
        return checks.failed("overlay", f"the swarm has no network {name}", make)
    if found.driver != "overlay":
        return checks.failed("overlay", f"{name} is a network of driver {found.driver}, of one node alone", make)
    if not found.attachable:
        hint = "make it anew with --attachable; services can use it, plain containers cannot"
        return checks.warning("overlay", f"no plain container can join {name}, a launcher's for example", hint)
    return checks.ok("overlay", f"{name}, attachable")


def _check_address(address: SwarmAddress, swarm: Swarm) -> Check:
    """How a session is reached, and by whom else."""
    address.choose_publish_ip(None)
    if swarm.publish is not None:
        return checks.warning("publishing", "on all addresses of the node that the session is on", _GWBRIDGE)
    return checks.ok("publishing", f"nothing; servers are reached over {swarm.network}")


def _join(names: Iterable[str]) -> str:
    return ", ".join(names)
